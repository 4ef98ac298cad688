"""SQS, as the core sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from backhaul.core.agent_report import QueueDepth
from backhaul.core.errors import OutageError, VisibilityLost

FIFO = ".fifo"
BATCH_MOST = 10  # messages that one call of SQS takes or gives


@dataclass(frozen=True, kw_only=True)
class Message:
    """One delivery of an SQS message.

    Attributes:
        receipt_handle: Belongs to this delivery; an older one may be refused.
        receive_count: SQS's ApproximateReceiveCount, from 1.
        received_monotonic_s: `Clock.monotonic()` just before the receive call that brought it:
            SQS counts the 12 h total from no earlier than that.
        attributes: The sender's message attributes (String and Number), name to value.
        group: The message group on a FIFO queue, whose messages come one after the other.
        aws_trace_header: The system attribute AWSTraceHeader, which X-Ray sets.
    """

    queue: str
    message_id: str
    receipt_handle: str
    body: str
    sender_id: str
    receive_count: int
    sent_at: datetime | None
    received_monotonic_s: float
    attributes: dict[str, str] = field(default_factory=dict)
    group: str | None = None
    aws_trace_header: str | None = None


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """The queue's attributes, read once at start.

    Attributes:
        name: Queue name; with the account and region in `arn`.
        dead_letter_url: None when the queue has no redrive policy.
        max_receive_count: After this many receives SQS itself moves the message; None: never.
    """

    url: str
    name: str
    arn: str
    dead_letter_url: str | None
    dead_letter_name: str | None
    max_receive_count: int | None
    retention_s: int | None = None
    dead_letter_retention_s: int | None = None

    @property
    def is_fifo(self) -> bool:
        """By its name: SQS requires this ending of FIFO queues, and of no other."""
        return self.name.endswith(FIFO)


class Queue(Protocol):
    """One SQS queue and its dead-letter queue."""

    @property
    def facts(self) -> QueueFacts:
        """Read once, when the queue was opened."""

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_timeout_s: int
    ) -> list[Message]:
        """Long poll once: up to 10 messages, `wait_s` 0 to 20. Empty list when none came.

        Raises:
            OutageError: SQS cannot be reached, throttles, or the credentials are refused.
        """

    def extend(self, message: Message, visibility_timeout_s: int) -> None:
        """Set the visibility timeout, counted from now; 0 shows the message; safe to repeat.

        Raises:
            VisibilityLost: the handle is no longer accepted, or the 12 h total is used up.
            OutageError: SQS cannot be reached.
        """

    def extend_batch(
        self, changes: Sequence[tuple[Message, int]]
    ) -> Sequence[VisibilityLost | OutageError | None]:
        """As `extend`, of up to `BATCH_MOST` different messages by one call.

        Returns:
            Of each, in the same order, the error that `extend` would have raised; None: extended.

        Raises:
            OutageError: SQS cannot be reached; nothing is known of any.
        """

    def depth(self) -> QueueDepth:
        """SQS's approximate counts, as of now.

        Raises:
            OutageError: SQS cannot be reached, throttles, or refuses.
        """

    def delete(self, message: Message) -> None:
        """Delete by receipt handle; safe to repeat; a handle SQS has forgotten is no error.

        Raises:
            OutageError: SQS cannot be reached.
        """

    def delete_batch(self, messages: Sequence[Message]) -> Sequence[OutageError | None]:
        """As `delete`, of up to `BATCH_MOST` different messages by one call.

        Returns:
            Of each, in the same order, the error that `delete` would have raised; None: deleted.

        Raises:
            OutageError: SQS cannot be reached; nothing is known of any.
        """

    def send_dead_letter(self, message: Message, reason: DeadLetterReason) -> bool:
        """Copy the message with its reason to the dead-letter queue.

        Returns:
            False when the queue has none; nothing was sent.
        """


@dataclass(frozen=True, kw_only=True)
class DeadLetterReason:
    """Why a message is dead; becomes message attributes named `backhaul.code` and so on.

    Attributes:
        redrive: Ticket with which a signed message may come back; empty for others.
    """

    code: str
    sentence: str
    hint: str
    attempts: int
    first_seen_at: datetime
    transfer_id: str
    host: str
    redrive: str = ""
