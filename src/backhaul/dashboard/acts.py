"""What an operator can do from a page: first a page that says what it concerns, then a form.

Only with `--actions`. Each act goes through `app.actions`, as on the command line, and leaves a
line in the operators' journal with the name that was given here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote, unquote

from starlette.responses import RedirectResponse

from backhaul.core.errors import BackhaulError, BadArgument, PermanentError
from backhaul.core.ports import Act, Operator, Origin
from backhaul.core.text import INVISIBLE, find_control, find_surrogate, printable
from backhaul.dashboard.each_act import CONFIRMATIONS, LASTING, PERFORMED, REASON_MOST, SentForm

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

    from backhaul.dashboard.website import Site

NAME_MOST = 64
NAME_COOKIE = "backhaul_operator"
_A_YEAR_S = 365 * 86_400


class ForeignForm(BadArgument):
    """The form was not made by this dashboard; nothing was done."""


def confirm(site: Site, request: Request) -> Response:
    """`GET /act/NAME`."""
    act = _act(site, request)
    found = CONFIRMATIONS[act](site, request)
    return site.answer(
        request,
        "act",
        title=found.heading,
        one=found,
        act=act.value,
        lasting=list(LASTING),
        form_token=site.login.form_token,
        operator=unquote(request.cookies.get(NAME_COOKIE, "")),
        name_most=NAME_MOST,
        reason_most=REASON_MOST,
    )


def perform(site: Site, request: Request, form: SentForm) -> Response:
    """`POST /act/NAME`.

    Raises:
        BadArgument: E_DASHBOARD_FORM.
        BackhaulError: What the act raises; nothing else was done.
    """
    act = _act(site, request)
    _require_own(site, request, form)
    name = _name(form.one("operator"))
    warnings: list[BackhaulError] = []
    by = Operator(name=name, origin=Origin.DASHBOARD)
    outcome = PERFORMED[act](site, form, by, warnings.append)
    site.overview.forget()
    response: Response
    if outcome.lines or warnings:
        response = site.answer(
            request,
            "acted",
            title="Done",
            lines=outcome.lines,
            warnings=warnings,
            back=outcome.back,
        )
    else:
        joint = "&" if "?" in outcome.back else "?"
        response = RedirectResponse(f"{outcome.back}{joint}did={outcome.did}", status_code=303)
    response.set_cookie(
        NAME_COOKIE, quote(name), max_age=_A_YEAR_S, httponly=True, samesite="strict"
    )
    return response


def _act(site: Site, request: Request) -> Act:
    if site.context is None:
        raise PermanentError(
            "E_DASHBOARD_FORM",
            "this dashboard is read-only",
            hint="start it with --actions, as a user who may write the ledger",
        )
    try:
        act = Act(request.path_params["act"])
        PERFORMED[act]
    except (KeyError, ValueError):
        raise PermanentError(
            "E_DASHBOARD_FORM",
            f"no act is called {printable(request.path_params['act'], 40)!r}",
            hint=f"there are {', '.join(sorted(PERFORMED))}",
        ) from None
    return act


def _require_own(site: Site, request: Request, form: SentForm) -> None:
    """Another site can make a browser send a form, but cannot read the token in ours."""
    is_ours = request.headers.get("sec-fetch-site", "same-origin") in {"same-origin", "none"}
    if not is_ours or not site.login.has_form_token(form.one("form_token")):
        raise ForeignForm(
            "E_DASHBOARD_FORM",
            "the form is not from this dashboard, or from before its token was drawn anew",
            hint="nothing was done; load the page with the form again",
        )


def _name(text: str) -> str:
    is_text = find_control(text) is None and find_surrogate(text) is None
    if not text or len(text) > NAME_MOST or not is_text or INVISIBLE.search(text):
        raise BadArgument(
            "E_DASHBOARD_FORM",
            f"{printable(text, 80)!r} is no name",
            hint=f"write your name, at most {NAME_MOST} characters: the journal has it",
        )
    return text
