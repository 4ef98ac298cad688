"""What overtakes an attempt: a stop, an operator, another's rename, somebody's own file."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from backhaul.core import facts as events
from backhaul.core.agent import sweeping
from backhaul.core.agent.stopping import Stop
from backhaul.core.agent.sweeping import SWEEP_AFTER, sweep_abandoned
from backhaul.core.checksums import Checksum
from backhaul.core.errors import OutageError
from backhaul.core.facts import AbandonedStagingRemoved
from backhaul.core.model import (
    EventFacts,
    EvidencePlace,
    Location,
    NameMap,
    OnExists,
    Request,
    Source,
)
from backhaul.core.objects import Pin, PlannedObject
from backhaul.core.ports import Operator, Published
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer import overtaken
from backhaul.core.transfer.publishing import is_newer
from backhaul.testing.fakes import Fault, ReadFault
from tests.unit.test_agent import killed_at
from tests.unit.test_agent_events import EVENTS, notice
from tests.world import World, eventually, location, route

ALICE = Operator(name="alice@edge1")


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.store.put("p/a", b"the first", version_id="1")
    return made


# ---------------------------------------------------------------- other transfers


def test_a_newer_file_whose_record_died_with_its_agent_is_not_replaced(world: World) -> None:
    """S4: it stands there, and nobody has said so yet."""
    first = world.queue.send("raw/p/a, /land/d")
    killed_at(world, "target.create")
    world.clock.advance(60)
    world.store.put("p/a", b"a newer state", version_id="2")
    second = world.queue.send("raw/p/a, /land/d")
    killed_at(world, "ledger.finish", poll_wait_s=0)
    assert world.landed() == {"d/a": b"a newer state"}
    assert world.queue.invisible_s(first) < world.queue.invisible_s(second)
    world.clock.advance(world.queue.invisible_s(first))
    world.drain(poll_wait_s=0)

    assert world.queue.deleted == [first]
    assert world.landed() == {"d/a": b"a newer state"}
    world.clock.advance(3600)
    world.drain()
    assert world.landed() == {"d/a": b"a newer state"}
    assert {row.message_id: row.state.value for row in world.rows()} == {
        first: "superseded",
        second: "done",
    }


def test_the_same_bytes_that_came_from_elsewhere_meanwhile_are_fine(world: World) -> None:
    world.routes = (route(on_exists=OnExists.SAME_OK),)

    def come(call: str) -> None:
        if call == "ledger.intend":
            world.target.put("/land/d/a", b"the first")

    world.faults.after_effect = come
    world.queue.send("raw/p/a, /land/d")
    world.drain()

    (done,) = world.all_of(events.TransferDone)
    assert done.publish == "adopted"
    assert world.landed() == {"d/a": b"the first"}
    assert world.staging() == []


def test_a_transfer_that_is_cancelled_while_bytes_come_in_reads_no_more(world: World) -> None:
    for number in range(5):
        world.store.put(f"p/n{number}", b"more")
    cancelled: list[str] = []

    def cancel(call: str) -> None:
        world.clock.advance(10 * (call == "store.get"))
        if call == "ledger.claim" and not cancelled:
            (row,) = world.rows()
            cancelled.append(row.id)
            with world.process() as operator:
                operator.ledger.cancel(row.id, world.clock.now(), ALICE)  # type: ignore[attr-defined]

    world.faults.after_effect = cancel
    world.queue.send("raw/p/, /land/d")
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_CANCELLED"
    assert world.landed() == {}
    world.clock.advance(SWEEP_AFTER.total_seconds() + 1)
    with world.process() as ports:
        sweep_abandoned(ports, Policy(routes=world.routes))
    assert world.staging() == []


# ---------------------------------------------------------------- stops


def test_a_stop_keeps_a_dead_message_whose_second_letter_is_not_sent(world: World) -> None:
    message_id = world.queue.send("no request")
    killed_at(world, "ledger.fail")  # the letter is sent, and not recorded
    world.clock.advance(3600)
    world.faults.always("queue.send_dead_letter", OutageError.of("sqs", "E_X", "down"))
    with world.running() as agent:
        eventually(lambda: world.faults.count("queue.send_dead_letter") > 3)
        agent.request_stop(Stop.DRAIN)
    assert world.queue.remaining == [message_id]
    world.faults.never("queue.send_dead_letter")
    world.drain()
    assert world.queue.remaining == []
    assert len(world.queue.dead_letters) == 2


def test_a_letter_that_is_recorded_is_not_sent_again(world: World) -> None:
    world.queue.send("no request")
    killed_at(world, "queue.delete")
    world.clock.advance(3600)
    world.drain()
    assert world.queue.remaining == []
    assert len(world.queue.dead_letters) == 1


def test_a_stop_keeps_a_message_whose_death_is_not_recorded(world: World) -> None:
    message_id = world.queue.send("no request")
    world.faults.always("ledger.fail", OutageError.of("ledger", "E_LEDGER_IO", "no answer"))
    with world.running() as agent:
        eventually(lambda: world.faults.count("ledger.fail") > 2)
        agent.request_stop(Stop.DRAIN)
    assert world.queue.remaining == [message_id]
    assert world.states != ["dead"]
    world.faults.never("ledger.fail")
    world.drain()
    assert (world.queue.remaining, world.states) == ([], ["dead"])


def test_a_stop_after_a_failed_record_leaves_the_next_for_later(world: World) -> None:
    world.routes = (route(**EVENTS),)
    world.store.put("p/b", b"the second")
    world.store.spoil_read("p/a", ReadFault.FLIP, times=2)
    message_id = world.queue.send(notice("p/a", "p/b"))
    emit = world.emit
    with world.process() as ports:

        def stop(fact: object) -> None:
            emit(fact)
            if isinstance(fact, events.AttemptFailed):
                agent.request_stop(Stop.DRAIN)

        agent = world.agent(replace(ports, emit=stop))
        agent.run()
    assert world.landed() == {}
    assert (world.queue.remaining, agent.totals.failed) == ([message_id], 1)
    assert world.queue.invisible_s(message_id) > 0, "it comes back after its back-off"
    world.clock.advance(3600)
    world.drain()
    assert world.landed() == {"p/a": b"the first", "p/b": b"the second"}


# ---------------------------------------------------------------- what is left


def test_a_dead_message_is_dead_although_its_staging_cannot_be_asked_for(world: World) -> None:
    world.faults.at("ledger.staging_of", 1, Fault.FAIL)
    message_id = world.queue.send("no request")
    world.drain()
    assert (world.states, world.queue.deleted) == (["dead"], [message_id])


@pytest.mark.parametrize("batch", [1, 500])
def test_abandoned_staging_of_many_transfers_goes_in_batches_with_its_directory(
    world: World, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(sweeping, "SWEEP_BATCH", batch)
    for name in ("d1", "d2", "d3"):
        world.queue.send(f"raw/p/a, /land/{name}")
        killed_at(world, "target.create", poll_wait_s=0)
    world.faults.revive()
    roots = sorted(path for path in world.staging() if path.count("/") == 3)
    assert len(roots) == 3
    world.target.remove(roots[0])  # somebody was faster
    world.clock.advance(SWEEP_AFTER.total_seconds() + 1)
    with world.process() as ports:
        sweep_abandoned(ports, Policy(routes=world.routes))
        assert world.staging() == []
        assert len(world.all_of(AbandonedStagingRemoved)) == 2
        assert ports.ledger.abandoned_staging(world.clock.now(), age=timedelta(0), most=10) == []


def test_the_manifest_stands_beside_the_data_where_the_route_asks_for_it(world: World) -> None:
    world.routes = (route(evidence=EvidencePlace.BESIDE),)
    world.queue.send("raw/p/a, /land/d")
    world.drain()
    (row,) = world.rows()
    landed = world.landed()
    manifest = landed.pop(f"d/.backhaul-{row.id}.jsonl")
    assert landed == {"d/a": b"the first"}
    (done,) = world.all_of(events.TransferDone)
    assert hashlib.sha256(manifest).hexdigest() == done.manifest


def test_a_defect_in_the_sweep_ends_the_agent_and_is_not_swallowed(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else staging would gather for as long as the agent runs."""

    def broken(*_parts: object) -> None:
        raise ZeroDivisionError("a defect")

    monkeypatch.setattr("backhaul.core.agent.agent.sweep_abandoned", broken)
    with pytest.raises(ZeroDivisionError, match="a defect"), world.process() as ports:
        world.agent(ports, drain=False, poll_wait_s=0).run()


def test_a_sweep_that_meets_an_outage_is_told_and_stops_nothing(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    outage = OutageError.of("ledger", "E_LEDGER_IO", "the disk does not answer")

    def refused(*_parts: object) -> None:
        raise outage

    monkeypatch.setattr("backhaul.core.agent.agent.sweep_abandoned", refused)
    with world.running():
        eventually(lambda: world.all_of(events.SweepFailed))
        world.queue.send("raw/p/, /land/d")
        eventually(lambda: world.queue.remaining == [])
    assert world.landed()


# ---------------------------------------------------------------- which state is the later one

SECOND = datetime(2026, 11, 22, 12, tzinfo=UTC)


def state(ms: int, etag: str) -> Pin:
    at = SECOND + timedelta(milliseconds=ms)
    return Pin(bucket="raw", key="p/a", size_bytes=1, etag=etag, last_modified=at)


class Known:
    """What the ledger published of `p/a`."""

    def __init__(self, pin: Pin) -> None:
        self._pin = pin

    def published(self, locations: Sequence[Location]) -> dict[Location, Published]:
        return {
            one: Published(
                location=one,
                transfer_id="t1",
                pin=self._pin,
                content=Checksum("CRC32C", "0badcafe"),
                modified_ms=0,
            )
            for one in locations
        }


@pytest.mark.parametrize(
    ("before", "now", "current", "expected"),
    [
        (state(500, "old"), state(0, "new"), state(700, "new"), False),  # HEAD after a listing
        (state(0, "old"), state(700, "new"), state(700, "new"), False),
        (state(500, "new"), state(0, "old"), state(500, "new"), True),
        (state(500, "same"), state(0, "same"), None, True),
        (state(800, "new"), state(200, "old"), None, True),
        (state(1000, "new"), state(900, "old"), None, True),
        (state(900, "old"), state(1000, "new"), None, False),
    ],
)
def test_a_time_in_whole_seconds_and_one_in_milliseconds_are_no_order_within_a_second(
    monkeypatch: pytest.MonkeyPatch, before: Pin, now: Pin, current: Pin | None, *, expected: bool
) -> None:
    monkeypatch.setattr(overtaken, "current_object", lambda *_, **__: current)
    event = EventFacts(key="p/a", sequencer="01")
    source = Source(bucket="raw", key="p/a")
    request = Request(source=source, destination=location("/land/d"), event=event)
    job = SimpleNamespace(request=request, source_owner=None, name_map=NameMap.STRICT)
    found = overtaken.is_overtaken(
        Known(before),  # type: ignore[arg-type]
        object(),  # type: ignore[arg-type]
        job,  # type: ignore[arg-type]
        location("/land/d/a"),
        now,
    )
    assert found is expected


def test_a_file_is_not_newer_by_a_fraction_that_the_other_time_lacks() -> None:
    path = location("/land/d/a")
    known = Known(state(500, "old")).published([path])[path]
    assert not is_newer(known, PlannedObject(seq=0, pin=state(0, "new"), relative="a"))
    assert is_newer(known, PlannedObject(seq=0, pin=state(400, "new"), relative="a"))
