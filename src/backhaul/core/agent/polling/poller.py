"""Polls one queue, and gives its messages to slots.

Capacity first, then receive: a poll requests as many messages as there are slots for them, and more
only to find those of other senders, or of a route that keeps slots. Each message gets a slot
thread, and its visibility is kept from the moment of its receipt. What happens to it then is in
`core.agent.delivery`; how several queues share the slots in `shares`, the senders of one queue in
`senders`, and what is kept for routes in `kept`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backhaul.core import facts
from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.delivery import deliver
from backhaul.core.agent.pausing.parking import Parking
from backhaul.core.agent.polling.kept import KeptSlots, route_of
from backhaul.core.agent.polling.senders import Hand, HeldMessage
from backhaul.core.agent.polling.shares import Room, SlotShare, SlotShares
from backhaul.core.agent.returning import give_back, hand_back_all
from backhaul.core.agent.thread_watchdog import Heartbeat
from backhaul.core.backoff import hold_delay_s
from backhaul.core.errors import OutageError
from backhaul.core.ports import Message
from backhaul.core.text import excerpt

POLL_RETRY_CAP_S = 30.0
LINGER_S = 0.1
SHORT_POLL_PAUSE_S = 1.0  # between empty polls that do not wait by themselves
# Of a poll for which slots are kept from other queues. From 1 s on SQS asks all of its servers, and
# it answers as soon as one of them has a message.
PROMISED_WAIT_S = 1
DRAIN_TRIES_MIN = 5  # failed polls before a drain gives up, however short its patience
RECEIVED_MOST = 10  # by one call of SQS
LOOK_AGAIN_S = 5.0  # for other senders, where the last look found the queue empty
HELD_S = 5.0  # between two looks whether the ledger sees this process


class QueuePoller:
    """One queue of an agent.

    Args:
        submit: Runs `serve` with a message in a slot thread; the slot is taken already.

    Attributes:
        is_polling: Its thread polls, or may.
        failure: Why a drain gave this queue up.
    """

    def __init__(
        self,
        context: AgentContext,
        shares: SlotShares,
        share: SlotShare,
        kept: KeptSlots,
        submit: Callable[[QueuePoller, Message, bool], None],
    ) -> None:
        self.context = context
        self.keeper = context.keeper
        self.parking = Parking(context)
        self.heartbeat = Heartbeat()
        self.is_polling = False
        self.failure: OutageError | None = None
        self._settings = context.settings
        self._stopper = context.stopper
        self._shares = shares
        self._share = share
        self._submit = submit
        self._is_fifo = context.queue.facts.is_fifo
        self._hand = Hand(self._settings.slots, kept, is_fifo=self._is_fifo)
        self._look_again_s = 0.0
        self._has_backlog = False
        self._is_turn_of_parked = False
        self._held_since_s: float | None = None

    def is_resting(self) -> bool:
        """It need not poll now: no slot is free for its messages, or it waits after a failure."""
        return self.heartbeat.is_resting

    # ------------------------------------------------------------ the thread of polls

    def poll(self) -> None:
        """Poll until stopped or drained.

        Raises:
            BackhaulError: The ledger or the queue is unusable for good.
        """
        try:
            self._poll_until_stopped()
        finally:
            hand_back_all(self.context, self._hand.take_back())

    def _poll_until_stopped(self) -> None:
        failures = 0
        while room := self._wait_for_room():
            look = self._look(room)
            most = self._most(room, look)
            is_started = room.slots > 0 and self._start_one()
            if is_started or most == 0 or self._is_everything_paused():
                self._end_promise()
                continue
            if (outage := self.context.outage_of_ledger()) is not None:
                self._end_promise()
                if self._is_held_for_good(outage):
                    return
                continue
            self._go_on()
            promised = self._share.promised
            is_look = look > 0 and not room.slots  # what frees a slot meanwhile is not to wait
            wait_s = 0 if is_look else self._wait_s(is_promised=promised > 0)
            self.heartbeat.beat()
            began_s = self.context.clock.monotonic()
            self.context.poll.ends_s = began_s + wait_s
            try:
                messages = self.context.queue.receive(
                    max_messages=most,
                    wait_s=wait_s,
                    visibility_timeout_s=self._settings.visibility_timeout_s,
                )
            except OutageError as error:
                failures += 1
                self._has_backlog = False
                self._end_promise()
                if self._failed(error, failures):
                    return
                continue
            # What is handed back from now on need not hide from this poll.
            self.context.poll.ends_s = began_s
            failures = 0
            self.heartbeat.beat()
            self._received(messages, is_full=len(messages) == most)
            if is_look and not self._has_backlog:
                self._look_again_s = self.context.clock.monotonic() + LOOK_AGAIN_S
            elif not messages and not self._has_parked:
                if wait_s == 0:
                    self.heartbeat.rest()
                    self._stopper.pause(SHORT_POLL_PAUSE_S)
                if self._settings.drain and not promised and self._is_drained(began_s):
                    self.context.totals.gave_up += len(self.parking)
                    return

    def _most(self, room: Room, look: int) -> int:
        """How many messages to request; 0 where those in hand have to be started first."""
        most = min((self._share.promised or room.most) + look, self._received_most)
        # What waits in hand may not have the free slots, or there are none.
        return min(most, max(look, self._hand.left)) if self._hand else most

    def _received(self, messages: Sequence[Message], *, is_full: bool) -> None:
        """Of a poll; full: it brought all that it requested."""
        self._has_backlog = is_full
        self.parking.received(messages)
        self.context.emit(facts.QueuePolled(queue=self.context.name, messages=len(messages)))
        for message in messages:
            self._accept(message)
        while self._start_waiting():
            pass
        self._end_promise()

    @property
    def _received_most(self) -> int:
        # One at a time keeps the order of a FIFO queue: SQS gives no second message of a group
        # while its first is in flight, but one answer may bring several.
        return 1 if self._is_fifo else RECEIVED_MOST

    def _wait_s(self, *, is_promised: bool) -> int:
        if self._has_parked:
            return 0
        longest = self._settings.poll_wait_s
        return min(longest, PROMISED_WAIT_S) if is_promised or self._hand else longest

    @property
    def _has_parked(self) -> bool:
        """A message that was parked may go on, and have a slot that is free."""
        with self._stopper.changed:
            route = self.parking.next_route
            return route is not None and self._hand.admits(route)

    def _failed(self, error: OutageError, failures: int) -> bool:
        """Back off; True when a stop ended the pause, or a drain gives up in the end."""
        delay_s = min(POLL_RETRY_CAP_S, hold_delay_s(failures, self.context.chance()))
        self.context.emit(
            facts.PollFailed(
                queue=self.context.name,
                code=error.code,
                reason=error.message,
                hint=error.hint,
                retry_in_s=delay_s,
            )
        )
        self.heartbeat.rest()
        if self._stopper.pause(delay_s):
            return True
        is_too_long = failures * POLL_RETRY_CAP_S > self._settings.drain_patience_s
        if self._settings.drain and is_too_long and failures >= DRAIN_TRIES_MIN:
            self.failure = error
            return True
        return False

    def _is_held_for_good(self, outage: OutageError) -> bool:
        """Wait, with nothing received; True when a stop ended the wait, or a drain gives up."""
        context, now_s = self.context, self.context.clock.monotonic()
        if self._held_since_s is None:
            self._held_since_s = now_s
            context.emit(
                facts.ReceivingHeld(
                    queue=context.name,
                    code=outage.code,
                    reason=outage.message,
                    hint=outage.hint,
                )
            )
        if self._settings.drain and now_s - self._held_since_s > self._settings.drain_patience_s:
            self.failure = outage
            return True
        self.heartbeat.rest()
        return self._stopper.pause(HELD_S)

    def _go_on(self) -> None:
        if self._held_since_s is not None:
            seconds = self.context.clock.monotonic() - self._held_since_s
            self._held_since_s = None
            self.context.emit(facts.ReceivingResumed(queue=self.context.name, seconds=seconds))

    def _wait_for_room(self) -> Room | None:
        """What may be requested, at least one message; None after a stop request.

        With a backlog it lingers a moment for half of the slots: one call for several messages
        instead of one each. A queue that gave less than requested is polled at once.
        """
        linger_until_s: float | None = None
        shares, changed = self._shares, self._stopper.changed
        enough = shares.slots / 2 / len(shares.shares)
        with changed:
            while not self._stopper.is_requested:
                room = self._room()
                has_ready = self._has_parked or self._hand.may_start
                if room.most > 0 and not has_ready and self._is_everything_paused():
                    self.heartbeat.rest()
                    changed.wait()
                elif self._is_useful(room, has_ready=has_ready):
                    if not self._has_backlog or not 0 < room.slots < enough or self._hand:
                        return self._promise(room)
                    now_s = self.context.clock.monotonic()
                    linger_until_s = linger_until_s or now_s + LINGER_S
                    if now_s >= linger_until_s:
                        return self._promise(room)
                    changed.wait(timeout=linger_until_s - now_s)
                else:
                    self.heartbeat.rest()
                    changed.wait()
        return None

    def _is_useful(self, room: Room, *, has_ready: bool) -> bool:
        """Something may be started now, or received."""
        if room.slots > 0 and has_ready:
            return True
        return (room.most > 0 and (not self._hand or self._hand.left > 0)) or self._look(room) > 0

    def _promise(self, room: Room) -> Room:
        """Keep the slots for what is known to be there; what is only looked for gets none."""
        if self._shares.is_shared:
            if self._share.wants:
                self._share.promised = min(room.slots, self._received_most)
            self._share.wants = 0
            self._stopper.changed.notify_all()
        return room

    def _end_promise(self) -> None:
        """What was kept and not used, others may have."""
        if self._shares.is_shared:
            with self._stopper.changed:
                self._share.promised = 0
                self._stopper.changed.notify_all()

    def _room(self) -> Room:
        """What this queue may take and request, now that it says what it could use."""
        share = self._share
        if self._shares.is_shared:
            is_wanted = self._has_backlog and not self._is_everything_paused()
            share.wants = len(self._hand) + self._has_parked
            share.wants += self._received_most * is_wanted
        return self._shares.room(share)

    def _look(self, room: Room) -> int:
        """How many messages to request beyond what there are slots for."""
        now_s = self.context.clock.monotonic()
        is_too_soon = not room.slots and not self._has_backlog and now_s < self._look_again_s
        if is_too_soon or self._is_fifo or self._is_everything_paused():
            return 0
        with self._stopper.changed:
            look = self._hand.look_for(now_s)
            # What is in hand may not have those slots: look for who may.
            return max(look, self._hand.left) if self._hand and room.slots > 0 else look

    def _is_everything_paused(self) -> bool:
        """There is nothing to receive for; a drain looks nevertheless what the queue has."""
        return not self._settings.drain and self.parking.is_nothing_wanted

    def _is_drained(self, began_s: float) -> bool:
        """Nothing in flight, and every message that this run sent back could have been received.

        Args:
            began_s: When the poll began that brought nothing. What returned only while it ran, or
                since, the next one brings.
        """
        with self._stopper.changed:
            is_due = any(due_s >= began_s for due_s in self.context.due_back.values())
            return self._share.busy == 0 and not self._hand and not is_due

    # ------------------------------------------------------------ into the slots

    def _start_one(self) -> bool:
        """Start a message that waited for a slot, or one whose route is resumed."""
        with self._stopper.changed:
            held = self._hand.next()
            self._share.waiting = len(self._hand)
        if held is None:
            return self._start_parked()
        with self._stopper.changed:
            self._take(held)
        self._submit(self, held.message, True)  # noqa: FBT003 - by position alone
        return True

    def _start_parked(self) -> bool:
        # Every second time none: others come, too.
        self._is_turn_of_parked = not self._is_turn_of_parked
        if not self._is_turn_of_parked or not self._has_parked:
            return False
        route, message = self.parking.next_route, self.parking.next_ready()
        if message is None or route is None:
            return False
        with self._stopper.changed:
            self._shares.take(self._share)
            self._hand.take_parked(message, route)
        self._submit(self, message, False)  # noqa: FBT003 - by position alone
        return True

    def _take(self, held: HeldMessage) -> None:
        self._shares.take(self._share)
        self._hand.take(held)

    def _accept(self, message: Message) -> None:
        route = route_of(self.context, message)
        with self._stopper.changed:
            self.context.due_back.pop(message.message_id, None)
            is_late = self._stopper.is_requested
            is_ours = not is_late and self.keeper.keep(message)
            if is_ours:
                self._hand.add(message, self.context.clock.monotonic(), route)
                self._share.waiting = len(self._hand)
        if is_late:
            give_back(self.context, message)
        elif not is_ours:
            self.context.emit(
                facts.MessageRecognised(
                    message_id=message.message_id,
                    transfer_id="",
                    state="running",
                    is_running=True,
                )
            )

    def _start_waiting(self) -> bool:
        """Start a message of those just received; False: there is none, or no slot for it."""
        with self._stopper.changed:
            shares, share = self._shares, self._share
            has_slot = share.promised > 0 or shares.room(share).slots > 0
            is_over = self._stopper.is_requested or not has_slot
            held = None if is_over else self._hand.next()
            share.waiting = len(self._hand)
            if held is None:
                return False
            self._take(held)
        self._submit(self, held.message, True)  # noqa: FBT003 - by position alone
        return True

    def serve(self, message: Message, is_new: bool) -> None:  # noqa: FBT001 - by position alone
        """One message from receipt to its end, in a slot thread."""
        context = self.context
        if is_new:
            context.emit(
                facts.MessageReceived(
                    message_id=message.message_id,
                    receive_count=message.receive_count,
                    body_excerpt=excerpt(message.body),
                    sent_at=message.sent_at,
                    queue=context.name,
                )
            )
        wait, message_id = None, message.message_id
        began_s = context.clock.monotonic()
        try:
            wait = deliver(context, message)
        except BaseException:
            self.keeper.release(message_id)  # it comes back when its timeout ends
            raise
        finally:
            is_parked = wait is not None
            context.emit(facts.DeliveryEnded(message_id=message_id, is_parked=is_parked))
        if wait is not None:
            self.parking.park(message, wait)
            return
        with self._stopper.changed:
            self._hand.note_time(context.clock.monotonic() - began_s)

    def leave_slot(self, message: Message) -> None:
        """The slot of one of its messages is free again."""
        with self._stopper.changed:
            self._share.busy -= 1
            self._hand.leave(message)
            self._stopper.changed.notify_all()
