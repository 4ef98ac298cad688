"""Bytes that left S3, by what they were read for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from enum import StrEnum


class Purpose(StrEnum):
    """What bytes were read from S3 for."""

    COPY = "copy"  # the first time, to be copied
    RETRY = "retry"  # once more: what was read of them before was of no use, or is no more
    VERIFY = "verify"  # to prove or compare, and not to copy


@dataclass(frozen=True)
class Egress:
    """Bytes of bodies that left S3, by purpose; none is negative.

    Attributes:
        copy: See `Purpose`; `retry` and `verify` likewise.
    """

    copy: int = 0
    retry: int = 0
    verify: int = 0

    @property
    def size_bytes(self) -> int:
        """Of all purposes."""
        return self.copy + self.retry + self.verify

    def by_purpose(self) -> Iterator[tuple[Purpose, int]]:
        """Each purpose with its bytes, 0 too."""
        yield Purpose.COPY, self.copy
        yield Purpose.RETRY, self.retry
        yield Purpose.VERIFY, self.verify

    def __add__(self, other: Egress) -> Egress:
        return Egress(self.copy + other.copy, self.retry + other.retry, self.verify + other.verify)

    def __sub__(self, other: Egress) -> Egress:
        return Egress(self.copy - other.copy, self.retry - other.retry, self.verify - other.verify)


@dataclass(frozen=True, kw_only=True)
class EgressCount:
    """What was read since the last count, to be added to the ledger.

    Attributes:
        at: Aware; its day in UTC is the day that it counts for.
        native: By this node's worker, or by a command.
        distcp: By mappers on YARN.
    """

    at: datetime
    native: Egress = field(default_factory=Egress)
    distcp: Egress = field(default_factory=Egress)

    @property
    def day(self) -> date:
        """In UTC, as AWS bills."""
        return self.at.astimezone(UTC).date()

    @property
    def total(self) -> Egress:
        """Of both engines."""
        return self.native + self.distcp


@dataclass(frozen=True, kw_only=True)
class EgressRecorded:
    """The ledger has counted what one transfer read: a fact, for metrics.

    Attributes:
        native: By this node's worker.
        distcp: By mappers on YARN.
    """

    transfer_id: str
    route: str
    native: Egress
    distcp: Egress


@dataclass(frozen=True, kw_only=True)
class EgressEstimated:
    """What a copy may read, before it begins: a fact, for people.

    Attributes:
        size_bytes: Of all objects; what is there already will not be read.
        is_all: False: there are more objects than were counted.
        cost: With the price's source, `$9.00 by AWS's list price since December 2021`.
    """

    objects: int
    size_bytes: int
    is_all: bool
    cost: str


def sender_of(sender_id: str | None) -> str:
    """SQS's SenderId without the session of an assumed role: one sender, however many sessions.

    Returns:
        Empty for None.
    """
    return (sender_id or "").partition(":")[0]
