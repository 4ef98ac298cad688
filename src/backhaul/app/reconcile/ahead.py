"""Pages that are read ahead by a thread, while the ones before are compared."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Generic, TypeVar

Item = TypeVar("Item")
PAGES = 3  # that wait at once
_POLL_S = 0.2


class ReadAhead(Generic[Item]):
    """An iterator over the entries of pages; `close` ends its thread.

    Errors of the pages are raised where their entries would have come.
    """

    def __init__(self, pages: Generator[list[Item], None, None], name: str) -> None:
        self._pages = pages
        self._queue: queue.Queue[list[Item] | BaseException | None] = queue.Queue(PAGES)
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._read, name=name, daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        while (page := self._queue.get()) is not None:
            if isinstance(page, BaseException):
                raise page
            yield from page

    def close(self) -> None:
        """Stop reading; waits until the page under way is read."""
        self._is_closed.set()
        self._thread.join()

    def _read(self) -> None:
        end: BaseException | None = None
        try:
            with closing(self._pages) as pages:  # it may hold a worker, which goes back here
                for page in pages:
                    if not self._put(page):
                        return
        except BaseException as error:  # noqa: BLE001 - raised in the thread that reads entries
            end = error
        self._put(end)

    def _put(self, page: list[Item] | BaseException | None) -> bool:
        while not self._is_closed.is_set():
            try:
                self._queue.put(page, timeout=_POLL_S)
            except queue.Full:
                continue
            return True
        return False
