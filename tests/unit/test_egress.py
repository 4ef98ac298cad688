"""Every byte of a body that S3 sends is counted once in the ledger, by what it was read for."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import date
from pathlib import Path

import pytest

from backhaul.core.cost.egress import Egress, EgressRecorded, sender_of
from backhaul.core.errors import OutageError, TransientError
from backhaul.core.facts import AttemptFailed, LedgerRecordMissed
from backhaul.core.model import EngineName
from backhaul.core.ports.cluster import AppState, JobProgress
from backhaul.testing.fakes import Fault, Killed
from backhaul.testing.fakes.store import ReadFault
from tests.world import World, route

FILES = {"p/a": b"A" * 40, "p/b": b"B" * 150}  # the latter in ranges
SIZE = 190
BROKEN = TransientError("E_X", "for now")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    for name, data in FILES.items():
        made.store.put(name, data)
    made.queue.send("raw/p/, /land/d")
    return made


def counted(world: World) -> Egress:
    with world.process() as ports:
        return ports.ledger.egress_since(date(2000, 1, 1))


def of_transfers(world: World) -> list[tuple[int, int, int]]:
    with closing(sqlite3.connect(world.path)) as connection:
        query = "SELECT egress_copy, egress_retry, egress_verify FROM transfers ORDER BY id"
        return list(connection.execute(query))


def reported(world: World) -> Egress:
    found = Egress()
    for one in world.all_of(EgressRecorded):
        found += one.native + one.distcp
    return found


def check(world: World, expected: Egress) -> None:
    assert counted(world) == expected
    assert reported(world) == expected
    assert of_transfers(world) == [(expected.copy, expected.retry, expected.verify)]


def test_what_is_copied_is_read_once(world: World) -> None:
    world.drain()
    check(world, Egress(copy=SIZE))


@pytest.mark.parametrize("fault", [ReadFault.BREAK, ReadFault.TRUNCATE])
def test_of_a_body_that_breaks_what_comes_once_more_is_a_retry(
    world: World, fault: ReadFault
) -> None:
    world.store.spoil_read("p/a", fault)
    world.drain()
    assert world.states == ["done"]
    # What broke goes on where it broke; what ended early is read again from its beginning.
    check(world, Egress(copy=SIZE, retry=20 if fault is ReadFault.TRUNCATE else 0))


def test_bytes_that_were_not_s3s_are_read_again(world: World) -> None:
    world.store.spoil_read("p/a", ReadFault.FLIP)
    world.drain()
    assert world.states == ["done"]
    check(world, Egress(copy=SIZE, retry=40))


def test_an_attempt_after_a_failed_one_reads_again(world: World) -> None:
    world.faults.at("ledger.intend", 1, Fault.FAIL, BROKEN)
    world.drain()
    assert world.states == ["done"]
    check(world, Egress(copy=SIZE, retry=SIZE))


def test_of_half_an_attempt_the_other_half_is_read_for_the_first_time(world: World) -> None:
    world.store.spoil_read("p/a", ReadFault.FLIP, times=3)
    world.drain()
    assert world.states == ["done"]
    assert len(world.all_of(AttemptFailed)) == 1
    check(world, Egress(copy=SIZE, retry=3 * 40))


def test_what_is_there_already_is_not_read(world: World) -> None:
    world.drain()
    world.queue.send("raw/p/, /land/d")
    world.drain()
    assert counted(world) == Egress(copy=SIZE)


def test_a_killed_process_loses_what_it_had_not_recorded(world: World) -> None:
    world.faults.at("ledger.intend", 1, Fault.KILL)
    with world.process() as ports, pytest.raises(Killed):
        world.agent(ports).run()
    world.faults.revive()
    assert counted(world) == Egress()
    world.clock.advance(13 * 3600)
    world.drain()
    assert counted(world) == Egress(copy=SIZE)


def test_what_could_not_be_recorded_at_the_end_is_said(world: World) -> None:
    away = OutageError.of("ledger", "E_LEDGER_IO", "gone")
    world.faults.at("ledger.intend", 1, Fault.FAIL, away)
    world.faults.at("ledger.note_egress", 1, Fault.FAIL, away)
    world.drain()
    assert "E_LEDGER_IO" in [one.code for one in world.all_of(LedgerRecordMissed)]


# ---------------------------------------------------------------- YARN


def on_yarn(world: World, monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    """What YARN reports at one look after another; the last one from then on."""
    world.routes = (route(engine=EngineName.DISTCP),)
    left = list(sizes)

    def progress(_application: object) -> JobProgress:
        size_bytes = left.pop(0) if len(left) > 1 else left[0]
        return JobProgress(maps_done=0, maps=1, size_bytes=size_bytes)

    monkeypatch.setattr(world.cluster, "progress", progress)


@pytest.fixture
def yarn(tmp_path: Path) -> World:
    made = World(tmp_path, has_cluster=True)
    for name, data in FILES.items():
        made.store.put(name, data)
    made.queue.send("raw/p/, /land/d")
    return made


def test_mappers_read_what_their_counters_say(yarn: World, monkeypatch: pytest.MonkeyPatch) -> None:
    on_yarn(yarn, monkeypatch, 70, 120)
    yarn.cluster.looks = 3
    yarn.cluster.has_history = True
    yarn.drain()
    assert yarn.states == ["done"]
    check(yarn, Egress(copy=SIZE))
    assert {one.native for one in yarn.all_of(EgressRecorded)} == {Egress()}


def test_what_a_failed_application_read_is_counted(
    yarn: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_yarn(yarn, monkeypatch, 70)
    yarn.cluster.outcome = AppState.FAILED
    yarn.cluster.has_history = False
    yarn.drain()
    assert yarn.states == ["dead"]
    check(yarn, Egress(copy=70, retry=2 * 70))


def test_an_application_that_is_followed_on_is_counted_once(
    yarn: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_yarn(yarn, monkeypatch, 70, 120)
    yarn.cluster.looks = 6
    yarn.cluster.has_history = True
    yarn.faults.at("ledger.note_job", 3, Fault.KILL)
    with yarn.process() as ports, pytest.raises(Killed):
        yarn.agent(ports).run()
    yarn.faults.revive()
    assert counted(yarn) == Egress(copy=70)
    yarn.clock.advance(13 * 3600)
    yarn.drain()
    assert yarn.states == ["done"]
    assert counted(yarn) == Egress(copy=SIZE)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("sender_id", "expected"),
    [
        (None, ""),
        ("AIDAEXAMPLE", "AIDAEXAMPLE"),
        ("AROAEXAMPLE:i-0123", "AROAEXAMPLE"),
        ("AROAEXAMPLE:other", "AROAEXAMPLE"),
    ],
)
def test_sessions_of_a_role_are_one_sender(sender_id: str | None, expected: str) -> None:
    assert sender_of(sender_id) == expected
