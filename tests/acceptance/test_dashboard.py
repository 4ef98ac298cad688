"""`backhaul dashboard` as an operator runs it: its line, its link, its ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import urllib3

from backhaul.core.errors import ExitCode
from tests.children import child
from tests.dashboard_ledger import filled

WITHIN_S = 60.0
CANARY = "c4n4ryc4n4ryc4n4ryc4n4ryc4n4ryc4n4ryc4n4"
HTTP = urllib3.PoolManager(cert_reqs="CERT_NONE", timeout=WITHIN_S, retries=False)


@dataclass(kw_only=True)
class Served:
    """A running dashboard and its link."""

    process: subprocess.Popen[str]
    link: str

    @property
    def base(self) -> str:
        return self.link.partition("/?")[0]

    @property
    def port(self) -> int:
        return urlsplit(self.link).port or 0

    def get(self, path: str, cookie: str = "") -> urllib3.BaseHTTPResponse:
        headers = {"Cookie": cookie} if cookie else {}
        return HTTP.request("GET", f"{self.base}{path}", headers=headers, redirect=False)

    def cookie(self) -> str:
        """As a browser gets it from the link."""
        answer = HTTP.request("GET", self.link, redirect=False)
        assert answer.status == 303
        return answer.headers["Set-Cookie"].partition(";")[0]


Start = Callable[..., Served]


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "state" / "ledger.db"
    path.parent.mkdir()
    filled(path, datetime.now(UTC))
    return path


def command(ledger: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "backhaul", "dashboard", "--ledger", str(ledger), *arguments]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE",
        "AWS_SECRET_ACCESS_KEY": CANARY,
    }


@pytest.fixture
def start(ledger: Path, environment: dict[str, str]) -> Iterator[Start]:
    running: list[subprocess.Popen[str]] = []

    def started(*arguments: str) -> Served:
        listen = () if "--listen" in arguments else ("--listen", "127.0.0.1:0")
        process = subprocess.Popen(
            command(ledger, *listen, *arguments),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment,
            text=True,
        )
        running.append(process)
        assert process.stdout is not None
        line = process.stdout.readline().strip()
        assert line, process.communicate(timeout=WITHIN_S)[1]
        return Served(process=process, link=line)

    yield started
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=WITHIN_S)


def ended(
    ledger: Path, environment: dict[str, str], *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(ledger, *arguments),
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )


def test_it_prints_one_line_the_link_and_nobody_else_gets_in(start: Start) -> None:
    served = start()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[A-Za-z0-9_-]{43}", served.link)
    for path in ("/", "/search", "/plots", "/journal", "/transfer/x", "/static/app.css", "/x"):
        assert served.get(path).status == 401, path
    cookie = served.cookie()
    page = served.get("/", cookie).data.decode()
    assert 'id="health"' in page
    assert "s3://raw/click/day=running/" in page
    assert CANARY not in page
    served.process.send_signal(signal.SIGTERM)
    out, err = served.process.communicate(timeout=WITHIN_S)
    assert (served.process.returncode, out, err) == (0, "", "")


def test_ctrl_c_is_its_normal_end_also_under_open_connections(start: Start) -> None:
    served = start()
    with socket.create_connection(("127.0.0.1", served.port)) as idle:
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(WITHIN_S) == 0
        with suppress(ConnectionResetError):
            assert idle.recv(10) == b""


def test_kill_9_and_a_restart_keep_link_and_login(
    start: Start, ledger: Path, environment: dict[str, str]
) -> None:
    first = start()
    cookie = first.cookie()
    first.process.kill()
    first.process.wait(WITHIN_S)
    second = start("--listen", f"127.0.0.1:{first.port}")
    assert second.link == first.link
    assert second.get("/", cookie).status == 200
    printed = ended(ledger, environment, "--listen", f"127.0.0.1:{first.port}", "--link")
    assert (printed.returncode, printed.stdout.strip()) == (0, first.link)
    third = start("--new-token")
    assert third.link.partition("=")[2] != first.link.partition("=")[2]
    assert third.get("/", cookie).status == 401
    printed = ended(ledger, environment, "--link")
    assert printed.stdout.strip() == third.link, "where it listens is known"
    third.process.terminate()
    assert third.process.wait(WITHIN_S) == 0
    assert "127.0.0.1:8787/" in ended(ledger, environment, "--link").stdout
    token = ledger.with_name("ledger.db.dashboard")
    assert token.stat().st_mode & 0o777 == 0o600


def test_a_port_that_is_taken_is_one_clear_line(
    start: Start, ledger: Path, environment: dict[str, str]
) -> None:
    served = start()
    refused = ended(ledger, environment, "--listen", f"127.0.0.1:{served.port}", "--new-token")
    assert refused.returncode == ExitCode.UNAVAILABLE
    assert refused.stdout == ""
    first, _, hint = refused.stderr.partition("\n")
    assert first == (
        f"backhaul: E_DASHBOARD_PORT: 127.0.0.1:{served.port} is taken by another process"
    )
    assert "--link" in hint
    assert served.get("/", served.cookie()).status == 200, "its token is still the one"


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (("--listen", "8787"), ExitCode.USAGE, "E_DASHBOARD_PORT"),
        (("--listen", "192.0.2.1:0", "--behind-proxy"), ExitCode.CONFIGURATION, "E_DASHBOARD_PORT"),
        (("--listen", "0.0.0.0:0"), ExitCode.CONFIGURATION, "E_DASHBOARD_OPEN"),
        (("--tls-cert", "none.pem"), ExitCode.CONFIGURATION, "E_DASHBOARD_TLS"),
        (("--tls-key", "none.pem"), ExitCode.USAGE, "--tls-key needs --tls-cert"),
        (("--link", "--new-token"), ExitCode.USAGE, "--new-token is for a start"),
        (("--host", "https://a.example"), ExitCode.USAGE, "--host 'https://a.example' is no name"),
        (("--config", "none.toml"), ExitCode.CONFIGURATION, "E_CFG_FILE"),
    ],
)
def test_a_start_that_cannot_be_is_refused(
    ledger: Path,
    environment: dict[str, str],
    arguments: tuple[str, ...],
    code: ExitCode,
    text: str,
) -> None:
    refused = ended(ledger, environment, *arguments)
    assert refused.returncode == code, refused.stderr
    assert text in refused.stderr
    assert "Traceback" not in refused.stderr


def test_it_starts_without_a_ledger_and_shows_it_once_there_is_one(
    start: Start, ledger: Path
) -> None:
    kept = ledger.rename(ledger.with_name("kept.db"))
    served = start()
    cookie = served.cookie()
    missing = served.get("/", cookie)
    assert missing.status == 503
    assert b"E_LEDGER_MISSING" in missing.data
    kept.rename(ledger)
    assert served.get("/", cookie).status == 200


def test_with_a_certificate_it_serves_https_alone(start: Start, tmp_path: Path) -> None:
    made = subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=localhost", "-keyout", "key.pem", "-out", "cert.pem"),
        ],
        cwd=tmp_path,
        capture_output=True,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    (tmp_path / "key.pem").chmod(0o600)
    files = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    served = start("--listen", "0.0.0.0:0", *files)
    assert served.link.startswith(f"https://{socket.gethostname()}:")
    served.link = served.link.replace(socket.gethostname(), "127.0.0.1", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", urllib3.exceptions.InsecureRequestWarning)
        answer = HTTP.request("GET", served.link, redirect=False)
        assert answer.status == 303
        assert "secure" in answer.headers["Set-Cookie"].lower()
        cookie = answer.headers["Set-Cookie"].partition(";")[0]
        assert served.get("/", cookie).status == 200
    with socket.create_connection(("127.0.0.1", served.port)) as plain:
        plain.settimeout(WITHIN_S)
        plain.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        with suppress(ConnectionResetError):
            assert b"200" not in plain.recv(1000)


def test_in_the_journal_the_link_has_no_token(ledger: Path, environment: dict[str, str]) -> None:
    """Whoever may read the journal would be let in."""
    reading, writing = os.pipe()
    found = os.fstat(writing)
    stream = {"JOURNAL_STREAM": f"{found.st_dev}:{found.st_ino}"}
    with child(
        command(ledger, "--listen", "127.0.0.1:0"), stdout=writing, env=environment | stream
    ) as process:
        os.close(writing)
        with open(reading, encoding="utf-8") as lines:  # noqa: PTH123
            line = lines.readline()
            process.terminate()
            assert process.wait(WITHIN_S) == 0
    assert line.startswith("http://127.0.0.1:")
    assert "token" not in line
    assert "backhaul dashboard --link" in line


def test_the_service_manager_hears_when_it_serves(
    ledger: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(place))
        manager.settimeout(WITHIN_S)
        with child(
            command(ledger, "--listen", "127.0.0.1:0"),
            stdout=subprocess.PIPE,
            env=environment | {"NOTIFY_SOCKET": str(place)},
        ) as process:
            assert manager.recv(100) == b"READY=1"
            process.terminate()
            assert process.wait(WITHIN_S) == 0


@contextmanager
def crowd(port: int, count: int) -> Iterator[list[socket.socket]]:
    """So many clients that send half a request and then nothing."""
    clients: list[socket.socket] = []
    try:
        for _ in range(count):
            client = socket.create_connection(("127.0.0.1", port), timeout=WITHIN_S)
            clients.append(client)
            client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        yield clients
    finally:
        for client in clients:
            client.close()


@pytest.mark.slow
def test_a_thousand_slow_clients_leave_room_for_an_operator(start: Start) -> None:
    served = start()
    cookie = served.cookie()
    with crowd(served.port, 1000):
        for _ in range(5):
            assert served.get("/", cookie).status == 200
    status = Path(f"/proc/{served.process.pid}/status").read_text("utf-8")
    memory = re.search(r"VmRSS:\s+(\d+) kB", status)
    assert memory is not None
    assert int(memory[1]) < 300_000


def test_pages_of_one_dashboard_are_read_by_many_at_once(start: Start) -> None:
    from concurrent.futures import ThreadPoolExecutor

    served = start()
    cookie = served.cookie()
    paths = ["/", "/search?q=day", "/plots", "/plots.json?range=7d", "/journal"] * 8
    began = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda path: served.get(path, cookie), paths))
    assert {one.status for one in answers} == {200}
    assert time.monotonic() - began < WITHIN_S
    assert json.loads(answers[3].data)["step_s"] == 3600
