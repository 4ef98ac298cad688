"""Time, randomness and names of this machine; implements `ports.Clock` and `ports.Randomness`."""

from __future__ import annotations

import random
import secrets
import socket
import time
from datetime import UTC, datetime

from backhaul.core.transfer_ids import ALPHABET, RANDOM_DIGITS, time_part


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
        chance = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_DIGITS))
        return time_part(datetime.now(UTC)) + chance


def host_name() -> str:
    """This machine's name, for owners and dead letters."""
    return socket.gethostname()
