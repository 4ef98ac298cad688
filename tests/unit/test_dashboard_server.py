"""Slow, idle, many and hostile clients: the server gives none of them more than its time."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.dashboard import server
from backhaul.dashboard.application import application
from backhaul.dashboard.guard import Admission
from backhaul.dashboard.login import LinkToken
from backhaul.dashboard.readers import Turns
from backhaul.dashboard.run import Listening, bind
from backhaul.dashboard.server import DashboardServer, server_of
from backhaul.dashboard.website import Site
from backhaul.settings.model import Settings

pytestmark = pytest.mark.slow

TOKEN = LinkToken("t" * 43)
WAIT_S = 30.0  # far more than any deadline of these tests


@pytest.fixture
def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[DashboardServer, int]]:
    """A real server with short deadlines and few connections, and its port."""
    monkeypatch.setattr(server, "REQUEST_S", 0.5)
    monkeypatch.setattr(server, "ANSWER_S", 1.0)
    monkeypatch.setattr(server, "IDLE_S", 0.6)
    monkeypatch.setattr(server, "CONNECTIONS_MOST", 20)
    ledger = tmp_path / "ledger.db"
    open_ledger(ledger, create=True).close()
    site = Site(settings=Settings(ledger=ledger), login=TOKEN)
    admission = Admission(login=TOKEN, names=frozenset({"127.0.0.1"}))
    is_up = threading.Event()
    app, turn = application(site, admission), site.readers.turn
    made = server_of(app, tls=None, started=is_up.set, turn=turn)
    with bind(Listening(host="127.0.0.1", port=0)) as sock:
        port = sock.getsockname()[1]
        thread = threading.Thread(target=made.run, kwargs={"sockets": [sock]})
        thread.start()
        assert is_up.wait(WAIT_S)
        yield made, port
        made.should_exit = True
        thread.join(WAIT_S)
        assert not thread.is_alive()
    site.readers.close()


@pytest.fixture
def port(served: tuple[DashboardServer, int]) -> int:
    return served[1]


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)


def request(path: str = "/", *more: str) -> bytes:
    cookie = f"Cookie: {TOKEN.cookie_name}={TOKEN.cookie}"
    lines = (f"GET {path} HTTP/1.1", "Host: 127.0.0.1", cookie, *more)
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def answer(client: socket.socket) -> bytes:
    """All that comes until the server closes."""
    found = b""
    try:
        while chunk := client.recv(65_536):
            found += chunk
    except ConnectionResetError:
        pass
    return found


def status(port: int) -> int:
    with connected(port) as client:
        client.sendall(request("/", "Connection: close"))
        return int(answer(client).split(b" ", 2)[1])


def test_a_client_that_sends_nothing_is_closed(port: int) -> None:
    with connected(port) as client:
        assert answer(client) == b""


def test_a_client_that_sends_its_request_slowly_is_closed(port: int) -> None:
    """A byte now and then does not extend its time."""
    with connected(port) as client:
        client.settimeout(0.05)
        closed = False
        for byte in request() * 100:
            try:
                client.sendall(bytes([byte]))
                if client.recv(1) == b"":
                    closed = True
                    break
            except TimeoutError:
                continue
            except OSError:
                closed = True
                break
        assert closed


def test_a_body_that_never_ends_is_closed(port: int) -> None:
    with connected(port) as client:
        client.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n\r\nx")
        assert b"401" in answer(client)


def test_a_client_that_takes_no_answer_is_closed(served: tuple[DashboardServer, int]) -> None:
    """The server gives its connection up, although the answer was never taken."""
    made, port = served
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        client.settimeout(WAIT_S)
        client.connect(("127.0.0.1", port))
        with suppress(OSError):  # it may be closed before they are all sent
            # More than the system's buffers take, so the server has some of it left.
            for _ in range(400):
                client.sendall(request("/static/vendor/htmx.min.js"))
        until_s = time.monotonic() + WAIT_S
        while made.server_state.connections:
            assert time.monotonic() < until_s
            time.sleep(0.05)


def test_an_idle_connection_serves_again_and_then_ends(port: int) -> None:
    with connected(port) as client:
        client.sendall(request("/static/icon.svg"))
        first = b""
        while not first.endswith(b"</svg>\n"):
            first += client.recv(65_536)
        assert first.startswith(b"HTTP/1.1 200")
        client.sendall(request("/static/icon.svg"))
        assert answer(client).startswith(b"HTTP/1.1 200"), "and the server closes"


def test_many_idle_clients_leave_room_for_one_that_asks(port: int) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(port)) for _ in range(100)]
        assert status(port) == 200
        assert answer(idle[0]) == b""


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"x" * 70_000,
        b"GET / HTTP/9.9\r\n\r\n",
        b"\x00" * 100 + b"\r\n\r\n",
        b"GET /%00%ff%fe HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: 127.0.0.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\nHost: x\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_garbage_ends_with_its_connection_alone(port: int, sent: bytes) -> None:
    with connected(port) as client:
        client.sendall(sent)
        assert b" 200 " not in answer(client).partition(b"\r\n")[0]
    assert status(port) == 200


async def _no_pages(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


def test_ctrl_z_waits_for_the_query_that_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is stopped while it reads would hold up every commit of the agent."""
    sent: list[tuple[int, int]] = []
    is_stopped = threading.Event()

    def kill(pid: int, number: int) -> None:
        sent.append((pid, number))
        is_stopped.set()

    monkeypatch.setattr(os, "kill", kill)
    turn = Turns()
    made = server_of(_no_pages, tls=None, started=lambda: None, turn=turn)
    with made.capture_signals():
        with turn:
            signal.raise_signal(signal.SIGTSTP)
            assert not is_stopped.wait(0.2)
        assert is_stopped.wait(WAIT_S)
    assert sent == [(os.getpid(), signal.SIGSTOP)]
    assert signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL
