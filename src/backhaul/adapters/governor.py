"""The byte-rate governor: one bucket and one limit for all processes that share a ledger.

Two small files beside the ledger. `LEDGER.limit` holds what `backhaul limit` set, replaced as a
whole; every process looks at it twice a second at most, and only while it reads. `LEDGER.rate`
holds one number, the moment until which everything granted is paid for, under a lock of the
kernel's: a process that is killed gives the lock back and has taken a tenth of a second with it at
most. What is granted to whom is `core.bandwidth`.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backhaul.core.bandwidth import ByHand, InForce, Schedule, grant, in_force
from backhaul.core.errors import ConfigurationError, OutageError

LOOK_EVERY_S = 0.5
LONGEST_NAP_S = 0.1
_MOMENT = struct.Struct("=d")


@dataclass(frozen=True, kw_only=True)
class GovernorSpec:
    """What a process needs to read under the same limit as the others; pickles.

    Attributes:
        ledger: The file beside which the governor keeps its two.
    """

    ledger: str
    schedule: Schedule

    def open(self) -> Governor:
        """For this process."""
        return Governor(self)


class LimitFile:
    """What was set by hand; `LEDGER.limit`."""

    def __init__(self, ledger: Path) -> None:
        self.path = ledger.with_name(f"{ledger.name}.limit")

    def read(self) -> ByHand | None:
        """None when nothing is set.

        Raises:
            ConfigurationError: E_LIMIT_FILE: it cannot be read, or somebody else wrote it.
        """
        try:
            text = self.path.read_text("utf-8")
            found = json.loads(text)
            rate, until = found["bytes_per_s"], found["until"]
            return ByHand(
                bytes_per_s=None if rate is None else max(1, int(rate)),
                until=None if until is None else datetime.fromisoformat(until).astimezone(UTC),
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as exc:
            raise ConfigurationError(
                "E_LIMIT_FILE",
                f"{self.path}: {type(exc).__name__}: {exc}",
                hint="set the limit again: backhaul limit RATE, or backhaul limit default",
            ) from exc

    def write(self, by_hand: ByHand | None) -> None:
        """Replace it; None: the configuration decides again.

        Raises:
            ConfigurationError: E_LIMIT_FILE: not writable.
        """
        try:
            if by_hand is None:
                self.path.unlink(missing_ok=True)
                return
            until = by_hand.until.isoformat() if by_hand.until else None
            content = json.dumps({"bytes_per_s": by_hand.bytes_per_s, "until": until})
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = self.path.with_name(f"{self.path.name}.{os.getpid()}")
            with fresh.open("w", encoding="utf-8") as file:
                file.write(content + "\n")
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self.path)
        except OSError as exc:
            raise ConfigurationError(
                "E_LIMIT_FILE",
                f"{self.path}: {type(exc).__name__}: {exc.strerror}",
                hint="the limit stands beside the ledger: run this as the agent's user",
            ) from exc


class Governor:
    """Implements `core.bandwidth.Allowance`; one in each process, for all its threads."""

    def __init__(self, spec: GovernorSpec) -> None:
        ledger = Path(spec.ledger)
        self._schedule = spec.schedule
        self._file = LimitFile(ledger)
        self._bucket = _Bucket(ledger.with_name(f"{ledger.name}.rate"))
        self._by_hand: ByHand | None = None
        self._stamp: object = ()
        self._limit: int | None = None
        self._looked_s = float("-inf")
        self._turn = threading.Lock()

    def limit(self) -> InForce:
        """What is in force now, looked at afresh."""
        with contextlib.suppress(ConfigurationError):
            # Damaged: `backhaul limit` says so; here what was read before goes on.
            self._by_hand = self._look()
        return in_force(self._schedule, self._by_hand, datetime.now(UTC).astimezone())

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        """See the port. One thread at a time waits for the bucket, the others for their turn."""
        if self._current() is None:
            return wanted_bytes
        while not self._turn.acquire(timeout=LONGEST_NAP_S):
            waiting()
        try:
            while (limit := self._current()) is not None:
                size, wait_s = self._bucket.ask(wanted_bytes, limit)
                if size:
                    return size
                waiting()
                time.sleep(min(wait_s, LONGEST_NAP_S))
        finally:
            self._turn.release()
        return wanted_bytes

    def _current(self) -> int | None:
        now_s = time.monotonic()
        if now_s - self._looked_s >= LOOK_EVERY_S:
            self._looked_s = now_s
            self._limit = self.limit().bytes_per_s
        return self._limit

    def _look(self) -> ByHand | None:
        try:
            status = self._file.path.stat()
        except OSError:
            stamp: object = None
        else:
            stamp = (status.st_ino, status.st_mtime_ns)
        if stamp == self._stamp:
            return self._by_hand
        found = self._file.read()
        self._stamp = stamp
        return found


class _Bucket:
    """The shared moment, `CLOCK_MONOTONIC` of this machine, in a file of eight bytes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def ask(self, wanted_bytes: int, bytes_per_s: int) -> tuple[int, float]:
        """Bytes granted, and seconds until it is worth asking again.

        Raises:
            OutageError: `ledger` E_RATE_FILE.
        """
        try:
            if self._fd < 0:
                self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0, 0.001  # another process is asking right now
            try:
                found = os.pread(self._fd, _MOMENT.size, 0)
                paid_until_s = _MOMENT.unpack(found)[0] if len(found) == _MOMENT.size else 0.0
                given = grant(
                    paid_until_s=paid_until_s,
                    now_s=time.monotonic(),
                    wanted_bytes=wanted_bytes,
                    bytes_per_s=bytes_per_s,
                )
                if given.size_bytes:
                    os.pwrite(self._fd, _MOMENT.pack(given.paid_until_s), 0)
                return given.size_bytes, given.wait_s
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as exc:
            raise OutageError.of(
                "ledger",
                "E_RATE_FILE",
                f"{self._path}: {type(exc).__name__}: {exc.strerror}",
                hint="the limit is counted beside the ledger; check that disk and its permissions",
            ) from exc
