"""`status`, `top` and `check` beside a real agent: at work, held, killed, stopped."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import re
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, eventually
from tests.acceptance.proxy import Proxy

pytestmark = pytest.mark.integration
DATA = random.Random(17).randbytes(15 << 20)  # read as one stream, so that bytes count at once


def first_line(it: Installation) -> str:
    ended = it.backhaul("status")
    assert ended.code == 0, ended
    return ended.out.splitlines()[0]


def ran(it: Installation) -> None:
    """An agent has worked on the ledger, and ended."""
    it.drained(BACKHAUL_AGENT__POLL_WAIT_S="1")


def check(it: Installation, *arguments: str) -> dict[str, Any]:
    ended = it.backhaul("check", "--json", *arguments)
    found: dict[str, Any] = json.loads(ended.out)
    assert ended.code == {"OK": 0, "WARNING": 1, "CRITICAL": 2}[found["level"]]
    return found


# ---------------------------------------------------------------- the agent's life


def test_a_first_screen_over_the_life_of_an_agent(
    install: Install, sqs_proxy: Proxy, elasticmq: ElasticMQ, s3proxy: S3Proxy
) -> None:
    it = install(sqs_proxy, s3proxy, sqs_direct=elasticmq)
    assert it.backhaul("check").code == 3, "no ledger yet"
    it.put("large", DATA)
    assert it.backhaul("limit", "64KiB/s").code == 0
    it.ask_for("large")
    agent = it.start()
    eventually(
        lambda: it.landing.everything() and first_line(it) == "Running: 1 transfer under way",
        within_s=60,
        what="the agent reports its transfer",
    )
    text = it.backhaul("status").out
    assert re.search(rf"queue +{it.name}: \d waiting, \d in flight, oldest ", text)
    assert "limit 64.0 KiB/s (by hand)" in text
    assert f"{it.uri('large')} \u2192 {it.landing.uri}" in text
    found = check(it)
    assert (found["level"], found["health"]["state"]) == ("OK", "running")
    eventually(
        lambda: [one["size_bytes_total"] for one in check(it)["running"]] == [len(DATA)],
        within_s=60,
        what="it is listed",
    )
    eventually(lambda: check(it)["running"][0]["bytes_per_s"], within_s=60, what="a rate")
    assert check(it, "--critical", "queue=0")["level"] == "CRITICAL"

    agent.kill()
    # Its last poll may outlive it in the server, and would swallow the next message.
    eventually(sqs_proxy.no_poll_is_open, what="the poll of the dead has ended")
    killed = first_line(it)
    assert killed.startswith(f"Not running: the agent of {it.name} on "), killed
    assert killed.endswith("did not stop in an orderly way")
    found = check(it)
    assert (found["health"]["code"], found["queues"]) == ("E_AGENT_GONE", [])
    (left,) = found["waiting"]
    assert left["state"] == "staging"

    assert it.backhaul("limit", "off").code == 0
    it.put("small", b"content")
    it.ask_for("small")
    again = it.start()
    again.logged("transfer done", within_s=60)
    eventually(
        lambda: first_line(it) == "Running: waiting for messages",
        within_s=60,
        what="the report of the second agent",
    )
    agents = check(it)["agents"]
    assert [(one["is_alive"], one["ended_at"]) for one in agents] == [(True, None), (False, None)]
    again.terminate()
    assert again.wait().code == 0
    assert " stopped " in first_line(it)
    found = check(it)
    assert (found["today"]["done"], found["today"]["bytes_copied"]) == (1, len(b"content"))
    assert [one["bytes_done"] for one in found["routes"] if one["done"]] == [len(b"content")]


def test_it_answers_without_hadoop_without_aws_and_without_a_configuration(
    local: Installation,
) -> None:
    it = local
    ran(it)
    bare: dict[str, Any] = {
        name: "" for name in it.environment if name.startswith(("AWS_", "HADOOP_"))
    }
    for command in ("status", "top", "check"):
        ended = it.backhaul(command, **bare)
        assert ended.code == (2 if command == "check" else 0), ended
        assert "Not running: the agent of" in ended.out
        assert ended.err == ""


# ---------------------------------------------------------------- held


@pytest.mark.timeout(240)
def test_a_hold_is_shown_with_its_fix_until_its_dependency_works(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    agent = it.start()
    agent.logged("agent started")
    s3_proxy.lie(lambda answer: answer.refuse(400, "ExpiredToken"), to=lambda _seen: True)
    it.put("a", b"content")
    it.ask_for("a")
    agent.logged("transfer held: a dependency is down", times=2, within_s=90)
    eventually(
        lambda: first_line(it).startswith("Held by credentials for "),
        within_s=60,
        what="the health shows it",
    )
    began = check(it)["health"]["since"]
    held = check(it, "--critical", "held=1h")
    assert held["level"] == "WARNING"
    assert held["health"]["hint"]
    agent.logged("transfer held: a dependency is down", times=4, within_s=90)
    assert _seconds_between(began, check(it)["health"]["since"]) < 2, "further tries end no hold"

    s3_proxy.be_honest()
    agent.logged("transfer done", within_s=90)
    eventually(
        lambda: first_line(it) == "Running: waiting for messages", within_s=30, what="it is over"
    )
    agent.terminate()
    assert agent.wait().code == 0


def _seconds_between(one: str, other: str) -> float:
    return abs((datetime.fromisoformat(one) - datetime.fromisoformat(other)).total_seconds())


# ---------------------------------------------------------------- on a terminal


@dataclass
class Terminal:
    """A pseudo-terminal with a command on it."""

    pid: int
    file: int
    seen: bytes = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.file, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.file, keys.encode())

    def read(self, for_s: float = 0.3) -> str:
        """What comes within that time."""
        found, until_s = b"", time.monotonic() + for_s
        while (left_s := until_s - time.monotonic()) > 0:
            if not select.select([self.file], [], [], left_s)[0]:
                break
            with suppress(OSError):  # the command has ended
                found += os.read(self.file, 65536)
        self.seen += found
        return found.decode()

    def shows(self, text: str, within_s: float = 30) -> None:
        until_s = time.monotonic() + within_s
        while text not in self.seen.decode():
            assert time.monotonic() < until_s, self.seen.decode()
            self.read()

    def forget(self) -> None:
        self.read()
        self.seen = b""

    def ended(self, within_s: float = 20) -> int:
        until_s = time.monotonic() + within_s
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            assert time.monotonic() < until_s, "it does not end"
            self.read(0.1)


@contextmanager
def terminal(it: Installation, *arguments: str, **settings: str) -> Iterator[Terminal]:
    environment = {**it.environment, "TERM": "xterm-256color", **settings}
    pid, file = pty.fork()
    if pid == 0:  # the command itself
        os.chdir(it.home)
        os.execve(sys.executable, it.argv(*arguments), environment)
    on = Terminal(pid=pid, file=file)
    on.resize(40, 120)
    try:
        yield on
    finally:
        with suppress(ProcessLookupError, ChildProcessError):
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(file)


IN, OUT = "\x1b[?1049h", "\x1b[?1049l"  # the alternate screen
NOT_RUNNING = "Not running: the agent of"


@pytest.mark.parametrize(
    "settings", [{}, {"COLUMNS": "120", "LINES": "40"}], ids=["", "size-exported"]
)
def test_top_draws_pauses_follows_the_size_and_leaves_the_terminal_as_it_was(
    local: Installation, settings: dict[str, str]
) -> None:
    it = local
    ran(it)
    with terminal(it, "top", "--every", "0.5", **settings) as on:
        before = termios.tcgetattr(on.file)
        on.shows(NOT_RUNNING)
        on.shows("nothing is under way")
        assert IN in on.seen.decode()
        on.type("p")
        on.shows("paused")
        on.forget()
        assert on.read(1.5) == "", "nothing is drawn while it is paused"
        on.resize(6, 60)
        os.kill(on.pid, signal.SIGWINCH)
        on.shows("more lines")
        on.type("p")
        on.forget()
        assert on.read(1.5), "it goes on"
        on.type("q")
        assert on.ended() == 0
        on.read()
        assert on.seen.decode().rstrip().endswith(OUT)
        assert termios.tcgetattr(on.file) == before


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_top_that_is_ended_by_a_signal_leaves_the_terminal_as_it_was(
    local: Installation, number: signal.Signals
) -> None:
    it = local
    ran(it)
    with terminal(it, "top") as on:
        before = termios.tcgetattr(on.file)
        on.shows(NOT_RUNNING)
        os.kill(on.pid, number)
        assert on.ended() == 0
        on.read()
        assert OUT in on.seen.decode()
        assert termios.tcgetattr(on.file) == before


def test_colours_can_be_switched_off(local: Installation) -> None:
    it = local
    ran(it)
    with terminal(it, "status") as on:
        assert on.ended() == 0
        on.shows("\x1b[31mNot running")
    for settings in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        with terminal(it, "status", **settings) as on:
            assert on.ended() == 0
            on.shows(NOT_RUNNING)
            assert "\x1b[" not in on.seen.decode()
    with terminal(it, "top", NO_COLOR="1") as on:
        on.shows(NOT_RUNNING)
        assert "\x1b[31m" not in on.seen.decode()
        on.type("q")
        assert on.ended() == 0
    with terminal(it, "top", TERM="dumb") as on:
        assert on.ended() == 0, "one frame"
        on.shows(NOT_RUNNING)
        assert IN not in on.seen.decode()


def test_watching_writes_over_the_screen_until_ctrl_c(local: Installation) -> None:
    it = local
    ran(it)
    with terminal(it, "status", "--watch", "0.5") as on:
        on.shows(NOT_RUNNING)
        on.forget()
        on.shows("\x1b[H")
        on.shows(NOT_RUNNING)
        on.type("\x03")
        assert on.ended() == 130


def test_top_goes_on_while_the_ledger_is_away_for_a_moment(local: Installation) -> None:
    it = local
    ran(it)
    ledger = next(Path(it.home).rglob("*.db"))
    with terminal(it, "top", "--every", "0.5") as on:
        on.shows(NOT_RUNNING)
        ledger.rename(ledger.with_suffix(".away"))
        on.shows("the ledger is gone")
        ledger.with_suffix(".away").rename(ledger)
        on.forget()
        on.type(" ")
        on.shows(NOT_RUNNING)
        on.type("q")
        assert on.ended() == 0
