"""The effects the core needs, as protocols. Adapters implement them; `testing` ships fakes.

Every method either succeeds, raises a `BackhaulError`, or raises one after taking effect; callers
in `runner` and `agent` are written for all three. Methods are safe to call from several threads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from backhaul.core.cluster import Application, JobProgress
from backhaul.core.evidence import Sum
from backhaul.core.model import (
    FileStatus,
    Job,
    Location,
    Pin,
    PlannedObject,
    StagedObject,
    Totals,
    TransferState,
    VerifyLevel,
)
from backhaul.core.verification import Part, S3Checksums


class Clock(Protocol):
    """Time from outside, so that tests own it."""

    def now(self) -> datetime:
        """Wall clock, aware UTC; for records only, never for deadlines."""

    def monotonic(self) -> float:
        """Seconds that never step; for deadlines."""


class Randomness(Protocol):
    """Chance and names from outside, so that a seed replays exactly."""

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""

    def transfer_id(self) -> str:
        """A fresh id, 16 characters of [0-9a-z], sorting by time of creation."""


# ---------------------------------------------------------------- SQS


FIFO = ".fifo"


@dataclass(frozen=True, kw_only=True)
class Message:
    """One delivery of an SQS message.

    Attributes:
        receipt_handle: Belongs to this delivery; an older one may be refused.
        receive_count: SQS's ApproximateReceiveCount, from 1.
        received_monotonic_s: `Clock.monotonic()` just before the receive call that brought it:
            SQS counts the 12 h total from no earlier than that.
        attributes: The sender's message attributes (String and Number), name to value.
        group: The message group on a FIFO queue, whose messages come one after the other.
    """

    queue: str
    message_id: str
    receipt_handle: str
    body: str
    sender_id: str
    receive_count: int
    sent_at: datetime | None
    received_monotonic_s: float
    attributes: dict[str, str] = field(default_factory=dict)
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class QueueFacts:
    """What the queue itself says, read once at start.

    Attributes:
        name: Queue name; with the account and region in `arn`.
        dead_letter_url: None when the queue has no redrive policy.
        max_receive_count: After this many receives SQS itself moves the message; None: never.
    """

    url: str
    name: str
    arn: str
    dead_letter_url: str | None
    dead_letter_name: str | None
    max_receive_count: int | None
    retention_s: int | None = None
    dead_letter_retention_s: int | None = None

    @property
    def is_fifo(self) -> bool:
        """SQS wants this ending of every FIFO queue's name, and of no other."""
        return self.name.endswith(FIFO)


class Queue(Protocol):
    """One SQS queue and its dead-letter queue."""

    facts: QueueFacts

    def receive(
        self, *, max_messages: int, wait_s: int, visibility_timeout_s: int
    ) -> list[Message]:
        """Long poll once: up to 10 messages, `wait_s` 0 to 20. Empty list when none came.

        Raises:
            OutageError: SQS cannot be reached, throttles, or the credentials are refused.
        """

    def extend(self, message: Message, visibility_timeout_s: int) -> None:
        """Keep the message invisible this long, from now; 0 shows it at once; safe to repeat.

        Raises:
            VisibilityLost: the handle is no longer accepted, or the 12 h total is used up.
            OutageError: SQS cannot be reached.
        """

    def delete(self, message: Message) -> None:
        """Delete by receipt handle; safe to repeat; a handle SQS has forgotten is no error."""

    def send_dead_letter(self, message: Message, reason: DeadLetterReason) -> bool:
        """Copy the message with its reason to the dead-letter queue.

        Returns:
            False when the queue has none; nothing was sent.
        """


@dataclass(frozen=True, kw_only=True)
class DeadLetterReason:
    """Why a message is dead; becomes message attributes named `backhaul.code` and so on."""

    code: str
    sentence: str
    hint: str
    attempts: int
    first_seen_at: datetime
    transfer_id: str
    host: str


# ---------------------------------------------------------------- S3


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


# ---------------------------------------------------------------- the worker


@dataclass(frozen=True, kw_only=True)
class StageTask:
    """What a worker needs to stage one object.

    Attributes:
        is_there: Another engine has written it already: prove it, and copy it only if that fails.
    """

    planned: PlannedObject
    endpoint: Endpoint
    is_there: bool = False


@dataclass(frozen=True, kw_only=True)
class Rename:
    """One file's way from staging to its final path."""

    source: Location
    target: Location


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Bytes and objects finished so far by one worker, cumulative within a staging call."""

    size_bytes: int
    objects: int


@dataclass(frozen=True, kw_only=True)
class Held:
    """What a target says of one file's content without anybody reading it.

    Attributes:
        size_bytes: None where not even that could be learnt.
        algorithm: `CRC32C` or `CRC32`, of all bytes of the file; None where it cannot be told.
        checksum: Its value, 8 hex digits; None likewise.
        asked: Who told it, closed set: `datanode`, `command`, `read`; empty likewise.
        why: Why it could not be told; empty when it was.
        is_final: No other way can tell it either: nothing is kept that compares with the bytes.
    """

    size_bytes: int | None
    modified_ms: int
    algorithm: str | None = None
    checksum: str | None = None
    asked: str = ""
    why: str = ""
    is_final: bool = False

    @classmethod
    def of_ciphertext(cls, size_bytes: int, modified_ms: int) -> Held:
        """Of a file in an encryption zone of HDFS."""
        return cls(
            size_bytes=size_bytes,
            modified_ms=modified_ms,
            why="in an encryption zone: the CRCs there are of the ciphertext",
            is_final=True,
        )


class TargetSession(Protocol):
    """One worker process, lent to one transfer: all target and S3 body I/O happens in it.

    Any method may raise TransientError E_WORKER_DIED or E_WORKER_STALLED; the session is then
    useless and the pool replaces the process.
    """

    def status(self, locations: Sequence[Location]) -> list[FileStatus | None]:
        """What stands at each path; None where nothing does."""

    def existing_ancestor(self, location: Location) -> Location:
        """`location` itself if it is a directory, else the nearest directory above it.

        Raises:
            CannotWrite: E_DST_PARENT_FILE when a file stands in the way.
        """

    def fence(self, staging_root: Location, epoch: int) -> int:
        """Remove every epoch below `epoch` under `staging_root`, then create `epoch`'s directory.

        Returns:
            The highest epoch found. When it is not below `epoch` nothing was created and the
            caller claims again above it.
        """

    def fence_keeping(
        self, staging_root: Location, kept: int, epoch: int
    ) -> tuple[int, int | None]:
        """Remove every epoch below `kept`, which an application of this transfer still fills.

        Returns:
            The highest epoch found, and under which number, from `kept` to below `epoch`, the
            staging of that application stands; None when it is gone.
        """

    def take_over(self, staging_root: Location, kept: int, epoch: int) -> None:
        """Rename the directory of epoch `kept` to that of `epoch`; safe to repeat."""

    def count_files(self, directory: Location) -> tuple[int, int]:
        """Files below it at any depth, and directories that hold nothing."""

    def prune(self, directory: Location, planned: Sequence[str]) -> int:
        """Remove files below it that are not planned, and directories left without a file.

        Returns:
            How many files were removed.
        """

    def stage(
        self,
        tasks: Iterator[Sequence[StageTask]],
        directory: Location,
        verify: VerifyLevel,
    ) -> Iterator[Sequence[StagedObject]]:
        """Copy the tasks below `directory`, yielding proofs in batches as files are closed.

        Pulls from `tasks` only as far as its window allows, so memory stays constant.

        Raises:
            SourceChanged, IntegrityError, PermanentError, TransientError, OutageError: the first
            failure; the rest is abandoned.
        """

    def write_whole(self, location: Location, content: bytes) -> None:
        """A file of Backhaul's own in an existing directory, whole or not at all; replaces it."""

    def publish_tree(self, staged: Location, target: Location) -> bool:
        """One rename of the whole directory; False when something stands at `target` already."""

    def publish_files(self, renames: Sequence[Rename], *, replace: bool) -> None:
        """Rename each file, creating parent directories; not atomic as a whole.

        Raises:
            CannotWrite: E_DST_EXISTS when `replace` is False and a file is in the way.
            OutcomeUnknown: an answer was lost.
        """

    def contents(
        self,
        locations: Sequence[Location],
        *,
        algorithms: Sequence[str] = (),
        is_read: bool = False,
        passes_over: bool = False,
    ) -> list[Held | None]:
        """CRC32C of each file's bytes; None where no file is.

        Told by the file system where it keeps checksums, else read.

        Args:
            algorithms: For each file the one to tell, `CRC32C` or `CRC32`; empty: CRC32C for all.
            is_read: Read every file, whatever the file system keeps.
            passes_over: A file that cannot be read has no checksum and a reason, and is not the
                end of the others.
        """

    def vouched(
        self, tasks: Sequence[StageTask], finals: Sequence[Location]
    ) -> list[StagedObject | None]:
        """Which files hold their pinned object already, by S3's own checksum; None: not proven.

        Asks S3 for headers only. A file is read where the checksums that the file system keeps do
        not compare with S3's.
        """

    def remove_staging(self, staging_root: Location, *, up_to: int | None = None) -> None:
        """Delete the transfer's staging and then `.backhaul` if it is empty; safe to repeat.

        Args:
            up_to: Leave higher epochs: they belong to whoever claimed the destination since.
        """

    @property
    def progress(self) -> Progress:
        """How far the current staging call has come."""


class ContentChecker(Protocol):
    """Asks a file system for checksums it keeps, many files at a time."""

    name: str

    def held(self, paths: Sequence[str]) -> list[Held | None]:
        """One answer per path, in order; None where no file is. Never guesses, never reads."""

    def close(self) -> None:
        """Let go of connections; safe to repeat."""


class TargetWriter(Protocol):
    """One open file in staging. There is no abort: what is not closed is deleted by its path."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Make the content durable; the file counts only after this returned."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One name in a directory."""

    name: str
    is_directory: bool


class TargetFs(Protocol):
    """One file system as a worker sees it; paths are absolute strings of that file system.

    Raises (any method):
        TargetMissing, TargetExists, CannotWrite, PermanentError, TransientError, OutageError.
    """

    keeps_checksums: bool
    """Whether `held` can tell a checksum at all; asking is then worth a batch."""

    def held(self, paths: Sequence[str]) -> list[Held | None]:
        """What each file holds, from checksums that the file system keeps; None where none is.

        Never reads content. What cannot be told is an answer (`Held.why`), not an error.
        """

    def check_reachable(self) -> None:
        """Return at once when the file system answers.

        Raises:
            OutageError: It does not, known within seconds.
        """

    def check_place(self, path: str) -> None:
        """Refuse what is there and leads elsewhere: then the policy's prefix is no promise.

        Raises:
            CannotWrite: E_DST_MOUNT.
        """

    def status(self, path: str) -> FileStatus | None: ...

    def names(self, path: str) -> list[str]:
        """Entries of a directory, by name; empty when it is not there."""

    def entries(self, path: str) -> list[Entry]:
        """What a directory holds; empty when it is not there."""

    def create(self, path: str, size_bytes: int) -> TargetWriter:
        """A new file; its directory must exist. `size_bytes` is what will be written."""

    def read(self, path: str) -> Iterator[bytes]:
        """The content in chunks."""

    def mkdir(self, path: str) -> None:
        """One directory below an existing one; no error when it is there.

        Raises:
            TargetMissing: The directory above is not there. It is never made here: a fenced
                process must not bring its staging back (S6).
        """

    def mkdirs(self, path: str) -> None:
        """A directory with all that is missing above it."""

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Atomic. Moves a file or a directory; never into a directory.

        Raises:
            OutcomeUnknown: The answer was lost.
        """

    def remove(self, path: str) -> None:
        """Delete recursively; nothing there is success."""

    def remove_empty(self, path: str) -> None:
        """Delete a directory if it is empty; else leave it."""

    def sync_directory(self, path: str) -> None:
        """Make names created or renamed in this directory durable (fsync; HDFS needs nothing)."""


class TargetPool(Protocol):
    """The worker processes."""

    def session(
        self, filesystem: str, user: str | None = None
    ) -> AbstractContextManager[TargetSession]:
        """Lend one process; it comes back clean, or is replaced when it misbehaved.

        Args:
            user: Whom it acts for on the file system (`run_as` of the route); None: the agent.
        """


# ---------------------------------------------------------------- the ledger


@dataclass(frozen=True, kw_only=True)
class MessageKey:
    """What makes redeliveries of one message one transfer.

    Attributes:
        part: Which record of the message, from 0; each is a transfer of its own.
    """

    queue: str
    message_id: str
    part: int = 0

    @property
    def text(self) -> str:
        """The message's id as the ledger keeps it: `id`, then `id#2`, `id#3`."""
        return f"{self.message_id}#{self.part + 1}" if self.part else self.message_id


@dataclass(frozen=True, kw_only=True)
class Begun:
    """The ledger's answer to a delivery.

    Attributes:
        attempt: The attempt just counted, from 1; not counted when `state` is final or `is_live`.
        is_live: Another running process or thread works on this transfer right now.
        has_plan: The plan is frozen completely; the next attempt uses its pins.
        was_publishing: The last attempt recorded its intent: renames may have happened.
        failures: Attempts whose failure was recorded without refund; a killed agent records none.
        source_changes: How often the source changed under this transfer so far.
        directory: The target directory of the frozen plan; `destination` is what the plan owns,
            the same directory or the one file of a single object.
    """

    transfer_id: str
    state: TransferState
    attempt: int
    is_live: bool
    has_plan: bool
    was_publishing: bool
    first_seen_at: datetime
    directory: Location | None = None
    destination: Location | None = None
    failures: int = 0
    source_changes: int = 0
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """One submission to YARN that the ledger has not closed: the tag of this epoch may be there.

    Attributes:
        epoch: Whose staging it writes to; one epoch submits at most once.
        application_id: Once it was seen; None does not mean that there is none.
    """

    transfer_id: str
    epoch: int
    application_id: str | None


@dataclass(frozen=True, kw_only=True)
class Leftover:
    """What an attempt may have left in staging.

    Attributes:
        epoch: Its last; higher ones belong to somebody else.
        route: Whose user it belongs to.
    """

    transfer_id: str
    staging_root: Location
    epoch: int
    route: str | None = None


@dataclass(frozen=True, kw_only=True)
class Claimed:
    """The transfer owns its destination until it finishes, fails or its owner dies.

    Attributes:
        stale: Staging of destinations above or below this one, and of this one elsewhere. It must
            be gone before anything is published: a forgotten process may still rename out of it.
        has_rivals: Another transfer recorded its intent for something here and not its end;
            `rivals` tells what may stand at the final paths.
        jobs: Open ones of this transfer, and of any other at this destination, above or below it.
    """

    epoch: int
    staging_root: Location
    stale: tuple[Leftover, ...] = ()
    has_rivals: bool = False
    jobs: tuple[ClusterJob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Published:
    """The newest content that the ledger knows at a final path."""

    location: Location
    transfer_id: str
    pin: Pin
    crc32c: str
    modified_ms: int


class Ledger(Protocol):
    """The durable truth. Every method is one transaction; after it returns, a power cut keeps it.

    Raises (any method):
        OutageError: `ledger`: locked too long, full or read-only; nothing was recorded.
        TakenOver: `claim`, `forget_plan`, `freeze`, `record_staged`, `note_published`: another
            process has begun the transfer since; nothing was recorded.
    """

    def begin(
        self, key: MessageKey | None, new_id: str, source: str, destination: str, now: datetime
    ) -> Begun:
        """Find or make the transfer of this message and count an attempt before any work.

        Args:
            key: None for `copy`: always a new transfer.
            source: As asked for, for people. Unparsed body excerpt where it did not parse.
            destination: Likewise.
        """

    def claim(  # noqa: PLR0913 - the first page rides along to save a commit
        self,
        transfer_id: str,
        job: Job,
        destination: Location,
        staging_anchor: Location,
        *,
        directory: Location,
        first: Sequence[PlannedObject] = (),
        is_complete: bool = False,
        markers: int = 0,
        min_epoch: int,
        now: datetime,
    ) -> Claimed | None:
        """Take the destination: epoch + 1 (at least `min_epoch`), owner set, state STAGING.

        The staging root is fixed at the destination's first claim while any epoch may be alive.
        The first page of a new plan is frozen in the same transaction; it replaces a plan that
        an earlier attempt left incomplete. An empty `first` keeps the frozen plan.

        Dead owners above and below lose theirs, so that none of them can record an intent later.

        Returns:
            None while another live transfer owns the destination, one above or one below it.
        """

    def rivals(self, transfer_id: str, locations: Sequence[Location]) -> list[Published]:
        """What other transfers may have renamed to these paths without having recorded the end."""

    def forget_plan(self, transfer_id: str) -> None:
        """Drop the frozen plan: the source changed; counts the change."""

    def freeze(
        self, transfer_id: str, objects: Sequence[PlannedObject], *, is_complete: bool, markers: int
    ) -> None:
        """Append to the plan; pins never change once frozen."""

    def plan(
        self, transfer_id: str, *, only_unstaged: bool = False, batch: int = 1000
    ) -> Iterator[Sequence[PlannedObject]]:
        """The frozen plan in order, in batches."""

    def planned_totals(self, transfer_id: str) -> Totals:
        """What the frozen plan adds up to."""

    def record_staged(self, transfer_id: str, staged: Sequence[StagedObject]) -> None:
        """Note proofs; they belong to the current epoch."""

    def staged(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """Planned objects proven in the current epoch, in order; the others are left out."""

    def earlier_proofs(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """Planned objects with proofs of an epoch before the current one, in order."""

    def intend(
        self, transfer_id: str, epoch: int, staged: Sequence[StagedObject], now: datetime
    ) -> bool:
        """Record the last proofs and the intent to publish: state PUBLISHING.

        Returns:
            False when the transfer no longer owns the destination with this epoch.
        """

    def note_published(self, transfer_id: str) -> None:
        """What has a proof of the current epoch stands under its final name: it is published.

        For files that an earlier attempt renamed before it died; the transfer goes on.
        """

    def published(self, locations: Sequence[Location]) -> dict[Location, Published]:
        """What this ledger published last at these paths."""

    def finish(
        self,
        transfer_id: str,
        epoch: int,
        state: TransferState,
        publish_mode: str,
        now: datetime,
        *,
        manifest: Sum | None = None,
    ) -> bool:
        """State DONE or SUPERSEDED; proofs become the published truth; the claim ends.

        Args:
            manifest: What the proofs add up to: it is sealed and chained to the one before.

        Returns:
            False when the transfer no longer owns the destination with this epoch.
        """

    def fail(
        self,
        transfer_id: str,
        state: TransferState,
        code: str,
        reason: str,
        now: datetime,
        *,
        refund: bool = False,
    ) -> None:
        """State WAITING, HELD or DEAD with its reason; the claim ends.

        Args:
            refund: Give the counted attempt back (outage, shutdown).
        """

    def is_mine(self, transfer_id: str) -> bool:
        """True while this process is the one that began the attempt under way."""

    def published_sequencer(self, destination: Location, bucket: str, key: str) -> str | None:
        """The newest event of this object that was published at the destination."""

    def claim_nonce(self, nonce: str, key: MessageKey, keep_until: datetime, now: datetime) -> bool:
        """Remember a signed message's nonce; safe to repeat for the same message.

        Args:
            key: Of any record: one nonce is for all records of its message.

        Returns:
            False when another message had it: a replay.
        """

    def leftover(self, transfer_id: str) -> Leftover | None:
        """Where this transfer may have staging; None when it never claimed or has finished."""

    def litter(self, claimed_before: datetime, *, most: int) -> list[Leftover]:
        """Staging roots claimed before then that no live transfer owns, by file system."""

    def swept(self, lefts: Sequence[Leftover]) -> None:
        """Nothing is left there up to that epoch; a root claimed again meanwhile stays."""

    # ---- the cluster's engine

    def note_engine(self, transfer_id: str, engine: str, reason: str) -> None:
        """Which engine was chosen, and why."""

    def open_job(self, transfer_id: str, epoch: int, tag: str, now: datetime) -> bool:
        """Note that an application with this tag may exist from now on.

        Returns:
            False when the transfer no longer owns its destination with this epoch, or when this
            epoch has had its submission; nothing may be submitted then.
        """

    def note_job(
        self,
        transfer_id: str,
        claim_epoch: int,
        epoch: int,
        application: Application,
        progress: JobProgress | None,
        now: datetime,
    ) -> bool:
        """Note how far it is.

        Returns:
            False when the transfer no longer owns its destination with `claim_epoch`.
        """

    def close_job(
        self, transfer_id: str, epoch: int, state: str, reason: str, now: datetime
    ) -> None:
        """Nothing of this submission runs or counts any more; safe to repeat."""

    def jobs(self, transfer_id: str) -> list[ClusterJob]:
        """The open ones of this transfer, by epoch."""


# ---------------------------------------------------------------- telemetry


class Emit(Protocol):
    """Turns facts into log lines, metrics and progress; never raises."""

    def __call__(self, fact: object) -> None: ...
