"""`S3Store` and `ObjectReader` against S3Proxy (right checksums), moto (any key) and a liar.

The liar is a socket server that answers as scripted: for what no stand-in does.
"""

from __future__ import annotations

import base64
import hashlib
import socketserver
import threading
import traceback
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

from backhaul.adapters.aws import s3
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.digests import new_digest
from backhaul.core.checksums import S3Checksum, matches
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    OutageError,
    PermanentError,
    SourceChanged,
    TransientError,
)
from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint
from backhaul.core.transfer.listing import current_object, list_objects, list_pages
from backhaul.testing.servers import Moto, clients
from testbed import S3Proxy

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration

Server = S3Proxy | Moto
BODY = bytes(range(256)) * 4096  # 1 MiB
ODD_KEYS = [
    "p//double/slash",
    "p/../up",
    "p/./here",
    "p/a b+c%2Fd?e#f&g=h;i:j@k",
    "p/é/\U0001f600",
    "p/tab\t\x01\x7f\x80",
    "p/*'()!$,[]{}|\\^`\"<>~",
    "p/%2e%2E/%",
    "p/trailing/",
]


@pytest.fixture(params=["s3proxy", "moto_server"])
def server(request: pytest.FixtureRequest) -> Server:
    found: Server = request.getfixturevalue(request.param)
    return found


def use(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> AwsSession:
    for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        if name.startswith("AWS_") or name.lower() == "no_proxy":
            monkeypatch.setenv(name, value)
    return AwsSession(clients.REGION)


@pytest.fixture
def aws(server: Server, monkeypatch: pytest.MonkeyPatch) -> AwsSession:
    return use(monkeypatch, clients.environment(s3=server))


@pytest.fixture
def raw(server: Server) -> S3Client:
    return clients.s3_client(server)


@pytest.fixture
def bucket(raw: S3Client) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    raw.create_bucket(Bucket=name)
    return name


@pytest.fixture
def store(aws: AwsSession) -> S3Store:
    return S3Store(aws)


@pytest.fixture
def reader(aws: AwsSession) -> Iterator[ObjectReader]:
    made = ObjectReader(aws.credentials, 16)
    yield made
    made.close()


def listed(store: S3Store, bucket: str, prefix: str = "", page_size: int = 1000) -> list[Pin]:
    pages = list_pages(store, bucket, prefix, page_size=page_size)
    return [pin for page in pages for pin in page.pins]


# ---------------------------------------------------------------- listing


def test_listing_pins_what_the_prefix_has(store: S3Store, raw: S3Client, bucket: str) -> None:
    raw.put_object(Bucket=bucket, Key="day=1/a", Body=BODY)
    raw.put_object(Bucket=bucket, Key="day=10/b", Body=b"")

    (pin,) = listed(store, bucket, "day=1/")
    assert (pin.bucket, pin.key, pin.size_bytes) == (bucket, "day=1/a", len(BODY))
    assert pin.etag == hashlib.md5(BODY, usedforsecurity=False).hexdigest()
    assert pin.version_id is None
    assert pin.last_modified.tzinfo is UTC
    assert abs((datetime.now(tz=UTC) - pin.last_modified).total_seconds()) < 60


def test_listing_goes_on_page_by_page(store: S3Store, raw: S3Client, bucket: str) -> None:
    keys = [f"p/{i:02d}" for i in range(25)]
    for key in keys:
        raw.put_object(Bucket=bucket, Key=key, Body=b"x")

    pages = list(list_pages(store, bucket, "p/", page_size=10))
    assert [len(page.pins) for page in pages] == [10, 10, 5]
    assert [pin.key for page in pages for pin in page.pins] == keys


def test_listing_begins_behind_a_key(store: S3Store, raw: S3Client, bucket: str) -> None:
    keys = [f"p/{i:02d} ü" for i in range(25)]
    for key in keys:
        raw.put_object(Bucket=bucket, Key=key, Body=b"x")

    pages = list_objects(store, bucket, "p/", start_after=keys[3], page_size=10)
    assert [one.key for page in pages for one in page] == keys[4:]


def test_listing_nothing_is_no_error(store: S3Store, bucket: str) -> None:
    assert listed(store, bucket, "none/") == []


def test_listing_a_missing_bucket_is_permanent(store: S3Store) -> None:
    with pytest.raises(PermanentError) as caught:
        listed(store, f"none-{uuid.uuid4().hex}")
    assert caught.value.code == "E_SRC_NO_BUCKET"


@pytest.mark.parametrize("name", ["Bad Name!", "ab", "x/y", ""])
def test_listing_an_impossible_bucket_is_permanent(store: S3Store, name: str) -> None:
    with pytest.raises(PermanentError) as caught:
        listed(store, name)
    assert caught.value.code in {"E_SRC_BUCKET", "E_SRC_NO_BUCKET"}


def test_object_as_it_is_now_is_what_a_listing_shows(
    store: S3Store, raw: S3Client, bucket: str
) -> None:
    store.endpoint(bucket)
    found: Pin | None = None
    for body in (BODY, b""):
        raw.put_object(Bucket=bucket, Key="p/k", Body=body)
        raw.put_object(Bucket=bucket, Key="p/k2", Body=b"another")
        (pin, _) = listed(store, bucket, "p/")

        found = store.current(bucket, "p/k")
        assert found is not None
        assert found == replace(pin, last_modified=found.last_modified)
        assert found.last_modified == pin.last_modified.replace(microsecond=0)
    assert current_object(store, bucket, "p/k") == found


def test_object_that_is_not_there_is_shown_by_nothing(
    store: S3Store, raw: S3Client, bucket: str
) -> None:
    store.endpoint(bucket)
    raw.put_object(Bucket=bucket, Key="p/k2", Body=b"another")

    assert store.current(bucket, "p/k") is None
    assert current_object(store, bucket, "p/k") is None


# ---------------------------------------------------------------- reading


def test_object_reads_back_with_its_checksum(
    store: S3Store, reader: ObjectReader, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=BODY, ChecksumAlgorithm="CRC32C")
    (pin,) = listed(store, bucket)

    with reader.get(store.endpoint(bucket), pin) as body:
        pieces = list(body)
        best = body.facts.best(pin.size_bytes)
    assert b"".join(pieces) == BODY
    assert all(type(piece) is bytes for piece in pieces)
    assert best is not None
    assert best.algorithm == "CRC32C"
    digest = new_digest("CRC32C")
    digest.update(BODY)
    assert matches(best, digest.digest())
    assert reader.head(store.endpoint(bucket), pin).best(pin.size_bytes) == best


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC64NVME", "SHA1", "SHA256"])
def test_every_checksum_s3_keeps_is_shown(
    server: Server,
    store: S3Store,
    reader: ObjectReader,
    raw: S3Client,
    bucket: str,
    algorithm: str,
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=BODY, ChecksumAlgorithm=algorithm)  # type: ignore[arg-type]
    (pin,) = listed(store, bucket)

    with reader.get(store.endpoint(bucket), pin) as body:
        best = body.facts.best(pin.size_bytes)
        digest = new_digest(best.algorithm) if best else None
        assert digest is not None
        digest.update(body.readall())
    assert best is not None
    if isinstance(server, Moto) or algorithm in {"CRC32", "CRC64NVME"}:
        assert best.algorithm == algorithm
    assert matches(best, digest.digest())


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME"])
def test_kinds_of_checksums_that_s3_keeps_are_told(
    store: S3Store, raw: S3Client, bucket: str, algorithm: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=BODY, ChecksumAlgorithm=algorithm)  # type: ignore[arg-type]
    (pin,) = listed(store, bucket)
    assert store.algorithms(pin) == {algorithm}
    raw.delete_object(Bucket=bucket, Key="k")
    assert store.algorithms(pin) == frozenset(), "a hint, and no error"


def test_empty_object_reads_as_nothing(
    store: S3Store, reader: ObjectReader, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=b"")
    (pin,) = listed(store, bucket)

    with reader.get(store.endpoint(bucket), pin) as body:
        assert body.read() == b""
        assert body.readall() == b""
        assert list(body) == []


def test_range_is_half_open_and_shows_no_checksum(
    store: S3Store, reader: ObjectReader, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=BODY, ChecksumAlgorithm="CRC32C")
    (pin,) = listed(store, bucket)

    with reader.get(store.endpoint(bucket), pin, byte_range=(10, 300)) as body:
        assert body.facts.content_length == 290
        assert body.facts.checksums == ()
        assert body.readall() == BODY[10:300]


def test_odd_keys_list_and_read_back_exactly(
    moto_server: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = use(monkeypatch, clients.environment(s3=moto_server))
    raw = clients.s3_client(moto_server)
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    raw.create_bucket(Bucket=bucket)
    for key in ODD_KEYS:
        raw.put_object(Bucket=bucket, Key=key, Body=key.encode())
    store, reader = S3Store(aws), ObjectReader(aws.credentials, 4)

    pins = listed(store, bucket, "p/", page_size=3)
    assert sorted(pin.key for pin in pins) == sorted(ODD_KEYS)
    for pin in pins:
        with reader.get(store.endpoint(bucket), pin) as body:
            assert body.readall() == pin.key.encode()
    reader.close()


def test_changed_object_is_noticed(
    store: S3Store, reader: ObjectReader, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=b"old")
    (pin,) = listed(store, bucket)
    raw.put_object(Bucket=bucket, Key="k", Body=b"new")

    for call in (reader.get, reader.head):
        with pytest.raises(SourceChanged) as caught:
            call(store.endpoint(bucket), pin)
        assert caught.value.code == "E_SRC_CHANGED"
        assert pin.key in caught.value.message


def test_vanished_object_is_noticed(
    store: S3Store, reader: ObjectReader, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=b"old")
    (pin,) = listed(store, bucket)
    raw.delete_object(Bucket=bucket, Key="k")

    for call in (reader.get, reader.head):
        with pytest.raises(SourceChanged) as caught:
            call(store.endpoint(bucket), pin)
        assert caught.value.code == "E_SRC_GONE"


def test_pinned_version_survives_an_overwrite(
    moto_server: Moto, monkeypatch: pytest.MonkeyPatch
) -> None:
    aws = use(monkeypatch, clients.environment(s3=moto_server))
    raw = clients.s3_client(moto_server)
    bucket = f"b-{uuid.uuid4().hex[:12]}"
    raw.create_bucket(Bucket=bucket)
    raw.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = raw.put_object(Bucket=bucket, Key="k", Body=b"old")["VersionId"]
    (pin,) = listed(S3Store(aws), bucket)
    raw.put_object(Bucket=bucket, Key="k", Body=b"newer")
    reader = ObjectReader(aws.credentials, 1)

    with reader.get(S3Store(aws).endpoint(bucket), replace(pin, version_id=version)) as body:
        assert body.readall() == b"old"
        assert body.facts.version_id == version
    reader.close()


def test_abandoned_bodies_do_not_use_up_the_connections(
    store: S3Store, aws: AwsSession, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=BODY * 4)
    (pin,) = listed(store, bucket)
    endpoint = store.endpoint(bucket)
    reader = ObjectReader(aws.credentials, 1)

    for _ in range(3):
        with reader.get(endpoint, pin) as body:
            body.read(10)
        with pytest.raises(SourceChanged):
            reader.get(endpoint, replace(pin, etag="0" * 32))
        with pytest.raises(TransientError, match="E_S3_SERVER"):
            reader.get(endpoint, replace(pin, size_bytes=1))
    reader.close()


def test_many_threads_share_a_reader(
    store: S3Store, reader: ObjectReader, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=BODY)
    (pin,) = listed(store, bucket)
    endpoint = store.endpoint(bucket)

    def read(_: int) -> bytes:
        with reader.get(endpoint, pin) as body:
            return body.readall()

    with ThreadPoolExecutor(32) as pool:
        assert set(pool.map(read, range(128))) == {BODY}


def test_wrong_secret_is_an_outage_of_the_credentials(
    s3proxy: S3Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = clients.environment(s3=s3proxy) | {"AWS_SECRET_ACCESS_KEY": "wrong-secret"}
    aws = use(monkeypatch, environment)
    store = S3Store(aws)
    pin = Pin(bucket="b", key="k", size_bytes=1, etag="e", last_modified=datetime.now(tz=UTC))
    endpoint = Endpoint(base_url=f"{s3proxy.endpoint}/b/", region=clients.REGION)

    for call in (
        lambda: listed(store, "some-bucket"),
        lambda: ObjectReader(aws.credentials, 1).get(endpoint, pin),
    ):
        with pytest.raises(OutageError) as caught:
            call()
        assert (caught.value.dependency, caught.value.code) == ("credentials", "E_AWS_DENIED")
        assert "wrong-secret" not in str(caught.value)


# ---------------------------------------------------------------- endpoint


@pytest.mark.parametrize(
    ("bucket", "host"),
    [
        ("plain", "https://plain.s3.eu-west-1.amazonaws.com/"),
        ("with.dots", "https://s3.eu-west-1.amazonaws.com/with.dots/"),
    ],
)
def test_endpoint_on_aws_is_what_boto3_would_use(
    monkeypatch: pytest.MonkeyPatch, bucket: str, host: str
) -> None:
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_REGION": "eu-west-1"}
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    store = S3Store(use(monkeypatch, keys))
    monkeypatch.setattr(s3, "_region_of", lambda *_: "eu-west-1")  # asks AWS

    found = store.endpoint(bucket)
    assert (found.base_url, found.region, found.owner) == (host, "eu-west-1", None)


def test_endpoint_of_a_custom_server_is_path_style(
    store: S3Store, server: Server, bucket: str
) -> None:
    found = store.endpoint(bucket)
    assert found.base_url == f"{server.endpoint}/{bucket}/"
    assert (found.region, found.owner) == (clients.REGION, None)


def test_plain_http_beyond_this_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    aws = use(monkeypatch, {"AWS_ENDPOINT_URL_S3": "http://s3.example.com"})
    with pytest.raises(ConfigurationError) as caught:
        S3Store(aws)
    assert caught.value.code == "E_CFG_TLS"


# ---------------------------------------------------------------- the liar

PIN = Pin(
    bucket="b", key="k", size_bytes=5, etag="abc", last_modified=datetime(2026, 1, 1, tzinfo=UTC)
)
_REGION_HEADER = "x-amz-bucket-region: "
GOOD = b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nContent-Length: 5\r\n\r\nhello'


@contextmanager
def liar(*answers: bytes) -> Iterator[tuple[Endpoint, list[bytes]]]:
    """Gives the answers in turn, the last one for ever; an empty one hangs up. Notes requests."""
    asked: list[bytes] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            lines = []
            while (line := self.rfile.readline()) not in {b"\r\n", b""}:
                lines.append(line)
            answer = answers[min(len(asked), len(answers) - 1)]
            asked.append(b"".join(lines))
            self.wfile.write(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            base = f"http://127.0.0.1:{server.server_address[1]}/b/"
            yield Endpoint(base_url=base, region="us-east-1"), asked
        finally:
            server.shutdown()
            thread.join()


def refusal(status: int, code: str = "", message: str = "", headers: str = "") -> bytes:
    xml = f"<Error><Code>{code}</Code><Message>{message}</Message></Error>" if code else ""
    head = f"HTTP/1.1 {status} X\r\n{headers}Content-Length: {len(xml)}\r\nConnection: close\r\n"
    return f"{head}\r\n{xml}".encode()


@pytest.fixture
def liars_reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectReader]:
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    made = ObjectReader(use(monkeypatch, keys).credentials, 2, idle_timeout_s=10)
    yield made
    made.close()


@pytest.fixture
def hasty_reader(monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectReader]:
    """For an answer that never comes: of any other, a busy machine may be late."""
    keys = {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "very-secret"}
    made = ObjectReader(use(monkeypatch, keys).credentials, 2, idle_timeout_s=0.3)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (refusal(403, "AccessDenied"), PermanentError, "E_SRC_DENIED"),
        (refusal(403, headers="x-amz-request-id: 1\r\n"), PermanentError, "E_SRC_DENIED"),
        (refusal(403), OutageError, "E_S3_UNREACHABLE"),
        (refusal(404), OutageError, "E_S3_UNREACHABLE"),
        (
            refusal(302, headers="Location: https://login.example\r\n"),
            OutageError,
            "E_S3_UNREACHABLE",
        ),
        (refusal(407), OutageError, "E_S3_UNREACHABLE"),
        (GOOD.replace(b'ETag: "abc"', b"x-amz-request-id: 1"), TransientError, "E_S3_SERVER"),
        (GOOD.replace(b'ETag: "abc"\r\n', b""), OutageError, "E_S3_UNREACHABLE"),
        (GOOD.replace(b"h: 5", b"h: " + b"5" * 5000), TransientError, "E_S3_SERVER"),
        (refusal(403, "InvalidObjectState"), PermanentError, "E_SRC_ARCHIVED"),
        (
            refusal(400, "InvalidRequest", "stored using a form of Server Side Encryption."),
            PermanentError,
            "E_SRC_SSEC",
        ),
        (refusal(400, "KMS.DisabledException"), OutageError, "E_SRC_KMS"),
        (refusal(400, "KMS.NotFoundException"), PermanentError, "E_SRC_DENIED"),
        (refusal(404, "NoSuchKey"), SourceChanged, "E_SRC_GONE"),
        (refusal(404, "NoSuchVersion"), SourceChanged, "E_SRC_GONE"),
        (refusal(405, "MethodNotAllowed"), SourceChanged, "E_SRC_GONE"),
        (
            refusal(400, "InvalidArgument", "Invalid version id specified"),
            SourceChanged,
            "E_SRC_GONE",
        ),
        (refusal(404, "NoSuchBucket"), PermanentError, "E_SRC_NO_BUCKET"),
        (refusal(409, "ConditionalRequestConflict"), SourceChanged, "E_SRC_CHANGED"),
        (refusal(412, "PreconditionFailed"), SourceChanged, "E_SRC_CHANGED"),
        (refusal(416, "InvalidRange"), SourceChanged, "E_SRC_CHANGED"),
        (refusal(301, "PermanentRedirect"), PermanentError, "E_SRC_REGION"),
        (refusal(307, "TemporaryRedirect"), PermanentError, "E_SRC_REGION"),
        (refusal(403, "RequestTimeTooSkewed"), OutageError, "E_AWS_CLOCK"),
        (refusal(400, "ExpiredToken"), OutageError, "E_AWS_EXPIRED"),
        (refusal(403, "AccountProblem"), OutageError, "E_AWS_ACCOUNT"),
        (refusal(403, "UserSuspended"), OutageError, "E_AWS_ACCOUNT"),
        (refusal(400, "AuthorizationHeaderMalformed"), OutageError, "E_AWS_DENIED"),
        (
            refusal(400, "AuthorizationHeaderMalformed", headers=f"{_REGION_HEADER}ev/il.com\r\n"),
            OutageError,
            "E_AWS_DENIED",
        ),
        (
            refusal(400, "AuthorizationHeaderMalformed", headers=f"{_REGION_HEADER}eu-north-1\r\n"),
            PermanentError,
            "E_SRC_REGION",
        ),
        (refusal(403, "InvalidAccessKeyId"), OutageError, "E_AWS_DENIED"),
        (refusal(403, "SignatureDoesNotMatch"), OutageError, "E_AWS_DENIED"),
        (refusal(503, "SlowDown"), TransientError, "E_S3_THROTTLED"),
        (refusal(429), TransientError, "E_S3_THROTTLED"),
        (refusal(500, "InternalError"), TransientError, "E_S3_SERVER"),
        (refusal(400, "SomethingNew"), TransientError, "E_AWS_UNEXPECTED"),
        (b"", TransientError, "E_S3_SERVER"),
        (GOOD.replace(b"abc", b"xyz"), SourceChanged, "E_SRC_CHANGED"),
        (GOOD.replace(b"h: 5", b"h: 6"), TransientError, "E_S3_SERVER"),
        (GOOD.replace(b"Content-Length: 5\r\n", b""), TransientError, "E_S3_SERVER"),
    ],
)
def test_refusal_is_mapped(
    liars_reader: ObjectReader, answer: bytes, kind: type[BackhaulError], code: str
) -> None:
    with liar(answer) as (endpoint, _), pytest.raises(BackhaulError) as caught:
        liars_reader.get(endpoint, PIN)
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert "s3://b/k" in caught.value.message or code == "E_S3_SERVER"
    assert "very-secret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("token", ["secret-token\nX: y", "secret-t\u2603ken"])
def test_credentials_that_no_header_carries_hold_and_are_not_shown(
    liars_reader: ObjectReader, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    signed = {"Authorization": "x", "X-Amz-Security-Token": token}
    monkeypatch.setattr(liars_reader, "_signed", lambda *_: signed)
    with liar(GOOD) as (endpoint, _), pytest.raises(OutageError) as caught:
        liars_reader.get(endpoint, PIN)
    assert (caught.value.dependency, caught.value.code) == ("credentials", "E_AWS_CREDENTIALS")
    shown = "".join(traceback.format_exception(caught.value))
    assert "secret-t" not in shown


@pytest.mark.parametrize("status", [200, 301, 307, 400, 403, 404, 405])
def test_any_answer_of_s3_itself_shows_that_it_is_up(
    liars_reader: ObjectReader, status: int
) -> None:
    with liar(refusal(status)) as (endpoint, requests):
        liars_reader.check_reachable(endpoint)
        assert b"Authorization" not in requests[0]


@pytest.mark.parametrize(
    "answer", [*map(refusal, (407, 429, 500, 502, 503, 504)), b"", b"nonsense\r\n\r\n"]
)
def test_s3_that_is_broken_or_hidden_by_a_proxy_that_is_shows_that_it_is_down(
    liars_reader: ObjectReader, answer: bytes
) -> None:
    with liar(answer) as (endpoint, requests), pytest.raises(OutageError) as caught:
        liars_reader.check_reachable(endpoint)
    assert (caught.value.dependency, caught.value.code) == ("s3", "E_S3_UNREACHABLE")
    assert len(requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
def test_s3_that_takes_no_connection_is_down(liars_reader: ObjectReader, host: str) -> None:
    endpoint = Endpoint(base_url=f"http{'' if '127' in host else 's'}://{host}/b/", region="x")
    with pytest.raises(OutageError, match="E_S3_UNREACHABLE"):
        liars_reader.check_reachable(endpoint)


def test_right_region_is_named(liars_reader: ObjectReader) -> None:
    answer = refusal(301, "PermanentRedirect", headers="x-amz-bucket-region: eu-north-1\r\n")
    with liar(answer) as (endpoint, _), pytest.raises(PermanentError, match="eu-north-1"):
        liars_reader.get(endpoint, PIN)


@pytest.mark.parametrize("answer", [refusal(500), refusal(503, "SlowDown"), b""])
def test_a_failed_read_is_sent_once(liars_reader: ObjectReader, answer: bytes) -> None:
    """The engine alone tries an object again."""
    for read in (liars_reader.get, liars_reader.head):
        with liar(answer, GOOD) as (endpoint, requests):
            with pytest.raises(TransientError):
                read(endpoint, PIN)
            assert len(requests) == 1


def test_refusal_for_good_is_not_tried_again(liars_reader: ObjectReader) -> None:
    with liar(refusal(403, "AccessDenied")) as (endpoint, asked):
        with pytest.raises(PermanentError):
            liars_reader.get(endpoint, PIN)
        assert len(asked) == 1


@pytest.mark.parametrize(
    ("code", "ours"), [("InvalidAccessKeyId", "E_AWS_DENIED"), ("AccessDenied", "E_SRC_DENIED")]
)
def test_refused_head_is_explained_by_a_get(
    liars_reader: ObjectReader, code: str, ours: str
) -> None:
    with liar(refusal(403), refusal(403, code)) as (endpoint, asked):
        with pytest.raises(BackhaulError) as caught:
            liars_reader.head(endpoint, PIN)
        assert [request.split(b" ")[0] for request in asked] == [b"HEAD", b"GET"]
    assert caught.value.code == ours


@pytest.mark.parametrize("pin", [PIN, replace(PIN, version_id="v/1+=")])
def test_request_carries_the_pin(liars_reader: ObjectReader, pin: Pin) -> None:
    with liar(GOOD) as (endpoint, asked), liars_reader.get(endpoint, pin):
        pass
    request = asked[0].decode()
    assert ('If-Match: "abc"' in request) == (pin.version_id is None)
    assert request.startswith(
        "GET /b/k HTTP" if pin.version_id is None else "GET /b/k?versionId=v%2F1%2B%3D HTTP"
    )
    assert "x-amz-checksum-mode: ENABLED" in request
    assert "Accept-Encoding: identity" in request


@pytest.mark.parametrize("key", [*ODD_KEYS, "p/new\nline\r", "p/[::1]:80", "p/\0"])
def test_path_goes_out_byte_for_byte(liars_reader: ObjectReader, key: str) -> None:
    with liar(GOOD) as (endpoint, asked):
        bare = Endpoint(base_url=endpoint.base_url.removesuffix("b/"), region="us-east-1")
        # A virtual host: the key's own slashes come right behind the host.
        liars_reader.get(bare, replace(PIN, key=f"//{key}")).close()
    path = asked[0].decode().split(" ")[1]
    assert path.startswith("///p/")
    unreserved = set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~/%")
    assert set(path) <= unreserved


@pytest.mark.parametrize("cut", [1, 4])
def test_body_that_ends_early_is_transient(liars_reader: ObjectReader, cut: int) -> None:
    with (
        liar(GOOD[:-cut]) as (endpoint, _),
        liars_reader.get(endpoint, PIN) as body,
        pytest.raises(TransientError) as caught,
    ):
        body.readall()
    assert caught.value.code == "E_S3_BODY"


def test_range_answered_with_the_whole_is_refused(liars_reader: ObjectReader) -> None:
    with liar(GOOD) as (endpoint, _), pytest.raises(TransientError) as caught:
        liars_reader.get(endpoint, PIN, byte_range=(0, 5))
    assert caught.value.code == "E_S3_SERVER"


def test_a_range_header_of_any_length_is_one_short_line(liars_reader: ObjectReader) -> None:
    answer = GOOD.replace(b"200 OK", b"206 X").replace(
        b"\r\n\r\n", b"\r\nContent-Range: \x7f" + b"x" * 3000 + b"\r\n\r\n"
    )
    with liar(answer) as (endpoint, _), pytest.raises(SourceChanged) as caught:
        liars_reader.get(endpoint, PIN, byte_range=(0, 5))
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 300


@pytest.mark.parametrize("total", [b"6", b"4", b"*"])
def test_range_of_another_object_is_noticed(liars_reader: ObjectReader, total: bytes) -> None:
    answer = GOOD.replace(b"200 OK", b"206 X").replace(
        b"\r\n\r\n", b"\r\nContent-Range: bytes 0-4/" + total + b"\r\n\r\n"
    )
    with liar(answer) as (endpoint, _), pytest.raises(SourceChanged):
        liars_reader.get(endpoint, PIN, byte_range=(0, 5))


def test_encoded_body_is_left_alone(liars_reader: ObjectReader) -> None:
    answer = GOOD.replace(b"ETag", b"Content-Encoding: gzip\r\nETag")
    with liar(answer) as (endpoint, _), liars_reader.get(endpoint, PIN) as body:
        assert body.readall() == b"hello"


def test_composite_value_is_no_full_object_whatever_its_type(liars_reader: ObjectReader) -> None:
    value = base64.b64encode(b"\0\0\0\1").decode()
    extra = (
        f"x-amz-checksum-crc32c: {value}-2\r\nx-amz-checksum-xxhash64: {value}\r\n"
        "x-amz-checksum-type: FULL_OBJECT\r\nx-amz-server-side-encryption: aws:kms\r\n"
    )
    answer = GOOD.replace(b"ETag", extra.encode() + b"ETag")
    with liar(answer) as (endpoint, _), liars_reader.get(endpoint, PIN) as body:
        assert set(body.facts.checksums) == {
            S3Checksum(algorithm="CRC32C", value=f"{value}-2", is_full_object=False),
            S3Checksum(algorithm="XXHASH64", value=value, is_full_object=True),
        }
        assert body.facts.sse == "aws:kms"
        assert body.facts.best(5) is None


def test_stalled_answer_ends_after_the_idle_timeout(hasty_reader: ObjectReader) -> None:
    hung = threading.Event()

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(GOOD[:-2])
            hung.wait(10)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        base = f"http://127.0.0.1:{server.server_address[1]}/b/"
        with (
            hasty_reader.get(Endpoint(base_url=base, region="us-east-1"), PIN) as body,
            pytest.raises(TransientError) as caught,
        ):
            body.readall()
        hung.set()
        server.shutdown()
        thread.join()
    assert caught.value.code == "E_S3_BODY"


def test_nobody_listening_is_an_outage(liars_reader: ObjectReader) -> None:
    with liar(GOOD) as (endpoint, _):
        pass
    with pytest.raises(OutageError) as caught:
        liars_reader.get(endpoint, PIN)
    assert (caught.value.dependency, caught.value.code) == ("s3", "E_S3_UNREACHABLE")


@pytest.mark.parametrize(
    ("answer", "kind", "code"),
    [
        (refusal(403, "AccessDenied"), PermanentError, "E_SRC_DENIED"),
        (refusal(404, "NoSuchBucket"), PermanentError, "E_SRC_NO_BUCKET"),
        (refusal(400, "ExpiredToken"), OutageError, "E_AWS_EXPIRED"),
        (refusal(403, "InvalidAccessKeyId"), OutageError, "E_AWS_DENIED"),
        (refusal(418, "Teapot"), TransientError, "E_AWS_UNEXPECTED"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<?xml", TransientError, "E_S3_LIST_PAGE"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n<?xml", OutageError, "E_S3_UNREACHABLE"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n<nono", OutageError, "E_S3_UNREACHABLE"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>", OutageError, "E_S3_UNREACHABLE"),
    ],
)
def test_listing_refusal_is_mapped(
    monkeypatch: pytest.MonkeyPatch, answer: bytes, kind: type[BackhaulError], code: str
) -> None:
    with liar(answer) as (endpoint, _):
        aws = use(
            monkeypatch,
            {
                "AWS_ENDPOINT_URL_S3": endpoint.base_url.removesuffix("/b/"),
                "AWS_ACCESS_KEY_ID": "k",
                "AWS_SECRET_ACCESS_KEY": "very-secret",
            },
        )
        read: Callable[[], object] = lambda: listed(S3Store(aws), "bucket")  # noqa: E731
        with pytest.raises(BackhaulError) as caught:
            read()
    assert (type(caught.value), caught.value.code) == (kind, code)
    assert "very-secret" not in str(caught.value)
