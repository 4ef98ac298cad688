"""When a notification is due: grouped, one in each span, every death in exactly one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.core.agent.notifying.plan import GATHER_S, RETRY_S, NotificationPlan
from backhaul.core.agent_report import AgentIdentity
from backhaul.core.health import Health, HealthState
from backhaul.core.notification import (
    EXAMPLES_MOST,
    GROUPS_MOST,
    NOTICES_MOST,
    OTHER,
    Death,
    Deaths,
    Notice,
    Notices,
    Notification,
    NotifyOn,
    NotifyRules,
    Remembered,
)

START = datetime(2026, 11, 22, 3, tzinfo=UTC)
IDENTITY = AgentIdentity(
    id="a" * 32,
    host="edge1",
    owner="edge1:b:1:2",
    version="1",
    queue="q",
    region="us-east-1",
    slots=4,
    started_at=START,
)
WELL = Health(state=HealthState.RUNNING, sentence="Running: waiting for messages")
HELD = Health(state=HealthState.HELD, sentence="Held by hdfs", code="E_HDFS_SAFEMODE")
HELD_BY_S3 = Health(state=HealthState.HELD, sentence="Held by s3", code="E_S3_UNREACHABLE")
SILENT = Health(state=HealthState.NOT_POLLING, sentence="Not polling q", code="E_SQS_UNREACHABLE")
STOPPING = Health(state=HealthState.STOPPING, sentence="Stopping: nothing left")


def death(number: int = 1, code: str = "E_SRC_EMPTY", route: str = "r") -> Death:
    return Death(
        at=START + timedelta(seconds=number),
        transfer_id=f"t{number}",
        message_id=f"m{number}",
        code=code,
        reason="no object",
        hint="look",
        attempts=1,
        dead_letter_queue="dead",
        route=route,
    )


ONCALL, NOTHING = NotifyRules(name="oncall"), Remembered()


@dataclass
class Desk:
    """A plan, its clock, and what was delivered when."""

    rules: NotifyRules = ONCALL
    remembered: Remembered = NOTHING
    now_s: float = 50.0
    sent: list[tuple[float, Notification]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.plan = NotificationPlan(self.rules, IDENTITY, self.remembered, self.now_s, self.now)

    @property
    def now(self) -> datetime:
        return START + timedelta(seconds=self.now_s)

    def due(self, *, is_last: bool = False) -> Notification | None:
        return self.plan.due(self.now_s, self.now, is_last=is_last)

    def look(self, health: Health = WELL, *, fails: bool = False) -> Notification | None:
        """One turn, and the delivery of what is due."""
        self.plan.observe(health, self.now_s)
        found = self.due()
        if found is None:
            return None
        if fails:
            self.plan.failed(self.now_s)
        else:
            self.plan.delivered(self.now_s, self.now)
            self.sent.append((self.now_s, found))
        return found

    def run(self, seconds: float, health: Health = WELL, *, every_s: float = 5) -> None:
        """Turns until so many seconds have passed."""
        for _ in range(round(seconds / every_s)):
            self.now_s += every_s
            self.look(health)

    def next_run(self) -> Desk:
        """After a restart a minute later."""
        return Desk(self.rules, self.plan.remembered(), self.now_s + 60, self.sent)


# ---------------------------------------------------------------- deaths


def test_a_death_is_reported_after_a_moment_for_others() -> None:
    desk = Desk()
    desk.plan.died(death(1), desk.now_s)
    assert desk.look() is None
    desk.now_s += GATHER_S
    found = desk.look()
    assert found is not None
    assert found.about == ("dead",)
    assert found.deaths == Deaths.of(death(1))
    assert desk.look() is None


def test_deaths_within_the_span_are_one_message() -> None:
    desk = Desk()
    desk.plan.died(death(1), desk.now_s)
    desk.run(10)
    assert len(desk.sent) == 1
    for number in range(2, 60):
        desk.plan.died(death(number, f"E_{number % 2}"), desk.now_s)
        desk.run(5)
    desk.run(900)
    assert len(desk.sent) == 2
    later = desk.sent[1][1].deaths
    assert later is not None
    assert later.count == 58
    assert [(one.code, one.count) for one in later.groups] == [("E_0", 29), ("E_1", 29)]
    assert [one.transfer_id for one in later.examples] == [f"t{n}" for n in range(2, 22)]
    assert (later.first_at, later.last_at) == (death(2).at, death(59).at)
    assert desk.sent[1][0] - desk.sent[0][0] >= 900


def test_groups_are_largest_first_and_bounded() -> None:
    found = Deaths.of(death(0, "E_FIRST"))
    for number in range(1, 3 * GROUPS_MOST):
        found = found.with_more(Deaths.of(death(number, f"E_{number:03}", "r")))
    assert found.count == 3 * GROUPS_MOST
    assert len(found.groups) == GROUPS_MOST
    assert (found.groups[0].code, found.groups[0].count) == (OTHER, 2 * GROUPS_MOST + 1)
    assert sum(one.count for one in found.groups) == found.count
    assert len(found.examples) == EXAMPLES_MOST


def test_the_last_look_does_not_wait_for_others_but_for_the_span() -> None:
    desk = Desk()
    desk.plan.died(death(1), desk.now_s)
    assert desk.due(is_last=True) is not None
    desk.plan.delivered(desk.now_s, desk.now)
    desk.plan.died(death(2), desk.now_s)
    assert desk.due(is_last=True) is None
    assert desk.plan.waiting_dead == 1


def test_who_wants_no_deaths_gets_none() -> None:
    desk = Desk(NotifyRules(name="n", on=frozenset({NotifyOn.HEALTH})))
    desk.plan.died(death(), desk.now_s)
    desk.run(60)
    assert desk.sent == []
    left = Remembered(deaths=Deaths.of(death()), troubles=frozenset({"held:E"}))
    assert Desk(desk.rules, left).plan.waiting_dead == 0


# ---------------------------------------------------------------- health


def test_trouble_is_reported_once_it_lasts_and_its_end_once_that_lasts() -> None:
    desk = Desk()
    desk.run(300)
    desk.run(115, HELD)
    assert desk.sent == []
    desk.run(1200, HELD)
    ((_, trouble),) = desk.sent
    assert trouble.about == ("health",)
    assert trouble.health is not None
    assert trouble.health.health == HELD
    desk.run(100)
    assert len(desk.sent) == 1
    desk.run(2000)
    assert [one.about for _, one in desk.sent] == [("health",), ("recovery",)]
    recovery = desk.sent[1][1].health
    assert recovery is not None
    assert recovery.is_recovery
    assert recovery.health == WELL


def test_short_trouble_is_reported_neither_as_such_nor_as_over() -> None:
    desk = Desk()
    for _ in range(20):
        desk.run(30, HELD)
        desk.run(300)
    assert desk.sent == []


def test_trouble_with_short_interludes_is_trouble() -> None:
    """Bad for two minutes altogether, and never well for as long."""
    desk = Desk()
    for _ in range(60):
        desk.run(60, HELD)
        desk.run(60)
    assert [one.about for _, one in desk.sent] == [("health",)]


def test_with_no_wait_it_is_reported_at_once() -> None:
    desk = Desk(NotifyRules(name="n", after_s=0, every_s=1))
    assert desk.look(HELD) is not None
    desk.now_s += 5
    assert desk.look() is not None


def test_another_kind_of_trouble_is_reported_once_it_lasts() -> None:
    desk = Desk()
    desk.run(400, HELD)
    desk.run(100, SILENT)
    desk.run(2000, HELD)
    assert len(desk.sent) == 1
    desk.run(1000, SILENT)
    desk.run(1000, HELD)
    desk.run(1000, HELD_BY_S3)
    assert [one.health.health for _, one in desk.sent if one.health] == [HELD, SILENT, HELD_BY_S3]
    desk.run(5000)
    assert len(desk.sent) == 4


def test_a_stop_is_neither_trouble_nor_its_end() -> None:
    desk = Desk()
    desk.run(2000, STOPPING)
    desk.run(300, HELD)
    desk.run(2000, STOPPING)
    assert [one.about for _, one in desk.sent] == [("health",)]


def test_who_wants_no_health_gets_none() -> None:
    desk = Desk(NotifyRules(name="n", on=frozenset({NotifyOn.DEAD})))
    desk.run(3000, HELD)
    assert desk.sent == []


def test_trouble_and_deaths_are_one_message() -> None:
    desk = Desk()
    desk.run(120, HELD)
    desk.plan.died(death(), desk.now_s)
    desk.run(5, HELD)
    ((_, only),) = desk.sent
    assert only.about == ("health", "dead")


# ---------------------------------------------------------------- failed deliveries


def test_a_failed_delivery_is_tried_again_as_the_same_message() -> None:
    desk = Desk()
    desk.plan.died(death(1), desk.now_s)
    desk.now_s += GATHER_S
    first = desk.look(fails=True)
    desk.plan.died(death(2), desk.now_s)
    assert desk.look() is None
    desk.now_s += RETRY_S[0]
    assert desk.look() == first
    assert desk.plan.waiting_dead == 1


def test_what_is_given_up_is_in_the_next_message() -> None:
    desk = Desk()
    desk.plan.died(death(1), desk.now_s)
    desk.now_s += GATHER_S
    tries = [desk.look(fails=True)]
    retry_in_s: float | None = 0.0
    for delay_s in RETRY_S:
        desk.now_s += delay_s
        tries.append(desk.due())
        retry_in_s = desk.plan.failed(desk.now_s)
    assert retry_in_s is None
    assert len({one.id for one in tries if one}) == 1
    desk.plan.died(death(2), desk.now_s)
    desk.run(880)
    assert desk.sent == []
    desk.run(30)
    ((_, only),) = desk.sent
    assert only.deaths == Deaths.of(death(1)).with_more(Deaths.of(death(2)))
    assert only.id != getattr(tries[0], "id", None)


def test_trouble_that_was_not_delivered_is_reported_again() -> None:
    desk = Desk(NotifyRules(name="n", after_s=0, every_s=60))
    assert desk.look(HELD, fails=True) is not None
    for delay_s in RETRY_S:
        desk.now_s += delay_s
        assert desk.look(HELD, fails=True) is not None
    desk.run(70, HELD)
    assert [one.about for _, one in desk.sent] == [("health",)]


def test_an_answer_without_a_message_under_way_changes_nothing() -> None:
    desk = Desk()
    assert desk.plan.failed(desk.now_s) is None
    assert desk.plan.waiting_dead == 0


def test_the_last_look_tries_what_is_under_way_once_more() -> None:
    desk = Desk()
    desk.plan.died(death(), desk.now_s)
    desk.now_s += GATHER_S
    first = desk.look(fails=True)
    assert desk.due() is None
    assert desk.due(is_last=True) == first


# ---------------------------------------------------------------- restarts


def test_the_next_run_keeps_the_span_and_what_was_not_sent() -> None:
    desk = Desk()
    desk.plan.died(death(1), desk.now_s)
    desk.run(10)
    desk.plan.died(death(2), desk.now_s)
    later = desk.next_run()
    later.run(800)
    assert len(later.sent) == 1
    later.run(60)
    assert [one.deaths for _, one in later.sent] == [Deaths.of(death(1)), Deaths.of(death(2))]


def test_the_next_run_has_what_was_under_way() -> None:
    desk = Desk()
    desk.plan.died(death(1), desk.now_s)
    desk.now_s += GATHER_S
    desk.look(fails=True)
    desk.plan.died(death(2), desk.now_s)
    found = desk.plan.remembered()
    assert found.deaths is not None
    assert found.deaths.count == 2
    assert found.sent_at is None


def test_a_recovery_is_reported_by_the_next_run() -> None:
    desk = Desk()
    desk.run(300, HELD)
    later = desk.next_run()
    later.run(1000)
    assert [one.about for _, one in later.sent] == [("health",), ("recovery",)]


def test_a_clock_that_was_set_back_silences_for_one_span_at_most() -> None:
    ahead = Remembered(sent_at=START + timedelta(days=400), deaths=Deaths.of(death()))
    desk = Desk(remembered=ahead)
    desk.run(890)
    assert desk.sent == []
    desk.run(20)
    assert len(desk.sent) == 1


# ---------------------------------------------------------------- any order

HEALTHS = (WELL, HELD, HELD_BY_S3, SILENT, STOPPING)
STEPS = st.one_of(
    st.tuples(st.just("died"), st.integers(1, 3)),
    st.tuples(st.just("health"), st.integers(0, len(HEALTHS) - 1)),
    st.tuples(st.just("pass"), st.sampled_from([1, 5, 20, 100, 700])),
    st.tuples(st.just("fails"), st.booleans()),
    st.tuples(st.just("restart"), st.none()),
)


class Story:
    """Steps in any order; what was delivered must keep the promises."""

    def __init__(self, rules: NotifyRules) -> None:
        self.desk = Desk(rules)
        self.health, self.fails, self.died = WELL, False, 0

    def take(self, step: tuple[str, object]) -> None:
        match step:
            case ("died", int(count)):
                for _ in range(count):
                    self.died += 1
                    one = death(self.died, f"E_{self.died % 3}")
                    self.desk.plan.died(one, self.desk.now_s)
            case ("health", int(number)):
                self.health = HEALTHS[number]
            case ("pass", int(seconds)):
                self.desk.now_s += seconds
            case ("fails", bool(fails)):
                self.fails = fails
            case ("restart", None):
                self.desk = self.desk.next_run()
        self.desk.look(self.health, fails=self.fails)


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(STEPS, max_size=80),
    every_s=st.sampled_from([1, 60, 900]),
    after_s=st.sampled_from([0, 30, 120]),
)
def test_every_death_is_in_one_message_and_messages_keep_their_distance(
    steps: list[tuple[str, object]], every_s: float, after_s: float
) -> None:
    story = Story(NotifyRules(name="n", every_s=every_s, after_s=after_s))
    for step in steps:
        story.take(step)
    sent = story.desk.sent
    times = [at_s for at_s, _ in sent]
    assert all(later - before >= every_s for before, later in pairwise(times))
    reported = sum(one.deaths.count for _, one in sent if one.deaths)
    assert reported + story.desk.plan.waiting_dead == story.died
    examples = Counter(d.transfer_id for _, one in sent if one.deaths for d in one.deaths.examples)
    assert not [name for name, count in examples.items() if count > 1]
    changes = [one.health for _, one in sent if one.health]
    recoveries = [number for number, one in enumerate(changes) if one.is_recovery]
    assert 0 not in recoveries, "a recovery from trouble that was not reported"
    assert not [number for number in recoveries if number - 1 in recoveries]
    for _ in range(2):  # what is under way, and what came since
        story.desk.now_s += every_s + sum(RETRY_S)
        story.desk.look(story.health)
    assert story.desk.plan.waiting_dead == 0


@settings(max_examples=100, deadline=None)
@given(spans=st.lists(st.sampled_from([5, 10, 40, 115]), min_size=10, max_size=60))
def test_a_flapping_health_never_floods(spans: list[int]) -> None:
    """Whatever its rhythm below `after`: one message at most until it was well for long."""
    desk = Desk(NotifyRules(name="n", every_s=1))
    for number, seconds in enumerate(spans):
        desk.run(seconds, HELD if number % 2 else WELL)
    assert len(desk.sent) <= 1


# ---------------------------------------------------------------- data


def notice(about: NotifyOn = NotifyOn.EXPECTED, number: int = 1) -> Notice:
    return Notice(about=about, at=START, sentence=f"r/{number} has not come", code="W_X", hint="go")


def test_notices_of_data_are_one_message_and_wait_for_the_span() -> None:
    desk = Desk()
    for number in (1, 2):
        desk.plan.noticed(notice(number=number), desk.now_s)
    assert desk.look() is None
    desk.now_s += GATHER_S
    found = desk.look()
    assert found is not None
    assert found.notices == Notices(count=2, first=(notice(number=1), notice(number=2)))
    assert (found.about, found.deaths, found.health) == (("expected",), None, None)
    desk.plan.noticed(notice(NotifyOn.FORECAST, 3), desk.now_s)
    desk.now_s += ONCALL.every_s - 1
    assert desk.look() is None
    desk.now_s += 1
    again = desk.look()
    assert again is not None
    assert (again.about, again.notices and again.notices.count) == (("forecast",), 1)


def test_notices_go_together_with_the_dead() -> None:
    desk = Desk()
    desk.plan.died(death(), desk.now_s)
    desk.plan.noticed(notice(), desk.now_s)
    desk.now_s += GATHER_S
    found = desk.look()
    assert found is not None
    assert found.about == ("dead", "expected")


def test_only_what_is_wanted_is_noticed() -> None:
    desk = Desk(NotifyRules(name="oncall", on=frozenset({NotifyOn.FORECAST})))
    desk.plan.noticed(notice(), desk.now_s)
    desk.now_s += GATHER_S
    assert desk.look() is None
    desk.plan.noticed(notice(NotifyOn.FORECAST), desk.now_s)
    desk.now_s += GATHER_S
    assert desk.look() is not None


def test_what_could_not_be_delivered_is_noticed_with_the_next() -> None:
    desk = Desk()
    desk.plan.noticed(notice(number=1), desk.now_s)
    desk.now_s += GATHER_S
    for delay_s in (*RETRY_S, 0):
        assert desk.look(fails=True) is not None
        desk.now_s += delay_s
    desk.plan.noticed(notice(number=2), desk.now_s)
    assert desk.plan.remembered().notices == Notices(
        count=2, first=(notice(number=1), notice(number=2))
    )
    desk.now_s += ONCALL.every_s
    found = desk.look()
    assert found is not None
    assert found.notices is not None
    assert found.notices.count == 2


def test_a_restart_sends_what_was_noticed_if_it_is_still_wanted() -> None:
    both = Notices(count=2, first=(notice(), notice(NotifyOn.FORECAST)))
    wanting = NotifyRules(name="oncall", on=frozenset({NotifyOn.FORECAST}))
    found = Desk(wanting, Remembered(notices=both)).look()
    assert found is not None
    assert found.notices is not None
    assert [one.about for one in found.notices.first] == [NotifyOn.FORECAST]
    nothing = NotifyRules(name="oncall", on=frozenset({NotifyOn.DEAD}))
    assert Desk(nothing, Remembered(notices=both)).look() is None


def test_a_flood_of_notices_is_counted_and_the_first_are_kept() -> None:
    found: Notices | None = None
    for number in range(NOTICES_MOST + 5):
        one = Notices.of(notice(number=number))
        found = found.with_more(one) if found else one
    assert found is not None
    assert found.with_more(None) is found
    assert (found.count, len(found.first)) == (NOTICES_MOST + 5, NOTICES_MOST)
    assert found.first[0] == notice(number=0)
