"""Which limit is in force, and that what is granted is that limit, to 5 %."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from backhaul.core.rate_limit import (
    AHEAD_S,
    CREDIT_S,
    PIECE_S,
    EffectiveLimit,
    LimitSource,
    ManualLimit,
    Reservation,
    Schedule,
    Unlimited,
    effective_limit,
    for_application,
    for_this_node,
    grant,
    reserved,
)
from backhaul.settings.sizes import parse_rate, parse_window

MB = 1000**2
SYDNEY = timezone(timedelta(hours=11))
Reader = Callable[[], int]


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SYDNEY)


# ---------------------------------------------------------------- which limit

OFFICE = Schedule(
    bytes_per_s=200 * MB,
    windows=(
        parse_window("mon-fri 08:00-18:00 = 50MB/s"),
        parse_window("22:30-05:00 = off"),
        parse_window("sat 00:00-24:00 = 100MB/s"),
    ),
)


@pytest.mark.parametrize(
    ("moment", "bytes_per_s", "why"),
    [
        ("2026-11-20T07:59:59", 200 * MB, LimitSource.CONFIGURED),
        ("2026-11-20T08:00:00", 50 * MB, LimitSource.WINDOW),
        ("2026-11-20T17:59:59", 50 * MB, LimitSource.WINDOW),
        ("2026-11-20T18:00:00", 200 * MB, LimitSource.CONFIGURED),
        ("2026-11-20T22:30:00", None, LimitSource.WINDOW),
        ("2026-11-21T04:59:59", None, LimitSource.WINDOW),
        ("2026-11-21T05:00:00", 100 * MB, LimitSource.WINDOW),  # a Saturday
        ("2026-11-22T12:00:00", 200 * MB, LimitSource.CONFIGURED),  # a Sunday
    ],
)
def test_the_first_window_that_holds_decides(
    moment: str, bytes_per_s: int | None, why: LimitSource
) -> None:
    assert effective_limit(OFFICE, None, at(moment)) == EffectiveLimit(
        bytes_per_s=bytes_per_s, why=why
    )


def test_a_window_over_midnight_belongs_to_the_day_on_which_it_begins() -> None:
    schedule = Schedule(windows=(parse_window("fri 22:00-06:00 = 1MB/s"),))
    limits = [
        effective_limit(schedule, None, at(moment)).bytes_per_s
        for moment in ("2026-11-20T03:00", "2026-11-20T23:00", "2026-11-21T03:00")
    ]
    assert limits == [None, MB, MB]


def test_a_limit_by_hand_wins_until_it_ends() -> None:
    until = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)  # noon in Sydney
    by_hand = ManualLimit(bytes_per_s=5 * MB, until=until)
    before = effective_limit(OFFICE, by_hand, at("2026-11-20T11:59:59"))
    after = effective_limit(OFFICE, by_hand, at("2026-11-20T12:00:00"))
    assert (before.bytes_per_s, before.why) == (5 * MB, LimitSource.BY_HAND)
    assert (after.bytes_per_s, after.why) == (50 * MB, LimitSource.WINDOW)


def test_no_limit_by_hand_is_stronger_than_a_configured_limit() -> None:
    found = effective_limit(OFFICE, ManualLimit(bytes_per_s=None), at("2026-11-20T09:00"))
    assert found == EffectiveLimit(bytes_per_s=None, why=LimitSource.BY_HAND)


@pytest.mark.parametrize(
    ("text", "bytes_per_s"),
    [
        ("50MB/s", 50 * MB),
        ("50MB", 50 * MB),
        ("1MiB/s", 1 << 20),
        ("65536", 65536),
        ("off", None),
        ("OFF", None),
        ("200KB", 200_000),
        ("200kB/s", 200_000),
        ("50M", 50 * MB),
        ("50mb/s", 50 * MB),
        ("400Mbit/s", 50 * MB),
        ("1Gbit", 125 * MB),
        ("10 mib/S", 10 << 20),
        ("1.001Mbit", 125_125),
        ("70.007kB/s", 70_007),
    ],
)
def test_a_rate_reads(text: str, bytes_per_s: int | None) -> None:
    assert parse_rate(text) == bytes_per_s


@pytest.mark.parametrize(
    "text", ["65535", "1kB/s", "100 kbit/s", "50MB/m", "400Mbps", "-1", "0", "fast", "", "9" * 400]
)
def test_a_rate_is_refused(text: str) -> None:
    with pytest.raises(
        ValueError, match=r"write a rate such as 50MB/s, 200kB/s, 10MiB/s, or off|at least"
    ):
        parse_rate(text)


@pytest.mark.parametrize(
    "text",
    [
        "08:00-18:00",
        "08:00-08:00 = 50MB/s",
        "8-18 = 50MB/s",
        "25:00-26:00 = 50MB/s",
        "24:00-06:00 = 50MB/s",
        "08:00-24:30 = 50MB/s",
        "08:60-09:00 = 50MB/s",
        "mo-fr 08:00-18:00 = 50MB/s",
        "08:00-18:00 = 50",
    ],
)
def test_a_window_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"window|size|at least"):
        parse_window(text)


def test_days_of_a_window_may_go_over_the_weekend() -> None:
    assert parse_window("sat-mon 01:00-02:00 = off").days == {5, 6, 0}
    assert parse_window("sun 01:00-02:00 = off").days == {6}
    assert parse_window("22:00-00:00 = off").stop_minute == 24 * 60


# ---------------------------------------------------------------- how much now


class Line:
    """Readers that share one bucket, on a clock that only they move.

    Args:
        late_s: How much too late a reader wakes up: a busy machine.
    """

    def __init__(self, late_s: float = 0.0) -> None:
        self.now_s = 1000.0
        self.paid_until_s = 0.0
        self.late_s = late_s

    def take(self, wanted_bytes: int, bytes_per_s: int) -> int:
        while True:
            given = grant(
                paid_until_s=self.paid_until_s,
                now_s=self.now_s,
                wanted_bytes=wanted_bytes,
                bytes_per_s=bytes_per_s,
            )
            if given.size_bytes:
                self.paid_until_s = given.paid_until_s
                return given.size_bytes
            self.now_s += given.wait_s + self.late_s

    def seconds_for(self, size_bytes: int, bytes_per_s: int, piece: int) -> float:
        began_s = self.now_s
        while size_bytes > 0:
            size_bytes -= self.take(min(piece, size_bytes), bytes_per_s)
        return self.now_s - began_s


@pytest.mark.parametrize("bytes_per_s", [64 * 1024, 5 * MB, 500 * MB])
@pytest.mark.parametrize("piece", [16 * 1024, 8 << 20])
@pytest.mark.parametrize("late_s", [0.0, 0.05])
def test_what_is_granted_over_ten_seconds_is_the_limit_to_5_percent(
    bytes_per_s: int, piece: int, late_s: float
) -> None:
    line = Line(late_s)
    took_s = line.seconds_for(10 * bytes_per_s, bytes_per_s, piece)
    assert took_s == pytest.approx(10, rel=0.05)


def test_a_line_that_was_idle_is_given_no_more_than_its_credit_at_once() -> None:
    line = Line()
    line.take(MB, MB)
    line.now_s += 3600
    began_s = line.now_s
    granted = 0
    while line.now_s == began_s:
        granted += line.take(MB, MB)
    assert granted <= (CREDIT_S + 2 * PIECE_S) * MB


def test_another_limit_holds_from_the_next_piece_on() -> None:
    line = Line()
    line.seconds_for(10 * MB, 10 * MB, MB)
    assert line.seconds_for(20 * MB, 2 * MB, MB) == pytest.approx(10, rel=0.05)


@pytest.mark.parametrize("paid_until_s", [9e9, float("inf"), float("nan")])
def test_a_moment_from_before_the_reboot_delays_no_reader(paid_until_s: float) -> None:
    found = grant(paid_until_s=paid_until_s, now_s=5.0, wanted_bytes=10, bytes_per_s=MB)
    assert found.size_bytes == 10
    assert found.paid_until_s < 5.0 + AHEAD_S


def test_somebody_who_wants_a_byte_gets_it_at_any_rate() -> None:
    assert grant(paid_until_s=0, now_s=5, wanted_bytes=1, bytes_per_s=1).size_bytes == 1


def test_without_a_limit_everything_is_granted_at_once() -> None:
    assert Unlimited().take(123, lambda: None) == 123


# ---------------------------------------------------------------- YARN applications


def test_an_application_counts_until_it_was_not_seen_for_long() -> None:
    found = [Reservation(bytes_per_s=3, until_s=100), Reservation(bytes_per_s=5, until_s=200)]
    assert [reserved(found, now_s) for now_s in (99, 100, 200)] == [8, 5, 0]


@pytest.mark.parametrize(
    ("others", "new", "node"),
    [
        (0, 50, 100),
        (50, 25, 50),
        (75, 12, 25),
        (95, 2, 10),
        (100, 1, 10),  # submitted under a higher limit: a tenth is this node's in any case
        (1000, 1, 10),
    ],
)
def test_applications_and_this_node_share_one_limit(others: int, new: int, node: int) -> None:
    assert for_application(100, others) == new
    assert for_this_node(100, others) == node
    if others + new <= 90:
        assert others + new + for_this_node(100, others + new) == 100
