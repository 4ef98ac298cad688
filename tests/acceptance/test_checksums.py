"""Whatever S3 vouches for is what is compared, and the ledger says so."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from awscrt import checksums
from botocore.config import Config

from testbed import S3Proxy
from tests.acceptance.installation import REGION, Installation

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client

pytestmark = pytest.mark.integration
MIB = 1 << 20
DATA = random.Random(4).randbytes(300_000)
LARGE = random.Random(5).randbytes(18 * MIB)  # read by ranges


def _base64(value: int, length: int) -> str:
    return base64.b64encode(value.to_bytes(length, "big")).decode()


SUMS: dict[str, Callable[[bytes], str]] = {
    "CRC32": lambda data: _base64(checksums.crc32(data), 4),
    "CRC32C": lambda data: _base64(checksums.crc32c(data), 4),
    "CRC64NVME": lambda data: _base64(checksums.crc64nvme(data), 8),
    "SHA1": lambda data: base64.b64encode(hashlib.sha1(data).digest()).decode(),  # noqa: S324
    "SHA256": lambda data: base64.b64encode(hashlib.sha256(data).digest()).decode(),
}


@pytest.fixture
def plain(s3proxy: S3Proxy) -> S3Client:
    """A client that gives no checksum of its own accord, as clients before 2025."""
    return boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=s3proxy.endpoint,
        aws_access_key_id=s3proxy.access_key,
        aws_secret_access_key=s3proxy.secret_key,
        config=Config(
            request_checksum_calculation="when_required", s3={"addressing_style": "path"}
        ),
    )


def proofs(it: Installation) -> dict[str, dict[str, Any]]:
    """Evidence of the only transfer, by key."""
    (row,) = it.history()
    return {line["key"]: line for line in it.evidence(row["id"])}


def upload_parts(client: S3Client, bucket: str, key: str, data: bytes, **more: Any) -> None:
    """A multipart upload in parts of 5 MiB, its completing call with the parts' checksums."""
    upload = client.create_multipart_upload(Bucket=bucket, Key=key, **more)["UploadId"]
    parts: list[Any] = []
    algorithm = {k: v for k, v in more.items() if k == "ChecksumAlgorithm"}
    for number, start in enumerate(range(0, len(data), 5 * MIB), 1):
        sent = client.upload_part(
            Bucket=bucket,
            Key=key,
            UploadId=upload,
            PartNumber=number,
            Body=data[start : start + 5 * MIB],
            **algorithm,
        )
        kept = {name: value for name, value in sent.items() if name.startswith("Checksum")}
        parts.append({"PartNumber": number, "ETag": sent["ETag"], **kept})
    client.complete_multipart_upload(
        Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts}
    )


def test_each_algorithm_of_s3_is_compared_and_recorded(
    local: Installation, plain: S3Client
) -> None:
    for name in SUMS:
        for size, data in (("medium", DATA), ("small", DATA[:1000]), ("empty", b"")):
            local.put(f"p/{name}-{size}", data, ChecksumAlgorithm=name)
        local.put(f"p/{name}-large", LARGE, ChecksumAlgorithm=name)
    plain.put_object(Bucket=local.bucket, Key="p/MD5-medium", Body=DATA)
    local.ask_for("p/", "out")
    local.drained()

    lines = proofs(local)
    for name, total in SUMS.items():
        for size, data in (
            ("medium", DATA),
            ("small", DATA[:1000]),
            ("empty", b""),
            ("large", LARGE),
        ):
            line = lines[f"p/{name}-{size}"]
            assert line["proof"] == "reread", line  # a mounted target keeps no checksums
            assert line["checksum_algorithm"] == name, line
            assert line["checksum"] == total(data), line
            assert line["crc32c"] == f"{checksums.crc32c(data):08x}", line
            assert line["target"] == f"{local.landing.uri}/out/{name}-{size}"
    line = lines["p/MD5-medium"]
    assert (line["checksum_algorithm"], line["checksum"]) == (
        "MD5",
        hashlib.md5(DATA).hexdigest(),  # noqa: S324 - S3's ETag
    )
    files = local.landing.files()
    assert all(files[f"out/{name}-large"] == LARGE for name in SUMS)


def test_a_multipart_object_without_a_comparable_checksum_is_read_again_from_the_target(
    local: Installation, plain: S3Client
) -> None:
    data = LARGE[: 11 * MIB]
    upload_parts(plain, local.bucket, "p/none", data)
    upload_parts(
        local.s3,
        local.bucket,
        "p/composite",
        data,
        ChecksumAlgorithm="SHA256",
        ChecksumType="COMPOSITE",
    )
    local.ask_for("p/", "out")
    local.drained()
    for key, line in proofs(local).items():
        assert line["proof"] == "received", (key, line)
        assert line["checksum_algorithm"] is None
        assert line["crc32c"] == f"{checksums.crc32c(data):08x}"
    assert local.landing.files() == {"out/none": data, "out/composite": data}


def test_a_multipart_object_with_a_full_object_checksum_is_compared_with_it(
    local: Installation,
) -> None:
    data = LARGE[: 11 * MIB]
    upload_parts(
        local.s3,
        local.bucket,
        "p/full",
        data,
        ChecksumAlgorithm="CRC64NVME",
        ChecksumType="FULL_OBJECT",
    )
    local.ask_for("p/full")
    local.drained()
    line = proofs(local)["p/full"]
    assert (line["proof"], line["checksum_algorithm"]) == ("reread", "CRC64NVME")
    assert line["checksum"] == SUMS["CRC64NVME"](data)


@pytest.mark.parametrize(
    ("level", "proof"),
    [("size", "stream"), ("stream", "stream"), ("stored", "reread"), ("reread", "reread")],
)
def test_each_level_of_a_route_ends_at_its_rung(
    local: Installation, level: str, proof: str
) -> None:
    config = local.home / "backhaul.toml"
    config.write_text(
        '[[route]]\nname = "all"\n'
        f'source = ["s3://{local.bucket}/"]\ndestination = ["{local.landing.uri}/"]\n'
        f'verify = "{level}"\n',
        "utf-8",
    )
    local.put("p/a", DATA, ChecksumAlgorithm="CRC32C")
    local.ask_for("p/a")
    ended = local.drained("--config", str(config))
    assert proofs(local)["p/a"]["proof"] == proof
    assert bool(ended.of("route verifies lengths only")) is (level == "size")
