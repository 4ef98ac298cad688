"""What a probe makes of each side: up, down, silent, or refusing for good."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from backhaul.adapters.local import LocalTarget
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    TargetMissing,
    TransientError,
)
from backhaul.core.ports import Endpoint
from backhaul.engines.pool import WorkerPool
from backhaul.engines.prober import ROOTS_MOST, Prober
from backhaul.engines.probing import Side, check_target, outages
from backhaul.testing.fakes import FakeClock, FakeTarget, Faults
from tests.unit.test_pool import FS, settings

ROOT = "/land/.backhaul/d"


def side(check: Callable[[], None], dependency: str = "hdfs") -> Side:
    return Side(dependency=dependency, code="E_TARGET_STALLED", where="hdfs://ns1", check=check)


def test_silent_side_is_down_after_the_time_limit_and_the_other_is_judged_meanwhile() -> None:
    forever = threading.Event()

    def refuse() -> None:
        raise OutageError.of("s3", "E_S3_UNREACHABLE", "refused")

    begun_s = time.monotonic()
    found = outages(side(lambda: void(forever.wait(60))), side(refuse, "s3"), timeout_s=0.2)
    forever.set()
    assert [(one.dependency, one.code) for one in found] == [
        ("hdfs", "E_TARGET_STALLED"),
        ("s3", "E_S3_UNREACHABLE"),
    ]
    assert "no answer" in found[0].message
    assert time.monotonic() - begun_s < 30


def void(_: object) -> None:
    """For functions whose result nobody wants."""


def test_refusal_is_an_answer() -> None:
    def refuse() -> None:
        raise CannotWrite("E_DST_DENIED", "no")

    assert outages(side(refuse), side(lambda: None, "s3"), timeout_s=5) == []


def target(faults: Faults | None = None) -> FakeTarget:
    made = FakeTarget(FakeClock(), faults=faults)
    made.mkdirs(f"{ROOT}/7")
    return made


def test_probe_writes_below_staging_and_leaves_nothing() -> None:
    there = target()
    before = there.paths()
    check_target(there, ROOT, "hdfs")
    assert there.paths() == before


def test_probe_never_brings_fenced_staging_back() -> None:
    there = target()
    there.remove(ROOT)
    before = there.paths()
    check_target(there, ROOT, "hdfs")
    assert there.paths() == before


@pytest.mark.parametrize(
    ("call", "error", "code"),
    [
        (
            "target.create",
            TransientError("E_HDFS_OVERLOADED", "could only be written to 0 of the 1"),
            "E_TARGET_NO_WRITE",
        ),
        ("target.write", TransientError("E_HDFS_OVERLOADED", "reset"), "E_TARGET_NO_WRITE"),
        ("target.close", TransientError("E_HDFS_OVERLOADED", "reset"), "E_TARGET_NO_WRITE"),
        (
            "target.mkdir",
            OutageError.of("hdfs", "E_HDFS_SAFE_MODE", "safe mode"),
            "E_HDFS_SAFE_MODE",
        ),
        (
            "target.check_reachable",
            OutageError.of("hdfs", "E_HDFS_UNREACHABLE", "refused"),
            "E_HDFS_UNREACHABLE",
        ),
    ],
)
def test_write_that_fails_is_an_outage(call: str, error: BackhaulError, code: str) -> None:
    faults = Faults()
    there = target(faults)
    faults.always(call, error)
    with pytest.raises(OutageError) as caught:
        check_target(there, ROOT, "hdfs")
    assert caught.value.code == code


@pytest.mark.parametrize("call", ["target.mkdir", "target.create", "target.write", "target.close"])
@pytest.mark.parametrize(
    "error",
    [
        TransientError("E_HDFS_RPC", "could only be written to 3 of the 6 required nodes"),
        TransientError("E_HDFS_RPC", "an exception that Backhaul does not know"),
        TransientError("E_HDFS_CLIENT", "Failed to complete file in time"),
        TransientError("E_HDFS_PANIC", "the HDFS client crashed"),
        TransientError("E_DST_IO", "Input/output error"),
        TargetMissing("E_DST_MISSING", "fenced meanwhile"),
    ],
    ids=lambda error: f"{error.code}-{error.message[:12]}",
)
def test_a_directory_that_refuses_files_is_no_outage(call: str, error: BackhaulError) -> None:
    """It may refuse them for ever: an outage would hold its transfer as long."""
    faults = Faults()
    there = target(faults)
    faults.always(call, error)
    found = outages(side(lambda: check_target(there, ROOT, "hdfs")), timeout_s=30)
    assert found == []


# ---------------------------------------------------------------- a real process


@pytest.fixture
def pool() -> Iterator[WorkerPool]:
    made = WorkerPool(settings(), lambda _: None)
    yield made
    made.close()


def test_probe_by_a_process_of_its_own_finds_nothing_where_both_sides_answer(
    pool: WorkerPool, tmp_path: Path
) -> None:
    root = tmp_path / ".backhaul" / "d"
    root.mkdir(parents=True)
    endpoint = Endpoint(base_url="https://s3.fake/raw/", region="us-east-1")
    assert list(pool._prober.probe(FS, None, str(root), endpoint)) == []
    assert list(root.iterdir()) == []
    assert pool._all == set()


def test_pool_that_was_aborted_probes_nothing(pool: WorkerPool, tmp_path: Path) -> None:
    pool.abort()
    assert list(pool._prober.probe(FS, None, str(tmp_path), None)) == []


def test_no_process_left_is_no_verdict() -> None:
    def start(_user: str | None) -> None:
        raise OSError(24, "Too many open files")

    assert list(Prober(start).probe(FS, None, None, None)) == []  # type: ignore[arg-type]


def test_local_target_that_may_not_be_written_answers(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    check_target(LocalTarget(), str(tmp_path / "d"), "target")
    assert list((tmp_path / "d").iterdir()) == []


# ---------------------------------------------------------------- what transfers share


class Probes(Prober):
    """Without processes: what each root finds, and which were probed."""

    def __init__(self, found: Mapping[str | None, OutageError]) -> None:
        super().__init__(lambda _user: pytest.fail("no process is started"))
        self.probed: list[str | None] = []
        self._finds = found

    def _probe(
        self, filesystem: str, user: str | None, root: str | None, endpoint: Endpoint | None
    ) -> Sequence[OutageError]:
        del filesystem, user, endpoint
        self.probed.append(root)
        return [self._finds[root]] if root in self._finds else []


NO_WRITE = OutageError.of("hdfs", "E_TARGET_NO_WRITE", "no DataNode takes a byte")
DOWN = OutageError.of("hdfs", "E_HDFS_UNREACHABLE", "refused")


def found_by(probes: Probes, *roots: str | None) -> list[Sequence[OutageError]]:
    return [probes.probe("hdfs://ns1", None, root, None) for root in roots]


def test_a_dependency_that_is_down_is_probed_once_for_all() -> None:
    probes = Probes({"/a": DOWN})
    assert found_by(probes, "/a", "/b", None, "/a") == [[DOWN]] * 4
    assert probes.probed == ["/a"]


@pytest.mark.parametrize("first", [None, "/a"])
def test_that_another_root_can_be_written_shows_nothing_of_this_one(first: str | None) -> None:
    probes = Probes({"/b": NO_WRITE})
    assert found_by(probes, first, "/b", "/b", first) == [[], [NO_WRITE], [NO_WRITE], []]
    assert probes.probed == [first, "/b"]


def test_that_another_root_cannot_be_written_shows_nothing_of_this_one() -> None:
    probes = Probes({"/a": NO_WRITE})
    assert found_by(probes, "/a", "/b", "/a") == [[NO_WRITE], [], [NO_WRITE]]
    assert probes.probed == ["/a", "/b"]


def test_results_of_old_roots_are_forgotten() -> None:
    probes = Probes({})
    found_by(probes, *(f"/{number}" for number in range(ROOTS_MOST + 10)))
    assert len(probes._last_of_root) <= ROOTS_MOST
