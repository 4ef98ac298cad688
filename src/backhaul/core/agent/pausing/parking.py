"""Parks messages of routes that are paused, full or held by a budget, and lets them go after that.

A parked message is hidden and has no slot: other routes of the queue go on, and it spends neither
an attempt nor a receive. What may be kept, and for how long, is decided in `lot`.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from datetime import datetime

from backhaul.core import facts
from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.pausing.lot import (
    PARKED_TIMEOUT_S,
    Parked,
    ParkedMessage,
    ParkingLot,
    fate_of,
    returned_for_s,
)
from backhaul.core.agent.returning import hand_back, hand_back_all, show_after
from backhaul.core.agent.stopping import Stop
from backhaul.core.agent.verdicts import EXPIRING_SHARE, ends_at, is_expiring
from backhaul.core.cost.budget import BudgetHold
from backhaul.core.errors import OutageError
from backhaul.core.ports import Message
from backhaul.core.requests.policy import serves_queue
from backhaul.core.requests.records import RouteWait

PAUSES_EVERY_S = 2.0
MARGIN_S = 60  # before SQS's total ends
# Of the queue's retention, from one look at a queue of which everything is paused to the next: less
# than from `EXPIRING_SHARE` to `HOLD_SHARE`.
LOOK_SHARE = 0.125


class Parking:
    """The parked messages of one agent. `work_until_stopped` belongs to one thread."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._lot = ParkingLot()
        self._ready: deque[ParkedMessage] = deque()
        self._is_unknown = False  # the ledger did not answer the last time
        self._reported: tuple[tuple[str, ...], bool] = ((), False)
        self._holds: tuple[BudgetHold, ...] = ()
        self._warned: set[tuple[str, datetime]] = set()
        self._look_due_s = context.clock.monotonic()

    def __len__(self) -> int:
        with self._context.stopper.changed:
            return len(self._lot) + len(self._ready)

    @property
    def next_route(self) -> str | None:
        """The route of the message that may go on, and needs a slot; None: none may."""
        return self._ready[0].wait.route if self._ready else None

    @property
    def is_everything_paused(self) -> bool:
        """Every route that this queue may serve; then there is nothing to receive for."""
        context = self._context
        arn = context.queue.facts.arn
        names = {one.name for one in context.policy().routes if serves_queue(one, arn)}
        return context.pauses.cover(names)

    @property
    def is_nothing_wanted(self) -> bool:
        """Everything is paused, and it is not time to look what the queue has nevertheless.

        SQS deletes what is older than its retention, received or not: what is near that has to be
        received, so that it dies with a dead letter. A receive is spent only for that.
        """
        return self.is_everything_paused and self._context.clock.monotonic() < self._look_due_s

    def received(self, messages: Sequence[Message]) -> None:
        """After each poll: more of what it brought is looked for at once where that is old."""
        queue, clock = self._context.queue.facts, self._context.clock
        now_s, now = clock.monotonic(), clock.now()
        if any(is_expiring(one, queue, now, EXPIRING_SHARE) for one in messages):
            self._look_due_s = now_s
        elif queue.retention_s is None or queue.dead_letter_url is None:
            self._look_due_s = math.inf  # nothing could be done for what is old
        else:
            self._look_due_s = now_s + queue.retention_s * LOOK_SHARE

    def park(self, message: Message, wait: RouteWait) -> None:
        """Keep the message hidden, whose visibility is kept already, until it need not wait."""
        context, too_much = self._context, None
        with context.stopper.changed:
            is_stopping = context.stopper.is_requested
            if not is_stopping:
                too_much = self._lot.add(ParkedMessage(message=message, wait=wait))
        if is_stopping:
            hand_back(context, message)
            return
        # Of a full route, it is to be another agent's soon after this one died.
        if not wait.is_full and (too_much is None or too_much.message is not message):
            context.keeper.hide_for(message.message_id, PARKED_TIMEOUT_S)
        if too_much is not None:
            self._return(too_much)
        self._warn_of_end(message, wait)

    def _warn_of_end(self, message: Message, wait: RouteWait) -> None:
        """Where a budget holds the message for longer than its queue keeps it."""
        hold, queue = self._context.pauses.wait_of(wait), self._context.queue.facts
        if not isinstance(hold, BudgetHold) or (wait.route, hold.until) in self._warned:
            return
        dies_at = ends_at(message, queue)
        if dies_at is None or dies_at > hold.until:
            return
        self._warned.add((wait.route, hold.until))
        self._context.emit(
            facts.BudgetOutlivesQueue(
                route=wait.route,
                message_id=message.message_id,
                until=hold.until,
                dies_at=dies_at,
                hint=f"{hold.hint}; or give queue {queue.name} more retention",
            )
        )

    def next_ready(self) -> Message | None:
        """The next message that goes on; the caller gives it a slot."""
        with self._context.stopper.changed:
            parked = self._ready.popleft() if self._ready else None
        if parked is None:
            return None
        message = parked.message
        self._context.keeper.hide_for(
            message.message_id, self._context.settings.visibility_timeout_s
        )
        self._context.emit(
            facts.MessageUnparked(
                message_id=message.message_id,
                route=parked.wait.route,
                sent_at=message.sent_at,
                queue=self._context.name,
            )
        )
        return message

    def work_until_stopped(self) -> None:
        """Turn until a stop is requested, or an error ends this; then hand all of them back."""
        stopper = self._context.stopper
        try:
            while not stopper.is_requested:
                self.turn()
                stopper.pause(PAUSES_EVERY_S)
        finally:
            stopper.request(Stop.DRAIN)  # from now on nothing is parked
            self.hand_back_all()

    def turn(self) -> None:
        """Read which routes are paused, and let go what need not wait."""
        context = self._context
        self._refresh()
        with context.stopper.changed:
            going_on = self._lot.take(self._fate, Parked.GOES_ON)
            self._ready += going_on
            if going_on and self.is_everything_paused:
                self._look_due_s = context.clock.monotonic()  # they expire, and others may, too
            returning = self._lot.take(self._fate, Parked.RETURNS)
            context.stopper.changed.notify_all()
        for one in returning:
            self._return(one, 0)
        self._report()

    def _refresh(self) -> None:
        """While the ledger does not answer, what is known stays; the next turn tries again."""
        try:
            self._context.pauses.refresh()
        except OutageError as error:
            if not self._is_unknown:
                self._context.emit(facts.PausedRoutesUnknown(code=error.code, reason=error.message))
            self._is_unknown = True
        else:
            self._is_unknown = False

    def hand_back_all(self) -> None:
        """The agent stops: show all of them at once, unspent."""
        parked: list[Message] = []
        with self._context.stopper.changed:
            while one := self._ready.popleft() if self._ready else self._lot.pop():
                parked.append(one.message)
        hand_back_all(self._context, parked)

    def _fate(self, parked: ParkedMessage) -> Parked:
        context = self._context
        return fate_of(
            parked,
            context.queue.facts,
            is_waiting=self._is_waiting(parked.wait),
            now=context.clock.now(),
            hidden_s=self._hidden_s(parked.message),
            total_s=context.settings.visibility_total_s,
        )

    def _is_waiting(self, wait: RouteWait) -> bool:
        if wait.is_full:
            return self._context.full.left_s(wait.route) > 0
        return self._context.pauses.wait_of(wait) is not None

    def _hidden_s(self, message: Message) -> float:
        newest = self._context.keeper.newest(message.message_id) or message
        return self._context.clock.monotonic() - newest.received_monotonic_s

    def _return(self, parked: ParkedMessage, delay_s: int | None = None) -> None:
        """To SQS, which costs a receive when it comes back."""
        context, message = self._context, parked.message
        with context.stopper.changed:
            context.full.forget(message.message_id)
        if delay_s is None:
            left_s = context.settings.visibility_total_s - self._hidden_s(message) - MARGIN_S
            wait, now = context.pauses.wait_of(parked.wait), context.clock.now()
            until = now if parked.wait.is_full else None
            delay_s = returned_for_s(
                message,
                until if wait is None else wait.until,
                context.queue.facts,
                now=now,
                left_s=left_s,
                chance=context.chance(),
            )
        newest = context.keeper.newest_released(message)
        show_after(context, newest, delay_s)
        context.totals.gave_up += context.settings.drain
        context.emit(
            facts.ParkedMessageReturned(
                message_id=message.message_id, route=parked.wait.route, hidden_s=delay_s
            )
        )

    def _report(self) -> None:
        queue = "" if self._context.is_alone else self._context.name
        now = tuple(one.route for one in self._context.pauses.in_force())
        found = (now, self.is_everything_paused)
        if found != self._reported:
            self._reported = found
            self._context.emit(
                facts.PausedRoutesChanged(routes=found[0], is_everything=found[1], queue=queue)
            )
        with self._context.stopper.changed:
            waits = self._lot.waits
        holds = self._context.pauses.holds(waits)
        if holds != self._holds:
            self._holds = holds
            self._context.emit(facts.BudgetHoldsChanged(holds=holds, queue=queue))
