"""The pages by their addresses, and what a page that cannot be made answers instead."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backhaul.core.errors import BackhaulError, BadArgument, PermanentError
from backhaul.dashboard.acts import ForeignForm, confirm, perform
from backhaul.dashboard.each_act import SentForm
from backhaul.dashboard.front import front
from backhaul.dashboard.guard import Admission, Guard
from backhaul.dashboard.journal import journal_page
from backhaul.dashboard.plots import plots_data, plots_page
from backhaul.dashboard.search import search_page
from backhaul.dashboard.transfer import transfer_page
from backhaul.dashboard.website import Site

MAX_BODY_BYTES = 65_536
NOT_FOUND, BAD_REQUEST, UNAVAILABLE, DEFECT, FORBIDDEN = 404, 400, 503, 500, 403
_A_YEAR = "private, max-age=31536000, immutable"

Page = Callable[[Site, Request], Response]


def application(site: Site, admission: Admission) -> Guard:
    """All pages behind their guard, which is around everything: also an error has its headers."""

    def page(address: str, handler: Page) -> Route:
        async def serve(request: Request) -> Response:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(site.makers, _made, site, handler, request)

        return Route(address, serve, methods=["GET", "HEAD"])

    async def act(request: Request) -> Response:
        form = SentForm(fields=parse_qs(_text(await request.body()), keep_blank_values=True))

        def handler(site: Site, request: Request) -> Response:
            return perform(site, request, form)

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(site.actor, _made, site, handler, request)

    def missing(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else NOT_FOUND
        return site.answer(
            request,
            "error",
            title="No such page",
            status=status,
            heading="There is no such page" if status == NOT_FOUND else "That is not possible here",
            code="",
            message=f"{request.method} {request.url.path}",
            hint="the pages are in the line at the top",
            instead=None,
        )

    def defect(request: Request, error: Exception) -> Response:
        # The server writes the traceback to standard error, without secrets.
        return site.answer(
            request,
            "error",
            title="Defect",
            status=DEFECT,
            heading="This page has a defect",
            code="E_BUG",
            message=f"unexpected {type(error).__name__}",
            hint="report it with what the dashboard has written: journalctl -u backhaul-dashboard",
            instead=None,
        )

    pages = Starlette(
        routes=[
            page("/", front),
            page("/transfer/{id}", transfer_page),
            page("/search", search_page),
            page("/plots", plots_page),
            page("/plots.json", plots_data),
            page("/journal", journal_page),
            page("/act/{act}", confirm),
            Route("/act/{act}", act, methods=["POST"]),
            Route("/static/{name:path}", _static(site), methods=["GET", "HEAD"]),
        ],
        exception_handlers={HTTPException: missing, Exception: defect},
        max_body_size=MAX_BODY_BYTES,
    )
    return Guard(pages, admission=admission, renderer=site.renderer)


def _text(body: bytes) -> str:
    return body.decode("utf-8", "replace")


def _made(site: Site, handler: Page, request: Request) -> Response:
    """The page, or one that says why there is none and what to do."""
    try:
        return handler(site, request)
    except BackhaulError as error:
        return error_page(site, request, error)


def error_page(site: Site, request: Request, error: BackhaulError) -> Response:
    """For an error of Backhaul: the ledger is not there, locked, damaged; no such id."""
    match error:
        case PermanentError():
            status, heading = NOT_FOUND, "Not found"
        case ForeignForm():
            status, heading = FORBIDDEN, "Not done"
        case BadArgument():
            status, heading = BAD_REQUEST, "This cannot be read"
        case _ if request.method == "POST":
            status, heading = UNAVAILABLE, "It was not done, or not to its end"
        case _:
            status, heading = UNAVAILABLE, "The ledger cannot be shown"
    return site.answer(
        request,
        "error",
        title=heading,
        status=status,
        is_live=status == UNAVAILABLE and request.method != "POST",
        heading=heading,
        code=error.code,
        message=error.message,
        hint=error.hint,
        instead=_instead(request, error),
    )


def _instead(request: Request, error: BackhaulError) -> tuple[str, str] | None:
    """Where to go from an error page, and the words of that link."""
    if error.code != "E_NO_SUCH_TRANSFER":
        return None
    query = urlencode({"q": request.path_params.get("id", "")})
    return f"/search?{query}", "Search for it"


def _static(site: Site) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        found = site.files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(NOT_FOUND)
        return Response(
            found.content, media_type=found.media_type, headers={"Cache-Control": _A_YEAR}
        )

    return serve
