"""The plots: rate, bytes, lag and failures over time, with the same numbers as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

from starlette.responses import JSONResponse

from backhaul.app.plots import PlotRange, Step, in_steps, read_steps
from backhaul.core.errors import BadArgument
from backhaul.core.text import find_surrogate, printable

if TYPE_CHECKING:
    from datetime import datetime

    from starlette.requests import Request
    from starlette.responses import Response

    from backhaul.adapters.ledger.reading.observing import ActivityRow
    from backhaul.dashboard.website import Site

_DEFAULT = PlotRange.LAST_DAY
_ROUTE_MOST = 200


def plots_page(site: Site, request: Request) -> Response:
    """`/plots`."""
    chosen, route, now, rows = _read(site, request)
    steps = in_steps(rows, chosen, chosen.row, now)
    return site.answer(
        request,
        "plots",
        title=f"Last {chosen.text}",
        now=now,
        chosen=chosen,
        ranges=list(PlotRange),
        route=route,
        routes=sorted({one.name for one in site.overview.get().routes} - {""}),
        steps=steps[::-1],
        is_empty=not rows,
        data_url=f"/plots.json?{urlencode({'range': chosen.text, 'route': route})}",
    )


def plots_data(site: Site, request: Request) -> Response:
    """`/plots.json`: a list for each line, a value for each step; null: none."""
    chosen, _, now, rows = _read(site, request)
    return JSONResponse(as_lists(in_steps(rows, chosen, chosen.step, now), chosen))


def as_lists(steps: list[Step], chosen: PlotRange) -> dict[str, object]:
    """Times in seconds since 1970; rates per second of the step."""
    step_s = chosen.step.total_seconds()
    return {
        "step_s": step_s,
        "time": [one.begins_at.timestamp() for one in steps],
        "bytes": [one.bytes_done for one in steps],
        "bytes_per_s": [one.bytes_done / step_s for one in steps],
        "done": [one.done for one in steps],
        "dead": [one.dead for one in steps],
        "failed": [one.failed for one in steps],
        "lag_mean_s": [one.lag_mean.total_seconds() if one.lag_mean else None for one in steps],
        "lag_max_s": [one.lag_max.total_seconds() if one.lag_max else None for one in steps],
    }


def _read(site: Site, request: Request) -> tuple[PlotRange, str, datetime, list[ActivityRow]]:
    chosen = _range(request.query_params.get("range", ""))
    route = request.query_params.get("route", "")
    if len(route) > _ROUTE_MOST or find_surrogate(route) is not None:
        raise BadArgument(
            "E_SEARCH",
            f"route: {printable(route, 60)!r} is no route",
            hint="choose one of the list",
        )
    now = site.clock()
    rows = site.readers.call(
        lambda reader: read_steps(reader, chosen, now, route=route or None),
    )
    return chosen, route, now, rows


def _range(text: str) -> PlotRange:
    if not text:
        return _DEFAULT
    for one in PlotRange:
        if one.text == text:
            return one
    raise BadArgument(
        "E_SEARCH",
        f"range: {printable(text, 60)!r} cannot be read",
        hint=f"one of {', '.join(one.text for one in PlotRange)}",
    )
