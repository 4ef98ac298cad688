"""Looking, fencing, renaming, removing: what a worker does on a target besides copying."""

from __future__ import annotations

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.core.checksums import Checksum
from backhaul.core.errors import (
    CannotWrite,
    DestinationBusy,
    OutageError,
    OutcomeUnknown,
    TargetExists,
    TargetMissing,
)
from backhaul.core.objects import PlannedObject, Proof
from backhaul.core.ports import StageTask
from backhaul.engines.counter import Counter
from backhaul.engines.operations import TargetOperations
from backhaul.testing.fakes import FakeClock, FakeContent, FakeStore, FakeTarget, Fault, Faults

ROOT = "/land/.backhaul/0123"


class Bench:
    def __init__(self) -> None:
        self.faults = Faults()
        self.target = FakeTarget(FakeClock(), faults=self.faults)
        self.target.mkdirs("/land")
        self.store = FakeStore(FakeClock(), new_digest)
        self.operations = TargetOperations(self.target, new_digest, Counter(), lambda: self.store)


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ---------------------------------------------------------------- ancestors


def test_ancestor_is_the_nearest_directory(bench: Bench) -> None:
    assert bench.operations.existing_ancestor("/land") == "/land"
    assert bench.operations.existing_ancestor("/land/a/b/c") == "/land"
    assert bench.operations.existing_ancestor("/none/a") == "/"


def test_destination_that_is_a_file_is_told_apart_from_a_file_above_it(bench: Bench) -> None:
    bench.target.put("/land/f", b"")

    with pytest.raises(TargetExists):
        bench.operations.existing_ancestor("/land/f")
    with pytest.raises(CannotWrite) as caught:
        bench.operations.existing_ancestor("/land/f/a/b")
    assert caught.value.code == "E_DST_PARENT_FILE"


# ---------------------------------------------------------------- the fence


def test_fence_removes_lower_epochs_and_makes_its_own(bench: Bench) -> None:
    bench.target.put(f"{ROOT}/1/a", b"old")
    bench.target.put(f"{ROOT}/3/a", b"old")

    assert bench.operations.fence(ROOT, 4) == 3
    assert bench.target.names(ROOT) == ["4"]


@pytest.mark.parametrize("seen", [4, 9])
def test_fence_touches_nothing_below_a_higher_epoch(bench: Bench, seen: int) -> None:
    bench.target.put(f"{ROOT}/{seen}/a", b"theirs")
    bench.target.put(f"{ROOT}/1/a", b"older")

    assert bench.operations.fence(ROOT, 4) == seen
    assert sorted(bench.target.names(ROOT)) == ["1", str(seen)]


def test_epoch_that_another_ledger_counted_to_is_not_taken_over(bench: Bench) -> None:
    bench.target.put(f"{ROOT}/1/a", b"ours")
    bench.target.put(f"{ROOT}/2/a", b"theirs")

    with pytest.raises(DestinationBusy):
        bench.operations.take_over(ROOT, 1, 2)
    assert bench.target.files(ROOT) == {f"{ROOT}/1/a": b"ours", f"{ROOT}/2/a": b"theirs"}
    bench.operations.take_over(ROOT, 1, 3)
    assert bench.target.names(ROOT) == ["2", "3"]


# ---------------------------------------------------------------- publishing


def test_lost_answer_of_a_rename_is_settled_by_looking(bench: Bench) -> None:
    bench.target.put("/s/a", b"new")
    bench.faults.at("target.rename", 1, Fault.LOST)
    bench.operations.publish_files([("/s/a", "/land/a")], replace=True)

    assert bench.target.files("/land") == {"/land/a": b"new"}


def test_rename_that_did_not_happen_is_unknown_to_the_caller(bench: Bench) -> None:
    bench.target.put("/s/a", b"new")
    error = OutcomeUnknown("E_HDFS_UNKNOWN", "no answer")
    bench.faults.at("target.rename", 1, Fault.FAIL, error)

    with pytest.raises(OutcomeUnknown):
        bench.operations.publish_files([("/s/a", "/land/a")], replace=True)
    assert bench.target.files("/land") == {}


def test_missing_source_is_never_taken_for_published(bench: Bench) -> None:
    """Fenced or tidied meanwhile: what stands at the target is somebody else's."""
    bench.target.put("/land/a", b"old")

    with pytest.raises(TargetMissing):
        bench.operations.publish_files([("/s/a", "/land/a")], replace=True)
    assert bench.target.files("/land") == {"/land/a": b"old"}


def test_tree_is_published_once(bench: Bench) -> None:
    bench.target.put("/s/1/sub/a", b"new")
    assert bench.operations.publish_tree("/s/1", "/land/deep/d") is True
    assert bench.target.files("/land") == {"/land/deep/d/sub/a": b"new"}
    bench.target.put("/s/2/a", b"newer")

    assert bench.operations.publish_tree("/s/2", "/land/deep/d") is False
    assert bench.target.files("/land") == {"/land/deep/d/sub/a": b"new"}


def test_directory_that_appears_meanwhile_is_not_entered(bench: Bench) -> None:
    bench.target.put("/s/1/a", b"new")

    def appear(call: str) -> None:
        if call == "target.status" and bench.faults.count("target.status") == 1:
            bench.target.put("/land/d/theirs", b"")

    bench.faults.after_effect = appear
    assert bench.operations.publish_tree("/s/1", "/land/d") is False
    assert bench.target.files("/land") == {"/land/d/theirs": b""}


def test_published_names_are_made_durable(bench: Bench) -> None:
    bench.target.put("/s/a", b"")
    bench.target.put("/s/b", b"")
    renames = [("/s/a", "/land/x/a"), ("/s/b", "/land/y/b")]
    bench.operations.publish_files(renames, replace=False)

    assert bench.faults.count("target.sync_directory") == 2


def test_checksum_of_nothing_is_none(bench: Bench) -> None:
    bench.target.put("/land/f", b"123456789")

    found = bench.operations.stored_checksums(["/land/f", "/land/none", "/land"])
    assert [one and (one.checksum, one.checksum_source) for one in found] == [
        (Checksum("CRC32C", "e3069283"), "read"),
        None,
        None,
    ]


def test_a_file_that_cannot_be_read_is_an_answer_where_it_is_passed_over(bench: Bench) -> None:
    """In the one question: another for each file would be another JVM for each."""
    paths = [f"/land/{name}" for name in ("a", "locked", "z")]
    for path in paths:
        bench.target.put(path, b"123456789")
    operations = TargetOperations(
        bench.target, new_digest, Counter(), lambda: bench.store, parallel=1
    )
    denied = CannotWrite("E_DST_DENIED", "not yours")
    bench.faults.at("target.read", 2, Fault.FAIL, denied)
    found = operations.stored_checksums(paths, passes_over=True)
    crc = Checksum("CRC32C", "e3069283")
    assert [one and one.checksum for one in found] == [crc, None, crc]
    assert found[1] is not None
    assert "not yours" in found[1].why

    bench.faults.always("target.read", denied)
    with pytest.raises(CannotWrite):
        operations.stored_checksums(paths)
    bench.faults.always("target.read", OutageError.of("hdfs", "E_HDFS_UNREACHABLE", "gone"))
    with pytest.raises(OutageError):
        operations.stored_checksums(paths, passes_over=True)


# ---------------------------------------------------------------- adopting by proof


@pytest.mark.parametrize("algorithm", ["CRC32C", "CRC32", "CRC64NVME", "SHA256", "SHA1", None])
@pytest.mark.parametrize("kept", ["CRC32C", "CRC32", None])
def test_file_that_s3_vouches_for_is_adopted_and_no_other(
    algorithm: str | None, kept: str | None
) -> None:
    clock, faults = FakeClock(), Faults()
    content = FakeContent(new_digest=new_digest, algorithm=kept) if kept else None
    target = FakeTarget(clock, faults=faults, content=content)
    store = FakeStore(clock, new_digest, faults=faults)
    operations = TargetOperations(target, new_digest, Counter(), lambda: store)
    pin = store.put("k", b"123456789", algorithm=algorithm)
    opaque = store.put("opaque", b"123456789", algorithm=None, etag="no-md5-2")
    target.put("/land/same", b"123456789")
    target.put("/land/other", b"123456780")
    paths = ["/land/same", "/land/other", "/land/none", "/land/same"]
    tasks = [
        StageTask(
            planned=PlannedObject(seq=seq, pin=one, relative="f"), endpoint=store.endpoint("raw")
        )
        for seq, one in enumerate([pin, pin, pin, opaque])
    ]

    same, *others = operations.match_existing(tasks, paths)
    assert others == [None, None, None]
    assert same is not None
    assert (same.proof, same.seq, same.content.hex) == (Proof.ADOPTED, 0, "e3069283")
    assert (same.algorithm, same.bytes_read) == (algorithm or "MD5", 0)
    told = algorithm == kept == "CRC32C"
    assert same.checksum_source == ("datanode" if told else "read")
    assert faults.count("store.get") == 0
    assert (faults.count("target.read") == 0) is told


# ---------------------------------------------------------------- tidying


def test_tidying_leaves_nothing(bench: Bench) -> None:
    bench.target.put(f"{ROOT}/1/a", b"")
    bench.target.put(f"{ROOT}/2/a", b"")
    bench.operations.remove_staging(ROOT, 2)
    bench.operations.remove_staging(ROOT, 2)

    assert bench.target.paths() == ["/", "/land"]


def test_tidying_spares_the_next_owners_epoch(bench: Bench) -> None:
    bench.target.put(f"{ROOT}/1/a", b"mine")
    bench.target.put(f"{ROOT}/2/a", b"theirs")
    bench.operations.remove_staging(ROOT, 1)

    assert bench.target.files("/land") == {f"{ROOT}/2/a": b"theirs"}


def test_tidying_spares_other_transfers(bench: Bench) -> None:
    bench.target.put(f"{ROOT}/1/a", b"mine")
    bench.target.put("/land/.backhaul/4567/1/a", b"theirs")
    bench.operations.remove_staging(ROOT)

    assert bench.target.files("/land") == {"/land/.backhaul/4567/1/a": b"theirs"}
