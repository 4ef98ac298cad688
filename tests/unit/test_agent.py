"""What becomes of a message: the whole agent on fakes, with a ledger of its own."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.dead_lettering import DEAD_LETTER_RETRY_S, DEAD_LETTER_TRIES
from backhaul.core.agent.delivery import deliver
from backhaul.core.agent.polling.poller import LINGER_S
from backhaul.core.agent.stopping import Stop
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    OutageError,
    TransientError,
)
from backhaul.core.model import Limits, OnExists, PublishMode
from backhaul.core.text import excerpt
from backhaul.testing.fakes import Fault, Killed, ReadFault
from tests.world import World, eventually, location, route

S3_DOWN = OutageError.of("s3", "E_S3_UNREACHABLE", "no route to host")


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.store.put("p/a", b"content of a")
    world.store.put("p/b", b"content of b")
    return world


COPIED = {"d/a": b"content of a", "d/b": b"content of b"}


class Gate:
    """Lets a call of the outside begin and not go on."""

    def __init__(self, world: World, call: str) -> None:
        self.reached = threading.Event()
        self.opened = threading.Event()
        self._call = call
        world.faults.after_effect = self

    def __call__(self, call: str) -> None:
        if call == self._call:
            self.reached.set()
            assert self.opened.wait(30)


def killed_at(world: World, call: str, *, occurrence: int = 1, **settings: object) -> None:
    """A process that ends right before that call of its kind."""
    world.faults.at(call, occurrence, Fault.KILL)
    with pytest.raises(Killed):
        world.drain(**settings)


def raise_epoch(world: World) -> None:
    """As another agent does when it takes the destination."""
    connection = sqlite3.connect(world.path)
    connection.execute("UPDATE destinations SET epoch = epoch + 1")
    connection.commit()
    connection.close()


# ---------------------------------------------------------------- settled


def test_message_is_deleted_when_its_data_is_published(world: World) -> None:
    message_id = world.queue.send("raw/p/, /land/d")
    agent = world.drain()

    assert world.landed() == COPIED
    assert world.states == ["done"]
    assert world.queue.deleted == [message_id]
    assert agent.totals.done == 1
    (done,) = world.all_of(events.TransferDone)
    assert (done.objects, done.size_bytes, done.publish) == (2, 24, "tree")


def test_drain_ends_with_an_empty_queue(world: World) -> None:
    agent = world.drain()

    assert (agent.totals.done, agent.totals.dead) == (0, 0)
    assert [one.messages for one in world.all_of(events.QueuePolled)][-1:] == [0]


def test_several_messages_are_worked_on_at_once(world: World) -> None:
    for number in range(20):
        world.queue.send(f"raw/p/, /land/{number}")
    agent = world.drain(slots=4, poll_wait_s=0)

    assert agent.totals.done == 20
    assert len(world.landed()) == 40


def test_poll_of_a_backlog_waits_a_moment_for_half_of_the_slots(world: World) -> None:
    opened = threading.Event()
    polled_s: list[float] = []

    def hold(call: str) -> None:
        if call == "queue.receive":
            polled_s.append(world.clock.monotonic())
        if call == "store.list" and world.faults.count("store.list") <= 3:
            assert opened.wait(30)

    world.faults.after_effect = hold
    for number in range(8):
        world.queue.send(f"raw/p/, /land/{number}")
    with world.running(slots=4, drain=True) as agent:
        # Three slots are busy: the fourth is worth a poll of its own only after the moment.
        eventually(lambda: agent.totals.done == 5)
        opened.set()

    first_one_by_one = polled_s[:5]
    waits_s = [then - now for now, then in pairwise(first_one_by_one)]
    assert min(waits_s) >= LINGER_S


def test_source_without_slash_is_published_as_prefix(world: World) -> None:
    world.queue.send("raw/p, /land/d")
    world.drain()

    assert world.landed() == COPIED


def test_message_goes_nowhere_but_to_the_dead_when_publish_fails(world: World) -> None:
    world.faults.always("target.rename", TransientError("E_HDFS_RPC", "no"))
    message_id = world.queue.send("raw/p/, /land/d")
    world.drain(retry=RetryPolicy(max_attempts=2))

    assert world.landed() == {}
    assert [letter.message_id for letter in world.queue.dead_letters] == [message_id]


# ---------------------------------------------------------------- failed


def test_failed_attempt_comes_back_later_and_succeeds(world: World) -> None:
    world.store.spoil_read("p/a", ReadFault.FLIP, times=2)
    message_id = world.queue.send("raw/p/, /land/d")
    agent = world.drain()

    assert world.landed() == COPIED
    assert world.queue.deleted == [message_id]
    (failed,) = world.all_of(events.AttemptFailed)
    assert (failed.code, failed.attempt) == ("E_CHECKSUM", 1)
    assert agent.totals.failed == 1


def test_wrong_bytes_are_never_published(world: World) -> None:
    world.store.spoil_read("p/a", ReadFault.FLIP, times=100)
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.landed() == {}
    assert world.staging() == []
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert (letter.reason.code, letter.reason.attempts) == ("E_CHECKSUM", 3)


def test_retry_delay_doubles(world: World) -> None:
    world.faults.always("store.list", TransientError("E_S3_SERVER", "503"))
    world.queue.send("raw/p/, /land/d")
    world.drain(retry=RetryPolicy(max_attempts=5, base_s=100, cap_s=500))

    delays = [fact.retry_in_s for fact in world.all_of(events.AttemptFailed)]
    assert len(delays) == 4
    for delay_s, (least_s, most_s) in zip(
        delays, [(50, 100), (100, 200), (200, 400), (250, 500)], strict=True
    ):
        assert least_s <= delay_s <= most_s


def test_delay_is_the_messages_own_visibility(world: World) -> None:
    world.faults.at("store.list", 1, Fault.FAIL)
    message_id = world.queue.send("raw/p/, /land/d")
    hidden_s: list[float] = []

    def look(call: str) -> None:
        if call == "queue.extend":
            hidden_s.append(world.queue.invisible_s(message_id))

    world.faults.after_effect = look
    world.drain(retry=RetryPolicy(base_s=100))

    (failed,) = world.all_of(events.AttemptFailed)
    assert 50 <= failed.retry_in_s <= 100
    assert failed.retry_in_s in hidden_s


def test_drain_waits_for_a_message_that_returned_just_after_the_last_look(world: World) -> None:
    world.faults.at("store.list", 1, Fault.FAIL)
    world.queue.send("raw/p/, /land/d")

    def linger(call: str) -> None:
        # The look that brings nothing ends only when the message is there again.
        if call == "queue.receive" and world.all_of(events.AttemptFailed):
            world.faults.after_effect = lambda _call: None
            world.clock.advance(200)

    world.faults.after_effect = linger
    world.drain(retry=RetryPolicy(base_s=100), poll_wait_s=0)

    assert world.landed() == COPIED


def test_bug_spends_an_attempt_and_is_shown(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(world.store, "list_page", broken)
    world.queue.send("raw/p/, /land/d")
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_BUG"
    assert [str(fact) for fact in world.all_of(RuntimeError)] == ["a bug"] * 3


def test_changed_source_is_planned_again(world: World) -> None:
    def overwrite(call: str) -> None:
        if call == "ledger.claim" and world.faults.count("ledger.claim") == 1:
            world.store.put("p/a", b"newer content")

    world.faults.after_effect = overwrite
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.landed() == {**COPIED, "d/a": b"newer content"}
    assert world.all_of(events.AttemptFailed)[0].code == "E_SRC_CHANGED"


def test_source_that_never_rests_is_dead_after_three_changes(world: World) -> None:
    def overwrite(call: str) -> None:
        if call == "ledger.claim":
            world.store.put("p/a", b"again %d" % world.faults.count("ledger.claim"))

    world.faults.after_effect = overwrite
    world.queue.send("raw/p/, /land/d")
    world.drain(retry=RetryPolicy(max_attempts=100))

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_SRC_UNSTABLE"


@pytest.mark.parametrize("on_exists", [OnExists.FAIL, OnExists.SAME_OK])
@pytest.mark.parametrize("changed", ["b", "ab"])
def test_source_that_changed_between_two_renames_meets_its_own_files_again(
    world: World, on_exists: OnExists, changed: str
) -> None:
    world.routes = (route(on_exists=on_exists, publish=PublishMode.PER_FILE),)
    world.queue.send("raw/p/, /land/d")
    killed_at(world, "target.rename", occurrence=2)
    assert world.landed() == {"d/a": b"content of a"}
    for name in changed:
        world.store.put(f"p/{name}", f"newer content of {name}".encode())
    world.clock.advance(3600)
    world.drain()

    newer = {f"d/{name}": f"newer content of {name}".encode() for name in changed}
    assert world.queue.dead_letters == []
    assert world.landed() == {**COPIED, **newer}


@pytest.mark.parametrize("on_exists", [OnExists.FAIL, OnExists.SAME_OK])
def test_own_file_that_somebody_rewrote_is_not_replaced(world: World, on_exists: OnExists) -> None:
    world.routes = (route(on_exists=on_exists, publish=PublishMode.PER_FILE),)
    world.queue.send("raw/p/, /land/d")
    killed_at(world, "target.rename", occurrence=2)

    def rewrite(call: str) -> None:
        if call == "ledger.forget_plan":
            world.clock.advance(1)
            world.target.put("/land/d/a", b"somebody's")

    world.store.put("p/a", b"newer content of a")
    world.store.put("p/b", b"newer content of b")
    world.faults.after_effect = rewrite
    world.clock.advance(3600)
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_DST_EXISTS"
    assert world.landed() == {"d/a": b"somebody's"}


# ---------------------------------------------------------------- dead


def test_dead_letter_comes_before_ledger_and_delete(world: World) -> None:
    world.queue.send("no request")
    world.drain()

    order = [call for call, _ in world.faults.log if call in ORDER]
    assert order == list(ORDER)
    assert world.states == ["dead"]
    (dead,) = world.all_of(events.MessageDead)
    assert (dead.code, dead.dead_letter_queue) == ("E_MSG_FORMAT", "work-dead")


ORDER = ("queue.send_dead_letter", "ledger.fail", "queue.delete")


@pytest.mark.parametrize("number", range(3))
@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST])
def test_death_survives_a_fault_at_each_step(world: World, number: int, fault: Fault) -> None:
    world.faults.at(ORDER[number], 1, fault)
    world.queue.send("no request")
    world.drain()

    assert world.states == ["dead"]
    assert world.queue.remaining == []
    # A lost answer may double the letter; none is ever missing.
    assert len(world.queue.dead_letters) == (2 if (number, fault) == (0, Fault.LOST) else 1)


@pytest.mark.parametrize("number", range(3))
def test_death_survives_the_agents_own_at_each_step(world: World, number: int) -> None:
    world.queue.send("no request")
    killed_at(world, ORDER[number])
    world.clock.advance(3600)
    world.drain()

    assert world.states == ["dead"]
    assert world.queue.remaining == []
    assert world.queue.dead_letters


def test_dead_letter_that_cannot_be_sent_keeps_the_message(world: World) -> None:
    world.faults.always("queue.send_dead_letter", OutageError.of("sqs", "E_X", "down"))
    message_id = world.queue.send("no request")
    with world.running() as agent:
        eventually(lambda: world.faults.count("queue.send_dead_letter") > 2)
        agent.request_stop(Stop.DRAIN)
    assert world.queue.remaining == [message_id]
    assert world.all_of(events.MessageDead) == []
    world.faults.never("queue.send_dead_letter")
    world.drain()

    assert world.queue.remaining == []
    assert len(world.queue.dead_letters) == 1


def test_dead_letter_that_is_refused_for_long_does_not_keep_its_slot(world: World) -> None:
    """A key of the dead-letter queue that is denied must not stop the good messages behind it."""
    refused = OutageError.of("sqs", "E_SQS_KMS", "KMS refuses the queue's key")
    world.faults.always("queue.send_dead_letter", refused)
    bad = world.queue.send("no request")
    world.store.put("p/a", b"x")
    with world.running(slots=1) as agent:
        eventually(lambda: world.faults.count("queue.send_dead_letter") >= DEAD_LETTER_TRIES)
        world.queue.send("raw/p/a, /land/d")
        eventually(lambda: world.landed() == {"d/a": b"x"})
        agent.request_stop(Stop.DRAIN)
    assert world.queue.remaining == [bad]
    assert world.queue.invisible_s(bad) > 60
    assert world.all_of(events.MessageDead) == []
    world.faults.never("queue.send_dead_letter")
    world.clock.advance(DEAD_LETTER_RETRY_S + 60)
    world.drain()
    assert world.queue.remaining == []
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_MSG_FORMAT"


def test_without_dead_letter_queue_nothing_is_ever_deleted(tmp_path: Path) -> None:
    world = World(tmp_path, has_dead_letters=False)
    message_id = world.queue.send("no request")
    world.drain()

    assert world.states == ["dead"]
    assert world.queue.remaining == [message_id]
    assert world.queue.invisible_s(message_id) > 11 * 3600
    assert world.all_of(events.MessageDead)[0].dead_letter_queue is None
    world.clock.advance(12 * 3600)
    world.drain()
    assert world.queue.remaining == [message_id]
    assert world.all_of(events.MessageDead)[1].code == "E_MSG_FORMAT"


def test_death_without_dead_letter_queue_is_sent_to_one_that_came_later(
    tmp_path: Path,
) -> None:
    world = World(tmp_path, has_dead_letters=False)
    message_id = world.queue.send("no request")
    world.drain()
    world.queue.facts = replace(
        world.queue.facts, dead_letter_url="fake://work-dead", dead_letter_name="work-dead"
    )
    world.clock.advance(12 * 3600)
    world.drain()

    assert world.queue.remaining == []
    assert [letter.message_id for letter in world.queue.dead_letters] == [message_id]


def test_redelivery_after_death_is_deleted(world: World) -> None:
    world.queue.send("no request")
    killed_at(world, "queue.delete")
    world.clock.advance(3600)
    world.drain()

    assert world.queue.remaining == []
    assert world.states == ["dead"]


def test_message_that_kills_its_agent_is_dead_in_the_end(world: World) -> None:
    world.queue.send("raw/p/, /land/d")
    for _ in range(3):
        killed_at(world, "target.create", retry=RetryPolicy(max_starts=3))
        world.clock.advance(3600)
    world.drain(retry=RetryPolicy(max_starts=3))

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_ATTEMPTS_SPENT"


def test_message_about_to_be_redriven_dies_with_its_reason(tmp_path: Path) -> None:
    world = World(tmp_path, max_receive_count=2)
    world.faults.always("store.list", TransientError("E_S3_SERVER", "503"))
    world.queue.send("raw/p/, /land/d")
    world.drain(retry=RetryPolicy(max_attempts=100))

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_S3_SERVER"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("other/p/, /land/d", "E_POLICY_SOURCE"),
        ("raw/p/, /elsewhere", "E_POLICY_DEST"),
        ("raw/none/, /land/d", "E_SRC_EMPTY"),
        ("raw/p/a, /land/file/d", "E_DST_PARENT_FILE"),
        ("raw/p/a, /land/file", "E_DST_EXISTS"),
        ("{}", "E_MSG_VERSION"),
    ],
)
def test_request_that_can_never_succeed_is_dead_at_once(world: World, body: str, code: str) -> None:
    world.target.put("/land/file", b"")
    world.queue.send(body)
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert (letter.reason.code, letter.reason.attempts) == (code, 1)
    assert world.staging() == []
    (row,) = world.rows()
    is_of_none = code in {"E_POLICY_SOURCE", "E_POLICY_DEST", "E_MSG_VERSION"}
    assert row.route == (None if is_of_none else "r")


def test_route_removed_under_way_publishes_nothing(world: World) -> None:
    def revoke(call: str) -> None:
        if call == "ledger.claim":
            world.routes = (route(name="another"),)

    world.faults.after_effect = revoke
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.landed() == {}
    assert world.staging() == []
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_POLICY_REVOKED"


@pytest.mark.parametrize("source", ["raw/p/", "raw/p", "raw/p/a"])
@pytest.mark.parametrize("is_still_covered", [True, False])
def test_source_taken_from_the_route_under_way_publishes_nothing(
    world: World, source: str, *, is_still_covered: bool
) -> None:
    def narrow(call: str) -> None:
        if call == "ledger.claim":
            world.routes = (route(sources=(("raw", "p/" if is_still_covered else "q/"),)),)

    world.faults.after_effect = narrow
    world.queue.send(f"{source}, /land/d")
    world.drain()

    assert bool(world.landed()) is is_still_covered
    if not is_still_covered:
        (letter,) = world.queue.dead_letters
        assert letter.reason is not None
        assert letter.reason.code == "E_POLICY_SOURCE"


# ---------------------------------------------------------------- redelivery


def test_redelivery_of_a_running_transfer_only_brings_a_newer_handle(world: World) -> None:
    gate = Gate(world, "target.create")
    message_id = world.queue.send("raw/p/a, /land/d")
    with world.running(slots=2):
        assert gate.reached.wait(10)
        world.queue.redeliver(message_id)
        eventually(lambda: world.all_of(events.MessageRecognised))
        gate.opened.set()
        eventually(lambda: world.queue.deleted)

    assert world.faults.count("ledger.begin") == 1
    assert world.faults.count("target.create") == 1
    assert world.queue.remaining == []  # deleted by the newer handle: the fake takes no other
    assert world.all_of(events.MessageRecognised)[0].is_running


def test_redelivery_of_a_done_transfer_is_deleted_and_not_copied(world: World) -> None:
    world.queue.send("raw/p/, /land/d")
    killed_at(world, "queue.delete")
    copied = world.faults.count("target.create")
    world.clock.advance(3600)
    agent = world.drain()

    assert world.queue.remaining == []
    assert world.faults.count("target.create") == copied
    assert agent.totals.done == 1
    assert world.all_of(events.MessageRecognised)[0].state == "done"


def test_transfer_of_another_live_process_is_left_alone(world: World) -> None:
    message_id = world.queue.send("raw/p/, /land/d")
    gate = Gate(world, "target.create")
    with world.running() as first:
        assert gate.reached.wait(10)
        # The same ledger, opened once more by the same live process.
        again = world.agent(first._context.ports, drain=True)
        world.queue.redeliver(message_id)
        (message,) = world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=60)
        again.pollers[0].keeper.keep(message)
        deliver(again._context, message)
        assert world.queue.invisible_s(message_id) == 30
        gate.opened.set()
        eventually(lambda: first.totals.done)


@pytest.mark.parametrize(
    ("destination", "staged_below"),
    [("/new/zone/d", "/new/zone/.backhaul"), ("/new/zone", "/.backhaul")],
)
def test_staging_waits_in_the_route_s_directory_or_beside_it_when_it_becomes_it(
    world: World, destination: str, staged_below: str
) -> None:
    world.routes = (route(destinations=(location("/new/zone"),)),)
    world.queue.send(f"raw/p/, {destination}")
    killed_at(world, "target.create")
    assert world.staging()
    assert all(path.startswith(staged_below) for path in world.staging())
    world.clock.advance(3600)
    world.drain()

    assert world.all_of(events.TransferDone)[-1].publish == "tree"
    assert world.staging() == []


def test_directory_that_was_in_the_way_and_is_removed_comes_by_one_rename(world: World) -> None:
    world.routes = (route(destinations=(location("/land/d"),), publish=PublishMode.ATOMIC_DIR),)
    world.target.put("/land/d/old", b"in the way")
    world.queue.send("raw/p/, /land/d")
    world.drain()
    assert world.states == ["dead"]

    world.target.remove("/land/d")
    world.queue.send("raw/p/, /land/d")
    world.drain()
    assert world.all_of(events.TransferDone)[-1].publish == "tree"


def test_same_content_sent_again_is_adopted(world: World) -> None:
    for _ in range(2):
        world.queue.send("raw/p/, /land/d")
        world.drain()

    assert [fact.publish for fact in world.all_of(events.TransferDone)] == ["tree", "adopted"]
    assert world.faults.count("store.get") == 2
    assert world.landed() == COPIED
    assert world.staging() == []


def test_older_state_never_replaces_a_newer_one(world: World) -> None:
    """S4: the first message is planned, then its agent dies; a later one brings newer bytes."""
    world.store.put("p/a", b"older bytes", version_id="1")
    first = world.queue.send("raw/p/a, /land/d")
    killed_at(world, "target.create")
    world.clock.advance(60)
    world.store.put("p/a", b"newest bytes", version_id="2")
    world.queue.send("raw/p/a, /land/d")
    world.drain(poll_wait_s=0)
    assert world.queue.remaining == [first]
    world.clock.advance(3600)
    world.drain()

    assert world.landed() == {"d/a": b"newest bytes"}
    assert sorted(world.states) == ["done", "superseded"]
    assert world.all_of(events.TransferDone)[1].is_superseded
    assert world.staging() == []


@pytest.mark.slow
def test_plan_of_many_pages_is_frozen_ahead_and_copied_whole(world: World) -> None:
    for number in range(2100):
        world.store.put(f"many/{number:05d}", b"x")
    world.queue.send("raw/many/, /land/d")
    killed_at(world, "target.rename")
    assert world.faults.count("ledger.freeze") == 2
    assert world.faults.count("ledger.record_staged") == 4
    listings = world.faults.count("store.list")
    world.clock.advance(3600)
    world.drain()

    assert len(world.landed()) == 2100
    assert world.faults.count("store.list") == listings, "a frozen plan is not listed again"


@pytest.mark.slow
def test_plan_left_incomplete_is_listed_again(world: World) -> None:
    for number in range(2100):
        world.store.put(f"many/{number:05d}", b"x")
    world.queue.send("raw/many/, /land/d")
    killed_at(world, "ledger.freeze")
    world.store.put("many/00000a", b"y")
    world.clock.advance(3600)
    world.drain()

    assert len(world.landed()) == 2101


def test_agent_without_ownership_publishes_nothing(world: World) -> None:
    """Another agent took the destination meanwhile; its epoch is higher."""

    def steal(call: str) -> None:
        if call == "target.close":
            raise_epoch(world)
            world.faults.after_effect = lambda _name: None

    world.faults.after_effect = steal
    world.queue.send("raw/p/a, /land/d")
    world.drain()

    assert world.faults.count("target.rename") == 1
    assert world.faults.count("ledger.intend") == 2
    assert world.landed() == {"d/a": b"content of a"}


# ---------------------------------------------------------------- busy and full


def test_busy_destination_waits_and_then_goes_on(world: World) -> None:
    gate = Gate(world, "target.create")
    world.queue.send("raw/p/, /land/d")
    world.queue.send("raw/p/a, /land/d/deeper")
    with world.running(slots=2):
        assert gate.reached.wait(10)
        eventually(lambda: world.all_of(events.TransferWaiting))
        assert world.faults.count("target.create") == 1
        gate.opened.set()
        eventually(lambda: len(world.queue.deleted) == 2)

    assert world.landed() == {**COPIED, "d/deeper/a": b"content of a"}
    assert all(row.attempt == 1 for row in world.rows())


def test_full_route_waits_unspent(world: World) -> None:
    world.routes = (route(limits=Limits(in_flight=1)),)
    gate = Gate(world, "target.create")
    for name in ("one", "two"):
        world.queue.send(f"raw/p/, /land/{name}")
    with world.running(slots=2):
        assert gate.reached.wait(10)
        eventually(lambda: world.all_of(events.TransferWaiting))
        assert world.faults.count("pool.session") == 1
        gate.opened.set()
        eventually(lambda: len(world.queue.deleted) == 2)

    assert [row.attempt for row in world.rows()] == [1, 1]


# ---------------------------------------------------------------- outages


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("store.list", S3_DOWN),
        ("store.get", S3_DOWN),
        ("target.mkdirs", OutageError.of("hdfs", "E_HDFS_SAFE_MODE", "safe mode")),
        ("target.rename", OutageError.of("hdfs", "E_HDFS_SAFE_MODE", "safe mode")),
        ("ledger.begin", OutageError.of("ledger", "E_LEDGER_FULL", "no room")),
        ("ledger.claim", OutageError.of("ledger", "E_LEDGER_FULL", "no room")),
        ("ledger.finish", OutageError.of("ledger", "E_LEDGER_FULL", "no room")),
    ],
)
def test_outage_holds_and_resumes_without_spending(
    world: World, call: str, error: OutageError
) -> None:
    world.faults.always(call, error)
    message_id = world.queue.send("raw/p/, /land/d")
    with world.running(retry=RetryPolicy(max_attempts=1)):
        eventually(lambda: len(world.all_of(events.TransferHeld)) > 3)
        world.faults.never(call)
        eventually(lambda: world.queue.deleted == [message_id])

    assert world.landed() == COPIED
    held = world.all_of(events.TransferHeld)[0]
    assert (held.dependency, held.code) == (error.dependency, error.code)
    assert world.all_of(events.TransferResumed)[0].dependency == error.dependency
    (row,) = world.rows()
    assert (row.state.value, row.attempt) == ("done", 1)


def test_failure_while_the_target_is_down_is_held_and_spends_nothing(world: World) -> None:
    """Whatever its error looks like."""
    world.down = [OutageError.of("hdfs", "E_TARGET_NO_WRITE", "no DataNode takes a byte")]
    world.faults.always("target.create", TransientError("E_HDFS_OVERLOADED", "0 of the 1"))
    message_id = world.queue.send("raw/p/, /land/d")
    with world.running(retry=RetryPolicy(max_attempts=1)):
        eventually(lambda: len(world.all_of(events.TransferHeld)) > 2)
        world.faults.never("target.create")
        eventually(lambda: world.queue.deleted == [message_id])

    held = world.all_of(events.TransferHeld)[0]
    assert (held.dependency, held.code) == ("hdfs", "E_TARGET_NO_WRITE")
    assert "E_HDFS_OVERLOADED" in held.reason
    (row,) = world.rows()
    assert (row.state.value, row.attempt, row.failures, row.held_by) == ("done", 1, 0, None)


def test_the_same_failure_while_both_sides_answer_is_spent(world: World) -> None:
    world.faults.always("target.create", TransientError("E_HDFS_OVERLOADED", "0 of the 1"))
    world.queue.send("raw/p/, /land/d")
    world.drain(retry=RetryPolicy(max_attempts=2, base_s=0.01))
    (row,) = world.rows()
    assert (row.state.value, row.failures, row.code) == ("dead", 2, "E_HDFS_OVERLOADED")


def test_worker_that_waits_for_a_dependency_shows_in_log_and_ledger(world: World) -> None:
    world.down, world.still_s = [S3_DOWN], 16.0
    shown: list[tuple[str, str | None, str | None]] = []

    def look(call: str) -> None:
        if call == "ledger.note_wait":
            shown.extend((row.state.value, row.code, row.held_by) for row in world.rows())

    world.faults.after_effect = look
    world.queue.send("raw/p/, /land/d")
    world.drain()
    assert shown == [("staging", S3_DOWN.code, "s3"), ("staging", None, None)]
    (blocked,) = world.all_of(events.TransferBlocked)
    assert (blocked.dependency, blocked.still_s) == ("s3", 16.0)
    assert len(world.all_of(events.TransferUnblocked)) == 1
    assert world.landed() == COPIED


def test_wait_that_a_full_ledger_cannot_note_goes_on(world: World) -> None:
    world.down, world.still_s = [S3_DOWN], 16.0
    world.faults.always("ledger.note_wait", OutageError.of("ledger", "E_LEDGER_FULL", "no room"))
    message_id = world.queue.send("raw/p/, /land/d")
    world.drain()
    assert world.queue.deleted == [message_id]
    assert len(world.all_of(events.TransferBlocked)) == 1


def test_worker_that_waited_too_long_is_held(world: World) -> None:
    world.down, world.still_s = [S3_DOWN], 3600.0
    world.queue.send("raw/p/, /land/d")
    with world.running(drain=False):
        eventually(lambda: len(world.all_of(events.TransferHeld)) > 1)
    (row,) = world.rows()
    assert (row.failures, row.code) == (0, S3_DOWN.code)


def test_ledger_outage_while_holding_is_survived(world: World) -> None:
    world.faults.always("store.list", S3_DOWN)
    world.faults.at("ledger.fail", 1, Fault.LOST)
    world.queue.send("raw/p/, /land/d")
    with world.running():
        eventually(lambda: len(world.all_of(events.TransferHeld)) > 2)
        world.faults.never("store.list")
        eventually(lambda: world.queue.deleted)

    assert world.landed() == COPIED


def test_drain_gives_up_on_a_dependency_that_stays_down(world: World) -> None:
    world.faults.always("store.list", S3_DOWN)
    message_id = world.queue.send("raw/p/, /land/d")
    agent = world.drain(drain_patience_s=60)

    assert (agent.totals.gave_up, agent.totals.returned) == (1, 1)
    assert world.queue.remaining == [message_id]
    assert world.queue.invisible_s(message_id) == 0
    assert world.states == ["held"]


def test_queue_that_does_not_answer_is_polled_again(world: World) -> None:
    for number in range(1, 4):
        world.faults.at("queue.receive", number, Fault.FAIL)
    world.queue.send("raw/p/, /land/d")
    with world.running():
        eventually(lambda: world.queue.deleted)

    assert len(world.all_of(events.PollFailed)) == 3


def test_drain_of_a_queue_that_stays_down_fails(world: World) -> None:
    world.faults.always("queue.receive", OutageError.of("sqs", "E_SQS_UNREACHABLE", "down"))

    with pytest.raises(OutageError, match="E_SQS_UNREACHABLE"):
        world.drain(drain_patience_s=60)
    assert world.faults.count("queue.receive") == 5


def test_stop_ends_the_wait_for_a_queue_that_is_down(world: World) -> None:
    world.faults.always("queue.receive", OutageError.of("sqs", "E_SQS_UNREACHABLE", "down"))
    with world.running():
        eventually(lambda: world.all_of(events.PollFailed))

    assert len(world.all_of(events.AgentStopped)) == 1


def test_delete_is_repeated_until_sqs_answers(world: World) -> None:
    for number in range(1, 4):
        world.faults.at("queue.delete", number, Fault.FAIL)
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.queue.remaining == []
    assert world.faults.count("queue.delete") == 4


def test_ledger_that_is_no_ledger_stops_the_agent(world: World) -> None:
    world.faults.always("ledger.begin", ConfigurationError("E_LEDGER_CORRUPT", "damaged"))
    message_id = world.queue.send("raw/p/, /land/d")

    with pytest.raises(ConfigurationError, match="E_LEDGER_CORRUPT"):
        world.drain()
    assert world.queue.remaining == [message_id]
    assert world.queue.invisible_s(message_id) <= 120


def test_message_whose_attempt_cannot_be_counted_comes_back(world: World) -> None:
    world.faults.at("ledger.begin", 1, Fault.FAIL, BackhaulError("E_LEDGER_BUG", "a bug"))
    message_id = world.queue.send("raw/p/, /land/d")
    agent = world.drain()

    assert world.queue.deleted == [message_id]
    assert agent.totals.failed == 1


# ---------------------------------------------------------------- stopping


def stopped_in_the_middle(world: World, how: Stop, *, grace_s: float) -> Agent:
    """Stop while the first file is being created, then let it go on."""
    gate = Gate(world, "target.create")
    world.queue.send("raw/p/, /land/d")
    with world.running(stop_grace_s=grace_s) as agent:
        assert gate.reached.wait(10)
        agent.request_stop(how)
        if how is Stop.NOW or grace_s == 0:
            eventually(lambda: agent._stopper.level is Stop.NOW)
            eventually(lambda: getattr(agent._context.ports.pool, "is_aborted", False))
        gate.opened.set()
    return agent


def test_stop_lets_transfers_finish_within_the_grace(world: World) -> None:
    agent = stopped_in_the_middle(world, Stop.DRAIN, grace_s=60)

    assert agent.totals.done == 1
    assert world.landed() == COPIED
    assert world.all_of(events.AgentStopping)[0].in_flight == 1


@pytest.mark.parametrize(("how", "grace_s"), [(Stop.NOW, 60.0), (Stop.DRAIN, 0.0)])
def test_stop_hands_back_what_cannot_finish(world: World, how: Stop, grace_s: float) -> None:
    agent = stopped_in_the_middle(world, how, grace_s=grace_s)

    (message_id,) = world.queue.remaining
    assert world.queue.invisible_s(message_id) == 0
    assert agent.totals.returned == 1
    (row,) = world.rows()
    assert (row.state.value, row.attempt) == ("waiting", 0)
    world.faults.after_effect = lambda _name: None
    world.drain()
    assert world.landed() == COPIED
    assert world.staging() == []


def test_what_is_handed_back_hides_from_no_poll_that_is_over(world: World) -> None:
    """The only slot is taken, so nothing is being received, for all that a poll may wait 20 s."""
    gate = Gate(world, "target.create")
    message_id = world.queue.send("raw/p/, /land/d")
    with world.running(slots=1, poll_wait_s=20) as agent:
        assert gate.reached.wait(10)
        agent.request_stop(Stop.NOW)
        eventually(lambda: getattr(agent._context.ports.pool, "is_aborted", False))
        gate.opened.set()

    assert world.queue.invisible_s(message_id) == 0


def test_waiting_message_is_handed_back_by_a_stop(world: World) -> None:
    world.faults.always("store.list", S3_DOWN)
    message_id = world.queue.send("raw/p/, /land/d")
    with world.running() as agent:
        eventually(lambda: world.all_of(events.TransferHeld))
    assert world.queue.remaining == [message_id]
    assert world.queue.invisible_s(message_id) == 0
    assert agent.totals.returned == 1
    assert len(world.all_of(events.MessageReturned)) == 1


def test_message_that_comes_while_stopping_is_handed_back(world: World) -> None:
    message_id = world.queue.send("raw/p/, /land/d")
    gate = Gate(world, "queue.receive")
    with world.running() as agent:
        assert gate.reached.wait(10)
        agent.request_stop(Stop.DRAIN)
        gate.opened.set()

    assert world.queue.remaining == [message_id]
    assert world.queue.invisible_s(message_id) == 0
    assert world.faults.count("ledger.begin") == 0
    assert agent.totals.returned == 1


def test_giving_back_a_message_that_is_visible_already_is_fine(world: World) -> None:
    world.faults.always("store.list", S3_DOWN)
    message_id = world.queue.send("raw/p/, /land/d")
    with world.running(slots=1):
        eventually(lambda: world.all_of(events.TransferHeld))
        world.queue.redeliver(message_id)
        world.queue.receive(max_messages=1, wait_s=0, visibility_timeout_s=60)

    assert world.all_of(events.VisibilityWasLost)


def test_permanent_failure_counts_even_while_stopping(world: World) -> None:
    """A stop cuts attempts short; it does not make a bad request good."""
    world.queue.send("raw/none/, /land/d")
    gate = Gate(world, "store.list")
    with world.running() as agent:
        assert gate.reached.wait(10)
        agent.request_stop(Stop.NOW)
        eventually(lambda: getattr(agent._context.ports.pool, "is_aborted", False))
        gate.opened.set()

    assert world.states == ["dead"]


def test_slot_that_never_ends_loses_its_message(world: World) -> None:
    gate = Gate(world, "target.create")
    message_id = world.queue.send("raw/p/, /land/d")
    with world.running() as agent:
        assert gate.reached.wait(10)
        agent.request_stop(Stop.NOW)

        def is_given_up() -> bool:
            world.clock.advance(1)
            return agent.is_stuck and world.queue.invisible_s(message_id) == 0

        eventually(is_given_up)
        gate.opened.set()

    assert agent.totals.returned >= 1
    assert world.landed() == {}


def test_second_stop_does_not_wait_for_the_poll(world: World) -> None:
    gate = Gate(world, "queue.receive")
    with world.running() as agent:
        assert gate.reached.wait(10)
        agent.request_stop(Stop.DRAIN)
        agent.request_stop(Stop.NOW)
        eventually(lambda: world.all_of(events.AgentStopped))
        gate.opened.set()

    assert agent.was_cut_short


def test_poll_that_never_answers_is_left_after_its_time(world: World) -> None:
    gate = Gate(world, "queue.receive")
    with world.running() as agent:
        assert gate.reached.wait(10)
        agent.request_stop(Stop.DRAIN)

        def has_ended() -> bool:
            world.clock.advance(1)
            return bool(world.all_of(events.AgentStopped))

        eventually(has_ended)
        gate.opened.set()

    assert not agent.was_cut_short


def test_staging_that_cannot_be_removed_changes_no_outcome(world: World) -> None:
    world.faults.always("target.remove_empty", TransientError("E_HDFS_RPC", "no"))
    message_id = world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.queue.deleted == [message_id]
    assert world.states == ["done"]
    world.faults.never("target.remove_empty")
    world.store.put("p/a", b"newer")
    world.queue.send("raw/p/, /land/d")
    world.drain()
    assert world.staging() == []


def test_message_that_waits_for_its_destination_is_handed_back_by_a_stop(world: World) -> None:
    gate = Gate(world, "target.create")
    world.queue.send("raw/p/, /land/d")
    with world.running(slots=2) as agent:
        assert gate.reached.wait(10)
        # Only now, so that it is the first one that owns the destination.
        second = world.queue.send("raw/p/, /land/d")
        eventually(lambda: world.all_of(events.TransferWaiting))
        agent.request_stop(Stop.DRAIN)
        eventually(lambda: agent.totals.returned)
        gate.opened.set()

    assert world.queue.remaining == [second]
    assert world.queue.invisible_s(second) == 0
    assert sorted(world.states) == ["done", "waiting"]


def test_ownership_lost_after_publishing_records_nothing(world: World) -> None:
    """The owner of the destination settles what is there; ours tries again."""

    def steal(call: str) -> None:
        if call == "target.rename":
            raise_epoch(world)
            world.faults.after_effect = lambda _name: None

    world.faults.after_effect = steal
    world.queue.send("raw/p/a, /land/d")
    world.drain()

    assert world.faults.count("ledger.finish") == 2
    assert len(world.all_of(events.TransferDone)) == 1
    assert world.landed() == {"d/a": b"content of a"}


# ---------------------------------------------------------------- what is already there


@pytest.mark.parametrize(
    ("on_exists", "there", "code"),
    [
        (OnExists.FAIL, b"content of a", "E_DST_EXISTS"),
        (OnExists.SAME_OK, b"another text", "E_DST_EXISTS"),
        (OnExists.SAME_OK, b"longer than the source", "E_DST_EXISTS"),
    ],
)
def test_file_that_must_not_be_replaced_is_not(
    world: World, on_exists: OnExists, there: bytes, code: str
) -> None:
    world.routes = (route(on_exists=on_exists),)
    world.target.put("/land/d/a", there)
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.landed()["d/a"] == there
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == code
    assert world.staging() == []


def test_same_content_from_elsewhere_is_fine_under_same_ok(world: World) -> None:
    world.routes = (route(on_exists=OnExists.SAME_OK),)
    world.target.put("/land/d/a", b"content of a")
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.landed() == COPIED
    assert world.states == ["done"]


def test_whole_directory_or_nothing_refuses_what_is_there(world: World) -> None:
    world.routes = (route(publish=PublishMode.ATOMIC_DIR),)
    world.target.put("/land/d/other", b"")
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.landed() == {"d/other": b""}
    assert world.states == ["dead"]


def test_file_changed_by_others_since_is_copied_again(world: World) -> None:
    world.queue.send("raw/p/, /land/d")
    world.drain()
    world.clock.advance(10)
    world.target.put("/land/d/a", b"content of z")
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.landed() == COPIED
    assert world.all_of(events.TransferDone)[1].adopted == 1


# ---------------------------------------------------------------- the excerpt


def test_excerpt_of_a_body_shows_no_keys_before_a_bucket() -> None:
    assert "sec" not in excerpt("key:sec/ret@bucket/p, /d")


def test_excerpt_of_a_body_shows_no_password() -> None:
    shown = excerpt("https://user:secret@host/p, /d\n")

    assert "secret" not in shown
    assert "\n" not in shown


def test_a_sweep_that_the_stop_cuts_short_writes_no_line_after_the_last(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, swept = threading.Event(), threading.Event()

    def sweep(*_parts: object) -> None:
        begun.set()
        assert swept.wait(30)
        raise TransientError("E_STOPPED", "the agent is stopping")

    monkeypatch.setattr("backhaul.core.agent.agent.sweep_abandoned", sweep)
    with world.running() as agent:
        assert begun.wait(30)
        agent.request_stop(Stop.DRAIN)
        swept.set()
    assert isinstance(world.facts[-1], events.AgentStopped)
    assert world.all_of(events.SweepFailed) == []
