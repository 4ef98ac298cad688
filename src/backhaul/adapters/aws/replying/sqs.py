"""Replies to an SQS queue: the body is the reply's JSON, which others read without unwrapping."""

from __future__ import annotations

from collections.abc import Sequence

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.dead_letter import sendable
from backhaul.adapters.aws.sqs import SqsQueue
from backhaul.core.errors import BackhaulError, BadMessage, OutageError, PermanentError
from backhaul.core.ports import FIFO, Clock
from backhaul.core.replies.reply import Reply

_ATTRIBUTE_MOST = 256  # characters


def reply_attributes(reply: Reply) -> dict[str, str]:
    """By which receivers choose without reading the body; none is empty."""
    found = {
        "event": reply.event.value,
        "route": reply.route,
        "key": reply.key,
        "code": reply.code or "",
    }
    return {name: sendable(text)[:_ATTRIBUTE_MOST] for name, text in found.items() if text}


class SqsReplyTarget:
    """Implements `core.ports.replies.ReplyTarget`; the queue is looked up at the first reply.

    On a FIFO queue the replies of one transfer stay in order, and SQS itself drops one that comes
    a second time within five minutes.

    Args:
        queue: Its URL or ARN.
    """

    def __init__(self, name: str, queue: str, region: str, aws: AwsSession, clock: Clock) -> None:
        self._name = name
        self._queue_name = queue
        self._region = region
        self._aws = aws
        self._clock = clock
        self._queue: SqsQueue | None = None

    def deliver(self, reply: Reply) -> None:
        """See the port.

        Raises:
            PermanentError: E_REPLY_REFUSED: SQS does not take this body.
            OutageError: Whatever else it answers may pass: E_QUEUE_NOT_FOUND, E_AWS_DENIED,
                E_SQS_…, E_AWS_….
        """
        queue = self._opened()
        try:
            queue.send(
                reply.body(),
                reply_attributes(reply),
                group=reply.transfer_id,
                deduplication=reply.key,
            )
        except BadMessage as error:
            raise self._refused(error) from error

    def deliver_batch(self, replies: Sequence[Reply]) -> frozenset[str]:
        """See the port. Not of a FIFO queue, where one that fails would lose its place.

        Raises:
            PermanentError: E_REPLY_REFUSED: SQS does not take these bodies together.
            OutageError: As `deliver`.
        """
        if self._queue_name.endswith(FIFO):
            return frozenset()
        queue = self._opened()
        try:
            taken = queue.send_batch([(one.body(), reply_attributes(one)) for one in replies])
        except BadMessage as error:
            raise self._refused(error) from error
        return frozenset(one.key for one, was in zip(replies, taken, strict=True) if was)

    def _refused(self, error: BadMessage) -> PermanentError:
        return PermanentError(
            "E_REPLY_REFUSED",
            f"reply {self._name}: {error.message}",
            hint="check that the queue takes messages of 64 KiB: MaximumMessageSize",
        )

    def _opened(self) -> SqsQueue:
        if self._queue is None:
            self._queue = self._found()
        return self._queue

    def _found(self) -> SqsQueue:
        try:
            return SqsQueue.for_sending(self._queue_name, self._region, self._aws, self._clock)
        except OutageError:
            raise
        except BackhaulError as error:
            # Of a start, where it would end the process: here it may pass.
            raise OutageError.of("sqs", error.code, error.message, hint=error.hint) from error
