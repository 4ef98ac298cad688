"""Parks messages of paused routes, and lets them go when their route is resumed.

A parked message is hidden and has no slot: other routes of the queue go on, and it spends neither
an attempt nor a receive. What may be kept, and for how long, is decided in `lot`.
"""

from __future__ import annotations

from collections import deque

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
from backhaul.core.agent.returning import hand_back, show_after
from backhaul.core.errors import OutageError
from backhaul.core.ports import Message
from backhaul.core.requests.policy import serves_queue

PAUSES_EVERY_S = 2.0
MARGIN_S = 60  # before SQS's total ends


class Parking:
    """The parked messages of one agent. `turn` and `hand_back_all` are called by one thread."""

    def __init__(self, context: AgentContext) -> None:
        self._context = context
        self._lot = ParkingLot()
        self._ready: deque[ParkedMessage] = deque()
        self._is_unknown = False  # the ledger did not answer the last time
        self._reported: tuple[tuple[str, ...], bool] = ((), False)

    def __len__(self) -> int:
        with self._context.stopper.changed:
            return len(self._lot) + len(self._ready)

    @property
    def has_ready(self) -> bool:
        """A message may go on; it needs a slot."""
        return bool(self._ready)

    @property
    def is_everything_paused(self) -> bool:
        """Every route that this queue may serve; then there is nothing to receive for."""
        context = self._context
        arn = context.queue.facts.arn
        names = {one.name for one in context.policy().routes if serves_queue(one, arn)}
        return context.pauses.cover(names)

    def park(self, message: Message, route: str) -> None:
        """Keep the message hidden, whose visibility is kept already, until its route is resumed."""
        context, too_much = self._context, None
        with context.stopper.changed:
            is_stopping = context.stopper.is_requested
            if not is_stopping:
                too_much = self._lot.add(ParkedMessage(message=message, route=route))
        if is_stopping:
            hand_back(context, message)
            return
        if too_much is None or too_much.message is not message:
            context.keeper.hide_for(message.message_id, PARKED_TIMEOUT_S)
        if too_much is not None:
            self._return(too_much)

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
                message_id=message.message_id, route=parked.route, sent_at=message.sent_at
            )
        )
        return message

    def turn(self) -> None:
        """Read which routes are paused, and let go what need not wait."""
        context = self._context
        self._refresh()
        with context.stopper.changed:
            self._ready += self._lot.take(self._fate, Parked.GOES_ON)
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
        while True:
            with self._context.stopper.changed:
                one = self._ready.popleft() if self._ready else self._lot.pop()
            if one is None:
                return
            hand_back(self._context, one.message)

    def _fate(self, parked: ParkedMessage) -> Parked:
        context = self._context
        return fate_of(
            parked,
            context.pauses.in_force(),
            context.queue.facts,
            now=context.clock.now(),
            hidden_s=self._hidden_s(parked.message),
            total_s=context.settings.visibility_total_s,
        )

    def _hidden_s(self, message: Message) -> float:
        newest = self._context.keeper.newest(message.message_id) or message
        return self._context.clock.monotonic() - newest.received_monotonic_s

    def _return(self, parked: ParkedMessage, delay_s: int | None = None) -> None:
        """To SQS, which costs a receive when it comes back."""
        context, message = self._context, parked.message
        if delay_s is None:
            left_s = context.settings.visibility_total_s - self._hidden_s(message) - MARGIN_S
            pauses = context.pauses.in_force()
            delay_s = returned_for_s(
                message,
                next((one for one in pauses if one.route == parked.route), None),
                context.queue.facts,
                now=context.clock.now(),
                left_s=left_s,
                chance=context.chance(),
            )
        newest = context.keeper.release(message.message_id) or message
        show_after(context, newest, delay_s)
        context.totals.gave_up += context.settings.drain
        context.emit(
            facts.ParkedMessageReturned(
                message_id=message.message_id, route=parked.route, hidden_s=delay_s
            )
        )

    def _report(self) -> None:
        now = tuple(one.route for one in self._context.pauses.in_force())
        found = (now, self.is_everything_paused)
        if found != self._reported:
            self._reported = found
            self._context.emit(facts.PausedRoutesChanged(routes=found[0], is_everything=found[1]))
