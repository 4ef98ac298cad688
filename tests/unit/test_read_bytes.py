"""What attempts read from S3 is reported once: with the end of the transfer, or as read in vain."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.core import facts
from backhaul.core.errors import OutageError, TransientError
from backhaul.core.model import EngineName
from backhaul.core.ports.cluster import AppState, JobProgress
from backhaul.testing.fakes import Fault, Killed
from tests.world import World, route

FILES = {"p/a": b"A" * 5, "p/b": b"B" * 150}  # the latter in ranges
SIZE = 155
BROKEN = TransientError("E_X", "for now")


def make(directory: Path, *, has_cluster: bool = False) -> World:
    world = World(directory, has_cluster=has_cluster)
    for name, data in FILES.items():
        world.store.put(name, data)
    world.queue.send("raw/p/, /land/d")
    return world


@pytest.fixture
def world(tmp_path: Path) -> World:
    return make(tmp_path)


@pytest.fixture
def on_yarn(tmp_path: Path) -> World:
    world = make(tmp_path, has_cluster=True)
    world.routes = (route(engine=EngineName.DISTCP),)
    return world


def done(world: World) -> tuple[int, int]:
    (found,) = world.all_of(facts.TransferDone)
    return found.copied_bytes, found.read_bytes


def in_vain(world: World) -> list[int]:
    return [one.read_bytes for one in world.all_of(facts.AttemptUnpublished)]


def test_what_was_copied_was_read(world: World) -> None:
    world.drain()
    assert done(world) == (SIZE, SIZE)
    assert in_vain(world) == []


def test_an_attempt_that_fails_after_its_copy_read_it_in_vain(world: World) -> None:
    world.faults.at("ledger.intend", 1, Fault.FAIL, BROKEN)
    world.drain()
    assert in_vain(world) == [SIZE]
    assert done(world) == (SIZE, SIZE)


def test_it_is_reported_before_the_attempt_is_over(world: World) -> None:
    world.faults.at("ledger.intend", 1, Fault.FAIL, BROKEN)
    world.drain()
    kinds = [type(fact) for fact in world.facts]
    assert kinds.index(facts.AttemptUnpublished) < kinds.index(facts.AttemptFailed)


def test_a_hold_reports_what_it_had_read(world: World) -> None:
    away = OutageError.of("target", "E_X", "away")
    world.faults.at("ledger.intend", 1, Fault.FAIL, away)
    world.drain()
    assert in_vain(world) == [SIZE]


def test_what_reads_nothing_reports_nothing(world: World) -> None:
    world.faults.at("store.list", 1, Fault.FAIL, BROKEN)
    world.drain()
    assert in_vain(world) == []
    assert world.states == ["done"]


def test_what_is_there_already_is_not_read(world: World) -> None:
    world.drain()
    world.facts.clear()
    world.queue.send("raw/p/, /land/d")
    world.drain()
    assert done(world) == (0, 0)


def test_a_read_that_is_repeated_loses_nothing_of_the_count(world: World) -> None:
    world.faults.at("store.get", 3, Fault.FAIL, BROKEN)
    world.drain()
    assert done(world) == (SIZE, SIZE)


def looks(world: World, monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    """What YARN reports at one look after another; the last one from then on."""
    left = list(sizes)

    def progress(_application: object) -> JobProgress:
        size_bytes = left.pop(0) if len(left) > 1 else left[0]
        return JobProgress(maps_done=0, maps=1, size_bytes=size_bytes)

    monkeypatch.setattr(world.cluster, "progress", progress)


def test_mappers_read_what_yarn_reports(on_yarn: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on_yarn.cluster.looks = 3
    looks(on_yarn, monkeypatch, 70, 120, 0)  # a look may miss what an earlier one knew
    on_yarn.drain()
    assert done(on_yarn) == (SIZE, SIZE)  # what its counters say at its end


def test_what_a_failed_application_read_is_in_vain(
    on_yarn: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_yarn.cluster.outcome = AppState.FAILED
    looks(on_yarn, monkeypatch, 70)
    on_yarn.drain()
    assert on_yarn.states == ["dead"]
    assert in_vain(on_yarn) == [70, 70, 70]


# ---------------------------------------------------------------- taken over


def takeovers(world: World) -> list[bool]:
    return [one.is_takeover for one in world.all_of(facts.AttemptStarted)]


def test_what_a_killed_process_left_is_taken_over(world: World) -> None:
    world.faults.at("ledger.intend", 1, Fault.KILL)
    with world.process() as ports, pytest.raises(Killed):
        world.agent(ports).run()
    world.faults.revive()
    world.clock.advance(13 * 3600)
    world.drain()
    assert takeovers(world) == [False, True]


def test_what_this_process_failed_at_is_its_own(world: World) -> None:
    world.faults.at("ledger.intend", 1, Fault.FAIL, BROKEN)
    world.drain()
    assert takeovers(world) == [False, False]
