"""`LEDGER.reserved`: the share of the byte rate that each YARN application was given, by tag."""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from backhaul.adapters.system.shared_file import DAMAGED, SharedFile, Watched
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.core.rate_limit import HIGHEST_BYTES_PER_S, LEASE_S, Reservation, reserved

MAX_ENTRIES = 1000  # those of ended applications included


class Reservations:
    """Reads and changes them.

    A damaged file counts as empty and a damaged entry is ignored: an application that runs is
    entered again when it is next polled.
    """

    def __init__(self, ledger: Path) -> None:
        self._file = SharedFile(ledger, "reserved")
        self._lock = SharedFile(ledger, "reserved.lock")
        self._entries = Watched(self._file.path, self._read)
        self.path = self._file.path

    def total(self) -> int:
        """Of all applications that may run now, bytes per second."""
        return reserved(self._entries.get().values(), time.time())

    def put(self, tag: str, rate: Callable[[int], int]) -> None:
        """Enter one.

        Args:
            rate: From the rate of all others to the rate of this one.
        """
        now_s = time.time()
        with self._locked() as entries:
            others = (one for name, one in entries.items() if name != tag)
            bytes_per_s = rate(reserved(others, now_s))
            entries[tag] = Reservation(bytes_per_s=bytes_per_s, until_s=now_s + LEASE_S)

    def renew(self, tag: str) -> None:
        """Let it count on; nothing where it is not entered, or was renewed lately."""
        now_s = time.time()
        found = self._entries.get().get(tag)
        if found is not None and found.until_s < now_s + LEASE_S / 2:
            with self._locked() as entries:
                entries[tag] = replace(found, until_s=now_s + LEASE_S)

    def drop(self, tag: str) -> None:
        """Let it count no longer. `renew` reverses this, should the application still run."""
        found = self._entries.get().get(tag)
        if found is not None and found.until_s > 0:
            with self._locked() as entries:
                entries[tag] = replace(found, until_s=0)

    def _read(self) -> dict[str, Reservation]:
        found: dict[str, Reservation] = {}
        with contextlib.suppress(OSError, ConfigurationError, *DAMAGED):
            for tag, entry in json.loads(self._file.read()).items():
                with contextlib.suppress(*DAMAGED):
                    found[tag] = _reservation(*entry)
        return found

    @contextlib.contextmanager
    def _locked(self) -> Iterator[dict[str, Reservation]]:
        """The entries, written back after the block; no other process changes them meanwhile."""
        try:
            lock = self._lock.open(os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                entries = self._read()
                yield entries
                newest = sorted(entries.items(), key=lambda item: item[1].until_s)[-MAX_ENTRIES:]
                content = {tag: [one.bytes_per_s, one.until_s] for tag, one in newest}
                self._file.replace(json.dumps(content))
            finally:
                os.close(lock)
        except OSError as exc:
            raise rate_file_error(self.path, exc) from exc


def rate_file_error(path: Path, error: OSError) -> OutageError:
    """For what this file or `LEDGER.rate` met."""
    return OutageError.of(
        "ledger",
        "E_RATE_FILE",
        f"{path}: {type(error).__name__}: {error.strerror}",
        hint="the limit is counted beside the ledger; check that disk and its permissions",
    )


def _reservation(rate: float, until_s: float) -> Reservation:
    found = Reservation(bytes_per_s=int(rate), until_s=float(until_s))
    if not 0 <= found.bytes_per_s <= HIGHEST_BYTES_PER_S or not math.isfinite(found.until_s):
        raise ValueError("no rate, or no moment")
    return found
