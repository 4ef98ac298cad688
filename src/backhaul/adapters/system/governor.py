"""The byte-rate governor: one limit for all processes that share a ledger.

Three small files beside the ledger hold what they share. `LEDGER.limit` is what `backhaul limit`
set; a process reads it at most twice a second, and only while it reads from S3. `LEDGER.reserved`
is what YARN applications were given. `LEDGER.rate` is the bucket: a process that is killed has
taken a tenth of a second with it at most. Who may read how much: `core.rate_limit`.

Of a ledger on PostgreSQL the limit is that of all its agents, and `rate_seat` has the files of each
one's share; `core.fleet.rate_shares` decides about it.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backhaul.adapters.system.limit_file import LimitFile
from backhaul.adapters.system.rate_bucket import RateBucket
from backhaul.adapters.system.rate_seat import ShareFile, bucket_file
from backhaul.adapters.system.reservations import Reservations
from backhaul.adapters.system.shared_file import Watched
from backhaul.core.errors import ConfigurationError
from backhaul.core.rate_limit import (
    EffectiveLimit,
    LimitSource,
    ManualLimit,
    Schedule,
    effective_limit,
    for_application,
    for_this_node,
)

READ_EVERY_S = 0.5
MAX_SLEEP_S = 0.1


@dataclass(frozen=True, kw_only=True)
class GovernorSpec:
    """What a process needs to read under the same limit as the others; pickles.

    Attributes:
        ledger: The governor's files are beside it.
        seat: Of the process whose share of a limit of several hosts it reads under; None: under
            the limit of this node.
    """

    ledger: str
    schedule: Schedule
    seat: int | None = None

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
        self._share = None if spec.seat is None else ShareFile(ledger, spec.seat)
        self._reservations = Reservations(ledger)
        self._bucket = RateBucket(bucket_file(ledger, spec.seat))
        self._by_hand: ManualLimit | None = None
        self._limit: int | None = None
        self._read_at_s = float("-inf")
        self._lock = threading.Lock()  # of the bucket, among threads

    def limit(self) -> EffectiveLimit:
        """The limit in force now."""
        if self._share is not None:
            return EffectiveLimit(bytes_per_s=self._share.read(), why=LimitSource.SHARE)
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
                size, wait_s = self._bucket.take(wanted_bytes, limit) if limit else (0, MAX_SLEEP_S)
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
