"""A webhook by real servers: signed, checked, and servers that refuse, redirect, hang and drip."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import json
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.reply.webhook import WebhookTarget, retry_after_s, signature
from backhaul.core.errors import BackhaulError, PermanentError, TransientError
from backhaul.core.replies.webhook import parse_webhook
from testbed.mail import certificate, free_port, scripted
from testbed.receiver import Receiver, receiving
from tests.unit.test_reply import a_reply

SECRET = b"canaryc0ffeeSECRET"
NOW_S = 1_772_350_200.7
REPLY = a_reply()


def target(
    url: str, *, limit_s: float = 20, ca_file: Path | None = None, secret: bytes | None = SECRET
) -> WebhookTarget:
    parsed = parse_webhook(url)
    return WebhookTarget(
        "out", parsed, secret=secret, ca_file=ca_file, limit_s=limit_s, now=lambda: NOW_S
    )


def refused(to: WebhookTarget) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        to.deliver(REPLY)
    assert SECRET.decode() not in repr(caught.value) + caught.value.hint
    return caught.value


@contextlib.contextmanager
def answering(status: int, body: bytes = b"", **headers: str) -> Iterator[Receiver]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    with receiving(Receiver(status=status, body=body, headers=named)) as receiver:
        yield receiver


@pytest.fixture
def tls(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    return certificate(tmp_path)


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """What each name resolves to, an entry for each query; other names as the machine has them."""
    answers: dict[str, list[str]] = {}
    real = socket.getaddrinfo

    def look(host: str, port: int, **named: Any) -> Any:
        if host in answers:
            host = answers[host].pop(0)
        return real(host, port, **named)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    return answers


# ---------------------------------------------------------------- delivered


def test_it_is_one_post_of_json_with_key_and_signature() -> None:
    with answering(204) as receiver:
        target(f"http://127.0.0.1:{receiver.port}/in?x=1").deliver(REPLY)
    (got,) = receiver.received
    assert got.path == "/in?x=1"
    assert json.loads(got.body) == REPLY.document()
    assert got.headers["Content-Type"] == "application/json"
    assert got.headers["Host"] == f"127.0.0.1:{receiver.port}"
    assert got.headers["Backhaul-Key"] == got.headers["Idempotency-Key"] == REPLY.key
    assert got.headers["Backhaul-Timestamp"] == "1772350200"
    wanted = hmac.new(SECRET, b"1772350200." + got.body, hashlib.sha256).hexdigest()
    assert got.headers["Backhaul-Signature"] == f"v1={wanted}"


def test_it_is_not_signed_without_a_secret() -> None:
    with answering(200) as receiver:
        target(f"http://127.0.0.1:{receiver.port}/", secret=None).deliver(REPLY)
    assert receiver.received[0].headers["Backhaul-Signature"] is None


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_private_authority_is_trusted_by_its_file(
    host: str, tls: tuple[Path, ssl.SSLContext]
) -> None:
    with receiving(Receiver(), tls[1]) as receiver:
        target(f"https://{host}:{receiver.port}/", ca_file=tls[0]).deliver(REPLY)
    assert len(receiver.received) == 1


def test_a_body_without_end_of_a_success_is_not_read() -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\n" + b"x" * 100)
        connection.recv(1)

    with scripted(act) as port:
        target(f"http://127.0.0.1:{port}/").deliver(REPLY)


# ---------------------------------------------------------------- certificates


def test_a_self_signed_certificate_is_refused(tls: tuple[Path, ssl.SSLContext]) -> None:
    with receiving(Receiver(), tls[1]) as receiver:
        error = refused(target(f"https://127.0.0.1:{receiver.port}/"))
    assert receiver.received == []
    assert (type(error), error.code) == (TransientError, "E_REPLY_TLS")
    assert "self-signed certificate" in error.message
    assert "ca_file" in error.hint


def test_a_certificate_of_another_name_is_refused(tls: tuple[Path, ssl.SSLContext]) -> None:
    with receiving(Receiver(), tls[1]) as receiver:
        error = refused(target(f"https://127.0.0.2:{receiver.port}/", ca_file=tls[0]))
        assert error.code == "E_REPLY_UNREACHABLE"  # it listens on 127.0.0.1 alone
        error = refused(target(f"https://[::ffff:127.0.0.1]:{receiver.port}/", ca_file=tls[0]))
    assert error.code == "E_REPLY_TLS"
    assert "mismatch" in error.message
    assert receiver.received == []


def test_a_port_without_tls_is_named() -> None:
    with answering(200) as receiver:
        error = refused(target(f"https://127.0.0.1:{receiver.port}/"))
    assert error.code == "E_REPLY_TLS"
    assert "TLS failed" in error.message


# ---------------------------------------------------------------- answers


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 410, 413, 415, 422, 451, 499])
def test_a_refusal_is_for_good(status: int) -> None:
    with answering(status, b"no such hook") as receiver:
        error = refused(target(f"http://127.0.0.1:{receiver.port}/secret/path?token=abc"))
    assert (type(error), error.code) == (PermanentError, "E_REPLY_REFUSED")
    assert f"answers {status}" in error.message
    assert error.message.endswith(": no such hook")
    assert error.hint
    assert "path" not in error.message, "the path may be what lets one in"


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_trouble_of_the_server_passes(status: int) -> None:
    with answering(status, Retry_After="120") as receiver:
        error = refused(target(f"http://127.0.0.1:{receiver.port}/"))
    assert (type(error), error.code) == (TransientError, "E_REPLY_SERVER")
    assert isinstance(error, TransientError)
    assert error.retry_after_s == 120


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with answering(200) as trap:
        place = f"http://127.0.0.1:{trap.port}/latest/meta-data/?token=abc"
        with answering(status, Location=place) as receiver:
            error = refused(target(f"http://127.0.0.1:{receiver.port}/"))
    assert trap.received == []
    assert len(receiver.received) == 1
    assert (type(error), error.code) == (PermanentError, "E_REPLY_REDIRECT")
    assert "points to http://127.0.0.1;" in error.message
    assert "token" not in error.message


def test_what_a_server_writes_is_shown_in_part_and_without_secrets() -> None:
    with answering(400, b"\x1b[31mbad\r\nthing " + b"x" * 5000) as receiver:
        message = refused(target(f"http://127.0.0.1:{receiver.port}/")).message
    assert message.isprintable()
    assert len(message) < 400
    with answering(400, b"bad Authorization: Bearer abcdefghijkl") as receiver:
        message = refused(target(f"http://127.0.0.1:{receiver.port}/")).message
    assert "abcdefgh" not in message


@pytest.mark.parametrize(
    "text", [b"220 mail ESMTP\r\n", b"", b"HTTP/1.1\r\n\r\n", b"HTTP/1.1 999999 x\r\n\r\n"]
)
def test_what_is_no_http_passes(text: bytes) -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(text)
        connection.close()

    with scripted(act) as port:
        error = refused(target(f"http://127.0.0.1:{port}/"))
    assert isinstance(error, TransientError)
    assert error.code in {"E_REPLY_SERVER", "E_REPLY_UNREACHABLE"}


def test_headers_without_end_are_cut_off() -> None:
    def act(connection: socket.socket) -> None:
        connection.recv(65_536)
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            connection.sendall(b"X-More: " + b"y" * 1000 + b"\r\n")

    with scripted(act) as port:
        error = refused(target(f"http://127.0.0.1:{port}/"))
    assert error.code in {"E_REPLY_SERVER", "E_REPLY_UNREACHABLE"}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("5", 5),
        ("0", 1),
        ("999999", 3600),
        ("-5", None),
        ("soon", None),
        ("", None),
        ("9" * 400, None),
        ("Sun, 01 Mar 2026 07:32:00 GMT", pytest.approx(119.3)),
        ("Sun, 01 Mar 2020 07:32:00 GMT", 1),
        ("Sun, 01 Mar 99999999 07:32:00 GMT", None),
        (None, None),
    ],
)
def test_a_wish_to_be_left_alone_is_heeded_within_bounds(value: str, seconds: float) -> None:
    assert retry_after_s(value, NOW_S) == seconds


# ---------------------------------------------------------------- time


def hang(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.recv(1)


def drip(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(b"HTTP/1.1 200 OK\r\n")
    while True:
        connection.sendall(b"X: y\r\n")
        time.sleep(0.02)


@pytest.mark.parametrize("act", [hang, drip])
def test_a_server_that_hangs_or_drips_costs_the_limit(act: Any) -> None:
    with scripted(act) as port:
        began_s = time.monotonic()
        error = refused(target(f"http://127.0.0.1:{port}/", limit_s=0.5))
        took_s = time.monotonic() - began_s
    assert (type(error), error.code) == (TransientError, "E_REPLY_TIMEOUT")
    assert 0.4 < took_s < 10


def test_a_server_that_hangs_in_the_handshake_costs_the_limit() -> None:
    with scripted(hang) as port:
        error = refused(target(f"https://127.0.0.1:{port}/", limit_s=0.3))
    assert error.code == "E_REPLY_TIMEOUT"


def test_dns_that_hangs_costs_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    released = socket.socketpair()

    def hanging(*_: Any, **__: Any) -> Any:
        released[1].recv(1)
        raise socket.gaierror("too late")

    monkeypatch.setattr(socket, "getaddrinfo", hanging)
    error = refused(target("https://hooks.example.com/", limit_s=0.3))
    released[0].send(b"x")
    assert error.code == "E_REPLY_TIMEOUT"
    for each in released:
        each.close()


# ---------------------------------------------------------------- addresses


SPECIAL = [
    *("127.0.0.1", "169.254.169.254", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::"),  # noqa: S104
    *("fe80::1", "fd00:ec2::254", "100.100.100.200", "::ffff:169.254.169.254"),
]


@pytest.mark.parametrize("address", SPECIAL)
def test_a_name_that_leads_to_a_special_address_is_not_called(
    address: str, dns: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dns["hooks.example.com"] = [address]
    monkeypatch.setattr(socket, "socket", None)  # nothing is even opened
    error = refused(target("https://hooks.example.com/x"))
    assert (type(error), error.code) == (PermanentError, "E_REPLY_ADDRESS")
    assert "hooks.example.com" in error.message


def test_one_special_address_among_others_is_enough(
    dns: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = socket.getaddrinfo

    def both(host: str, port: int, **named: Any) -> Any:
        return [*real("192.0.2.1", port, **named), *real("127.0.0.1", port, **named)]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    monkeypatch.setattr(socket, "socket", None)
    assert refused(target("https://hooks.example.com/")).code == "E_REPLY_ADDRESS"


def test_the_checked_address_is_called_whatever_dns_answers_next(
    dns: dict[str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    dns["hooks.example.com"] = ["198.51.100.7", "127.0.0.1", "127.0.0.1"]
    called: list[Any] = []

    class Noted(socket.socket):
        def connect(self, address: Any) -> None:
            called.append(address)
            raise ConnectionRefusedError(111, "Connection refused")

    monkeypatch.setattr(socket, "socket", Noted)
    error = refused(target("https://hooks.example.com:8443/"))
    assert error.code == "E_REPLY_UNREACHABLE"
    assert called == [("198.51.100.7", 8443)]
    assert len(dns["hooks.example.com"]) == 2, "resolved once"


def test_no_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{free_port()}")
    with answering(200) as receiver:
        target(f"http://127.0.0.1:{receiver.port}/").deliver(REPLY)
    assert receiver.received[0].path == "/"


def test_a_name_without_an_address_and_a_closed_port_pass() -> None:
    error = refused(target("https://no-such-name.invalid/"))
    assert (type(error), error.code) == (TransientError, "E_REPLY_UNREACHABLE")
    error = refused(target(f"http://127.0.0.1:{free_port()}/"))
    assert (type(error), error.code) == (TransientError, "E_REPLY_UNREACHABLE")
    assert "Connection refused" in error.message


def test_the_signature_is_of_time_and_body() -> None:
    assert signature(b"k", "1", b"b") != signature(b"k", "2", b"b") != signature(b"j", "2", b"b")
    assert http.client.HTTPConnection.auto_open  # the class's own is untouched
