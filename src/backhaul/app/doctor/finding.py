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
        exit_code=_MEANS.get(ExitCode(error.exit_code), ExitCode.UNAVAILABLE),
    )


# Which of the three exit codes of a failure the exit code of an error becomes.
_MEANS = {
    ExitCode.CONFIGURATION: ExitCode.CONFIGURATION,
    ExitCode.USAGE: ExitCode.CONFIGURATION,
    ExitCode.NOT_ALLOWED: ExitCode.NOT_ALLOWED,
    ExitCode.CANNOT_WRITE: ExitCode.NOT_ALLOWED,
}

# The first of these that any failure has is the exit code of the process: what is wrong in the
# configuration may be the cause of the rest, and a missing permission of what looks unavailable.
ORDER = (ExitCode.CONFIGURATION, ExitCode.NOT_ALLOWED, ExitCode.UNAVAILABLE)


def exit_code_of(findings: Iterable[Finding]) -> ExitCode:
    """0 where nothing failed; warnings are no failures."""
    failed = {one.exit_code for one in findings if one.state is State.FAILED}
    return next((code for code in ORDER if code in failed), ExitCode.OK)
