"""Transfers that may adopt and never copy: what `reconcile --adopt` runs through the engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.ledger.attempts import ADOPT_QUEUE
from backhaul.app.sweep import sweep
from backhaul.core import facts as events
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import PermanentError
from backhaul.core.model import OnExists, TransferState
from backhaul.core.objects import Pin, PlannedObject, Proof
from backhaul.core.ports import MessageKey, Ports, StageTask
from backhaul.core.requests.body import parse_message
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.chosen_objects import ChosenObjects
from backhaul.core.transfer.listing import list_objects, list_pages
from backhaul.core.transfer.outcome import DONE, WAIT, Budget, Disposition, Verdict
from backhaul.engines.counter import Counter
from backhaul.engines.operations import TargetOperations
from backhaul.testing.fakes import (
    FakeClock,
    FakeContent,
    FakeStore,
    FakeTarget,
    Fault,
    Faults,
    Killed,
)
from tests.world import FS, World, location, route

FILES = {"d/a": b"AAA", "d/b": b"BBBB"}
WRITES = ("store.get", "target.create", "target.rename")


@pytest.fixture
def world(tmp_path: Path) -> World:
    """What another tool brought: the ledger knows nothing of it."""
    world = World(tmp_path)
    for name, data in FILES.items():
        world.store.put(name.replace("d/", "p/"), data)
        world.target.put(f"/land/{name}", data)
    return world


@pytest.fixture
def ports(world: World) -> Iterator[Ports]:
    with world.process() as ports:
        yield ports


def adopt(
    world: World, ports: Ports, pins: Sequence[Pin] | None = None, *, name: str = "t1"
) -> Verdict:
    """One attempt for these objects, by default all below `p/`."""
    if pins is None:
        pins = [pin for page in list_pages(world.store, "raw", "p/") for pin in page.pins]
    policy = Policy(routes=world.routes)
    request = parse_message("raw/p/, /land/d", default_fs=FS)
    begun = ports.ledger.begin(
        MessageKey(queue=ADOPT_QUEUE, message_id=name), name, "s3://raw/p/", "x", ports.clock.now()
    )
    job = replace(policy.decide(request, sender_id=None), adopts_only=True)
    world.faults.log.clear()
    return Attempt(
        ports=replace(ports, store=ChosenObjects(world.store, pins)),
        policy=lambda: policy,
        begun=begun,
        job=replace(job, on_exists=OnExists.SAME_OK),
        budget=Budget(retry=RetryPolicy(max_attempts=3)),
        message_id=None,
    ).run()


def made(world: World) -> set[str]:
    """Calls that read a body or write a file."""
    return {name for name, _ in world.faults.log} & set(WRITES)


def known(ports: Ports) -> set[str]:
    """Paths of which the ledger has the content."""
    finals = [location(f"/land/{name}") for name in FILES]
    return {place.path for place in ports.ledger.published(finals)}


def test_what_is_there_is_proven_without_a_body(world: World, ports: Ports) -> None:
    assert adopt(world, ports) == DONE
    assert made(world) == set()
    assert known(ports) == {"/land/d/a", "/land/d/b"}
    assert (world.landed(), world.staging()) == (FILES, [])
    (done,) = world.all_of(events.TransferDone)
    assert (done.publish, done.adopted, done.copied_bytes) == ("adopted", 2, 0)


def test_only_what_was_chosen_is_planned(world: World, ports: Ports) -> None:
    (first, _) = (pin for page in list_pages(world.store, "raw", "p/") for pin in page.pins)
    world.target.put("/land/d/b", b"another")
    assert adopt(world, ports, [first]) == DONE
    assert known(ports) == {"/land/d/a"}
    assert world.landed() == {**FILES, "d/b": b"another"}


@pytest.mark.parametrize("there", [b"AAB", b"AA", None])
def test_what_differs_is_neither_copied_nor_recorded(
    world: World, ports: Ports, there: bytes | None
) -> None:
    world.target.remove("/land/d/a")
    if there is not None:
        world.target.put("/land/d/a", there)
    before = world.landed()
    verdict = adopt(world, ports)
    assert verdict.disposition is Disposition.DEAD
    assert isinstance(verdict.error, PermanentError)
    assert verdict.error.code == "E_ADOPT_UNPROVEN"
    assert "/land/d/a" in verdict.error.message
    assert made(world) == set()
    assert known(ports) == set()
    assert (world.landed(), world.staging()) == (before, [])


def test_what_another_state_is_known_of_is_judged_by_its_bytes(world: World, ports: Ports) -> None:
    assert adopt(world, ports) == DONE
    world.store.put("p/a", b"aaa")
    assert adopt(world, ports, name="t2").disposition is Disposition.DEAD
    ports.ledger.fail("t2", TransferState.DEAD, "E_ADOPT_UNPROVEN", "", ports.clock.now())
    world.target.put("/land/d/a", b"aaa")
    assert adopt(world, ports, name="t3") == DONE
    final = location("/land/d/a")
    assert ports.ledger.published([final])[final].transfer_id == "t3"


def test_a_directory_that_is_gone_is_not_made(world: World, ports: Ports) -> None:
    world.target.remove("/land/d")
    verdict = adopt(world, ports)
    assert verdict.error is not None
    assert verdict.error.code == "E_ADOPT_UNPROVEN"
    assert world.landed() == {}
    assert world.staging() == []


def test_an_object_that_changed_since_is_not_adopted(world: World, ports: Ports) -> None:
    pins = [pin for page in list_pages(world.store, "raw", "p/") for pin in page.pins]
    world.store.put("p/a", b"aaa")
    assert adopt(world, ports, pins).disposition is Disposition.RETRY
    assert known(ports) == set()


def test_a_destination_that_another_owns_is_left_alone(world: World, ports: Ports) -> None:
    begun = ports.ledger.begin(None, "other", "s", "d", ports.clock.now())
    policy = Policy(routes=world.routes)
    job = policy.decide(parse_message("raw/q/, /land/d/b", default_fs=FS), sender_id=None)
    claimed = ports.ledger.claim(
        begun.transfer_id,
        job,
        location("/land/d/b"),
        location("/land"),
        directory=location("/land/d/b"),
        first=[],
        is_complete=True,
        markers=0,
        min_epoch=1,
        now=ports.clock.now(),
    )
    assert claimed is not None
    assert adopt(world, ports) == WAIT
    assert known(ports) == set()


def test_a_route_that_goes_meanwhile_counts(world: World, ports: Ports) -> None:
    pins = [pin for page in list_pages(world.store, "raw", "p/") for pin in page.pins]
    world.routes = (route(sources=(("raw", "q/"),)),)
    with pytest.raises(PermanentError):
        adopt(world, ports, pins)
    assert known(ports) == set()


@pytest.mark.slow
def test_die_anywhere_and_the_next_one_ends_the_same(world: World) -> None:
    with world.process() as ports:
        assert adopt(world, ports, name="clean") == DONE
        steps = list(world.faults.log)
    assert len(steps) > 10
    for number, (name, occurrence) in enumerate(steps):
        at = World(world.path.parent / str(number))
        at.path.parent.mkdir()
        for file, data in FILES.items():
            at.store.put(file.replace("d/", "p/"), data)
            at.target.put(f"/land/{file}", data)
        before = at.faults.count(name)
        with at.process() as ports:
            pins = [pin for page in list_pages(at.store, "raw", "p/") for pin in page.pins]
            at.faults.at(name, occurrence, Fault.KILL)
            with pytest.raises(Killed):
                adopt(at, ports, pins, name="dies")
        assert before == 0
        assert not made(at), name
        at.clock.advance(13 * 3600)
        with at.process() as ports:
            at.faults.log.clear()
            sweep(ports, ports.ledger, Policy(routes=at.routes))  # type: ignore[arg-type]
            assert adopt(at, ports, name="next") == DONE, name
            assert not made(at), name
            assert known(ports) == {"/land/d/a", "/land/d/b"}, name
        assert (at.landed(), at.staging()) == (FILES, []), name
        ends = {row.id: row.state for row in at.rows()}
        assert ends["next"] is TransferState.DONE
        assert ends.get("dies", TransferState.DEAD).is_final


# ---------------------------------------------------------------- the objects that were chosen


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_chosen_objects_are_listed_as_they_were(page_size: int) -> None:
    store = FakeStore(FakeClock(), new_digest)
    pins = [store.put(key, key.encode()) for key in ("p/a", "p/a-b", "p/a/b", "q")]
    chosen = ChosenObjects(store, pins)
    found = [
        pin for page in list_pages(chosen, "raw", "p/", page_size=page_size) for pin in page.pins
    ]
    assert found == pins[:3]
    assert [one.pins for one in list_pages(chosen, "other", "p/")] == [()]
    later = list_objects(chosen, "raw", "p/", start_after="p/a", page_size=page_size)
    assert [one.key for page in later for one in page] == ["p/a-b", "p/a/b"]
    assert chosen.endpoint("raw") == store.endpoint("raw")
    assert chosen.algorithms(pins[0]) == store.algorithms(pins[0])
    version = store.put("v", b"1", version_id="v1")
    assert chosen.find_version("raw", "v", "v1") == version


# ---------------------------------------------------------------- checksums made of parts


@pytest.mark.parametrize("algorithm", ["CRC32C", "CRC32", "SHA256"])
@pytest.mark.parametrize("reported", ["checksums", "sizes", "nothing"])
@pytest.mark.parametrize("kept", ["CRC32C", None])
def test_a_file_is_proven_by_the_parts_of_its_object(
    algorithm: str, reported: str, kept: str | None
) -> None:
    clock, faults = FakeClock(), Faults()
    content = FakeContent(new_digest=new_digest, algorithm=kept) if kept else None
    target = FakeTarget(clock, faults=faults, content=content)
    store = FakeStore(clock, new_digest, faults=faults)
    data = bytes(range(200))
    pin = store.put_parts("k", data, 64, algorithm=algorithm, reported=reported)
    target.put("/same", data)
    target.put("/other", data[:-1] + b"\0")
    operations = TargetOperations(target, new_digest, Counter(), lambda: store)
    task = StageTask(
        planned=PlannedObject(seq=0, pin=pin, relative="f"), endpoint=store.endpoint("raw")
    )
    same, other = operations.match_existing([task, task], ["/same", "/other"])
    assert other is None
    assert (same is not None) is (reported != "nothing")
    if same is not None:
        assert (same.proof, same.algorithm) == (Proof.ADOPTED, algorithm)
        assert same.checksum is not None
        assert same.checksum.endswith("-4")
        is_kept = kept == algorithm == "CRC32C" and reported == "checksums"
        assert same.checksum_source == ("datanode" if is_kept else "read")
    assert faults.count("store.get") == 0
