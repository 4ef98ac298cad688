"""`backhaul demo --dashboard`: the whole product, until Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from http.cookies import SimpleCookie
from pathlib import Path

import psutil
import pytest
import urllib3

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

LINK = re.compile(r"The dashboard: (http://127\.0\.0\.1:\d+)/\?token=(\S+)")
WAIT_S = 90.0


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    with (tmp_path / "out").open("w") as out:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "backhaul", "demo", "--quick", "--dashboard"),
                *("--listen", "127.0.0.1:0", "--keep", str(tmp_path / "demo")),
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
            text=True,
        )
    yield process, tmp_path / "out"
    if process.poll() is None:
        for child in psutil.Process(process.pid).children(recursive=True):
            child.kill()
        process.kill()
    process.wait()


def wait_for_link(out: Path) -> tuple[str, str]:
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        found = LINK.search(out.read_text())
        if found:
            return found[1], found[2]
        time.sleep(0.2)
    raise AssertionError(f"no link in:\n{out.read_text()}")


def test_the_page_shows_an_agent_that_runs_and_ctrl_c_ends_everything(
    demo: tuple[subprocess.Popen[str], Path],
) -> None:
    process, out = demo
    base, token = wait_for_link(out)
    http = urllib3.PoolManager()
    answer = http.request("GET", f"{base}/?token={token}", redirect=False)
    cookie = SimpleCookie(answer.headers["Set-Cookie"])
    headers = {"Cookie": "; ".join(f"{name}={one.value}" for name, one in cookie.items())}

    deadline_s = time.monotonic() + WAIT_S
    while "Running" not in (text := http.request("GET", f"{base}/", headers=headers).data.decode()):
        assert time.monotonic() < deadline_s, text
        time.sleep(0.5)
    wait_for_message(out.parent / "demo" / "agent.log", "models/v1")
    others = psutil.Process(process.pid).children(recursive=True)

    process.send_signal(signal.SIGINT)

    assert process.wait(WAIT_S) == 0, out.read_text()
    assert "files read back: byte-identical" in out.read_text()
    _, alive = psutil.wait_procs(others, timeout=WAIT_S)
    assert alive == []


def wait_for_message(log: Path, text: str) -> None:
    """The agent works on a message that was sent after the demo's own."""
    deadline_s = time.monotonic() + WAIT_S
    while time.monotonic() < deadline_s:
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        if any(
            line["event"] == "message received" and text in line["body_excerpt"] for line in lines
        ):
            return
        time.sleep(0.3)
    raise AssertionError(f"no message about {text} in {log}")
