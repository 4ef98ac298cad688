"""The dashboard under attack, or stopped in mid-work, beside an agent that must not notice it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

import psutil
import pytest
import urllib3

from backhaul.adapters.ledger import open_reader
from backhaul.core.agent_report import SILENT_AFTER
from tests.acceptance.installation import PROGRAM, Installation, Running, eventually
from tests.children import child

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(240)]

IDLE, SLOW = 1000, 100
MESSAGES = 30
WITHIN_S = 60.0
HTTP = urllib3.PoolManager(timeout=WITHIN_S, retries=False)


class Served:
    """A dashboard's process, and an operator's browser on it."""

    def __init__(self, process: subprocess.Popen[str], link: str) -> None:
        self.process = process
        self.base = link.partition("/?")[0]
        self.port = urlsplit(link).port or 0
        answer = HTTP.request("GET", link, redirect=False)
        self._cookie = {"Cookie": answer.headers["Set-Cookie"].partition(";")[0]}

    def front(self) -> str:
        answer = HTTP.request("GET", f"{self.base}/", headers=self._cookie)
        assert answer.status == 200, answer.data.decode()
        return answer.data.decode()


@contextmanager
def dashboard(it: Installation) -> Iterator[Served]:
    command = [*PROGRAM, "dashboard", "--listen", "127.0.0.1:0"]
    with child(
        command, env=it.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            yield Served(process, process.stdout.readline().strip())
        finally:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            _, err = process.communicate(timeout=WITHIN_S)
    assert (process.returncode, err) == (0, "")


def connected(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)


def idle(port: int, end: threading.Event, is_there: threading.Event) -> None:
    """A thousand clients that connect and then do nothing; who is thrown out comes again."""
    with ExitStack() as clients:
        for _ in range(IDLE):
            clients.enter_context(connected(port))
        is_there.set()
        while not end.wait(0.05):
            clients.enter_context(connected(port))


def slow(port: int, end: threading.Event) -> None:
    """Clients that send a header, a byte at a time."""
    request = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Long: "
    with ExitStack() as stack:
        clients: list[socket.socket] = []
        while not end.wait(0.5):
            for one in tuple(clients):
                try:
                    one.sendall(b"x")
                except OSError:  # thrown out
                    clients.remove(one)
            while len(clients) < SLOW:
                clients.append(stack.enter_context(connected(port)))
                clients[-1].sendall(request)


def garbage(port: int, end: threading.Event) -> None:
    """No HTTP, or far too much of it."""
    sent = (
        os.urandom(4096),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(400),  # TLS to a port without
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 1_000_000 + b"\r\n\r\n",
        b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99999999999\r\n\r\n"
        + bytes(100_000),
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    )
    while not end.wait(0.05):
        for one in sent:
            with contextlib.suppress(OSError), closing(connected(port)) as client:
                client.settimeout(1)
                client.sendall(one)
                client.recv(1000)


@contextmanager
def attack(port: int) -> Iterator[None]:
    end, is_there = threading.Event(), threading.Event()
    threads = [threading.Thread(target=idle, args=(port, end, is_there))]
    threads += [
        threading.Thread(target=kind, args=(port, end)) for kind in (slow, garbage, garbage)
    ]
    for one in threads:
        one.start()
    try:
        assert is_there.wait(WITHIN_S)
        yield
    finally:
        end.set()
        for one in threads:
            one.join(WITHIN_S)


class Watch:
    """Looks at the agent's report again and again, and keeps the greatest age that it had."""

    def __init__(self, ledger: Path) -> None:
        self._ledger = ledger
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self.beats: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *about: object) -> None:
        self._end.set()
        self._thread.join()

    @property
    def longest_silence_s(self) -> float:
        """Between two reports, the beginning and the end."""
        changes = [self.beats[0][0]]
        for (_, before), (at, beats) in pairwise(self.beats):
            if beats != before:
                changes.append(at)
        changes.append(self.beats[-1][0])
        return max(after - before for before, after in pairwise(changes))

    def _run(self) -> None:
        with closing(open_reader(self._ledger)) as reader:
            while not self._end.wait(0.25):
                self.beats.append((time.monotonic(), reader.agents()[0].record.beats))


def ledger_of(it: Installation) -> Path:
    return it.home / ".local" / "state" / "backhaul" / "ledger.db"


@pytest.fixture
def agent(local: Installation) -> Running:
    """At work: it has done one message."""
    running = local.start()
    local.put("first", b"1")
    local.ask_for("first")
    running.logged("transfer done")
    return running


def work(it: Installation, agent: Running, name: str, count: int = MESSAGES) -> None:
    """Leave messages, and wait until all of them are done."""
    before = len(agent.of("transfer done"))
    for number in range(count):
        it.put(f"{name}/{number}", b"x" * 1000)
        it.ask_for(f"{name}/{number}")
    agent.logged("transfer done", times=before + count, within_s=WITHIN_S)


def test_an_attacked_dashboard_costs_the_agent_nothing_and_still_answers(
    local: Installation, agent: Running
) -> None:
    with dashboard(local) as served:
        assert "Running" in served.front()
        with attack(served.port), Watch(ledger_of(local)) as watch:
            work(local, agent, "under-attack")
            for _ in range(5):
                assert "Running" in served.front()
        files = psutil.Process(served.process.pid).num_fds()
        memory = psutil.Process(served.process.pid).memory_info().rss

    assert watch.longest_silence_s < SILENT_AFTER.total_seconds() / 2
    assert agent.of("transfer held") == []
    assert files < IDLE
    assert memory < 400_000_000


def test_a_dashboard_that_is_stopped_by_ctrl_z_holds_up_nothing_and_goes_on(
    local: Installation, agent: Running
) -> None:
    with dashboard(local) as served:
        process = psutil.Process(served.process.pid)
        served.process.send_signal(signal.SIGTSTP)
        eventually(lambda: process.status() == psutil.STATUS_STOPPED, within_s=WITHIN_S)

        work(local, agent, "beside", count=3)

        served.process.send_signal(signal.SIGCONT)
        assert "Running" in served.front()
    assert agent.of("transfer held") == []
