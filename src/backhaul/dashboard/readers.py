"""Few connections to the ledger for many pages.

A commit waits while a query of a reader runs. So queries of this process run one after the other,
in the order in which they were wanted, however many pages are requested; between two of them a
writer gets in.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from backhaul.adapters.ledger import LedgerReader, open_reader
from backhaul.core.errors import OutageError
from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl

LOCKED_S = 5.0  # for a ledger that a writer has locked
REOPEN_AFTER_S = 30.0  # then the file is checked again: replaced, migrated, made unreadable

Result = TypeVar("Result")


class Turns:
    """A lock that threads get in the order in which they came; a plain one may forget some."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_taken = False
        self._waiting: deque[threading.Event] = deque()

    def __enter__(self) -> None:
        with self._lock:
            if not self._is_taken:
                self._is_taken = True
                return
            mine = threading.Event()
            self._waiting.append(mine)
        mine.wait()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            if self._waiting:
                self._waiting.popleft().set()  # it stays taken
            else:
                self._is_taken = False


@dataclass(frozen=True, kw_only=True)
class _Open:
    reader: LedgerReader
    file: tuple[int, int]
    opened_s: float


class Readers:
    """Lends open readers; for all threads.

    Attributes:
        turn: Held by each query while it runs.
    """

    def __init__(self, path: LedgerPlace) -> None:
        self.path = path
        self.turn = Turns()
        self._lock = threading.Lock()
        self._idle: list[_Open] = []

    def call(self, read: Callable[[LedgerReader], Result]) -> Result:
        """What `read` returns; it may be called twice.

        Raises:
            ConfigurationError, OutageError: As `open_reader`, and what `read` raises.
        """
        try:
            return self._once(read)
        except OutageError as error:
            if error.code != "E_LEDGER_READONLY":
                raise
            # A writer was killed since this reader was opened; opening rolls its change back.
            return self._once(read)

    def close(self) -> None:
        """Close those that are not lent."""
        with self._lock:
            idle, self._idle = self._idle, []
        for one in idle:
            one.reader.close()

    def _once(self, read: Callable[[LedgerReader], Result]) -> Result:
        lent = self._take()
        try:
            found = read(lent.reader)
        except BaseException:
            lent.reader.close()
            raise
        with self._lock:
            self._idle.append(lent)
        return found

    def _take(self) -> _Open:
        while True:
            with self._lock:
                lent = self._idle.pop() if self._idle else None
            if lent is None:
                reader = open_reader(self.path, busy_timeout_s=LOCKED_S, turn=self.turn)
                return _Open(reader=reader, file=_identity(self.path), opened_s=time.monotonic())
            is_young = time.monotonic() - lent.opened_s < REOPEN_AFTER_S
            if is_young and lent.file == _identity(self.path):
                return lent
            lent.reader.close()


def _identity(path: LedgerPlace) -> tuple[int, int]:
    if isinstance(path, PostgresUrl):
        return (0, 0)  # another database of that name is noticed by its connection
    try:
        found = path.stat()
    except OSError:
        return (0, 0)
    return found.st_dev, found.st_ino


class KeptBriefly(Generic[Result]):
    """A value that all pages share for a moment, computed by one of them at a time."""

    def __init__(self, compute: Callable[[], Result], *, keep_s: float) -> None:
        self._compute = compute
        self._keep_s = keep_s
        self._lock = threading.Lock()
        self._found: tuple[float, Result] | None = None

    def get(self) -> Result:
        """Raises what `compute` raises; then the next call computes again."""
        with self._lock:
            if self._found is not None and time.monotonic() - self._found[0] < self._keep_s:
                return self._found[1]
            value = self._compute()
            self._found = (time.monotonic(), value)
            return value

    def forget(self) -> None:
        """Compute it again at the next call."""
        with self._lock:
            self._found = None
