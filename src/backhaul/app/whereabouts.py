"""What the ledger knows of a place, as values: `where` finds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backhaul.adapters.ledger import EvidenceRow, TransferRow
from backhaul.adapters.ledger.reading.locating import FilesNow, MarkerNow
from backhaul.adapters.ledger.reading.plan_search import ObjectSpan
from backhaul.app.places import SourcePlace, TargetPlace
from backhaul.core.ports import Published


class Relation(StrEnum):
    """What a transfer has to do with the place."""

    FILE = "file"  # one of its objects is exactly the place
    PART = "part"  # some of its objects are below the place
    WHOLE = "whole"  # all of it is below the place, or is the place
    UNLISTED = "unlisted"  # its request covers the place; its objects are not known, or not all


class Presence(StrEnum):
    """What became of it there, as far as the ledger knows."""

    NOW = "now"  # the newest at every path that was checked
    PARTLY = "partly"  # later transfers have replaced some of it
    REPLACED = "replaced"  # later transfers have replaced all of it
    NEWER_THERE = "newer-there"  # something newer was there: it replaced nothing
    UNKNOWN = "unknown"  # it has brought it, and the ledger does not know what is there now
    PENDING = "pending"  # the transfer has not ended
    DEAD = "dead"  # it brought nothing


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One transfer, with what of it concerns the place.

    Attributes:
        span: Its objects there; None where they are not known.
        files: How many of them are the newest at their paths; None unless it has ended well.
        evidence: The one object, for `Relation.FILE`.
        target: URI of the file or directory; None before it was claimed.
    """

    transfer: TransferRow
    relation: Relation
    presence: Presence
    span: ObjectSpan | None
    files: FilesNow | None
    evidence: EvidenceRow | None
    target: str | None


@dataclass(frozen=True, kw_only=True)
class FileNow:
    """The file that the ledger published last at the path.

    Attributes:
        passage: The transfer that did; None where the ledger has its row no longer.
    """

    published: Published
    passage: Passage | None


@dataclass(frozen=True, kw_only=True)
class Whereabouts:
    """What the ledger knows of a place.

    Attributes:
        now: Of a path: the file there, for each file system that has one.
        markers: Of a path: the completion marker there, likewise.
        passages: Newest first, by the time when a transfer was first seen.
        has_more: There are older ones.
        searched_to: The time was used up when transfers of this time were looked at; None: it was
            not.
        elsewhere: Of a path that is not known there: other file systems that have it.
        nearest: Of a place that is not known: the nearest one above it that is.
    """

    place: TargetPlace | SourcePlace
    now: tuple[FileNow, ...] = ()
    markers: tuple[MarkerNow, ...] = ()
    passages: tuple[Passage, ...] = ()
    has_more: bool = False
    searched_to: datetime | None = None
    elsewhere: tuple[str, ...] = ()
    nearest: str | None = None

    @property
    def is_known(self) -> bool:
        return bool(self.now or self.markers or self.passages)
