"""Budgets: how much may leave S3 in a period, what of that is spent, and what still fits. Pure.

A period is a day or a month of UTC, whatever the time zone of the machine. An amount is whole
bytes, or millionths of a US dollar: both are exact, and compared without knowing which it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backhaul.core.errors import BudgetUsedUp
from backhaul.core.units import human_bytes

WARNING_SHARE = 0.8
USD = 1_000_000  # an amount in dollars counts millionths
EVERY_ROUTE = ""  # in the place of a route: the budget over all of them
_DECEMBER = 12
_LARGEST_SHARE = 9.99


class BudgetPer(StrEnum):
    """How long a period is."""

    DAY = "day"
    MONTH = "month"


class BudgetUnit(StrEnum):
    """What is counted."""

    BYTES = "bytes"
    USD = "usd"


@dataclass(frozen=True, kw_only=True)
class BudgetPeriod:
    """From a midnight of UTC to another one, which is not part of it."""

    begins_at: datetime
    ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class EgressBudget:
    """How much may leave S3 in each period.

    Attributes:
        route: `EVERY_ROUTE`: over all of them together.
        amount: Bytes, or millionths of a dollar; 1 or more.
    """

    route: str
    unit: BudgetUnit
    amount: int
    per: BudgetPer

    @property
    def owner(self) -> str:
        """`the budget of route landing`, `the budget over all routes`."""
        return f"the budget of route {self.route}" if self.route else "the budget over all routes"

    @property
    def raise_name(self) -> str:
        """What `backhaul budget raise` calls it."""
        return self.route or "--all"

    @property
    def when(self) -> str:
        """`this month` or `today`."""
        return "today" if self.per is BudgetPer.DAY else "this month"

    def covers(self, route: str) -> bool:
        """True where what this route copies is counted."""
        return self.route in {EVERY_ROUTE, route}

    def words(self, amount: int) -> str:
        """`12.50 USD` or `1.5 TiB`."""
        return amount_words(self.unit, amount)


@dataclass(frozen=True, kw_only=True)
class BudgetRaise:
    """An operator allowed more, in one period alone.

    Attributes:
        period: When that period begins; it is of the budget's kind as it was then.
        amount: On top of the budget, in its unit as it was then.
    """

    route: str
    period: datetime
    per: BudgetPer
    unit: BudgetUnit
    amount: int
    at: datetime
    operator: str
    reason: str

    def concerns(self, budget: EgressBudget, period: BudgetPeriod) -> bool:
        """It raises this budget in this period; not one that counts something else by now."""
        mine = (self.route, self.per, self.unit, self.period)
        return mine == (budget.route, budget.per, budget.unit, period.begins_at)


@dataclass(frozen=True, kw_only=True)
class BudgetState:
    """A budget in its present period.

    Attributes:
        spent: What left S3 so far, by the ledger.
        raised: What operators added for this period.
        reserved: What transfers under way in this process may still copy.
    """

    budget: EgressBudget
    period: BudgetPeriod
    spent: int
    raised: int = 0
    reserved: int = 0

    @property
    def limit(self) -> int:
        """With what operators added."""
        return self.budget.amount + self.raised

    @property
    def left(self) -> int:
        """What no transfer has spent or reserved."""
        return max(0, self.limit - self.spent - self.reserved)

    @property
    def is_spent(self) -> bool:
        """Nothing may leave any more."""
        return self.spent >= self.limit

    @property
    def share(self) -> float:
        """Spent of the limit, from 0 to 9.99."""
        return min(self.spent / self.limit, _LARGEST_SHARE)

    @property
    def is_nearly_spent(self) -> bool:
        """It is time for the warning."""
        return self.share >= WARNING_SHARE

    @property
    def numbers(self) -> str:
        """`480.0 GiB of 500.0 GiB are spent this month`."""
        budget = self.budget
        return f"{budget.words(self.spent)} of {budget.words(self.limit)} are spent {budget.when}"

    def forecast(self, now: datetime) -> int:
        """What is spent at the period's end if it goes on as it went since its beginning."""
        passed = now - self.period.begins_at
        if passed <= timedelta():
            return self.spent
        whole = self.period.ends_at - self.period.begins_at
        return int(self.spent * (whole / passed))


@dataclass(frozen=True, kw_only=True)
class BudgetHold:
    """A route whose transfers wait because of a budget.

    Attributes:
        route: That waits; the budget may be the one over all routes.
        sentence: Which budget, how much of it, until when; one line without a full stop.
        hint: What an operator can do.
        until: When the period ends.
    """

    route: str
    sentence: str
    hint: str
    since: datetime
    until: datetime


def period_at(per: BudgetPer, now: datetime) -> BudgetPeriod:
    """The period that this moment is in.

    Args:
        now: Of UTC.
    """
    day = now.replace(hour=0, minute=0, second=0, microsecond=0)
    if per is BudgetPer.DAY:
        return BudgetPeriod(begins_at=day, ends_at=day + timedelta(days=1))
    first = day.replace(day=1)
    is_last = first.month == _DECEMBER
    following = (first.year + 1, 1) if is_last else (first.year, first.month + 1)
    return BudgetPeriod(
        begins_at=first, ends_at=first.replace(year=following[0], month=following[1])
    )


def amount_words(unit: BudgetUnit, amount: int) -> str:
    """`12.50 USD` or `1.5 TiB`."""
    return human_bytes(amount) if unit is BudgetUnit.BYTES else f"{amount / USD:,.2f} USD"


def refusal(state: BudgetState, needed: int, size_bytes: int) -> str:
    """Why so much may not leave now; one line without a full stop.

    Args:
        needed: In the budget's unit; 0: not known yet.
        size_bytes: Those bytes.
    """
    budget = state.budget
    until = f"until {state.period.ends_at:%Y-%m-%d %H:%M} UTC"
    if needed > state.limit:
        return (
            f"a transfer of {_worth(budget, needed, size_bytes)} is larger than {budget.owner}, "
            f"{budget.words(state.limit)} a {budget.per}: it does not begin before that is raised"
        )
    if state.is_spent or not needed:
        return f"{budget.owner} is used up {until}: {state.numbers}"
    reserved = f", and {budget.words(state.reserved)} are reserved" if state.reserved else ""
    return (
        f"a transfer of {_worth(budget, needed, size_bytes)} does not fit into {budget.owner} "
        f"{until}: {state.numbers}{reserved}"
    )


def advice(state: BudgetState, needed: int) -> str:
    """What an operator can do about a refusal."""
    budget = state.budget
    if needed > state.limit:
        more = needed - state.limit + state.spent + state.reserved
        return (
            f"backhaul budget raise {budget.raise_name} {amount_argument(budget.unit, more)}, "
            "or set a larger budget"
        )
    return f"wait, or backhaul budget raise {budget.raise_name} AMOUNT"


def amount_argument(unit: BudgetUnit, amount: int) -> str:
    """An amount, rounded up, as `backhaul budget raise` takes it: `20GiB`, `12.50`."""
    if unit is BudgetUnit.USD:
        cents = -(-amount // (USD // 100))
        return f"{cents / 100:.2f}"
    for prefix, power in (("TiB", 4), ("GiB", 3), ("MiB", 2), ("KiB", 1)):
        if amount >= 1024**power:
            return f"{-(-amount // 1024**power)}{prefix}"
    return str(amount)


def _worth(budget: EgressBudget, needed: int, size_bytes: int) -> str:
    size = human_bytes(size_bytes)
    return size if budget.unit is BudgetUnit.BYTES else f"{size} ({budget.words(needed)})"


def hold_words(holds: Sequence[BudgetHold]) -> str:
    """The first one's sentence, and how many other routes are held."""
    first, others = holds[0], len({one.route for one in holds}) - 1
    more = f"; {others} more route{'s' if others > 1 else ''} held" if others else ""
    return f"{first.sentence[:1].upper()}{first.sentence[1:]}{more}"


def used_up(state: BudgetState, route: str, needed: int, size_bytes: int) -> BudgetUsedUp:
    """What a transfer of this size waits for.

    Args:
        needed: That size in the budget's unit.
    """
    error = BudgetUsedUp(
        "E_BUDGET_USED", refusal(state, needed, size_bytes), hint=advice(state, needed)
    )
    error.route = route
    error.needed_bytes = size_bytes
    return error


def held(hold: BudgetHold) -> BudgetUsedUp:
    """What a transfer of the route waits for, before its size is known."""
    error = BudgetUsedUp("E_BUDGET_USED", hold.sentence, hint=hold.hint)
    error.route = hold.route
    return error
