"""Sizes, rates and spans of time as people read them; one form everywhere."""

from __future__ import annotations

import re
from datetime import timedelta

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_SPAN = re.compile(r"([1-9]\d{0,5})\s*(s|m|h|d)")
_SPAN_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def human_bytes(size_bytes: float) -> str:
    """`1.5 MiB`; whole bytes below 1 KiB."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":  # noqa: PLR2004
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


def human_rate(bytes_per_s: float) -> str:
    """`1.5 MiB/s`."""
    return f"{human_bytes(bytes_per_s)}/s"


def human_span(span: timedelta) -> str:
    """One unit is enough: `28 s`, `3 min`, `5 h`, `2 days`; a negative one is `0 s`."""
    seconds = max(0, round(span.total_seconds()))
    if seconds < 2 * _MINUTE_S:
        return f"{seconds} s"
    if seconds < 2 * _HOUR_S:
        return f"{seconds // _MINUTE_S} min"
    if seconds < 2 * _DAY_S:
        return f"{seconds // _HOUR_S} h"
    return f"{seconds // _DAY_S} days"


def parse_span(text: str) -> timedelta | None:
    """`30s`, `90m`, `2h` or `3d`; None for anything else."""
    match = _SPAN.fullmatch(text.strip())
    return timedelta(**{_SPAN_UNITS[match[2]]: int(match[1])}) if match else None
