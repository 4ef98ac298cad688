"""Requests and routes: what a message requests, and what the policy makes of it.

Frozen data only. `core.requests` makes them from text; what is copied is in `objects`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from backhaul.core.replies.partitions import HiveTable
from backhaul.core.replies.reply import ReplyWish

STAGING_NAME = ".backhaul"  # the directory of staging; hidden from Hive and MapReduce by its dot


class OnExists(StrEnum):
    """What to do about a file that exists at the final path."""

    REPLACE = "replace"  # the original's -overwrite
    SAME_OK = "same-ok"  # adopt when it holds the pinned content, else fail
    FAIL = "fail"


class PublishMode(StrEnum):
    """How a verified tree appears."""

    AUTO = "auto"  # one rename where the directory is absent, else file by file
    PER_FILE = "per-file"
    ATOMIC_DIR = "atomic-dir"  # one rename or nothing


class VerifyLevel(StrEnum):
    """How much proof a route requires."""

    REREAD = "reread"  # as `stored`, and every file is read back from the target
    STORED = "stored"  # what the target holds equals S3's checksum
    STREAM = "stream"  # the bytes received equal S3's checksum
    SIZE = "size"  # lengths only; only where configured


class EngineName(StrEnum):
    """What carries the bytes."""

    AUTO = "auto"
    NATIVE = "native"
    DISTCP = "distcp"


class QueuedTooLong(StrEnum):
    """What to do when YARN gives an application no container in time."""

    NATIVE = "native"  # this node carries the bytes
    RETRY = "retry"  # the attempt fails; the next one tries YARN again


class EvidencePlace(StrEnum):
    """Where a transfer's manifest is kept."""

    LEDGER = "ledger"
    BESIDE = "beside"  # in the ledger, and as a hidden file in the target directory


class NameMap(StrEnum):
    """How a key becomes a file name."""

    STRICT = "strict"  # byte for byte, or refused
    PERCENT = "percent"  # ':' becomes %3A and '%' becomes %25, so that it can be undone


class EventOther(StrEnum):
    """What becomes of events that bring no object: removals, restores, steps that failed."""

    DEAD = "dead"
    IGNORE = "ignore"


class TransferState(StrEnum):
    """State of a transfer in the ledger, in the order of its life."""

    RECEIVED = "received"  # an attempt is counted, nothing else is known
    STAGING = "staging"  # owned, plan being frozen, bytes travel into staging
    PUBLISHING = "publishing"  # verified; the intent is recorded; renames may have happened
    WAITING = "waiting"  # an attempt failed; the message comes back later
    HELD = "held"  # a dependency is down
    DONE = "done"
    SUPERSEDED = "superseded"  # done: something newer from the same source was already there
    DEAD = "dead"

    @property
    def is_final(self) -> bool:
        """True once nothing but an operator moves the transfer again."""
        return self in {TransferState.DONE, TransferState.SUPERSEDED, TransferState.DEAD}


HOLD_GAP = timedelta(minutes=2)  # a failure within this after a try continues its hold


@dataclass(frozen=True, kw_only=True)
class Hold:
    """The dependency that a held transfer waits for.

    Attributes:
        dependency: As `OutageError.dependency`.
        since: When progress stopped.
        retry_at: When it is tried again; None while a worker waits by itself.
    """

    dependency: str
    since: datetime
    retry_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Source:
    """An object or a prefix in S3, as the message names it.

    Attributes:
        bucket: Bucket name, without scheme.
        key: Object key or prefix, byte-exact; ends in `/` or is empty when only a prefix is meant.
    """

    bucket: str
    key: str

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"

    @property
    def is_prefix(self) -> bool:
        """True when the text alone means a prefix: it ends in `/` or is the whole bucket."""
        return self.key == "" or self.key.endswith("/")


@dataclass(frozen=True, kw_only=True, order=True)
class Location:
    """A canonical path on a target file system.

    Attributes:
        scheme: `hdfs` or `file`.
        authority: `host:port` or nameservice; empty for `file`.
        path: Absolute, no trailing slash, no empty or dot segments.
    """

    scheme: str
    authority: str
    path: str

    @classmethod
    def from_uri(cls, uri: str) -> Location:
        """The reverse of `uri`; nothing is checked."""
        scheme, _, rest = uri.partition("://")
        authority, slash, path = rest.partition("/")
        return cls(scheme=scheme, authority=authority, path=slash + path)

    @property
    def uri(self) -> str:
        return f"{self.filesystem}{self.path}"

    @property
    def filesystem(self) -> str:
        """`hdfs://authority` or `file://`."""
        return f"{self.scheme}://{self.authority}"

    @property
    def parent(self) -> Location:
        """The directory above; the root is its own parent."""
        return Location(
            scheme=self.scheme,
            authority=self.authority,
            path=self.path.rsplit("/", 1)[0] or "/",
        )

    def join(self, relative: str) -> Location:
        """`relative` below this one; no cleaning is done, the caller has checked it."""
        base = "" if self.path == "/" else self.path
        return Location(scheme=self.scheme, authority=self.authority, path=f"{base}/{relative}")

    def is_within(self, other: Location) -> bool:
        """True when this is `other` or below it, on the same file system; bytes compared."""
        if (self.scheme, self.authority) != (other.scheme, other.authority):
            return False
        base = "" if other.path == "/" else other.path
        return self.path == other.path or self.path.startswith(f"{base}/")

    @property
    def digest(self) -> str:
        """16 hex digits for this location, used in names of staging directories."""
        return hashlib.sha256(self.uri.encode("utf-8", "surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a message may request beyond source and destination; None leaves it to the route."""

    on_exists: OnExists | None = None
    publish: PublishMode | None = None
    engine: EngineName | None = None
    verify: VerifyLevel | None = None


@dataclass(frozen=True, kw_only=True)
class EventFacts:
    """What an S3 event reports of its object, where a request came from one.

    Attributes:
        key: The object's; for a trigger the trigger's own, while the source is its directory.
        version_id: The version to copy; None for the current one, and for a trigger's directory.
        sequencer: Comparable as text; None where the event has none.
        size_bytes: The object's, as the event reports it; None: not known, and for a trigger.
    """

    key: str
    version_id: str | None = None
    sequencer: str | None = None
    size_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Request:
    """A parsed message: copy this source into that directory.

    Attributes:
        form: `line`, `json`, `cli`, `s3` or `emr`.
        event: The event that it came from; the source is then exactly an object, or a prefix that
            ends in `/`.
        completion_marker: Name of an empty file to be published after all others; None: the
            route's.
        reply_to: Where the message wants replies sent, as it is written; the route decides.
    """

    source: Source
    destination: Location
    options: Options = field(default_factory=Options)
    form: str = "line"
    event: EventFacts | None = None
    completion_marker: str | None = None
    reply_to: str | None = None


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one transfer of a route, and of their number; None is unlimited.

    Attributes:
        in_flight: Transfers of the route at once.
        per_minute: Transfers of the route that may begin within any 60 s.
    """

    objects: int | None = None
    size_bytes: int | None = None
    in_flight: int | None = None
    per_minute: int | None = None


@dataclass(frozen=True, kw_only=True)
class StepRule:
    """The EMR step of this name, when it has completed, means: this source, to that directory.

    Attributes:
        cluster: Only on this cluster; None: on any.
    """

    step: str
    source: Source
    destination: Location
    cluster: str | None = None


@dataclass(frozen=True, kw_only=True)
class SignatureRule:
    """Messages of the route must be signed with one of these keys.

    Attributes:
        keys: The first one is current, the others are being retired. Never shown.
        max_age_s: The furthest expiry, seconds after the message was sent.
    """

    keys: tuple[bytes, ...] = field(repr=False)
    max_age_s: int


@dataclass(frozen=True, kw_only=True)
class TransferRules:
    """How the transfers of a route are carried out.

    A field is also a setting of `[[route]]` by the same name, `settings.model.RouteSettings`.

    Attributes:
        source_owner: Account that must own the bucket; None: any.
        run_as: The HDFS user for whom the agent acts; None: the agent itself.
    """

    on_exists: OnExists = OnExists.REPLACE
    publish: PublishMode = PublishMode.AUTO
    engine: EngineName = EngineName.AUTO
    verify: VerifyLevel = VerifyLevel.STORED
    name_map: NameMap = NameMap.STRICT
    limits: Limits = field(default_factory=Limits)
    when_queued: QueuedTooLong = QueuedTooLong.NATIVE
    evidence: EvidencePlace = EvidencePlace.LEDGER
    source_owner: str | None = None
    run_as: str | None = None


@dataclass(frozen=True, kw_only=True)
class Route(TransferRules):
    """Policy: which source may go to which destination, and how.

    Attributes:
        sources: (bucket, key prefix) pairs; a prefix is empty or ends in `/`. None: any source.
        destinations: Directories that a request may name or go below. None: any destination.
        senders: SQS SenderIds; None: any sender.
        queues: Names or ARNs of the queues that it serves; None: any.
        min_slots: So many slots of each agent are kept for its messages; None: none.
        event_destination: Template for the destination of events; None: takes no events.
        marker: Trigger: events of objects with this name request their directory, others nothing.
        completion_marker: Name of an empty file that each transfer publishes after all others.
        reply_wishes: Who is sent what of each of its transfers.
        reply_to: Where its messages may have replies sent: addresses, or beginnings with `*`.
        hive: Where the partitions that its transfers publish are registered; None: nowhere.
    """

    name: str
    sources: tuple[tuple[str, str], ...] | None
    destinations: tuple[Location, ...] | None
    senders: frozenset[str] | None = None
    queues: frozenset[str] | None = None
    min_slots: int | None = None
    event_destination: str | None = None
    event_other: EventOther = EventOther.DEAD
    marker: str | None = None
    completion_marker: str | None = None
    steps: tuple[StepRule, ...] = ()
    signature: SignatureRule | None = None
    reply_wishes: tuple[ReplyWish, ...] = ()
    reply_to: tuple[str, ...] = ()
    hive: HiveTable | None = None


@dataclass(frozen=True, kw_only=True)
class Assignment(TransferRules):
    """A request together with what the policy made of it; fixed for one attempt.

    Attributes:
        anchor: The route's destination directory that covers the request: staging lives under it.
        policy_digest: Which policy decided.
        adopts_only: Every file has to be at its final path already; nothing is copied (`reconcile
            --adopt`).
        completion_marker: Name of an empty file to be published into the directory after all
            others; None: none is.
    """

    request: Request
    route: str
    anchor: Location
    policy_digest: str = ""
    adopts_only: bool = False
    completion_marker: str | None = None
