"""A small HTTP server for scrapes and probes, which no client can hurt.

One thread serves all connections, and no client can make a second one. At most `CONNECTIONS_MOST`
are open: for a new one the oldest is closed, so those who send nothing never keep others out.
Each ends `TIME_LIMIT_S` after it began. So many connections are accepted in a second, no more, and
a page that costs something is made once a second at most: a flood takes little of the processor.
"""

from __future__ import annotations

import errno
import ipaddress
import selectors
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

from backhaul.adapters.metrics.http_message import (
    HttpAnswer,
    HttpRequest,
    Refused,
    is_own_name,
    read_request,
    wire_form,
)
from backhaul.core.errors import BackhaulError, ConfigurationError, TransientError
from backhaul.core.ports import Emit

CONNECTIONS_MOST = 16
TIME_LIMIT_S = 5.0
ACCEPTED_PER_S = 200
READS_MOST = 32  # of one connection: who sends byte by byte is cut off
FRESH_S = 1.0  # a page is not made again before
_BACKLOG = 64
_CHUNK = 16_384
_JOIN_S = 5.0
_SETTING = "metrics.listen"

Page = Callable[[], HttpAnswer]


@dataclass(kw_only=True, eq=False)
class _Client:
    """One connection.

    Attributes:
        answer: What is left to send; None while its request is not complete.
        is_ending: Everything was sent; what still comes is thrown away until the other side ends.
    """

    socket: socket.socket
    deadline_s: float
    reads: int = 0
    received: bytearray = field(default_factory=bytearray)
    answer: memoryview | None = None
    is_ending: bool = False


class MetricsServer:
    """Answers from the moment of `start` until `close`.

    Args:
        pages: By path. A page must not wait for anything.
        emit: Gets an error of a page, which is a defect.

    Attributes:
        address: Where it listens, as numbers; `name` is the same as configured.
        is_open: Others than this machine can reach it.
    """

    def __init__(
        self, listening: socket.socket, pages: Mapping[str, Page], emit: Emit, *, name: str
    ) -> None:
        self._listening = listening
        self._pages = {path: _Fresh(page) for path, page in pages.items()}
        self._emit = emit
        self.name = name
        host, port = listening.getsockname()[:2]
        self.address: tuple[str, int] = (host, port)
        self.is_open = not ipaddress.ip_address(host.partition("%")[0]).is_loopback
        self._selector = selectors.DefaultSelector()
        self._selector.register(listening, selectors.EVENT_READ)
        self._waking, self._woken = socket.socketpair()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self._clients: dict[socket.socket, _Client] = {}  # the oldest first
        self._second_s = 0.0
        self._accepted = 0  # within the second that began then
        self._is_accepting = True
        self._is_over = False
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)

    @classmethod
    def listen(cls, host: str, port: int, pages: Mapping[str, Page], emit: Emit) -> MetricsServer:
        """Bind; nothing is answered before `start`.

        Raises:
            ConfigurationError, TransientError: E_METRICS_LISTEN. The latter where it may pass.
        """
        name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            # Of a name with both, the one that people type: `localhost` is 127.0.0.1.
            found.sort(key=lambda one: one[0] != socket.AF_INET)
            family, kind, protocol, _, address = found[0]
            listening = socket.socket(family, kind, protocol)
            try:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listening.setblocking(False)  # noqa: FBT003 - its own API
                listening.bind(address)
                listening.listen(_BACKLOG)
            except BaseException:
                listening.close()
                raise
        except UnicodeError as error:  # a label that is empty or too long
            raise ConfigurationError(
                "E_METRICS_LISTEN", f"{_SETTING} {name}: no host has such a name", hint=_UNKNOWN
            ) from error
        except OSError as error:
            raise _refusal(name, error) from error
        return cls(listening, pages, emit, name=name)

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """End all connections and the thread; safe to repeat."""
        if self._is_over:
            return
        self._is_over = True
        self._waking.send(b"x")
        if self._thread.ident is not None:
            self._thread.join(_JOIN_S)
        for client in list(self._clients.values()):
            self._drop(client)
        for each in (self._listening, self._waking, self._woken, self._selector):
            each.close()

    # ------------------------------------------------------------ the thread

    def _serve(self) -> None:
        while not self._is_over:
            ready = self._selector.select(self._wait_s())
            # What has come is read before anyone new may push the oldest out.
            for key, _ in ready:
                client = self._clients.get(key.fileobj)  # type: ignore[call-overload]
                if client is not None:
                    self._go_on(client)
            if any(key.fileobj is self._listening for key, _ in ready):
                self._accept()
            self._end_overdue()

    def _wait_s(self) -> float | None:
        """Until something is due; None: until something comes."""
        now_s = time.monotonic()
        due_s = [one.deadline_s for one in self._clients.values()]
        if not self._is_accepting:
            due_s.append(self._second_s + 1)
        return max(0.0, min(due_s) - now_s) if due_s else None

    def _end_overdue(self) -> None:
        now_s = time.monotonic()
        for client in [one for one in self._clients.values() if one.deadline_s <= now_s]:
            self._drop(client)
        if not self._is_accepting and now_s >= self._second_s + 1:
            self._selector.register(self._listening, selectors.EVENT_READ)
            self._is_accepting = True

    def _accept(self) -> None:
        now_s = time.monotonic()
        if now_s >= self._second_s + 1:
            self._second_s, self._accepted = now_s, 0
        try:
            accepted, _ = self._listening.accept()
        except OSError as error:
            if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                self._pause(now_s)  # the connection stays in the backlog until there is room
            return
        if len(self._clients) >= CONNECTIONS_MOST:
            self._drop(next(iter(self._clients.values())))
        accepted.setblocking(False)  # noqa: FBT003 - its own API
        self._clients[accepted] = _Client(socket=accepted, deadline_s=now_s + TIME_LIMIT_S)
        self._selector.register(accepted, selectors.EVENT_READ)
        self._accepted += 1
        if self._accepted >= ACCEPTED_PER_S:
            self._pause(self._second_s)

    def _pause(self, since_s: float) -> None:
        """Accept nobody until a second after `since_s`."""
        self._second_s = since_s
        self._selector.unregister(self._listening)
        self._is_accepting = False

    def _drop(self, client: _Client) -> None:
        del self._clients[client.socket]
        self._selector.unregister(client.socket)
        client.socket.close()

    # ------------------------------------------------------------ one connection

    def _go_on(self, client: _Client) -> None:
        try:
            if client.answer is None or client.is_ending:
                self._receive(client)
            if client.answer is not None and not client.is_ending:
                self._send(client)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            self._drop(client)  # the other side has gone

    def _receive(self, client: _Client) -> None:
        found = client.socket.recv(_CHUNK)
        client.reads += 1
        if not found or client.reads > READS_MOST:
            self._drop(client)
        elif not client.is_ending:
            client.received += found
            client.answer = self._answer(bytes(client.received))

    def _answer(self, received: bytes) -> memoryview | None:
        try:
            request = read_request(received)
            if request is None:
                return None
            answer = self._page_for(request).get(self._emit)
            return memoryview(wire_form(answer, is_head=request.is_head))
        except Refused as refused:
            return memoryview(wire_form(refused.answer))

    def _page_for(self, request: HttpRequest) -> _Fresh:
        if not self.is_open and not is_own_name(request.host):
            raise Refused(
                HTTPStatus.MISDIRECTED_REQUEST,
                "refused: the Host header is a name, and this listens on loopback alone;"
                " use 127.0.0.1 or localhost",
            )
        page = self._pages.get(request.path)
        if page is None:
            paths = ", ".join(self._pages)
            raise Refused(HTTPStatus.NOT_FOUND, f"there is nothing here; try {paths}")
        return page

    def _send(self, client: _Client) -> None:
        if client.answer is None:
            return
        client.answer = client.answer[client.socket.send(client.answer) :]
        if client.answer:
            self._selector.modify(client.socket, selectors.EVENT_WRITE)
            return
        # Closed at once, what the other side still sends would take the answer away from it.
        client.socket.shutdown(socket.SHUT_WR)
        client.is_ending = True
        self._selector.modify(client.socket, selectors.EVENT_READ)


class _Fresh:
    """A page, made once in `FRESH_S` at most."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._made_s = float("-inf")
        self._answer = HttpAnswer(body=b"")

    def get(self, emit: Emit) -> HttpAnswer:
        now_s = time.monotonic()
        if now_s - self._made_s >= FRESH_S:
            try:
                self._answer = self._page()
            except Exception as error:  # noqa: BLE001 - a defect: logged, and others are answered
                emit(error)
                self._answer = HttpAnswer.of(
                    HTTPStatus.INTERNAL_SERVER_ERROR, "a defect: see the agent's log"
                )
            self._made_s = now_s
        return self._answer


_UNKNOWN = "the host is unknown: write an address of this machine, such as 127.0.0.1"
_HINTS = {
    errno.EADDRINUSE: "another process listens there (ss -ltnp shows which): choose another port",
    errno.EACCES: "ports below 1024 are root's alone: choose a higher one, such as 9187",
    errno.EPERM: "ports below 1024 are root's alone: choose a higher one, such as 9187",
    errno.EADDRNOTAVAIL: "this machine has no such address (ip addr lists them): use 127.0.0.1",
}


def _refusal(name: str, error: OSError) -> BackhaulError:
    """A restart helps where another process has the port, or no name server answers."""
    number = error.errno
    is_transient = number == errno.EADDRINUSE
    hint = _HINTS.get(number or 0, f"correct {_SETTING}: HOST:PORT, such as 127.0.0.1:9187")
    if isinstance(error, socket.gaierror):
        is_transient = number == socket.EAI_AGAIN
        hint = _UNKNOWN
    kind = TransientError if is_transient else ConfigurationError
    reason = error.strerror or str(error)
    return kind("E_METRICS_LISTEN", f"{_SETTING} {name}: {reason}", hint=hint)
