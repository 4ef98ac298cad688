"""The agent's own HTTP server on real sockets: scrapes, and clients that are slow or hostile."""

from __future__ import annotations

import random
import resource
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress

import pytest

from backhaul.adapters.metrics import server as module
from backhaul.adapters.metrics.http_message import HttpAnswer
from backhaul.adapters.metrics.server import (
    ACCEPTED_PER_S,
    CONNECTIONS_MOST,
    READS_MOST,
    MetricsServer,
)
from backhaul.core.errors import BackhaulError, ConfigurationError, ExitCode, TransientError

LARGE = b"0123456789" * 1_000_000  # more than the buffers of two sockets take
OWN = "Host: 127.0.0.1\r\n"


class Bed:
    """A server, what it emitted, and how often each page was made."""

    def __init__(self) -> None:
        self.emitted: list[object] = []
        self.made = 0
        pages: dict[str, Callable[[], HttpAnswer]] = {
            "/metrics": self._metrics,
            "/large": lambda: HttpAnswer(body=LARGE),
            "/broken": self._broken,
        }
        self.server = MetricsServer.listen("127.0.0.1", 0, pages, self._emit)
        self.server.start()

    def _emit(self, fact: object) -> None:
        self.emitted.append(fact)

    def _metrics(self) -> HttpAnswer:
        self.made += 1
        return HttpAnswer(body=b"a 1\n")

    def _broken(self) -> HttpAnswer:
        raise ZeroDivisionError("a defect")

    def connect(self) -> socket.socket:
        client = socket.create_connection(self.server.address, timeout=20)
        client.settimeout(20)
        return client

    def ask(self, path: str = "/metrics", *, method: str = "GET", host: str = OWN) -> bytes:
        return self.send(f"{method} {path} HTTP/1.1\r\n{host}\r\n".encode())

    def send(self, request: bytes) -> bytes:
        """All that comes until the connection ends."""
        with closing(self.connect()) as client:
            client.sendall(request)
            return rest(client)


def ignored(fact: object) -> None:
    """For a server whose pages have no defect."""


def rest(client: socket.socket) -> bytes:
    found = b""
    with suppress(ConnectionResetError):
        while more := client.recv(1 << 20):
            found += more
    return found


def is_open(client: socket.socket) -> bool:
    """Whether the server has not ended this connection."""
    client.setblocking(False)  # noqa: FBT003 - its own API
    try:
        return client.recv(1, socket.MSG_PEEK) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def eventually(ask: Callable[[], bool], within_s: float = 20) -> None:
    deadline_s = time.monotonic() + within_s
    while not ask():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


@pytest.fixture
def bed() -> Iterator[Bed]:
    before = threading.active_count()
    one = Bed()
    yield one
    one.server.close()
    assert threading.active_count() == before


@pytest.fixture
def clients() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def test_a_page_is_answered_and_the_connection_ends(bed: Bed) -> None:
    head, _, body = bed.ask().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert body == b"a 1\n"
    assert bed.ask(method="HEAD").endswith(b"\r\n\r\n")


def test_a_page_larger_than_all_buffers_arrives_whole(bed: Bed) -> None:
    assert bed.ask("/large").endswith(b"\r\n\r\n" + LARGE)


@pytest.mark.parametrize(
    ("path", "method", "status"),
    [("/", "GET", 404), ("/metrics/", "GET", 404), ("/metrics", "POST", 405), ("/x", "PUT", 405)],
)
def test_nothing_else_is_answered(bed: Bed, path: str, method: str, status: int) -> None:
    assert bed.ask(path, method=method).startswith(b"HTTP/1.1 %d " % status)


def test_the_host_is_neither_trusted_nor_repeated(bed: Bed) -> None:
    answer = bed.ask(host="Host: evil.example:9187\r\n")
    assert answer.startswith(b"HTTP/1.1 421 ")
    assert b"evil" not in answer
    assert bed.ask(host="").startswith(b"HTTP/1.1 200 ")


def test_localhost_is_what_people_type(monkeypatch: pytest.MonkeyPatch) -> None:
    both = [
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_args, **_named: list(both))
    server = MetricsServer.listen("localhost", 0, {}, ignored)
    assert server.address[0] == "127.0.0.1"
    server.close()


def test_a_server_for_others_cannot_know_its_names() -> None:
    pages = {"/metrics": lambda: HttpAnswer(body=b"")}
    server = MetricsServer.listen("0.0.0.0", 0, pages, ignored)  # noqa: S104 - under test
    assert server.is_open
    server.start()
    with closing(socket.create_connection(("127.0.0.1", server.address[1]), 20)) as client:
        client.sendall(b"GET /metrics HTTP/1.1\r\nHost: edge1.example\r\n\r\n")
        assert rest(client).startswith(b"HTTP/1.1 200 ")
    server.close()


def test_a_body_that_is_sent_along_takes_no_answer_away(bed: Bed) -> None:
    body = b"x" * 60_000
    answer = bed.send(b"POST /metrics HTTP/1.1\r\nContent-Length: 60000\r\n\r\n" + body)
    assert answer.startswith(b"HTTP/1.1 405 ")


def test_garbage_is_answered_or_cut_off_and_others_are_served(bed: Bed) -> None:
    chance = random.Random(1)
    for size in (1, 10, 1_000, 20_000, 200_000):
        with closing(bed.connect()) as client, suppress(ConnectionError):
            client.sendall(chance.randbytes(size))
            client.shutdown(socket.SHUT_WR)
            assert rest(client)[:12] in {b"", b"HTTP/1.1 400", b"HTTP/1.1 431"}
    assert bed.ask().startswith(b"HTTP/1.1 200 ")
    assert bed.emitted == []


def test_clients_that_send_nothing_never_keep_others_out(
    bed: Bed, clients: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIME_LIMIT_S", 3600.0)  # their time does not end
    slow = [clients.enter_context(closing(bed.connect())) for _ in range(200)]
    for client in slow:
        with suppress(ConnectionError):
            client.sendall(b"GET /met")
    assert bed.ask().startswith(b"HTTP/1.1 200 ")
    eventually(lambda: sum(is_open(one) for one in slow) < CONNECTIONS_MOST)


def test_a_connection_ends_after_its_time(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TIME_LIMIT_S", 0.2)
    with closing(bed.connect()) as silent, closing(bed.connect()) as deaf:
        deaf.sendall(f"GET /large HTTP/1.1\r\n{OWN}\r\n".encode())
        assert rest(silent) == b""
        eventually(lambda: not bed.server._clients)
        assert len(rest(deaf)) < len(LARGE)


def test_who_sends_byte_by_byte_is_cut_off(bed: Bed) -> None:
    with closing(bed.connect()) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sent = 0
        with suppress(ConnectionError):
            while is_open(client) and sent < 100 * READS_MOST:
                client.send(b"x")
                sent += 1
                time.sleep(0.001)
        assert sent < 100 * READS_MOST


def test_a_page_is_made_once_in_a_while_however_often_it_is_asked_for(bed: Bed) -> None:
    answers = [bed.ask() for _ in range(50)]
    assert all(one.startswith(b"HTTP/1.1 200 ") for one in answers)
    assert bed.made < 25


def test_a_flood_waits_in_the_backlog(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ACCEPTED_PER_S", 5)
    began_s = time.monotonic()
    for _ in range(12):
        assert bed.ask().startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began_s > 1.5  # twelve at five a second
    assert ACCEPTED_PER_S > 5


def test_a_defect_of_a_page_is_emitted_and_ends_nothing(bed: Bed) -> None:
    assert bed.ask("/broken").startswith(b"HTTP/1.1 500 ")
    assert [type(one) for one in bed.emitted] == [ZeroDivisionError]
    assert bed.ask().startswith(b"HTTP/1.1 200 ")


def test_without_descriptors_it_waits_for_some(bed: Bed) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with closing(bed.connect()) as first:
        with closing(bed.connect()) as second:
            eventually(lambda: len(bed.server._clients) == 2)
            highest = max(first.fileno(), second.fileno(), *(
                one.fileno() for one in bed.server._clients
            ))  # fmt: skip
            waiting = socket.socket()
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            try:
                waiting.connect(bed.server.address)
                eventually(lambda: not bed.server._is_accepting)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        with closing(waiting):
            waiting.settimeout(20)
            waiting.sendall(f"GET /metrics HTTP/1.1\r\n{OWN}\r\n".encode())
            assert rest(waiting).startswith(b"HTTP/1.1 200 ")


def test_it_ends_at_once_with_all_its_connections(bed: Bed) -> None:
    with closing(bed.connect()) as client:
        eventually(lambda: len(bed.server._clients) == 1)
        bed.server.close()
        bed.server.close()
        assert rest(client) == b""
        with pytest.raises(ConnectionRefusedError):
            bed.connect()


def test_one_that_never_began_ends_as_well() -> None:
    MetricsServer.listen("127.0.0.1", 0, {}, ignored).close()


# ---------------------------------------------------------------- where it cannot listen


def refused(host: str, port: int) -> BackhaulError:
    with pytest.raises(BackhaulError) as error:
        MetricsServer.listen(host, port, {}, ignored).close()
    assert error.value.code == "E_METRICS_LISTEN"
    assert f"{port}: " in error.value.message
    return error.value


def test_a_taken_port_may_be_free_later(bed: Bed) -> None:
    error = refused(*bed.server.address)
    assert isinstance(error, TransientError)
    assert error.exit_code == ExitCode.UNAVAILABLE
    assert "choose another port" in error.hint


@pytest.mark.parametrize(
    ("host", "part"),
    [
        ("192.0.2.1", "no such address"),
        ("a.invalid", "the host is unknown"),
        ("a..b", "the host is unknown"),
        ("a" * 70, "the host is unknown"),
    ],
)
def test_what_is_no_own_address_is_wrong_for_good(host: str, part: str) -> None:
    error = refused(host, 9187)
    if isinstance(error, TransientError):
        assert "Temporary failure in name resolution" in error.message  # no name server answers
    else:
        assert isinstance(error, ConfigurationError)
    assert part in error.hint


def test_a_port_of_root_is_wrong_for_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", denied)
    error = refused("::1", 80)
    assert isinstance(error, ConfigurationError)
    assert error.message == "metrics.listen [::1]:80: Permission denied"
    assert "below 1024" in error.hint
