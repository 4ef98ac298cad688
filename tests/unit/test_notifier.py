"""The threads that notify: nothing waits for them, nothing is lost silently, each fact once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from backhaul.core import facts
from backhaul.core.agent.notifying.notifier import KNOWN_MOST, TURN_S, Notifier, NotifyTarget
from backhaul.core.agent.notifying.plan import GATHER_S, RETRY_S, sample
from backhaul.core.agent_report import RunningTransfer
from backhaul.core.errors import TransientError
from backhaul.core.health import Health, HealthState
from backhaul.core.notification import (
    Deaths,
    Notification,
    NotificationFailed,
    NotificationKept,
    NotificationMemoryFailed,
    NotificationSent,
    NotifyRules,
    Remembered,
)
from backhaul.testing.fakes import FakeClock
from tests.unit.test_notification_plan import HELD, IDENTITY, WELL, death
from tests.world import eventually


def dead(number: int = 1, code: str = "E_SRC_EMPTY") -> facts.MessageDead:
    return facts.MessageDead(
        transfer_id=f"t{number}",
        message_id=f"m{number}",
        code=code,
        reason="no object",
        hint="look",
        attempts=1,
        dead_letter_queue="dead",
    )


@dataclass
class Hand:
    """Delivers at once, or does what a test wants."""

    sent: list[Notification] = field(default_factory=list)
    act: Callable[[threading.Event], str] = lambda _abandon: ""

    def send(self, notification: Notification, abandon: threading.Event) -> str:
        self.sent.append(notification)
        return self.act(abandon)


@dataclass
class Notes:
    """The memory."""

    kept: Mapping[str, Remembered] = field(default_factory=dict)
    saves: int = 0
    fails: bool = False

    def load(self) -> Mapping[str, Remembered]:
        if self.fails:
            raise TransientError("E_NOTIFY_MEMORY", "damaged")
        return self.kept

    def save(self, remembered: Mapping[str, Remembered]) -> None:
        if self.fails:
            raise TransientError("E_NOTIFY_MEMORY", "no space")
        self.saves += 1
        self.kept = remembered


class Room:
    """A notifier of one name, its clock, and the facts that it emits."""

    def __init__(self, hand: Hand | None = None, notes: Notes | None = None) -> None:
        self.hand = hand or Hand()
        self.notes = notes or Notes()
        self.clock = FakeClock()
        self.health = WELL
        self.running: dict[str, RunningTransfer] = {}
        self.facts: list[object] = []
        self.target = NotifyTarget(rules=NotifyRules(name="oncall"), sender=self.hand)
        self.notifier = Notifier(
            targets=[self.target],
            health=lambda _identity: self.health,
            transfer=self.running.get,
            memory=self.notes,
            clock=self.clock,
            emit=self.emit,
        )

    def start(self) -> Room:
        """Without its threads: `turn` is called by the test."""
        targets, self.notifier._turn_until_end = [], lambda *_: targets.append(1)  # type: ignore[method-assign]
        self.notifier.start(IDENTITY)
        return self

    def turn(self, seconds: float = TURN_S, *, is_last: bool = False) -> None:
        self.clock.advance(seconds)
        self.notifier.turn(self.target, IDENTITY, is_last=is_last)

    def emit(self, fact: object) -> None:
        self.facts.append(fact)

    def refuse(self, _abandon: threading.Event) -> str:
        raise TransientError("E_NOTIFY_SMTP", "no route", hint="look")


@pytest.fixture
def room() -> Room:
    return Room().start()


def test_a_death_is_reported_with_what_its_transfer_was(room: Room) -> None:
    room.running["t1"] = RunningTransfer(
        transfer_id="t1",
        message_id="m1",
        route="clicks",
        source="s3://raw/a",
        destination="hdfs://ns1/land",
        attempt=1,
        started_at=room.clock.now(),
    )
    room.notifier(dead(1))
    room.notifier(dead(2))
    room.notifier(facts.QueuePolled(queue="q", messages=0))
    room.turn(GATHER_S)
    (only,) = room.hand.sent
    assert only.deaths is not None
    assert [(d.route, d.source, d.destination) for d in only.deaths.examples] == [
        ("clicks", "s3://raw/a", "hdfs://ns1/land"),
        ("", "", ""),
    ]
    (sent,) = room.facts
    assert sent == NotificationSent(name="oncall", about="dead", dead=2, seconds=0.0)
    assert (only.host, only.queue, only.at) == ("edge1", "q", room.clock.now())


def test_a_message_that_is_dead_at_each_delivery_is_reported_once(room: Room) -> None:
    for _ in range(3):
        room.notifier(dead(1))
        room.turn(2000)
    assert len(room.hand.sent) == 1


def test_what_is_known_dead_is_bounded(room: Room) -> None:
    for number in range(KNOWN_MOST + 1):
        room.notifier(dead(number))
    assert len(room.notifier._known_dead) == 1


def test_the_operators_own_cancel_wakes_no_one(room: Room) -> None:
    room.notifier(dead(1, "E_CANCELLED"))
    room.turn(2000)
    assert room.hand.sent == []


def test_missing_data_is_reported_and_other_facts_are_not(room: Room) -> None:
    missed = facts.ExpectationMissed(
        route="r",
        name="daily",
        deadline=room.clock.now(),
        due="2026-12-01 06:00 UTC",
        found="2 of 3 objects in s3://user:canaryc0ffee@bucket/x",
        late_s=1,
    )
    for fact in (missed, facts.CallRetriesEnded(call=1, tries=1, is_answered=True)):
        room.notifier(fact)
    room.turn(GATHER_S)
    (sent,) = room.hand.sent
    assert sent.about == ("expected",)
    assert sent.notices is not None
    (notice,) = sent.notices.first
    assert notice.sentence.startswith("r/daily has not come by 2026-12-01 06:00 UTC: 2 of 3")
    assert "canaryc0ffee" not in notice.sentence


def test_health_is_looked_at_in_each_turn(room: Room) -> None:
    room.health = HELD
    for _ in range(30):
        room.turn()
    assert [one.about for one in room.hand.sent] == [("health",)]
    assert [type(one) for one in room.facts] == [NotificationSent]


def test_a_failed_delivery_is_one_warning_after_several_tries() -> None:
    room = Room()
    room.hand.act = room.refuse
    room.start()
    room.notifier(dead())
    room.turn(GATHER_S)
    for delay_s in RETRY_S:
        assert room.facts == []
        room.turn(delay_s)
    assert len(room.hand.sent) == 1 + len(RETRY_S)
    assert room.facts == [
        NotificationFailed(
            name="oncall",
            code="E_NOTIFY_SMTP",
            reason="no route",
            hint="look",
            dead=1,
            retry_in_s=900.0,
        )
    ]
    room.hand.act = lambda _abandon: "b@x: 550 no"
    room.turn(900)
    assert room.facts[1:] == [
        NotificationSent(name="oncall", about="dead", dead=1, seconds=0.0, left_out="b@x: 550 no")
    ]


def test_a_failure_about_health_alone_counts_no_dead() -> None:
    room = Room()
    room.hand.act = room.refuse
    room.start().health = HELD
    for _ in range(100):
        room.turn()
    (failed,) = room.facts
    assert isinstance(failed, NotificationFailed)
    assert failed.dead == 0


def test_a_defect_of_a_sender_is_in_the_log_and_tried_again() -> None:
    defect = RuntimeError("oops")

    def broken(_abandon: threading.Event) -> str:
        raise defect

    room = Room(Hand(act=broken)).start()
    room.notifier(dead())
    room.turn(GATHER_S)
    assert room.facts == [defect]
    room.hand.act = lambda _abandon: ""
    room.turn(RETRY_S[0])
    assert isinstance(room.facts[1], NotificationSent)


# ---------------------------------------------------------------- memory


def test_what_waits_is_kept_at_once_and_nothing_is_written_without_a_change(room: Room) -> None:
    room.notifier(dead(1))
    room.turn(1)
    assert room.notes.saves == 1
    assert room.notes.kept["oncall"].deaths is not None
    for _ in range(3):
        room.turn(0)
    assert room.notes.saves == 1
    room.turn(GATHER_S)
    assert room.notes.kept["oncall"] == Remembered(sent_at=room.clock.now())


def test_a_memory_that_fails_is_one_warning_until_it_works() -> None:
    room = Room(notes=Notes(fails=True)).start()
    for number in range(3):
        room.notifier(dead(number))
        room.turn(2000)
    warned = [one for one in room.facts if isinstance(one, NotificationMemoryFailed)]
    assert [(one.code, one.reason) for one in warned] == [("E_NOTIFY_MEMORY", "damaged")]
    assert len(room.hand.sent) == 3
    room.notes.fails = False
    room.turn()
    room.notes.fails = True
    room.notifier(dead(9))
    room.turn(2000)
    warned = [one for one in room.facts if isinstance(one, NotificationMemoryFailed)]
    assert [one.reason for one in warned] == ["damaged", "no space"]


def test_the_run_before_is_remembered() -> None:
    notes = Notes(kept={"oncall": Remembered(deaths=Deaths.of(death(7))), "gone": Remembered()})
    room = Room(notes=notes).start()
    room.turn()
    (only,) = room.hand.sent
    assert only.deaths == Deaths.of(death(7))
    assert set(room.notes.kept) == {"oncall"}


def test_without_names_there_is_no_thread_and_no_file() -> None:
    notes, other = Notes(fails=True), Room()
    none = Notifier(
        targets=[],
        health=lambda _identity: WELL,
        transfer=lambda _id: None,
        memory=notes,
        clock=FakeClock(),
        emit=other.emit,
    )
    none.start(IDENTITY)
    none(dead())
    none.close()
    assert (other.facts, notes.saves) == ([], 0)


# ---------------------------------------------------------------- threads and the end


def test_the_end_sends_what_waits() -> None:
    room = Room()
    room.notifier.start(IDENTITY)
    room.notifier(dead())
    room.notifier.close()
    assert [one.about for one in room.hand.sent] == [("dead",)]
    assert not [one for one in threading.enumerate() if one.name.startswith("notify-")]
    assert room.notes.kept["oncall"].deaths is None


def test_turns_come_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.core.agent.notifying.notifier.TURN_S", 0.001)
    room = Room()
    room.notifier.start(IDENTITY)
    room.notifier(dead())
    room.clock.advance(GATHER_S)
    eventually(lambda: room.hand.sent)
    room.notifier.close()


def test_a_sender_that_hangs_delays_the_end_by_seconds_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("backhaul.core.agent.notifying.notifier.CLOSE_S", 0.05)
    released = threading.Event()

    def hang(abandon: threading.Event) -> str:
        assert abandon.wait(30)
        released.set()
        raise TransientError("E_NOTIFY_TIMEOUT", "killed")

    room = Room(Hand(act=hang))
    room.notifier.start(IDENTITY)
    room.notifier(dead())
    room.notifier.close()
    assert released.is_set()
    assert room.notes.kept["oncall"].deaths is not None
    assert room.facts == [NotificationKept(name="oncall", dead=1)]


def test_a_memory_that_hangs_delays_the_end_by_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOSE_S", "ABANDON_S"):
        monkeypatch.setattr(f"backhaul.core.agent.notifying.notifier.{name}", 0.05)
    entered, opened = threading.Event(), threading.Event()

    class Hanging(Notes):
        def save(self, remembered: Mapping[str, Remembered]) -> None:
            entered.set()
            assert opened.wait(30)
            super().save(remembered)

    room = Room(notes=Hanging())
    room.notifier.start(IDENTITY)
    room.notifier(dead())
    closing = threading.Thread(target=room.notifier.close)
    closing.start()
    assert entered.wait(30)
    closing.join(20)
    is_over = not closing.is_alive()
    opened.set()
    closing.join(30)
    assert is_over


def test_no_secret_is_kept_for_the_next_start(room: Room) -> None:
    room.notifier(replace(dead(), reason="no answer of https://me:hunter2@proxy/"))
    room.turn(0)
    kept = room.notes.kept["oncall"].deaths
    assert kept is not None
    assert "hunter2" not in kept.examples[0].reason
    assert "no answer of" in kept.examples[0].reason


def test_a_sender_that_hangs_holds_up_no_fact() -> None:
    entered, opened = threading.Event(), threading.Event()

    def hang(_abandon: threading.Event) -> str:
        entered.set()
        assert opened.wait(30)
        return ""

    room = Room(Hand(act=hang)).start()
    room.notifier(dead(1))
    one = threading.Thread(target=lambda: room.turn(GATHER_S))
    one.start()
    assert entered.wait(30)
    room.notifier(dead(2))  # returns
    opened.set()
    one.join(30)
    assert room.notes.kept["oncall"].deaths is not None


def test_a_sample_is_marked_as_a_test() -> None:
    found = sample("oncall", IDENTITY, 900, FakeClock().now())
    assert found.is_test
    assert found.about == ("health", "dead", "test")
    assert found.health is not None
    assert found.health.health.since == FakeClock().now() - timedelta(minutes=2)


def test_a_health_that_was_never_seen_is_worth_nothing() -> None:
    room = Room().start()
    room.health = Health(state=HealthState.STOPPING, sentence="Stopping")
    room.turn(5000)
    assert room.hand.sent == []


def test_one_that_ends_before_its_first_turn_sends_what_the_run_before_left() -> None:
    room = Room(notes=Notes(kept={"oncall": Remembered(deaths=Deaths.of(death(7)))}))
    room.notifier.close()
    room.notifier.start(IDENTITY)
    eventually(lambda: room.hand.sent)
    eventually(lambda: not [one for one in threading.enumerate() if one.name == "notify-oncall"])
