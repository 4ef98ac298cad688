"""What a probe has found: one sentence, and for a fault the lines that fix it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from backhaul.core.errors import BackhaulError, ExitCode
from backhaul.core.text import redacted


class State(StrEnum):
    """How one check went. Only `FAILED` changes the exit code."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check list.

    Attributes:
        check: Stable name such as `sqs.receive`.
        subject: What was probed: a queue, an S3 prefix, a directory, a file; empty: this machine.
        text: One sentence, without a full stop at its end.
        code: The error's, such as `E_AWS_DENIED`, where there is one.
        fix: Lines to copy: a command, an IAM statement, a property.
        route: The name of the route that needs it, where it is a route's own.
        exit_code: What a failure means for the process: CONFIGURATION, NOT_ALLOWED or UNAVAILABLE.
    """

    check: str
    subject: str
    state: State
    text: str
    code: str = ""
    fix: tuple[str, ...] = ()
    route: str = ""
    exit_code: ExitCode = ExitCode.UNAVAILABLE

    @property
    def as_json(self) -> dict[str, Any]:
        """For programs, without secrets."""
        return {
            "check": self.check,
            "subject": redacted(self.subject),
            "state": self.state.value,
            "text": redacted(self.text),
            "code": self.code or None,
            "fix": [redacted(line) for line in self.fix],
            "route": self.route or None,
        }


def from_error(
    check: str,
    subject: str,
    error: BackhaulError,
    *,
    fix: Iterable[str] = (),
    route: str = "",
) -> Finding:
    """A failure: the error's sentence, and `fix`, or else its hint."""
    return Finding(
        check,
        subject,
        State.FAILED,
        error.message,
        code=error.code,
        fix=tuple(fix) or tuple(error.hint.splitlines()),
        route=route,
        exit_code=_meaning(error),
    )


# What one message pays for in the agent is, for an installation, its configuration or its rights.
_CONFIGURATION = frozenset(
    {
        *("E_AWS_NO_CREDENTIALS", "E_AWS_CONFIG", "E_SRC_NO_BUCKET", "E_SRC_BUCKET"),
        *("E_SRC_REGION", "E_SRC_SETTINGS", "E_QUEUE_DLQ_GONE"),
    }
)
_REFUSED = frozenset({"E_SQS_KMS", "E_SRC_KMS", "E_SRC_OWNER"})


def _meaning(error: BackhaulError) -> ExitCode:
    if error.code in _CONFIGURATION:
        return ExitCode.CONFIGURATION
    if error.exit_code in {ExitCode.CONFIGURATION, ExitCode.USAGE}:
        return ExitCode.CONFIGURATION
    if error.code in _REFUSED or error.code.endswith("_DENIED"):
        return ExitCode.NOT_ALLOWED
    if error.exit_code in {ExitCode.NOT_ALLOWED, ExitCode.CANNOT_WRITE}:
        return ExitCode.NOT_ALLOWED
    return ExitCode.UNAVAILABLE


# The first of these that any failure has is the exit code of the process: what is wrong in the
# configuration may be the cause of the rest, and a missing permission of what looks unavailable.
ORDER = (ExitCode.CONFIGURATION, ExitCode.NOT_ALLOWED, ExitCode.UNAVAILABLE)


def exit_code_of(findings: Iterable[Finding]) -> ExitCode:
    """0 where nothing failed; warnings are no failures."""
    failed = {one.exit_code for one in findings if one.state is State.FAILED}
    return next((code for code in ORDER if code in failed), ExitCode.OK)
