"""One record's place on its route, where all agents of a ledger share what the route allows.

What is known of full routes, and who looks, is decided in `core.requests.admission.FullRoutes`;
here is the lock under which the threads of an agent share it.
"""

from __future__ import annotations

from dataclasses import replace

from backhaul.core.agent.context import AgentContext
from backhaul.core.errors import RouteFull
from backhaul.core.model import Assignment
from backhaul.core.ports import Message
from backhaul.core.requests.admission import FULL_HERE_S, FULL_S
from backhaul.core.requests.records import RouteWait


class RoutePlace:
    """The place of one record of one delivery, in the thread of its slot.

    Args:
        context: Its `full` is shared, under `stopper.changed`.
        message: Its delivery.
        number: The record's, in the message.
    """

    def __init__(self, context: AgentContext, message: Message, number: int) -> None:
        self._context = context
        self._message_id = message.message_id
        self._number = number
        self._looks_at = ""  # the full route, of which this message reads the count
        with context.stopper.changed:
            # In this delivery: then the ledger knows that it is unfinished.
            self._has_waited = context.full.back(self._message_id, number)

    def still_full(self, route: str | None) -> RouteFull | None:
        """Why a record that waited before need not begin: another one looks, or did just now."""
        if not self._has_waited or route is None:
            return None
        with self._context.stopper.changed:
            if not self._context.full.may_look(route):
                return _full(route)
        self._looks_at = route
        return None

    def enter(self, job: Assignment, transfer_id: str) -> bool:
        """Whether this agent alone leaves room for it."""
        is_shared = self._context.ports.standing.is_shared
        if is_shared:  # the ledger counts the minutes of all agents
            job = replace(job, limits=replace(job.limits, per_minute=None))
        with self._context.stopper.changed:
            if self._context.gate.enter(job, transfer_id):
                return True
            if is_shared:
                # Another look costs a turn that all agents wait for.
                self._context.full.note_full(job.route, FULL_HERE_S)
            return False

    def is_full(self, transfer_id: str, job: Assignment) -> bool:
        """Whether the agents together have all that the route allows: in flight, or this minute.

        Read before S3 is, as the claim may be.
        """
        context, route, limits = self._context, job.route, job.limits
        if not context.ports.standing.is_shared:
            return False
        if limits.in_flight is None and limits.per_minute is None:
            return False
        with context.stopper.changed:
            if self._looks_at != route and not context.full.may_look(route):
                return True
        seconds = self._wait_s(transfer_id, job)
        with context.stopper.changed:
            if seconds:
                context.full.note_full(route, seconds)
            else:
                context.full.note_free(route)
        return seconds > 0

    def _wait_s(self, transfer_id: str, job: Assignment) -> float:
        """By the ledger; 0: it may begin, and has been counted."""
        context, ledger = self._context, self._context.ports.ledger
        if job.limits.in_flight is not None and ledger.is_full(transfer_id, job):
            least_s, most_s = FULL_S
            return least_s + (most_s - least_s) * context.chance()
        if job.limits.per_minute is None:
            return 0.0
        left_s = ledger.admit(transfer_id, job)
        return max(left_s, FULL_HERE_S) if left_s else 0.0

    def give_up(self, job: Assignment, *, has_run: bool) -> None:
        """What `enter` admitted ended, or did not begin."""
        with self._context.stopper.changed:
            self._context.gate.leave(job)
            if has_run:
                self._context.full.note_free(job.route)  # there may be room now

    def refusal(self, route: str) -> RouteFull | None:
        """Why it waits; None where one agent alone counts, whose messages wait in their slots."""
        return _full(route) if self._context.ports.standing.is_shared else None

    def left_s(self, route: str) -> float:
        """Seconds until a message has to look again."""
        with self._context.stopper.changed:
            return self._context.full.left_s(route)

    def leave(self, route: str) -> RouteWait | None:
        """To wait without a slot; None where too many messages do, or in a drain."""
        self._has_waited = True
        if self._context.settings.drain:
            return None
        with self._context.stopper.changed:
            if not self._context.full.leave(self._message_id, self._number):
                return None
        return RouteWait(route=route, is_full=True)


def _full(route: str) -> RouteFull:
    error = RouteFull(
        "E_DST_BUSY",
        f"route {route} has as many transfers, in flight or begun within a minute, as it allows",
    )
    error.route = route
    return error
