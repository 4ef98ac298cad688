"""Few connections to the ledger for many pages.

A reader makes a commit wait while one of its queries runs, so no more than a few run at once,
however many pages are requested; the others wait a little, then get an error page.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from backhaul.adapters.ledger import LedgerReader, open_reader
from backhaul.core.errors import OutageError, TransientError

MOST = 4
WAIT_S = 5.0  # for a free reader
LOCKED_S = 5.0  # for a ledger that a writer has locked
REOPEN_AFTER_S = 30.0  # then the file is checked again: replaced, migrated, made unreadable

Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True)
class _Open:
    reader: LedgerReader
    file: tuple[int, int]
    opened_s: float


class Readers:
    """Lends open readers; for all threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._free = threading.Semaphore(MOST)
        self._lock = threading.Lock()
        self._idle: list[_Open] = []

    def call(self, read: Callable[[LedgerReader], Result]) -> Result:
        """What `read` returns; it may be called twice.

        Raises:
            TransientError: E_DASHBOARD_BUSY.
            ConfigurationError, OutageError: As `open_reader`, and what `read` raises.
        """
        if not self._free.acquire(timeout=WAIT_S):
            raise TransientError(
                "E_DASHBOARD_BUSY",
                f"{MOST} other pages are reading the ledger, for over {WAIT_S:.0f} s",
                hint="reload in a moment; close pages that nobody looks at",
            )
        try:
            try:
                return self._once(read)
            except OutageError as error:
                if error.code != "E_LEDGER_READONLY":
                    raise
                # A writer was killed since this reader was opened; opening rolls its change back.
                return self._once(read)
        finally:
            self._free.release()

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
                reader = open_reader(self.path, busy_timeout_s=LOCKED_S)
                return _Open(reader=reader, file=_identity(self.path), opened_s=time.monotonic())
            is_young = time.monotonic() - lent.opened_s < REOPEN_AFTER_S
            if is_young and lent.file == _identity(self.path):
                return lent
            lent.reader.close()


def _identity(path: Path) -> tuple[int, int]:
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
