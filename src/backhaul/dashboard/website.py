"""What all pages of one dashboard share: the ledger, the settings, the templates."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.responses import HTMLResponse

from backhaul import __version__
from backhaul.app.overview import Overview, overview
from backhaul.core.errors import BackhaulError
from backhaul.dashboard.login import LinkToken
from backhaul.dashboard.readers import KeptBriefly, Readers
from backhaul.dashboard.rendering import HERE, Renderer
from backhaul.settings.model import Settings

if TYPE_CHECKING:
    from starlette.requests import Request

    from backhaul.app.context import Context

PAGES = (("/", "Overview"), ("/search", "Search"), ("/plots", "Plots"), ("/journal", "Journal"))
REFRESHES = ((5, "5 s"), (15, "15 s"), (60, "1 min"), (0, "Paused"))
DID = {
    "cancel": "The transfer was cancelled.",
    "pause": "The route is paused; agents comply within some seconds.",
    "resume": "The route is resumed; agents comply within some seconds.",
    "limit": "The limit is set; agents apply it within a second.",
    "budget": "The budget is raised; what fits now goes on within some seconds.",
}
MAKERS = 4
REFRESH_COOKIE = "backhaul_refresh"
_REFRESH_DEFAULT = 5
OVERVIEW_KEPT_S = 1.0
_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


@dataclass(frozen=True, kw_only=True)
class StaticFile:
    """A file that pages load, read once at the start."""

    content: bytes
    media_type: str
    version: str


def static_files() -> dict[str, StaticFile]:
    """By their path below `static/`; only kinds that a browser loads."""
    found = {}
    root = HERE / "static"
    for path in sorted(root.rglob("*")):
        if path.suffix in _TYPES:
            content = path.read_bytes()
            found[path.relative_to(root).as_posix()] = StaticFile(
                content=content,
                media_type=_TYPES[path.suffix],
                version=hashlib.sha256(content).hexdigest()[:12],
            )
    return found


@dataclass(frozen=True, kw_only=True)
class Site:
    """One dashboard.

    Attributes:
        context: What acts need of the configuration; None: no page changes anything.
        makers: Few threads make all pages: more would only slow down the one that reads.
        actor: One thread, for one act at a time; pages do not wait for it.
        clock: Local time of this machine, aware; its zone is the one that pages show.
    """

    settings: Settings
    login: LinkToken
    context: Context | None = None
    clock: Callable[[], datetime] = lambda: datetime.now(UTC).astimezone()
    files: dict[str, StaticFile] = field(default_factory=static_files)
    makers: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(MAKERS, thread_name_prefix="page")
    )
    actor: ThreadPoolExecutor = field(
        default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="act")
    )

    def warm_up(self) -> None:
        """Read once what the first page shows, so that it does not pay for first times."""
        with suppress(BackhaulError):  # the page shows it
            self.overview.get()

    def close(self) -> None:
        """Release ledger and threads; an act that is under way comes to its end first."""
        self.makers.shutdown()
        self.actor.shutdown()
        self.readers.close()

    def require_context(self) -> Context:
        """For an act, which only a dashboard with a context performs."""
        if self.context is None:
            raise AssertionError
        return self.context

    @cached_property
    def readers(self) -> Readers:
        return Readers(self.settings.ledger_place)

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer(
            pages=PAGES,
            refreshes=REFRESHES,
            version=__version__,
            ledger=str(self.settings.ledger_path.absolute()),
            has_actions=self.context is not None,
            static=lambda name: f"/static/{name}?v={self.files[name].version}",
        )

    @cached_property
    def overview(self) -> KeptBriefly[Overview]:
        """However many pages are open, the ledger is read once a second for this."""
        path = self.settings.ledger_place
        routes = [one.name for one in self.settings.route]

        def read() -> Overview:
            now = self.clock()
            return self.readers.call(lambda reader: overview(reader, path, now, routes=routes))

        return KeptBriefly(read, keep_s=OVERVIEW_KEPT_S)

    def answer(
        self,
        request: Request,
        name: str,
        *,
        title: str,
        status: int = 200,
        is_live: bool = False,
        **values: object,
    ) -> HTMLResponse:
        """The page `NAME.html`, or `NAME_part.html`, its part that is refreshed.

        Args:
            is_live: It refreshes itself, at the rate that the browser has chosen.
        """
        refresh = refresh_of(request)
        is_part = request.headers.get("hx-request") == "true"
        html = self.renderer.page(
            f"{name}_part.html" if is_part else f"{name}.html",
            title=f"{title} · Backhaul",
            here=request.url.path,
            is_part=is_part,
            refresh=refresh,
            refresh_url=link(request) if is_live and refresh else "",
            link=lambda **changes: link(request, **changes),
            did=DID.get(request.query_params.get("did", ""), ""),
            **values,
        )
        found = HTMLResponse(html, status_code=status, headers={"Vary": "HX-Request"})
        if "refresh" in request.query_params:
            found.set_cookie(
                REFRESH_COOKIE, str(refresh), max_age=365 * 86_400, httponly=True, samesite="strict"
            )
        return found


def refresh_of(request: Request) -> int:
    """Seconds between two refreshes, 0 for none: the URL's choice, else the browser's last."""
    for given in (request.query_params.get("refresh"), request.cookies.get(REFRESH_COOKIE)):
        for seconds, _ in REFRESHES:
            if given == str(seconds):
                return seconds
    return _REFRESH_DEFAULT


def link(request: Request, **changes: object) -> str:
    """This page's URL with other values in its query; None removes one."""
    query = dict(parse_qsl(request.url.query, keep_blank_values=False))
    query.pop("did", None)  # said once
    for name, value in changes.items():
        query.pop(name, None)
        if value is not None:
            query[name] = str(value)
    return request.url.path + (f"?{urlencode(query)}" if query else "")
