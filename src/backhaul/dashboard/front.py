"""The front page: is it well, what moves, when is it done, what is to be done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.adapters.ledger.reading.observing import OpenTransfer
from backhaul.adapters.system.clock import host_name
from backhaul.adapters.system.trusted_files import network_filesystem
from backhaul.app.budget import budget_views
from backhaul.app.cost import estimate_of
from backhaul.app.limit import read_limit
from backhaul.app.overview import Overview, RouteView
from backhaul.core.agent_report import REPORT_EVERY_S
from backhaul.core.cost.prices import usd_text
from backhaul.core.errors import BackhaulError
from backhaul.core.health import HealthState
from backhaul.core.model import TransferState
from backhaul.dashboard.website import Site

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

TONES = {
    HealthState.RUNNING: "ok",
    HealthState.STOPPING: "warn",
    HealthState.HELD: "warn",
    HealthState.BUDGET: "warn",
    HealthState.NOT_POLLING: "bad",
    HealthState.SILENT: "bad",
    HealthState.NOT_RUNNING: "bad",
}
ROWS_MOST = 100
WAITING_MOST = 20  # rows; what died is below, and must not be far away
ROUTES_MOST = 12  # rows; routes with trouble are shown, however many they are
JUST_BEGUN = timedelta(seconds=3 * REPORT_EVERY_S)
UNDER_WAY = frozenset({TransferState.RECEIVED, TransferState.STAGING, TransferState.PUBLISHING})
CLOCKS_APART = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class LimitView:
    """The limit on reading from S3.

    Attributes:
        rate: Bytes per second; None: no limit, or it could not be read.
        why: Who set it, or why it could not be read.
    """

    rate: int | None
    why: str
    until: datetime | None = None


def front(site: Site, request: Request) -> Response:
    """`/`."""
    view = site.overview.get()
    begun, waiting = apart(view)
    price = site.settings.cost.price
    month = site.readers.call(lambda reader: estimate_of(reader, price, view.now))
    now = view.now.astimezone(UTC)  # periods are of UTC
    budgets = site.readers.call(lambda reader: budget_views(site.settings, reader, now))
    is_all_routes = request.query_params.get("routes") == "all"
    state = view.health.state.value.replace("-", " ")
    return site.answer(
        request,
        "front",
        title=state.capitalize(),
        is_live=True,
        view=view,
        begun=begun,
        waiting=waiting,
        tone=TONES[view.health.state],
        # Without times, so that it is read aloud only when something has changed.
        announcement=f"State: {state} {view.health.code}".strip(),
        notices=notices(view, this_host=host_name()),
        limit=limit_view(site),
        month=month,
        month_cost=usd_text(month.month_usd),
        budgets=budgets[:ROWS_MOST],
        budgets_left_out=len(budgets[ROWS_MOST:]),
        limits={one.name: one.limits.in_flight for one in site.settings.route},
        tones=TONES,
        rows_most=ROWS_MOST,
        waiting_most=WAITING_MOST,
        routes=shown_routes(view.routes, is_all=is_all_routes),
        expected=sorted(view.expectations, key=lambda one: (not one.is_missed, one.next.deadline))[
            :ROWS_MOST
        ],
        is_all_routes=is_all_routes and len(view.routes) > ROUTES_MOST,
    )


def shown_routes(routes: Sequence[RouteView], *, is_all: bool) -> Sequence[RouteView]:
    """Those with trouble, which come first, and a few others."""
    if is_all:
        return routes
    troubled = sum(one.trouble > 0 for one in routes)
    return routes[: max(troubled, ROUTES_MOST)]


def apart(view: Overview) -> tuple[list[OpenTransfer], list[OpenTransfer]]:
    """Open transfers that no report has yet: those that have just begun, and those that wait.

    An agent reports every five seconds, so what began since then is in no report.
    """
    begun = [
        one
        for one in view.waiting
        if one.state in UNDER_WAY and not one.code and view.now - one.updated_at < JUST_BEGUN
    ]
    return begun, [one for one in view.waiting if one not in begun]


def limit_view(site: Site) -> LimitView:
    """The limit in force; a file that cannot be read does not hide the rest of the page."""
    try:
        found = site.readers.call(lambda reader: read_limit(site.settings, reader))
    except BackhaulError as error:
        return LimitView(rate=None, why=f"unknown: {error}; {error.hint}")
    return LimitView(rate=found.now.bytes_per_s, why=found.now.why.value, until=found.until)


def notices(view: Overview, *, this_host: str) -> list[str]:
    """What makes this page show less, or something else, than it seems to."""
    found = []
    kind = network_filesystem(view.ledger) if isinstance(view.ledger, Path) else ""
    if kind:
        found.append(
            f"The ledger is on {kind}, a network file system: what is read here may be old, and "
            "locks may not hold. Run the dashboard on the agent's host, and come to it by ssh -L"
        )
    hosts = sorted({one.record.identity.host for one in view.agents})
    if hosts and this_host not in hosts and not any(one.is_alive for one in view.agents):
        found.append(
            f"The agents of this ledger ran on {', '.join(hosts)}, and this is {this_host}: a copy "
            "of a ledger does not change any more. Run the dashboard there"
        )
    for one in view.agents:
        ahead = one.record.report.at - view.now
        if ahead > CLOCKS_APART:
            host = one.record.identity.host
            found.append(
                f"The clock of {host} is {round(ahead.total_seconds())} s ahead of this machine's: "
                "ages and rates below are wrong. Check NTP on both: timedatectl"
            )
    if view.is_cut:
        found.append(
            "There are more open or dead transfers than this page reads; the search has all of them"
        )
    return found
