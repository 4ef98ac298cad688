"""The bucket of bytes of all processes that read under one limit: a few bytes in a file."""

from __future__ import annotations

import fcntl
import os
import struct
import time

from backhaul.adapters.system.reservations import rate_file_error
from backhaul.adapters.system.shared_file import SharedFile
from backhaul.core.rate_limit import grant

_STATE = struct.Struct("=dQ")
_MOST = 1 << 64


class RateBucket:
    """In a file under a lock of the kernel; a process that is killed gives the lock back.

    It holds the time, in `CLOCK_MONOTONIC` of this machine, until which all is paid for, and how
    many bytes were granted.

    Raises (any method):
        OutageError: `ledger` E_RATE_FILE.
        ConfigurationError: E_CFG_PERMISSIONS.
    """

    def __init__(self, file: SharedFile) -> None:
        self._file = file
        self._fd = -1

    def take(self, wanted_bytes: int, bytes_per_s: int) -> tuple[int, float]:
        """Bytes granted, and seconds after which another try is worth it."""
        try:
            self._open()
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return 0, 0.001  # another process is taking right now
            try:
                paid_until_s, taken = self._state()
                given = grant(
                    paid_until_s=paid_until_s,
                    now_s=time.monotonic(),
                    wanted_bytes=wanted_bytes,
                    bytes_per_s=bytes_per_s,
                )
                if given.size_bytes:
                    taken = (taken + given.size_bytes) % _MOST
                    os.pwrite(self._fd, _STATE.pack(given.paid_until_s, taken), 0)
                return given.size_bytes, given.wait_s
            finally:
                fcntl.flock(self._fd, fcntl.LOCK_UN)
        except OSError as exc:
            raise rate_file_error(self._file.path, exc) from exc

    def taken(self) -> int:
        """Bytes that were granted since the file was made, or damaged."""
        try:
            self._open()
            return self._state()[1]
        except OSError as exc:
            raise rate_file_error(self._file.path, exc) from exc

    def _open(self) -> None:
        if self._fd < 0:
            self._fd = self._file.open(os.O_RDWR | os.O_CREAT)

    def _state(self) -> tuple[float, int]:
        found = os.pread(self._fd, _STATE.size, 0)
        is_whole = len(found) == _STATE.size
        paid_until_s, taken = _STATE.unpack(found) if is_whole else (0.0, 0)
        return paid_until_s, taken
