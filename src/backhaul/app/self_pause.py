"""A route whose transfers die one after the other of the same cause pauses itself."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Protocol

from backhaul.core import facts
from backhaul.core.errors import BackhaulError
from backhaul.core.ports import Clock, Emit, Operator, PausedRoute

BY = "backhaul"  # in the place of a person's name, in the journal and in `status`
_NOT_COUNTED = frozenset({"E_CANCELLED"})


class _Pausing(Protocol):
    def pause_route(self, paused: PausedRoute, by: Operator) -> PausedRoute | None: ...

    def paused_routes(self, now: datetime) -> list[PausedRoute]: ...


class SelfPause:
    """A receiver of facts that counts deaths by route and code, and pauses at the limit.

    The count is of this process, since the route's last transfer that was done. The deaths
    themselves stay as they are: each has its dead letter.

    Args:
        route_of: The route of a transfer under way; empty where it is not known.
    """

    def __init__(
        self,
        route_of: Callable[[str], str],
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._after: Callable[[], Mapping[str, int]] = dict
        self._route_of = route_of
        self._clock = clock
        self._emit = emit
        self._ledger: _Pausing | None = None
        self._runs: dict[str, tuple[str, int]] = {}
        self._lock = threading.Lock()

    def follow(self, ledger: _Pausing, after: Callable[[], Mapping[str, int]]) -> None:
        """Pause in this ledger from now on.

        Args:
            after: How many deaths in a row pause a route, by its name; no entry: none do.
        """
        self._ledger, self._after = ledger, after

    def __call__(self, fact: object) -> None:
        match fact:
            case facts.TransferDone():
                with self._lock:
                    self._runs.pop(self._route_of(fact.transfer_id), None)
            case facts.MessageDead() if fact.code not in _NOT_COUNTED:
                self._count(self._route_of(fact.transfer_id), fact)

    def _count(self, route: str, dead: facts.MessageDead) -> None:
        limit = self._after().get(route, 0)
        if not limit or self._ledger is None:
            return
        with self._lock:
            code, count = self._runs.get(route, ("", 0))
            count = count + 1 if code == dead.code else 1
            self._runs[route] = (dead.code, count)
            if count < limit:
                return
            del self._runs[route]  # after `backhaul resume` it counts anew
        self._pause(self._ledger, route, dead, count)

    def _pause(self, ledger: _Pausing, route: str, dead: facts.MessageDead, count: int) -> None:
        reason = f"{count} transfers in a row died of {dead.code}"
        paused = PausedRoute(
            route=route, since=self._clock.now(), until=None, operator=BY, reason=reason
        )
        try:
            if any(one.route == route for one in ledger.paused_routes(paused.since)):
                return  # by a person, with an end and a reason of their own
            ledger.pause_route(paused, Operator(name=BY))
        except BackhaulError as error:
            self._emit(
                facts.LedgerRecordMissed(
                    transfer_id=dead.transfer_id, code=error.code, reason=error.message
                )
            )
            return
        hint = f"{dead.hint}; then: backhaul resume {route}" if dead.hint else ""
        self._emit(
            facts.RoutePausedItself(
                route=route,
                code=dead.code,
                deaths=count,
                reason=dead.reason,
                hint=hint or f"fix the cause, then: backhaul resume {route}",
            )
        )
