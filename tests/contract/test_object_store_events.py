"""What events need of S3: one very version, and a bucket of the right account."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backhaul.adapters.aws_common import AwsSession
from backhaul.adapters.s3 import S3Store
from backhaul.adapters.s3_get import ObjectReader
from backhaul.core.errors import NotAllowed, PermanentError
from backhaul.core.listing import list_pages
from backhaul.core.model import Pin
from backhaul.testing.servers import Moto, clients
from tests.contract.test_object_store import GOOD, liar, refusal

pytestmark = pytest.mark.integration

OWNER = "111122223333"
EXPECTED = f"x-amz-expected-bucket-owner: {OWNER}".encode()
PIN = Pin(
    bucket="b", key="k", size_bytes=5, etag="abc", last_modified=datetime(2026, 1, 1, tzinfo=UTC)
)
LISTING = (
    b'<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    b"<Name>b</Name><Prefix>p/</Prefix><IsTruncated>false</IsTruncated></ListBucketResult>"
)
LISTED = (
    b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(LISTING) + LISTING
)
FINE = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
HEAD = (
    b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nContent-Length: 5\r\n'
    b"Last-Modified: Thu, 01 Jan 2026 00:00:00 GMT\r\nConnection: close\r\n\r\n"
)


@pytest.fixture
def store(moto_server: Moto, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    for name, value in clients.settings(s3=moto_server).items():
        monkeypatch.setenv(name, value)
    return S3Store(AwsSession(clients.REGION))


def test_an_older_version_is_found_and_read(
    store: S3Store, moto_server: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = clients.s3_client(moto_server)
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    raw.create_bucket(Bucket=bucket)
    raw.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = raw.put_object(Bucket=bucket, Key="p/a+b", Body=b"first")["VersionId"]
    raw.put_object(Bucket=bucket, Key="p/a+b", Body=b"second!")

    pin = store.find_version(bucket, "p/a+b", first)
    assert pin is not None
    assert (pin.key, pin.size_bytes, pin.version_id) == ("p/a+b", 5, first)
    assert pin.last_modified.tzinfo is UTC
    reader = ObjectReader(AwsSession(clients.REGION).credentials_spec.load(), 1)
    with reader.get(store.endpoint(bucket), pin) as body:
        assert body.readall() == b"first"
    reader.close()

    raw.delete_object(Bucket=bucket, Key="p/a+b", VersionId=first)
    assert store.find_version(bucket, "p/a+b", first) is None
    assert store.find_version(bucket, "p/other", first) is None


# ---------------------------------------------------------------- the account


@pytest.fixture
def use_liar(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)


def liars_store(base_url: str, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", base_url.removesuffix("/b/"))
    return S3Store(AwsSession("us-east-1"))


@pytest.mark.usefixtures("use_liar")
def test_every_request_names_the_owner(monkeypatch: pytest.MonkeyPatch) -> None:
    with liar(LISTED, HEAD, GOOD) as (endpoint, asked):
        store = liars_store(endpoint.base_url, monkeypatch)
        list(list_pages(store, "b", "p/", owner=OWNER))
        store.find_version("b", "k", "v1", owner=OWNER)
        reader = ObjectReader(AwsSession("us-east-1").credentials_spec.load(), 1)
        reader.get(replace(endpoint, owner=OWNER), PIN).close()
        reader.close()
    assert len(asked) == 3
    for request in asked:
        assert EXPECTED.lower() in request.lower()
        # Signed, so that nobody on the way can take it out.
        signed = request.lower().partition(b"signedheaders=")[2].partition(b",")[0]
        assert b"x-amz-expected-bucket-owner" in signed


@pytest.mark.usefixtures("use_liar")
def test_no_owner_is_named_where_the_route_names_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with liar(LISTED) as (endpoint, asked):
        list(list_pages(liars_store(endpoint.base_url, monkeypatch), "b", "p/"))
    assert b"expected-bucket-owner" not in asked[0].lower()


@pytest.mark.usefixtures("use_liar")
def test_bucket_that_is_denied_only_for_its_owner_is_told_apart(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with liar(refusal(403, "AccessDenied"), FINE) as (endpoint, asked):
        store = liars_store(endpoint.base_url, monkeypatch)
        with pytest.raises(NotAllowed, match="E_SRC_OWNER") as caught:
            list(list_pages(store, "b", "p/", owner=OWNER))
    assert OWNER in caught.value.message
    assert b"expected-bucket-owner" not in asked[1].lower()


@pytest.mark.usefixtures("use_liar")
def test_bucket_that_is_denied_anyway_is_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    with liar(refusal(403, "AccessDenied")) as (endpoint, _):
        store = liars_store(endpoint.base_url, monkeypatch)
        with pytest.raises(PermanentError, match="E_SRC_DENIED"):
            list(list_pages(store, "b", "p/", owner=OWNER))
