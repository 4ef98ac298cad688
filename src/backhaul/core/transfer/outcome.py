"""What becomes of the message after an attempt: a table over the classes of errors."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import (
    BackhaulError,
    OutageError,
    PermanentError,
    RoutePaused,
    SourceChanged,
    TransientError,
)

MAX_SOURCE_CHANGES = 3  # B80: the third change under one message makes it dead


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

    @property
    def is_for_long(self) -> bool:
        """Dead, or held by a budget: no attempt follows soon."""
        return self.disposition is Disposition.DEAD or isinstance(self.error, RoutePaused)


DONE = Verdict(disposition=Disposition.DELETE)
WAIT = Verdict(disposition=Disposition.WAIT)


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
        case RoutePaused():
            return Verdict(disposition=Disposition.WAIT, error=error)
        case SourceChanged() if budget.source_changes + 1 >= MAX_SOURCE_CHANGES:
            unstable = PermanentError(
                "E_SRC_UNSTABLE",
                f"the source changed {MAX_SOURCE_CHANGES} times while it was copied; "
                f"last: {error.message}",
                hint="send the message after the writer has finished, or enable versioning",
            )
            return Verdict(disposition=Disposition.DEAD, error=unstable)
        case _:
            disposition = Disposition.DEAD if budget.is_last else Disposition.RETRY
            return Verdict(disposition=disposition, error=error)


def unexpected(error: Exception) -> TransientError:
    """A bug, as an error that spends an attempt; the only place that accepts any exception."""
    return TransientError(
        "E_BUG",
        f"unexpected {type(error).__name__}: {error}",
        hint="this is a defect in Backhaul; the log has the traceback",
    )
