"""The share of a byte rate that one process of several hosts has, where its workers see it.

Two files beside the others of the node: `LEDGER.share-1` holds eight bytes, the share, which the
process that has the seat writes; its kernel lock lasts as long as that process. `LEDGER.rate-1` is
the bucket of its workers. Each process of this node takes the first seat that is free.
"""

from __future__ import annotations

import fcntl
import os
import struct
from datetime import UTC, datetime
from pathlib import Path

from backhaul.adapters.system.rate_bucket import RateBucket
from backhaul.adapters.system.reservations import Reservations, rate_file_error
from backhaul.adapters.system.shared_file import SharedFile
from backhaul.core.rate_limit import HIGHEST_BYTES_PER_S, Schedule, effective_limit

SEATS_MOST = 100
_SHARE = struct.Struct("=q")


class NodeRateSeat:
    """Implements `core.fleet.rate_shares.RateSeat`; at first the share is nothing.

    Args:
        ledger: The files are beside it.

    Attributes:
        number: From 1.

    Raises (any method):
        OutageError: `ledger` E_RATE_FILE.
        ConfigurationError: E_CFG_PERMISSIONS.
    """

    def __init__(self, ledger: Path, schedule: Schedule) -> None:
        ledger.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._schedule = schedule
        self._reservations = Reservations(ledger)
        self.number, self._path, self._fd = _free_seat(ledger)
        self._bucket = RateBucket(bucket_file(ledger, self.number))
        self.apply(0)

    def configured(self) -> int | None:
        """See the port."""
        local = datetime.now(UTC).astimezone()
        return effective_limit(self._schedule, None, local).bytes_per_s

    def apply(self, bytes_per_s: int | None) -> None:
        """See the port."""
        share = HIGHEST_BYTES_PER_S if bytes_per_s is None else bytes_per_s
        try:
            os.pwrite(self._fd, _SHARE.pack(share), 0)
        except OSError as exc:
            raise rate_file_error(self._path, exc) from exc

    def taken(self) -> int:
        """See the port."""
        return self._bucket.taken()

    def kept(self) -> int:
        """See the port."""
        return self._reservations.total()

    def close(self) -> None:
        """The seat is free; safe to repeat."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class ShareFile:
    """The share of a seat as its workers read it."""

    def __init__(self, ledger: Path, seat: int) -> None:
        self._file = share_file(ledger, seat)
        self._fd = -1

    def read(self) -> int | None:
        """Bytes per second; None: no limit.

        Raises:
            OutageError: `ledger` E_RATE_FILE.
            ConfigurationError: E_CFG_PERMISSIONS.
        """
        try:
            if self._fd < 0:
                self._fd = self._file.open(os.O_RDONLY)
            found = os.pread(self._fd, _SHARE.size, 0)
        except OSError as exc:
            raise rate_file_error(self._file.path, exc) from exc
        share = _SHARE.unpack(found)[0] if len(found) == _SHARE.size else 0
        return None if share == HIGHEST_BYTES_PER_S else max(0, share)


def share_file(ledger: Path, seat: int) -> SharedFile:
    """`LEDGER.share-1`."""
    return SharedFile(ledger, f"share-{seat}")


def bucket_file(ledger: Path, seat: int | None) -> SharedFile:
    """`LEDGER.rate-1`; without seats there is one for all."""
    return SharedFile(ledger, "rate" if seat is None else f"rate-{seat}")


def _free_seat(ledger: Path) -> tuple[int, Path, int]:
    """Its number, its file, and that file open and locked."""
    refusal: OSError = BlockingIOError(0, "all seats are taken")
    for number in range(1, SEATS_MOST + 1):
        file = share_file(ledger, number)
        descriptor = -1
        try:
            descriptor = file.open(os.O_RDWR | os.O_CREAT)
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            # It belongs to a process that runs, or to another user.
            refusal = error
            if descriptor >= 0:
                os.close(descriptor)
        except OSError as exc:
            raise rate_file_error(file.path, exc) from exc
        else:
            return number, file.path, descriptor
    raise rate_file_error(share_file(ledger, 1).path, refusal)
