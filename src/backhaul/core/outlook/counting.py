"""Counting in pieces: whoever counts decides how much of it is done at once, and goes on later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from backhaul.core.outlook.expectation import ArrivalQuery, Arrived


@dataclass(frozen=True, kw_only=True)
class Count:
    """How far a query has been counted.

    Attributes:
        is_over: All of it is counted, or it is enough.
        position: Where the reader goes on; its own.
    """

    found: Arrived = field(default_factory=Arrived)
    is_over: bool = False
    position: object = None


def whole(count: Callable[[ArrivalQuery, Count | None], Count], query: ArrivalQuery) -> Arrived:
    """All pieces, one after another."""
    so_far = count(query, None)
    while not so_far.is_over:
        so_far = count(query, so_far)
    return so_far.found
