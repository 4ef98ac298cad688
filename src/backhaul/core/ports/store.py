"""S3, as the core and the engines see it."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.objects import Pin


@dataclass(frozen=True, kw_only=True)
class ListPage:
    """One checked page of a listing (`core.transfer.listing`).

    Attributes:
        is_last: Nothing comes after it.
        is_ordered: All keys so far came in the order of their UTF-8 bytes.
    """

    pins: tuple[Pin, ...]
    is_last: bool = True
    is_ordered: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class ListedObject:
    """One object of a page, as the server wrote it; an absent element is None.

    Attributes:
        flaw: Why it cannot be read at all, such as `is not UTF-8`; empty when it can.
        version_id: ListObjectsV2 names none; `FakeStore` does, to keep older states readable.
        storage_class: Empty where the server names none.
    """

    key: str
    size: str | None
    etag: str | None
    last_modified: str | None
    flaw: str = ""
    version_id: str | None = None
    storage_class: str = ""


@dataclass(frozen=True, kw_only=True)
class ListedPage:
    """One answer to ListObjectsV2, as the server wrote it; an absent element is None.

    Attributes:
        server: Host that answered.
        flaw: Why this is no page of a listing; empty when it is one.
        token: The position at which this page begins, by the server's word.
        next_token: Empty on the last page.
    """

    server: str
    objects: tuple[ListedObject, ...] = ()
    flaw: str = ""
    bucket: str | None = None
    prefix: str | None = None
    token: str | None = None
    key_count: str | None = None
    is_truncated: bool | None = None
    next_token: str = ""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where the objects of one bucket are read, as the S3 client resolved it.

    Attributes:
        base_url: `https://host[:port]/` plus the bucket where addressing is path style; a
            percent-encoded key is appended to it.
        region: For signing.
        owner: Account that must own the bucket; None: any.
        ca_bundle: File of the certificates to trust; None: those of the AWS library.
    """

    base_url: str
    region: str
    owner: str | None = None
    ca_bundle: str | None = None


class ObjectStore(Protocol):
    """S3, as far as planning needs it. Reading bodies is the worker's (`engines.native`).

    Where an `owner` is given, every request names that account as the one that must own the
    bucket (`x-amz-expected-bucket-owner`), and another one's bucket is E_SRC_OWNER.
    """

    def list_page(
        self,
        bucket: str,
        prefix: str,
        *,
        token: str | None = None,
        page_size: int = 1000,
        owner: str | None = None,
        start_after: str = "",
    ) -> ListedPage:
        """One page of the objects whose key begins with `prefix`, unchecked.

        Only `core.transfer.listing` calls this; it checks what the server answers.

        Args:
            token: `next_token` of the page before; None for the first.
            start_after: On the first page, only keys behind this one.

        Raises:
            PermanentError: E_SRC_NO_BUCKET, E_SRC_BUCKET (no possible name), E_SRC_DENIED.
            NotAllowed: E_SRC_OWNER.
            TransientError: an answer that may differ next time.
            OutageError: S3 cannot be reached or the credentials are refused.
        """

    def current(self, bucket: str, key: str, *, owner: str | None = None) -> Pin | None:
        """The object of exactly this key as it is now, by one cheap request; raises nothing.

        Returns:
            Without a version id, as a listing has it. None where that request did not show it, for
            whatever reason: a listing decides (`core.transfer.listing.current_object`).
        """

    def find_version(
        self, bucket: str, key: str, version_id: str, *, owner: str | None = None
    ) -> Pin | None:
        """This very version of an object; None when it is not there. Raises as `list_page`."""

    def algorithms(self, pin: Pin, *, owner: str | None = None) -> frozenset[str]:
        """Algorithms of the checksums that S3 keeps of this object; empty where unknown.

        A hint for how to write its file; a refusal is no error here. Raises OutageError.
        """

    def endpoint(self, bucket: str, *, owner: str | None = None) -> Endpoint:
        """Where to read objects of this bucket; may call S3 once per bucket."""


class OtherListing:
    """For a store that lists something else; all but the listing is that of another store."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def current(self, bucket: str, key: str, *, owner: str | None = None) -> Pin | None:
        """None: only its listing shows what there is."""
        del bucket, key, owner
        return None

    def find_version(
        self, bucket: str, key: str, version_id: str, *, owner: str | None = None
    ) -> Pin | None:
        """See `ObjectStore`."""
        return self._store.find_version(bucket, key, version_id, owner=owner)

    def algorithms(self, pin: Pin, *, owner: str | None = None) -> frozenset[str]:
        """See `ObjectStore`."""
        return self._store.algorithms(pin, owner=owner)

    def endpoint(self, bucket: str, *, owner: str | None = None) -> Endpoint:
        """See `ObjectStore`."""
        return self._store.endpoint(bucket, owner=owner)


class Body(AbstractContextManager["Body"], Protocol):
    """The bytes of one GET, in order.

    Attributes:
        facts: From the headers: checksums, ETag, version.
    """

    facts: S3Checksums

    @property
    def received_bytes(self) -> int:
        """Of the body, so far: what `read` returned, and what a failed one or the end dropped."""

    def read(self, amt: int) -> bytes:
        """The next `amt` bytes, fewer only at the end; `b""` after it."""

    def readall(self) -> bytes:
        """Everything that is left."""


class SourceReader(Protocol):
    """GET and HEAD of pinned objects, inside a worker.

    Raises (both methods):
        SourceChanged: not the pinned object any more.
        PermanentError, TransientError, OutageError: by the answer.
    """

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> Body:
        """The object, or its bytes `start` to `stop` (exclusive), without checksums then."""

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """Its checksums without its body."""

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        """The parts of its multipart upload; None where S3 does not list them, for any reason."""

    def check_reachable(self, endpoint: Endpoint) -> None:
        """Return when S3 answers there, even with a refusal of the request.

        Raises:
            OutageError: E_S3_UNREACHABLE: no answer within seconds, or a server error.
        """
