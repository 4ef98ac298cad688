"""What S3 shows of an object or a version for a receipt, on moto, S3Proxy and a scripted server."""

from __future__ import annotations

import random
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.app.receipt_verify import S3States
from backhaul.app.receipt_verify import look as look_at
from backhaul.core.errors import OutageError, PermanentError, TransientError
from backhaul.core.objects import Pin
from backhaul.core.receipts.comparing import ObjectState, ReceiptVerdict
from backhaul.core.receipts.reading import SignedObject
from backhaul.testing.servers import Moto, clients
from testbed import S3Proxy
from tests.contract.test_object_store import liar, refusal

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

pytestmark = pytest.mark.integration

Server = S3Proxy | Moto
Look = Callable[[Pin], ObjectState | None]
BODY = b"abc"
CRC32C = "Nks/tw=="


@pytest.fixture(params=["s3proxy", "moto_server"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Server:
    found: Server = request.getfixturevalue(request.param)
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    for name, value in clients.settings(s3=found).items():
        monkeypatch.setenv(name, value)
    return found


@pytest.fixture
def raw(server: Server) -> S3Client:
    return clients.s3_client(server)


@pytest.fixture
def bucket(raw: S3Client) -> str:
    name = f"b-{uuid.uuid4().hex[:12]}"
    raw.create_bucket(Bucket=name)
    return name


@pytest.fixture
def states(server: Server) -> Iterator[S3States]:
    made = S3States(clients.REGION)
    yield made
    made.close()


def pin(bucket: str, key: str, version_id: str | None = None) -> Pin:
    """Of another state than any: what is found must not depend on it."""
    return Pin(
        bucket=bucket,
        key=key,
        size_bytes=99,
        etag="signed",
        last_modified=datetime(2026, 1, 1, tzinfo=UTC),
        version_id=version_id,
    )


def test_what_is_there_is_shown_whatever_was_pinned(
    states: S3States, raw: S3Client, bucket: str
) -> None:
    etag = raw.put_object(Bucket=bucket, Key="p/é+%", Body=BODY, ChecksumAlgorithm="CRC32C")["ETag"]
    states.open(bucket)
    found = states.state(pin(bucket, "p/é+%"))
    assert found is not None
    assert (found.etag, found.size_bytes) == (etag.strip('"'), 3)
    assert {one.algorithm: one.value for one in found.checksums}.get("CRC32C", CRC32C) == CRC32C
    assert found.last_modified is not None
    assert abs(found.last_modified - datetime.now(UTC)) < timedelta(minutes=5)


def test_an_empty_object_is_there_and_a_missing_one_is_not(
    states: S3States, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="empty", Body=b"")
    states.open(bucket)
    found = states.state(pin(bucket, "empty"))
    assert found is not None
    assert found.size_bytes == 0
    assert states.state(pin(bucket, "missing")) is None


def test_a_missing_bucket_is_an_error_of_its_own(states: S3States, bucket: str) -> None:
    states.open(f"{bucket}-none")
    with pytest.raises(PermanentError, match="E_SRC_NO_BUCKET"):
        states.state(pin(f"{bucket}-none", "k"))


@pytest.mark.parametrize("server", ["moto_server"], indirect=True)
def test_versions_are_there_until_they_are_deleted(
    states: S3States, raw: S3Client, bucket: str
) -> None:
    raw.put_object(Bucket=bucket, Key="k", Body=b"before versions")
    raw.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = raw.put_object(Bucket=bucket, Key="k", Body=BODY, ChecksumAlgorithm="CRC32C")
    version = first["VersionId"]
    raw.put_object(Bucket=bucket, Key="k", Body=b"newer")
    marker = raw.delete_object(Bucket=bucket, Key="k")["VersionId"]
    states.open(bucket)
    found = states.state(pin(bucket, "k", version))
    assert found is not None
    assert (found.size_bytes, found.version_id) == (3, version)
    assert [one.value for one in found.checksums] == [CRC32C]
    before = states.state(pin(bucket, "k", "null"))
    assert before is not None
    assert before.size_bytes == 15
    assert states.state(pin(bucket, "k")) is None, "the newest is a delete marker"
    assert states.state(pin(bucket, "k", marker)) is None
    raw.delete_object(Bucket=bucket, Key="k", VersionId=version)
    assert states.state(pin(bucket, "k", version)) is None
    assert states.state(pin(bucket, "k", "no form of a version id")) is None


# ---------------------------------------------------------------- tampering


def random_bytes(chance: random.Random) -> bytes:
    return chance.randbytes(chance.randrange(1, 200))


@pytest.mark.parametrize(
    ("server", "is_versioned"),
    [
        ("s3proxy", False),
        pytest.param("moto_server", False, marks=pytest.mark.long),
        ("moto_server", True),
    ],
    indirect=["server"],
)
def test_what_was_done_to_an_object_is_found_100_of_100(
    states: S3States, raw: S3Client, bucket: str, *, is_versioned: bool
) -> None:
    """One bit of the content, another length, deleted, the version deleted; each object once."""
    if is_versioned:
        raw.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    states.open(bucket)
    found = 0
    for seed in range(100):
        chance = random.Random(seed)
        key, content = f"k{seed}", random_bytes(chance)
        raw.put_object(Bucket=bucket, Key=key, Body=content)
        signed = signed_as_it_is(states, bucket, key)
        assert look_at(signed, states).verdict is ReceiptVerdict.SAME
        if is_versioned:
            raw.put_object(Bucket=bucket, Key=key, Body=random_bytes(chance))
            assert look_at(signed, states).verdict is ReceiptVerdict.SAME
            version = signed.pin.version_id
            assert version is not None
            raw.delete_object(Bucket=bucket, Key=key, VersionId=version)
        elif seed % 3 == 0:
            raw.delete_object(Bucket=bucket, Key=key)
        elif seed % 3 == 1:
            at = chance.randrange(len(content))
            changed = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)])
            raw.put_object(Bucket=bucket, Key=key, Body=changed + content[at + 1 :])
        else:
            raw.put_object(Bucket=bucket, Key=key, Body=content + random_bytes(chance))
        found += look_at(signed, states).verdict.is_finding
    assert found == 100


def signed_as_it_is(states: S3States, bucket: str, key: str) -> SignedObject:
    """What a receipt has of it."""
    state = states.state(pin(bucket, key))
    assert state is not None
    assert state.last_modified is not None
    signed = Pin(
        bucket=bucket,
        key=key,
        size_bytes=state.size_bytes,
        etag=state.etag,
        last_modified=state.last_modified,
        version_id=state.version_id,
    )
    return SignedObject(pin=signed, proof="received", algorithm=None, checksum=None, crc32c=None)


# ---------------------------------------------------------------- a server that answers as scripted


HEAD = (
    b'HTTP/1.1 200 OK\r\nETag: "abc"\r\nContent-Length: 5\r\nx-amz-version-id: v1\r\n'
    b"x-amz-checksum-crc32c: Nks/tw==\r\nx-amz-checksum-type: FULL_OBJECT\r\n"
    b"Last-Modified: %s\r\nConnection: close\r\n\r\n"
)


@pytest.fixture
def look(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., ObjectState | None]]:
    for name, value in (
        ("AWS_ACCESS_KEY_ID", "k"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("AWS_REGION", "us-east-1"),
    ):
        monkeypatch.setenv(name, value)
    reader = ObjectReader(AwsSession("us-east-1").credentials, 1)

    def call(*answers: bytes, version_id: str | None = None) -> ObjectState | None:
        with liar(*answers) as (endpoint, requests):
            found = reader.state(endpoint, pin("b", "k", version_id))
        assert all(b"if-match" not in one.lower() for one in requests)
        assert b"x-amz-checksum-mode: enabled" in requests[0].lower()
        return found

    yield call
    reader.close()


def test_the_headers_are_read(look: Callable[..., ObjectState | None]) -> None:
    found = look(HEAD % b"Thu, 01 Jan 2026 00:00:00 GMT", version_id="v1")
    assert found is not None
    assert (found.etag, found.size_bytes, found.version_id) == ("abc", 5, "v1")
    assert found.last_modified == datetime(2026, 1, 1, tzinfo=UTC)
    (checksum,) = found.checksums
    assert (checksum.algorithm, checksum.value, checksum.is_full_object) == (
        "CRC32C",
        "Nks/tw==",
        True,
    )


@pytest.mark.parametrize("date", [b"yesterday", b"", b"Thu, 32 Jan 2026 00:00:00 GMT"])
def test_a_time_that_cannot_be_read_is_none(
    look: Callable[..., ObjectState | None], date: bytes
) -> None:
    found = look(HEAD % date)
    assert found is not None
    assert found.last_modified is None


@pytest.mark.parametrize(
    "denied", [refusal(403, "AccessDenied"), refusal(400, "KMS.DisabledException")]
)
def test_without_the_kms_key_all_but_the_checksums_is_shown(
    look: Callable[..., ObjectState | None], denied: bytes
) -> None:
    """S3 wants kms:Decrypt for a HEAD that asks for checksums, and for no other."""
    bare = HEAD.replace(b"x-amz-checksum-crc32c: Nks/tw==\r\n", b"")
    found = look(denied, denied, bare % b"Thu, 01 Jan 2026 00:00:00 GMT")
    assert found is not None
    assert (found.etag, found.checksums) == ("abc", ())


def test_a_page_in_place_of_an_object_is_no_answer_of_s3(
    look: Callable[..., ObjectState | None],
) -> None:
    page = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    with pytest.raises(OutageError, match="E_S3_UNREACHABLE"):
        look(page)


@pytest.mark.parametrize(
    ("status", "code", "kind", "wanted"),
    [
        (403, "AccessDenied", PermanentError, "E_SRC_DENIED"),
        (503, "SlowDown", TransientError, "E_S3_THROTTLED"),
        (500, "InternalError", TransientError, "E_S3_SERVER"),
    ],
)
def test_a_refusal_is_not_an_absence(
    look: Callable[..., ObjectState | None],
    status: int,
    code: str,
    kind: type[Exception],
    wanted: str,
) -> None:
    with pytest.raises(kind, match=wanted):
        look(refusal(status, code), refusal(status, code))
