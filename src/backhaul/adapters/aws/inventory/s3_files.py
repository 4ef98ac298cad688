"""A report of S3 Inventory in the bucket that it was delivered to.

A file is read in ranges, each whole in memory: botocore tries a range again that broke. Whether the
ranges are of one file shows its MD5, which the caller compares.

Source: Amazon S3 API reference, GetObject; user guide, "Locating your inventory list".
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from botocore.config import Config
from botocore.exceptions import ClientError

from backhaul.adapters.aws.causes import Cause, cause_of, error_code, is_kms, message_of, one_line
from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.errors import listing_error
from backhaul.core.errors import BackhaulError, BadArgument, TransientError
from backhaul.core.inventory.manifest import ByteStream

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CHECKSUM_NAME = "manifest.checksum"
RANGE_BYTES = 8 << 20
_CONFIG = Config(
    connect_timeout=5,
    read_timeout=60,
    retries={"total_max_attempts": 5, "mode": "standard"},
    response_checksum_validation="when_required",  # of a range there is none
)
_TOTAL = re.compile(r"bytes \d+-\d+/(\d+)")
_HINT_DENIED = (
    "allow s3:GetObject on the inventory's own bucket for this user, and kms:Decrypt on the key if"
    " the inventory is encrypted with one"
)


class S3InventoryFiles:
    """Implements `core.inventory.manifest.InventoryFiles`.

    Args:
        bucket: That the report was delivered to, or copied to.
        key: Of the manifest.

    Attributes:
        received_bytes: Of bodies, so far.
    """

    def __init__(self, aws: AwsSession, bucket: str, key: str) -> None:
        self._aws = aws.for_bucket(bucket)
        self._client = self._aws.client("s3", _CONFIG)
        self._bucket = bucket
        self._key = key
        self.name = one_line(f"s3://{bucket}/{key}")
        self.received_bytes = 0

    def manifest(self) -> AbstractContextManager[ByteStream]:
        """See the port."""
        return self._opened(self._key)

    def checksum(self) -> AbstractContextManager[ByteStream]:
        """See the port."""
        above, slash, _ = self._key.rpartition("/")
        return self._opened(f"{above}{slash}{CHECKSUM_NAME}")

    def data(self, key: str) -> AbstractContextManager[ByteStream]:
        """See the port."""
        return self._opened(key)

    @contextmanager
    def _opened(self, key: str) -> Iterator[ByteStream]:
        where = one_line(f"s3://{self._bucket}/{key}")
        with self._aws.errors(lambda exc: _refusal(exc, self._bucket, where)):
            yield _Ranges(self._client, self._bucket, key, self._count)

    def _count(self, size_bytes: int) -> None:
        self.received_bytes += size_bytes


class _Ranges:
    """Implements `core.inventory.manifest.ByteStream`."""

    def __init__(
        self, client: S3Client, bucket: str, key: str, count: Callable[[int], None]
    ) -> None:
        self._client = client
        self._count = count
        self._bucket = bucket
        self._key = key
        self._at = 0
        self._is_whole = False
        self._held = memoryview(b"")

    def read(self, size: int, /) -> bytes:
        """See the port."""
        if not self._held and not self._is_whole:
            self._held = memoryview(self._fetch())
        piece, self._held = self._held[:size], self._held[size:]
        return bytes(piece)

    def _fetch(self) -> bytes:
        wanted = f"bytes={self._at}-{self._at + RANGE_BYTES - 1}"
        try:
            answer = self._client.get_object(Bucket=self._bucket, Key=self._key, Range=wanted)
        except ClientError as exc:
            if error_code(exc) != "InvalidRange":
                raise
            self._is_whole = True  # it is empty, or has become shorter
            return b""
        data = answer["Body"].read()
        self._at += len(data)
        self._count(len(data))
        total = _TOTAL.fullmatch(answer.get("ContentRange", ""))
        self._is_whole = not data or total is None or self._at >= int(total[1])
        return data


def _refusal(exc: Exception, bucket: str, where: str) -> BackhaulError:
    """Faults of this one file; what concerns the bucket or the account is as in a listing."""
    code, reason = error_code(exc), message_of(exc)
    if code in {"NoSuchKey", "InvalidObjectState"}:
        return BadArgument(
            "E_INVENTORY_FILE",
            f"{where}: {reason}",
            hint="name the manifest.json of a report that is complete, and not archived",
        )
    if cause_of(exc) is Cause.DENIED or is_kms(code, reason):
        return TransientError("E_INVENTORY_DENIED", f"{where}: {reason}", hint=_HINT_DENIED)
    return listing_error(exc, bucket, where)
