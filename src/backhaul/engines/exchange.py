"""The agent's end of a worker's pipe: the only reader, and what each message is delivered to.

Whichever call waits, it reads everything and puts each message into the inbox of the call or
staging call that it belongs to. Nothing is discarded but what belongs to one that is over. The
bound of an inbox is the number of objects that a staging call may have open
(`session.WINDOW_OBJECTS`).
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from backhaul.core.errors import TransientError
from backhaul.engines.pipe import Pipe
from backhaul.engines.wire import (
    Activity,
    Answer,
    Downward,
    Staged,
    StageMore,
    StageOver,
    Tick,
    Upward,
)


class Kind(Enum):
    """What a conversation is about."""

    CALL = "call"
    STAGING = "staging call"


@dataclass(kw_only=True, eq=False)
class Conversation:
    """One call or one staging call, from its first message to its last.

    Attributes:
        inbox: What has arrived for it and was not taken yet, in order.
        size_bytes: Of objects on their way into staging by it so far.
        received_bytes: Of bodies from S3 by it so far; `repeated_bytes` of those came once more.
        read_back_bytes: Read back from the target by it so far.
        active_s: When it last showed activity; monotonic clock, seconds.
        moved_s: When a staging call last moved a byte or finished an object, which a pause that
            it makes on purpose does not count as; of a call the same as `active_s`.
        is_over: Its `Answer` or `StageOver` has arrived; it may still be in the inbox.
    """

    number: int
    kind: Kind
    inbox: deque[Upward] = field(default_factory=deque)
    size_bytes: int = 0
    received_bytes: int = 0
    repeated_bytes: int = 0
    read_back_bytes: int = 0
    count: int = -1
    active_s: float = 0.0
    moved_s: float = 0.0
    is_over: bool = False

    def note(self, activity: Activity) -> None:
        """Take in how far it has come."""
        self.received_bytes = max(self.received_bytes, activity.received_bytes)
        self.repeated_bytes = max(self.repeated_bytes, activity.repeated_bytes)
        moved = max(self.size_bytes, activity.size_bytes)
        read_back = max(self.read_back_bytes, activity.read_back_bytes)
        if (moved, read_back) != (self.size_bytes, self.read_back_bytes):
            self.size_bytes, self.read_back_bytes = moved, read_back
            self.moved_s = time.monotonic()
        if activity.count != self.count:
            self.count = activity.count
            self.touch()

    def touch(self) -> None:
        """It is active now."""
        self.active_s = time.monotonic()
        if self.kind is Kind.CALL:
            self.moved_s = self.active_s

    def restart(self) -> None:
        """What went before is none of the worker's time."""
        self.active_s = self.moved_s = time.monotonic()


class Exchange:
    """Numbers, sends, reads and delivers; used by one thread at a time.

    Args:
        send_timeout_s: A worker that accepts no byte for this long does not read any more.
    """

    def __init__(self, pipe: Pipe, send_timeout_s: float) -> None:
        self._pipe = pipe
        self._send_timeout_s = send_timeout_s
        self._last_number = 0
        self._open: dict[int, Conversation] = {}

    @property
    def open(self) -> tuple[Conversation, ...]:
        """Conversations whose last message has not arrived."""
        return tuple(self._open.values())

    def begin(self, kind: Kind) -> Conversation:
        """A conversation with a number of its own."""
        self._last_number += 1
        conversation = Conversation(number=self._last_number, kind=kind)
        conversation.restart()
        self._open[conversation.number] = conversation
        return conversation

    def send(self, message: Downward | Any) -> None:
        """Send one message; reads and delivers whenever the worker sends at the same time.

        Raises:
            OSError: The worker died, or does not read any more.
            EOFError: It closed its end meanwhile.
        """
        self._pipe.send(message, timeout_s=self._send_timeout_s, while_full=lambda: self.read(0.0))

    def close(self) -> None:
        """Close the pipe: the worker ends itself."""
        self._pipe.close()

    def has_something(self, conversation: Conversation) -> bool:
        """Whether a message has arrived, for it or for another one."""
        return bool(conversation.inbox) or self._pipe.is_readable()

    def read(self, wait_s: float) -> None:
        """Deliver what arrives within `wait_s` seconds; returns at the first bytes.

        Raises:
            OSError, EOFError: The worker is gone.
            TransientError: E_BUG, a message that belongs to nothing.
        """
        for message in self._pipe.receive_all(wait_s):
            self._deliver(message)

    def _deliver(self, message: Upward) -> None:
        if isinstance(message, Tick):
            for activity in message.activities:
                if (conversation := self._open.get(activity.number)) is not None:
                    conversation.note(activity)
            return
        if not 0 < message.number <= self._last_number:
            raise _not_expected(message, "was never begun")
        conversation = self._open.get(message.number)
        if conversation is None:
            return  # late: what it belongs to is over
        if isinstance(message, Answer) != (conversation.kind is Kind.CALL):
            raise _not_expected(message, f"is a {conversation.kind.value}")
        if isinstance(message, Staged):
            conversation.note(message.activity)
            conversation.moved_s = time.monotonic()
        if isinstance(message, StageOver) and message.activity is not None:
            conversation.note(message.activity)
        conversation.inbox.append(message)
        if isinstance(message, (Answer, StageOver)):
            conversation.is_over = True
            del self._open[message.number]


def _not_expected(message: Answer | Staged | StageMore | StageOver, why: str) -> TransientError:
    return TransientError(
        "E_BUG",
        f"the worker sent {type(message).__name__} for number {message.number}, which {why}",
        hint="this is a defect in Backhaul; the attempt is repeated by another worker",
    )
