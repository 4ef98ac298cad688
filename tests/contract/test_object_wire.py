"""How `ObjectReader` takes answers off the wire: plain ones by itself, all others as ever."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from backhaul.adapters import s3_wire
from backhaul.adapters.aws_common import AwsSession
from backhaul.adapters.s3_get import ObjectReader
from backhaul.core.errors import BackhaulError, TransientError
from backhaul.core.model import Pin
from backhaul.core.ports import Endpoint

if TYPE_CHECKING:
    from backhaul.adapters.s3_body import ObjectBody

pytestmark = pytest.mark.integration

BIG = bytes(range(256)) * 4096  # 1 MiB
PIN = Pin(
    bucket="b",
    key="k",
    size_bytes=5,
    etag="abc",
    version_id=None,
    last_modified=datetime(2026, 1, 1, tzinfo=UTC),
)
BIG_PIN = replace(PIN, size_bytes=len(BIG))
HEAD = b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nContent-Length: 5\r\n'
GOOD = HEAD + b"\r\nhello"
Send = Callable[[bytes], None]


@contextmanager
def script(*answers: bytes, pieces: int | None = None) -> Iterator[tuple[Endpoint, list[int]]]:
    """A server that gives these answers in order, and counts its connections.

    Args:
        pieces: Send so many bytes at a time, each as a segment of its own.
    """
    left, connections = list(answers), [0]
    server = socket.create_server(("127.0.0.1", 0))

    def talk(peer: socket.socket) -> None:
        with peer:
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while left and _asked(peer):
                answer = left.pop(0)
                size = pieces or len(answer)
                for at in range(0, len(answer), size):
                    peer.sendall(answer[at : at + size])
                if b"close\r\n" in answer:
                    return

    def serve() -> None:
        while left:
            try:
                peer, _ = server.accept()
            except OSError:
                return
            connections[0] += 1
            with suppress(ConnectionError):  # a client that has seen enough
                talk(peer)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        base = f"http://127.0.0.1:{server.getsockname()[1]}/b/"
        yield Endpoint(base_url=base, region="us-east-1"), connections
    finally:
        left.clear()
        server.shutdown(socket.SHUT_RDWR)
        server.close()
        thread.join()


def _asked(peer: socket.socket) -> bool:
    received = b""
    while not received.endswith(b"\r\n\r\n"):
        part = peer.recv(65_536)
        if not part:
            return False
        received += part
    return True


@pytest.fixture
def reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectReader]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    found = ObjectReader(AwsSession("us-east-1").credentials_spec.load(), 4, idle_timeout_s=5)
    yield found
    found.close()


def whole(body: ObjectBody) -> bytes:
    with body:
        return body.readall()


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which way each answer went."""
    ways: list[str] = []
    plain = s3_wire._Quick._plain

    def note_plain(self: s3_wire._Quick, received: bytes) -> object:
        found = plain(self, received)
        ways.append("plain" if found is not None else "odd")
        return found

    monkeypatch.setattr(s3_wire._Quick, "_plain", note_plain)
    return ways


@pytest.mark.parametrize(
    ("answer", "way"),
    [
        (GOOD, "plain"),
        (HEAD.lower().replace(b"http/1.1 200 ok", b"HTTP/1.1 200 OK") + b"\r\nhello", "plain"),
        (HEAD + b"Connection: keep-alive\r\n\r\nhello", "plain"),
        (HEAD + b"Content-Encoding: gzip\r\n\r\nhello", "plain"),
        (HEAD + b"Connection: close\r\n\r\nhello", "odd"),
        (HEAD + b"X-Long: one\r\n two\r\n\r\nhello", "odd"),
        (HEAD.replace(b"\r\n", b"\n") + b"\nhello", "odd"),
        (HEAD + b"\nhello", "odd"),
        (HEAD.replace(b"1.1 200", b"1.0 200") + b"\r\nhello", "odd"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, "odd"),
    ],
)
@pytest.mark.parametrize("pieces", [None, 1, 70])
def test_an_answer_of_any_shape_is_read(
    reader: ObjectReader, taken: list[str], answer: bytes, way: str, pieces: int | None
) -> None:
    with script(answer, pieces=pieces) as (endpoint, _):
        body = reader.get(endpoint, PIN)
        assert body.facts.etag == "abc"
        assert whole(body) == b"hello"
    assert taken == [way]


def test_a_connection_serves_one_answer_after_the_other(reader: ObjectReader) -> None:
    refused = b"HTTP/1.1 404 No\r\nContent-Length: 27\r\n\r\n<Error><Code>X</Code></Erro"
    with script(GOOD, refused, GOOD, GOOD) as (endpoint, connections):
        assert whole(reader.get(endpoint, PIN)) == b"hello"
        with pytest.raises(BackhaulError):
            reader.get(endpoint, PIN)
        assert [whole(reader.get(endpoint, PIN)) for _ in range(2)] == [b"hello"] * 2
        assert connections == [1]


def test_bytes_behind_the_body_reach_no_other_object(reader: ObjectReader) -> None:
    with script(GOOD + b"HTTP/1.1 200 OK\r\n", GOOD) as (endpoint, _):
        for _ in range(2):
            assert whole(reader.get(endpoint, PIN)) == b"hello"


def test_a_body_left_half_way_ends_its_connection(reader: ObjectReader) -> None:
    with script(GOOD, GOOD) as (endpoint, connections):
        with reader.get(endpoint, PIN) as body:
            assert body.read(2) == b"he"
        assert whole(reader.get(endpoint, PIN)) == b"hello"
        assert connections == [2]


@pytest.mark.parametrize("step", [1 << 12, 1 << 16, 1 << 18, 1 << 20])
def test_a_large_body_comes_whole_in_pieces_of_any_size(reader: ObjectReader, step: int) -> None:
    head = HEAD.replace(b": 5", f": {len(BIG)}".encode())
    with (
        script(head + b"\r\n" + BIG, GOOD) as (endpoint, connections),
        reader.get(endpoint, BIG_PIN) as body,
    ):
        found = b""
        while piece := body.read(step):
            assert len(piece) == min(step, len(BIG) - len(found))
            found += piece
        assert found == BIG
        assert whole(reader.get(endpoint, PIN)) == b"hello"
        assert connections == [1]


def test_a_large_body_that_ends_early_is_told(reader: ObjectReader) -> None:
    head = HEAD.replace(b": 5", f": {len(BIG)}".encode()) + b"X: close\r\n"
    with (
        script(head + b"\r\n" + BIG[:-7]) as (endpoint, _),
        reader.get(endpoint, BIG_PIN) as body,
        pytest.raises(TransientError) as caught,
    ):
        list(body)
    assert caught.value.code == "E_S3_BODY"


def test_no_header_can_bring_another_request(reader: ObjectReader) -> None:
    pin = replace(PIN, etag='a"\r\nX: y')
    with script(GOOD) as (endpoint, _), pytest.raises(ValueError, match="line break"):
        reader.get(endpoint, pin)


def test_a_head_without_an_end_is_given_up(reader: ObjectReader) -> None:
    endless = b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000
    with (
        script(endless, endless, endless) as (endpoint, _),
        pytest.raises(TransientError) as caught,
    ):
        reader.get(endpoint, PIN)
    assert caught.value.code == "E_S3_SERVER"
