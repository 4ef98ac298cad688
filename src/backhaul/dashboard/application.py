"""The pages by their addresses, and what a page that cannot be made answers instead."""

from __future__ import annotations

from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from backhaul.core.errors import BackhaulError, BadArgument, PermanentError
from backhaul.dashboard.front import front
from backhaul.dashboard.guard import Admission, Guard
from backhaul.dashboard.website import Site

MAX_BODY_BYTES = 65_536
NOT_FOUND, BAD_REQUEST, UNAVAILABLE = 404, 400, 503
_A_YEAR = "private, max-age=31536000, immutable"

Page = Callable[[Site, Request], Response]


def application(site: Site, admission: Admission) -> Starlette:
    """All pages behind their guard."""

    def page(address: str, handler: Page) -> Route:
        async def serve(request: Request) -> Response:
            # In a thread: a page that waits for the ledger holds up no other.
            return await run_in_threadpool(_made, site, handler, request)

        return Route(address, serve, methods=["GET", "HEAD"])

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
        )

    return Starlette(
        routes=[
            page("/", front),
            Route("/static/{name:path}", _static(site), methods=["GET", "HEAD"]),
        ],
        middleware=[Middleware(Guard, admission=admission, renderer=site.renderer)],
        exception_handlers={HTTPException: missing},
        max_body_size=MAX_BODY_BYTES,
    )


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
        case BadArgument():
            status, heading = BAD_REQUEST, "This cannot be read"
        case _:
            status, heading = UNAVAILABLE, "The ledger cannot be shown"
    return site.answer(
        request,
        "error",
        title=heading,
        status=status,
        is_live=status == UNAVAILABLE,
        heading=heading,
        code=error.code,
        message=error.message,
        hint=error.hint,
    )


def _static(site: Site) -> Callable[[Request], Response]:
    def serve(request: Request) -> Response:
        found = site.files.get(request.path_params["name"])
        if found is None:
            raise HTTPException(NOT_FOUND)
        return Response(
            found.content, media_type=found.media_type, headers={"Cache-Control": _A_YEAR}
        )

    return serve
