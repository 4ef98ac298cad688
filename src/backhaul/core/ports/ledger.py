"""The ledger: what has to survive a power cut, as one small protocol for each capability.

Every call is one transaction: it returns after its commit is on disk, and a call that raises has
changed nothing. `Ledger` is all protocols together, and one adapter implements it.

Errors of every call:

- `OutageError` of `ledger`: locked for too long, full, read-only or an I/O error.
- `LedgerDamaged`: a row that Backhaul did not write.
- `TakenOver`, where it is listed: another process began this transfer since, or it was cancelled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from typing import Protocol

from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.model import Assignment, Hold, Location, TransferState
from backhaul.core.objects import ManifestSum, PlannedObject, StagedObject, Totals
from backhaul.core.ports.agents import AgentLedger
from backhaul.core.ports.budgets import BudgetLedger
from backhaul.core.ports.cluster import Application, JobProgress
from backhaul.core.ports.ledger_records import (
    AbandonedStaging,
    AttemptStart,
    Claimed,
    ClusterJob,
    Holder,
    MessageKey,
    MessageOrigin,
    Published,
)
from backhaul.core.ports.replies import ReplyLedger
from backhaul.core.replies.reply import ReplyWish


class AttemptLedger(Protocol):
    """Deliveries, their attempts, and why an attempt waits or ended."""

    def begin(
        self,
        key: MessageKey | None,
        new_id: str,
        source: str,
        destination: str,
        now: datetime,
        *,
        origin: MessageOrigin | None = None,
        route: str | None = None,
        replies: Sequence[ReplyWish] | None = None,
    ) -> AttemptStart:
        """Find or make the transfer of this message and count an attempt before any work.

        Args:
            key: None for `copy`: always a new transfer. Where the message's transfer is of another
                body, a transfer of `key.changed` is found or made.
            source, destination: As requested, for people; an excerpt of a body not parsed.
            origin: Kept of a new transfer; None for `copy`.
            route: Under which it is shown and counted until a claim names one; None: as before,
                else none.
            replies: To whom and when; None: as before, else none.
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

        Safe to repeat: a transfer of another process stays as it is, and of one that a failover of
        the database has lost nothing is recorded. Recorded or not, this process no longer works on
        it, and the next delivery may begin.

        Args:
            reason: Kept without the secrets that `text.redacted` knows, as all text for people.
            refund: Give the counted attempt back (outage, shutdown); else it counts as a failure.
            hold: With HELD: by what. A hold by the same dependency continues the earlier one.
            has_dead_letter: Its dead letter was sent.
        """

    def note_dead_letter(self, transfer_id: str) -> None:
        """The dead letter of a transfer that is DEAD was sent; one in another state stays as it is.

        A dead transfer belongs to no process, so its owner is not compared.
        """

    def note_wait(self, transfer_id: str, hold: Hold | None, code: str, reason: str) -> None:
        """What the attempt under way waits for; None: it moves again.

        Neither a change of state nor a line in the journal. Another process's transfer stays as
        it is.

        Raises:
            TakenOver: A failover of the database has lost it.
        """

    def note_engine(self, transfer_id: str, engine: str, reason: str) -> None:
        """Which engine was chosen, and why."""

    def note_tables(self, transfer_id: str, tables: Sequence[str]) -> None:
        """Which kinds of tables its plan was recognised to have; replaces what was noted."""

    def holder(self, transfer_id: str) -> Holder:
        """Which process has the transfer now, and whether it was cancelled; none, if it is gone."""

    def is_mine(self, transfer_id: str) -> bool:
        """True while this process is the one that began the attempt under way."""


class DestinationLedger(Protocol):
    """Claims: one transfer owns a destination, and no other above or below it."""

    def claim(  # noqa: PLR0913 - the first page comes along, which saves a commit
        self,
        transfer_id: str,
        assignment: Assignment,
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
        the one of an earlier claim. Earlier roots elsewhere are `Claimed.stale`. Dead owners above
        and below lose theirs, so that none of them can record an intent later. Claiming again
        within an attempt raises the epoch once more.

        Args:
            first: First page of a new plan, frozen in the same transaction. It replaces a plan
                that an earlier attempt left incomplete; a complete plan stays. Empty: the frozen
                plan stays. `is_complete` and `markers` as in `freeze`; not used without `first`.

        Returns:
            None while another live transfer owns the destination, one above or one below it.

        Raises:
            TakenOver
        """

    def is_full(self, transfer_id: str, assignment: Assignment) -> bool:
        """Whether others on the ledger, this process too, have reached the route's limit.

        `claim` counts once more. False where one agent alone works on the ledger.
        """

    def admit(self, transfer_id: str, assignment: Assignment) -> float:
        """Seconds until the minute of the route lets it begin; 0: it may, and counts in it once."""

    def intend(
        self,
        transfer_id: str,
        epoch: int,
        staged: Sequence[StagedObject],
        now: datetime,
        read: EgressCount | None = None,
    ) -> bool:
        """Record the last proofs and the intent to publish: state PUBLISHING.

        Args:
            read: To be added, as by `note_egress`.

        Returns:
            False when the transfer no longer owns the destination with this epoch: nothing changed.
        """

    def finish(
        self,
        transfer_id: str,
        epoch: int,
        state: TransferState,
        publish_mode: str,
        now: datetime,
        *,
        manifest: ManifestSum | None = None,
        marker: Location | None = None,
        is_intended: bool = True,
    ) -> bool:
        """State DONE or SUPERSEDED; proofs become the published truth; the claim ends.

        Args:
            manifest: What the proofs add up to: it is sealed and chained to the one before.
            marker: Where its completion marker is.
            is_intended: It renamed something in this epoch, after its intent.

        Returns:
            False where it owns the destination with this epoch no more, or a failover of the
            database has lost its intent. True again when repeated after it took effect.
        """

    def marker_at(self, location: Location) -> str | None:
        """Id of the transfer that published its completion marker there last; None: none did."""


class PlanLedger(Protocol):
    """The frozen plan of a transfer, and the proof of each object in it."""

    def freeze(
        self, transfer_id: str, objects: Sequence[PlannedObject], *, is_complete: bool, markers: int
    ) -> None:
        """Append to the plan; pins never change once frozen.

        Safe to repeat: positions frozen already are skipped, and a complete plan stays as it is.

        Args:
            objects: Positions continue where the last page ended, without a gap.
            markers: Directory placeholders skipped so far, in all pages up to this one.

        Raises:
            TakenOver
        """

    def forget_plan(self, transfer_id: str) -> None:
        """Drop the frozen plan: the source changed; counts the change.

        Raises:
            TakenOver
        """

    def plan(
        self, transfer_id: str, *, only_unstaged: bool = False, batch: int = 1000
    ) -> Iterator[Sequence[PlannedObject]]:
        """The frozen plan in order, in batches; each batch is a transaction of its own.

        Args:
            only_unstaged: Leave out what has a proof of the current epoch.
        """

    def planned_totals(self, transfer_id: str) -> Totals:
        """What the frozen plan adds up to."""

    def record_staged(
        self, transfer_id: str, staged: Sequence[StagedObject], read: EgressCount | None = None
    ) -> None:
        """Record proofs; they belong to the current epoch and replace older ones.

        Args:
            read: To be added, as by `note_egress`.

        Raises:
            TakenOver
        """

    def staged(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """Planned objects proven in the current epoch, in order; the others are left out."""

    def earlier_proofs(
        self, transfer_id: str, *, batch: int = 1000
    ) -> Iterator[Sequence[tuple[PlannedObject, StagedObject]]]:
        """Planned objects with proofs of an epoch before the current one, in order.

        After a crash while publishing they list what to look for. New proofs may be recorded
        while these are read: what was passed does not come back.
        """


class PublicationLedger(Protocol):
    """What was published at which final path."""

    def published(self, locations: Sequence[Location]) -> dict[Location, Published]:
        """What this ledger published last at these paths; paths it never published are absent."""

    def rivals(self, transfer_id: str, locations: Sequence[Location]) -> list[Published]:
        """What other transfers may have renamed to these paths without having recorded the end."""

    def note_published(self, transfer_id: str) -> None:
        """Objects with a proof of the current epoch are at their final paths: they are published.

        For files that an earlier attempt renamed before it died; the transfer goes on. Safe to
        repeat.

        Raises:
            TakenOver
        """


class ReplayLedger(Protocol):
    """What recognises an event or a signed message that was here before."""

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


class StagingLedger(Protocol):
    """Every staging root from its claim until it was seen to be gone."""

    def staging_of(self, transfer_id: str) -> AbandonedStaging | None:
        """Where this transfer may have staging; None when it never claimed or has finished."""

    def abandoned_staging(self, now: datetime, age: timedelta, most: int) -> list[AbandonedStaging]:
        """Of no live transfer, and that old, by file system; a shared database has its own now."""

    def note_staging(
        self, transfer_id: str, epoch: int, roots: Sequence[Location], now: datetime
    ) -> None:
        """Remember further staging roots of this claim, before anything is made in them.

        No file is ever in one, so they are never `Claimed.stale`; the sweep removes them.

        Raises:
            TakenOver
        """

    def forget_staging(self, gone: Sequence[AbandonedStaging]) -> None:
        """Nothing is left there up to that epoch; a root claimed again meanwhile stays."""


class JobLedger(Protocol):
    """Submissions to YARN; one is open from before it exists until nothing of it runs or counts."""

    def open_job(self, transfer_id: str, epoch: int, tag: str, now: datetime) -> bool:
        """Record that an application with this tag may exist from now on.

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
        read: EgressCount | None = None,
    ) -> bool:
        """Record its state and progress.

        Args:
            read: To be added, as by `note_egress`.

        Returns:
            False when the transfer no longer owns its destination with `claim_epoch`: nothing
            changed.
        """

    def close_job(
        self, transfer_id: str, epoch: int, state: str, reason: str, now: datetime
    ) -> None:
        """Nothing of this submission runs or counts any more; safe to repeat."""

    def jobs(self, transfer_id: str) -> list[ClusterJob]:
        """The open ones of this transfer, by epoch."""


class EgressLedger(Protocol):
    """What left S3, summed up by day, route, sender, purpose and engine, and by transfer."""

    def note_egress(self, transfer_id: str, read: EgressCount) -> None:
        """Add what was read from S3 for this transfer; whoever owns it, it was read.

        It counts for the transfer's route and sender as the ledger has them. Not safe to repeat.
        """

    def note_command_egress(self, route: str, read: EgressCount) -> None:
        """Add what a command read from S3 for no transfer; `route` is empty for none."""

    def egress_since(self, since: date, route: str | None = None) -> Egress:
        """What left S3 on this day in UTC and after it, by both engines.

        Args:
            route: None: of every route and of none.
        """


class Ledger(
    AttemptLedger,
    DestinationLedger,
    PlanLedger,
    PublicationLedger,
    ReplayLedger,
    StagingLedger,
    JobLedger,
    EgressLedger,
    BudgetLedger,
    AgentLedger,
    ReplyLedger,
    Protocol,
):
    """The durable truth: all capabilities on one store."""
