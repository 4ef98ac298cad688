"""A queue that is opened by its own polls, so that no other queue waits for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backhaul.core.agent_report import QueueDepth
from backhaul.core.errors import BackhaulError, OutageError, VisibilityLost
from backhaul.core.ports import DeadLetterReason, Message, Queue, QueueFacts


class OpenedByPoll:
    """Implements `ports.Queue`; each poll tries to open the queue until one succeeds.

    Whatever refuses it may be put right while the agent runs: a right, a role, a queue that is
    created later. Messages are only received, extended and deleted once it is open.

    Args:
        named: What is known of it before: its name, and its ARN as it was configured.
        open_queue: Raises BackhaulError while it cannot be opened.
    """

    def __init__(self, named: QueueFacts, open_queue: Callable[[], Queue]) -> None:
        self._named = named
        self._open_queue = open_queue
        self._queue: Queue | None = None

    @property
    def facts(self) -> QueueFacts:
        """Those of the open queue; before, only its name."""
        return self._named if self._queue is None else self._queue.facts

    @property
    def is_open(self) -> bool:
        """Its attributes are known."""
        return self._queue is not None

    def open(self) -> Queue:
        """The queue; opened now where it is not open yet.

        Raises:
            BackhaulError: It cannot be opened.
        """
        if self._queue is None:
            self._queue = self._open_queue()
        return self._queue

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_timeout_s: int
    ) -> list[Message]:
        """See the port."""
        try:
            queue = self.open()
        except OutageError:
            raise
        except BackhaulError as error:
            raise OutageError.of("sqs", error.code, error.message, hint=error.hint) from error
        return queue.receive(
            max_messages=max_messages, wait_s=wait_s, visibility_timeout_s=visibility_timeout_s
        )

    def extend(self, message: Message, visibility_timeout_s: int) -> None:
        """See the port."""
        self.open().extend(message, visibility_timeout_s)

    def extend_batch(
        self, changes: Sequence[tuple[Message, int]]
    ) -> Sequence[VisibilityLost | OutageError | None]:
        """See the port."""
        return self.open().extend_batch(changes)

    def depth(self) -> QueueDepth:
        """See the port."""
        if self._queue is None:
            raise OutageError.of("sqs", "E_SQS_UNREACHABLE", f"{self._named.name} is not open yet")
        return self._queue.depth()

    def delete(self, message: Message) -> None:
        """See the port."""
        self.open().delete(message)

    def delete_batch(self, messages: Sequence[Message]) -> Sequence[OutageError | None]:
        """See the port."""
        return self.open().delete_batch(messages)

    def send_dead_letter(self, message: Message, reason: DeadLetterReason) -> bool:
        """See the port."""
        return self.open().send_dead_letter(message, reason)
