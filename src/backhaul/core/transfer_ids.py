"""The form of a transfer's id: its time of creation, then chance; so ids sort by time."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
TIME_DIGITS = 9  # milliseconds since 1970 in base 36: enough until the year 5188
RANDOM_DIGITS = 7

TRANSFER_ID = re.compile(rf"\b[0-9a-z]{{{TIME_DIGITS + RANDOM_DIGITS}}}\b")  # in a text

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def time_part(at: datetime) -> str:
    """The beginning of ids made in this millisecond; no id made later sorts before it.

    Args:
        at: Aware; a time before 1970 counts as 1970.
    """
    stamp, digits = max(0, (at - _EPOCH) // _MILLISECOND), ""
    for _ in range(TIME_DIGITS):
        stamp, rest = divmod(stamp, len(ALPHABET))
        digits = ALPHABET[rest] + digits
    return digits
