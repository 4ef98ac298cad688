"""The share of a limit of several hosts as the processes of one node see it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul.adapters.system import governor, rate_seat
from backhaul.adapters.system.governor import Governor, GovernorSpec
from backhaul.adapters.system.rate_seat import NodeRateSeat
from backhaul.core.errors import OutageError
from backhaul.core.fleet.rate_shares import MEASURE_S, NO_LIMIT, RateReader
from backhaul.core.rate_limit import LimitSource, ManualLimit, Schedule

LIMIT = 4 << 20
NOW = datetime(2026, 12, 2, tzinfo=UTC)


@pytest.fixture
def seat(tmp_path: Path) -> Iterator[NodeRateSeat]:
    with closing(taken(tmp_path)) as made:
        yield made


def taken(path: Path) -> NodeRateSeat:
    return NodeRateSeat(path / "ledger", Schedule(bytes_per_s=LIMIT))


def worker(path: Path, seat: NodeRateSeat) -> Governor:
    schedule = Schedule(bytes_per_s=LIMIT)
    return GovernorSpec(ledger=str(path / "ledger"), schedule=schedule, seat=seat.number).open()


class GivenUpError(Exception):
    """A reader waited."""


def give_up() -> None:
    raise GivenUpError


def test_workers_read_under_the_share_alone(
    tmp_path: Path, seat: NodeRateSeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(governor, "READ_EVERY_S", 0.0)
    reader = worker(tmp_path, seat)
    with pytest.raises(GivenUpError):
        reader.take(1, give_up)  # nothing is granted yet
    seat.apply(LIMIT // 4)
    assert reader.limit().bytes_per_s == LIMIT // 4
    assert reader.limit().why is LimitSource.SHARE
    before = seat.taken()
    got = reader.take(LIMIT, lambda: None)
    assert 0 < got < LIMIT // 4
    assert seat.taken() == before + got
    seat.apply(None)
    assert reader.take(LIMIT, give_up) == LIMIT


def test_each_process_has_a_seat_and_a_share_of_its_own(tmp_path: Path, seat: NodeRateSeat) -> None:
    with closing(taken(tmp_path)) as other:
        assert (seat.number, other.number) == (1, 2)
        other.apply(LIMIT)
        assert worker(tmp_path, seat).limit().bytes_per_s == 0
        assert worker(tmp_path, other).limit().bytes_per_s == LIMIT
    with closing(taken(tmp_path)) as again:
        assert again.number == 2
        assert worker(tmp_path, again).limit().bytes_per_s == 0, "of this process, not of that"


def test_where_all_seats_are_taken_that_is_said(
    tmp_path: Path, seat: NodeRateSeat, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rate_seat, "SEATS_MOST", seat.number)
    with pytest.raises(OutageError) as caught:
        taken(tmp_path)
    assert caught.value.code == "E_RATE_FILE"


def test_a_share_that_is_damaged_is_nothing(tmp_path: Path, seat: NodeRateSeat) -> None:
    path = tmp_path / "ledger.share-1"
    path.write_bytes(b"\xff" * 8)
    assert worker(tmp_path, seat).limit().bytes_per_s == 0
    path.write_bytes(b"short")
    assert worker(tmp_path, seat).limit().bytes_per_s == 0
    path.unlink()
    with pytest.raises(OutageError) as caught:
        worker(tmp_path, seat).take(1, give_up)
    assert caught.value.code == "E_RATE_FILE"


def test_a_seat_that_cannot_be_written_holds_the_transfer(tmp_path: Path) -> None:
    (tmp_path / "ledger.share-1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OutageError) as caught:
        taken(tmp_path)
    assert caught.value.code == "E_RATE_FILE"
    assert os.listdir(tmp_path) == ["ledger.share-1"]  # noqa: PTH208 - names


class Seat:
    """Implements `RateSeat`."""

    def __init__(self) -> None:
        self.limit: int | None = LIMIT
        self.read = 0
        self.applications = 0
        self.applied: list[int | None] = []

    def configured(self) -> int | None:
        return self.limit

    def apply(self, bytes_per_s: int | None) -> None:
        self.applied.append(bytes_per_s)

    def taken(self) -> int:
        return self.read

    def kept(self) -> int:
        return self.applications


@pytest.mark.parametrize(
    ("read", "demand"),
    [
        (0, 0),
        (LIMIT // 4, LIMIT // 4 * 5 // 4),
        (LIMIT // 2, LIMIT),  # all that it has: it could use more
    ],
)
def test_demand_is_what_it_reads_or_all_where_its_share_is_used_up(read: int, demand: int) -> None:
    seat = Seat()
    reader = RateReader(seat)
    assert reader.report(0).demand == 0
    reader.follow(LIMIT // 2, None, NOW)
    seat.read += int(read * MEASURE_S)
    assert reader.report(MEASURE_S / 2).demand == 0, "too soon to be measured"
    assert reader.report(MEASURE_S).demand == demand
    assert reader.report(1.5 * MEASURE_S).demand == demand


def test_what_applications_have_is_wanted_too() -> None:
    seat = Seat()
    reader = RateReader(seat)
    reader.report(0)
    reader.follow(LIMIT, None, NOW)
    seat.applications = LIMIT // 8
    assert reader.report(MEASURE_S).demand == LIMIT // 8
    seat.read += int(LIMIT // 8 * MEASURE_S)
    assert reader.report(2 * MEASURE_S).demand == LIMIT // 4 * 5 // 4


def test_a_share_is_held_once_it_is_applied_and_never_above_the_own_limit() -> None:
    seat = Seat()
    reader = RateReader(seat)
    assert reader.report(0).held == 0
    reader.follow(NO_LIMIT, None, NOW)
    assert seat.applied == [LIMIT]
    assert reader.report(1).held == NO_LIMIT
    by_hand = ManualLimit(bytes_per_s=LIMIT // 2, until=NOW + timedelta(hours=1))
    reader.follow(NO_LIMIT, by_hand, NOW)
    reader.follow(NO_LIMIT, by_hand, NOW)
    reader.follow(NO_LIMIT, by_hand, NOW + timedelta(hours=1))
    assert seat.applied == [LIMIT, LIMIT // 2, LIMIT]
    seat.limit = None
    reader.report(2)
    reader.follow(NO_LIMIT, None, NOW)
    assert seat.applied[-1] is None
