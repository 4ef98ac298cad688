"""SQS in memory: receipt handle generations, visibility, redelivery, redrive, the 12 h total.

With `is_fifo` it keeps the order of message groups as SQS does: while a message of a group is in
flight, a receive brings none of that group; one receive may bring several of it, oldest first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from backhaul.core.agent_report import QueueDepth
from backhaul.core.errors import BackhaulError, OutageError, VisibilityLost
from backhaul.core.ports import FIFO, Clock, DeadLetterReason, Message, QueueFacts
from backhaul.testing.fakes.clock import FakeClock
from backhaul.testing.fakes.faults import Faults

TOTAL_S = 12 * 3600
DEDUPLICATION_S = 300


@dataclass(frozen=True, kw_only=True)
class DeadLetter:
    """One message on the dead-letter queue; without a reason where SQS moved it by itself."""

    message_id: str
    body: str
    reason: DeadLetterReason | None
    group: str | None = None
    sent_s: float = 0.0


@dataclass(kw_only=True)
class _Stored:
    message_id: str
    body: str
    sender_id: str
    sent_at: datetime
    attributes: dict[str, str]
    visible_at_s: float
    received_s: float = 0.0
    receive_count: int = 0
    handle: str = ""
    group: str | None = None


class FakeQueue:
    """Implements `ports.Queue`. A poll that finds nothing lets a `FakeClock` advance by its wait.

    Attributes:
        dead_letters: What was sent to the dead-letter queue, oldest first.
        deleted: Message ids, in the order of their deletion.
        expired: Message ids that outlived the retention.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        faults: Faults | None = None,
        name: str = "work",
        has_dead_letters: bool = True,
        max_receive_count: int | None = 1000,
        retention_s: int | None = 4 * 86_400,
        is_fifo: bool = False,
        ids: str = "m",
    ) -> None:
        dead = f"{name}-dead" if has_dead_letters else None
        if is_fifo:
            name, dead = f"{name}{FIFO}", f"{dead}{FIFO}" if dead else None
        self.facts = QueueFacts(
            url=f"https://sqs.fake/{name}",
            name=name,
            arn=f"arn:aws:sqs:us-east-1:000000000000:{name}",
            dead_letter_url=f"https://sqs.fake/{dead}" if dead else None,
            dead_letter_name=dead,
            max_receive_count=max_receive_count if has_dead_letters else None,
            retention_s=retention_s,
        )
        self.dead_letters: list[DeadLetter] = []
        self.deleted: list[str] = []
        self.expired: list[str] = []
        self._clock = clock
        self._faults = faults or Faults()
        self._stored: dict[str, _Stored] = {}
        self._gone: dict[str, _Stored] = {}  # deleted
        self._sent = 0
        self._ids = ids  # the beginning of its messages' ids
        self._changed = threading.Condition()

    # ------------------------------------------------------------ as the sender sees it

    def send(
        self,
        body: str,
        attributes: Mapping[str, str] | None = None,
        *,
        sender_id: str = "AIDAFAKE",
        group: str | None = None,
    ) -> str:
        """Leave a message; its id."""
        with self._changed:
            self._sent += 1
            message_id = f"{self._ids}-{self._sent}"
            self._stored[message_id] = _Stored(
                message_id=message_id,
                body=body,
                sender_id=sender_id,
                sent_at=self._clock.now(),
                attributes=dict(attributes or {}),
                visible_at_s=self._clock.monotonic(),
                group=(group or "backhaul") if self.facts.is_fifo else None,
            )
            self._changed.notify_all()
        return message_id

    def redeliver(self, message_id: str) -> None:
        """Show the message although it is in flight, as SQS may at any time."""
        with self._changed:
            self._stored[message_id].visible_at_s = self._clock.monotonic()
            self._changed.notify_all()

    def reappear(self, message_id: str) -> None:
        """Show a message that was deleted, as SQS may on rare occasions."""
        with self._changed:
            one = self._gone.get(message_id)
            if one is not None:
                one.visible_at_s = self._clock.monotonic()
                self._stored[message_id] = one
                self._changed.notify_all()

    @property
    def remaining(self) -> list[str]:
        """Ids of messages not deleted yet, in flight or not."""
        with self._changed:
            return list(self._stored)

    def invisible_s(self, message_id: str) -> float:
        """How long the message stays invisible from now; 0 when it can be received."""
        with self._changed:
            left = self._stored[message_id].visible_at_s - self._clock.monotonic()
        return max(0.0, left)

    # ------------------------------------------------------------ core.ports.Queue

    def depth(self) -> QueueDepth:
        """See the port."""
        with self._faults.call("queue.depth", _outage), self._changed:
            now_s = self._clock.monotonic()
            visible = sum(one.visible_at_s <= now_s for one in self._stored.values())
            return QueueDepth(
                visible=visible,
                in_flight=len(self._stored) - visible,
                delayed=0,
                retention_s=self.facts.retention_s,
                at=self._clock.now(),
                dead_letters=len(self.dead_letters) if self.facts.dead_letter_url else None,
            )

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_timeout_s: int
    ) -> list[Message]:
        """See the port."""
        received_s = self._clock.monotonic()
        with self._faults.call("queue.receive", _outage):
            found = self._take(max_messages, visibility_timeout_s, received_s)
            if not found and wait_s:
                self._poll(wait_s)
                found = self._take(max_messages, visibility_timeout_s, received_s)
            return found

    def _poll(self, wait_s: int) -> None:
        with self._changed:
            wait = self._wait_s(wait_s)
            if not isinstance(self._clock, FakeClock):
                self._changed.wait(max(0.0, wait))
                return
            # Give a thread that is about to send or to stop a moment of real time.
            if self._changed.wait(0.001):
                return
        self._clock.advance(max(0.0, wait))

    def _wait_s(self, most_s: float) -> float:
        """Until the next message may be taken, if that is sooner."""
        now_s = self._clock.monotonic()
        due_s: dict[str, float] = {}
        for one in self._stored.values():
            of = one.group or one.message_id
            due_s[of] = max(one.visible_at_s - now_s, due_s.get(of, 0.0))
        return max(0.0, min([most_s, *due_s.values()]))

    def _take(self, most: int, visibility_timeout_s: int, received_s: float) -> list[Message]:
        with self._changed:
            now_s = self._clock.monotonic()
            self._expire()
            in_flight = {
                one.group
                for one in self._stored.values()
                if one.group is not None and one.visible_at_s > now_s
            }
            visible = [
                one
                for one in self._stored.values()
                if one.visible_at_s <= now_s and one.group not in in_flight
            ]
            taken: list[Message] = []
            for one in visible:
                if len(taken) == min(most, 10):
                    break
                limit = self.facts.max_receive_count
                if limit is not None and one.receive_count >= limit:
                    self._redrive(one)
                    continue
                one.receive_count += 1
                one.received_s = now_s
                one.visible_at_s = now_s + visibility_timeout_s
                one.handle = f"{one.message_id}/{one.receive_count}"
                taken.append(self._message(one, received_s))
            return taken

    def _expire(self) -> None:
        """Retention ends a message, in flight or not, without a dead letter."""
        limit_s = self.facts.retention_s
        now = self._clock.now()
        old = [
            one.message_id
            for one in self._stored.values()
            if limit_s is not None and (now - one.sent_at).total_seconds() >= limit_s
        ]
        for message_id in old:
            del self._stored[message_id]
            self.expired.append(message_id)

    def _redrive(self, one: _Stored) -> None:
        """SQS moves the message by itself, without a reason."""
        del self._stored[one.message_id]
        self.dead_letters.append(
            DeadLetter(message_id=one.message_id, body=one.body, reason=None, group=one.group)
        )

    def _message(self, one: _Stored, received_s: float) -> Message:
        return Message(
            queue=self.facts.arn,
            message_id=one.message_id,
            receipt_handle=one.handle,
            body=one.body,
            sender_id=one.sender_id,
            receive_count=one.receive_count,
            sent_at=one.sent_at,
            received_monotonic_s=received_s,
            attributes=dict(one.attributes),
            group=one.group,
        )

    def extend(self, message: Message, visibility_timeout_s: int) -> None:
        """See the port."""
        with self._faults.call("queue.extend", _outage), self._changed:
            now_s = self._clock.monotonic()
            one = self._stored.get(message.message_id)
            if one is None or one.handle != message.receipt_handle:
                raise VisibilityLost(
                    "E_VISIBILITY_LOST", f"message {message.message_id}: handle is not accepted"
                )
            if now_s + visibility_timeout_s > one.received_s + TOTAL_S:
                raise VisibilityLost(
                    "E_VISIBILITY_LOST", f"message {message.message_id}: 12 h total exceeded"
                )
            one.visible_at_s = now_s + visibility_timeout_s
            self._changed.notify_all()

    def extend_batch(
        self, changes: Sequence[tuple[Message, int]]
    ) -> Sequence[VisibilityLost | OutageError | None]:
        """See the port; a planned fault strikes one of them."""
        return [_error_of(partial(self.extend, message, seconds)) for message, seconds in changes]

    def delete(self, message: Message) -> None:
        """See the port; an older handle is answered with success and deletes nothing."""
        with self._faults.call("queue.delete", _outage), self._changed:
            one = self._stored.get(message.message_id)
            if one is not None and one.handle == message.receipt_handle:
                self._gone[message.message_id] = self._stored.pop(message.message_id)
                self.deleted.append(message.message_id)

    def delete_batch(self, messages: Sequence[Message]) -> Sequence[OutageError | None]:
        """See the port; a planned fault strikes one of them."""
        errors = [_error_of(partial(self.delete, one)) for one in messages]
        return [None if isinstance(one, VisibilityLost) else one for one in errors]

    def send_dead_letter(self, message: Message, reason: DeadLetterReason) -> bool:
        """See the port."""
        if self.facts.dead_letter_url is None:
            return False
        with self._faults.call("queue.send_dead_letter", _outage), self._changed:
            dead = DeadLetter(
                message_id=message.message_id,
                body=message.body,
                reason=reason,
                group=message.group,
                sent_s=self._clock.monotonic(),
            )
            if not self._is_repeated(dead):
                self.dead_letters.append(dead)
            return True

    def _is_repeated(self, dead: DeadLetter) -> bool:
        """A FIFO queue drops a second dead letter of the same message for five minutes."""
        return self.facts.is_fifo and any(
            (one.message_id, _transfer(one)) == (dead.message_id, _transfer(dead))
            and dead.sent_s - one.sent_s < DEDUPLICATION_S
            for one in self.dead_letters
        )


def _transfer(dead: DeadLetter) -> str:
    return dead.reason.transfer_id if dead.reason else ""


def _error_of(call: Callable[[], None]) -> VisibilityLost | OutageError | None:
    try:
        call()
    except (VisibilityLost, OutageError) as error:
        return error
    return None


def _outage(name: str) -> BackhaulError:
    return OutageError.of("sqs", "E_SQS_UNREACHABLE", f"{name} was not answered")
