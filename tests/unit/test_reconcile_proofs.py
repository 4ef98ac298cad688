"""`--adopt` and `--deep`: what is on the target is proven by checksums; no object is read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.app.reconcile.adopting import NO_CHECKSUM, Adopter
from backhaul.app.reconcile.proving_again import DeepProof, DeepTotals
from backhaul.app.reconcile.run import Comparison, Reconciled
from backhaul.app.reconcile.streams import S3Listing
from backhaul.app.sweep import sweep
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import OutageError, PermanentError
from backhaul.core.model import Location, NameMap, TransferState
from backhaul.core.ports import Ports
from backhaul.core.reconciliation.checks import sample_of
from backhaul.core.reconciliation.values import (
    ComparedPath,
    ObjectClass,
    Row,
    SourceObject,
    TargetFile,
)
from backhaul.core.requests.policy import Policy
from backhaul.testing.fakes import FakeContent, FakeTarget, Killed
from tests.unit.test_reconcile_run import FS, LANDING, World

pytestmark = pytest.mark.slow  # a world of S3, ledger and target each


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """HDFS, with files that another tool brought there."""
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, create=True, host="h")
    world = World(ledger, path)
    world.target = FakeTarget(world.clock, content=FakeContent(new_digest=new_digest))
    world.target.mkdirs("/landing")
    world.route = replace(world.route, event_destination=f"{LANDING.uri}/{{rel_dir}}/")
    for name in ("a", "d/b", "d/c", "d/e/f"):
        data = f"data of {name}".encode()
        world.store.put(f"in/{name}", data)
        world.target.put(f"/landing/{name}", data)
    world.later()
    yield world
    ledger.close()


def world_ports(world: World) -> Ports:
    """What a command that adopts works with."""
    return Ports(
        store=world.store,
        ledger=world.ledger,
        pool=world.pool(),
        clock=world.clock,
        emit=lambda _fact: None,
        cluster=None,
    )


class Run:
    """A command, and what came of it."""

    def __init__(
        self, world: World, *, adopts: bool = False, deep: float | None = None, **about: Any
    ) -> None:
        self.world = world
        self.paths: dict[str, ComparedPath] = {}
        reader = open_reader(world.path, turn=threading.Lock())
        pool = world.pool()
        adopter = Adopter(
            ports=world_ports(world),
            policy=about.get("policy", Policy(routes=(world.route,))),
            route=world.route,
            retry=RetryPolicy(),
        )
        proof = DeepProof(
            route=world.route, reader=reader, pool=pool, store=world.store, objects=world.store
        )
        comparison = Comparison(
            route=world.route,
            options=replace(world.options, deep=deep, is_adopting=adopts),
            objects=S3Listing(store=world.store),
            store=world.store,
            reader=reader,
            pool=pool,
            default_fs=FS,
            now=world.clock.now,
            warn=world.warnings.append,
            adopter=adopter if adopts else None,
            deep=proof if deep is not None else None,
        )
        try:
            self.found: Reconciled = comparison.run(self._add)
        finally:
            reader.close()

    def _add(self, one: ComparedPath, root: Location) -> None:
        self.paths[one.row.path.removeprefix("/landing/")] = one

    @property
    def classes(self) -> dict[str, ObjectClass]:
        return {name: one.found for name, one in self.paths.items()}


def bodies(world: World) -> int:
    return world.store._faults.count("store.get")


def rows(world: World) -> list[tuple[TransferState, str | None]]:
    reader = open_reader(world.path)
    try:
        return [(one.state, one.code) for one in reader.history(limit=100)]
    finally:
        reader.close()


# ---------------------------------------------------------------- adopting


def test_what_is_there_is_the_same_from_then_on(world: World) -> None:
    assert set(Run(world).classes.values()) == {ObjectClass.UNPROVED}
    first = Run(world, adopts=True)
    assert set(first.classes.values()) == {ObjectClass.SAME}
    assert list(first.paths) == sorted(first.paths)
    assert first.found.adopted == 4
    assert first.found.findings == 0
    transfers = {one.transfer_id for one in first.paths.values()}
    assert len(transfers) == 3, "one for each directory"
    again = Run(world, adopts=True)
    assert set(again.classes.values()) == {ObjectClass.SAME}
    assert again.found.adopted == 0
    assert {one.transfer_id for one in again.paths.values()} == transfers
    assert bodies(world) == 0
    assert {state for state, _ in rows(world)} == {TransferState.DONE}
    assert not [path for path in world.target.paths() if ".backhaul" in path]


def test_what_differs_stays_unproved_and_the_others_do_not(world: World) -> None:
    world.target.put("/landing/d/b", b"other of b!"[:9])
    world.store.put("in/d/c", b"data of d/c", algorithm=None, etag="no-md5-2")
    world.store.put("in/d/g", b"new")
    world.later()
    found = Run(world, adopts=True)
    assert found.classes == {
        "a": ObjectClass.SAME,
        "d/b": ObjectClass.DIFFERS,
        "d/c": ObjectClass.UNPROVED,
        "d/e/f": ObjectClass.SAME,
        "d/g": ObjectClass.MISSING,
    }
    assert found.paths["d/c"].why == NO_CHECKSUM
    world.target.put("/landing/d/b", b"DATA of d/b")
    found = Run(world, adopts=True)
    assert found.paths["d/b"].found is ObjectClass.UNPROVED
    assert found.paths["d/b"].why == NO_CHECKSUM
    assert world.target.files()["/landing/d/b"] == b"DATA of d/b"
    assert bodies(world) == 0
    assert {state for state, _ in rows(world)} == {TransferState.DONE}


def test_a_destination_that_is_in_use_is_left_for_later(world: World) -> None:
    world.store.put("in/d/z", b"z")
    world.later()
    moving = world.claim("in/d/z", "d", ["z"])
    found = Run(world, adopts=True)
    assert found.classes["a"] is ObjectClass.SAME
    assert found.classes["d/b"] is ObjectClass.UNPROVED
    assert "E_DST_BUSY" in found.paths["d/b"].why
    assert found.classes["d/z"] is ObjectClass.IN_FLIGHT
    world.die(moving)
    world.later()
    found = Run(world, adopts=True)
    assert found.classes["d/b"] is ObjectClass.SAME


def test_an_adoption_that_failed_explains_nothing_that_is_missing(world: World) -> None:
    world.store.put("in/d/z", b"z")
    world.later()
    world.claim("in/d/z", "d", ["z"])
    Run(world, adopts=True)
    assert (TransferState.DEAD, "E_ADOPT_UNPROVEN") in rows(world)
    world.target.remove("/landing/d/c")
    world.later()
    assert Run(world).classes["d/c"] is ObjectClass.MISSING


def test_an_adoption_that_works_or_was_killed_explains_nothing_that_is_missing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object, **__: object) -> NoReturn:
        raise Killed

    world.store.put("in/d/z", b"z")
    world.later()
    with monkeypatch.context() as patch:
        patch.setattr(world.ledger, "intend", killed)
        with pytest.raises(Killed):
            Run(world, adopts=True)
    world.target.remove("/landing/a")
    world.later()
    assert [state.is_final for state, _ in rows(world)] == [False]
    found = Run(world)
    assert found.classes["a"] is ObjectClass.MISSING
    assert found.classes["d/z"] is ObjectClass.MISSING
    assert found.classes["d/b"] is ObjectClass.UNPROVED
    # The next command finds what is left of it.
    world.ledger.close()
    with closing(open_ledger(world.path, create=False, host="h")) as ledger:
        world.ledger = ledger
        sweep(world_ports(world), ledger, Policy(routes=(world.route,)))
        assert rows(world) == [(TransferState.DEAD, "E_ABANDONED")]
        found = Run(world)
        assert (found.classes["a"], found.classes["d/z"]) == (ObjectClass.MISSING,) * 2
        assert Run(world, adopts=True).classes["d/b"] is ObjectClass.SAME


def test_escaped_names_and_keys_without_a_slash_are_adopted(world: World) -> None:
    world.route = replace(world.route, sources=(("raw", ""),), name_map=NameMap.PERCENT)
    for key, name in (("a:b", "a%3Ab"), ("x", "x"), ("p/q:r", "p/q%3Ar")):
        world.store.put(key, key.encode())
        world.target.put(f"/landing/{name}", key.encode())
    world.later()
    classes = Run(world, adopts=True).classes
    names = ("a%3Ab", "x", "p/q%3Ar")
    assert {name: classes[name] for name in names} == dict.fromkeys(names, ObjectClass.SAME)


@pytest.mark.parametrize("jobs", [1, 3])
def test_many_are_adopted_in_batches_and_in_parts(world: World, jobs: int) -> None:
    for number in range(1200):
        world.store.put(f"in/m{number % 3}/{number:04}", b"m")
        world.target.put(f"/landing/m{number % 3}/{number:04}", b"m")
    world.later()
    world.options = replace(world.options, jobs=jobs)
    found = Run(world, adopts=True)
    assert set(found.classes.values()) == {ObjectClass.SAME}
    assert found.found.adopted == 1204
    assert bodies(world) == 0


def test_another_route_comes_first(world: World) -> None:
    first = replace(world.route, name="first")
    found = Run(world, adopts=True, policy=Policy(routes=(first, world.route)))
    assert set(found.classes.values()) == {ObjectClass.UNPROVED}
    assert "route first" in found.paths["a"].why


def test_a_limit_of_the_route_is_for_what_is_copied(world: World) -> None:
    limits = replace(world.route.limits, objects=1, size_bytes=1)
    world.route = replace(world.route, limits=limits)
    assert set(Run(world, adopts=True).classes.values()) == {ObjectClass.SAME}


def test_what_fails_for_one_object_is_no_end_of_the_others(world: World) -> None:
    head, denied = world.store.head, PermanentError("E_SRC_DENIED", "no")

    def refuse(endpoint: Any, pin: Any) -> Any:
        if pin.key == "in/d/c":
            raise denied
        return head(endpoint, pin)

    world.store.head = refuse  # type: ignore[method-assign]
    found = Run(world, adopts=True)
    assert found.paths["d/c"].found is ObjectClass.UNPROVED
    assert found.paths["d/c"].why == "E_SRC_DENIED: no"
    assert found.classes["d/b"] is ObjectClass.SAME


def test_an_outage_ends_it(world: World) -> None:
    down = OutageError.of("s3", "E_S3_UNREACHABLE", "gone")

    def refuse(endpoint: Any, pin: Any) -> Any:
        raise down

    world.store.head = refuse  # type: ignore[method-assign]
    with pytest.raises(OutageError):
        Run(world, adopts=True)


def test_a_path_without_an_object_is_left_alone(world: World) -> None:
    adopter = Adopter(
        ports=None,  # type: ignore[arg-type] # nothing of it is needed
        policy=Policy(routes=()),
        route=world.route,
        retry=RetryPolicy(),
    )
    row = Row("/landing/x", None, None, TargetFile("/landing/x", 1, 1))
    path = ComparedPath(row, ObjectClass.UNPROVED)
    assert adopter.of(lambda one: replace(LANDING, path=one))([path]) == [path]


# ---------------------------------------------------------------- proving again


@pytest.fixture
def adopted(world: World) -> World:
    Run(world, adopts=True)
    return world


def test_what_is_sound_is_proven_by_the_ledger_and_by_s3(adopted: World) -> None:
    found = Run(adopted, deep=1.0)
    assert found.found.deep == DeepTotals(proven=4, by_s3=4)
    assert found.found.findings == 0
    assert bodies(adopted) == 0


def test_a_checksum_of_another_algorithm_is_not_compared(world: World) -> None:
    world.store.put("in/a", b"data of a", algorithm="CRC64NVME")
    world.later()
    Run(world, adopts=True)
    found = Run(world, deep=1.0)
    assert found.found.deep == DeepTotals(proven=4, by_s3=3)


def test_bytes_that_changed_silently_are_found(adopted: World) -> None:
    adopted.target._nodes["/landing/d/b"].data[0] ^= 1
    assert set(Run(adopted).classes.values()) == {ObjectClass.SAME}
    found = Run(adopted, deep=1.0)
    assert found.classes["d/b"] is ObjectClass.DIFFERS
    assert "the target stores CRC32C" in found.paths["d/b"].why
    assert found.found.deep == DeepTotals(proven=3, by_s3=3)


def test_a_checksum_of_s3_that_is_another_one_is_found(adopted: World) -> None:
    wrong = adopted.store.put("other", b"something else").etag
    head = adopted.store.head

    def lie(endpoint: Any, pin: Any) -> Any:
        facts = head(endpoint, pin)
        other = adopted.pin("other")
        return head(endpoint, other) if pin.key == "in/a" else facts

    adopted.store.head = lie  # type: ignore[method-assign]
    found = Run(adopted, deep=1.0)
    assert found.classes["a"] is ObjectClass.DIFFERS
    assert "S3 has CRC32C" in found.paths["a"].why
    assert wrong


@pytest.mark.parametrize("what", ["gone", "replaced", "source"])
def test_what_changes_under_way_is_not_called_different(adopted: World, what: str) -> None:
    """Between the comparison and the second proof."""
    ways: dict[str, Callable[[], object]] = {
        "gone": lambda: adopted.target.remove("/landing/a"),
        "replaced": lambda: adopted.target.put("/landing/a", b"DATA of a"),
        "source": lambda: adopted.store.put("in/a", b"newer of a"),
    }
    proof_of = DeepProof.of

    def late(self: DeepProof, location: Any) -> Any:
        prove = proof_of(self, location)

        def change(chosen: Any) -> Any:
            adopted.clock.advance(60)
            ways[what]()
            return prove(chosen)

        return change

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DeepProof, "of", late)
        found = Run(adopted, deep=1.0)
    assert set(found.classes.values()) == {ObjectClass.SAME}
    proven = 4 if what == "source" else 3
    assert found.found.deep == DeepTotals(proven=proven, by_s3=3, unknown=4 - proven)


def test_a_sample_is_the_same_at_every_run_and_of_its_size() -> None:
    source = SourceObject("", "raw", "k", 1, "e", 0)
    paths = [
        ComparedPath(Row(f"/landing/{n}", source, None, None), ObjectClass.SAME)
        for n in range(10_000)
    ]
    chosen = [one for one in paths if sample_of(0.05)(one)]
    assert 300 < len(chosen) < 700
    assert chosen == [one for one in paths if sample_of(0.05)(one)]
    assert all(sample_of(1.0)(one) for one in paths)
    other = paths[0]._replace(found=ObjectClass.DIFFERS)
    assert not sample_of(1.0)(other)
