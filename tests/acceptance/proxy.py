"""An HTTP proxy in front of a real server: counts requests, and lies about answers when told to.

Clients sign the Host they speak to, and servers check what they are sent, so the Host header goes
on unchanged and a signed request stays valid. Bodies are held whole in memory: keep them small.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit

from backhaul.testing.servers.base import HttpServer


@dataclass(frozen=True, kw_only=True)
class Seen:
    """One request as it came, and what was answered."""

    method: str
    target: str  # path and query, still percent-encoded
    headers: dict[str, str]  # names in lower case
    body: bytes
    at_s: float = 0.0

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def is_list(self) -> bool:
        return self.method == "GET" and "list-type" in self.query

    @property
    def is_object_get(self) -> bool:
        """A GET of an object's bytes."""
        return self.method == "GET" and self.path.count("/") > 1 and not self.is_list

    @property
    def action(self) -> str:
        """SQS: `ReceiveMessage` and so on."""
        return self.headers.get("x-amz-target", "").rpartition(".")[2]


@dataclass(kw_only=True)
class Answer:
    """What the client gets; a rule changes it.

    Attributes:
        cut_after: Close the connection after this many bytes of the body.
        stall_after: Send nothing more after this many bytes, until the proxy lets go.
        rate: Bytes per second of the body; None for as fast as it goes.
        hang: Answer nothing at all, until the proxy lets go.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    cut_after: int | None = None
    stall_after: int | None = None
    rate: float | None = None
    hang: bool = False

    def refuse(self, status: int, code: str) -> None:
        """S3's own form of an error."""
        self.status = status
        self.body = f"<Error><Code>{code}</Code><Message>told so</Message></Error>".encode()
        self.headers = [("Content-Type", "application/xml")]

    def flip_a_bit(self) -> None:
        middle = len(self.body) // 2
        flipped = bytearray(self.body)
        flipped[middle] ^= 0x10
        self.body = bytes(flipped)


@dataclass(kw_only=True)
class Rule:
    """Change the answers to some requests.

    Attributes:
        times: How often; None for ever.
        before: Do not even ask the server.
    """

    matches: Callable[[Seen], bool]
    change: Callable[[Answer], None]
    times: int | None = None
    before: bool = False
    used: int = 0


@dataclass(kw_only=True)
class _Shared:
    seen: list[Seen] = field(default_factory=list)
    answers: list[tuple[Seen, bytes]] = field(default_factory=list)
    rules: list[Rule] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    let_go: threading.Event = field(default_factory=threading.Event)
    open_bodies: int = 0
    most_open_bodies: int = 0


class Proxy:
    """In front of one server, on a port of its own. Use it as a context manager.

    It has `endpoint` and the keys of the server behind it, so it stands in for it anywhere.
    """

    def __init__(self, server: HttpServer) -> None:
        self._upstream = urlsplit(server.endpoint).netloc
        self.access_key = server.access_key
        self.secret_key = server.secret_key
        self._shared = _Shared()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._shared.let_go.set()
        self._server.shutdown()
        self._server.server_close()

    # ------------------------------------------------------------ what was seen

    @property
    def seen(self) -> list[Seen]:
        return list(self._shared.seen)

    def object_gets(self) -> list[Seen]:
        return [one for one in self.seen if one.is_object_get]

    def of(self, action: str) -> list[tuple[Seen, bytes]]:
        """SQS requests of this action with the bodies of their answers."""
        with self._shared.lock:
            return [(seen, body) for seen, body in self._shared.answers if seen.action == action]

    def extended(self) -> list[str]:
        """Receipt handles of answered requests that extend the visibility of messages."""
        found: list[str] = []
        for seen, _ in self.of("ChangeMessageVisibility"):
            found.append(json.loads(seen.body)["ReceiptHandle"])
        for seen, _ in self.of("ChangeMessageVisibilityBatch"):
            found += [entry["ReceiptHandle"] for entry in json.loads(seen.body)["Entries"]]
        return found

    def no_poll_is_open(self) -> bool:
        """One whose agent is gone would swallow messages once more when it is answered."""
        asked = sum(one.action == "ReceiveMessage" for one in self.seen)
        return asked <= len(self.of("ReceiveMessage"))

    @property
    def most_open_bodies(self) -> int:
        """The most object bodies that were on their way at once."""
        return self._shared.most_open_bodies

    def forget(self) -> None:
        """Count from here."""
        with self._shared.lock:
            self._shared.seen.clear()
            self._shared.answers.clear()
            self._shared.most_open_bodies = 0

    # ------------------------------------------------------------ lies

    def lie(
        self,
        change: Callable[[Answer], None],
        *,
        to: Callable[[Seen], bool] = lambda seen: seen.is_object_get,
        times: int | None = None,
        before: bool = False,
    ) -> Rule:
        rule = Rule(matches=to, change=change, times=times, before=before)
        with self._shared.lock:
            self._shared.rules.append(rule)
        return rule

    def be_honest(self) -> None:
        """No more lies; whoever hangs is let go."""
        with self._shared.lock:
            self._shared.rules.clear()
        self._shared.let_go.set()
        self._shared.let_go = threading.Event()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        return type("Handler", (_Handler,), {"shared": self._shared, "upstream": self._upstream})


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed: expected here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 65536
    shared: _Shared
    upstream: str
    _connection: http.client.HTTPConnection | None = None

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        pass

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = self.rfile.read(length)
        if len(body) < length:
            # Its client was killed while it sent. The server would wait for the rest until the
            # time limit, and a poll that never was would count as open for so long.
            self.close_connection = True
            return
        seen = Seen(
            method=self.command,
            target=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
            at_s=time.monotonic(),
        )
        with self.shared.lock:
            self.shared.seen.append(seen)
            rules = [rule for rule in self.shared.rules if rule.matches(seen)]
            rules = [rule for rule in rules if rule.times is None or rule.used < rule.times]
            for rule in rules:
                rule.used += 1
        let_go = self.shared.let_go
        if any(rule.before for rule in rules):
            answer = Answer(status=503, headers=[], body=b"")
        else:
            answer = self._ask(seen)
        with self.shared.lock:
            if seen.action:
                self.shared.answers.append((seen, answer.body))
        for rule in rules:
            rule.change(answer)
        if answer.hang:
            let_go.wait()
            self.close_connection = True
            return
        with contextlib.suppress(OSError):
            self._answer(seen, answer, let_go)

    def finish(self) -> None:
        if self._connection is not None:
            self._connection.close()
        with contextlib.suppress(OSError):
            super().finish()

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815 - their names there

    def _ask(self, seen: Seen) -> Answer:
        for turn in range(2):
            connection = self._connection or http.client.HTTPConnection(self.upstream, timeout=120)
            self._connection = connection
            try:
                connection.putrequest(
                    seen.method, seen.target, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    connection.putheader(name, value)
                connection.endheaders(seen.body or None)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                connection.close()
                self._connection = None
                if turn:
                    return Answer(status=503, headers=[], body=b"")
            else:
                skipped = {"transfer-encoding", "connection", "keep-alive"}
                if seen.method != "HEAD":
                    skipped.add("content-length")
                headers = [(n, v) for n, v in answer.getheaders() if n.lower() not in skipped]
                return Answer(status=answer.status, headers=headers, body=body)
        raise AssertionError

    def _answer(self, seen: Seen, answer: Answer, let_go: threading.Event) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers:
            self.send_header(name, value)
        if seen.method != "HEAD":
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()
        if seen.method == "HEAD":
            self.wfile.flush()
            return
        with self.shared.lock:
            self.shared.open_bodies += seen.is_object_get
            most = max(self.shared.most_open_bodies, self.shared.open_bodies)
            self.shared.most_open_bodies = most
        try:
            self._body(answer, let_go)
        finally:
            with self.shared.lock:
                self.shared.open_bodies -= seen.is_object_get

    def _body(self, answer: Answer, let_go: threading.Event) -> None:
        body = answer.body
        limits = [limit for limit in (answer.cut_after, answer.stall_after) if limit is not None]
        end = min([len(body), *limits])
        if answer.rate is None:
            self.wfile.write(body[:end])
        else:
            step = max(1, int(answer.rate / 10))
            for start in range(0, end, step):
                self.wfile.write(body[start : min(start + step, end)])
                self.wfile.flush()
                if let_go.wait(0.1):
                    self.close_connection = True
                    return
        self.wfile.flush()
        if end < len(body):
            if answer.stall_after is not None:
                let_go.wait()
            self.close_connection = True
