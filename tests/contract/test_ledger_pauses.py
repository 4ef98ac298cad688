"""What `core.ports.OperatorLedger` promises, and `paused_routes`, on every implementation."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.ports import Operator, Origin, PausedRoute
from backhaul.testing.fakes import MemoryFile, MemoryLedger
from tests.ledger_places import EVERY_LEDGER, ledger_place

T0 = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)
ALICE = Operator(name="alice@edge1")
BOB = Operator(name="bob", origin=Origin.DASHBOARD)
Both = SqlLedger | MemoryLedger


@pytest.fixture(params=EVERY_LEDGER)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    if request.param == "memory":
        yield MemoryLedger(MemoryFile(), "me")
        return
    opened = open_ledger(ledger_place(request.param, request, tmp_path), create=True)
    yield opened
    opened.close()


def pause_of(route: str = "landing", until: datetime | None = None, by: str = "x") -> PausedRoute:
    return PausedRoute(route=route, since=T0, until=until, operator=by, reason="why")


def test_a_paused_route_is_listed_until_it_is_resumed(ledger: Both) -> None:
    assert ledger.paused_routes(T0) == []
    assert ledger.pause_route(pause_of(), ALICE) is None
    assert ledger.paused_routes(T0 + 1000 * HOUR) == [pause_of()]
    assert ledger.resume_route("landing", T0 + HOUR, ALICE) == pause_of()
    assert ledger.paused_routes(T0 + HOUR) == []


def test_a_pause_with_an_end_is_over_then(ledger: Both) -> None:
    ends = pause_of(until=T0 + HOUR)
    ledger.pause_route(ends, ALICE)
    assert ledger.paused_routes(T0 + HOUR - timedelta(microseconds=1)) == [ends]
    assert ledger.paused_routes(T0 + HOUR) == []
    assert ledger.resume_route("landing", T0 + HOUR, ALICE) is None, "it was not paused any more"


def test_a_second_pause_replaces_the_first_and_returns_it(ledger: Both) -> None:
    first, second = pause_of(by="alice"), pause_of(until=T0 + HOUR, by="bob")
    ledger.pause_route(first, ALICE)
    assert ledger.pause_route(second, BOB) == first
    assert ledger.paused_routes(T0) == [second]


def test_routes_are_paused_apart(ledger: Both) -> None:
    for name in ("a", "b"):
        ledger.pause_route(pause_of(name), ALICE)
    ledger.resume_route("a", T0, ALICE)
    assert [one.route for one in ledger.paused_routes(T0)] == ["b"]


def test_a_route_that_is_not_paused_is_resumed_without_effect(ledger: Both) -> None:
    assert ledger.resume_route("landing", T0, ALICE) is None
