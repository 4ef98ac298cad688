"""What the ledger returns: an attempt, a claim, an open job, staging and published content."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum

from backhaul.core.checksums import Checksum
from backhaul.core.cost.egress import Egress
from backhaul.core.errors import OutageError
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import Pin

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
class MessageOrigin:
    """Who sent a message, when, and as part of which trace; kept for people.

    Attributes:
        sender: SQS's SenderId.
        sent_at: By SQS's clock; None where SQS gave none.
        traceparent: The sender's message attribute of that name (W3C Trace Context).
        aws_trace_header: SQS's system attribute AWSTraceHeader (X-Ray).
        openlineage_parent: The sender's message attribute of that name, `NAMESPACE/JOB/RUN`: the
            run of OpenLineage that this transfer is a part of.
    """

    sender: str = ""
    sent_at: datetime | None = None
    traceparent: str | None = None
    aws_trace_header: str | None = None
    openlineage_parent: str | None = None


@dataclass(frozen=True, kw_only=True)
class AttemptStart:
    """What the ledger knows of a transfer when a delivery begins.

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
        is_takeover: Another process began it and ended without settling it.
        owner: The process at work on it, or that was last.
        egress: What earlier attempts read from S3, as far as they recorded it.
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
    is_takeover: bool = False
    owner: str | None = None
    egress: Egress = field(default_factory=Egress)


@dataclass(frozen=True, kw_only=True)
class ClusterJob:
    """One submission to YARN that is not closed: an application with this epoch's tag may exist.

    Attributes:
        epoch: Whose staging it writes to; one epoch submits at most once.
        application_id: Once it was seen; None does not mean that there is none.
        size_bytes: Copied, as it was noted last.
    """

    transfer_id: str
    epoch: int
    application_id: str | None
    size_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class AbandonedStaging:
    """A staging root in which an attempt may have left files.

    Attributes:
        epoch: Its last; directories of higher epochs belong to another attempt.
        route: Whose HDFS user it belongs to.
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
            `rivals` lists what may be at the final paths.
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
    """The process that works on a transfer.

    Attributes:
        owner: `host:boot_id:pid:starttime`; None while no process works on it.
        is_cancelled: An operator ended it.
    """

    owner: str | None
    is_cancelled: bool


@dataclass(frozen=True, kw_only=True)
class PausedRoute:
    """A route whose transfers wait because an operator said so.

    Attributes:
        until: When it resumes by itself; None: not before an operator resumes it.
        operator: Who paused it.
    """

    route: str
    since: datetime
    until: datetime | None
    operator: str
    reason: str

    def is_in_force(self, now: datetime) -> bool:
        """True until it ends by itself."""
        return self.until is None or self.until > now


class Origin(StrEnum):
    """How an operator's act came in."""

    COMMAND = "command"
    DASHBOARD = "dashboard"


class Act(StrEnum):
    """What an operator may do."""

    CANCEL = "cancel"
    REDRIVE = "redrive"
    DELETE = "delete"
    RETRY = "retry"
    PAUSE = "pause"
    RESUME = "resume"
    LIMIT = "limit"
    RECONCILE = "reconcile"
    BACKUP = "backup"
    PRUNE = "prune"
    KEY = "key"
    RESEND = "resend"
    DROP = "drop"
    BUDGET = "budget"


class Settlement(StrEnum):
    """Why nothing is left to do about a dead transfer."""

    SENT_AGAIN = "sent_again"  # its dead letter went back to the queue
    BROUGHT = "brought"  # another transfer of the same source to the same destination is done
    DELETED = "deleted"  # an operator deleted its dead letter


@dataclass(frozen=True, kw_only=True)
class Operator:
    """Who acts.

    Attributes:
        name: `user@host`, or the name that was given to the dashboard.
    """

    name: str
    origin: Origin = Origin.COMMAND


@dataclass(frozen=True, kw_only=True)
class OperatorEntry:
    """A line for the operators' journal.

    Attributes:
        subject: Ids, a route or a rate.
        transfers: How many it concerned; `size_bytes` is what they planned.
        outcome: `done`, or code and sentence of the error.
    """

    at: datetime
    by: Operator
    act: Act
    subject: str
    transfers: int = 0
    size_bytes: int = 0
    outcome: str = "done"


@dataclass(frozen=True, kw_only=True)
class SentAgain:
    """A dead letter that went back to its queue as a new message.

    Attributes:
        transfer_id: That died; empty where the dead letter does not name one.
        message_id: Of the new message.
    """

    dead_letter_id: str
    transfer_id: str
    message_id: str


BEHIND = "E_LEDGER_BEHIND"
LOST_END = (
    "the server that answers now has lost that it ended, and the intent or the proofs that this "
    "rests on; if its message is gone, backhaul cancel"
)


@dataclass(frozen=True, kw_only=True)
class OwnWrites:
    """What a process had committed for its attempt under way, as far as it builds on that.

    A failover of the database may lose the last commits, and always from the end: the last of each
    kind is enough to know.

    Attributes:
        begun_at: As its row has it.
        epoch: Of its claim.
        objects: So many its plan has, by the pages after the claim; 0: there was none.
        proven: Position of the last object whose proof was recorded before the intent.
    """

    begun_at: datetime | None = None
    epoch: int | None = None
    objects: int = 0
    proven: int | None = None

    @property
    def is_at_beginning(self) -> bool:
        """Nothing was written since, but for the attempt itself."""
        return self == OwnWrites(begun_at=self.begun_at)

    def require_pages(self, transfer_id: str, objects: int) -> None:
        """Refuse a ledger whose plan has fewer objects.

        Raises:
            OutageError: `ledger`: E_LEDGER_BEHIND.
        """
        if objects < self.objects:
            raise behind(f"{transfer_id}: {objects} of {self.objects} objects of its plan")

    def require(self, transfer_id: str, epoch: int | None, objects: int) -> None:
        """The same, and the claim has to be the last one.

        Raises:
            OutageError: `ledger`: E_LEDGER_BEHIND.
        """
        if self.epoch is not None and epoch != self.epoch:
            raise behind(f"{transfer_id}: epoch {epoch} and not {self.epoch}")
        self.require_pages(transfer_id, objects)


def behind(what: str) -> OutageError:
    """The attempt ends unspent, and the next one goes on from what the ledger has."""
    return OutageError.of(
        "ledger",
        BEHIND,
        f"the server that answers now has lost what was written last: {what}",
        hint="nothing: the transfer is begun anew; a synchronous standby loses nothing",
    )
