"""The log: the only place where facts become lines. Progress facts go to the display instead.

One line per message received and one per outcome. `_LINES` has level and words of each fact; the
fields are the fact's own, such as `dependency`, `code`, `reason`, `hint` and `retry_in_s` of a held
transfer. Lines are text on a terminal, else JSON for journald. Logging never raises into a transfer
(F13).
"""

from __future__ import annotations

import contextlib
import errno
import logging
import logging.handlers
import os
import stat
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

from backhaul.access import refusal
from backhaul.core import facts, notification
from backhaul.core.cost.egress import EgressRecorded
from backhaul.core.errors import ConfigurationError
from backhaul.core.replies import delivery
from backhaul.core.units import human_bytes, human_rate

PROGRESS_LINE_S = 30.0
ERROR_LINE_S = 60.0  # between two reports of a log that cannot be written


@dataclass(frozen=True, kw_only=True)
class LogTarget:
    """Where lines go.

    Attributes:
        is_json: JSON lines instead of text.
        level: `debug`, `info`, `warning` or `error`.
        file_bytes: The file is rotated at this size; 0: never.
        file_count: Rotated files that are kept.
    """

    stream: TextIO
    is_json: bool
    level: str
    file: Path | None = None
    file_bytes: int = 0
    file_count: int = 0


class Telemetry:
    """Implements `ports.Emit`.

    Args:
        progress: Called with every `TransferProgress` and with the facts that end one.
    """

    def __init__(self, target: LogTarget, progress: Callable[[object], None] | None = None) -> None:
        self._handlers = _handlers(target)
        self._file = target.file
        self._target = target
        self._least = logging.getLevelNamesMapping()[target.level.upper()]
        self._progress = progress
        self._lines_due: dict[str, float] = {}

    def reopen(self) -> Path | None:
        """Open a new file of the configured name, after another program renamed the old one.

        Returns:
            The file; None where the log goes to standard output alone.
        """
        for handler in self._handlers:
            if isinstance(handler, LogFile):
                handler.reopen()
        return self._file

    @cached_property
    def _log(self) -> Any:
        # Loaded for the first line: most commands log warnings alone, and mostly have none.
        from backhaul.adapters.system.log_lines import logger  # noqa: PLC0415

        return logger(
            self._handlers, self._target.stream, self._least, is_json=self._target.is_json
        )

    def __call__(self, fact: object) -> None:
        # A log that cannot be written must not stop a transfer; `_Quiet` reports it.
        with contextlib.suppress(OSError, ValueError):
            if self._progress is not None:
                self._progress(fact)
            if isinstance(fact, facts.TransferProgress):
                self._progress_line(fact)
            else:
                level, event, fields = describe(fact)
                if logging.getLevelNamesMapping()[level.upper()] >= self._least:
                    getattr(self._log, level)(event, **fields)

    def _progress_line(self, fact: facts.TransferProgress) -> None:
        """One line every 30 s for a long transfer."""
        if self._least > logging.INFO:
            return
        now_s = time.monotonic()
        due_s = self._lines_due.setdefault(fact.transfer_id, now_s + PROGRESS_LINE_S)
        if now_s < due_s:
            return
        self._lines_due[fact.transfer_id] = now_s + PROGRESS_LINE_S
        if len(self._lines_due) > 1000:  # noqa: PLR2004 - of transfers that ended long ago
            self._lines_due.clear()
        plus = "" if fact.is_planned else "+"
        detail = {"detail": fact.detail} if fact.detail else {}
        self._log.info(
            "transfer in progress",
            transfer=fact.transfer_id,
            phase=fact.phase,
            objects=f"{fact.objects} of {fact.objects_total}{plus}",
            bytes=f"{human_bytes(fact.size_bytes)} of {human_bytes(fact.size_bytes_total)}{plus}",
            **detail,
        )


# ---------------------------------------------------------------- facts to words


def _without_none(fact: object) -> dict[str, Any]:
    return {name: value for name, value in vars(fact).items() if value not in {None, ""}}


def _rounded(fact: object) -> dict[str, Any]:
    """Seconds to a tenth."""
    return {
        name: round(value, 1) if isinstance(value, float) else value
        for name, value in vars(fact).items()
    }


def _holds(fact: facts.BudgetHoldsChanged) -> dict[str, Any]:
    return {"held": "; ".join(one.sentence for one in fact.holds) or "none"}


def _done(fact: facts.TransferDone) -> dict[str, Any]:
    fields = _without_none(fact)
    seconds = fields.pop("duration_s")
    size, copied = fields.pop("size_bytes"), fields.pop("copied_bytes")
    for name in ("adopted", "is_superseded"):
        if not fields[name]:
            del fields[name]
    if skipped := fields.pop("placeholders"):
        fields["markers"] = skipped
    for name, shown in (("proof_levels", "proof"), ("checksum_sources", "asked")):
        if pairs := fields.pop(name):
            fields[shown] = dict(pairs)
    found = {**fields, "bytes": size, "copied_bytes": copied, "seconds": round(seconds, 3)}
    if copied and seconds > 0:
        found["rate"] = human_rate(copied / seconds)
    return found


def _received(fact: facts.MessageReceived) -> dict[str, Any]:
    sent_at = fact.sent_at
    return {
        **_without_none(fact),
        **({"sent_at": sent_at.isoformat(timespec="milliseconds")} if sent_at else {}),
    }


def _sent(fact: notification.NotificationSent) -> dict[str, Any]:
    return {name: value for name, value in _rounded(fact).items() if value != ""}


def _without_empty(fact: facts.RoutesReloaded) -> dict[str, Any]:
    return {name: value for name, value in vars(fact).items() if value}


def _read(fact: EgressRecorded) -> dict[str, Any]:
    total = fact.native + fact.distcp
    by_purpose = {f"{purpose.value}_bytes": size for purpose, size in total.by_purpose() if size}
    return {"transfer_id": fact.transfer_id, "route": fact.route, **by_purpose}


def _dated(fact: facts.ExpectationMissed | facts.ExpectationArrived) -> dict[str, Any]:
    return {**_rounded(fact), "deadline": fact.deadline.isoformat(timespec="minutes")}


# Level, event and fields. `describe` chooses among two where the fact itself decides.
_LINES: dict[type, tuple[str, str, Callable[[Any], dict[str, Any]]]] = {
    facts.AgentStarted: ("info", "agent started", vars),
    facts.AgentStopping: ("info", "agent stopping", vars),
    facts.AgentStopped: ("info", "agent stopped", vars),
    facts.QueueOpened: ("info", "queue opened", vars),
    facts.QueueWarned: ("warning", "queue settings are risky", vars),
    facts.InstallationWarned: ("warning", "installation is risky", vars),
    facts.RouteWarned: ("warning", "route verifies lengths only", vars),
    facts.RouteTargetWarned: ("warning", "target of a route is unreachable", _without_none),
    facts.LogReopened: ("info", "log reopened", _without_none),
    facts.RoutesReloaded: ("info", "routes reloaded", _without_empty),
    facts.ReloadRefused: ("error", "routes not reloaded; the former ones stay in force", vars),
    facts.QueuePolled: ("debug", "queue polled", vars),
    facts.PollFailed: ("warning", "SQS receive failed; retrying", _rounded),
    facts.StartHeld: ("warning", "the start is held by the schema of the ledger", vars),
    facts.StartResumed: ("info", "the start goes on", _rounded),
    facts.ReceivingHeld: (
        "warning",
        "nothing is received while the ledger does not see this agent",
        vars,
    ),
    facts.ReceivingResumed: ("info", "receiving goes on", _rounded),
    facts.MessageReceived: ("info", "message received", _received),
    facts.DeliveryEnded: ("debug", "delivery ended", vars),
    facts.MessageRecognised: (
        "info",
        "duplicate delivery: transfer already settled or running",
        vars,
    ),
    facts.MessageIgnored: ("info", "event ignored: nothing to transfer", vars),
    facts.MessageReturned: ("info", "message returned to the queue", vars),
    facts.MessageDead: ("error", "message dead-lettered", _without_none),
    facts.VisibilityWasLost: (
        "warning",
        "visibility lost: the message may be delivered again",
        vars,
    ),
    facts.AttemptStarted: ("debug", "attempt started", _without_none),
    facts.AttemptFailed: ("warning", "attempt failed; message will be redelivered", _without_none),
    facts.TransferDone: ("info", "transfer done", _done),
    facts.ForeignStaging: ("warning", "another ledger has staged to this destination", vars),
    facts.TransferTakenOver: ("warning", "transfer taken over by another process", _without_none),
    facts.TransferHeld: ("warning", "transfer held: a dependency is down", _rounded),
    facts.TransferResumed: ("info", "transfer resumed", _rounded),
    facts.TransferBlocked: ("warning", "transfer waiting for a dependency", _rounded),
    facts.TransferUnblocked: ("info", "transfer moving again", vars),
    facts.TransferWaiting: ("debug", "transfer waiting for its destination or route", vars),
    facts.TransferPaused: ("info", "transfer waiting: its route is paused", vars),
    facts.MessageUnparked: (
        "debug",
        "message of a paused or full route goes on",
        _without_none,
    ),
    facts.ParkedMessageReturned: (
        "debug",
        "message of a paused route returned to the queue",
        vars,
    ),
    facts.PausedRoutesChanged: ("info", "paused routes changed", vars),
    facts.RoutePausedItself: ("error", "route paused itself", vars),
    facts.BudgetNearlyUsed: ("warning", "budget nearly used up", vars),
    facts.BudgetHoldsChanged: ("warning", "routes held by their budgets changed", _holds),
    facts.BudgetOutlivesQueue: ("warning", "budget outlives messages of the queue", vars),
    facts.PausedRoutesUnknown: (
        "warning",
        "ledger does not show which routes are paused; retrying",
        vars,
    ),
    facts.TableRecognised: ("info", "table recognised", vars),
    facts.EngineChosen: ("info", "engine chosen", vars),
    facts.ApplicationFollowed: ("info", "transfer runs as a YARN application", vars),
    facts.ApplicationEnded: ("info", "YARN application ended", _without_none),
    facts.CountersDiffer: ("warning", "DistCp counters differ from the plan", vars),
    facts.StagingRepaired: (
        "warning",
        "repaired staging: objects from DistCp were missing or different",
        vars,
    ),
    facts.AbandonedStagingRemoved: ("info", "abandoned staging removed", vars),
    facts.SweepFailed: ("warning", "abandoned staging not removed; retrying later", _without_none),
    facts.StagingNotRemoved: ("warning", "staging of a dead transfer not removed", vars),
    facts.WorkerReplaced: ("warning", "worker replaced", vars),
    facts.ThreadHung: ("error", "agent thread hung; process exiting", vars),
    facts.CallRetried: ("warning", "SQS call failed; retrying", _rounded),
    facts.CallRetriesEnded: ("info", "retried call answered", vars),
    notification.NotificationSent: ("info", "notification sent", _sent),
    notification.NotificationFailed: ("warning", "notification not delivered", _rounded),
    notification.NotificationKept: ("info", "notification kept for the next start", vars),
    notification.NotificationMemoryFailed: (
        "warning",
        "notifications cannot be kept across a restart",
        vars,
    ),
    delivery.ReplySent: ("debug", "reply sent", _rounded),
    delivery.ReplyNotTaken: ("warning", "reply not taken; retrying later", _rounded),
    delivery.ReplyDead: ("error", "reply given up", vars),
    delivery.RepliesUnknown: ("warning", "ledger does not show or take replies; retrying", vars),
    facts.ExpectationMissed: ("error", "expected data is missing: W_EXPECTED_MISSING", _dated),
    facts.ExpectationArrived: ("info", "expected data has come late", _dated),
    facts.ForecastWarned: ("warning", "backlog will take too long", vars),
    facts.ForecastCleared: ("info", "backlog will not take too long any more", vars),
    facts.MetricsNotWritten: ("warning", "metrics file not written; retrying", vars),
    EgressRecorded: ("debug", "bytes read from S3 were counted", _read),
    facts.AttemptUnpublished: ("debug", "attempt ended before it published", vars),
    facts.LedgerRecordMissed: ("warning", "ledger update failed; transfer continues", vars),
}


def describe(fact: object) -> tuple[str, str, dict[str, Any]]:
    """Level, event and fields of a fact; an exception counts as a defect."""
    if isinstance(fact, BaseException):
        return "error", "unexpected error", {"exc_info": fact}
    level, event, fields = _LINES.get(type(fact), ("debug", type(fact).__name__, _without_none))
    match fact:
        case facts.TableRecognised() if "iceberg" in fact.tables:
            level = "warning"
            event = "copy of an Iceberg table: its metadata names files in S3"
        case facts.MessageDead():
            if fact.dead_letter_queue is None:
                event = "message dead and kept hidden: no dead-letter queue"
            event += f": {fact.code}"
            if fact.code == "E_CANCELLED":
                level = "info"  # the operator's own decision wakes no one up
        case facts.TransferDone(proof_levels=levels) if "size" in dict(levels):
            level = "warning"  # of some objects only the length was compared
        case notification.NotificationSent(left_out=left_out) if left_out:
            level = "warning"
        case facts.TransferTakenOver(is_cancelled=True):
            level, event = "info", "transfer cancelled by operator"
        case facts.StagingNotRemoved(code="E_DST_DENIED"):
            level = "debug"  # nothing can have been staged where nothing may be written
        case facts.CallRetried(dependency="ledger"):
            event = "ledger call failed; retrying"
        case facts.CallRetriesEnded(is_answered=False):
            event = "retried call given up"
    return level, event, {name: _moment(value) for name, value in fields(fact).items()}


def _moment(value: Any) -> Any:
    """A date as text; anything else as it is."""
    return value.isoformat(timespec="seconds") if isinstance(value, datetime) else value


# ---------------------------------------------------------------- where lines go


class _Quiet(logging.Handler):
    """Reports a log that cannot be written in one line a minute, without a traceback."""

    _silent_until_s = 0.0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Called by logging where `emit` failed; the transfer goes on."""
        del record
        error = sys.exc_info()[1]
        now_s = time.monotonic()
        # A closed pipe: its reader has gone, and nothing else is wrong.
        if now_s < self._silent_until_s or isinstance(error, BrokenPipeError):
            return
        self._silent_until_s = now_s + ERROR_LINE_S
        with contextlib.suppress(OSError, ValueError):
            print(f"backhaul: the log cannot be written: {error}", file=sys.stderr)  # noqa: T201


class LogStream(_Quiet, logging.StreamHandler[TextIO]):
    """Standard output or error."""


class JournalStream(LogStream):
    """Standard output where it is the journal: each line begins with its priority."""

    def format(self, record: logging.LogRecord) -> str:
        """As `<4>` and the line; the journal keeps the number apart. Source: sd-daemon(3)."""
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{super().format(record)}"


_PRIORITIES = {logging.ERROR: 3, logging.WARNING: 4, logging.INFO: 6, logging.DEBUG: 7}


def is_journal(stream: TextIO) -> bool:
    """Whether that is the connection to the journal that systemd names in the environment."""
    try:
        found = os.fstat(stream.fileno())
    except (OSError, ValueError):  # closed, or no file
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{found.st_dev}:{found.st_ino}"


class LogFile(_Quiet, logging.handlers.RotatingFileHandler):
    """A file that rotates by itself, and can be reopened."""

    def reopen(self) -> None:
        """Close it; the next line opens a file of the same name."""
        with contextlib.suppress(OSError), self.lock or contextlib.nullcontext():
            stream, self.stream = self.stream, None  # as logging does
            if stream is not None:
                stream.close()

    def _open(self) -> Any:
        encoding, errors = self.encoding, self.errors
        return open(
            self.baseFilename, self.mode, encoding=encoding, errors=errors, opener=_file_or_device
        )


def _file_or_device(path: str, flags: int) -> int:
    """Open a log file, but no FIFO or socket: their reader could block the agent.

    Raises:
        OSError: It is a FIFO or a socket, or cannot be opened.
    """
    try:
        handle = os.open(path, flags | os.O_NONBLOCK, 0o666)
    except OSError as exc:
        if exc.errno == errno.ENXIO:  # a socket, or a FIFO that has no reader
            raise OSError(errno.ENXIO, _NO_FILE, path) from exc
        raise
    if stat.S_ISFIFO(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.ENXIO, _NO_FILE, path)
    os.set_blocking(handle, True)
    return handle


_NO_FILE = "a pipe or a socket, and a log is a regular file"


def _handlers(target: LogTarget) -> list[logging.Handler]:
    kind = JournalStream if is_journal(target.stream) else LogStream
    handlers: list[logging.Handler] = [kind(target.stream)]
    if target.file is not None:
        try:
            target.file.parent.mkdir(parents=True, exist_ok=True)
            handlers.append(
                LogFile(target.file, maxBytes=target.file_bytes, backupCount=target.file_count)
            )
        except OSError as exc:
            message, hint = f"log.file {target.file}: {exc.strerror}", "check the path and its disk"
            if isinstance(exc, PermissionError):
                message, hint = refusal(target.file, "written")
            raise ConfigurationError("E_LOG_FILE", message, hint=hint) from exc
    return handlers
