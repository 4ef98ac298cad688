"""The journal of what operators did, newest first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backhaul.core.errors import BadArgument
from backhaul.core.text import printable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from backhaul.dashboard.website import Site

LINES = 100
_DIGITS_MOST = 15


def journal_page(site: Site, request: Request) -> Response:
    """`/journal`."""
    before = _number(request.query_params.get("before", ""))
    lines = site.readers.call(lambda reader: reader.operator_actions(most=LINES, before=before))
    return site.answer(
        request,
        "journal",
        title="Journal",
        now=site.clock(),
        lines=lines,
        is_first=before is None,
        older=lines[-1].number if len(lines) == LINES else None,
    )


def _number(text: str) -> int | None:
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS_MOST):
        raise BadArgument(
            "E_SEARCH",
            f"before: {printable(text, 60)!r} is no number of a line",
            hint="begin at the newest line: /journal",
        )
    return int(text)
