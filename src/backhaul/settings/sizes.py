"""Sizes and rates as people write them: `5TiB`, `50MB/s`, `08:00-18:00 = 50MB/s`."""

from __future__ import annotations

import re
from fractions import Fraction

from backhaul.core.rate_limit import LOWEST_BYTES_PER_S, MINUTES_A_DAY, Window

# Case does not matter; `bit` is written out, so that `b` is always a byte.
_AMOUNT = re.compile(
    r"(?P<number>[0-9]+(?:\.[0-9]+)?)\s*(?P<prefix>[kmgtp]?)(?P<binary>(?<=[kmgtp])i|)(?P<unit>bit|b?)",
    re.IGNORECASE,
)
_PREFIXES = "kmgtp"
_LARGEST = 2**63 - 1
_SIZE_HINT = "write a size such as 500GiB, 5TiB or a number of bytes"
_RATE_HINT = "write a rate such as 50MB/s, 200kB/s, 10MiB/s, or off"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = r"([01]?\d|2[0-4]):([0-5]\d)"
_WINDOW = re.compile(
    rf"(?:(?P<first>[a-z]{{3}})(?:-(?P<last>[a-z]{{3}}))?\s+)?{_TIME}\s*-\s*{_TIME}\s*=\s*(?P<rate>.+)"
)
_WINDOW_HINT = "write a window such as 08:00-18:00 = 50MB/s, or mon-fri 08:00-18:00 = 50MB/s"
OFF = "off"


def parse_size(value: object) -> object:
    """`5TiB`, `200MB` or a plain number of bytes, as an int; anything else is left to pydantic.

    Raises:
        ValueError: No such size.
    """
    if isinstance(value, int) and value > _LARGEST:
        raise ValueError(_SIZE_HINT)
    if not isinstance(value, str):
        return value
    size = _amount(value, takes_bits=False)
    if size is None:
        raise ValueError(_SIZE_HINT)
    return size


def parse_rate(value: object) -> object:
    """`50MB/s`, `50M`, `400Mbit/s` or bytes a second, as an int; `off` is None: no limit.

    Raises:
        ValueError: No such rate, or one below 64 KiB/s, with which a transfer would time out.
    """
    if isinstance(value, str):
        text = value.strip().lower()
        if text == OFF:
            return None
        value = _amount(text.removesuffix("/s"), takes_bits=True)
        if value is None:
            raise ValueError(_RATE_HINT)
    if isinstance(value, int) and value > _LARGEST:
        raise ValueError(_RATE_HINT)
    if isinstance(value, int) and value < LOWEST_BYTES_PER_S:
        raise ValueError(f"a limit is at least {LOWEST_BYTES_PER_S} bytes per second, or off")
    return value


def _amount(text: str, *, takes_bits: bool) -> int | None:
    """Bytes, rounded down; None where it is no amount, or more than 63 bits hold."""
    match = _AMOUNT.fullmatch(text.strip())
    if match is None:
        return None
    is_bits = match["unit"].lower() == "bit"
    if is_bits and not takes_bits:
        return None
    power = _PREFIXES.index(match["prefix"].lower()) + 1 if match["prefix"] else 0
    factor: int = (1024 if match["binary"] else 1000) ** power
    size = int(Fraction(match["number"]) * factor / (8 if is_bits else 1))
    return size if size <= _LARGEST else None


def parse_window(text: str) -> Window:
    """`mon-fri 08:00-18:00 = 50MB/s`; without days: every day.

    Raises:
        ValueError: Not of this form.
    """
    match = _WINDOW.fullmatch(text.strip())
    if match is None:
        raise ValueError(_WINDOW_HINT)
    start, stop = (int(match[number]) * 60 + int(match[number + 1]) for number in (3, 5))
    stop = stop or MINUTES_A_DAY  # 22:00-00:00 ends with the day
    if start == stop or start >= MINUTES_A_DAY or stop > MINUTES_A_DAY:
        raise ValueError(f"{_WINDOW_HINT}; it ends at another minute than it begins")
    rate = parse_rate(match["rate"])
    return Window(
        days=_days(match["first"], match["last"]),
        start_minute=start,
        stop_minute=stop,
        bytes_per_s=rate if isinstance(rate, int) else None,
    )


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    last = last or first
    if first not in _DAYS or last not in _DAYS:
        raise ValueError(f"{_WINDOW_HINT}; days are {', '.join(_DAYS)}")
    begin = _DAYS.index(first)
    count = (_DAYS.index(last) - begin) % 7 + 1
    return frozenset((begin + n) % 7 for n in range(count))
