"""Messages that no later attempt helps, where something is in the way of their end."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import SqlLedger
from backhaul.core import facts as events
from backhaul.core.agent import delivery
from backhaul.core.agent.dead_lettering import DEAD_LETTER_RETRY_S, DEAD_LETTER_TRIES
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import BackhaulError, OutageError, TransientError
from backhaul.core.model import Limits
from backhaul.testing.fakes import Fault, ReadFault
from tests.unit.test_agent_events import EVENTS, A, notice, record, states
from tests.world import World, eventually, route

pytestmark = pytest.mark.slow  # each test runs an agent

DAY_S = 86_400
RESET = TransientError("E_S3_RESET", "connection reset")
AWAY = OutageError.of("s3", "E_S3_UNREACHABLE", "S3 is away")
REFUSED = OutageError.of("sqs", "E_SQS_KMS", "KMS refuses the key")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return on_events(World(tmp_path))


def on_events(world: World) -> World:
    world.routes = (route(**EVENTS),)
    world.store.put("p/a", A)
    world.store.put("p/b", b"content of b")
    return world


def letters(world: World) -> list[str | None]:
    """Their codes; None for one that SQS moved by itself."""
    reasons = [letter.reason for letter in world.queue.dead_letters]
    return [None if reason is None else reason.code for reason in reasons]


# ---------------------------------------------------------------- before the attempt is counted


@pytest.mark.parametrize(
    ("error", "age_s"), [(RESET, 3.3 * DAY_S), (AWAY, 3.79 * DAY_S)], ids=["fails", "away"]
)
def test_placeholder_that_s3_never_confirms_is_dead_before_its_queue_forgets_it(
    world: World, error: BackhaulError, age_s: float
) -> None:
    message_id = world.queue.send(notice(record("p/sub/", size=0)))
    world.faults.always("store.list", error)
    world.clock.advance(age_s)
    world.drain(drain_patience_s=DAY_S)

    assert letters(world) == ["E_EXPIRING"]
    assert (world.queue.deleted, world.queue.expired) == ([message_id], [])
    assert world.states == ["dead"]


def test_placeholder_that_s3_never_confirms_does_not_come_back_for_ever(world: World) -> None:
    message_id = world.queue.send(notice(record("p/sub/", size=0)))
    world.faults.always("store.list", RESET)
    agent = world.drain(retry=RetryPolicy(max_attempts=2, max_starts=4, base_s=10))

    assert letters(world) == ["E_S3_RESET"]
    assert world.queue.deleted == [message_id]
    assert agent.totals.failed == 3


def test_placeholder_about_to_be_redriven_dies_with_its_reason(tmp_path: Path) -> None:
    world = on_events(World(tmp_path, max_receive_count=2))
    world.queue.send(notice(record("p/sub/", size=0)))
    world.faults.always("store.list", RESET)
    world.drain()

    assert letters(world) == ["E_S3_RESET"]
    assert world.states == ["dead"]


def test_death_of_a_placeholder_waits_for_a_ledger_that_is_away(world: World) -> None:
    message_id = world.queue.send(notice(record("p/sub/", size=0)))
    world.faults.always("store.list", RESET)
    full = OutageError.of("ledger", "E_LEDGER_FULL", "no room")
    for occurrence in (1, 2):
        world.faults.at("ledger.begin", occurrence, Fault.FAIL, full)
    world.clock.advance(3.3 * DAY_S)
    world.drain(drain_patience_s=DAY_S)

    assert letters(world) == ["E_EXPIRING"]
    assert world.queue.deleted == [message_id]


def test_death_that_the_ledger_cannot_take_is_tried_again(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = world.queue.send(notice(record("p/sub/", size=0)))
    world.faults.always("store.list", RESET)
    begin, errors = SqlLedger.begin, [BackhaulError("E_LEDGER_BUG", "a bug"), ValueError("bug")]

    def fail(self: SqlLedger, *given: Any, **named: Any) -> Any:
        if errors:
            raise errors.pop()
        return begin(self, *given, **named)

    monkeypatch.setattr(SqlLedger, "begin", fail)
    world.clock.advance(3.3 * DAY_S)
    agent = world.drain()

    assert letters(world) == ["E_EXPIRING"]
    assert (world.queue.deleted, agent.totals.failed) == ([message_id], 2)


def test_old_message_that_found_the_ledger_away_is_tried_when_it_is_back(world: World) -> None:
    full = OutageError.of("ledger", "E_LEDGER_FULL", "no room")
    world.faults.at("ledger.begin", 1, Fault.FAIL, full)
    world.queue.send("raw/p/a, /land/d")
    world.clock.advance(3.85 * DAY_S)
    world.drain()

    assert world.landed() == {"d/a": A}
    assert world.queue.dead_letters == []


def break_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> Any:
        raise ValueError("no reader expects this")

    monkeypatch.setattr(delivery, "records_of", fail)


@pytest.mark.parametrize("age_s", [0.0, 3.3 * DAY_S])
def test_body_that_breaks_the_reader_is_dead_in_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch, age_s: float
) -> None:
    message_id = world.queue.send(notice("p/a"))
    break_reader(monkeypatch)
    world.clock.advance(age_s)
    agent = world.drain()

    assert letters(world) == ["E_EXPIRING" if age_s else "E_BUG"]
    assert world.queue.deleted == [message_id]
    assert agent.totals.failed == (0 if age_s else 2)
    assert world.states == ["dead"]


def test_body_that_breaks_the_reader_is_not_taken_for_a_record_that_is_done(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    message_id = world.queue.send(notice("p/a", "p/b"))
    world.store.spoil_read("p/b", ReadFault.FLIP, times=2)

    def break_then(call: str) -> None:
        if call == "queue.extend":  # the first delivery has ended: one done, one comes back
            break_reader(monkeypatch)

    world.faults.after_effect = break_then
    world.drain()

    assert states(world)[message_id] == "done"
    assert letters(world) == ["E_BUG"]
    assert world.queue.deleted == [message_id]


# ---------------------------------------------------------------- waiting for others


def test_message_that_waits_for_others_dies_before_its_queue_forgets_it(world: World) -> None:
    world.routes = (route(limits=Limits(in_flight=0)),)
    message_id = world.queue.send("raw/p/, /land/d")
    world.clock.advance(3.7999 * DAY_S)
    world.drain()

    assert letters(world) == ["E_EXPIRING"]
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert "E_DST_BUSY" in letter.reason.sentence
    assert (world.queue.deleted, world.queue.expired) == ([message_id], [])
    assert world.all_of(events.TransferWaiting)


def test_old_message_whose_transfer_runs_elsewhere_is_left_to_it(world: World) -> None:
    message_id = world.queue.send("raw/p/, /land/d")
    world.clock.advance(3.85 * DAY_S)
    redelivered: list[object] = []

    def deliver_again(call: str) -> None:
        if call != "target.create" or redelivered:
            return
        redelivered.append(call)
        world.queue.redeliver(message_id)
        (again,) = world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=120)
        delivery.deliver(agents[0]._context, again)
        assert world.queue.dead_letters == []

    world.faults.after_effect = deliver_again
    agents = []
    with world.process() as ports:
        agents.append(world.agent(ports))
        agents[0].run()

    assert redelivered
    assert world.queue.dead_letters == []
    assert world.landed() == {"d/a": A, "d/b": b"content of b"}


# ---------------------------------------------------------------- while letters are refused


def refuse_letters(world: World, occurrences: range) -> None:
    for occurrence in occurrences:
        world.faults.at("queue.send_dead_letter", occurrence, Fault.FAIL, REFUSED)


def test_while_letters_are_refused_nothing_is_copied_again(world: World) -> None:
    message_id = world.queue.send("raw/p/a, /land/d")
    world.store.spoil_read("p/a", ReadFault.FLIP, times=1000)
    refuse_letters(world, range(1, 3 * DEAD_LETTER_TRIES + 1))
    agent = world.drain(retry=RetryPolicy(max_attempts=2, base_s=10))

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert (letter.reason.code, letter.reason.attempts) == ("E_CHECKSUM", 2)
    assert world.faults.count("store.get") == 4  # two attempts, two readings each
    assert world.queue.deleted == [message_id]
    assert agent.totals.failed == 1 + 3
    assert world.staging() == []
    assert [row.failures for row in world.rows()] == [2]


def test_while_a_letter_is_refused_the_other_records_go_on(world: World) -> None:
    message_id = world.queue.send(notice("p//x", "p/a"))
    refuse_letters(world, range(1, 3 * DEAD_LETTER_TRIES + 1))
    landed: list[set[str]] = []

    def note(call: str) -> None:
        if call == "queue.send_dead_letter":
            landed.append(set(world.landed()))

    world.faults.after_effect = note
    world.drain()

    assert landed == [{"p/a"}]
    assert len(world.queue.dead_letters) == 1
    assert world.queue.deleted == [message_id]


def test_letter_that_was_refused_is_sent_by_the_next_process(world: World) -> None:
    world.faults.always("queue.send_dead_letter", REFUSED)
    message_id = world.queue.send("no request")
    with world.running() as agent:
        eventually(lambda: agent.totals.failed)
    assert world.states == ["dead"]
    assert world.queue.remaining == [message_id]
    assert world.all_of(events.MessageDead) == []
    world.faults.never("queue.send_dead_letter")
    world.clock.advance(DEAD_LETTER_RETRY_S)
    world.drain()

    assert letters(world) == ["E_MSG_FORMAT"]
    assert world.queue.deleted == [message_id]
    assert len(world.all_of(events.MessageDead)) == 1


# ---------------------------------------------------------------- which letters were sent


def test_letter_of_one_record_is_not_sent_again_while_the_next_is_refused(tmp_path: Path) -> None:
    world = on_events(World(tmp_path, has_dead_letters=False))
    for key in ("p/a", "p/b"):
        world.store.spoil_read(key, ReadFault.FLIP, times=2)
    message_id = world.queue.send(notice("p/a", "p/b"))
    world.drain(retry=RetryPolicy(max_attempts=1))
    assert world.states == ["dead", "dead"]
    world.queue.facts = replace(
        world.queue.facts, dead_letter_url="fake://work-dead", dead_letter_name="work-dead"
    )
    # The letter of the first record is sent, that of the second is refused three times over.
    refuse_letters(world, range(2, 3 * DEAD_LETTER_TRIES + 2))
    world.clock.advance(12 * 3600)
    world.drain()

    assert len(world.queue.dead_letters) == 2
    assert world.queue.deleted == [message_id]


def test_message_that_reappears_after_a_late_letter_sends_none_again(tmp_path: Path) -> None:
    world = World(tmp_path, has_dead_letters=False)
    message_id = world.queue.send("no request")
    world.drain()
    world.queue.facts = replace(
        world.queue.facts, dead_letter_url="fake://work-dead", dead_letter_name="work-dead"
    )
    world.clock.advance(12 * 3600)
    world.drain()
    world.queue.reappear(message_id)
    world.drain()

    assert letters(world) == ["E_MSG_FORMAT"]
    assert world.queue.remaining == []
