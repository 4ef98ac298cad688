"""Budgets in force: what transfers of this process have reserved, and what is spent.

A transfer reserves all it will copy before its first byte, so that what is begun can be finished;
what it has to read once more it reserves before that.
Other processes on the ledger, such as `backhaul copy`, are seen once they record what they read.
No lock is held during a call of the ledger; what is recorded meanwhile is added to its answer.
"""

from __future__ import annotations

import math
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from backhaul.core.cost.budget import (
    BudgetHold,
    BudgetState,
    EgressBudget,
    advice,
    refusal,
    used_up,
)
from backhaul.core.cost.prices import EgressPrice
from backhaul.core.errors import BudgetUsedUp
from backhaul.core.facts import BudgetNearlyUsed
from backhaul.core.ports import BudgetLedger, Clock, Emit
from backhaul.core.transfer.egress.budgets import BudgetFigures, figures_of, worth_of

CHECK_EVERY_S = 1.0  # the ledger is read again while a transfer copies


@dataclass(kw_only=True)
class _Reserved:
    """Of one transfer.

    Attributes:
        planned_bytes: What it was to copy when it began.
        size_bytes: It will read so much in all; `recorded` of it is in the ledger.
    """

    route: str
    planned_bytes: int
    size_bytes: int
    is_forced: bool
    recorded: int = 0

    @property
    def open_bytes(self) -> int:
        """What the ledger does not have yet."""
        return max(0, self.size_bytes - self.recorded)


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What the ledger said of a budget.

    Attributes:
        recorded: What this process had recorded of each route before the ledger was read.
    """

    figures: BudgetFigures
    recorded: Mapping[str, int]


class BudgetGate:
    """See `core.ports.EgressGate`; safe to share between threads.

    Args:
        price: For budgets in dollars.
    """

    def __init__(self, ledger: BudgetLedger, clock: Clock, emit: Emit, price: EgressPrice) -> None:
        self._ledger = ledger
        self._clock = clock
        self._emit = emit
        self._price = price
        self._budgets: tuple[EgressBudget, ...] = ()
        self._lock = threading.Lock()
        self._reserved: dict[str, _Reserved] = {}
        self._recorded: Counter[str] = Counter()
        self._known: tuple[_Known, ...] = ()
        self._read_s = -math.inf
        self._since: dict[tuple[str, datetime], datetime] = {}
        self._warned: set[tuple[EgressBudget, datetime]] = set()

    def follow(self, budgets: Sequence[EgressBudget]) -> None:
        """These are in force from now on, in place of others."""
        self._budgets = tuple(budgets)

    # ------------------------------------------------------------ of a transfer

    def covers(self, route: str) -> bool:
        return any(one.covers(route) for one in self._budgets)

    def reserve(self, transfer_id: str, route: str, size_bytes: int, *, is_forced: bool) -> None:
        if not self.covers(route):
            return
        if not is_forced and size_bytes:
            self._read()
        with self._lock:
            if not is_forced and size_bytes:
                for state, is_over in self._with(size_bytes, route, without=transfer_id):
                    if is_over:
                        raise self._used_up(state, route, size_bytes)
            self._reserved[transfer_id] = _Reserved(
                route=route, planned_bytes=size_bytes, size_bytes=size_bytes, is_forced=is_forced
            )

    def extend(self, transfer_id: str, size_bytes: int) -> None:
        one = self._open(transfer_id)
        with self._lock:
            if one is None:
                return
            if not one.is_forced:
                for state, is_over in self._with(size_bytes, one.route):
                    if is_over:
                        raise self._used_up(state, one.route, one.planned_bytes)
            one.size_bytes += size_bytes

    def check(self, transfer_id: str) -> None:
        one = self._open(transfer_id)
        if one is None or one.is_forced:
            return
        with self._lock:
            for state in self._states(one.route):
                # What others have reserved is theirs to find out.
                if state.spent + self._worth(state.budget, one.open_bytes) > state.limit:
                    raise self._used_up(state, one.route, one.planned_bytes)

    def _open(self, transfer_id: str) -> _Reserved | None:
        """What it has reserved, once what is known is fresh enough to judge by."""
        with self._lock:
            one = self._reserved.get(transfer_id)
        is_judged = one is not None and not one.is_forced
        if is_judged and self._clock.monotonic() - self._read_s >= CHECK_EVERY_S:
            self._read()
        return one

    def _used_up(self, state: BudgetState, route: str, size_bytes: int) -> BudgetUsedUp:
        return used_up(state, route, self._worth(state.budget, size_bytes), size_bytes)

    def recorded(self, transfer_id: str, size_bytes: int) -> None:
        with self._lock:
            one = self._reserved.get(transfer_id)
            if one is not None:
                one.recorded += size_bytes
                self._recorded[one.route] += size_bytes

    def release(self, transfer_id: str) -> None:
        with self._lock:
            self._reserved.pop(transfer_id, None)

    # ------------------------------------------------------------ of a route

    def hold_of(self, route: str, needed_bytes: int = 0) -> BudgetHold | None:
        with self._lock:
            for state, is_over in self._with(needed_bytes, route):
                if state.is_spent or is_over:
                    needed = self._worth(state.budget, needed_bytes)
                    return self._hold(state, route, needed, needed_bytes)
        return None

    def holds(self) -> tuple[BudgetHold, ...]:
        with self._lock:
            return tuple(
                self._hold(state, state.budget.route, 0, 0)
                for state in self._all_states()
                if state.is_spent
            )

    def refresh(self) -> None:
        if not self._budgets:
            return
        self._read()
        with self._lock:
            found = [one for one in self._all_states() if one.is_nearly_spent]
        for one in found:
            self._warn(one)

    def _warn(self, state: BudgetState) -> None:
        """Once in each period, whatever process does it."""
        budget, period = state.budget, state.period
        key = (budget, period.begins_at)
        if key in self._warned:
            return
        is_first = self._ledger.note_budget_warning(budget, period.begins_at, self._clock.now())
        self._warned.add(key)
        if is_first:
            self._emit(
                BudgetNearlyUsed(
                    route=budget.route,
                    reason=f"{budget.owner}: {state.numbers}",
                    ends_at=period.ends_at,
                    hint=f"backhaul budget raise {budget.raise_name} AMOUNT, or the route is held"
                    f" at 100 % until {period.ends_at:%Y-%m-%d %H:%M} UTC",
                )
            )

    def _hold(self, state: BudgetState, route: str, needed: int, size_bytes: int) -> BudgetHold:
        key = (state.budget.route, state.period.begins_at)
        return BudgetHold(
            route=route,
            sentence=refusal(state, needed, size_bytes),
            hint=advice(state, needed),
            since=self._since.setdefault(key, self._clock.now()),
            until=state.period.ends_at,
        )

    # ------------------------------------------------------------ what is known

    def _states(self, route: str) -> Iterator[BudgetState]:
        """Of the budgets that count this route."""
        return (one for one in self._all_states() if one.budget.covers(route))

    def _all_states(self) -> Iterator[BudgetState]:
        return (self._state(known) for known in self._in_force())

    def _with(
        self, size_bytes: int, route: str, without: str | None = None
    ) -> Iterator[tuple[BudgetState, bool]]:
        """Of the budgets that count this route: as it is, and whether so much is too much.

        Args:
            without: This transfer's own reservation is not counted.
        """
        for known in self._in_force():
            if known.figures.budget.covers(route):
                # Priced together with what is reserved: a step of the price may be in between.
                full = self._state(known, without, size_bytes)
                yield self._state(known, without), full.spent + full.reserved > full.limit

    def _in_force(self) -> Iterator[_Known]:
        budgets, now = self._budgets, self._clock.now()
        for known in self._known:
            figures = known.figures
            if figures.budget in budgets and figures.period.ends_at > now:
                yield known

    def _state(self, known: _Known, without: str | None = None, more_bytes: int = 0) -> BudgetState:
        budget = known.figures.budget
        since = sum(
            size_bytes - known.recorded.get(route, 0)
            for route, size_bytes in self._recorded.items()
            if budget.covers(route)
        )
        reserved = sum(
            one.open_bytes
            for transfer_id, one in self._reserved.items()
            if budget.covers(one.route) and transfer_id != without
        )
        return known.figures.state(
            self._price, since_bytes=since, reserved_bytes=reserved + more_bytes
        )

    def _worth(self, budget: EgressBudget, size_bytes: int) -> int:
        found = (one.figures for one in self._known if one.figures.budget == budget)
        month = next((one.month_bytes for one in found), 0)
        return worth_of(budget, month, size_bytes, self._price)

    def _read(self) -> None:
        """Ask the ledger about every budget.

        Raises:
            OutageError, LedgerDamaged: What was known stays.
        """
        now, began_s = self._clock.now(), self._clock.monotonic()
        with self._lock:
            recorded = dict(self._recorded)
        found = tuple(
            _Known(figures=figures_of(self._ledger, one, now), recorded=recorded)
            for one in self._budgets
        )
        with self._lock:
            if began_s >= self._read_s:  # no newer answer came meanwhile
                self._known, self._read_s = found, began_s
