"""How messages end that are old or kill their worker, and how outages pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.delivery import deliver
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import OutageError, TransientError
from backhaul.testing.fakes import Fault, ReadFault
from tests.world import World

pytestmark = pytest.mark.slow

DAY_S = 86_400


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.store.put("p/a", b"the first")
    return made


@pytest.mark.parametrize(("age_s", "is_dead"), [(3.1 * DAY_S, False), (3.3 * DAY_S, True)])
def test_message_is_decided_on_before_its_queue_forgets_it(
    world: World, age_s: float, *, is_dead: bool
) -> None:
    message_id = world.queue.send("raw/p/, /land/d")
    world.store.spoil_read("p/a", ReadFault.FLIP, times=2)  # the first try fails
    world.clock.advance(age_s)  # of four days
    world.drain()
    assert world.queue.expired == []
    assert world.queue.deleted == [message_id]
    codes = [letter.reason.code for letter in world.queue.dead_letters if letter.reason]
    assert codes == (["E_EXPIRING"] if is_dead else [])
    assert bool(world.landed()) is not is_dead


def test_held_message_dies_before_its_queue_forgets_it(world: World) -> None:
    world.queue.send("raw/p/, /land/d")
    world.clock.advance(3.79 * DAY_S)
    world.faults.always("store.list", OutageError.of("s3", "E_S3_UNREACHABLE", "S3 is away"))
    world.drain(drain_patience_s=DAY_S)
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_EXPIRING"


def test_message_without_a_dead_letter_queue_is_worked_on_to_the_last(tmp_path: Path) -> None:
    world = World(tmp_path, has_dead_letters=False)
    world.store.put("p/a", b"the first")
    world.queue.send("raw/p/, /land/d")
    world.clock.advance(3.9 * DAY_S)
    world.drain()
    assert world.landed() == {"d/a": b"the first"}


def test_message_that_kills_its_worker_ends_dead_with_that_reason(world: World) -> None:
    world.faults.always("store.get", TransientError("E_WORKER_DIED", "worker 7 died of signal 11"))
    world.queue.send("raw/p/, /land/d")
    world.drain(retry=RetryPolicy(max_attempts=3))
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert (letter.reason.code, letter.reason.attempts) == ("E_WORKER_DIED", 3)
    assert world.staging() == []


@pytest.mark.parametrize(
    ("call", "dependency"),
    [
        ("store.list", "s3"),
        ("store.get", "s3"),
        ("store.list", "credentials"),
        ("target.status", "hdfs"),
        ("target.create", "hdfs"),
        ("ledger.claim", "ledger"),
        ("ledger.finish", "ledger"),
        ("queue.delete", "sqs"),
    ],
)
def test_outage_of_an_hour_spends_nothing_and_ends_by_itself(
    world: World, call: str, dependency: str
) -> None:
    world.faults.always(call, OutageError.of(dependency, "E_DOWN", f"{dependency} is down"))
    began_s = world.clock.monotonic()
    back_s: list[float] = []
    emit = world.emit

    def watch(fact: object) -> None:
        emit(fact)
        waited_s = world.clock.monotonic() - began_s
        if waited_s > 3600 and not back_s:
            world.faults.never(call)
            back_s.append(world.clock.monotonic())

    world.emit = watch  # type: ignore[method-assign]
    message_id = world.queue.send("raw/p/, /land/d")
    world.drain(drain_patience_s=DAY_S)
    assert world.landed() == {"d/a": b"the first"}
    assert (world.queue.deleted, world.queue.dead_letters) == ([message_id], [])
    assert world.all_of(events.AttemptFailed) == []
    assert world.states == ["done"]
    assert back_s


def test_failure_of_an_attempt_that_was_taken_over_is_none(world: World) -> None:
    """Right after our claim another process carries the transfer out: nothing is left to stage."""
    message_id = world.queue.send("raw/p/, /land/d")
    for time in (1, 2):  # as often as one attempt tries
        world.faults.at("store.get", time, Fault.FAIL, TransientError("E_S3_RESET", "reset"))
    claims: list[str] = []

    def take_over(call: str) -> None:
        claims.extend([call] * (call == "ledger.claim"))
        if len(claims) != 2:  # the second attempt's, whose plan is frozen
            return
        claims.append("the other's")
        with world.process() as other:
            world.queue.redeliver(message_id)
            (again,) = world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=120)
            deliver(world.agent(other)._context, again)

    world.faults.after_effect = take_over
    agent = world.drain()
    assert world.landed() == {"d/a": b"the first"}
    assert (world.queue.deleted, world.states) == ([message_id], ["done"])
    assert [fact.code for fact in world.all_of(events.AttemptFailed)] == ["E_S3_RESET"]
    assert [fact.code for fact in world.all_of(events.TransferTakenOver)] == ["E_BUG"]
    assert agent.totals.failed == 1
