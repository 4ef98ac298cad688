"""The search: one box and some filters, all of them in the URL."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from backhaul.adapters.ledger.reading.searching import TransferFilter
from backhaul.app.search import Search, SearchedFor, search
from backhaul.core.errors import BadArgument
from backhaul.core.model import TransferState
from backhaul.core.text import find_surrogate, printable

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from backhaul.dashboard.website import Site

TEXT_MOST = 2000
KINDS = (
    ("", "what it looks like"),
    (SearchedFor.ID.value, "id of a transfer"),
    (SearchedFor.MESSAGE.value, "id of a message"),
    (SearchedFor.SOURCE.value, "S3 URI or key with its bucket"),
    (SearchedFor.PATH.value, "path on the target"),
    (SearchedFor.DIGEST.value, "digest"),
    (SearchedFor.TEXT.value, "part of source or destination"),
)
_SPANS = {"m": "minutes", "h": "hours", "d": "days"}


def search_page(site: Site, request: Request) -> Response:
    """`/search`."""
    now = site.clock()
    given = {
        name: request.query_params.get(name, "").strip()
        for name in ("q", "in", "route", "code", "sender", "since", "until")
    }
    wanted = search_of(given, request.query_params.getlist("state"), now)
    go_on = request.query_params.get("before")
    result = site.readers.call(lambda reader: search(reader, wanted, go_on=go_on))
    return site.answer(
        request,
        "search",
        title="Search",
        now=now,
        given=given,
        states=[one.value for one in TransferState],
        chosen={one.value for one in wanted.filters.states},
        kinds=KINDS,
        routes=sorted(one.name for one in site.settings.route),
        result=result,
        is_first=go_on is None,
        zone=now.tzname(),
    )


def search_of(given: dict[str, str], states: list[str], now: datetime) -> Search:
    """From the fields of the form.

    Raises:
        BadArgument: E_SEARCH: a field that cannot be read.
    """
    for name, value in given.items():
        if len(value) > TEXT_MOST or find_surrogate(value) is not None:
            raise BadArgument(
                "E_SEARCH",
                f"{name}: {printable(value, 60)!r} is too long or no text",
                hint=f"at most {TEXT_MOST:,} characters",
            )
    filters = TransferFilter(
        states=tuple(_state(one) for one in states if one),
        route=given["route"] or None,
        code=given["code"] or None,
        sender=given["sender"] or None,
        since=_moment("since", given["since"], now),
        until=_moment("until", given["until"], now),
    )
    return Search(text=given["q"], kind=_kind(given["in"]), filters=filters)


def _state(text: str) -> TransferState:
    try:
        return TransferState(text)
    except ValueError:
        raise _unreadable("state", text, ", ".join(TransferState)) from None


def _kind(text: str) -> SearchedFor | None:
    try:
        return SearchedFor(text) if text else None
    except ValueError:
        raise _unreadable("in", text, ", ".join(SearchedFor)) from None


def _moment(name: str, text: str, now: datetime) -> datetime | None:
    """A date, a date with time, or a span back from now such as `2h`; this machine's zone."""
    if not text:
        return None
    number, unit = text[:-1], text[-1]
    try:
        if number.isascii() and number.isdigit() and unit in _SPANS:
            return now - timedelta(**{_SPANS[unit]: int(number)})
        found = datetime.fromisoformat(text)
        # Over UTC: the zone's offset then may be another than now.
        return found.astimezone()
    except (ValueError, OverflowError, OSError):
        raise _unreadable(
            name, text, "2h, 7d, 2026-11-01, 2026-11-01 03:00 or 2026-11-01T03:00Z"
        ) from None


def _unreadable(name: str, text: str, accepted: str) -> BadArgument:
    return BadArgument(
        "E_SEARCH", f"{name}: {printable(text, 60)!r} cannot be read", hint=f"write {accepted}"
    )


def has_filters(given: dict[str, Any]) -> bool:
    """Whether the form has any value."""
    return any(given.values())
