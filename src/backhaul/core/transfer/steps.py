"""The order that keeps the data safe: one attempt of one transfer, as pure decisions.

    resolve → claim → (recover) → (reattach) → fence → stage → intend → publish → tidy → record
            → settle

`start` gives the first command; `step` takes what came of it and gives the next. Nothing here
acts: `runner.perform` does, and the simulator may. The left command must be *known* to have
succeeded before the right one starts, and each may be repeated:

* Die before `intend` and nothing was published: the next attempt claims a higher epoch, whose
  fence removes this one's staging, so a rename by a forgotten process finds no source.
* Die between `intend` and `record` and renames may have happened: the next attempt looks at the
  final paths first (`recover`) and adopts what is proven to be there.
* Die after `record` and the redelivered message is only deleted. So `tidy` comes before it, while
  the destination is still ours: nobody would come back to what it left.

The properties are S1 to S6 in docs/reliability.md. `after_failure` decides what a failure means
for the message.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import (
    BackhaulError,
    IntegrityError,
    OutageError,
    PermanentError,
    SourceChanged,
    TransientError,
)
from backhaul.core.model import Assignment, Location

MAX_SOURCE_CHANGES = 3  # B80: the third change under one message makes it dead


# ---------------------------------------------------------------- commands


@dataclass(frozen=True, kw_only=True)
class Resolve:
    """List the source: is it an object or a prefix, and which pins come first?"""


@dataclass(frozen=True, kw_only=True)
class Claim:
    """Own the destination under a new epoch, freezing the first page of the plan with it."""

    min_epoch: int


@dataclass(frozen=True, kw_only=True)
class Recover:
    """Look at the final paths for what the last attempt may have renamed already."""


@dataclass(frozen=True, kw_only=True)
class Reattach:
    """Look for YARN applications of earlier epochs: keep the one that counts, end the others."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Fence:
    """Remove staging of lower epochs, then make this epoch's directory."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Stage:
    """Copy and prove every object that has no proof in this epoch, freezing the plan ahead."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Intend:
    """Record that renames are about to happen, if policy and ownership still allow it."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Publish:
    """Rename from staging to the final paths."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Record:
    """State DONE in the ledger. Only after this may the message be deleted."""

    epoch: int
    mode: str
    is_superseded: bool


@dataclass(frozen=True, kw_only=True)
class Tidy:
    """Remove what this epoch and lower ones left in staging; a failure here changes nothing."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class Settle:
    """The attempt is over; `verdict` says what becomes of the message."""

    verdict: Verdict


Command = (
    Resolve | Claim | Recover | Reattach | Fence | Stage | Intend | Publish | Record | Tidy | Settle
)


# ---------------------------------------------------------------- events


@dataclass(frozen=True, kw_only=True)
class Resolved:
    """What the source is, and so where it goes.

    Attributes:
        directory: Names of the plan are relative to it.
        destination: What the transfer owns: the directory, or the file of a single object.
    """

    directory: Location
    destination: Location


@dataclass(frozen=True, kw_only=True)
class ClaimGranted:
    """The destination is ours under this epoch.

    Attributes:
        has_jobs: Applications of earlier epochs may run.
    """

    epoch: int
    has_jobs: bool = False


@dataclass(frozen=True, kw_only=True)
class Outdated:
    """The destination is ours, and a newer event of this object is published there already."""

    epoch: int


@dataclass(frozen=True, kw_only=True)
class ClaimBusy:
    """Another live transfer owns the destination, one above it or one below it."""


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """The final paths were looked at.

    Attributes:
        is_complete: Every planned object stands proven at its final path.
    """

    is_complete: bool


@dataclass(frozen=True, kw_only=True)
class Reattached:
    """Applications were looked for.

    Attributes:
        is_kept: One of this transfer runs or has succeeded: its staging is not fenced, it is
            followed and what it brought becomes this epoch's.
    """

    is_kept: bool


@dataclass(frozen=True, kw_only=True)
class NoRoom:
    """YARN gave no container in time, and the route wants this node to carry the bytes."""


@dataclass(frozen=True, kw_only=True)
class Fenced:
    """Nothing of a lower epoch is left in staging.

    Attributes:
        highest_seen: The highest epoch found in staging; above ours when a ledger was lost.
    """

    highest_seen: int


@dataclass(frozen=True, kw_only=True)
class StagedAll:
    """Every planned object is proven in this epoch."""


@dataclass(frozen=True, kw_only=True)
class Intended:
    """The intent was recorded, unless ownership was lost meanwhile."""

    is_owner: bool


@dataclass(frozen=True, kw_only=True)
class PublishedAll:
    """Every rename happened; `mode` says how."""

    mode: str
    is_superseded: bool


@dataclass(frozen=True, kw_only=True)
class Recorded:
    """The ledger says done, unless ownership was lost meanwhile."""

    is_owner: bool


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """Staging is gone, or will be swept."""


@dataclass(frozen=True, kw_only=True)
class Failed:
    """The last command raised."""

    error: BackhaulError


Event = (
    Resolved
    | ClaimGranted
    | Outdated
    | ClaimBusy
    | Recovered
    | Reattached
    | NoRoom
    | Fenced
    | StagedAll
    | Intended
    | PublishedAll
    | Recorded
    | Tidied
    | Failed
)


# ---------------------------------------------------------------- verdicts


class Disposition(StrEnum):
    """What becomes of the message after an attempt."""

    DELETE = "delete"
    RETRY = "retry"  # comes back after a back-off
    WAIT = "wait"  # comes back after a while, unspent: the destination is busy
    HOLD = "hold"  # kept invisible until a dependency returns, unspent
    DEAD = "dead"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of the message, and why."""

    disposition: Disposition
    error: BackhaulError | None = None


DONE = Verdict(disposition=Disposition.DELETE)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What this message has spent and may spend.

    Attributes:
        failures: Recorded failures before this attempt.
        source_changes: Times the source changed before this attempt.
        receive_count: SQS's count for this delivery; 0 without a message.
        max_receive_count: At this count SQS would move the message without our reason.
    """

    retry: RetryPolicy
    failures: int = 0
    source_changes: int = 0
    receive_count: int = 0
    max_receive_count: int | None = None

    @property
    def is_last(self) -> bool:
        """True when one more failure makes the message dead.

        Also when SQS would redrive it at its next receive: better a dead letter with its reason
        than one without (F37).
        """
        if self.failures + 1 >= self.retry.max_attempts:
            return True
        return self.max_receive_count is not None and self.receive_count >= self.max_receive_count


def after_failure(error: BackhaulError, budget: Budget) -> Verdict:
    """What a failed attempt means for its message."""
    match error:
        case OutageError():
            return Verdict(disposition=Disposition.HOLD, error=error)
        case PermanentError():
            return Verdict(disposition=Disposition.DEAD, error=error)
        case SourceChanged() if budget.source_changes + 1 >= MAX_SOURCE_CHANGES:
            unstable = PermanentError(
                "E_SRC_UNSTABLE",
                f"the source changed {MAX_SOURCE_CHANGES} times while it was copied; "
                f"last: {error.message}",
                hint="send the message after the writer has finished, or enable versioning",
            )
            return Verdict(disposition=Disposition.DEAD, error=unstable)
        case TransientError() | IntegrityError():
            disposition = Disposition.DEAD if budget.is_last else Disposition.RETRY
            return Verdict(disposition=disposition, error=error)
        case _:
            return Verdict(
                disposition=Disposition.DEAD if budget.is_last else Disposition.RETRY, error=error
            )


# ---------------------------------------------------------------- the steps


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """Where one attempt stands.

    Attributes:
        has_plan: The plan was frozen completely by an earlier attempt: its pins are used again.
        was_publishing: An earlier attempt recorded its intent: look before copying.
        destination: Known once resolved, or from the frozen plan.
        record: What to record once staging is tidy; None while nothing is published.
        has_jobs: Applications of earlier epochs may run.
        is_native: The cluster had no room: this node carries the bytes, whatever was asked for.
    """

    job: Assignment
    budget: Budget
    has_plan: bool = False
    was_publishing: bool = False
    directory: Location | None = None
    destination: Location | None = None
    epoch: int = 0
    record: Record | None = None
    verdict: Verdict = DONE
    has_jobs: bool = False
    is_native: bool = False


def start(attempt: Attempt) -> Command:
    """The first command: a frozen plan is never listed again."""
    if attempt.has_plan and attempt.destination is not None:
        return Claim(min_epoch=1)
    return Resolve()


def step(  # noqa: C901, PLR0911, PLR0912 - one table: what happened, what comes next
    attempt: Attempt, event: Event
) -> tuple[Attempt, Command]:
    """What to do after `event`, the outcome of the last command."""
    match event:
        case Resolved(directory=directory, destination=destination):
            known = replace(attempt, directory=directory, destination=destination)
            return known, Claim(min_epoch=1)
        case ClaimGranted(epoch=epoch, has_jobs=has_jobs):
            owned = replace(attempt, epoch=epoch, has_jobs=has_jobs)
            # Look before fencing: what is already published need not be copied again.
            look = attempt.was_publishing and attempt.has_plan
            return owned, Recover() if look else _before_fence(owned)
        case Outdated(epoch=epoch):
            record = Record(epoch=epoch, mode="superseded", is_superseded=True)
            return replace(attempt, epoch=epoch, record=record), Tidy(epoch=epoch)
        case ClaimBusy():
            return attempt, Settle(verdict=Verdict(disposition=Disposition.WAIT))
        case Recovered(is_complete=True):
            record = Record(epoch=attempt.epoch, mode="adopted", is_superseded=False)
            return replace(attempt, record=record), Tidy(epoch=attempt.epoch)
        case Recovered():
            return attempt, _before_fence(attempt)
        case Reattached(is_kept=True):
            return attempt, Stage(epoch=attempt.epoch)
        case Reattached():
            return attempt, Fence(epoch=attempt.epoch)
        case NoRoom():
            # A higher epoch, whose fence removes what the application may have left.
            return replace(attempt, is_native=True), Claim(min_epoch=attempt.epoch + 1)
        case Fenced(highest_seen=highest) if highest >= attempt.epoch:
            # Only after a lost ledger: epochs started again below what staging remembers.
            return attempt, Claim(min_epoch=highest + 1)
        case Fenced():
            return attempt, Stage(epoch=attempt.epoch)
        case StagedAll():
            return attempt, Intend(epoch=attempt.epoch)
        case Intended(is_owner=True):
            return attempt, Publish(epoch=attempt.epoch)
        case PublishedAll(mode=mode, is_superseded=is_superseded):
            record = Record(epoch=attempt.epoch, mode=mode, is_superseded=is_superseded)
            return replace(attempt, record=record), Tidy(epoch=attempt.epoch)
        case Recorded(is_owner=True):
            return attempt, Settle(verdict=DONE)
        case Intended() | Recorded():
            return attempt, Settle(verdict=Verdict(disposition=Disposition.WAIT))
        case Tidied():
            return attempt, attempt.record or Settle(verdict=attempt.verdict)
        case Failed(error=error):
            return _failed(attempt, error)
        case _:
            assert_never(event)


def _before_fence(attempt: Attempt) -> Command:
    """What an application of an earlier epoch fills must not be fenced away unseen."""
    if attempt.has_jobs:
        return Reattach(epoch=attempt.epoch)
    return Fence(epoch=attempt.epoch)


def _failed(attempt: Attempt, error: BackhaulError) -> tuple[Attempt, Command]:
    verdict = after_failure(error, attempt.budget)
    # A dead message has no later attempt whose fence would remove this staging.
    if verdict.disposition is Disposition.DEAD and attempt.epoch:
        dead = replace(attempt, verdict=verdict, record=None)
        return dead, Tidy(epoch=attempt.epoch)
    return attempt, Settle(verdict=verdict)
