"""As much of HTTP/1.1 as a scrape and a probe need: a request's head, and a whole answer.

Pure. Every connection serves one request; a body is never read.

Source: RFC 9112.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from http import HTTPStatus

HEAD_MOST_BYTES = 8192
_END = re.compile(rb"\r?\n\r?\n")
_REQUEST_LINE = re.compile(rb"([A-Z]{1,16}) (/[!-~]*) HTTP/1\.[01]")
_HOST = re.compile(rb"\n[Hh][Oo][Ss][Tt][ \t]*:([^\r\n]*)")
_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, kw_only=True)
class HttpAnswer:
    """Status, kind and body of one answer."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = _TEXT

    @classmethod
    def of(cls, status: HTTPStatus, text: str) -> HttpAnswer:
        """Plain text, one line or several."""
        return cls(status=status, body=f"{text}\n".encode())


@dataclass(frozen=True, kw_only=True)
class HttpRequest:
    """The head of a request that may be answered.

    Attributes:
        path: Without its query.
        is_head: HEAD: the answer has no body.
        host: The Host header, as sent; empty without one. Nothing of it is ever repeated.
    """

    path: str
    is_head: bool
    host: str


class Refused(Exception):
    """The request is not answered with a page.

    Attributes:
        answer: What is sent instead.
    """

    def __init__(self, status: HTTPStatus, text: str) -> None:
        super().__init__(text)
        self.answer = HttpAnswer.of(status, text)


def read_request(received: bytes) -> HttpRequest | None:
    """The request; None while its head is not complete.

    Raises:
        Refused: It is no request, too long, or neither GET nor HEAD.
    """
    end = _END.search(received)
    if end is None:
        if len(received) > HEAD_MOST_BYTES:
            raise Refused(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "headers over 8 KiB")
        line, is_line, _ = received.partition(b"\n")
        if is_line:
            _request_line(line)
        return None
    head = received[: end.end()]
    method, path = _request_line(head.partition(b"\n")[0])
    if method not in {b"GET", b"HEAD"}:
        raise Refused(HTTPStatus.METHOD_NOT_ALLOWED, "GET and HEAD alone")
    host = _HOST.search(head)
    return HttpRequest(
        path=path.decode("ascii").partition("?")[0],
        is_head=method == b"HEAD",
        host=host[1].decode("latin-1").strip() if host else "",
    )


def _request_line(line: bytes) -> tuple[bytes, bytes]:
    found = _REQUEST_LINE.fullmatch(line.removesuffix(b"\r"))
    if found is None:
        raise Refused(HTTPStatus.BAD_REQUEST, "this is no HTTP request")
    return found[1], found[2]


def wire_form(answer: HttpAnswer, *, is_head: bool = False) -> bytes:
    """The bytes of an answer after which the connection ends."""
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Cache-Control: no-store",
        "X-Content-Type-Options: nosniff",
        "Connection: close",
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join(lines).encode("ascii") + b"\r\n\r\n"
    return head if is_head else head + answer.body


def is_own_name(host: str) -> bool:
    """Whether a Host header names this machine as an address or as `localhost`.

    A web page whose own name was made to resolve to 127.0.0.1 sends that name.
    """
    name = host.rpartition(":")[0] if re.search(r":[0-9]*$", host) else host
    return (
        not name
        or name.lower() in {"localhost", "localhost."}
        or re.fullmatch(r"[0-9.]+|\[[0-9A-Fa-f:.]+\]", name) is not None
    )
