"""S3, as the core and the engines see it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from backhaul.core.model import (
    Pin,
)
from backhaul.core.verification import Part, S3Checksums


@dataclass(frozen=True, kw_only=True)
class ListPage:
    """One page of a listing: pins in S3's order (UTF-8 bytes of the key)."""

    pins: tuple[Pin, ...]


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the objects of one bucket are read, as the S3 client resolved it.

    Attributes:
        base_url: `https://host[:port]/` plus the bucket where addressing is path style; a
            percent-encoded key is appended to it.
        region: For signing.
        owner: Account that must own the bucket; None: not asked.
    """

    base_url: str
    region: str
    owner: str | None = None


class ObjectStore(Protocol):
    """S3, as far as planning needs it. Reading bodies is the worker's (`engines.native`).

    Where an `owner` is given, every request names that account as the one that must own the
    bucket (`x-amz-expected-bucket-owner`), and another one's bucket is E_SRC_OWNER.
    """

    def list_pages(
        self, bucket: str, prefix: str, *, page_size: int = 1000, owner: str | None = None
    ) -> Iterator[ListPage]:
        """All objects whose key starts with `prefix`, page by page.

        Raises:
            PermanentError: E_SRC_NO_BUCKET, E_SRC_BUCKET (no possible name), E_SRC_DENIED.
            NotAllowed: E_SRC_OWNER.
            TransientError: an answer that may differ next time.
            OutageError: S3 cannot be reached or the credentials are refused.
        """

    def find_version(
        self, bucket: str, key: str, version_id: str, *, owner: str | None = None
    ) -> Pin | None:
        """This very version of an object; None when it is not there. Raises as `list_pages`."""

    def algorithms(self, pin: Pin, *, owner: str | None = None) -> frozenset[str]:
        """Of the checksums that S3 keeps of this object; empty where it does not say.

        A hint for how to write its file; a refusal is no error here. Raises OutageError.
        """

    def endpoint(self, bucket: str, *, owner: str | None = None) -> Endpoint:
        """Where to read objects of this bucket; may ask S3 once per bucket."""


class Body(AbstractContextManager["Body"], Protocol):
    """The bytes of one GET, in order.

    Attributes:
        facts: What the headers said: checksums, ETag, version.
    """

    facts: S3Checksums

    def read(self, amt: int) -> bytes:
        """The next `amt` bytes, fewer only at the end; `b""` after it."""

    def readall(self) -> bytes:
        """Everything that is left."""


class SourceReader(Protocol):
    """GET and HEAD of pinned objects, inside a worker.

    Raises (both methods):
        SourceChanged: not the pinned object any more.
        PermanentError, TransientError, OutageError: as the answer says.
    """

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> Body:
        """The object, or its bytes `start` to `stop` (exclusive), without checksums then."""

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """Its checksums without its body."""

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        """The parts of its multipart upload; None where S3 does not tell them, for any reason."""
