"""What events need of S3: one very version, and a bucket of the right account."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.core.errors import BackhaulError, NotAllowed, OutageError, PermanentError
from backhaul.core.objects import Pin
from backhaul.core.transfer.listing import list_pages
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
    reader = ObjectReader(AwsSession(clients.REGION).credentials, 1)
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
        reader = ObjectReader(AwsSession("us-east-1").credentials, 1)
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


# ---------------------------------------------------------------- who answered, and what HEAD says

ID = "x-amz-request-id: 1\r\n"
BYTE = (
    b'HTTP/1.1 206 Partial Content\r\nETag: "abc"\r\nContent-Range: bytes 0-0/5\r\n'
    b"Content-Length: 1\r\nConnection: close\r\n\r\nh"
)
BAD_REGION = "x-amz-bucket-region: not a region/evil\r\n"


@pytest.mark.usefixtures("use_liar")
@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("headers", ["", "Content-Type: text/html\r\n", BAD_REGION])
def test_a_redirect_that_meets_every_request_holds(
    monkeypatch: pytest.MonkeyPatch, status: int, headers: str
) -> None:
    with liar(refusal(status, headers=f"Location: https://login.example/\r\n{headers}")) as (
        endpoint,
        asked,
    ):
        store = liars_store(endpoint.base_url, monkeypatch)
        for ask in (
            lambda: store.list_page("b", "p/"),
            lambda: store.find_version("b", "k", "v"),
        ):
            with pytest.raises(OutageError) as caught:
                ask()
            assert (caught.value.dependency, caught.value.code) == ("s3", "E_S3_UNREACHABLE")
        assert store.endpoint("b").region == "us-east-1"
    assert len(asked) < 12


@pytest.mark.usefixtures("use_liar")
def test_a_redirect_of_s3_is_followed_to_the_region_that_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    moved = refusal(301, "PermanentRedirect", headers="x-amz-bucket-region: eu-north-1\r\n")
    with liar(moved, LISTED) as (endpoint, asked):
        list(list_pages(liars_store(endpoint.base_url, monkeypatch), "b", "p/"))
    assert b"/us-east-1/s3/" in asked[0]
    assert b"/eu-north-1/s3/" in asked[1]


@pytest.mark.usefixtures("use_liar")
def test_a_redirect_of_s3_to_no_region_is_the_buckets(monkeypatch: pytest.MonkeyPatch) -> None:
    with liar(refusal(301, "PermanentRedirect", headers=BAD_REGION)) as (endpoint, _):
        store = liars_store(endpoint.base_url, monkeypatch)
        with pytest.raises(PermanentError, match="E_SRC_REGION") as caught:
            store.list_page("b", "p/")
    assert "evil" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.usefixtures("use_liar")
@pytest.mark.parametrize("head", [400, 401, 403, 404, 405])
@pytest.mark.parametrize(
    ("get", "kind", "code"),
    [
        (refusal(403, "RequestTimeTooSkewed"), OutageError, "E_AWS_CLOCK"),
        (refusal(403, "InvalidAccessKeyId"), OutageError, "E_AWS_DENIED"),
        (refusal(400, "ExpiredToken"), OutageError, "E_AWS_EXPIRED"),
        (refusal(403, "AccessDenied"), PermanentError, "E_SRC_DENIED"),
        (refusal(404, "NoSuchBucket"), PermanentError, "E_SRC_NO_BUCKET"),
        (refusal(400, "InvalidRequest", "stored with Encryption"), PermanentError, "E_SRC_SSEC"),
        (refusal(404, headers="Via: 1.1 gw\r\n"), OutageError, "E_S3_UNREACHABLE"),
        (refusal(405), OutageError, "E_S3_UNREACHABLE"),
        (refusal(416, "InvalidRange"), OutageError, "E_S3_UNREACHABLE"),
        (refusal(403, "InvalidObjectState"), OutageError, "E_S3_UNREACHABLE"),
        (BYTE, OutageError, "E_S3_UNREACHABLE"),
    ],
)
def test_a_version_whose_head_is_refused_is_judged_by_a_get(
    monkeypatch: pytest.MonkeyPatch, head: int, get: bytes, kind: type[BackhaulError], code: str
) -> None:
    answers = [refusal(head, headers=ID)] * (2 if head == 400 else 1)  # and of its bucket
    with liar(*answers, get) as (endpoint, asked):
        store = liars_store(endpoint.base_url, monkeypatch)
        with pytest.raises(BackhaulError) as caught:
            store.find_version("b", "k", "v1")
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert asked[-1].startswith(b"GET /b/k?versionId=v1 ")
    assert b"bytes=0-0" in asked[-1]
    if code == "E_SRC_DENIED":
        assert "s3:GetObjectVersion" in caught.value.hint


@pytest.mark.usefixtures("use_liar")
@pytest.mark.parametrize(
    "get",
    [
        refusal(404, "NoSuchKey"),
        refusal(404, "NoSuchVersion"),
        refusal(404, headers=ID),
        refusal(405, "MethodNotAllowed"),
        refusal(400, "InvalidArgument", "Invalid version id specified"),
    ],
)
def test_a_version_is_gone_where_a_get_confirms_it(
    monkeypatch: pytest.MonkeyPatch, get: bytes
) -> None:
    with liar(refusal(404), get) as (endpoint, _):
        assert liars_store(endpoint.base_url, monkeypatch).find_version("b", "k", "v1") is None


@pytest.mark.usefixtures("use_liar")
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
@pytest.mark.parametrize("get", [refusal(404), refusal(403), BYTE])
def test_a_reader_takes_no_verdict_from_a_head_that_a_get_does_not_confirm(
    monkeypatch: pytest.MonkeyPatch, status: int, get: bytes
) -> None:
    with liar(refusal(status, headers=ID), get) as (endpoint, _):
        reader = ObjectReader(AwsSession("us-east-1").credentials, 1)
        with pytest.raises(OutageError, match="E_S3_UNREACHABLE"):
            reader.head(endpoint, PIN)
        reader.close()


@pytest.mark.usefixtures("use_liar")
@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_region_that_nobody_named_is_asked_for_again(
    monkeypatch: pytest.MonkeyPatch, status: int
) -> None:
    told = FINE.replace(b"OK\r\n", b"OK\r\nx-amz-bucket-region: eu-north-1\r\n")
    with liar(refusal(status), told) as (endpoint, asked):
        store = liars_store(endpoint.base_url, monkeypatch)
        regions = [store.endpoint("b").region for _ in range(3)]
    assert regions == ["us-east-1", "eu-north-1", "eu-north-1"]
    assert len(asked) == 2


@pytest.mark.usefixtures("use_liar")
def test_a_portals_page_in_place_of_an_object_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    with liar(GOOD.replace(b'ETag: "abc"\r\n', b"")) as (endpoint, _):
        reader = ObjectReader(AwsSession("us-east-1").credentials, 1)
        for read in (reader.get, reader.head):
            with pytest.raises(OutageError, match="E_S3_UNREACHABLE"):
                read(endpoint, PIN)
        with pytest.raises(OutageError, match="E_S3_UNREACHABLE"):
            liars_store(endpoint.base_url, monkeypatch).find_version("b", "k", "v1")
        reader.close()


def page(body: bytes, headers: bytes = b"") -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n%sContent-Length: %d\r\n\r\n"
        % (headers, len(body))
        + body
    )


@pytest.mark.usefixtures("use_liar")
@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (page(b'{"blocked":"by policy"}'), "E_S3_UNREACHABLE"),
        (page(b"<head><meta http-equiv=refresh></head>"), "E_S3_UNREACHABLE"),
        (page(b"<?xml version='1.0'?><portal>sign in</portal>"), "E_S3_UNREACHABLE"),
        (page(b""), "E_S3_UNREACHABLE"),
        (page(b"<Error><Code>ExpiredToken</Code></Error>"), "E_AWS_EXPIRED"),
        (page(b"<Error><Code>InvalidAccessKeyId</Code></Error>"), "E_AWS_DENIED"),
        (page(b"<Error><Code>SlowDown</Code></Error>"), "E_S3_THROTTLED"),
        (page(b"<Error><Code>NewHere</Code></Error>"), "E_S3_UNREACHABLE"),
    ],
)
def test_what_is_no_listing_of_s3_holds(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, code: str
) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with liar(answer) as (endpoint, _), pytest.raises(OutageError) as caught:
        liars_store(endpoint.base_url, monkeypatch).list_page("b", "p/")
    assert caught.value.code == code


@pytest.mark.usefixtures("use_liar")
@pytest.mark.parametrize(
    "body", [b'{"blocked":"by policy"}', b"<portal/>", LISTING[:-9], b"<?xml version"]
)
def test_a_broken_listing_with_s3s_id_is_a_page_flaw(
    monkeypatch: pytest.MonkeyPatch, body: bytes
) -> None:
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0)
    with liar(page(body, ID.encode())) as (endpoint, _):
        assert liars_store(endpoint.base_url, monkeypatch).list_page("b", "p/").flaw
