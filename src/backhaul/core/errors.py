"""Error classes, by what happens to the message next.

    BackhaulError
    ├── TransientError       comes back after a back-off; spends an attempt
    │   ├── SourceChanged    the object is no longer the pinned one: plan again
    │   ├── DestinationBusy  another transfer owns the destination (exit 75)
    │   │   └── RouteFull        its route has as many as its limits allow (exit 75)
    │   ├── RoutePaused      an operator paused the route (exit 75)
    │   │   └── BudgetUsedUp     its budget holds the route (exit 75)
    │   ├── TakenOver        another process has the transfer now: stop, touch nothing
    │   ├── TargetMissing    a path that should be there is not: staging was fenced
    │   └── OutcomeUnknown   the call may have happened: check, then decide
    ├── OutageError          a dependency is down: hold, spend nothing
    ├── PermanentError       copied to the dead-letter queue with its reason, then deleted
    │   ├── BadMessage       the body is not a request (exit 65)
    │   ├── NotAllowed       the policy refuses it (exit 77)
    │   └── CannotWrite      the target refuses for good (exit 73)
    │       └── TargetExists     something is where a file should go
    ├── IntegrityError       bytes differ from S3's checksum; never published; spends an attempt
    ├── VisibilityLost       SQS no longer accepts the receipt handle
    ├── LedgerLocked         another agent has this ledger; try later (exit 75)
    ├── BadArgument          a command does not accept an argument (exit 64)
    └── ConfigurationError   the process exits 78; systemd must not restart it
        └── NoVerdict
            ├── FencedOff    others took this process for gone, and have its work
            └── LedgerDamaged    the ledger cannot be relied on: no message is judged by it

The class is what happened and its base what happens next. `code` is stable: ledger, log,
dead letter and manual use it. The text is one line naming the object, with units and no secret;
`hint` is how to fix it. `docs/reference/errors.md` has a row for every code and a test holds
the two together.
"""

from __future__ import annotations

from enum import IntEnum

# What `OutageError.dependency` may be; labels of metrics come from here.
DEPENDENCIES = ("sqs", "s3", "hdfs", "target", "yarn", "credentials", "ledger")


class ExitCode(IntEnum):
    """Process exit codes, from sysexits(3)."""

    OK = 0
    USAGE = 64
    BAD_INPUT = 65
    UNAVAILABLE = 69
    BUG = 70
    CANNOT_WRITE = 73
    LOCKED = 75
    NOT_ALLOWED = 77
    CONFIGURATION = 78
    INTERRUPTED = 130


class BackhaulError(Exception):
    """Base of every error of Backhaul; the subclass decides what happens next.

    Args:
        code: Stable name such as `E_SRC_EMPTY`.
        message: One line: what, where, with numbers and units. No secrets.
        hint: How to fix it; one sentence or empty.
    """

    exit_code = ExitCode.BUG

    def __init__(self, code: str, message: str, hint: str = "") -> None:
        # Errors cross the pipe from a worker process: unpickling calls this with just these, in
        # this order, and then restores the other attributes.
        super().__init__(code, message, hint)
        self.code = code
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class TransientError(BackhaulError):
    """The attempt failed and may succeed later.

    Attributes:
        retry_after_s: How long the other side wants to be left alone; None: it has no wish.
    """

    exit_code = ExitCode.UNAVAILABLE
    retry_after_s: float | None = None


class SourceChanged(TransientError):
    """The object changed or vanished after it was pinned; the next attempt pins it anew."""


class DestinationBusy(TransientError):
    """Another live transfer owns the destination, one above or one below it."""

    exit_code = ExitCode.LOCKED


class RouteFull(DestinationBusy):
    """The agents together have in flight, or began within a minute, what the route allows."""

    route = ""


class RoutePaused(TransientError):
    """An operator paused the route: its transfer waits, and spends nothing."""

    exit_code = ExitCode.LOCKED
    route = ""


class BudgetUsedUp(RoutePaused):
    """A budget does not allow the transfer now: it waits, and spends nothing.

    Attributes:
        needed_bytes: What it would copy; 0: not known yet.
    """

    needed_bytes = 0


class TakenOver(TransientError):
    """Another process has taken this transfer over; its outcome counts, not ours."""

    exit_code = ExitCode.LOCKED


class TargetMissing(TransientError):
    """A path on the target that should be there is not; a newer attempt may have fenced it."""


class OutcomeUnknown(TransientError):
    """The answer was lost: the call may have taken effect. Check before acting again."""


class OutageError(BackhaulError):
    """A dependency is down or refuses everyone; messages wait for it and spend nothing.

    Args:
        dependency: One of `DEPENDENCIES`.
    """

    exit_code = ExitCode.UNAVAILABLE
    dependency = "unknown"

    @classmethod
    def of(cls, dependency: str, code: str, message: str, *, hint: str = "") -> OutageError:
        """An outage of `dependency`; kept apart because errors cross process borders by code."""
        error = cls(code, message, hint=hint)
        error.dependency = dependency
        return error


class PermanentError(BackhaulError):
    """No later attempt can succeed: the message goes to the dead-letter queue with the reason."""

    exit_code = ExitCode.BAD_INPUT


class BadMessage(PermanentError):
    """The message body is not a request that Backhaul understands."""


class NotAllowed(PermanentError):
    """The request is understood and the policy refuses it."""

    exit_code = ExitCode.NOT_ALLOWED


class CannotWrite(PermanentError):
    """The target refuses the write for a reason that waiting does not change."""

    exit_code = ExitCode.CANNOT_WRITE


class TargetExists(CannotWrite):
    """Something is at the path already."""


class IntegrityError(BackhaulError):
    """The bytes received do not match S3's checksum; nothing is published."""

    exit_code = ExitCode.UNAVAILABLE


class VisibilityLost(BackhaulError):
    """SQS no longer accepts this receipt handle; the message may be someone else's now."""

    exit_code = ExitCode.UNAVAILABLE


class LedgerLocked(BackhaulError):
    """Another process runs on this ledger, a file; one file serves one agent at a time."""

    exit_code = ExitCode.LOCKED


class BadArgument(BackhaulError):
    """A command does not accept this argument; nothing was done."""

    exit_code = ExitCode.USAGE


class ConfigurationError(BackhaulError):
    """The process cannot run with this configuration; a restart would not help."""

    exit_code = ExitCode.CONFIGURATION


class NoVerdict(ConfigurationError):
    """The process ends, and judges no message any more: what is under way is as it was."""


class LedgerDamaged(NoVerdict):
    """The ledger is damaged or was edited: the process ends, and no message is spent on it."""


class FencedOff(NoVerdict):
    """Others on the ledger took this process for gone, and have what it worked on.

    It ends, judges no message, and is to be started again: as a new one, which may work.
    """

    exit_code = ExitCode.LOCKED
