"""What every request passes before a page sees it, and what every answer carries.

In this order: the method; the name of the host, so that a foreign name that was made to point here
(DNS rebinding) gets nothing; then token or cookie. Without one of the two there is no page, no
style and no script.
"""

from __future__ import annotations

import hashlib
import ipaddress
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import HTMLResponse, RedirectResponse, Response

from backhaul.dashboard.login import LinkToken
from backhaul.dashboard.rendering import Renderer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = frozenset({"GET", "HEAD", "POST"})
COOKIE_MAX_AGE_S = 30 * 86_400
NO_LINK, WRONG_HOST, WRONG_METHOD = 401, 421, 405

# In the page itself, as who gets no page gets no file either.
REFUSED_STYLE = (
    "body{margin:0;font:16px/1.5 system-ui,sans-serif}"
    "main{max-width:640px;margin:64px auto;padding:0 16px}"
    "h1{font-size:24px;line-height:1.3}"
    "pre{padding:8px 12px;border:1px solid;border-radius:6px;white-space:pre-wrap}"
)
# Nothing from elsewhere, nothing inline but that style, in no frame; forms go nowhere else.
POLICY = (
    "default-src 'none'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; style-src 'self' 'sha256-"
    f"{b64encode(hashlib.sha256(REFUSED_STYLE.encode()).digest()).decode()}'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Who gets in.

    Attributes:
        names: Host names and addresses under which the dashboard answers, in lower case.
        is_any_address: It listens on every address of the machine; then each address is a name.
        is_behind_proxy: `X-Forwarded-Proto` counts, because a proxy that is trusted sets it.
    """

    login: LinkToken
    names: frozenset[str]
    is_any_address: bool = False
    is_behind_proxy: bool = False

    def is_host(self, value: str) -> bool:
        """Whether a Host header names this dashboard, with any port."""
        name = host_name_of(value)
        if name in self.names:
            return True
        return self.is_any_address and is_address(name)

    def is_secure(self, scheme: str, headers: Mapping[str, str]) -> bool:
        """Whether the browser came by https."""
        if self.is_behind_proxy:
            return headers.get("x-forwarded-proto", "").strip().lower() == "https"
        return scheme == "https"


def host_name_of(value: str) -> str:
    """`localhost` of `LocalHost.:8787`, `::1` of `[::1]:8787`; empty where it is none."""
    try:
        name = urlsplit(f"//{value}").hostname or ""
    except ValueError:
        return ""
    return name.removesuffix(".")


def is_address(name: str) -> bool:
    """Whether it is an IP address: no name server can make one point elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """ASGI middleware around all pages."""

    def __init__(self, app: ASGIApp, *, admission: Admission, renderer: Renderer) -> None:
        self._app = app
        self._admission = admission
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in HEADERS.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (refusal or self._app)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        """The answer instead of a page; None: let it through."""
        headers = Headers(scope=scope)
        if scope["method"] not in METHODS:
            return self._page(WRONG_METHOD, "method")
        if not self._admission.is_host(headers.get("host", "")):
            return self._page(WRONG_HOST, "host", host=headers.get("host", ""))
        query = parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        given = [value for name, value in query if name == "token"]
        # Relative, and of one slash: `//evil.example` would be another host. Quoted, because a
        # browser leaves tabs and line breaks out, and `/<tab>/evil.example` is one, too.
        path = "/" + quote(scope["path"].lstrip("/\\"))
        rest = [(name, value) for name, value in query if name != "token"]
        target = path + (f"?{urlencode(rest)}" if rest else "")
        if given:
            return self._admitted(scope, headers, given[-1], target)
        cookie = _cookie(headers.get("cookie", ""), self._admission.login.cookie_name)
        if self._admission.login.has_cookie(cookie):
            return None
        # A browser that follows a link from another site leaves the cookie at home.
        is_foreign = headers.get("sec-fetch-site") == "cross-site"
        return self._page(NO_LINK, "no-link", again=target if is_foreign else None)

    def _admitted(self, scope: Scope, headers: Headers, token: str, target: str) -> Response:
        login = self._admission.login
        if scope["method"] == "POST" or not login.has_token(token):
            return self._page(NO_LINK, "old-link")
        found: Response
        if headers.get("sec-fetch-site") == "cross-site":
            # After a redirect the browser would count the page as another site's request.
            found = self._page(200, "admitted", again=target)
        else:
            found = RedirectResponse(target, status_code=303)
        found.set_cookie(
            login.cookie_name,
            login.cookie,
            max_age=COOKIE_MAX_AGE_S,
            httponly=True,
            samesite="strict",
            secure=self._admission.is_secure(scope["scheme"], headers),
        )
        return found

    def _page(self, status: int, reason: str, **values: object) -> HTMLResponse:
        return HTMLResponse(
            self._renderer.page("refused.html", reason=reason, style=REFUSED_STYLE, **values),
            status_code=status,
        )


def _cookie(header: str, name: str) -> str:
    jar: SimpleCookie = SimpleCookie()
    try:
        jar.load(header)
    except CookieError:
        return ""
    return jar[name].value if name in jar else ""
