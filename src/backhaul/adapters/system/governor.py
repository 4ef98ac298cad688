"""The byte-rate governor: one limit for all processes that share a ledger.

Three small files beside the ledger hold what they share. `LEDGER.limit` is what `backhaul limit`
set; a process reads it at most twice a second, and only while it reads from S3. `LEDGER.reserved`
is what YARN applications were given. `LEDGER.rate` holds one number under a lock of the kernel: the
time until which all granted bytes are paid for. A process that is killed gives the lock back and
has taken a tenth of a second with it at most. Who may read how much: `core.rate_limit`.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backhaul.adapters.system.limit_file import LimitFile
from backhaul.adapters.system.reservations import Reservations, rate_file_error
from backhaul.adapters.system.shared_file import SharedFile, Watched
from backhaul.core.errors import ConfigurationError
from backhaul.core.rate_limit import (
    EffectiveLimit,
    ManualLimit,
    Schedule,
    effective_limit,
    for_application,
    for_this_node,
    grant,
)

READ_EVERY_S = 0.5
MAX_SLEEP_S = 0.1
_PAID_UNTIL = struct.Struct("=d")


@dataclass(frozen=True, kw_only=True)
class GovernorSpec:
    """What a process needs to read under the same limit as the others; pickles.

    Attributes:
        ledger: The governor's files are beside it.
    """

    ledger: str
    schedule: Schedule

    def open(self) -> Governor:
        """For this process."""
        return Governor(self)


class Governor:
    """Implements `core.rate_limit`'s ports; one in each process, for all threads."""

    def __init__(self, spec: GovernorSpec) -> None:
        ledger = Path(os.path.realpath(spec.ledger))
        self._schedule = spec.schedule
        limit_file = LimitFile(ledger)
        self._set = Watched(limit_file.path, limit_file.read)
        self._reservations = Reservations(ledger)
        self._bucket = _Bucket(SharedFile(ledger, "rate"))
        self._by_hand: ManualLimit | None = None
        self._limit: int | None = None
        self._read_at_s = float("-inf")
        self._lock = threading.Lock()  # of the bucket, among threads

    def limit(self) -> EffectiveLimit:
        """The limit in force now."""
        with contextlib.suppress(ConfigurationError):
            # Where the file is damaged, what it held before goes on; `backhaul limit` reports it.
            self._by_hand = self._set.get()
        return effective_limit(self._schedule, self._by_hand, datetime.now(UTC).astimezone())

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        """See the port. One thread at a time waits for the bucket, the others for the lock."""
        if self._current() is None:
            return wanted_bytes
        while not self._lock.acquire(timeout=MAX_SLEEP_S):
            waiting()
        try:
            while (limit := self._current()) is not None:
                size, wait_s = self._bucket.take(wanted_bytes, limit)
                if size:
                    return size
                waiting()
                time.sleep(min(wait_s, MAX_SLEEP_S))
        finally:
            self._lock.release()
        return wanted_bytes

    def reserve(self, tag: str, rate: Callable[[int | None], int]) -> None:
        """See the port."""
        limit = self.limit().bytes_per_s

        def share(others: int) -> int:
            return rate(None if limit is None else for_application(limit, others))

        self._reservations.put(tag, share)

    def keep(self, tag: str) -> None:
        """See the port."""
        self._reservations.renew(tag)

    def free(self, tag: str) -> None:
        """See the port."""
        self._reservations.drop(tag)

    def _current(self) -> int | None:
        now_s = time.monotonic()
        if now_s - self._read_at_s >= READ_EVERY_S:
            limit = self.limit().bytes_per_s
            if limit is not None:
                limit = for_this_node(limit, self._reservations.total())
            # In this order: another thread that calls this meanwhile reads the limit itself.
            self._limit, self._read_at_s = limit, now_s
        return self._limit


class _Bucket:
    """Eight bytes: the time, in `CLOCK_MONOTONIC` of this machine, until which all is paid for."""

    def __init__(self, file: SharedFile) -> None:
        self._file = file
        self._fd = -1

    def take(self, wanted_bytes: int, bytes_per_s: int) -> tuple[int, float]:
        """Bytes granted, and seconds after which another try is worth it.

        Raises:
            OutageError: `ledger` E_RATE_FILE.
            ConfigurationError: E_CFG_PERMISSIONS.
        """
        try:
            if self._fd < 0:
                self._fd = self._file.open(os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0, 0.001  # another process is taking right now
            try:
                found = os.pread(self._fd, _PAID_UNTIL.size, 0)
                is_whole = len(found) == _PAID_UNTIL.size
                given = grant(
                    paid_until_s=_PAID_UNTIL.unpack(found)[0] if is_whole else 0.0,
                    now_s=time.monotonic(),
                    wanted_bytes=wanted_bytes,
                    bytes_per_s=bytes_per_s,
                )
                if given.size_bytes:
                    os.pwrite(self._fd, _PAID_UNTIL.pack(given.paid_until_s), 0)
                return given.size_bytes, given.wait_s
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as exc:
            raise rate_file_error(self._file.path, exc) from exc
