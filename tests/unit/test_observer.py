"""Facts become a report: what is under way, what is waited for, and when that is over."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.core import facts
from backhaul.core.agent.observer import MOVING_S, Observer
from backhaul.core.agent.observing.work import RATE_OVER_S
from backhaul.core.agent_report import (
    AgentIdentity,
    AgentRecord,
    AgentReport,
    DependencyHold,
    QueueDepth,
)
from backhaul.core.health import POLL_OVERDUE, HealthState, agent_health
from backhaul.core.model import HOLD_GAP
from backhaul.testing.fakes import FakeClock

SENT = datetime(2025, 12, 31, 23, 0, tzinfo=UTC)
SLOTS = 2
MESSAGES = ("m1", "m2", "m3")


class Watched:
    """An observer, its clock, and facts by short names."""

    def __init__(self, slots: int = SLOTS) -> None:
        self.clock = FakeClock()
        self.observer = Observer(self.clock, slots=slots)

    def report(self) -> AgentReport:
        return self.observer.report()

    def hold(self) -> DependencyHold:
        (found,) = self.report().holds
        return found

    def wait(self, seconds: float) -> None:
        self.clock.advance(seconds)

    def receive(self, message: str = "m1", sent_at: datetime | None = SENT) -> None:
        self.observer(
            facts.MessageReceived(
                message_id=message, receive_count=1, body_excerpt="", sent_at=sent_at
            )
        )

    def start(self, message: str = "m1", transfer: str | None = None, attempt: int = 1) -> None:
        self.observer(
            facts.AttemptStarted(
                transfer_id=transfer or f"t{message}",
                message_id=message,
                attempt=attempt,
                source="s3://raw/p/",
                destination="hdfs://ns1/land",
                route="clicks",
            )
        )

    def progress(
        self, objects: int = 0, size: int = 0, total: int = 9, transfer: str = "tm1"
    ) -> None:
        self.observer(
            facts.TransferProgress(
                transfer_id=transfer,
                phase="staging",
                objects=objects,
                size_bytes=size,
                objects_total=total,
                size_bytes_total=1000,
                is_planned=True,
            )
        )

    def held(self, message: str = "m1", dependency: str = "hdfs", transfer: str = "") -> None:
        self.observer(
            facts.TransferHeld(
                transfer_id=transfer,
                message_id=message,
                dependency=dependency,
                code="E_DOWN",
                reason="no answer",
                hint="start it",
                retry_in_s=1.0,
            )
        )

    def blocked(self, message: str = "m1", dependency: str = "hdfs", still_s: float = 15.0) -> None:
        self.observer(
            facts.TransferBlocked(
                transfer_id=f"t{message}",
                dependency=dependency,
                code="E_DOWN",
                reason="no answer",
                hint="",
                still_s=still_s,
            )
        )

    def unblocked(self, message: str = "m1") -> None:
        self.observer(facts.TransferUnblocked(transfer_id=f"t{message}"))

    def resumed(self, message: str = "m1") -> None:
        self.observer(
            facts.TransferResumed(
                transfer_id="t", message_id=message, dependency="hdfs", held_s=1.0
            )
        )

    def waiting(self, message: str = "m1") -> None:
        self.observer(
            facts.TransferWaiting(transfer_id=f"t{message}", destination="", retry_in_s=1.0)
        )

    def failed(self, message: str = "m1") -> None:
        self.observer(
            facts.AttemptFailed(
                transfer_id=f"t{message}",
                message_id=message,
                attempt=1,
                code="E",
                reason="",
                hint="",
                retry_in_s=1.0,
            )
        )

    def done(self, message: str = "m1", transfer: str | None = None) -> None:
        self.observer(
            facts.TransferDone(
                transfer_id=transfer or f"t{message}",
                message_id=message,
                source="",
                destination="",
                objects=1,
                size_bytes=1,
                copied_bytes=1,
                placeholders=0,
                adopted=0,
                publish="tree",
                is_superseded=False,
                duration_s=1.0,
            )
        )

    def dead(self, message: str = "m1") -> None:
        self.observer(
            facts.MessageDead(
                transfer_id=f"t{message}",
                message_id=message,
                code="E",
                reason="",
                hint="",
                attempts=1,
                dead_letter_queue=None,
            )
        )

    def taken_over(self, message: str = "m1") -> None:
        self.observer(
            facts.TransferTakenOver(
                message_id=message,
                transfer_id=f"t{message}",
                code="E",
                reason="",
                is_cancelled=False,
                owner=None,
            )
        )

    def returned(self, message: str = "m1") -> None:
        self.observer(facts.MessageReturned(transfer_id="", message_id=message))

    def end(self, message: str = "m1") -> None:
        self.observer(facts.DeliveryEnded(message_id=message))

    def retried(self, call: int = 1, dependency: str = "sqs") -> None:
        self.observer(
            facts.CallRetried(
                call=call,
                dependency=dependency,
                code="E_SQS_DENIED",
                reason="no",
                hint="allow it",
                retry_in_s=1.0,
            )
        )

    def call_ended(self, call: int = 1) -> None:
        self.observer(facts.CallRetriesEnded(call=call, tries=1, is_answered=True))

    def polled(self, messages: int = 0) -> None:
        self.observer(facts.QueuePolled(queue="q", messages=messages))

    def poll_failed(self, code: str = "E_SQS_UNREACHABLE") -> None:
        self.observer(
            facts.PollFailed(queue="q", code=code, reason="no route", hint="", retry_in_s=1.0)
        )


@pytest.fixture
def it() -> Watched:
    watched = Watched()
    watched.receive()
    return watched


# ---------------------------------------------------------------- the queue


def test_a_new_agent_has_polled_nothing_and_has_room() -> None:
    watched = Watched()
    report = watched.report()
    assert (report.last_poll_at, report.failed_polls, report.in_hand) == (None, 0, 0)
    assert report.slot_free_since == watched.clock.now()
    assert (report.running, report.holds, report.oldest_sent_at) == ((), (), None)


def test_failed_polls_count_until_one_is_answered() -> None:
    watched = Watched()
    watched.poll_failed("E_ONE")
    began = watched.clock.now()
    watched.wait(5)
    watched.poll_failed("E_TWO")
    report = watched.report()
    assert (report.failed_polls, report.failing_since) == (2, began)
    assert (report.poll_code, report.poll_reason) == ("E_TWO", "no route")
    watched.polled()
    report = watched.report()
    assert (report.failed_polls, report.failing_since, report.poll_code) == (0, None, "")
    assert report.last_poll_at == watched.clock.now()


def test_slots_are_free_since_one_of_them_is() -> None:
    watched = Watched(slots=2)
    began = watched.clock.now()
    watched.wait(5)
    watched.receive("m1")
    assert watched.report().slot_free_since == began
    watched.receive("m2")
    assert watched.report().slot_free_since is None
    assert watched.report().in_hand == 2
    watched.wait(5)
    watched.end("m1")
    free_since = watched.clock.now()
    watched.wait(5)
    watched.end("m2")
    assert watched.report().slot_free_since == free_since


def test_the_oldest_message_is_one_in_hand_or_one_that_still_waits() -> None:
    watched = Watched()
    watched.receive("m1", SENT)
    watched.receive("m2", SENT - timedelta(hours=1))
    watched.receive("m3", None)
    assert watched.report().oldest_sent_at == SENT - timedelta(hours=1)
    assert watched.observer.sent_at("m1") == SENT
    assert watched.observer.sent_at("m3") is None
    for message in MESSAGES:
        watched.end(message)
    assert watched.report().oldest_sent_at is None
    watched.polled(messages=3)
    assert watched.report().oldest_sent_at == SENT - timedelta(hours=1), "about as old as the last"
    watched.observer.measured(depth(watched, visible=0))
    assert watched.report().oldest_sent_at is None, "the queue is empty"
    watched.observer.measured(depth(watched, visible=1))
    watched.polled(messages=0)
    assert watched.report().oldest_sent_at is None


def depth(watched: Watched, visible: int) -> QueueDepth:
    return QueueDepth(
        visible=visible, in_flight=0, delayed=0, retention_s=None, at=watched.clock.now()
    )


def test_a_queue_that_has_more_and_never_named_a_time_has_no_age() -> None:
    watched = Watched()
    watched.polled(messages=1)
    assert watched.report().oldest_sent_at is None


# ---------------------------------------------------------------- what is under way


def test_a_transfer_is_shown_with_how_far_it_is(it: Watched) -> None:
    it.start()
    began = it.clock.now()
    it.observer(facts.EngineChosen(transfer_id="tm1", engine="distcp", reason="large"))
    it.observer(
        facts.ApplicationFollowed(
            transfer_id="tm1", application="a1", tag="", state="running", tracking_url="http://rm"
        )
    )
    it.progress(objects=3, size=300)
    (shown,) = it.report().running
    assert (shown.transfer_id, shown.message_id, shown.route) == ("tm1", "m1", "clicks")
    assert (shown.phase, shown.objects, shown.objects_total) == ("staging", 3, 9)
    assert (shown.size_bytes, shown.size_bytes_total, shown.is_planned) == (300, 1000, True)
    assert (shown.engine, shown.engine_reason) == ("distcp", "large")
    assert (shown.application, shown.tracking_url) == ("a1", "http://rm")
    assert (shown.started_at, shown.waits_for) == (began, "")
    assert it.observer.route_of("tm1") == "clicks"
    assert it.observer.route_of("other") == ""


def test_a_rate_is_that_of_the_last_half_minute(it: Watched) -> None:
    it.start()
    rates = []
    for size in (0, 100, 200):
        it.progress(size=size)
        rates.append(it.report().running[0].bytes_per_s)
        it.wait(10)
    assert rates == [None, 10.0, 10.0]
    it.wait(RATE_OVER_S)
    assert it.report().bytes_per_s == 0.0, "nothing was measured for long"
    it.progress(size=300)
    it.wait(1)
    it.progress(size=400)
    assert it.report().bytes_per_s == pytest.approx(100.0), "what is older does not count"
    it.progress(size=50)
    assert it.report().running[0].bytes_per_s is None, "it began again"


def test_facts_about_transfers_that_are_not_under_way_change_nothing(it: Watched) -> None:
    before = it.report()
    it.start("unknown")
    it.progress(transfer="tunknown")
    it.observer(facts.EngineChosen(transfer_id="tm1", engine="distcp", reason=""))
    it.observer(
        facts.ApplicationFollowed(
            transfer_id="tm1", application="a", tag="", state="", tracking_url=""
        )
    )
    it.held("unknown")
    it.blocked()
    it.unblocked()
    it.resumed("unknown")
    it.done()
    it.call_ended(7)
    it.observer(facts.LogReopened(file=None))
    it.observer(ValueError("a defect"))
    assert it.report() == before


def test_a_transfer_by_copy_has_no_message_and_is_not_the_agents(it: Watched) -> None:
    it.observer(
        facts.AttemptStarted(
            transfer_id="t", message_id=None, attempt=1, source="", destination="", route=""
        )
    )
    assert it.report().running == ()


def test_the_size_of_an_event_is_in_the_report(it: Watched) -> None:
    it.receive("m1")
    it.observer(
        facts.AttemptStarted(
            transfer_id="t",
            message_id="m1",
            attempt=1,
            source="",
            destination="",
            route="",
            event_bytes=12,
        )
    )
    (found,) = it.report().running
    assert found.event_bytes == 12


ENDS: list[Callable[[Watched], None]] = [
    Watched.waiting,
    Watched.failed,
    Watched.done,
    Watched.dead,
    Watched.taken_over,
    Watched.returned,
    Watched.end,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: str(end.__name__))
def test_whatever_ends_an_attempt_takes_it_out_of_the_report(
    it: Watched, end: Callable[[Watched], None]
) -> None:
    it.receive("m2")
    it.start("m2")
    it.start()
    it.held()
    assert it.hold().transfers == 1
    end(it)
    report = it.report()
    assert [one.transfer_id for one in report.running] == ["tm2"]
    assert report.holds == ()


def test_the_records_of_one_message_are_under_way_one_after_the_other(it: Watched) -> None:
    it.start("m1", "t1")
    it.done("m1", "t1")
    it.start("m1", "t2")
    report = it.report()
    assert [one.transfer_id for one in report.running] == ["t2"]
    assert report.in_hand == 1
    assert report.oldest_sent_at == SENT


def test_stopping_and_the_error_that_ended_it_are_reported(it: Watched) -> None:
    assert (it.report().is_stopping, it.report().failure) == (False, "")
    it.observer(facts.AgentStopping(in_flight=0, grace_s=1, poll_wait_s=0))
    it.observer.failed("E_BUG")
    assert (it.report().is_stopping, it.report().failure) == (True, "E_BUG")


# ---------------------------------------------------------------- what is waited for


def test_a_hold_before_the_ledger_counted_is_that_of_its_message(it: Watched) -> None:
    it.receive("m2")
    began = it.clock.now()
    it.held("m1", "s3")
    it.wait(5)
    it.held("m2", "s3")
    hold = it.hold()
    assert (hold.dependency, hold.since, hold.transfers) == ("s3", began, 2)
    assert (hold.code, hold.reason, hold.hint) == ("E_DOWN", "no answer", "start it")
    it.resumed("m1")
    assert it.hold().transfers == 1, "the other one still waits"
    it.resumed("m2")
    assert it.report().holds == ()


def test_the_next_try_of_a_held_transfer_does_not_end_its_hold(it: Watched) -> None:
    it.start()
    began = it.clock.now()
    for attempt in range(1, 5):
        it.held(transfer="tm1")
        it.wait(20)
        it.start(attempt=attempt)
        it.progress(objects=2, size=200)  # what was staged before
        hold = it.hold()
        assert hold.since == began
        assert it.report().running[0].waits_for == "hdfs"


def test_another_object_at_the_target_ends_a_hold(it: Watched) -> None:
    it.held()
    it.start()
    it.progress(objects=2)
    it.progress(objects=3)
    assert it.report().holds == ()
    assert it.report().running[0].waits_for == ""


def test_bytes_end_a_hold_once_they_keep_coming(it: Watched) -> None:
    """The first ones may only have filled buffers."""
    it.held()
    it.start()
    it.progress(size=0)
    it.progress(size=10)
    it.wait(MOVING_S - 1)
    it.progress(size=20)
    assert it.hold().dependency == "hdfs"
    it.wait(1)
    it.progress(size=20)
    assert it.hold().dependency == "hdfs", "nothing came"
    it.progress(size=21)
    assert it.report().holds == ()


@pytest.mark.parametrize(("dependency", "is_over"), [("s3", True), ("hdfs", False)])
def test_a_listing_that_grows_ends_a_hold_by_s3_alone(
    it: Watched, dependency: str, *, is_over: bool
) -> None:
    it.held(dependency=dependency)
    it.start()
    it.progress(total=9)
    it.progress(total=10)
    assert (it.report().holds == ()) is is_over


@pytest.mark.parametrize(("dependency", "is_over"), [("yarn", True), ("hdfs", False)])
def test_an_application_ends_a_hold_by_yarn_alone(
    it: Watched, dependency: str, *, is_over: bool
) -> None:
    it.held(dependency=dependency)
    it.start()
    it.observer(
        facts.ApplicationFollowed(
            transfer_id="tm1", application="a", tag="", state="", tracking_url=""
        )
    )
    assert (it.report().holds == ()) is is_over


def test_a_hold_that_comes_back_soon_has_lasted_all_the_time(it: Watched) -> None:
    began = it.clock.now()
    it.held()
    it.wait(60)
    it.resumed()
    it.wait(HOLD_GAP.total_seconds() - 1)
    it.held()
    assert it.hold().since == began
    it.resumed()
    it.wait(HOLD_GAP.total_seconds())
    it.held()
    assert it.hold().since == it.clock.now()


def test_a_hold_by_something_else_begins_anew(it: Watched) -> None:
    it.held(dependency="s3")
    it.wait(60)
    it.held(dependency="hdfs")
    hold = it.hold()
    assert (hold.dependency, hold.since) == ("hdfs", it.clock.now())


def test_a_worker_that_waits_has_done_so_since_it_last_moved(it: Watched) -> None:
    it.start()
    it.wait(100)
    it.blocked(still_s=15)
    assert it.hold().since == it.clock.now() - timedelta(seconds=15)
    assert it.report().running[0].waits_for == "hdfs"
    it.unblocked()
    assert it.report().holds == ()


def test_resuming_twice_is_resuming_once(it: Watched) -> None:
    it.held()
    it.resumed()
    it.wait(HOLD_GAP.total_seconds() - 1)
    it.resumed()
    it.wait(2)
    it.held()
    assert it.hold().since == it.clock.now(), "the gap counts from the first"


def test_calls_that_are_repeated_hold_until_each_is_over(it: Watched) -> None:
    began = it.clock.now()
    it.retried(1)
    it.wait(5)
    it.retried(2)
    it.retried(1)
    hold = it.hold()
    assert (hold.dependency, hold.since, hold.transfers) == ("sqs", began, 2)
    assert (hold.code, hold.hint) == ("E_SQS_DENIED", "allow it")
    it.call_ended(1)
    assert it.hold().transfers == 1
    it.call_ended(2)
    assert it.report().holds == ()


def test_a_ledger_that_takes_no_report_is_down_until_it_does(it: Watched) -> None:
    began = it.clock.now()
    it.observer.ledger_failed("E_LEDGER_FULL", "no room", "df -h")
    it.wait(5)
    it.observer.ledger_failed("E_LEDGER_IO", "broken", "")
    hold = it.hold()
    assert (hold.dependency, hold.since, hold.transfers) == ("ledger", began, 0)
    assert hold.code == "E_LEDGER_IO"
    it.held(dependency="ledger")
    it.receive("m2")
    it.held("m2", "s3")
    assert [(one.dependency, one.transfers) for one in it.report().holds] == [
        ("ledger", 1),
        ("s3", 1),
    ]
    it.observer.ledger_answered()
    it.resumed("m1")
    assert it.hold().dependency == "s3"


# ---------------------------------------------------------------- clocks


class Stepped(FakeClock):
    """Its wall clock can be set."""

    offset = timedelta()

    def now(self) -> datetime:
        return super().now() + self.offset


@pytest.mark.parametrize("step", [timedelta(hours=1), timedelta(hours=-1)])
def test_ages_are_right_after_the_clock_was_set(step: timedelta) -> None:
    watched = Watched()
    watched.clock = clock = Stepped()
    watched.observer = Observer(clock, slots=1)
    watched.poll_failed()
    watched.receive()
    watched.start()
    watched.held()
    watched.polled()
    watched.end()
    watched.receive("m2")
    watched.start("m2")
    watched.held("m2")
    watched.poll_failed()
    watched.wait(60)
    clock.offset = step
    report, ago = watched.report(), clock.now() - timedelta(seconds=60)
    assert (report.last_poll_at, report.failing_since) == (ago, ago)
    assert report.holds[0].since == ago
    assert report.running[0].started_at == ago


# ---------------------------------------------------------------- in any order

OPERATIONS: dict[str, Callable[[Watched, str], None]] = {
    "receive": Watched.receive,
    "start": Watched.start,
    "held": Watched.held,
    "held by s3": lambda it, message: it.held(message, "s3"),
    "blocked": Watched.blocked,
    "unblocked": Watched.unblocked,
    "resumed": Watched.resumed,
    "waiting": Watched.waiting,
    "failed": Watched.failed,
    "done": Watched.done,
    "dead": Watched.dead,
    "taken over": Watched.taken_over,
    "returned": Watched.returned,
    "end": Watched.end,
    "progress": lambda it, message: it.progress(size=1, transfer=f"t{message}"),
    "more progress": lambda it, message: it.progress(2, 2, 10, f"t{message}"),
    "call retried": lambda it, message: it.retried(int(message[1])),
    "call ended": lambda it, message: it.call_ended(int(message[1])),
    "polled": lambda it, message: it.polled(len(message)),
    "poll failed": lambda it, _message: it.poll_failed(),
    "ledger failed": lambda it, message: it.observer.ledger_failed("E_LEDGER_IO", message, ""),
    "ledger answered": lambda it, _message: it.observer.ledger_answered(),
    "time": lambda it, _message: it.wait(7.0),
    "much time": lambda it, _message: it.wait(1000.0),
}
STEPS = st.lists(st.tuples(st.sampled_from(sorted(OPERATIONS)), st.sampled_from(MESSAGES)))


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_nothing_is_held_once_all_deliveries_ended_and_a_poll_was_answered(
    steps: Sequence[tuple[str, str]],
) -> None:
    it = Watched()
    for name, message in steps:
        OPERATIONS[name](it, message)
        report = it.report()
        assert {one.message_id for one in report.running} <= set(MESSAGES)
        assert sum(one.transfers for one in report.holds) <= 2 * len(MESSAGES)
    for number, message in enumerate(MESSAGES, start=1):
        it.call_ended(number)
        it.end(message)
    it.observer.ledger_answered()
    it.polled()

    report = it.report()
    assert (report.running, report.holds, report.in_hand) == ((), (), 0)
    assert (report.oldest_sent_at, report.bytes_per_s) == (None, 0)
    identity: dict[str, Any] = dict.fromkeys(("id", "host", "owner", "version", "queue"), "x")
    record = AgentRecord(
        identity=AgentIdentity(
            **identity, region="us-east-1", slots=SLOTS, started_at=it.clock.now()
        ),
        report=report,
        beats=1,
    )
    found = agent_health(record, it.clock.now())
    assert (found.state, found.sentence) == (HealthState.RUNNING, "Running: waiting for messages")


# ---------------------------------------------------------------- paused routes


def _paused(watched: Watched, message: str = "m1", *, is_parked: bool = True) -> None:
    watched.observer(
        facts.TransferPaused(
            transfer_id=f"t{message}", message_id=message, route="clicks", reason="why"
        )
    )
    watched.observer(facts.DeliveryEnded(message_id=message, is_parked=is_parked))


def test_a_message_that_comes_back_although_a_record_of_it_is_paused_is_not_parked() -> None:
    watched = Watched()
    watched.receive()
    _paused(watched, is_parked=False)
    report = watched.report()
    assert (report.in_hand, report.parked, report.oldest_sent_at) == (0, 0, None)


def test_a_parked_message_has_no_slot_and_still_an_age() -> None:
    watched = Watched(slots=1)
    watched.receive()
    _paused(watched)
    report = watched.report()
    assert (report.in_hand, report.parked, report.oldest_sent_at) == (0, 1, SENT)
    assert report.slot_free_since is not None


def test_a_parked_message_that_goes_on_is_in_hand_again() -> None:
    watched = Watched(slots=1)
    watched.receive()
    _paused(watched)
    watched.observer(facts.MessageUnparked(message_id="m1", route="clicks", sent_at=SENT))
    report = watched.report()
    assert (report.in_hand, report.parked, report.oldest_sent_at) == (1, 0, SENT)
    assert report.slot_free_since is None


@pytest.mark.parametrize(
    "fact",
    [
        facts.ParkedMessageReturned(message_id="m1", route="clicks", hidden_s=0),
        facts.MessageReturned(transfer_id="", message_id="m1"),
    ],
)
def test_nothing_is_left_of_a_parked_message_that_is_returned(fact: object) -> None:
    watched = Watched()
    watched.receive()
    _paused(watched)
    watched.observer(fact)
    report = watched.report()
    assert (report.in_hand, report.parked, report.oldest_sent_at) == (0, 0, None)


def test_paused_routes_are_reported_and_polls_are_due_again_from_their_end() -> None:
    watched = Watched()
    watched.observer(facts.PausedRoutesChanged(routes=("a", "b"), is_everything=True))
    report = watched.report()
    assert (report.paused_routes, report.is_everything_paused) == (("a", "b"), True)
    watched.wait(600)
    watched.observer(facts.PausedRoutesChanged(routes=("a",), is_everything=False))
    report = watched.report()
    assert (report.paused_routes, report.is_everything_paused) == (("a",), False)
    assert report.slot_free_since == report.at
    watched.wait(60)
    watched.observer(facts.PausedRoutesChanged(routes=(), is_everything=False))
    report = watched.report()
    assert report.slot_free_since == report.at - timedelta(seconds=60)


def test_a_pause_that_ends_while_all_slots_are_busy_leaves_them_busy() -> None:
    watched = Watched(slots=1)
    watched.receive()
    watched.observer(facts.PausedRoutesChanged(routes=("a",), is_everything=True))
    watched.observer(facts.PausedRoutesChanged(routes=(), is_everything=False))
    assert watched.report().slot_free_since is None


# ---------------------------------------------------------------- a ledger that sees it no more


def test_what_is_not_received_for_the_ledger_is_its_hold_and_no_poll_is_missed() -> None:
    watched = Watched()
    watched.observer(
        facts.ReceivingHeld(queue="q", code="E_LEDGER_SILENT", reason="no beat", hint="look")
    )
    began = watched.clock.now()
    watched.clock.advance(2 * POLL_OVERDUE.total_seconds())
    report = watched.report()
    assert report.slot_free_since is None
    (hold,) = report.holds
    assert (hold.dependency, hold.since, hold.transfers) == ("ledger", began, 0)
    assert (hold.code, hold.reason, hold.hint) == ("E_LEDGER_SILENT", "no beat", "look")
    watched.observer.ledger_failed("E_LEDGER_AWAY", "refused", "start it")
    (hold,) = watched.report().holds
    assert (hold.code, hold.since) == ("E_LEDGER_AWAY", began)
    watched.observer.ledger_answered()
    watched.observer(facts.ReceivingResumed(queue="q", seconds=1.0))
    report = watched.report()
    assert report.holds == ()
    assert report.slot_free_since == watched.clock.now()
