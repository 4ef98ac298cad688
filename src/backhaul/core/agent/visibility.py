"""Keeps messages invisible while their transfers live: one thread, nothing else in it.

A copy that hangs, in Python or in native code, cannot stop this: copies run in other processes
and this thread only sleeps and calls SQS through a client of its own. Each message is extended at
a third of its visibility timeout, so two misses are survivable, and never beyond SQS's 12 h total.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass

from backhaul.core.agent.thread_watchdog import Heartbeat
from backhaul.core.errors import BackhaulError, VisibilityLost
from backhaul.core.facts import VisibilityWasLost
from backhaul.core.ports import Clock, Emit, Message, Queue
from backhaul.core.ports.queue import BATCH_MOST

SQS_TOTAL_S = 12 * 3600  # AWS SQS developer guide, "Visibility timeout": total from the receive
TOTAL_MARGIN_S = 60
RETRY_S = 5.0  # after an extension that SQS did not answer


@dataclass(kw_only=True)
class HiddenMessage:
    """One message whose visibility timeout is extended.

    Attributes:
        message: The newest delivery; its receipt handle is the one to use.
        timeout_s: By how much it is extended each time.
        is_lost: SQS refused the handle; the message may be delivered again.
    """

    message: Message
    due_s: float
    timeout_s: int
    is_lost: bool = False


def extension_s(*, now_s: float, received_s: float, visibility_timeout_s: int, total_s: int) -> int:
    """How far to extend now: the timeout, or what is left of the total; 0 when nothing is."""
    left = received_s + total_s - TOTAL_MARGIN_S - now_s
    return max(0, min(visibility_timeout_s, int(left)))


class VisibilityKeeper:
    """Extends the visibility timeout of every message given to it until the release.

    Args:
        total_s: SQS's cap on the sum of all timeouts of one receive; shortened in tests.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        clock: Clock,
        emit: Emit,
        visibility_timeout_s: int,
        total_s: int = SQS_TOTAL_S,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._emit = emit
        self._timeout_s = visibility_timeout_s
        self._total_s = total_s
        self._hidden: dict[str, HiddenMessage] = {}
        self._changed = threading.Condition()
        self._extending: list[HiddenMessage] = []  # SQS is being called for them
        self._wakes_s = float("-inf")  # the thread looks by itself then; -inf: it is awake
        self._is_closed = False
        self.heartbeat = Heartbeat()
        self.failure: BaseException | None = None  # a bug that ended the thread
        self._thread = threading.Thread(target=self._work, name="visibility", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Stop extending; messages come back when their timeouts end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout=RETRY_S)

    def keep(self, message: Message) -> bool:
        """Extend this delivery's timeout from now on.

        Returns:
            False when an earlier delivery of the message is kept already: the newer receipt handle
            replaces the older one, and the running transfer goes on.
        """
        due_s = message.received_monotonic_s + self._timeout_s / 3
        with self._changed:
            hidden = self._hidden.get(message.message_id)
            if hidden is not None:
                hidden.message, hidden.due_s, hidden.is_lost = message, due_s, False
            else:
                self._hidden[message.message_id] = HiddenMessage(
                    message=message, due_s=due_s, timeout_s=self._timeout_s
                )
            if due_s < self._wakes_s:
                self._changed.notify_all()
        return hidden is None

    def hide_for(self, message_id: str, timeout_s: int) -> None:
        """Extend the timeout of a kept message by this much, at once and each time from then on."""
        with self._changed:
            hidden = self._hidden.get(message_id)
            if hidden is not None and hidden.timeout_s != timeout_s:
                hidden.timeout_s, hidden.due_s = timeout_s, self._clock.monotonic()
                self._changed.notify_all()

    def newest(self, message_id: str) -> Message | None:
        """The newest delivery of a kept message."""
        with self._changed:
            hidden = self._hidden.get(message_id)
        return hidden.message if hidden else None

    def release(self, message_id: str) -> Message | None:
        """Stop extending; returns the newest delivery, whose handle settles the message.

        Waits for an extension under way: one that came after the caller's own change of visibility
        would hide the message again.
        """
        with self._changed:
            hidden = self._hidden.pop(message_id, None)
            while any(one is hidden for one in self._extending):
                self._changed.wait()
        return hidden.message if hidden else None

    def newest_released(self, message: Message) -> Message:
        """Stop extending it; its newest delivery, this one where it was not kept."""
        return self.release(message.message_id) or message

    def release_all(self) -> list[Message]:
        """Stop extending all of them; the newest delivery of each."""
        with self._changed:
            hidden, self._hidden = list(self._hidden.values()), {}
        return [one.message for one in hidden]

    def _work(self) -> None:
        try:
            self._extend_until_closed()
        except BaseException as error:  # noqa: BLE001 - the agent's main thread checks `failure`
            self.failure = error

    def _extend_until_closed(self) -> None:
        while True:
            with self._changed:
                if self._is_closed:
                    return
                live = [hidden for hidden in self._hidden.values() if not hidden.is_lost]
                if not live:
                    self._rest_until(float("inf"))
                    continue
                now_s = self._clock.monotonic()
                due = [hidden for hidden in live if hidden.due_s <= now_s]
                if not due:
                    self._rest_until(min(hidden.due_s for hidden in live))
                    continue
                self._extending = sorted(due, key=lambda hidden: hidden.due_s)[:BATCH_MOST]
                newest = [(hidden, hidden.message) for hidden in self._extending]
                self.heartbeat.beat()
            try:
                self._extend(newest)
            finally:
                with self._changed:
                    self._extending = []
                    self._changed.notify_all()

    def _rest_until(self, wakes_s: float) -> None:
        self.heartbeat.rest()
        self._wakes_s = wakes_s
        is_for_ever = wakes_s == float("inf")
        self._changed.wait(None if is_for_ever else wakes_s - self._clock.monotonic())
        self._wakes_s = float("-inf")

    def _extend(self, due: Sequence[tuple[HiddenMessage, Message]]) -> None:
        """Extend these by one call of SQS, those whose total is not used up."""
        now_s = self._clock.monotonic()
        wanted: list[tuple[HiddenMessage, Message, int]] = []
        for hidden, message in due:
            seconds = extension_s(
                now_s=now_s,
                received_s=message.received_monotonic_s,
                visibility_timeout_s=hidden.timeout_s,
                total_s=self._total_s,
            )
            if seconds == 0:
                lost = VisibilityLost("E_SQS_TWELVE_HOURS", "SQS's 12 h total is used up")
                self._lose(hidden, message, str(lost))
            else:
                wanted.append((hidden, message, seconds))
        errors = self._call([(message, seconds) for _, message, seconds in wanted])
        for (hidden, message, seconds), error in zip(wanted, errors, strict=True):
            if error is None:
                hidden.due_s = now_s + min(hidden.timeout_s, seconds) / 3
            elif isinstance(error, VisibilityLost):
                self._lose(hidden, message, str(error))
            else:
                # No answer: two more tries before the timeout ends, and a lapse is survivable.
                hidden.due_s = now_s + RETRY_S

    def _call(self, changes: Sequence[tuple[Message, int]]) -> Sequence[BackhaulError | None]:
        """Of each, why it is not extended."""
        if not changes:
            return []
        try:
            if len(changes) > 1:
                return self._queue.extend_batch(changes)
            self._queue.extend(*changes[0])
        except BackhaulError as error:
            return [error] * len(changes)
        return [None]

    def _lose(self, hidden: HiddenMessage, message: Message, reason: str) -> None:
        with self._changed:
            if hidden.message is not message:
                return  # delivered again meanwhile: the newer handle is good
            hidden.is_lost = True
            is_wanted = self._hidden.get(message.message_id) is hidden
        if is_wanted:
            self._emit(VisibilityWasLost(message_id=message.message_id, reason=reason))
