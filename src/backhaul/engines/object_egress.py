"""What one object lets leave S3: reserved before each request, and counted as it comes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Protocol

from backhaul.engines.counter import Counter


class ReadAccount(Protocol):
    """What a read reports of its bytes; called from several threads."""

    def expect(self, size_bytes: int) -> None:
        """Before a request of so many bytes; waits until they may be read, or raises to give up."""

    def spare(self, size_bytes: int) -> None:
        """So many of those will not come any more."""

    def count(self, size_bytes: int) -> None:
        """So many more have arrived, useful or not."""


class Uncounted:
    """A `ReadAccount` of reads that belong to no object."""

    def expect(self, size_bytes: int) -> None:
        """All may be read."""

    def spare(self, size_bytes: int) -> None:
        """Nothing was reserved."""

    def count(self, size_bytes: int) -> None:
        """Nothing is counted."""


class ObjectEgress:
    """Of one object, over all its tries. Its size was reserved by whoever gave it.

    Args:
        counter: Of the staging call.
        more: Called before a request that goes beyond what is reserved, with the bytes by which it
            does; it waits, and may raise to give up. None: all may be read.
        bytes_read: By earlier tries.
        was_read: Another engine has read it once already.
    """

    def __init__(
        self,
        size_bytes: int,
        counter: Counter,
        more: Callable[[int], None] | None,
        *,
        bytes_read: int = 0,
        was_read: bool = False,
    ) -> None:
        self._lock = threading.Lock()
        self._counter = counter
        self._more = more
        self._size_bytes = size_bytes
        self._expected = bytes_read  # came, or is on its way
        self.bytes_read = bytes_read
        self._repeats_all = was_read
        self._reserved = bytes_read if was_read else max(bytes_read, size_bytes)

    def repeat_all(self) -> None:
        """Another engine has used up what was reserved: all that is read comes once more."""
        self._repeats_all = True
        self._reserved = self.bytes_read

    def expect(self, size_bytes: int) -> None:
        """See `ReadAccount`."""
        with self._lock:
            self._expected += size_bytes
            lacking = max(0, self._expected - self._reserved)
            self._reserved += lacking
        if lacking and self._more is not None:
            self._more(lacking)

    def spare(self, size_bytes: int) -> None:
        """See `ReadAccount`."""
        with self._lock:
            self._expected -= size_bytes

    def count(self, size_bytes: int) -> None:
        """See `ReadAccount`; beyond the object's size they came once more."""
        with self._lock:
            before = max(self.bytes_read, self._size_bytes)
            self.bytes_read += size_bytes
            repeated = size_bytes if self._repeats_all else max(0, self.bytes_read - before)
        self._counter.add_received(size_bytes, repeated)
