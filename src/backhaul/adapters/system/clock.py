"""Time, randomness and names of this machine; implements `ports.Clock` and `ports.Randomness`."""

from __future__ import annotations

import random
import secrets
import socket
import time
from datetime import UTC, datetime

_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_TIME_DIGITS = 9  # milliseconds since 1970 in base 36: enough until the year 5188
_RANDOM_DIGITS = 7


class SystemClock:
    """The machine's clocks."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()


class SystemRandomness:
    """The machine's random numbers."""

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)  # noqa: S311 - jitter, not a secret

    def transfer_id(self) -> str:
        """See the port."""
        stamp, digits = time.time_ns() // 1_000_000, ""
        for _ in range(_TIME_DIGITS):
            stamp, rest = divmod(stamp, 36)
            digits = _ALPHABET[rest] + digits
        return digits + "".join(secrets.choice(_ALPHABET) for _ in range(_RANDOM_DIGITS))


def host_name() -> str:
    """This machine's name, for owners and dead letters."""
    return socket.gethostname()
