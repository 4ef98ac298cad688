"""The head of a request, and the bytes of an answer."""

from __future__ import annotations

from http import HTTPStatus

import pytest

from backhaul.adapters.metrics.http_message import (
    HEAD_MOST_BYTES,
    HttpAnswer,
    Refused,
    is_own_name,
    read_request,
    wire_form,
)


@pytest.mark.parametrize(
    ("received", "path", "method", "host"),
    [
        (b"GET /metrics HTTP/1.1\r\nHost: h:1\r\n\r\n", "/metrics", "GET", "h:1"),
        (b"HEAD /livez HTTP/1.0\r\n\r\n", "/livez", "HEAD", ""),
        (b"GET /readyz?verbose=1 HTTP/1.1\nhost:  h \nA: b\n\n", "/readyz", "GET", "h"),
        (b"GET / HTTP/1.1\r\nX-Host: a\r\nHost: b\r\n\r\nGET /more", "/", "GET", "b"),
        (b"GET / HTTP/1.1\r\nHost : b\xff c\r\n\r\n", "/", "GET", "b\xff c"),
    ],
)
def test_a_request(received: bytes, path: str, method: str, host: str) -> None:
    found = read_request(received)
    assert found is not None
    assert (found.path, found.is_head, found.host) == (path, method == "HEAD", host)


@pytest.mark.parametrize(
    "received",
    [
        b"",
        b"G",
        b"GET /metrics HTTP/1.1",
        b"GET /metrics HTTP/1.1\r\n",
        b"GET / HTTP/1.1\r\nA: b\r\n",
    ],
)
def test_what_is_not_complete_is_waited_for(received: bytes) -> None:
    assert read_request(received) is None


@pytest.mark.parametrize(
    ("received", "status"),
    [
        (b"\x16\x03\x01\x02\x00\n", 400),
        (b"GET  / HTTP/1.1\r\n\r\n", 400),
        (b"get / HTTP/1.1\r\n\r\n", 400),
        (b"GET http://h/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 400),
        (b"\r\n\r\n", 400),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"DELETE /metrics HTTP/1.1\r\n\r\n", 405),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * HEAD_MOST_BYTES, 431),
    ],
)
def test_what_is_no_request_is_refused(received: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        read_request(received)
    assert refused.value.answer.status == status


def test_an_answer_has_its_length_and_ends_the_connection() -> None:
    sent = wire_form(HttpAnswer(body=b"alive\n"))
    head, _, body = sent.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Content-Length: 6\r\n" in head
    assert b"Connection: close" in head
    assert body == b"alive\n"


def test_head_has_the_length_and_no_body() -> None:
    sent = wire_form(HttpAnswer(body=b"alive\n"), is_head=True)
    assert b"Content-Length: 6\r\n" in sent
    assert sent.endswith(b"\r\n\r\n")


def test_only_a_wrong_method_names_the_right_ones() -> None:
    assert b"Allow: GET, HEAD" in wire_form(HttpAnswer.of(HTTPStatus.METHOD_NOT_ALLOWED, "no"))
    assert b"Allow:" not in wire_form(HttpAnswer.of(HTTPStatus.NOT_FOUND, "no"))


@pytest.mark.parametrize(
    "host", ["", "localhost", "LOCALHOST:9187", "127.0.0.1", "127.0.0.1:9187", "[::1]:1", "[::1]"]
)
def test_an_address_is_an_own_name(host: str) -> None:
    assert is_own_name(host)


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:9187", "localhost.evil", "1.2.evil", "::1", "b c", "b\xff"],
)
def test_a_name_may_be_a_web_page(host: str) -> None:
    assert not is_own_name(host)
