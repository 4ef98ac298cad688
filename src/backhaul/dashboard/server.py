"""The web server, which slow and idle clients cannot use up.

uvicorn, with what it lacks: a client has a few seconds for its whole request and for taking the
answer, and where there are too many connections the one that has been idle longest makes room.
"""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from socket import socket
from types import FrameType
from typing import TYPE_CHECKING, Any

from uvicorn import Config, Server
from uvicorn.protocols.http.h11_impl import H11Protocol

if TYPE_CHECKING:
    from starlette.types import ASGIApp

CONNECTIONS_MOST = 200
REQUEST_S = 10.0  # from the connection, or the first byte of a further request, to its last byte
ANSWER_S = 30.0  # for the page to be made and for the client to take it
ACT_S = 300.0  # the same for an act, which may read a whole dead-letter queue
IDLE_S = 75.0  # a browser keeps its connection for the next refresh, at most a minute later
HEADERS_MOST_BYTES = 16_384
BACKLOG = 256
STOP_S = 3


class TimedProtocol(H11Protocol):
    """One connection, with deadlines."""

    opened_s = 0.0
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room first."""
        if len(self.connections) >= CONNECTIONS_MOST:
            _close_one(self.connections)
        super().connection_made(transport)
        self.opened_s = self.loop.time()
        self._within(REQUEST_S)

    def connection_lost(self, exc: Exception | None) -> None:
        self._within(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """The first byte of a further request starts its time; more bytes do not extend it."""
        if self.timeout_keep_alive_task is not None:
            self._within(REQUEST_S)
        was_answering = self.is_answering
        super().data_received(data)
        if self.is_answering and not was_answering:
            is_act = self.cycle.scope["method"] == "POST"
            self._within(ACT_S if is_act else ANSWER_S)

    def on_response_complete(self) -> None:
        """The client may not have taken all of it; then the connection ends with its time, too."""
        self._within(ANSWER_S if self.transport.is_closing() else IDLE_S)
        super().on_response_complete()

    @property
    def is_answering(self) -> bool:
        """The whole request is here and its answer is not complete."""
        cycle = self.cycle
        return bool(cycle) and not cycle.response_complete and not cycle.more_body

    def abort(self) -> None:
        """Close at once, whatever the client does."""
        self._within(None)
        self.connections.discard(self)  # now: many may connect before its end is called
        self.transport.abort()

    def _within(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self.abort) if seconds else None


def _close_one(connections: set[Any]) -> None:
    """The oldest of those without a request, else none: then uvicorn answers 503."""
    idle = [one for one in connections if not one.is_answering]
    if idle:
        min(idle, key=lambda one: one.opened_s).abort()


class DashboardServer(Server):
    """Ends with the signal's meaning, not by the signal: a stop is a success."""

    def __init__(
        self, config: Config, started: Callable[[], None], turn: AbstractContextManager[None]
    ) -> None:
        super().__init__(config)
        self._started_hook = started
        self._turn = turn

    async def startup(self, sockets: list[socket] | None = None) -> None:
        await super().startup(sockets)
        self._started_hook()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """As uvicorn's, without raising them again at the end."""
        if threading.current_thread() is not threading.main_thread():
            yield  # only there can signals be caught
            return
        before = {one: signal.signal(one, self._stop) for one in (signal.SIGINT, signal.SIGTERM)}
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            before[signal.SIGTSTP] = signal.signal(signal.SIGTSTP, self._suspend)
        try:
            yield
        finally:
            for one, handler in before.items():
                signal.signal(one, handler)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.should_exit = True

    def _suspend(self, number: int, frame: FrameType | None) -> None:
        """Ctrl-Z: in the middle of a query it would hold up every commit of the agent."""
        del number, frame
        threading.Thread(target=self._suspend_between_queries, daemon=True).start()

    def _suspend_between_queries(self) -> None:
        with self._turn:
            os.kill(os.getpid(), signal.SIGSTOP)


def server_of(
    app: ASGIApp,
    *,
    tls: ssl.SSLContext | None,
    started: Callable[[], None],
    turn: AbstractContextManager[None],
) -> DashboardServer:
    """Its `run(sockets=[...])` serves until SIGINT or SIGTERM, or until `should_exit` is set.

    Args:
        started: Called once requests are answered.
        turn: Held by each query of the ledger while it runs.
    """
    config = Config(
        app,
        http=TimedProtocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        loop="asyncio",
        log_config=None,
        access_log=False,  # it would hold the token
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        limit_concurrency=CONNECTIONS_MOST + 1,
        timeout_keep_alive=round(2 * IDLE_S),  # ours comes first
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=HEADERS_MOST_BYTES,
        ssl_context_factory=None if tls is None else lambda *_: tls,
    )
    return DashboardServer(config, started, turn)
