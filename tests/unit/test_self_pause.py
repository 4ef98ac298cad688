"""A route whose transfers die of one cause, one after the other, pauses itself."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest

from backhaul.app.self_pause import SelfPause
from backhaul.core import facts
from backhaul.core.errors import OutageError
from backhaul.core.ports import Operator, PausedRoute
from backhaul.testing.fakes import FakeClock


class Bed:
    def __init__(self) -> None:
        self.paused: list[PausedRoute] = []
        self.emitted: list[Any] = []
        self.outage: OutageError | None = None
        self.by_people: list[PausedRoute] = []
        self.limits = {"orders": 3}
        emit: Any = self.emitted.append
        self.receiver = SelfPause(lambda one: one.partition("-")[0], FakeClock(), emit)
        self.receiver.follow(self, lambda: self.limits)

    def pause_route(self, paused: PausedRoute, by: Operator) -> PausedRoute | None:
        if self.outage is not None:
            raise self.outage
        assert by.name == paused.operator == "backhaul"
        self.paused.append(paused)
        return None

    def paused_routes(self, now: datetime) -> list[PausedRoute]:
        del now
        return self.by_people

    def die(self, route: str = "orders", code: str = "E_DST_DENIED", times: int = 1) -> None:
        for number in range(times):
            self.receiver(
                facts.MessageDead(
                    transfer_id=f"{route}-{number}",
                    message_id="m",
                    code=code,
                    reason="no write access to /landing",
                    hint="hdfs dfs -chown backhaul /landing",
                    attempts=1,
                    dead_letter_queue="dead",
                )
            )

    def arrive(self, route: str = "orders") -> None:
        self.receiver(
            facts.TransferDone(
                transfer_id=f"{route}-x",
                message_id=None,
                source="s3://raw/a",
                destination="hdfs://ns1/d",
                objects=1,
                size_bytes=1,
                copied_bytes=1,
                placeholders=0,
                adopted=0,
                publish="",
                is_superseded=False,
                duration_s=1,
                proof_levels=(),
            )
        )


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_deaths_in_a_row_of_one_cause_pause_the_route(bed: Bed) -> None:
    bed.die(times=2)
    assert bed.paused == []
    bed.die()
    (paused,) = bed.paused
    assert (paused.route, paused.until) == ("orders", None)
    assert paused.reason == "3 transfers in a row died of E_DST_DENIED"
    (fact,) = bed.emitted
    assert fact.hint == "hdfs dfs -chown backhaul /landing; then: backhaul resume orders"


def test_what_breaks_the_row(bed: Bed) -> None:
    bed.die(times=2)
    bed.arrive()
    bed.die(times=2)
    bed.die(code="E_SRC_EMPTY", times=2)
    bed.die(times=2)
    assert bed.paused == []


def test_other_routes_and_cancelled_transfers_do_not_count(bed: Bed) -> None:
    bed.die(times=2)
    bed.arrive("clicks")
    bed.die(code="E_CANCELLED", times=5)
    bed.die("clicks", times=50)
    bed.die("", times=50)
    assert bed.paused == []
    bed.die()
    assert [one.route for one in bed.paused] == ["orders"]


def test_after_a_resume_it_counts_anew(bed: Bed) -> None:
    bed.die(times=3)
    bed.die(times=2)
    assert len(bed.paused) == 1
    bed.die()
    assert len(bed.paused) == 2


def test_a_pause_by_a_person_stays_as_it_is(bed: Bed) -> None:
    bed.by_people = [
        PausedRoute(
            route="orders",
            since=FakeClock().now(),
            until=None,
            operator="jane@e1",
            reason="disk",
        )
    ]
    bed.die(times=3)
    assert (bed.paused, bed.emitted) == ([], [])


def test_a_ledger_that_takes_no_pause_stops_nothing(bed: Bed) -> None:
    bed.outage = OutageError("E_LEDGER_BUSY", "locked")
    bed.die(times=3)
    (fact,) = bed.emitted
    assert isinstance(fact, facts.LedgerRecordMissed)
    assert fact.code == "E_LEDGER_BUSY"
