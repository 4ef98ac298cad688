"""Which routes may not begin a transfer: paused by operators, or held by their budgets.

By the ledger; what is known is a few seconds old at most.
"""

from __future__ import annotations

from collections.abc import Collection

from backhaul.core.cost.budget import BudgetHold, held
from backhaul.core.errors import RoutePaused
from backhaul.core.ports import Clock, EgressGate, Ledger, PausedRoute
from backhaul.core.requests.records import RouteWait
from backhaul.core.text import printable

FRESH_S = 10.0  # after this the ledger is read again before an attempt begins
_TEXT_MOST = 200


class PausedRoutes:
    """Looked at before each attempt; safe to share between threads.

    Where nobody calls `refresh`, `find` does.
    """

    def __init__(self, ledger: Ledger, clock: Clock, budgets: EgressGate | None = None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._budgets = budgets
        self._read_s: float | None = None
        self._known: tuple[PausedRoute, ...] = ()

    def refresh(self) -> None:
        """Read the ledger.

        Raises:
            OutageError, LedgerDamaged: What was known stays, and gets older.
        """
        # Before the call: a pause that is recorded during it may be missed.
        began_s = self._clock.monotonic()
        found = tuple(self._ledger.paused_routes(self._clock.now()))
        if self._budgets is not None:
            self._budgets.refresh()
        if self._read_s is None or began_s >= self._read_s:  # no newer answer came meanwhile
            self._known, self._read_s = found, began_s

    def find(self, route: str) -> PausedRoute | None:
        """The pause of this route that is in force.

        Raises:
            OutageError, LedgerDamaged: What is known is too old, and the ledger does not answer.
        """
        if self._read_s is None or self._clock.monotonic() - self._read_s > FRESH_S:
            self.refresh()
        return next((one for one in self.in_force() if one.route == route), None)

    def why_not(self, route: str) -> RoutePaused | None:
        """What a transfer of this route waits for; None: it may begin.

        Raises:
            OutageError, LedgerDamaged: As `find`.
        """
        paused = self.find(route)
        if paused is not None:
            return route_paused(paused)
        hold = self._budgets.hold_of(route) if self._budgets is not None else None
        return None if hold is None else held(hold)

    def wait_of(self, wait: RouteWait) -> PausedRoute | BudgetHold | None:
        """Why it still has to wait, as far as is known; None: no more."""
        paused = next((one for one in self.in_force() if one.route == wait.route), None)
        if paused is not None or self._budgets is None:
            return paused
        return self._budgets.hold_of(wait.route, wait.needed_bytes)

    def in_force(self) -> tuple[PausedRoute, ...]:
        """Those known, however old."""
        now = self._clock.now()
        return tuple(one for one in self._known if one.is_in_force(now))

    def holds(self, waits: Collection[RouteWait] = ()) -> tuple[BudgetHold, ...]:
        """Budgets that are used up, and why these wait, once for each route."""
        if self._budgets is None:
            return ()
        found = {one.route: one for one in self._budgets.holds()}
        for wait in waits:
            hold = self._budgets.hold_of(wait.route, wait.needed_bytes)
            if hold is not None and not {wait.route, ""} & found.keys():
                found[wait.route] = hold
        return tuple(found.values())

    def cover(self, routes: Collection[str]) -> bool:
        """True where there are such routes, and each of them is paused or held."""
        paused = {one.route for one in self.in_force()}
        budgets = self._budgets
        return bool(routes) and all(
            one in paused or (budgets is not None and budgets.hold_of(one) is not None)
            for one in routes
        )


def route_paused(paused: PausedRoute) -> RoutePaused:
    """What a transfer of the route waits for."""
    until = "" if paused.until is None else f" until {paused.until:%Y-%m-%d %H:%M:%S} UTC"
    reason = f": {printable(paused.reason, _TEXT_MOST)}" if paused.reason else ""
    by = printable(paused.operator, _TEXT_MOST)
    error = RoutePaused(
        "E_ROUTE_PAUSED",
        f"route {paused.route} is paused{until} by {by}{reason}",
        hint=f"backhaul resume {paused.route}",
    )
    error.route = paused.route
    return error
