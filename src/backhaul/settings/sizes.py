"""Sizes, rates and spans as people write them: `5TiB`, `50MB/s`, `15m`, `08:00-18:00 = 50MB/s`."""

from __future__ import annotations

import re
from fractions import Fraction

from backhaul.core.rate_limit import (
    HIGHEST_BYTES_PER_S,
    LOWEST_BYTES_PER_S,
    MINUTES_A_DAY,
    Window,
)

# Not pydantic's ByteSize, which makes 1,000 of `1.001kB`, takes `1,000` for 1 and knows no `64Ki`.
# `b` is always a byte.
_AMOUNT = re.compile(
    r"(?P<number>[0-9]{1,19}(?:\.[0-9]{1,19})?)\s*(?P<prefix>(?:[kmgtp]i?)?)(?P<unit>bit|b?)",
    re.IGNORECASE,
)
_PREFIXES = "kmgtp"
_SIZE_HINT = "write a size such as 500GiB, 5TiB or a number of bytes"
_RATE_HINT = "write a rate such as 50MB/s, 200kB/s, 10MiB/s, or off"
_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TIME = r"([01]?\d|2[0-4]):([0-5]\d)"
_WINDOW = re.compile(
    rf"(?:(?P<first>[a-z]{{3}})(?:-(?P<last>[a-z]{{3}}))?\s+)?{_TIME}\s*-\s*{_TIME}\s*=\s*(?P<rate>.+)"
)
_WINDOW_HINT = "write a window such as 08:00-18:00 = 50MB/s, or mon-fri 08:00-18:00 = 50MB/s"
OFF = "off"
_SPAN = re.compile(r"(?P<number>[0-9]{1,9}(?:\.[0-9]{1,9})?)\s*(?P<unit>[smhd])")
_SPAN_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN_HINT = "write a time such as 90s, 15m, 2h or 1d, or a number of seconds"


def parse_size(value: object) -> object:
    """`5TiB`, `200MB` or a plain number of bytes, as an int; pydantic checks any other type.

    Raises:
        ValueError: Not a size, or more than 63 bits hold.
    """
    return _parsed(value, _SIZE_HINT, takes_bits=False)


def parse_rate(value: object) -> object:
    """`50MB/s`, `50M`, `400Mbit/s` or bytes a second, as an int; `off` is None: no limit.

    Raises:
        ValueError: Not a rate, or one below 64 KiB/s, with which a transfer would time out.
    """
    if isinstance(value, str):
        value = value.strip().lower()
        if value == OFF:
            return None
        value = value.removesuffix("/s")
    rate = _parsed(value, _RATE_HINT, takes_bits=True)
    if isinstance(rate, int) and rate < LOWEST_BYTES_PER_S:
        raise ValueError(f"a limit is at least {LOWEST_BYTES_PER_S} bytes per second, or off")
    return rate


def _parsed(value: object, hint: str, *, takes_bits: bool) -> object:
    if isinstance(value, str):
        amount = _AMOUNT.fullmatch(value.strip())
        if amount is None or (not takes_bits and amount["unit"].lower() == "bit"):
            raise ValueError(hint)
        value = _bytes(Fraction(amount["number"]), amount["prefix"].lower(), amount["unit"].lower())
    if isinstance(value, int) and value > HIGHEST_BYTES_PER_S:
        raise ValueError(hint)
    return value


def _bytes(number: Fraction, prefix: str, unit: str) -> int:
    """Rounded down."""
    power = _PREFIXES.index(prefix[0]) + 1 if prefix else 0
    factor = (1024 if prefix.endswith("i") else 1000) ** power
    return int(number * factor / (8 if unit == "bit" else 1))


def parse_span(value: object) -> object:
    """`90s`, `15m`, `2h`, `1d` or a number of seconds; pydantic checks any other type.

    Raises:
        ValueError: Not a span.
    """
    if not isinstance(value, str):
        return value
    match = _SPAN.fullmatch(value.strip().lower())
    if match is None:
        raise ValueError(_SPAN_HINT)
    return float(match["number"]) * _SPAN_S[match["unit"]]


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
