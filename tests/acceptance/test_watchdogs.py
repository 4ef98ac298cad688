"""Threads and processes that are stopped for real: each is noticed, told, and ends or recovers.

The fail points are those of `./dev torture`; they are put in from outside.
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import ElasticMQ, S3Proxy
from tests.acceptance.conftest import Install
from tests.acceptance.installation import Installation, Running, eventually, worker_pids
from tests.acceptance.proxy import Answer, Proxy
from tests.torture import rounds
from tests.torture.points.sitecustomize import METHODS

pytestmark = [pytest.mark.integration, pytest.mark.slow]
LIMIT = {"BACKHAUL_AGENT__WATCHDOG_S": "5"}


def start_with(it: Installation, point: str, **settings: str) -> Running:
    assert point.partition(":")[0] in METHODS
    return it.start(
        **LIMIT,
        **settings,
        PYTHONPATH=str(rounds.POINTS),
        TORTURE_POINT=point,
        TORTURE_MARK=str(it.home / "struck"),
    )


def slowly(answer: Answer) -> None:
    answer.rate = len(answer.body) / 300


def test_an_agent_whose_threads_hang_or_die_says_so_and_exits_70_and_the_next_one_goes_on(
    install: Install, elasticmq: ElasticMQ, s3proxy: S3Proxy, s3_proxy: Proxy
) -> None:
    """Three at once, as a heartbeat first beats after 20 s."""
    s3_proxy.lie(slowly)
    named = {
        "queue.receive:before:2:hang": ("poll", "E_POLL_STUCK"),
        "queue.extend:before:1:hang": ("visibility", "E_HEARTBEAT_STUCK"),
        "queue.extend:before:1:raise": ("visibility", "E_HEARTBEAT_STUCK"),
    }
    running = []
    for point in named:
        it = install(elasticmq, s3_proxy, s3_direct=s3proxy)
        it.put("a", b"content" * 1000)
        it.ask_for("a")
        running.append((it, start_with(it, point, BACKHAUL_AGENT__VISIBILITY_TIMEOUT_S="60")))
    for (it, agent), (thread, code) in zip(running, named.values(), strict=True):
        ended = agent.wait(100)
        assert (it.home / "struck").exists()
        assert ended.code == 70, ended
        (told,) = ended.of("agent thread hung")
        assert (told["thread"], told["code"], told["level"]) == (thread, code, "error")
        assert code in ended.err
        eventually(lambda i=it: not list(worker_pids(i.home)), what="workers ended")  # type: ignore[misc]
        assert it.landing.files() == {} or all(".backhaul" in name for name in it.landing.files())
    s3_proxy.be_honest()
    agents = [it.start() for it, _ in running]  # as systemd does
    for (it, _), agent in zip(running, agents, strict=True):
        agent.logged("transfer done", within_s=90)
        agent.terminate()
        assert agent.wait().code == 0
        assert it.landing.files() == {"a": b"content" * 1000}
        assert it.counts() == (0, 0)


@contextlib.contextmanager
def service_manager(directory: Path) -> Iterator[tuple[str, socket.socket]]:
    """The socket on which systemd would listen."""
    path = directory / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.settimeout(30)
        yield str(path), listening


def said(listening: socket.socket, *, within_s: float = 30, begins: str = "") -> str:
    """The next notification; of the health only where its beginning is `begins`."""
    listening.settimeout(within_s)
    while True:
        found = listening.recv(1000).decode()
        if found.startswith(begins or ("READY", "WATCHDOG", "STOPPING")):
            return found


def everything_said(listening: socket.socket) -> list[str]:
    """What waits in the socket, but for the health."""
    listening.settimeout(0)
    found = []
    with contextlib.suppress(BlockingIOError):
        while True:
            found.append(listening.recv(1000).decode())
    return [one for one in found if not one.startswith("STATUS=")]


def test_systemd_hears_of_ready_alive_and_stopping_and_nothing_of_a_stopped_agent(
    behind_proxy: Installation, s3_proxy: Proxy, tmp_path: Path
) -> None:
    it = behind_proxy
    it.put("a", b"content" * 1000)
    s3_proxy.lie(slowly)
    it.ask_for("a")
    with service_manager(tmp_path) as (path, listening):
        agent = it.start(NOTIFY_SOCKET=path)
        assert said(listening, within_s=60) == "READY=1"
        assert said(listening) == "WATCHDOG=1"
        running = said(listening, begins="STATUS=")
        assert running.startswith("STATUS=Running: "), running
        # A worker that hangs does not starve it.
        eventually(s3_proxy.object_gets, what="copying")
        worker = agent.workers()[0]
        assert "NOTIFY_SOCKET" not in worker.environ()
        worker.suspend()
        everything_said(listening)
        assert [said(listening) for _ in range(4)] == ["WATCHDOG=1"] * 4
        worker.resume()
        # The whole process hangs: silence, for which systemd kills it.
        agent.send_signal(signal.SIGSTOP)
        everything_said(listening)
        with pytest.raises(TimeoutError):
            said(listening, within_s=4)
        agent.send_signal(signal.SIGCONT)
        assert said(listening) == "WATCHDOG=1"
        s3_proxy.be_honest()
        agent.logged("transfer done")
        agent.terminate()
        assert agent.wait().code == 0
        words = everything_said(listening)
        assert words[-1] == "STOPPING=1"
        assert set(words[:-1]) <= {"WATCHDOG=1"}
    assert it.landing.files() == {"a": b"content" * 1000}


def test_a_worker_that_makes_no_progress_is_replaced_and_its_transfer_goes_on(
    behind_proxy: Installation, s3_proxy: Proxy
) -> None:
    it = behind_proxy
    it.put("a", b"content" * 1000)
    s3_proxy.lie(slowly)
    it.ask_for("a")
    # The start of a worker counts, too: two seconds are not enough on a loaded machine.
    agent = it.start(BACKHAUL_AGENT__STALL_TIMEOUT_S="6")
    eventually(s3_proxy.object_gets, what="copying")
    agent.workers()[0].suspend()
    (failed,) = agent.logged("attempt failed")
    assert failed["code"] == "E_WORKER_STALLED"
    assert agent.logged("worker replaced")[0]["why"] == "stalled"
    s3_proxy.be_honest()
    agent.logged("transfer done")
    agent.terminate()
    assert agent.wait().code == 0
    assert it.landing.files() == {"a": b"content" * 1000}
    (row,) = it.history()
    assert (row["state"], row["failures"]) == ("done", 1)


def test_a_main_thread_that_hangs_ends_its_process(tmp_path: Path) -> None:
    """The last resort, for whoever runs the agent without systemd."""
    program = (
        "import time\n"
        "from backhaul.adapters.system.clock import SystemClock\n"
        "from backhaul.app.deadman import Deadman\n"
        "one = Deadman(SystemClock(), 1.0, lambda: print('workers killed', flush=True))\n"
        "one.beat(); one.start(); time.sleep(60)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=False
    )
    assert done.returncode == 70
    assert "E_AGENT_STUCK" in done.stderr
    assert done.stdout == "workers killed\n"
