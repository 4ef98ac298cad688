"""Expected data is judged once at its deadline, whenever agents run, and risks are told once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from backhaul.core.agent.notifying import watch
from backhaul.core.agent.notifying.deadlines import EVERY_S, LATE_SHARE
from backhaul.core.agent.notifying.notifier import notice_of
from backhaul.core.agent.notifying.watch import (
    CLEAR_LASTS_S,
    DEFECT_AGAIN_S,
    JUDGING_MOST_S,
    RISK_LASTS_S,
    SHARE,
    TURN_MOST_S,
    OutlookWatch,
)
from backhaul.core.agent_report import (
    REPORT_EVERY_S,
    AgentIdentity,
    AgentRecord,
    AgentReport,
    QueueDepth,
)
from backhaul.core.errors import OutageError
from backhaul.core.facts import (
    ExpectationArrived,
    ExpectationMissed,
    ForecastCleared,
    ForecastWarned,
    MessageReceived,
)
from backhaul.core.health import ObservedAgent
from backhaul.core.notification import NotifyOn
from backhaul.core.outlook.counting import Count
from backhaul.core.outlook.expectation import (
    ArrivalQuery,
    Arrived,
    Expectation,
    ExpectationRecord,
    ExpectationState,
    PathPattern,
    WallTime,
    Wanted,
)
from backhaul.core.outlook.risks import Risk, RiskKind
from backhaul.testing.fakes import FakeClock
from tests.unit.test_forecast import Sum

MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)
SIX = WallTime(at=time(6), zone=UTC, zone_name="UTC")
NEW_YEAR = datetime(2027, 1, 1, tzinfo=UTC)
DATED = PathPattern(text="day={date}")


def expectation(name: str = "daily", **other: Any) -> Expectation:
    known: dict[str, Any] = {"by": SIX, "wanted": Wanted(objects=3), "path": DATED}
    return Expectation(**{"route": "r", "name": name, **known, **other})


class WallClock(FakeClock):
    """One whose wall clock may be set."""

    _ahead = timedelta()

    def now(self) -> datetime:
        return super().now() + self._ahead

    def set_to(self, moment: datetime) -> None:
        self._ahead += moment - self.now()


class MemoryOutlook:
    """The ledger: objects that came at some time, and records."""

    def __init__(self, clock: WallClock) -> None:
        self.clock = clock
        self.came: list[datetime] = []
        self.records: dict[tuple[str, str, datetime], ExpectationRecord] = {}
        self.writes = 0
        self.counted: list[ArrivalQuery] = []
        self.depth: QueueDepth | None = None
        self.count_s = 0.0  # of a piece
        self.pieces = 1
        self.pieces_of: dict[Wanted, int] = {}

    @contextmanager
    def reading(self) -> Iterator[MemoryOutlook]:
        yield self

    def agents(self) -> list[ObservedAgent]:
        now = self.clock.now()
        identity = AgentIdentity(
            id="a",
            host="h",
            owner="o",
            version="1",
            queue="q",
            region="-",
            slots=4,
            started_at=now - HOUR,
        )
        depth = self.depth and replace(self.depth, at=now)
        report = AgentReport(at=now, depth=depth)
        return [ObservedAgent(record=AgentRecord(identity=identity, report=report, beats=1))]

    def ended(self, since: datetime) -> Sequence[Sum]:
        assert since < self.clock.now()
        return [Sum(begins_at=self.clock.now() - 10 * MINUTE, done=10)]  # one a minute

    def mean_bytes(self, since: datetime) -> float | None:
        assert since < self.clock.now()
        return 1.0

    def count_arrivals(self, query: ArrivalQuery, so_far: Count | None) -> Count:
        before = so_far or Count(position=self.pieces_of.get(query.wanted, self.pieces))
        assert isinstance(before.position, int)
        self.counted.append(query)
        self.clock.advance(self.count_s)
        left = before.position - 1
        return Count(found=self.arrived(query), is_over=left == 0, position=left)

    def arrived(self, query: ArrivalQuery) -> Arrived:
        found = [
            one
            for one in self.came
            if one <= query.until and (query.since is None or one > query.since)
        ]
        return Arrived(objects=len(found))

    def expectations(self) -> list[ExpectationRecord]:
        return list(self.records.values())

    def note_expectation(self, record: ExpectationRecord) -> bool:
        self.writes += 1
        key = (record.route, record.name, record.deadline)
        before = self.records.get(key)
        self.records[key] = record
        return before is None or before.state is not record.state

    def forget_expectations(self, records: Sequence[ExpectationRecord]) -> None:
        for one in records:
            del self.records[(one.route, one.name, one.deadline)]

    def states(self, name: str = "daily") -> list[tuple[int, str]]:
        """Day of each deadline, and what became of it, oldest first."""
        return [
            (one.deadline.day, one.state.value)
            for one in sorted(self.records.values(), key=lambda one: one.deadline)
            if one.name == name
        ]


class Desk:
    """An agent's watch, that can be started again."""

    def __init__(self, *expectations: Expectation) -> None:
        self.clock = WallClock()
        self.ledger = MemoryOutlook(self.clock)
        self.facts: list[object] = []
        self.at(5, 0)
        self.start(*(expectations or (expectation(),)))

    def start(self, *expectations: Expectation) -> None:
        self.watch = OutlookWatch(
            expectations=expectations,
            ledger=self.ledger,
            clock=self.clock,
            emit=self.emit,
        )

    def emit(self, fact: object) -> None:
        self.facts.append(fact)

    def at(self, hour: int, minute: int = 0, day: int = 1) -> None:
        """The wall clock; the monotonic one goes on by as much, or by a minute."""
        to = datetime(2026, 12, day, hour, minute, tzinfo=UTC)
        ahead = (to - self.clock.now()).total_seconds()
        self.clock.advance(max(60.0, ahead))
        self.clock.set_to(to)

    def turn(self, hour: int, minute: int = 0, day: int = 1) -> list[object]:
        """What is new after a turn at this time."""
        self.at(hour, minute, day)
        self.facts.clear()
        self.watch.turn()
        return list(self.facts)

    def came(self, count: int) -> None:
        self.ledger.came += [self.clock.now()] * count


# ---------------------------------------------------------------- deadlines


def test_what_is_there_in_time_is_met_and_raises_nothing() -> None:
    desk = Desk()
    assert desk.turn(5, 1) == []
    assert desk.ledger.states() == [(1, "due")]
    desk.came(3)
    assert desk.turn(6, 1) == []
    assert desk.ledger.states() == [(1, "met"), (2, "due")]


def test_what_was_there_in_time_is_met_though_it_was_replaced_since() -> None:
    desk = Desk()
    desk.came(3)
    desk.turn(5, 1)
    desk.at(6, 0)
    desk.ledger.came.clear()  # the files have newer contents, of transfers after the deadline
    desk.came(3)
    assert desk.turn(6, 2) == []
    assert desk.ledger.states() == [(1, "met"), (2, "due")]


def test_what_is_missing_is_one_fact_and_so_is_its_late_arrival() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.came(2)
    (missed,) = desk.turn(6, 1)
    assert isinstance(missed, ExpectationMissed)
    assert (missed.route, missed.name, missed.due) == ("r", "daily", "2026-12-01 06:00 UTC")
    assert (missed.found, missed.late_s) == ("2 of 3 objects on route r", 60)
    assert desk.turn(6, 5) == []
    assert desk.ledger.states() == [(1, "missed"), (2, "due")]
    desk.came(1)
    (late,) = desk.turn(7, 0)
    assert isinstance(late, ExpectationArrived)
    assert (late.found, late.late_s) == ("3 of 3 objects on route r", 3600)
    assert desk.turn(7, 5) == []
    assert desk.ledger.states()[0] == (1, "late")


def test_a_restart_repeats_nothing() -> None:
    desk = Desk()
    desk.turn(5, 1)
    assert len(desk.turn(6, 1)) == 1
    for minute in (2, 3):
        desk.start(expectation())
        assert desk.turn(6, minute) == []
    desk.came(3)
    desk.start(expectation())
    assert len(desk.turn(6, 10)) == 1
    desk.start(expectation())
    assert desk.turn(6, 11) == []


def test_another_agent_that_judged_it_has_said_so() -> None:
    desk = Desk()
    desk.turn(5, 1)
    note = desk.ledger.note_expectation

    def too_late(record: ExpectationRecord) -> bool:
        note(record)
        return note(record)

    desk.ledger.note_expectation = too_late  # type: ignore[method-assign]
    assert desk.turn(6, 1) == []


def test_what_was_due_while_no_agent_ran_is_judged_at_the_start() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.start(expectation())
    found = desk.turn(9, 0, day=3)
    assert [one.due for one in found if isinstance(one, ExpectationMissed)] == [
        "2026-12-01 06:00 UTC",
        "2026-12-02 06:00 UTC",
        "2026-12-03 06:00 UTC",
    ]
    assert desk.ledger.states()[-1] == (4, "due")


def test_what_came_between_the_deadline_and_the_start_was_late() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.at(8)
    desk.came(3)
    desk.start(expectation())
    (late,) = desk.turn(9, 0)
    assert isinstance(late, ExpectationArrived)
    assert desk.ledger.states()[0] == (1, "late")


def test_a_deadline_of_long_ago_is_not_judged() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.start(expectation())
    found = desk.turn(7, 0, day=20)
    assert [one.deadline.day for one in found if isinstance(one, ExpectationMissed)] == [18, 19, 20]
    assert [day for day, _ in desk.ledger.states()] == [18, 19, 20, 21]


def test_what_comes_after_a_week_is_not_late_any_more() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.turn(6, 1)
    desk.turn(5, 0, day=8)
    desk.came(3)
    found = desk.turn(7, 0, day=8)
    assert all(not isinstance(one, ExpectationArrived) or one.deadline.day > 1 for one in found)
    assert desk.ledger.states()[0] == (1, "missed")


def test_a_new_expectation_begins_with_its_next_deadline() -> None:
    desk = Desk()
    assert desk.turn(7) == []
    assert desk.ledger.states() == [(2, "due")]


def test_a_changed_time_begins_with_the_next_one_and_its_old_deadline_is_forgotten() -> None:
    desk = Desk()
    desk.turn(5, 1)
    later = expectation(by=replace(SIX, at=time(8)))
    desk.start(later)
    assert desk.turn(7) == []
    assert [one.deadline.hour for one in desk.ledger.expectations()] == [8]
    desk.start(expectation(by=replace(SIX, at=time(7))))
    assert desk.turn(7, 30) == [], "it was not due at 07:00 when 07:00 was"
    assert [(one.deadline.day, one.deadline.hour) for one in desk.ledger.expectations()] == [(2, 7)]


def test_one_that_is_not_configured_any_more_is_forgotten() -> None:
    desk = Desk(expectation("a"), expectation("b"))
    desk.turn(5, 1)
    desk.start(expectation("a"))
    desk.turn(5, 2)
    assert (desk.ledger.states("a"), desk.ledger.states("b")) == ([(1, "due")], [])


def test_a_clock_that_was_ahead_is_forgiven() -> None:
    desk = Desk()
    desk.turn(5, 1)
    assert len(desk.turn(7, 0, day=2)) == 2
    desk.came(3)
    assert desk.turn(5, 5) == []
    assert desk.ledger.states() == [(1, "due")]
    desk.ledger.came = [datetime(2026, 12, 1, 5, 30, tzinfo=UTC)] * 3
    assert desk.turn(6, 1) == []
    assert desk.ledger.states() == [(1, "met"), (2, "due")]


# ---------------------------------------------------------------- another calendar

MONDAYS, WEEKDAYS = frozenset({0}), frozenset(range(5))


def days_missed(found: list[object]) -> list[int]:
    return [one.deadline.day for one in found if isinstance(one, ExpectationMissed)]


def test_days_that_are_added_were_not_due_before() -> None:
    desk = Desk(expectation(days=MONDAYS))
    desk.turn(5, 1, day=7)
    assert days_missed(desk.turn(6, 1, day=7)) == [7]
    desk.start(expectation())
    assert desk.turn(7, 0, day=10) == []
    assert desk.ledger.states() == [(7, "missed"), (11, "due")]
    assert days_missed(desk.turn(6, 1, day=11)) == [11], "nor are they with the next deadline"


def test_one_that_is_put_back_begins_anew() -> None:
    desk = Desk()
    desk.turn(5, 1)
    assert days_missed(desk.turn(6, 1)) == [1]
    desk.start()
    desk.turn(7)
    assert desk.ledger.states() == [(1, "missed")]
    desk.start(expectation())
    assert desk.turn(7, 0, day=4) == []
    assert desk.ledger.states() == [(1, "missed"), (5, "due")]
    assert days_missed(desk.turn(6, 1, day=5)) == [5]


def test_a_calendar_that_is_as_it_was_before_the_last_begins_anew() -> None:
    desk = Desk()
    desk.turn(5, 1, day=7)
    assert days_missed(desk.turn(6, 1, day=7)) == [7]
    desk.start(expectation(days=MONDAYS))
    assert desk.turn(7, 0, day=7) == []
    assert desk.ledger.states() == [(7, "missed"), (14, "due")]
    desk.start(expectation())
    assert desk.turn(7, 0, day=10) == []
    assert days_missed(desk.turn(6, 1, day=11)) == [11]


@pytest.mark.parametrize(
    "other",
    [
        {"days": WEEKDAYS},
        # The same moments in winter.
        {"by": WallTime(at=time(6), zone=ZoneInfo("Europe/London"), zone_name="Europe/London")},
    ],
    ids=["days", "zone"],
)
def test_with_another_calendar_only_what_was_noted_as_due_is_judged(other: dict[str, Any]) -> None:
    desk = Desk()
    desk.turn(5, 1, day=8)
    desk.start(expectation(**other))
    assert days_missed(desk.turn(7, 0, day=10)) == [8]
    assert desk.ledger.states() == [(8, "missed"), (11, "due")]


def test_with_the_same_calendar_all_that_passed_meanwhile_is_judged_but_once() -> None:
    desk = Desk()
    desk.turn(5, 1, day=8)
    desk.start(expectation(wanted=Wanted(objects=4)))
    assert days_missed(desk.turn(7, 0, day=10)) == [8, 9, 10]
    assert days_missed(desk.turn(7, 1, day=10)) == []


def test_after_a_crash_between_two_judgements_the_others_are_judged() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.start(expectation())
    desk.ledger.pieces, desk.ledger.count_s = 2, JUDGING_MOST_S
    desk.at(7, 0, day=3)
    for _ in range(4):
        desk.watch.turn()
    assert desk.ledger.states() == [(1, "missed"), (2, "due"), (3, "due"), (4, "due")]
    desk.start(expectation())
    assert days_missed(desk.turn(7, 1, day=3)) == []
    reports(desk, 100)
    assert days_missed(desk.facts) == [2, 3]


def test_what_another_agent_has_judged_meanwhile_is_not_judged_again() -> None:
    desk = Desk()
    desk.turn(5, 1)
    met = replace(expectation().record(SIX.on(date(2026, 12, 2)), Arrived()), judged_at=NEW_YEAR)
    desk.ledger.note_expectation(replace(met, state=ExpectationState.MET))
    desk.start(expectation())
    assert days_missed(desk.turn(7, 0, day=3)) == [1, 3]


def test_of_an_older_ledger_only_what_is_due_is_judged() -> None:
    """It has no calendars."""
    desk = Desk()
    desk.turn(5, 1)
    for key, one in desk.ledger.records.items():
        desk.ledger.records[key] = replace(one, calendar="")
    desk.start(expectation())
    assert days_missed(desk.turn(7, 0, day=3)) == [1]
    assert desk.ledger.states() == [(1, "missed"), (4, "due")]


def test_what_an_older_ledger_has_as_met_is_met() -> None:
    desk = Desk()
    desk.came(3)
    desk.turn(5, 1)
    for key, one in desk.ledger.records.items():
        desk.ledger.records[key] = replace(one, calendar="")
    desk.ledger.came.clear()
    desk.start(expectation())
    assert desk.turn(6, 1) == []
    assert desk.ledger.states() == [(1, "met"), (2, "due")]


def test_an_empty_configuration_expects_nothing() -> None:
    desk = Desk()
    desk.start()
    assert desk.turn(7) == []


# ---------------------------------------------------------------- without a date


def test_without_a_date_what_comes_after_the_next_deadline_is_for_that() -> None:
    desk = Desk(expectation(path=PathPattern()))
    desk.turn(5, 1)
    desk.came(1)
    assert len(desk.turn(6, 1)) == 1
    desk.at(5, 0, day=2)
    desk.came(2)
    (late,) = desk.turn(5, 1, day=2)
    assert isinstance(late, ExpectationArrived), "3 since the deadline before, a day late"
    (missed,) = desk.turn(6, 1, day=2)
    assert isinstance(missed, ExpectationMissed)
    assert missed.found == "2 of 3 objects on route r"
    desk.came(3)
    assert len(desk.turn(6, 30, day=2)) == 1
    assert desk.turn(6, 2, day=3) == [], "they are for the third day, too"
    assert desk.ledger.states() == [(1, "late"), (2, "late"), (3, "met"), (4, "due")]


# ---------------------------------------------------------------- what it costs


def test_what_does_not_change_is_not_written_and_what_is_met_not_counted() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.turn(5, 2)
    assert desk.ledger.writes == 2, "noted and counted"
    desk.came(3)
    desk.turn(5, 3)
    counted = len(desk.ledger.counted)
    desk.turn(5, 4)
    assert (desk.ledger.writes, len(desk.ledger.counted)) == (3, counted)
    desk.start(expectation(wanted=Wanted(objects=4)))
    desk.turn(5, 5)
    assert len(desk.ledger.counted) == counted + 1, "now it takes more"


def test_it_looks_every_half_minute() -> None:
    desk = Desk()
    desk.watch.turn()
    for seconds, counts in ((EVERY_S - 1, 1), (1, 2), (1, 2)):
        desk.clock.advance(seconds)
        desk.watch.turn()
        assert len(desk.ledger.counted) == counts


def reports(desk: Desk, seconds: float) -> list[float]:
    """Turn after turn as an agent's reports have them; how long each one took."""
    taken = []
    until_s = desk.clock.monotonic() + seconds
    while desk.clock.monotonic() < until_s:
        began_s = desk.clock.monotonic()
        desk.watch.turn()
        taken.append(desk.clock.monotonic() - began_s)
        desk.clock.advance(REPORT_EVERY_S)
    return taken


def missed(desk: Desk) -> dict[str, float]:
    """How late each was reported."""
    return {one.name: one.late_s for one in desk.facts if isinstance(one, ExpectationMissed)}


def test_a_deadline_is_judged_within_half_a_minute_however_much_is_counted() -> None:
    """A million files are 200 pieces of 25 ms; they go on from turn to turn."""
    noon = expectation("noon", by=replace(SIX, at=time(12)))
    desk = Desk(expectation(), noon)
    desk.ledger.pieces, desk.ledger.count_s = 200, 0.025
    desk.at(5, 59)
    taken = reports(desk, 90)
    assert list(missed(desk)) == ["daily"]
    assert missed(desk)["daily"] <= 30
    assert max(taken) <= JUDGING_MOST_S + 0.025
    assert sum(one > TURN_MOST_S + 0.026 for one in taken) == 2, "only once a deadline has passed"
    assert desk.ledger.states("noon") == [(1, "due")]


def test_a_long_pause_ends_with_the_next_deadline() -> None:
    desk = Desk()
    desk.at(5, 58)
    desk.ledger.count_s = 10
    desk.watch.turn()
    desk.ledger.count_s = 0
    desk.clock.advance(100)
    desk.watch.turn()
    assert len(desk.ledger.counted) == 1, f"the pause is {SHARE * 10} s"
    desk.at(6, 0)
    desk.watch.turn()
    assert list(missed(desk)) == ["daily"]


def test_a_deadline_that_passes_goes_before_what_is_being_counted() -> None:
    large = Wanted(objects=1_000_000)
    desk = Desk(expectation("noon", by=replace(SIX, at=time(12)), wanted=large), expectation())
    desk.ledger.pieces_of[large], desk.ledger.count_s = 100, 1
    desk.at(5, 59)
    reports(desk, 120)
    assert missed(desk)["daily"] <= 10
    done = [one.wanted for one in desk.ledger.counted].count(large)
    assert 10 < done < 30
    reports(desk, 6 * (100 - done))
    (noon,) = [one for one in desk.ledger.expectations() if one.name == "noon"]
    assert noon.found is not None, "it goes on where it was"


def test_many_are_counted_in_several_turns_with_pauses_that_fit() -> None:
    desk = Desk(*(expectation(f"e{number}") for number in range(5)))
    desk.ledger.count_s = TURN_MOST_S / 2
    counts = []
    for _ in range(4):
        desk.watch.turn()
        counts.append(len(desk.ledger.counted))
        desk.clock.advance(5)
    assert counts == [2, 4, 5, 5]
    desk.clock.advance(EVERY_S)
    desk.watch.turn()
    assert len(desk.ledger.counted) == 7
    alone = Desk()
    alone.ledger.count_s = 10
    alone.watch.turn()
    alone.clock.advance(SHARE * 10 - 1)
    alone.watch.turn()
    assert len(alone.ledger.counted) == 1
    alone.clock.advance(1)
    alone.watch.turn()
    assert len(alone.ledger.counted) == 2


def test_what_was_missed_is_counted_ever_less_often() -> None:
    desk = Desk(expectation(path=PathPattern()))
    desk.turn(5, 1)
    desk.turn(6, 1)
    since = SIX.on(date(2026, 11, 30))

    def counted(minutes: int) -> int:
        desk.ledger.counted.clear()
        for _ in range(2 * minutes):
            desk.clock.advance(30)
            desk.watch.turn()
        return sum(one.since == since for one in desk.ledger.counted)

    assert counted(30) == pytest.approx(58, abs=3)
    desk.at(5, 0, day=2)
    assert 4 <= counted(60) <= 6, "a day late, every quarter of an hour"
    assert counted(60) == 1, "what comes after the next deadline is for that"
    assert counted(600) == 0


def test_what_takes_long_to_count_is_looked_for_less_often() -> None:
    desk = Desk(expectation(path=PathPattern()))
    desk.turn(5, 1)
    desk.turn(6, 1)
    desk.ledger.count_s = 0.5
    began = desk.clock.now()
    reports(desk, 600)
    since = SIX.on(date(2026, 11, 30))
    late = [one for one in desk.ledger.counted if one.since == since and one.until > began]
    assert len(late) == pytest.approx(9, abs=1), (
        f"not within {LATE_SHARE * 0.5} s: every second time"
    )


def test_before_it_is_counted_nobody_takes_it_for_nothing() -> None:
    desk = Desk()
    desk.ledger.pieces, desk.ledger.count_s = 9, 1
    desk.watch.turn()
    (record,) = desk.ledger.expectations()
    assert (record.found, record.is_met) == (None, False)
    assert record.words == "what is on route r is not counted yet"
    reports(desk, 60)
    (record,) = desk.ledger.expectations()
    assert record.words == "0 of 3 objects on route r"


def test_a_count_goes_on_after_the_ledger_was_away() -> None:
    desk = Desk()
    desk.ledger.pieces, desk.ledger.count_s = 9, 1
    desk.watch.turn()
    note = desk.ledger.expectations

    def away() -> list[ExpectationRecord]:
        desk.ledger.expectations = note  # type: ignore[method-assign]
        raise OutageError("E_LEDGER_BUSY", "locked")

    desk.ledger.expectations = away  # type: ignore[method-assign]
    with pytest.raises(OutageError):
        desk.watch.turn()
    for _ in range(8):
        desk.watch.turn()
    assert len(desk.ledger.counted) == 9


def test_a_count_of_what_was_judged_elsewhere_is_dropped() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.ledger.pieces, desk.ledger.count_s = 99, 1
    desk.turn(6, 1)
    (due, _) = desk.ledger.expectations()
    desk.ledger.note_expectation(replace(due, state=ExpectationState.MET, judged_at=due.deadline))
    counted = len(desk.ledger.counted)
    desk.ledger.pieces = 1
    reports(desk, 5)
    assert desk.ledger.states() == [(1, "met"), (2, "due")]
    assert len(desk.ledger.counted) == counted + 1, "of the next one"


def test_a_count_of_what_is_not_there_any_more_is_dropped() -> None:
    desk = Desk()
    desk.turn(5, 1)
    desk.turn(6, 1)
    desk.ledger.pieces, desk.ledger.count_s = 99, 1
    desk.turn(7)
    (late,) = [one for one in desk.ledger.expectations() if one.deadline.day == 1]
    desk.ledger.forget_expectations([late])
    reports(desk, 99 * 7)
    assert desk.ledger.states() == [(2, "due")]


def test_a_defect_is_emitted_and_raises_nothing_and_an_outage_is_raised() -> None:
    desk = Desk()
    arrived = desk.ledger.arrived
    errors = [OverflowError("too far"), OutageError("E_LEDGER_BUSY", "locked")]

    def broken(query: ArrivalQuery) -> Arrived:
        if errors:
            raise errors.pop(0)
        return arrived(query)

    desk.ledger.arrived = broken  # type: ignore[method-assign]
    desk.watch.turn()
    assert [str(one) for one in desk.facts] == ["too far"]
    desk.clock.advance(DEFECT_AGAIN_S - 1)
    desk.watch.turn()
    assert len(errors) == 1
    desk.clock.advance(1)
    with pytest.raises(OutageError):
        desk.watch.turn()
    desk.watch.turn()
    assert desk.ledger.states() == [(1, "due")]
    assert len(desk.facts) == 1


# ---------------------------------------------------------------- risks


def risky(desk: Desk, *, retention_s: int = 3600) -> None:
    desk.ledger.depth = QueueDepth(
        visible=60, in_flight=0, delayed=0, retention_s=retention_s, at=desk.clock.now()
    )


def test_a_risk_is_told_once_it_lasts_and_once_it_is_over() -> None:
    desk = Desk()
    risky(desk)
    desk.watch.turn()

    def after(seconds: float) -> list[object]:
        desk.facts.clear()
        desk.clock.advance(seconds)
        desk.watch.turn()
        return [one for one in desk.facts if isinstance(one, ForecastWarned | ForecastCleared)]

    assert after(RISK_LASTS_S - 1) == []
    (warned,) = after(EVERY_S)
    assert isinstance(warned, ForecastWarned)
    assert (warned.subject, warned.code) == ("retention/q", "W_FORECAST_RETENTION")
    assert after(HOUR.total_seconds()) == []
    risky(desk, retention_s=10**6)
    assert after(EVERY_S) == []
    risky(desk)
    assert after(EVERY_S) == [], "it was over for a moment"
    risky(desk, retention_s=10**6)
    assert after(EVERY_S) == []
    assert after(CLEAR_LASTS_S - 1) == []
    assert after(EVERY_S) == [ForecastCleared(subject="retention/q", code="W_FORECAST_RETENTION")]
    risky(desk)
    assert after(EVERY_S) == []
    risky(desk, retention_s=10**6)
    assert after(EVERY_S) == [], "it did not last"
    risky(desk)
    assert after(EVERY_S) == []
    assert len(after(RISK_LASTS_S)) == 1


def test_what_is_unknown_is_not_over() -> None:
    """While the forecast is unknown nothing gets better."""
    desk = Desk()
    risky(desk)
    desk.watch.turn()
    desk.clock.advance(RISK_LASTS_S)
    desk.watch.turn()
    assert [type(one) for one in desk.facts] == [ForecastWarned]
    desk.ledger.depth = None
    for _ in range(5):
        desk.clock.advance(CLEAR_LASTS_S)
        desk.watch.turn()
    assert not any(isinstance(one, ForecastCleared) for one in desk.facts)
    risky(desk, retention_s=10**6)
    for _ in range(2):
        desk.clock.advance(CLEAR_LASTS_S)
        desk.watch.turn()
    assert any(isinstance(one, ForecastCleared) for one in desk.facts)


def test_a_deadline_that_has_passed_is_not_called_safe() -> None:
    """What has come by then is judged, and reported, as expected data."""
    desk = Desk()
    desk.watch.turn()
    until = desk.clock.now() + HOUR
    risk = Risk(
        kind=RiskKind.DEADLINE, subject="deadline/r/x", code="W", sentence="s", hint="h",
        queue="q", until=until,
    )  # fmt: skip
    desk.watch._seen["deadline/r/x"] = watch._Seen(risk=risk, since_s=0, is_announced=True)
    for _ in range(4):
        desk.clock.advance(CLEAR_LASTS_S)
        risky(desk, retention_s=10**6)
        desk.watch.turn()
    assert not any(isinstance(one, ForecastCleared) for one in desk.facts)
    assert "deadline/r/x" not in desk.watch._seen


# ---------------------------------------------------------------- what people read


@pytest.mark.parametrize(
    ("fact", "about", "code", "sentence"),
    [
        (
            ExpectationMissed(
                route="r", name="daily", deadline=datetime(2026, 12, 1, tzinfo=UTC),
                due="2026-12-01 06:00 UTC", found="2 of 3 objects in /x", late_s=60,
            ),
            NotifyOn.EXPECTED,
            "W_EXPECTED_MISSING",
            "r/daily has not come by 2026-12-01 06:00 UTC: 2 of 3 objects in /x",
        ),
        (
            ExpectationArrived(
                route="r", name="daily", deadline=datetime(2026, 12, 1, tzinfo=UTC),
                due="2026-12-01 06:00 UTC", found="3 of 3 objects in /x", late_s=600,
            ),
            NotifyOn.EXPECTED,
            "",
            "r/daily, due by 2026-12-01 06:00 UTC, has come 10 min late: 3 of 3 objects in /x",
        ),
        (
            ForecastWarned(subject="retention/q", code="W_X", reason="too long", hint="raise it"),
            NotifyOn.FORECAST,
            "W_X",
            "too long",
        ),
        (
            ForecastCleared(subject="retention/q", code="W_X"),
            NotifyOn.FORECAST,
            "",
            "no longer at risk: retention/q",
        ),
    ],
)  # fmt: skip
def test_a_fact_about_data_is_a_notice(
    fact: object, about: NotifyOn, code: str, sentence: str
) -> None:
    now = datetime(2026, 12, 1, 7, tzinfo=UTC)
    found = notice_of(fact, now)
    assert found is not None
    assert (found.about, found.code, found.sentence, found.at) == (about, code, sentence, now)
    assert bool(found.hint) == bool(code)


def test_other_facts_are_none() -> None:
    fact = MessageReceived(message_id="m", receive_count=1, body_excerpt="")
    assert notice_of(fact, datetime(2026, 12, 1, tzinfo=UTC)) is None
