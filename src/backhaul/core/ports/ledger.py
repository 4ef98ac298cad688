"""What is remembered, and by when it is on disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from backhaul.core.checksums import Checksum
from backhaul.core.model import Assignment, Hold, Location, TransferState
from backhaul.core.objects import ManifestSum, Pin, PlannedObject, StagedObject, Totals
from backhaul.core.ports.cluster import Application, JobProgress

CHANGED_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class MessageKey:
    """What makes redeliveries of one message one transfer.

    Attributes:
        part: Which record of the message, from 0; each is a transfer of its own.
        also: Further records that end together with it: those that cannot be read.
        body_digest: SHA-256 of the body, hexadecimal: the same id with another body is another
            request. None: not known.
    """

    queue: str
    message_id: str
    part: int = 0
    also: tuple[int, ...] = ()
    body_digest: str | None = field(default=None, compare=False)

    @property
    def text(self) -> str:
        """The message's id as the ledger keeps it: `id`, then `id#2`, `id#3`; `id#2,5` of two."""
        if not self.part and not self.also:
            return self.message_id
        numbers = (self.part, *self.also)
        return f"{self.message_id}#{','.join(str(number + 1) for number in numbers)}"

    @property
    def changed(self) -> MessageKey:
        """For a body that came under an id which another body has: `id!` and its digest."""
        digest = (self.body_digest or "")[:CHANGED_DIGITS]
        return replace(self, message_id=f"{self.message_id}!{digest}")


@dataclass(frozen=True, kw_only=True)
class AttemptStart:
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
        was_changed: Another body came under this id before; this transfer is of the new body.
        has_dead_letter: It is dead, and its dead letter was sent.
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
    was_changed: bool = False
    has_dead_letter: bool = False


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
class AbandonedStaging:
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
    stale: tuple[AbandonedStaging, ...] = ()
    has_rivals: bool = False
    jobs: tuple[ClusterJob, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Published:
    """The newest content that the ledger knows at a final path."""

    location: Location
    transfer_id: str
    pin: Pin
    content: Checksum
    modified_ms: int


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who has a transfer.

    Attributes:
        owner: `host:boot_id:pid:starttime`; None while no process works on it.
        is_cancelled: An operator ended it.
    """

    owner: str | None
    is_cancelled: bool


class Ledger(Protocol):
    """The durable truth. Every method is one transaction; after it returns, a power cut keeps it.

    Raises (any method):
        OutageError: `ledger`: locked too long, full or read-only; nothing was recorded.
        TakenOver: `claim`, `forget_plan`, `freeze`, `record_staged`, `note_published`,
            `note_staging`: another
            process has begun the transfer since; nothing was recorded.
    """

    def begin(
        self, key: MessageKey | None, new_id: str, source: str, destination: str, now: datetime
    ) -> AttemptStart:
        """Find or make the transfer of this message and count an attempt before any work.

        Args:
            key: None for `copy`: always a new transfer. Where the message's transfer is of another
                body, a transfer of `key.changed` is found or made.
            source: As asked for, for people. Unparsed body excerpt where it did not parse.
            destination: Likewise.
        """

    def claim(  # noqa: PLR0913 - the first page rides along to save a commit
        self,
        transfer_id: str,
        job: Assignment,
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

        The staging root is below the anchor, except while an application of this transfer may fill
        the one of an earlier claim. Earlier roots elsewhere are `Claimed.stale`.
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
        manifest: ManifestSum | None = None,
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
        hold: Hold | None = None,
        has_dead_letter: bool = False,
    ) -> None:
        """State WAITING, HELD or DEAD with its reason; the claim ends.

        Args:
            reason: Kept without the secrets that `text.redacted` knows, here as everywhere.
            refund: Give the counted attempt back (outage, shutdown).
            hold: With HELD: by what. A hold by the same dependency goes on since its beginning.
            has_dead_letter: Its dead letter was sent.
        """

    def note_dead_letter(self, transfer_id: str) -> None:
        """The dead letter of a transfer that is dead already was sent; no change to any other."""

    def note_wait(self, transfer_id: str, hold: Hold | None, code: str, reason: str) -> None:
        """What the attempt under way waits for, for people; None: it moves again."""

    def holder(self, transfer_id: str) -> Holder:
        """Who has the transfer now, and whether it was cancelled."""

    def is_mine(self, transfer_id: str) -> bool:
        """True while this process is the one that began the attempt under way."""

    def published_sequencer(self, destination: Location, bucket: str, key: str) -> str | None:
        """Of the event of this object that was published at the destination last."""

    def claim_nonce(
        self,
        nonce: str,
        key: MessageKey,
        keep_until: datetime,
        now: datetime,
        *,
        redriven_from: str | None = None,
    ) -> bool:
        """Remember a signed message's nonce; safe to repeat for the same message.

        Args:
            key: Of any record: one nonce is for all records of its message.
            redriven_from: A dead transfer. Where the nonce belongs to its message, it passes on to
                this one: a nonce belongs to one living message at a time.

        Returns:
            False when another message had it: a replay.
        """

    def staging_of(self, transfer_id: str) -> AbandonedStaging | None:
        """Where this transfer may have staging; None when it never claimed or has finished."""

    def abandoned_staging(self, claimed_before: datetime, *, most: int) -> list[AbandonedStaging]:
        """Staging roots claimed before then that no live transfer owns, by file system."""

    def note_staging(
        self, transfer_id: str, epoch: int, roots: Sequence[Location], now: datetime
    ) -> None:
        """Remember further staging roots of this claim, before anything is made in them.

        A sweep finds what is left of them. No file is ever in one, so they are not `stale`.
        """

    def forget_staging(self, lefts: Sequence[AbandonedStaging]) -> None:
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
