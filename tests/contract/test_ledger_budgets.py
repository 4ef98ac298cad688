"""What `core.ports.BudgetLedger` promises of raises and warnings, on every implementation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.cost.budget import BudgetPer, BudgetRaise, BudgetUnit, EgressBudget
from backhaul.core.ports import Act, Operator, OperatorEntry
from backhaul.testing.fakes import MemoryFile, MemoryLedger
from tests.ledger_places import EVERY_LEDGER, ledger_place

T0 = datetime(2026, 11, 22, 12, 0, 0, 123456, tzinfo=UTC)
MONTH = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)
ALICE = Operator(name="alice@edge1")
ENTRY = OperatorEntry(at=T0, by=ALICE, act=Act.BUDGET, subject="landing")
RAISE = BudgetRaise(
    route="landing",
    period=MONTH,
    per=BudgetPer.MONTH,
    unit=BudgetUnit.USD,
    amount=1 << 40,
    at=T0,
    operator=ALICE.name,
    reason="backfill",
)
BUDGET = EgressBudget(route="landing", unit=BudgetUnit.USD, amount=5, per=BudgetPer.MONTH)
Both = SqlLedger | MemoryLedger


@pytest.fixture(params=EVERY_LEDGER)
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Both]:
    if request.param == "memory":
        yield MemoryLedger(MemoryFile(), "me")
        return
    opened = open_ledger(ledger_place(request.param, request, tmp_path), create=True)
    yield opened
    opened.close()


def test_raises_are_those_of_periods_that_began_since(ledger: Both) -> None:
    assert ledger.budget_raises(MONTH) == []
    later = replace(RAISE, route="", period=MONTH + DAY, per=BudgetPer.DAY, unit=BudgetUnit.BYTES)
    for one in (RAISE, RAISE, later):
        ledger.raise_budget(one, ENTRY)
    assert ledger.budget_raises(MONTH) == [RAISE, RAISE, later]
    assert ledger.budget_raises(MONTH + timedelta(seconds=1)) == [later]
    assert ledger.budget_raises(MONTH + 2 * DAY) == []


def test_a_budget_is_warned_of_once_in_a_period(ledger: Both) -> None:
    assert ledger.note_budget_warning(BUDGET, MONTH, T0)
    assert not ledger.note_budget_warning(BUDGET, MONTH, T0 + DAY)
    assert not ledger.note_budget_warning(replace(BUDGET, amount=7), MONTH, T0)
    for other in (
        replace(BUDGET, route=""),
        replace(BUDGET, unit=BudgetUnit.BYTES),
        replace(BUDGET, per=BudgetPer.DAY),
    ):
        assert ledger.note_budget_warning(other, MONTH, T0)
    assert ledger.note_budget_warning(BUDGET, MONTH + 30 * DAY, T0 + 30 * DAY)


def test_a_raise_is_in_the_ledger_for_readers_and_in_the_journal(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with closing(open_ledger(path, create=True)) as opened:
        opened.raise_budget(replace(RAISE, reason="back\ud800fill"), ENTRY)
    with closing(open_reader(path)) as reader:
        (found,) = reader.budget_raises(MONTH)
        (act,) = reader.operator_actions(most=10)
    assert found.amount == RAISE.amount
    assert (act.action, act.subject, act.operator) == (Act.BUDGET, "landing", ALICE.name)
