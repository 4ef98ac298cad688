"""S3 in memory, for planning and for reading; reads and listings can be given faults."""

from __future__ import annotations

import base64
import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum
from types import TracebackType
from typing import Self

from backhaul.core.checksums import Digest, Part, S3Checksum, S3Checksums
from backhaul.core.errors import (
    BackhaulError,
    NotAllowed,
    PermanentError,
    SourceChanged,
    TransientError,
)
from backhaul.core.objects import Pin
from backhaul.core.ports import Clock, Endpoint, ListedObject, ListedPage
from backhaul.testing.fakes.faults import Faults


class ReadFault(Enum):
    """How the bytes of a body are wrong."""

    FLIP = "one byte differs"
    TRUNCATE = "it ends early, without an error"
    BREAK = "the connection breaks half-way"


@dataclass(frozen=True, kw_only=True)
class _Object:
    pin: Pin
    data: bytes
    checksums: tuple[S3Checksum, ...]
    sse: str | None
    parts: tuple[Part, ...] | None = None


class FakeStore:
    """Implements `ports.ObjectStore` and `ports.SourceReader`.

    Args:
        new_digest: As the engine gets it (`adapters.digests.new_digest`).

    Attributes:
        owner: Account that all buckets belong to.
        most_open_bytes: The most bytes of bodies that were open at once.
    """

    def __init__(
        self,
        clock: Clock,
        new_digest: Callable[[str], Digest],
        *,
        faults: Faults | None = None,
        buckets: tuple[str, ...] = ("raw",),
    ) -> None:
        self._clock = clock
        self._new_digest = new_digest
        self._faults = faults or Faults()
        self._buckets = set(buckets)
        self.owner = "000000000000"
        self._objects: dict[tuple[str, str], _Object] = {}
        self._versions: dict[tuple[str, str, str], _Object] = {}
        self._read_faults: dict[str, list[ReadFault]] = {}
        self._listing_faults: list[Callable[[ListedPage], ListedPage]] = []
        self._lock = threading.Lock()
        self._open_bytes = 0
        self.most_open_bytes = 0

    def below(self, bucket: str, prefix: str) -> dict[str, bytes]:
        """The bytes of the present objects by key, for another reader than the one under test."""
        with self._lock:
            return {
                key: one.data
                for (its, key), one in self._objects.items()
                if its == bucket and key.startswith(prefix)
            }

    def algorithms(self, pin: Pin, *, owner: str | None = None) -> frozenset[str]:
        """See `ports.ObjectStore.algorithms`."""
        del owner
        with self._lock:
            found = self._objects.get((pin.bucket, pin.key))
            return frozenset(one.algorithm for one in found.checksums) if found else frozenset()

    # ------------------------------------------------------------ as the writer sees it

    def make_bucket(self, bucket: str) -> None:
        """A new, empty bucket."""
        self._buckets.add(bucket)

    def put(
        self,
        key: str,
        data: bytes,
        *,
        bucket: str = "raw",
        algorithm: str | None = "CRC32C",
        etag: str | None = None,
        version_id: str | None = None,
        sse: str | None = None,
    ) -> Pin:
        """Write or overwrite an object.

        Args:
            algorithm: Of the checksum that S3 keeps; None: none.
            etag: Default the MD5 of the data, as for a single PUT.
            version_id: Keeps this state readable after an overwrite.
            sse: Server-side encryption as the headers name it.
        """
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        pin = Pin(
            bucket=bucket,
            key=key,
            size_bytes=len(data),
            etag=md5 if etag is None else etag,
            last_modified=self._clock.now(),
            version_id=version_id,
        )
        checksums = () if algorithm is None else (self._checksum(algorithm, data),)
        stored = _Object(pin=pin, data=data, checksums=checksums, sse=sse)
        with self._lock:
            self._objects[bucket, key] = stored
            if version_id is not None:
                self._versions[bucket, key, version_id] = stored
        return pin

    def put_parts(
        self,
        key: str,
        data: bytes,
        part_bytes: int,
        *,
        algorithm: str,
        reported: str = "checksums",
        bucket: str = "raw",
    ) -> Pin:
        """A multipart upload with a COMPOSITE checksum.

        Args:
            reported: What S3 reports of the parts: `checksums`, `sizes` alone, or `nothing`.
        """
        pin = self.put(key, data, algorithm=None, etag="no-md5-2", bucket=bucket)
        pieces = [data[at : at + part_bytes] for at in range(0, len(data), part_bytes)]
        sums = [self._checksum(algorithm, piece).value for piece in pieces]
        over = self._checksum(algorithm, b"".join(base64.b64decode(each) for each in sums)).value
        composite = S3Checksum(
            algorithm=algorithm, value=f"{over}-{len(pieces)}", is_full_object=False
        )
        parts = tuple(
            Part(
                size_bytes=len(piece),
                checksums={algorithm: each} if reported == "checksums" else {},
            )
            for piece, each in zip(pieces, sums, strict=True)
        )
        shown = None if reported == "nothing" else parts
        stored = _Object(pin=pin, data=data, checksums=(composite,), sse=None, parts=shown)
        with self._lock:
            self._objects[bucket, key] = stored
        return pin

    def remove(self, key: str, *, bucket: str = "raw") -> None:
        """Delete an object; its versions stay."""
        with self._lock:
            del self._objects[bucket, key]

    def spoil_read(self, key: str, fault: ReadFault, *, times: int = 1) -> None:
        """Give the next `times` bodies of this key a fault."""
        with self._lock:
            self._read_faults.setdefault(key, []).extend([fault] * times)

    def _checksum(self, algorithm: str, data: bytes) -> S3Checksum:
        digest = self._new_digest(algorithm)
        digest.update(data)
        value = base64.b64encode(digest.digest()).decode()
        return S3Checksum(algorithm=algorithm, value=value, is_full_object=True)

    # ------------------------------------------------------------ core.ports.ObjectStore

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
        """See the port. Each page shows the objects as they are then; the token is the last key."""
        with self._faults.call("store.list"):
            self._check_owner(bucket, owner)
            after = bytes.fromhex(token) if token else start_after.encode()
            pins = self._after(bucket, prefix, after)
        shown = pins[:page_size]
        is_truncated = len(pins) > page_size
        page = ListedPage(
            server="s3.fake",
            objects=tuple(_as_listed(pin) for pin in shown),
            bucket=bucket,
            prefix=prefix,
            token=token,
            key_count=str(len(shown)),
            is_truncated=is_truncated,
            next_token=shown[-1].key.encode().hex() if is_truncated else "",
        )
        with self._lock:
            change = self._listing_faults.pop(0) if self._listing_faults else None
        return page if change is None else change(page)

    def spoil_listing(self, change: Callable[[ListedPage], ListedPage], *, times: int = 1) -> None:
        """Turn the next `times` pages into wrong ones by `change`, one of `LISTING_FAULTS`."""
        with self._lock:
            self._listing_faults.extend([change] * times)

    def _after(self, bucket: str, prefix: str, after: bytes) -> list[Pin]:
        if bucket not in self._buckets:
            raise PermanentError("E_SRC_NO_BUCKET", f"s3://{bucket}/{prefix}: no such bucket")
        with self._lock:
            pins = [
                one.pin
                for (its_bucket, key), one in self._objects.items()
                if its_bucket == bucket and key.startswith(prefix) and key.encode() > after
            ]
        return sorted(pins, key=lambda pin: pin.key.encode())

    def current(self, bucket: str, key: str, *, owner: str | None = None) -> Pin | None:
        """See the port. HEAD gives whole seconds; no answer shows nothing."""
        try:
            with self._faults.call("store.current"):
                self._check_owner(bucket, owner)
                with self._lock:
                    found = self._objects.get((bucket, key))
        except BackhaulError:
            return None
        if found is None:
            return None
        whole_s = found.pin.last_modified.replace(microsecond=0)
        return replace(found.pin, last_modified=whole_s)

    def find_version(
        self, bucket: str, key: str, version_id: str, *, owner: str | None = None
    ) -> Pin | None:
        """See the port."""
        with self._faults.call("store.version"):
            self._check_owner(bucket, owner)
            with self._lock:
                found = self._versions.get((bucket, key, version_id))
            return None if found is None else found.pin

    def _check_owner(self, bucket: str, owner: str | None) -> None:
        if owner not in {None, self.owner}:
            raise NotAllowed("E_SRC_OWNER", f"bucket {bucket} does not belong to account {owner}")

    def endpoint(self, bucket: str, *, owner: str | None = None) -> Endpoint:
        """See the port."""
        with self._faults.call("store.endpoint"):
            base_url = f"https://s3.fake/{bucket}/"
            return Endpoint(base_url=base_url, region="us-east-1", owner=owner)

    # ------------------------------------------------------------ core.ports.SourceReader

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> FakeBody:
        """See the port."""
        with self._faults.call("store.get", _no_answer):
            found = self._pinned(pin)
            start, stop = byte_range or (0, len(found.data))
            with self._lock:
                faults = self._read_faults.get(pin.key)
                fault = faults.pop(0) if faults else None
            facts = self._facts(found, stop - start, is_whole=byte_range is None)
            return FakeBody(self, facts, found.data[start:stop], fault)

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """See the port."""
        with self._faults.call("store.head", _no_answer):
            found = self._pinned(pin)
            return self._facts(found, len(found.data), is_whole=True)

    def check_reachable(self, endpoint: Endpoint) -> None:
        """It always answers, unless a fault is planned."""
        with self._faults.call("store.check_reachable"):
            return

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        """See the port."""
        with self._faults.call("store.parts", _no_answer):
            return self._pinned(pin).parts

    def _pinned(self, pin: Pin) -> _Object:
        """What `versionId` or `If-Match` gives: 404 and 412 are a changed source."""
        where = f"s3://{pin.bucket}/{pin.key}"
        with self._lock:
            if pin.version_id is not None:
                found = self._versions.get((pin.bucket, pin.key, pin.version_id))
            else:
                found = self._objects.get((pin.bucket, pin.key))
        if found is None:
            raise SourceChanged("E_SRC_GONE", f"{where}: S3 answered 404 NoSuchKey")
        if (found.pin.etag, found.pin.size_bytes) != (pin.etag, pin.size_bytes):
            raise SourceChanged("E_SRC_CHANGED", f"{where}: S3 answered 412 PreconditionFailed")
        return found

    def _facts(self, found: _Object, length: int, *, is_whole: bool) -> S3Checksums:
        return S3Checksums(
            checksums=found.checksums if is_whole else (),
            etag=found.pin.etag,
            version_id=found.pin.version_id,
            content_length=length,
            sse=found.sse,
        )

    def _opened(self, size_bytes: int) -> None:
        with self._lock:
            self._open_bytes += size_bytes
            self.most_open_bytes = max(self.most_open_bytes, self._open_bytes)


class FakeBody:
    """Implements `ports.Body`."""

    def __init__(
        self, store: FakeStore, facts: S3Checksums, data: bytes, fault: ReadFault | None
    ) -> None:
        self.facts = facts
        self._store = store
        self._size_bytes = len(data)
        self._fault = fault
        if fault is ReadFault.FLIP:
            data = data[:-1] + bytes([data[-1] ^ 1])
        elif fault is not None:
            data = data[: len(data) // 2]
        self._data = data
        self._position = 0
        store._opened(self._size_bytes)  # noqa: SLF001 - one fake in two classes

    def read(self, amt: int = 1 << 20) -> bytes:
        data = self._data[self._position : self._position + amt]
        self._position += len(data)
        if not data and amt and self._fault is ReadFault.BREAK:
            raise TransientError("E_S3_BODY", f"body broke after {self._position} B")
        return data

    @property
    def received_bytes(self) -> int:
        return self._position

    def readall(self) -> bytes:
        return b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        while data := self.read():
            yield data

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._store._opened(-self._size_bytes)  # noqa: SLF001 - as above


def _as_listed(pin: Pin) -> ListedObject:
    return ListedObject(
        key=pin.key,
        size=str(pin.size_bytes),
        etag=f'"{pin.etag}"',
        last_modified=pin.last_modified.isoformat(),
        version_id=pin.version_id,
    )


def _no_answer(name: str) -> BackhaulError:
    return TransientError("E_S3_SERVER", f"{name} was not answered")
