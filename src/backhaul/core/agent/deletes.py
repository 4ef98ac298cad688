"""Messages of several slots that are to be deleted at the same moment share one call.

No message waits for company: a slot that finds no call under way makes its own at once. Those that
come while it runs are the next call, together, made by one of them. Each returns only after SQS has
answered for its own message, so a slot can rely on what a call of its own would give.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from backhaul.core.errors import OutageError
from backhaul.core.ports import Message, Queue
from backhaul.core.ports.queue import BATCH_MOST


@dataclass(kw_only=True, eq=False)
class _PendingDelete:
    """One message.

    Attributes:
        is_over: SQS has answered, or the call has failed.
        error: Why the message may not be deleted.
    """

    message: Message
    is_over: bool = False
    error: Exception | None = None


class SharedDeletes:
    """Deletes the messages of one queue.

    Args:
        check: Called before each call; raises where this process may not delete any more.
    """

    def __init__(self, queue: Queue, check: Callable[[], None]) -> None:
        self._queue = queue
        self._check = check
        self._changed = threading.Condition()
        self._waiting: list[_PendingDelete] = []
        self._is_calling = False

    def delete(self, message: Message) -> None:
        """See `Queue.delete`; also raises as `check`."""
        own = _PendingDelete(message=message)
        with self._changed:
            self._waiting.append(own)
            while self._is_calling and not own.is_over:
                self._changed.wait()
            batch = [] if own.is_over else self._take(own)
        if batch:
            try:
                self._call(batch)
            finally:
                with self._changed:
                    self._is_calling = False
                    # Cut short by something else than an answer: the others call for themselves.
                    self._waiting[:0] = [one for one in batch[1:] if not one.is_over]
                    self._changed.notify_all()
        if own.error is not None:
            raise own.error

    def _take(self, own: _PendingDelete) -> list[_PendingDelete]:
        """This one, and as many others as one call takes."""
        self._is_calling = True
        self._waiting.remove(own)
        others = self._waiting[: BATCH_MOST - 1]
        del self._waiting[: len(others)]
        return [own, *others]

    def _call(self, batch: list[_PendingDelete]) -> None:
        try:
            self._check()
            messages = [one.message for one in batch]
            if len(messages) == 1:
                self._queue.delete(messages[0])
                errors: list[Exception | None] = [None]
            else:
                errors = list(self._queue.delete_batch(messages))
        except OutageError as error:
            errors = [error] * len(batch)
        for one, failure in zip(batch, errors, strict=True):
            one.error, one.is_over = failure, True
