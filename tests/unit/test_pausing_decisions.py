"""Which routes are paused, which parked messages are kept, and which may go."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from backhaul.core.agent.pausing import lot as module
from backhaul.core.agent.pausing.lot import (
    PARKED_MOST,
    Parked,
    ParkedMessage,
    ParkingLot,
    fate_of,
    returned_for_s,
)
from backhaul.core.agent.verdicts import elsewhere_s
from backhaul.core.errors import OutageError
from backhaul.core.ports import Message, Operator, PausedRoute, QueueFacts
from backhaul.core.requests.pauses import FRESH_S, PausedRoutes, route_paused
from backhaul.core.requests.records import RouteWait
from backhaul.testing.fakes import FakeClock, Faults, MemoryFile, MemoryLedger

T0 = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
WAIT = RouteWait(route="a")
PAUSE = PausedRoute(route="a", since=T0, until=None, operator="alice@edge1", reason="upgrade")
FACTS = QueueFacts(
    url="u",
    name="q",
    arn="arn",
    dead_letter_url="d",
    dead_letter_name="d",
    max_receive_count=10,
    retention_s=1000,
)
DOWN = OutageError.of("ledger", "E_LEDGER_IO", "down")


def message(message_id: str = "m", *, receives: int = 1, age_s: float = 0.0) -> Message:
    return Message(
        queue="arn",
        message_id=message_id,
        receipt_handle="h",
        body="",
        sender_id="",
        receive_count=receives,
        sent_at=T0 - timedelta(seconds=age_s),
        received_monotonic_s=0.0,
    )


# ---------------------------------------------------------------- what is known


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def ledger(faults: Faults) -> MemoryLedger:
    return MemoryLedger(MemoryFile(), "me", faults=faults)


def pause(ledger: MemoryLedger, clock: FakeClock, route: str, until_s: float | None = None) -> None:
    now = clock.now()
    until = None if until_s is None else now + timedelta(seconds=until_s)
    paused = replace(PAUSE, route=route, since=now, until=until)
    ledger.pause_route(paused, Operator(name="alice"))


def test_the_ledger_is_read_at_first_and_when_what_is_known_is_too_old(
    ledger: MemoryLedger, clock: FakeClock, faults: Faults
) -> None:
    known = PausedRoutes(ledger, clock)
    assert known.find("a") is None
    pause(ledger, clock, "a")
    clock.advance(FRESH_S)
    assert known.find("a") is None, "it is known to within FRESH_S"
    clock.advance(0.1)
    found = known.find("a")
    assert found is not None
    assert found.route == "a"
    assert known.find("b") is None
    assert faults.count("ledger.paused_routes") == 2


def test_what_is_refreshed_is_not_read_again(
    ledger: MemoryLedger, clock: FakeClock, faults: Faults
) -> None:
    known = PausedRoutes(ledger, clock)
    for _ in range(5):
        known.refresh()
        clock.advance(FRESH_S)
        known.find("a")
    assert faults.count("ledger.paused_routes") == 5


def test_a_ledger_that_does_not_answer_is_an_outage_once_what_is_known_is_too_old(
    ledger: MemoryLedger, clock: FakeClock, faults: Faults
) -> None:
    known = PausedRoutes(ledger, clock)
    known.refresh()
    faults.always("ledger.paused_routes", DOWN)
    assert known.find("a") is None
    clock.advance(FRESH_S + 0.1)
    with pytest.raises(OutageError):
        known.find("a")
    pause(ledger, clock, "a")
    faults.never("ledger.paused_routes")
    assert known.find("a") is not None


def test_a_read_that_takes_long_is_as_old_as_its_beginning(
    ledger: MemoryLedger, clock: FakeClock, faults: Faults
) -> None:
    known = PausedRoutes(ledger, clock)
    faults.after_effect = lambda _name: clock.advance(FRESH_S + 1)
    known.refresh()
    faults.after_effect = lambda _name: None
    pause(ledger, clock, "a")
    assert known.find("a") is not None


def test_a_slow_answer_does_not_replace_a_newer_one(
    ledger: MemoryLedger, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = PausedRoutes(ledger, clock)
    real = ledger.paused_routes

    def slow(now: datetime) -> list[PausedRoute]:
        found = real(now)
        monkeypatch.setattr(ledger, "paused_routes", real)
        clock.advance(1)
        pause(ledger, clock, "a")
        known.refresh()  # of another thread
        return found

    monkeypatch.setattr(ledger, "paused_routes", slow)
    known.refresh()
    assert known.find("a") is not None


def test_a_pause_ends_by_itself_without_the_ledger(ledger: MemoryLedger, clock: FakeClock) -> None:
    pause(ledger, clock, "a", until_s=5)
    known = PausedRoutes(ledger, clock)
    assert known.find("a") is not None
    clock.advance(5)
    assert known.find("a") is None
    assert known.in_force() == ()


def test_routes_are_covered_only_if_there_are_some_and_all_are_paused(
    ledger: MemoryLedger, clock: FakeClock
) -> None:
    pause(ledger, clock, "a")
    known = PausedRoutes(ledger, clock)
    assert not known.cover({"a"}), "not read yet"
    known.refresh()
    assert known.cover({"a"})
    assert not known.cover({"a", "b"})
    assert not known.cover(set())


def test_the_wait_names_who_until_when_and_why() -> None:
    error = route_paused(replace(PAUSE, until=T0 + HOUR, reason="up\u202egrade"))
    assert error.message == (
        "route a is paused until 2026-11-22 13:00:00 UTC by alice@edge1: up\\u202egrade"
    )
    assert (error.route, error.hint) == ("a", "backhaul resume a")
    assert str(route_paused(replace(PAUSE, reason=""))).endswith("paused by alice@edge1")


# ---------------------------------------------------------------- what is kept


def test_the_lot_keeps_those_with_the_most_receives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARKED_MOST", 2)
    lot = ParkingLot()
    several = [
        ParkedMessage(message=message(name, receives=receives), wait=WAIT)
        for name, receives in (("m1", 3), ("m2", 1), ("m3", 2), ("m4", 1))
    ]
    returned = [lot.add(one) for one in several]
    assert returned == [None, None, several[1], several[3]]
    assert len(lot) == 2
    assert [lot.pop(), lot.pop(), lot.pop()] == [several[2], several[0], None]


def test_the_lot_has_room_for_a_few_hundred() -> None:
    lot = ParkingLot()
    for number in range(PARKED_MOST):
        assert lot.add(ParkedMessage(message=message(f"{number}"), wait=WAIT)) is None
    newest = ParkedMessage(message=message("one more"), wait=WAIT)
    assert lot.add(newest) is newest


def test_those_taken_are_gone() -> None:
    lot = ParkingLot()
    for name in ("m1", "m2"):
        lot.add(ParkedMessage(message=message(name), wait=RouteWait(route=name)))

    def fate(one: ParkedMessage) -> Parked:
        return Parked.GOES_ON if one.wait.route == "m1" else Parked.STAYS

    assert [one.wait.route for one in lot.take(fate, Parked.GOES_ON)] == ["m1"]
    assert len(lot) == 1
    assert lot.take(fate, Parked.GOES_ON) == []


@pytest.mark.parametrize(
    ("is_waiting", "age_s", "hidden_s", "fate"),
    [
        (True, 0, 0, Parked.STAYS),
        (False, 0, 0, Parked.GOES_ON),
        (True, 949, 0, Parked.STAYS),
        (True, 950, 0, Parked.GOES_ON),
        (True, 0, 2299, Parked.STAYS),
        (True, 0, 2300, Parked.RETURNS),
        (False, 0, 2300, Parked.GOES_ON),
    ],
)
def test_what_becomes_of_a_parked_message(
    *, is_waiting: bool, age_s: float, hidden_s: float, fate: Parked
) -> None:
    parked = ParkedMessage(message=message(age_s=age_s), wait=WAIT)
    found = fate_of(parked, FACTS, is_waiting=is_waiting, now=T0, hidden_s=hidden_s, total_s=2400)
    assert found is fate


@pytest.mark.parametrize("missing", ["dead_letter_url", "retention_s"])
def test_without_a_dead_letter_queue_or_retention_nothing_expires(missing: str) -> None:
    parked = ParkedMessage(message=message(age_s=10**6), wait=WAIT)
    facts = replace(FACTS, **{missing: None})  # type: ignore[arg-type]
    found = fate_of(parked, facts, is_waiting=True, now=T0, hidden_s=0, total_s=1)
    assert found is Parked.STAYS


@pytest.mark.parametrize(
    ("receives", "limit", "until_s", "left_s", "chance", "seconds"),
    [
        (1, 10, None, 43_000, 0.5, 3600),
        (1, 10, None, 43_000, 0.0, 2700),
        (1, 10, None, 43_000, 1.0, 4500),
        (1, 10, None, 1000, 0.5, 1000),
        (1, 10, None, -5, 0.5, 0),
        (1, 10, 100, 43_000, 0.5, 130),  # when the pause ends, one after the other
        (1, 10, -5, 43_000, 0.5, 30),
        (1, 10, 9000, 43_000, 0.5, 3600),
        (7, 10, None, 43_000, 0.5, 3600),
        (8, 10, None, 43_000, 0.5, 43_000),  # two receives are left
        (8, 10, 100, -5, 0.5, 0),
        (900, None, None, 43_000, 0.5, 3600),
    ],
)
def test_for_how_long_a_message_is_hidden_that_is_not_kept(
    receives: int,
    limit: int | None,
    until_s: float | None,
    left_s: float,
    chance: float,
    seconds: int,
) -> None:
    until = None if until_s is None else T0 + timedelta(seconds=until_s)
    found = returned_for_s(
        message(receives=receives),
        until,
        replace(FACTS, max_receive_count=limit),
        now=T0,
        left_s=left_s,
        chance=chance,
    )
    assert found == seconds


def test_a_message_whose_route_was_just_resumed_is_hidden_like_others() -> None:
    assert returned_for_s(message(), None, FACTS, now=T0, left_s=9000, chance=0.5) == 3600


# ---------------------------------------------------------------- left to another process


@pytest.mark.parametrize(
    ("times", "receives", "most", "hidden_s"),
    [
        (0, 2, 10, 38),  # the rest of the watch, and a beat
        (1, 3, 10, 45),  # a visibility timeout: it may be gone just after
        (500, 4, None, 45),
        (1, 9, 10, 900),  # hardly a receive is left
        (0, 10, 10, 38),
    ],
)
def test_a_message_is_left_to_its_process_for_a_bounded_time(
    times: int, receives: int, most: int | None, hidden_s: int
) -> None:
    found = elsewhere_s(
        message(receives=receives),
        replace(FACTS, max_receive_count=most),
        watch_s=37.5,
        times=times,
        timeout_s=45,
    )
    assert found == hidden_s
