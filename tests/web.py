"""A browser for tests: requests to the dashboard's application without a socket."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlencode, urlsplit

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Scope


@dataclass(kw_only=True)
class Answer:
    """What came back.

    Attributes:
        defect: What the application raised after it had answered, for the server's log.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    defect: Exception | None = None

    @property
    def text(self) -> str:
        return self.body.decode()

    def header(self, name: str) -> str:
        """Empty where there is none; it must not come twice."""
        found = [value for key, value in self.headers if key == name.lower()]
        assert len(found) < 2, name
        return found[0] if found else ""

    def cookie(self, prefix: str) -> str:
        """The whole Set-Cookie line of the cookie whose name begins like this."""
        lines = [value for key, value in self.headers if key == "set-cookie"]
        return next((line for line in lines if line.startswith(prefix)), "")


@dataclass(kw_only=True)
class Browser:
    """Keeps cookies and follows nothing by itself."""

    app: ASGIApp
    host: str = "127.0.0.1:8787"
    scheme: str = "http"
    cookies: dict[str, str] = field(default_factory=dict)

    def get(self, url: str, **headers: str) -> Answer:
        return self.send("GET", url, b"", headers)

    def post(
        self, url: str, form: dict[str, str] | list[tuple[str, str]], **headers: str
    ) -> Answer:
        kind = {"content-type": "application/x-www-form-urlencoded"}
        return self.send("POST", url, urlencode(form).encode(), kind | headers)

    def send(self, method: str, url: str, body: bytes, headers: dict[str, str]) -> Answer:
        """Header names have underscores instead of dashes."""
        parts = urlsplit(url)
        sent = {"host": self.host, "content-length": str(len(body))}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "server": ("127.0.0.1", 8787),
            "client": ("127.0.0.1", 50_000),
            "scheme": self.scheme,
            "method": method,
            "root_path": "",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "query_string": parts.query.encode(),
            "headers": [(key.encode(), value.encode("latin-1")) for key, value in sent.items()],
            "state": {},
        }
        answer = asyncio.run(_answer(self.app, scope, body))
        jar: SimpleCookie = SimpleCookie()
        for key, value in answer.headers:
            if key == "set-cookie":
                jar.load(value)
        self.cookies |= {name: morsel.value for name, morsel in jar.items()}
        return answer


async def _answer(app: ASGIApp, scope: Scope, body: bytes) -> Answer:
    sent: list[Message] = []
    wanted: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> Message:
        return wanted.pop() if wanted else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    defect = None
    try:
        await app(scope, receive, send)
    except Exception as error:
        if not sent:
            raise
        defect = error
    (start,) = (one for one in sent if one["type"] == "http.response.start")
    chunks = [one.get("body", b"") for one in sent if one["type"] == "http.response.body"]
    headers = [(key.decode(), value.decode("latin-1")) for key, value in start["headers"]]
    return Answer(status=start["status"], headers=headers, body=b"".join(chunks), defect=defect)
