"""COMPOSITE checksums over real HTTP: parts in pages, parts that tell sizes alone, parts withheld.

None of the stand-ins tells parts, so a small server of this module does; boto3, as another client
of it, says that it speaks as S3 does.
"""

from __future__ import annotations

import base64
import functools
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import boto3
import pytest
from botocore.config import Config
from urllib3.connection import HTTPConnection
from urllib3.exceptions import NewConnectionError

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.digests import new_digest
from backhaul.core.checksums import Part
from backhaul.core.errors import BackhaulError, IntegrityError, OutageError
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import StageTask
from backhaul.engines.counter import Counter
from backhaul.engines.native import Stager
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import FakeClock, FakeContent, FakeTarget
from backhaul.testing.servers import clients

pytestmark = pytest.mark.integration
CHANCE = random.Random(62)
PAGE = 1000  # S3's own
SIZES = [CHANCE.randrange(1, 40) for _ in range(2345)]
PIECES = [CHANCE.randbytes(size) for size in SIZES]
BODY = b"".join(PIECES)
ETAG = "d41d8cd98f00b204e9800998ecf8427e-2345"


def checksum(algorithm: str, data: bytes) -> bytes:
    digest = new_digest(algorithm)
    digest.update(data)
    return digest.digest()


@functools.cache
def sums(algorithm: str) -> list[bytes]:
    """Of each part."""
    return [checksum(algorithm, piece) for piece in PIECES]


def in_base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


class OneObject(BaseHTTPRequestHandler):
    """S3 with one multipart object, `raw/k`; how it answers about parts is the test's choice."""

    protocol_version = "HTTP/1.1"
    algorithm: ClassVar[str]
    tells: ClassVar[str]
    body: ClassVar[bytes]
    asked: ClassVar[list[int]]

    def do_GET(self) -> None:
        if "attributes" not in parse_qs(urlsplit(self.path).query, keep_blank_values=True):
            whole = in_base64(checksum(self.algorithm, b"".join(sums(self.algorithm))))
            headers = {
                f"x-amz-checksum-{self.algorithm.lower()}": f"{whole}-{len(PIECES)}",
                "x-amz-checksum-type": "COMPOSITE",
            }
            self.answer(200, self.body, headers)
        elif self.tells == "denied":
            self.answer(403, b"<Error><Code>AccessDenied</Code><Message>no</Message></Error>")
        else:
            self.answer(200, self.attributes().encode())

    def do_HEAD(self) -> None:
        """Of the bucket, for its region."""
        self.answer(200, b"", {"x-amz-bucket-region": clients.REGION})

    def attributes(self) -> str:
        start = int(self.headers.get("x-amz-part-number-marker", "0"))
        self.asked.append(start)
        limit = min(int(self.headers.get("x-amz-max-parts", PAGE)), PAGE)
        numbers = range(start, min(start + limit, len(PIECES)))
        has_more = numbers.stop < len(PIECES)
        parts = "".join(self.part(number) for number in numbers)
        marker = 0 if self.tells == "a circle" else numbers.stop
        told = (
            f"<ObjectParts><IsTruncated>{str(has_more).lower()}</IsTruncated>"
            f"<MaxParts>{limit}</MaxParts><NextPartNumberMarker>{marker}</NextPartNumberMarker>"
            f"<PartNumberMarker>{start}</PartNumberMarker>{parts}"
            f"<PartsCount>{len(PIECES)}</PartsCount></ObjectParts>"
        )
        space = "http://s3.amazonaws.com/doc/2006-03-01/"
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><GetObjectAttributesResponse xmlns="{space}">'
            f"<ETag>{ETAG}</ETag>{'' if self.tells == 'nothing' else told}"
            f"<ObjectSize>{len(BODY)}</ObjectSize></GetObjectAttributesResponse>"
        )

    def part(self, number: int) -> str:
        found = sums(self.algorithm)[number]
        if self.tells == "another part" and number == 1500:
            found = bytes(len(found))
        name = f"Checksum{self.algorithm}"
        told = "" if self.tells == "sizes" else f"<{name}>{in_base64(found)}</{name}>"
        return (
            f"<Part><PartNumber>{number + 1}</PartNumber><Size>{SIZES[number]}</Size>{told}</Part>"
        )

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"ETag": f'"{ETAG}"', **(headers or {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's
        """Nothing on standard error."""


class Bench:
    """The reader against that server, and a stager onto a fake file system that keeps CRCs."""

    pin = Pin(
        bucket="raw",
        key="k",
        etag=ETAG,
        size_bytes=len(BODY),
        last_modified=datetime(2026, 11, 1, tzinfo=UTC),
    )

    def __init__(self, url: str) -> None:
        self.url = url
        aws = AwsSession(clients.REGION)
        self.endpoint = S3Store(aws).endpoint("raw")
        self.reader = ObjectReader(aws.credentials, 2)
        target = FakeTarget(FakeClock(), content=FakeContent(new_digest=new_digest))
        target.mkdirs("/s/1")
        self.stager = Stager(
            reader=self.reader,
            target=target,
            new_digest=new_digest,
            tuning=Tuning(threads=1, tries=1),
            counter=Counter(),
            directory="/s/1",
            verify=VerifyLevel.STORED,
        )

    def says(self, algorithm: str, tells: str, body: bytes = BODY) -> None:
        OneObject.algorithm, OneObject.tells, OneObject.body = algorithm, tells, body
        OneObject.asked = []

    def stage(self) -> StagedObject:
        planned = PlannedObject(seq=0, pin=self.pin, relative="f")
        return self.stager.stage(StageTask(planned=planned, endpoint=self.endpoint))

    def close(self) -> None:
        self.stager.close()
        self.reader.close()


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    with ThreadingHTTPServer(("127.0.0.1", 0), OneObject) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        url = f"http://127.0.0.1:{server.server_address[1]}"
        for name in ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL"):
            monkeypatch.delenv(name, raising=False)
        for name, value in clients.environment().items():
            if name.startswith("AWS_") or name.lower() == "no_proxy":
                monkeypatch.setenv(name, value)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "any")
        monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)
        made = Bench(url)
        yield made
        made.close()
        server.shutdown()
        thread.join()


def by_boto3(url: str) -> list[Part]:
    """The same parts, as AWS's own client reads them."""
    client = boto3.client(
        "s3",
        endpoint_url=url,
        region_name=clients.REGION,
        config=Config(proxies={}, s3={"addressing_style": "path"}),
    )
    found: list[Part] = []
    marker = 0
    while True:
        answer = client.get_object_attributes(
            Bucket="raw",
            Key="k",
            PartNumberMarker=marker,
            ObjectAttributes=["ETag", "ObjectParts", "ObjectSize"],
        )
        assert (answer["ETag"], answer["ObjectSize"]) == (ETAG, len(BODY))
        page = answer["ObjectParts"]
        found += [
            Part(
                size_bytes=part["Size"],
                checksums={
                    name.removeprefix("Checksum"): str(value)
                    for name, value in part.items()
                    if name.startswith("Checksum")
                },
            )
            for part in page["Parts"]
        ]
        if not page["IsTruncated"]:
            return found
        marker = page["NextPartNumberMarker"]


@pytest.mark.parametrize("tells", ["everything", "sizes"])
def test_parts_in_several_pages_are_read_as_boto3_reads_them(bench: Bench, tells: str) -> None:
    bench.says("SHA256", tells)
    found = bench.reader.parts(bench.endpoint, bench.pin)
    assert found is not None
    assert OneObject.asked == [0, 1000, 2000]
    assert list(found) == by_boto3(bench.url)
    assert [part.size_bytes for part in found] == SIZES
    assert bool(found[0].checksums) is (tells == "everything")


@pytest.mark.parametrize(
    ("algorithm", "tells", "proof"),
    [
        ("CRC32C", "everything", Proof.DIRECT),  # S3's CRCs of the parts make the whole's
        ("CRC32", "everything", Proof.BRIDGED),
        ("CRC32C", "sizes", Proof.BRIDGED),  # computed over the parts on the way
        ("SHA256", "everything", Proof.BRIDGED),
        ("SHA1", "sizes", Proof.BRIDGED),
        ("CRC32C", "another part", Proof.BRIDGED),  # what was told does not make the composite
        ("SHA256", "nothing", Proof.RECEIVED),
        ("CRC32C", "denied", Proof.RECEIVED),
        ("CRC32C", "a circle", Proof.RECEIVED),
    ],
)
def test_each_way_of_telling_parts_has_its_rung(
    bench: Bench, algorithm: str, tells: str, proof: Proof
) -> None:
    bench.says(algorithm, tells)
    proven = bench.stage()
    assert proven.proof is proof
    assert proven.content.hex == checksum("CRC32C", BODY).hex()
    if proof is Proof.RECEIVED:
        assert (proven.algorithm, proven.checksum) == (None, None)
    else:
        composite = f"{in_base64(checksum(algorithm, b''.join(sums(algorithm))))}-{len(PIECES)}"
        assert (proven.algorithm, proven.checksum) == (algorithm, composite)
        assert proven.checksum_type == "COMPOSITE"


@pytest.mark.parametrize("tells", ["everything", "sizes", "another part"])
def test_a_flipped_bit_is_caught_by_the_parts(bench: Bench, tells: str) -> None:
    changed = bytearray(BODY)
    changed[CHANCE.randrange(len(BODY))] ^= 1
    bench.says("CRC32C", tells, bytes(changed))
    with pytest.raises(IntegrityError) as caught:
        bench.stage()
    assert caught.value.code == "E_CHECKSUM"


def test_parts_of_another_object_are_not_believed(bench: Bench) -> None:
    bench.says("CRC32C", "everything")
    other = replace(bench.pin, size_bytes=len(BODY) + 1)
    assert bench.reader.parts(bench.endpoint, other) is None
    with pytest.raises(BackhaulError):
        bench.stager.stage(
            StageTask(
                planned=PlannedObject(seq=0, pin=other, relative="f"), endpoint=bench.endpoint
            )
        )


@pytest.mark.parametrize("refusals", [2, 3])
def test_one_refused_connection_while_parts_are_read_is_no_outage(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, refusals: int
) -> None:
    """An outage would hold the transfer, with a body open that S3 serves well."""
    bench.says("CRC32C", "everything")
    connections = bench.reader._connections
    real, asked = connections.pool, list[str]()

    class Refusing:
        def urlopen(self, *_: object, **__: object) -> None:
            raise NewConnectionError(HTTPConnection("127.0.0.1"), "Connection refused")

    def refusing(origin: str, ca_bundle: str | None) -> object:
        asked.append(origin)
        return Refusing() if len(asked) <= refusals else real(origin, ca_bundle)

    monkeypatch.setattr(connections, "pool", refusing)
    if refusals == 2:
        found = bench.reader.parts(bench.endpoint, bench.pin)
        assert found is not None
        assert len(found) == len(PIECES)
    else:
        with pytest.raises(OutageError, match="E_S3_UNREACHABLE"):
            bench.reader.parts(bench.endpoint, bench.pin)
        assert len(asked) == refusals
