"""Requests of planning without botocore's client: whatever they do not bring, botocore decides."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backhaul.adapters.aws.s3 import S3Store
from backhaul.core.errors import PermanentError
from backhaul.core.objects import Pin
from backhaul.core.transfer.listing import list_pages
from tests.contract.test_object_store import liar, refusal
from tests.contract.test_object_store_events import (
    EXPECTED,
    FINE,
    HEAD,
    LISTED,
    LISTING,
    OWNER,
    liars_store,
    page,
)

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("keys")]

KNOWN = FINE.replace(b"OK\r\n", b"OK\r\nx-amz-bucket-region: us-east-1\r\n")
PIN = Pin(
    bucket="b", key="k", size_bytes=5, etag="abc", last_modified=datetime(2026, 1, 1, tzinfo=UTC)
)
ETAG = b'ETag: "abc"\r\n'
MODIFIED = b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\n"


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "k")
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)


def known_store(base_url: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    """One that knows already where the bucket is."""
    store = liars_store(base_url, monkeypatch)
    store.endpoint("b")
    return store


def is_plain(request: bytes) -> bool:
    return b"amz-sdk-invocation-id" not in request.lower()


def test_before_the_bucket_is_known_botocore_lists_and_nothing_is_looked_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with liar(LISTED) as (endpoint, asked):
        store = liars_store(endpoint.base_url, monkeypatch)
        assert store.current("b", "k") is None
        assert asked == []
        list(list_pages(store, "b", "p/"))
    assert [is_plain(one) for one in asked] == [False]


def test_each_request_is_plain_signed_and_names_the_owner(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with liar(KNOWN, LISTED, HEAD, HEAD) as (endpoint, asked):
        store = known_store(endpoint.base_url, monkeypatch)
        list(list_pages(store, "b", "p/", owner=OWNER))
        assert store.current("b", "k", owner=OWNER) == PIN
        found = store.find_version("b", "k", "v 1", owner=OWNER)
    assert found == replace(PIN, version_id="v 1")
    assert [one.split(b" HTTP")[0] for one in asked[1:]] == [
        b"GET /b?list-type=2&encoding-type=url&max-keys=1000&prefix=p%2F",
        b"HEAD /b/k",
        b"HEAD /b/k?versionId=v%201",
    ]
    for request in asked[1:]:
        assert is_plain(request)
        assert EXPECTED.lower() in request.lower()
        signed = request.lower().partition(b"signedheaders=")[2].partition(b",")[0]
        assert b"x-amz-expected-bucket-owner" in signed


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        refusal(403, "AccessDenied"),
        refusal(404),
        refusal(503, "SlowDown"),
        refusal(301, headers="x-amz-bucket-region: eu-north-1\r\n"),
        HEAD.replace(ETAG, b""),
        HEAD.replace(b'"abc"', b'"a b"'),
        HEAD.replace(MODIFIED, b""),
        HEAD.replace(b"01 Jan", b"99 Jan"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: -5"),
        HEAD.replace(b"Content-Length: 5", b"Content-Length: 99999999999999999"),
        HEAD.replace(b"200 OK", b"206 Partial"),
    ],
)
def test_an_answer_that_does_not_show_the_object_shows_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with liar(KNOWN, answer) as (endpoint, asked):
        assert known_store(endpoint.base_url, monkeypatch).current("b", "k") is None
    assert len(asked) == 2, "it is tried once"


def test_another_version_than_the_requested_one_is_not_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = HEAD.replace(b"OK\r\n", b"OK\r\nx-amz-version-id: v2\r\n")
    right = HEAD.replace(b"OK\r\n", b"OK\r\nx-amz-version-id: v1\r\n")
    with liar(KNOWN, other, right) as (endpoint, asked):
        found = known_store(endpoint.base_url, monkeypatch).find_version("b", "k", "v1")
    assert found is not None
    assert found.version_id == "v1"
    assert [is_plain(one) for one in asked[1:]] == [True, False]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        page(b"<html>sign in</html>"),
        page(b"<Error><Code>SlowDown</Code></Error>"),
        page(LISTING[:-9]),
        page(LISTING).replace(b"Content-Length: ", b"Content-Length: 1"),
        refusal(500),
        refusal(503, "SlowDown"),
    ],
)
def test_a_page_that_is_none_is_requested_again_by_botocore(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    with liar(KNOWN, answer, LISTED) as (endpoint, asked):
        store = known_store(endpoint.base_url, monkeypatch)
        (found,) = list_pages(store, "b", "p/")
    assert found.pins == ()
    assert [is_plain(one) for one in asked[1:]] == [True, False]


def test_a_refusal_is_named_as_botocore_shows_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with liar(KNOWN, refusal(403, "AccessDenied")) as (endpoint, _):
        store = known_store(endpoint.base_url, monkeypatch)
        with pytest.raises(PermanentError, match="E_SRC_DENIED"):
            list(list_pages(store, "b", "p/"))


def test_a_page_with_a_contradiction_is_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    with liar(KNOWN, page(LISTING.replace(b"<Prefix>p/", b"<Prefix>q/"))) as (endpoint, asked):
        found = known_store(endpoint.base_url, monkeypatch).list_page("b", "p/")
    assert found.prefix == "q/"
    assert len(asked) == 2
