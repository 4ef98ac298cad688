"""What is compared: an object of S3, a proof of the ledger, a file of the target; and its class.

Tuples, not dataclasses: there are ten million of each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, runtime_checkable

from backhaul.core.model import TransferState
from backhaul.core.ports import ListedObject


class ObjectClass(StrEnum):
    """What a path turned out to be; exactly one for each path of the three streams."""

    SAME = "same"  # the target holds what was proven, and S3 still has that
    MISSING = "missing"  # S3 has it, the target does not
    EXTRA = "extra"  # the target has it, S3 does not
    DIFFERS = "differs"  # both have it, and the contents are not the same
    SUPERSEDED = "superseded"  # the target holds what was proven, and S3 has a newer state
    UNPROVED = "unproved"  # the length is right, and no evidence says more
    IN_FLIGHT = "in flight"  # a transfer is bringing it
    DEAD = "dead"  # the transfer that was to bring it died
    TOO_YOUNG = "too young"  # written a moment ago: its message may be on its way
    EXCLUDED = "excluded"  # never copied: a placeholder, an impossible name, Backhaul's own file


FINDINGS = frozenset(
    {
        ObjectClass.MISSING,
        ObjectClass.EXTRA,
        ObjectClass.DIFFERS,
        ObjectClass.SUPERSEDED,
        ObjectClass.UNPROVED,
        ObjectClass.DEAD,
    }
)


class ObjectSource(Protocol):
    """Where the objects come from: a listing of S3, an inventory."""

    def objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """Objects whose key begins with `prefix`, in the order of their keys' bytes.

        Raises:
            BackhaulError: What is missing in it would look like an object that S3 does not have.
        """


@runtime_checkable
class RangedSource(ObjectSource, Protocol):
    """One that can begin anywhere: what is resumed or split need not be read from the start."""

    def objects_behind(self, bucket: str, prefix: str, key: str) -> Iterator[ListedObject]:
        """As `objects`, only those behind this key."""


class SourceObject(NamedTuple):
    """An object of S3, and the path at which it belongs.

    Attributes:
        modified_us: Microseconds since 1970, by S3's clock.
        excluded: Why it is never copied; empty: it is.
    """

    path: str
    bucket: str
    key: str
    size_bytes: int
    etag: str
    modified_us: int
    excluded: str = ""

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


class ProvenFile(NamedTuple):
    """What a transfer proved and published at a path.

    Attributes:
        modified_us: Of the object, by S3's clock.
        modified_ms: Of the file, by the target's clock; 0: unknown.
    """

    path: str
    bucket: str
    key: str
    size_bytes: int
    etag: str
    modified_us: int
    version_id: str | None
    modified_ms: int
    transfer_id: str
    route: str | None = None


class TargetFile(NamedTuple):
    """A file of the target.

    Attributes:
        is_special: A symbolic link, FIFO, socket or device.
    """

    path: str
    size_bytes: int
    modified_ms: int
    is_special: bool = False


class Row(NamedTuple):
    """What the three streams have at one path."""

    path: str
    source: SourceObject | None
    proven: ProvenFile | None
    target: TargetFile | None


class ComparedPath(NamedTuple):
    """A row with its class.

    Attributes:
        why: For people; empty for what is the same.
        transfer_id: The transfer that is behind it; empty: none is known.
    """

    row: Row
    found: ObjectClass
    why: str = ""
    transfer_id: str = ""


@dataclass(frozen=True, kw_only=True)
class Cover:
    """A transfer that was to bring an object, and has not ended well.

    Attributes:
        key: As requested: an object's, or a prefix.
        directory: Path of the directory that it brings objects to.
        ended_us: When it died, microseconds since 1970; None while it is open.
        note: What is known instead of a transfer: its message was sent, and not received yet.
    """

    transfer_id: str
    bucket: str
    key: str
    directory: str
    state: TransferState
    code: str = ""
    ended_us: int | None = None
    note: str = ""

    @property
    def is_open(self) -> bool:
        return not self.state.is_final


@dataclass(frozen=True, kw_only=True)
class ReconcileResult:
    """What the last complete reconciliation of a route found.

    Attributes:
        totals: Class to objects and bytes.
    """

    route: str
    started_at: datetime
    finished_at: datetime
    totals: Mapping[str, tuple[int, int]]

    @property
    def findings(self) -> int:
        return sum(self.totals.get(each.value, (0, 0))[0] for each in FINDINGS)
