"""The judge of `./dev torture` sees each kind of harm, and its proxy and fail points do as told."""

from __future__ import annotations

import contextlib
import io
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from backhaul.core.fleet import liveness
from backhaul.testing.servers.base import HttpServer
from tests import witness
from tests.acceptance.installation import Ended, Running
from tests.acceptance.proxy import Proxy
from tests.lost_commits import CommitProxy
from tests.torture.checker import Found, Sent, violations
from tests.torture.faults import FAULTS, WEIGHTS
from tests.torture.fleet import Node, hooks, was_fenced
from tests.torture.fleet_faults import FLEET_FAULTS, FLEET_WEIGHTS
from tests.torture.points.sitecustomize import METHODS
from tests.torture.rounds import POINTS
from tests.torture.tcp import TcpProxy
from tests.witness import Witness

SENT = (
    Sent(message_id="m1", what="a", finals={"a": (b"new",)}),
    Sent(message_id="m2", what="no-such-object"),
)
GOOD = Found(
    rows=[("m1", "done", None), ("m2", "dead", "E_SRC_EMPTY")],
    dead=["m2"],
    visible={"a": b"new"},
    queued=0,
)


def test_a_good_round_has_no_violation() -> None:
    assert violations(SENT, GOOD) == []
    assert violations(SENT, replace(GOOD, dead=["m2", "m2"])) == [], "a second copy is allowed"


@pytest.mark.parametrize(
    ("wrong", "begins"),
    [
        ({"visible": {}}, "S1"),
        ({"rows": [("m2", "dead", None)]}, "S1"),
        ({"rows": [("m1", "publishing", None), ("m2", "dead", None)]}, "S1"),
        ({"dead": []}, "S1"),
        ({"dead": ["m2", "stranger"]}, "S1"),
        ({"seen": ["tree: 3 files of 12"]}, "S2"),
        ({"visible": {"a": b"new", "b": b""}}, "S2"),
        ({"rows": [*GOOD.rows, ("m1", "done", None)]}, "S3"),
        ({"rows": [*GOOD.rows, ("stranger", "done", None)]}, "S3"),
        ({"rows": [("m1", "done", None), ("m2", "done", None)]}, "S3"),
        ({"visible": {"a": b"old"}}, "S4"),
        ({"rows": [("m1", "dead", None), ("m2", "dead", None)]}, "E1"),
        ({"dead": ["m1", "m2"]}, "E1"),
        ({"queued": 1}, "L1"),
    ],
)
def test_each_harm_is_seen(wrong: dict[str, object], begins: str) -> None:
    found = violations(SENT, replace(GOOD, **wrong))  # type: ignore[arg-type]
    assert [one for one in found if one.startswith(begins)], found


def test_a_row_in_each_of_two_ledgers_is_no_harm() -> None:
    both = [*GOOD.rows, ("m1", "staging", None)]
    assert violations(SENT, replace(GOOD, rows=both, has_one_ledger=False)) == []
    lost = [("m1", "staging", None), ("m2", "dead", None)]
    assert violations(SENT, replace(GOOD, rows=lost, has_one_ledger=False))


@pytest.mark.parametrize("rows", [[], [("m1", "publishing", None)]])
def test_a_ledger_that_lost_commits_may_be_behind_and_the_data_may_not(
    rows: list[tuple[str, str, str | None]],
) -> None:
    behind = replace(GOOD, rows=rows, has_lost_commits=True)
    assert violations(SENT, behind) == []
    assert violations(SENT, replace(behind, visible={}))
    assert violations(SENT, replace(behind, dead=[]))
    assert violations(SENT, replace(behind, has_lost_commits=False))


@pytest.mark.parametrize(
    ("code", "err", "is_fenced"),
    [
        (75, "backhaul: E_LEDGER_FENCED: others took over", True),
        # The stop at the end of a round met it on its last way out.
        (-signal.SIGTERM, "backhaul: E_LEDGER_FENCED: others took over", True),
        (75, "backhaul: E_LEDGER_LOCKED: in use", False),
        (-signal.SIGTERM, "", False),
        (70, "backhaul: E_LEDGER_FENCED: others took over", False),
    ],
)
def test_an_agent_was_fenced_if_it_says_so_and_ends_as_such(
    code: int,
    err: str,
    is_fenced: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert was_fenced(Ended(code=code, out="", err=err, seconds=1.0)) is is_fenced


@pytest.mark.parametrize(("out", "signals"), [("", 1), ('{"event": "agent stopped"}', 0)])
def test_a_node_that_ends_by_itself_gets_no_signal_on_top(
    out: str, signals: int, tmp_path: Path
) -> None:
    sent: list[bool] = []
    running = SimpleNamespace(out=out, terminate=lambda: sent.append(True))
    node = Node(number=0, way=cast("CommitProxy", None), home=tmp_path)
    node.running = cast("Running", running)
    node.stop()
    assert len(sent) == signals


def test_every_weight_of_a_fleet_is_of_a_fault() -> None:
    assert FLEET_WEIGHTS.keys() <= FLEET_FAULTS.keys()
    assert not FLEET_FAULTS.keys() & FAULTS.keys()


def test_every_weight_is_of_a_fault() -> None:
    assert set(WEIGHTS) <= set(FAULTS)


def test_every_fail_point_names_a_method_that_exists() -> None:
    import importlib

    for place in METHODS.values():
        module, _, path = place.partition(":")
        owner, _, method = path.partition(".")
        assert callable(getattr(getattr(importlib.import_module(module), owner), method)), place


def test_a_fail_point_strikes_the_installed_program_once(tmp_path: Path) -> None:
    program = (
        "from backhaul.engines.session import WorkerSession\n"
        "try: WorkerSession.fence(None, None, 1)\n"
        "except AttributeError: print('not reached')\n"
    )
    environment = {
        "PATH": "/usr/bin",
        "PYTHONPATH": str(POINTS),
        "TORTURE_POINT": "session.fence:before:1:kill",
        "TORTURE_MARK": str(tmp_path / "mark"),
    }
    for expected in (-signal.SIGKILL, 0):
        done = subprocess.run(
            [sys.executable, "-c", program], env=environment, timeout=60, check=False
        )
        assert done.returncode == expected
    assert (tmp_path / "mark").exists()


def test_a_fleets_hooks_change_the_times_and_the_node_and_nothing_else() -> None:
    program = (
        "from backhaul.core.fleet import liveness as it\n"
        "from backhaul.adapters.ledger.postgres.members import member\n"
        "print(it.BEAT_S, it.DEAD_S, it.GAP_S, it.TRUST_S, it.BEATS_LEAST, member.DEAD_S,"
        " member._namespace())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**hooks(0.2), "TORTURE_NODE": "one"},
        capture_output=True,
        text=True,
        check=True,
    )
    *times, namespace = done.stdout.split()
    shipped = (liveness.BEAT_S, liveness.DEAD_S, liveness.GAP_S, liveness.TRUST_S)
    assert [float(one) for one in times] == pytest.approx(
        [*(one * 0.2 for one in shipped), liveness.BEATS_LEAST, liveness.DEAD_S * 0.2]
    )
    assert namespace.startswith("pid:[")
    assert namespace.endswith("-one")


# ---------------------------------------------------------------- the TCP proxy


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says everything back."""

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=say_back, args=(connection,), daemon=True).start()

    def say_back(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(1000):
                connection.sendall(data)

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def connected(proxy: TcpProxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=10)
    try:
        connection.sendall(b"one")
        assert connection.recv(10) == b"one"
    except BaseException:
        connection.close()
        raise
    return connection


def test_the_proxy_passes_stalls_and_goes_on(echo: int) -> None:
    with TcpProxy(echo) as proxy, connected(proxy) as connection:
        proxy.stall()
        connection.sendall(b"two")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        proxy.be_honest()
        connection.settimeout(10)
        assert connection.recv(10) == b"two"


def test_the_proxy_cuts_what_is_open_and_takes_new_connections(echo: int) -> None:
    with TcpProxy(echo) as proxy, connected(proxy) as connection:
        proxy.cut()
        with contextlib.suppress(ConnectionResetError):
            assert connection.recv(10) == b""
        assert proxy.cuts == 1
        connected(proxy).close()


def test_the_proxy_forgets_what_is_open_and_passes_what_is_new(echo: int) -> None:
    with TcpProxy(echo) as proxy, connected(proxy) as connection:
        proxy.forget()
        connection.sendall(b"two")
        connection.settimeout(0.3)
        with pytest.raises(TimeoutError):
            connection.recv(10)
        connected(proxy).close()
        proxy.cut()
        connected(proxy).close()


def test_a_request_that_a_kill_cut_short_is_no_open_poll(echo: int) -> None:
    server = SimpleNamespace(endpoint=f"http://127.0.0.1:{echo}", access_key="", secret_key="")
    with Proxy(cast("HttpServer", server)) as proxy:
        port = int(proxy.endpoint.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
            client.sendall(
                b"POST / HTTP/1.1\r\nHost: queue\r\nX-Amz-Target: AmazonSQS.ReceiveMessage\r\n"
                b'Content-Length: 100\r\n\r\n{"QueueUrl"'
            )
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b""
        assert proxy.seen == []
        assert proxy.no_poll_is_open()


def test_the_proxy_refuses_until_it_is_honest(echo: int) -> None:
    with TcpProxy(echo) as proxy:
        proxy.refuse()
        with pytest.raises((OSError, AssertionError)):
            connected(proxy)
        proxy.be_honest()
        connected(proxy).close()


class Hdfs:
    """One file, as `hdfs_native.Client` shows it; `between` is done after each list."""

    def __init__(self) -> None:
        self.data, self.written_ms = b"", 0
        self.between: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.data, self.written_ms = data, self.written_ms + 1

    def list_status(self, path: str) -> list[SimpleNamespace]:
        listed = SimpleNamespace(
            path=f"{path}/moving",
            length=len(self.data),
            modification_time=self.written_ms,
            isdir=False,
        )
        if self.between:
            self.write(self.between.pop(0))
        return [listed]

    def read(self, path: str) -> io.BytesIO:
        assert path == "/land/moving"
        return io.BytesIO(self.data)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> tuple[Hdfs, Witness]:
    """A witness that looks when it is told to, and what it looks at."""
    hdfs = Hdfs()
    monkeypatch.setattr(witness, "hdfs_native", SimpleNamespace(Client=lambda *_, **__: hdfs))
    return hdfs, Witness("hdfs://nn", "/land", {}, {"moving": (b"first", b"second")}, seed=1)


def test_a_file_that_is_replaced_between_a_list_and_a_read_is_not_written_twice(
    seen: tuple[Hdfs, Witness],
) -> None:
    hdfs, looking = seen
    hdfs.write(b"first")
    hdfs.between = [b"second"]
    for _ in range(3):
        looking._look_at_files("")
    assert (looking.again, looking.wrong) == ([], [])


def test_a_state_that_another_look_read_before_the_list_is_not_written_twice(
    seen: tuple[Hdfs, Witness],
) -> None:
    hdfs, looking = seen
    hdfs.write(b"first")
    looking._look_at_files("")
    hdfs.write(b"second")
    looking._look_at_file("moving")
    looking._look_at_files("")
    assert (looking.again, looking.wrong) == ([], [])


@pytest.mark.parametrize("state", [b"first", b"second"])
def test_the_same_state_with_another_time_was_written_twice(
    seen: tuple[Hdfs, Witness], state: bytes
) -> None:
    hdfs, looking = seen
    for _ in range(2):
        hdfs.write(state)
        looking._look_at_files("")
        looking._look_at_file("moving")
    assert (looking.again, looking.wrong) == (["moving"], [])


def test_an_older_state_after_a_newer_one_is_a_regression(seen: tuple[Hdfs, Witness]) -> None:
    hdfs, looking = seen
    for state in (b"second", b"first"):
        hdfs.write(state)
        looking._look_at_files("")
    assert [one.partition(" ")[0] for one in looking.wrong] == ["S4"]
