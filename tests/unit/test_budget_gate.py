"""Budgets: what is reserved, what is refused, and when they are warned of."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

import pytest

from backhaul.core.agent.pausing.budgets import BudgetGate
from backhaul.core.cost.budget import (
    USD,
    BudgetPer,
    BudgetRaise,
    BudgetUnit,
    EgressBudget,
    amount_argument,
    period_at,
)
from backhaul.core.cost.egress import Egress
from backhaul.core.cost.prices import EgressPrice, PriceTier, flat
from backhaul.core.errors import BudgetUsedUp, ExitCode
from backhaul.core.facts import BudgetNearlyUsed
from backhaul.testing.fakes import FakeClock

GIB = 1024**3


@dataclass
class Sums:
    """The ledger's side: (day, route) to bytes."""

    days: dict[tuple[date, str], int] = field(default_factory=dict)
    raises: list[BudgetRaise] = field(default_factory=list)
    warned: set[tuple[str, datetime]] = field(default_factory=set)
    reads: int = 0

    def add(self, day: date, route: str, size_bytes: int) -> None:
        self.days[day, route] = self.days.get((day, route), 0) + size_bytes

    def egress_since(self, since: date, route: str | None = None) -> Egress:
        self.reads += 1
        return Egress(
            sum(n for (day, of), n in self.days.items() if day >= since and route in {None, of})
        )

    def budget_raises(self, since: datetime) -> list[BudgetRaise]:
        return [one for one in self.raises if one.period >= since]

    def note_budget_warning(self, budget: EgressBudget, period: datetime, now: datetime) -> bool:
        is_first = (budget.route, period) not in self.warned
        self.warned.add((budget.route, period))
        return is_first


class Place:
    """A gate, its ledger and its clock."""

    def __init__(self, *budgets: EgressBudget) -> None:
        self.clock = FakeClock()
        self.ledger = Sums()
        self.facts: list[object] = []
        self.budgets = list(budgets)
        self.gate = BudgetGate(
            self.ledger,
            self.clock,
            self._emit,
            price=flat(Fraction("0.09"), "a test"),
        )
        self.gate.follow(self.budgets)

    def _emit(self, fact: object) -> None:
        self.facts.append(fact)

    @property
    def today(self) -> date:
        return self.clock.now().date()

    def spend(self, size_bytes: int, route: str = "r") -> None:
        self.ledger.add(self.today, route, size_bytes)

    def reserve(self, transfer: str, size_bytes: int, route: str = "r") -> None:
        self.gate.reserve(transfer, route, size_bytes, is_forced=False)

    def raise_by(self, amount: int, budget: EgressBudget) -> None:
        period = period_at(budget.per, self.clock.now()).begins_at
        self.ledger.raises.append(
            BudgetRaise(
                route=budget.route,
                period=period,
                per=budget.per,
                unit=budget.unit,
                amount=amount,
                at=self.clock.now(),
                operator="alice@edge1",
                reason="",
            )
        )


def of_bytes(amount: int, route: str = "r", per: BudgetPer = BudgetPer.MONTH) -> EgressBudget:
    return EgressBudget(route=route, unit=BudgetUnit.BYTES, amount=amount, per=per)


# ---------------------------------------------------------------- periods


def test_periods_are_days_and_months_of_utc() -> None:
    late = datetime(2026, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)
    day = period_at(BudgetPer.DAY, late)
    assert (day.begins_at, day.ends_at) == (
        datetime(2026, 12, 31, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    month = period_at(BudgetPer.MONTH, late)
    assert (month.begins_at, month.ends_at) == (
        datetime(2026, 12, 1, tzinfo=UTC),
        datetime(2027, 1, 1, tzinfo=UTC),
    )
    leap = period_at(BudgetPer.MONTH, datetime(2028, 2, 29, 12, tzinfo=UTC))
    assert leap.ends_at == datetime(2028, 3, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("unit", "amount", "text"),
    [
        (BudgetUnit.BYTES, 20 * GIB, "20GiB"),
        (BudgetUnit.BYTES, 20 * GIB + 1, "21GiB"),
        (BudgetUnit.BYTES, 7, "7"),
        (BudgetUnit.USD, 12_340_001, "12.35"),
    ],
)
def test_amounts_are_rounded_up_to_what_the_command_takes(
    unit: BudgetUnit, amount: int, text: str
) -> None:
    assert amount_argument(unit, amount) == text


# ---------------------------------------------------------------- reserving


def test_what_fits_is_reserved_and_what_does_not_is_refused() -> None:
    place = Place(of_bytes(100))
    place.spend(30)
    place.reserve("a", 50)
    with pytest.raises(BudgetUsedUp) as refused:
        place.reserve("b", 21)
    assert refused.value.code == "E_BUDGET_USED"
    assert refused.value.exit_code is ExitCode.LOCKED
    assert (refused.value.route, refused.value.needed_bytes) == ("r", 21)
    assert "does not fit into the budget of route r until" in refused.value.message
    assert "30 B of 100 B are spent this month, and 50 B are reserved" in refused.value.message
    assert refused.value.hint == "wait, or backhaul budget raise r AMOUNT"
    place.reserve("b", 20)


def test_what_is_recorded_is_spent_and_reserved_no_more() -> None:
    place = Place(of_bytes(100))
    place.reserve("a", 50)
    place.spend(40)
    place.gate.recorded("a", 40)
    place.reserve("b", 50)
    with pytest.raises(BudgetUsedUp):
        place.reserve("c", 1)
    place.gate.release("a")
    place.reserve("c", 10)
    with pytest.raises(BudgetUsedUp):
        place.reserve("d", 1)


def test_what_is_recorded_while_the_ledger_answers_is_not_overlooked() -> None:
    place = Place(of_bytes(100))
    place.reserve("a", 60)
    answered = place.ledger.egress_since

    def meanwhile(since: date, route: str | None = None) -> Egress:
        found = answered(since, route)
        place.spend(60)  # after the answer was made
        place.gate.recorded("a", 60)
        place.gate.release("a")
        return found

    place.ledger.egress_since = meanwhile  # type: ignore[method-assign]
    with pytest.raises(BudgetUsedUp):
        place.reserve("b", 41)


def test_a_transfer_reserves_once_however_often_it_is_asked() -> None:
    place = Place(of_bytes(100))
    place.reserve("a", 100)
    place.reserve("a", 100)
    place.gate.release("a")
    place.gate.release("a")
    place.reserve("b", 100)


def test_every_budget_that_counts_the_route_has_to_allow_it() -> None:
    place = Place(of_bytes(100, route=""), of_bytes(30))
    with pytest.raises(BudgetUsedUp, match="the budget of route r"):
        place.reserve("a", 31)
    place.spend(90, route="other")
    with pytest.raises(BudgetUsedUp, match="the budget over all routes"):
        place.reserve("a", 11)
    place.reserve("b", 10, route="third")
    with pytest.raises(BudgetUsedUp):
        place.reserve("a", 1)
    assert place.gate.covers("any")


def test_a_route_without_a_budget_is_free_and_costs_no_call() -> None:
    place = Place(of_bytes(1, route="other"))
    place.reserve("a", 1 << 60)
    place.gate.extend("a", 1 << 60)
    place.gate.check("a")
    assert place.gate.hold_of("r", 1 << 60) is None
    assert place.ledger.reads == 0


def test_empty_objects_pass_a_budget_that_is_used_up() -> None:
    place = Place(of_bytes(10))
    place.spend(10)
    place.reserve("a", 0)


def test_what_is_published_in_part_is_finished_whatever_the_budget() -> None:
    place = Place(of_bytes(10))
    place.spend(10)
    place.gate.reserve("a", "r", 500, is_forced=True)
    place.gate.extend("a", 500)
    place.gate.check("a")


def test_a_transfer_larger_than_the_budget_is_told_what_would_let_it_begin() -> None:
    place = Place(of_bytes(10 * GIB))
    place.spend(2 * GIB)
    with pytest.raises(BudgetUsedUp) as refused:
        place.reserve("a", 12 * GIB)
    assert refused.value.message == (
        "a transfer of 12.0 GiB is larger than the budget of route r, 10.0 GiB a month:"
        " it does not begin before that is raised"
    )
    assert refused.value.hint.startswith("backhaul budget raise r 4GiB")
    place.raise_by(4 * GIB, place.budgets[0])
    place.reserve("a", 12 * GIB)


def test_what_is_read_once_more_is_reserved_before_that() -> None:
    place = Place(of_bytes(100))
    place.reserve("a", 80)
    place.gate.extend("a", 15)
    with pytest.raises(BudgetUsedUp) as refused:
        place.gate.extend("a", 6)
    assert refused.value.needed_bytes == 80, "all of the plan is copied when it is tried again"
    place.gate.extend("a", 5)
    with pytest.raises(BudgetUsedUp):
        place.reserve("b", 1)
    place.gate.check("a")
    place.gate.release("a")
    place.reserve("b", 100)


def test_a_copy_of_another_process_is_seen_within_a_second() -> None:
    place = Place(of_bytes(100))
    place.reserve("a", 80)
    place.spend(21)
    place.gate.check("a")
    place.clock.advance(1)
    with pytest.raises(BudgetUsedUp):
        place.gate.check("a")


# ---------------------------------------------------------------- holds


def test_a_route_is_held_at_100_percent_until_the_period_turns() -> None:
    place = Place(of_bytes(100, per=BudgetPer.DAY))
    place.spend(99)
    place.gate.refresh()
    assert place.gate.holds() == ()
    assert place.gate.hold_of("r", 1) is None
    place.spend(1)
    place.gate.refresh()
    (hold,) = place.gate.holds()
    assert hold.sentence.startswith("the budget of route r is used up until ")
    assert hold.sentence.endswith("100 B of 100 B are spent today")
    assert hold.until == period_at(BudgetPer.DAY, place.clock.now()).ends_at
    assert place.gate.hold_of("r") is not None
    place.clock.advance((hold.until - place.clock.now()).total_seconds())
    assert place.gate.holds() == ()
    assert place.gate.hold_of("r") is None
    place.reserve("a", 100)


def test_a_raise_counts_for_its_period_and_its_kind_of_budget_alone() -> None:
    day = of_bytes(100, per=BudgetPer.DAY)
    place = Place(day)
    place.spend(100)
    place.raise_by(50, of_bytes(100))  # of a month
    place.raise_by(50, replace(day, unit=BudgetUnit.USD))
    place.raise_by(50, replace(day, route=""))
    with pytest.raises(BudgetUsedUp):
        place.reserve("a", 1)
    place.raise_by(50, day)
    place.reserve("a", 50)
    place.gate.release("a")
    place.clock.advance(timedelta(days=1).total_seconds())
    place.spend(100)
    with pytest.raises(BudgetUsedUp):
        place.reserve("a", 1)


def test_a_reload_changes_what_is_in_force() -> None:
    place = Place(of_bytes(100))
    place.spend(100)
    place.gate.refresh()
    assert place.gate.holds()
    place.gate.follow([of_bytes(200)])
    assert place.gate.holds() == ()
    place.reserve("a", 100)
    place.gate.follow([])
    place.reserve("b", 1 << 60)


# ---------------------------------------------------------------- dollars


def test_dollars_are_counted_by_the_prices() -> None:
    place = Place(EgressBudget(route="r", unit=BudgetUnit.USD, amount=900_000, per=BudgetPer.MONTH))
    place.spend(4 * GIB)
    place.spend(50 * GIB, route="other")
    with pytest.raises(BudgetUsedUp) as refused:
        place.reserve("a", 7 * GIB)
    assert "7.0 GiB (0.63 USD) does not fit" in refused.value.message
    assert "0.36 USD of 0.90 USD are spent this month" in refused.value.message
    place.reserve("a", 6 * GIB)


def test_a_route_pays_its_share_where_prices_fall_with_the_volume() -> None:
    tiers = EgressPrice(
        tiers=(
            PriceTier(up_to_bytes=10 * GIB, usd_per_gb=Fraction(2)),
            PriceTier(up_to_bytes=None, usd_per_gb=Fraction(1)),
        ),
        source="a test",
    )
    budget = EgressBudget(route="r", unit=BudgetUnit.USD, amount=15 * USD, per=BudgetPer.DAY)
    place = Place(budget)
    place.gate._price = tiers
    place.clock.advance(timedelta(days=1).total_seconds())  # from the first to the second
    place.ledger.add(place.today - timedelta(days=1), "r", 5 * GIB)  # this month
    place.spend(10 * GIB)
    place.spend(5 * GIB, route="other")
    # 15 GB from the 6th on cost 5 * 2 + 10 * 1 = 20, of which two thirds are of this route.
    place.reserve("a", GIB)  # 13.34 and 1
    with pytest.raises(BudgetUsedUp):
        place.reserve("b", GIB)


def test_what_is_reserved_and_what_is_added_are_priced_together() -> None:
    """Each alone is free, by the first step of the price; both are not."""
    tiers = EgressPrice(
        tiers=(
            PriceTier(up_to_bytes=10 * GIB, usd_per_gb=Fraction(0)),
            PriceTier(up_to_bytes=None, usd_per_gb=Fraction(1)),
        ),
        source="a test",
    )
    place = Place(EgressBudget(route="r", unit=BudgetUnit.USD, amount=USD, per=BudgetPer.MONTH))
    place.gate._price = tiers
    place.reserve("a", 8 * GIB)
    assert place.gate.hold_of("r", 8 * GIB) is not None
    with pytest.raises(BudgetUsedUp):
        place.reserve("b", 8 * GIB)
    with pytest.raises(BudgetUsedUp):
        place.gate.extend("a", 8 * GIB)
    place.reserve("b", 3 * GIB)


# ---------------------------------------------------------------- the warning


def test_a_budget_is_warned_of_once_in_each_period() -> None:
    place = Place(of_bytes(100, per=BudgetPer.DAY))
    place.spend(79)
    place.gate.refresh()
    assert place.facts == []
    place.spend(1)
    place.gate.refresh()
    place.gate.refresh()
    (warned,) = place.facts
    assert isinstance(warned, BudgetNearlyUsed)
    assert warned.reason == "the budget of route r: 80 B of 100 B are spent today"
    again = Place(*place.budgets)  # another start of the agent
    again.ledger.days, again.ledger.warned = place.ledger.days, place.ledger.warned
    again.gate.refresh()
    assert again.facts == []
    place.clock.advance(timedelta(days=1).total_seconds())
    place.gate.refresh()
    assert len(place.facts) == 1
    place.spend(90)
    place.gate.refresh()
    assert len(place.facts) == 2
