"""The error for a route that is not known, with what may have been meant."""

from __future__ import annotations

from collections.abc import Collection
from difflib import get_close_matches

from backhaul.core.errors import BadArgument
from backhaul.core.text import printable

LISTED_MOST = 20  # routes


def unknown_route(name: str, known: Collection[str], *, where: str) -> BadArgument:
    """E_ROUTE_UNKNOWN.

    Args:
        known: The names of all routes that could have been meant.
        where: They are: `in the configuration`.
    """
    names = ", ".join(printable(one, 80) for one in sorted(known)[:LISTED_MOST])
    more = f" and {len(known) - LISTED_MOST} more" if len(known) > LISTED_MOST else ""
    near = get_close_matches(name, known, 1)
    return BadArgument(
        "E_ROUTE_UNKNOWN",
        f"no route {printable(name, 80)!r} {where}",
        hint=(f"did you mean {near[0]!r}? " if near else "")
        + (f"known routes: {names}{more}" if known else "there is no route yet"),
    )
