"""Deadlines by a calendar, paths with dates, and what is enough."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.core.model import Location
from backhaul.core.outlook.expectation import (
    Arrived,
    Expectation,
    ExpectationState,
    PathPattern,
    WallTime,
    Wanted,
    parse_days,
    parse_wall_time,
    statuses,
)

LANDING = Location(scheme="hdfs", authority="nn", path="/landing")


def at(hour: int, minute: int = 0, zone: str = "Europe/Berlin") -> WallTime:
    return WallTime(at=time(hour, minute), zone=ZoneInfo(zone), zone_name=zone)


def expectation(
    by: WallTime, days: str = "mon-sun", path: str = "", **other: object
) -> Expectation:
    made = Expectation(
        route="r",
        name="daily",
        by=by,
        wanted=Wanted(objects=24),
        days=parse_days(days),
        path=PathPattern(text=path),
        destinations=(LANDING,),
    )
    return replace(made, **other)  # type: ignore[arg-type]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# ---------------------------------------------------------------- time


@pytest.mark.parametrize(
    ("by", "days", "moment", "expected"),
    [
        (at(6), "mon-sun", "2026-12-01T04:59:59", "2026-12-01T05:00"),
        (at(6), "mon-sun", "2026-12-01T05:00", "2026-12-02T05:00"),
        (at(6), "mon-fri", "2026-12-04T05:00", "2026-12-07T05:00"),  # Friday to Monday
        (at(6), "sat", "2026-12-01T00:00", "2026-12-05T05:00"),
        # Summer time begins on 29 March at 02:00 and ends on 25 October at 03:00.
        (at(6), "mon-sun", "2026-03-28T05:00", "2026-03-29T04:00"),
        (at(2, 30), "mon-sun", "2026-03-28T12:00", "2026-03-29T01:30"),  # 03:30 of the new time
        (at(2, 30), "mon-sun", "2026-03-29T01:30", "2026-03-30T00:30"),
        (at(2, 30), "mon-sun", "2026-10-24T12:00", "2026-10-25T00:30"),  # the first of the two
        (at(2, 30), "mon-sun", "2026-10-25T00:30", "2026-10-26T01:30"),
        # Far east and far west of UTC the day is another one.
        (at(6, zone="Pacific/Kiritimati"), "tue", "2026-11-30T00:00", "2026-11-30T16:00"),
        (at(22, zone="Pacific/Pago_Pago"), "tue", "2026-12-01T12:00", "2026-12-02T09:00"),
        # Samoa had no 30 December 2011 at all.
        (at(6, zone="Pacific/Apia"), "mon-sun", "2011-12-29T16:00", "2011-12-30T16:00"),
    ],
)
def test_the_next_deadline(by: WallTime, days: str, moment: str, expected: str) -> None:
    one = expectation(by, days)
    found = one.deadline_after(utc(moment))
    assert found == utc(expected)
    assert one.deadline_before(found + timedelta(microseconds=1)) == found
    assert one.deadline_before(found) <= utc(moment)


@given(
    moment=st.integers(946_684_800, 3_471_292_800).map(lambda s: datetime.fromtimestamp(s, UTC)),
    hour=st.integers(0, 23),
    minute=st.integers(0, 59),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "UTC"]
    ),
    days=st.sets(st.integers(0, 6), min_size=1).map(frozenset),
)
def test_deadlines_follow_each_other_and_none_is_left_out(
    moment: datetime, hour: int, minute: int, zone: str, days: frozenset[int]
) -> None:
    one = replace(expectation(at(hour, minute, zone)), days=days)
    following = one.deadline_after(moment)
    before = one.deadline_before(following)
    assert before <= moment < following
    assert one.deadline_after(before) == following
    assert following - before <= timedelta(days=7, hours=1)
    assert following.astimezone(one.by.zone).weekday() in days


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("06:00 Europe/Berlin", (time(6), "Europe/Berlin")),
        ("6:00  UTC", (time(6), "UTC")),
        (" 23:59 ", (time(23, 59), None)),
        ("00:00", (time(0), None)),
    ],
)
def test_times_of_a_day(text: str, expected: object) -> None:
    assert parse_wall_time(text) == expected


@pytest.mark.parametrize("text", ["24:00", "6", "06:60", "25:00 UTC", "06:00 Europe Berlin", ""])
def test_neighbours_are_no_times(text: str) -> None:
    with pytest.raises(ValueError, match="write a time of day"):
        parse_wall_time(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mon-fri", {0, 1, 2, 3, 4}),
        ("fri-mon", {4, 5, 6, 0}),
        ("Sat", {5}),
        ("mon, wed,sun", {0, 2, 6}),
        ("mon-tue,sun", {0, 1, 6}),
    ],
)
def test_days(text: str, expected: set[int]) -> None:
    assert parse_days(text) == expected


@pytest.mark.parametrize("text", ["", "monday", "mon-", "mon-fri-sun", "mo", "mon;tue"])
def test_neighbours_are_no_days(text: str) -> None:
    with pytest.raises(ValueError, match="write days"):
        parse_days(text)


# ---------------------------------------------------------------- paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("day={date}/", "day=2026-12-01"),
        ("{date:%Y/%m/%d}", "2026/12/01"),
        ("{date-1d:%Y%m%d}/x", "20261130/x"),
        ("{date-1d}", "2026-11-30"),
        ("w={date:%G-W%V}/{date:%H%M}", "w=2026-W49/0600"),
        ("plain/sub", "plain/sub"),
        ("100%/{date:%d%%}", "100%/01%"),
    ],
)
def test_a_path_has_the_date_of_its_deadline(text: str, expected: str) -> None:
    pattern = PathPattern(text=text)
    pattern.check()
    local = datetime(2026, 12, 1, 6, tzinfo=ZoneInfo("Europe/Berlin"))
    assert pattern.on(local) == expected


@pytest.mark.parametrize(
    ("text", "names_day"),
    [
        ("{date}", True),
        ("{date-1d:%Y%m%d}", True),
        ("year={date:%Y}/month={date:%m}/day={date:%d}", True),
        ("{date:%y%j}", True),
        ("{date:%G-W%V-%u}", True),
        ("plain", False),
        ("Ymd", False),
        # These are there again each month, year, week or day, with data of the time before.
        ("day={date:%d}", False),
        ("{date:%m-%d}", False),
        ("{date:%j}", False),
        ("{date:%u}", False),
        ("{date:%H}", False),
        ("{date:%Y/%m}", False),
        ("{date:%Y/%d}", False),
        ("{date:%G-W%V}", False),
        ("{date:%Y-%V-%u}", False),
        ("{date:%Y-%m-%%d}", False),
    ],
)
def test_a_path_names_the_day_with_its_year(text: str, *, names_day: bool) -> None:
    pattern = PathPattern(text=text)
    pattern.check()
    assert pattern.names_day == names_day
    deadline = utc("2026-12-01T05:00")
    query = expectation(at(6), path=text).query(deadline, deadline)
    assert query.since == (None if names_day else utc("2026-11-30T05:00"))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("/landing/x", "is not relative"),
        ("hdfs://nn/x", "is not relative"),
        ("../x", "an empty part"),
        ("a/./b", "an empty part"),
        ("a//b", "an empty part"),
        ("{date}/..", "an empty part"),
        ("{date:%Q}", "is no date"),
        ("{date:year}", "is no date"),
        ("{date:}", "is no date"),
        ("{day}", "braces"),
        ("{date", "braces"),
        ("a\nb", "unprintable"),
        ("{date:%Y\x00}", "unprintable"),
        # What a date is written as is looked at like the rest.
        ("day={date:%Y/../../..}", "an empty part"),
        ("{date:%Y//x}", "an empty part"),
        ("x/{date:/%Y}", "an empty part"),
        ("{date:%Y/.}", "an empty part"),
        ("{date:/%Y}", "is not relative"),
        ("{date:x://%Y}", "is not relative"),
        ("{date:%%}", "is no date"),
        ("{date:100%%Y}", "is no date"),
        ("{date:%Y%}", "is no date"),
        ("{date:%-d}", "is no date"),
    ],
)
def test_a_path_that_leads_elsewhere_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        PathPattern(text=text).check()


def test_with_a_date_it_counts_whenever_it_came() -> None:
    one = expectation(at(6), path="day={date}/")
    deadline = utc("2026-12-01T05:00")
    query = one.query(deadline, deadline)
    assert (query.since, query.until) == (None, deadline)
    assert query.places == ("hdfs://nn/landing/day=2026-12-01",)
    assert one.place(deadline) == "hdfs://nn/landing/day=2026-12-01"


def test_without_one_it_counts_from_the_deadline_before() -> None:
    one = expectation(at(6), "mon-fri")
    monday = utc("2026-12-07T05:00")
    query = one.query(monday, monday)
    assert (query.since, query.places) == (utc("2026-12-04T05:00"), ())
    assert one.place(monday) == "route r"
    below = expectation(at(6), path="orders")
    assert below.query(monday, monday).places == ("hdfs://nn/landing/orders",)


@pytest.mark.parametrize(
    ("since", "expected"),
    [
        (time(0), "2026-11-30T23:00"),
        (time(5, 59), "2026-12-01T04:59"),
        (time(6), "2026-11-30T05:00"),
        (time(22), "2026-11-30T21:00"),
    ],
)
def test_what_counts_may_begin_at_a_time_of_its_own(since: time, expected: str) -> None:
    one = expectation(at(6), since=since)
    deadline = utc("2026-12-01T05:00")
    assert one.query(deadline, deadline).since == utc(expected)


# ---------------------------------------------------------------- enough


@pytest.mark.parametrize(
    ("wanted", "found", "is_met", "words"),
    [
        (Wanted(objects=2), Arrived(objects=2), True, "2 of 2 objects"),
        (Wanted(objects=2), Arrived(objects=1, transfers=9), False, "1 of 2 objects"),
        (Wanted(size_bytes=1024), Arrived(size_bytes=1023), False, "1023 B of 1.0 KiB"),
        (Wanted(transfers=1), Arrived(transfers=1), True, "1 of 1 transfers"),
        (
            Wanted(objects=1000, size_bytes=1, transfers=1),
            Arrived(objects=1000, size_bytes=1),
            False,
            "1,000 of 1,000 objects, 1 B of 1 B, 0 of 1 transfers",
        ),
    ],
)
def test_all_that_is_wanted_has_to_be_there(
    wanted: Wanted, found: Arrived, words: str, *, is_met: bool
) -> None:
    assert wanted.is_met_by(found) == is_met
    assert wanted.words(found) == words


def test_a_record_reads_as_a_sentence() -> None:
    one, deadline = expectation(at(6), path="day={date}"), utc("2026-12-01T05:00")
    record = one.record(deadline, Arrived(objects=3))
    assert record.due == "2026-12-01 06:00 Europe/Berlin"
    assert record.words == "3 of 24 objects in hdfs://nn/landing/day=2026-12-01"
    assert record.subject == "r/daily"
    assert not record.is_met
    whole = expectation(at(6)).record(deadline, Arrived(objects=24))
    assert (whole.words, whole.is_met) == ("24 of 24 objects on route r", True)


def test_a_status_is_the_next_deadline_and_the_last_that_was_judged() -> None:
    one, other = expectation(at(6)), expectation(at(6), name="b")
    first, second, third = (utc(f"2026-12-0{day}T05:00") for day in (1, 2, 3))
    none = Arrived()
    missed = replace(one.record(second, none), state=ExpectationState.MISSED)
    records = [
        other.record(third, none),
        one.record(third, none),
        missed,
        replace(one.record(first, none), state=ExpectationState.MET),
        replace(expectation(at(6), name="gone").record(first, none), state=ExpectationState.MISSED),
    ]
    found = statuses(records)
    assert [(status.next.name, status.last, status.is_missed) for status in found] == [
        ("b", None, False),
        ("daily", missed, True),
    ]
