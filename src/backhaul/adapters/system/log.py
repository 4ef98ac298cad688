"""Facts become log lines here, and nowhere else; progress goes to whoever draws it.

One line per message received and one per outcome. On a terminal lines are for people, else JSON
for journald. Logging never raises into a transfer (F13).
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
from pathlib import Path
from typing import Any, TextIO

import structlog

from backhaul.access import refusal
from backhaul.core import facts as events
from backhaul.core.errors import ConfigurationError
from backhaul.core.text import redacted

PROGRESS_LINE_S = 30.0
ERROR_LINE_S = 60.0  # between two complaints about a log that cannot be written


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


def human_bytes(size_bytes: float) -> str:
    """`1.5 MiB`; whole bytes below 1 KiB."""
    value = float(size_bytes)
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if value < 1024 or unit == "TiB":  # noqa: PLR2004
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    raise AssertionError


class Telemetry:
    """Implements `ports.Emit`.

    Args:
        progress: Called with every `TransferProgress` and with the facts that end one.
    """

    def __init__(self, target: LogTarget, progress: Callable[[object], None] | None = None) -> None:
        self._handlers = _handlers(target)
        self._file = target.file
        self._log = _logger(target, self._handlers)
        self._progress = progress
        self._lines_due: dict[str, float] = {}

    def reopen(self) -> Path | None:
        """Go on in a file of the configured name, after another program renamed the old one.

        Returns:
            The file; None where the log goes to standard output alone.
        """
        for handler in self._handlers:
            if isinstance(handler, LogFile):
                handler.reopen()
        return self._file

    def __call__(self, fact: object) -> None:
        # A log that cannot be written must not stop a transfer; logging's own handlers say so
        # on standard error.
        with contextlib.suppress(OSError, ValueError):
            if self._progress is not None:
                self._progress(fact)
            if isinstance(fact, events.TransferProgress):
                self._progress_line(fact)
            else:
                level, event, fields = describe(fact)
                getattr(self._log, level)(event, **fields)

    def _progress_line(self, fact: events.TransferProgress) -> None:
        """One line now and then for a long transfer."""
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


Line = tuple[str, str, dict[str, Any]]


def describe(fact: object) -> Line:  # noqa: C901, PLR0911, PLR0912 - one table: fact to words
    """Level, event and fields of a fact."""
    match fact:
        case events.AgentStarted():
            return "info", "agent started", vars(fact)
        case events.QueueWarned():
            return "warning", "queue settings are risky", vars(fact)
        case events.InstallationWarned():
            return "warning", "installation is risky", vars(fact)
        case events.LogReopened():
            return "info", "log reopened", _without_none(fact)
        case events.AgentStopping():
            return "info", "agent stopping", vars(fact)
        case events.AgentStopped():
            return "info", "agent stopped", vars(fact)
        case events.QueueEmpty():
            return "debug", "queue is empty", vars(fact)
        case events.PollFailed():
            fields = {**vars(fact), "retry_in_s": round(fact.retry_in_s, 1)}
            return "warning", "SQS receive failed; retrying", fields
        case events.MessageReceived():
            return "info", "message received", vars(fact)
        case events.MessageAbsorbed():
            return "info", "message recognised: already settled or running", vars(fact)
        case events.TransferTaken():
            if fact.is_cancelled:
                return "info", "transfer cancelled by operator", _without_none(fact)
            return "warning", "transfer taken over by another process", _without_none(fact)
        case events.MessageIgnored():
            return "info", "event ignored: it asks for nothing", vars(fact)
        case events.AttemptStarted():
            return "debug", "attempt started", _without_none(fact)
        case events.TransferDone():
            # A copy of which nobody knows more than its length is nothing to pass over.
            level = "warning" if "size" in dict(fact.rungs) else "info"
            return level, "transfer done", _done(fact)
        case events.RouteWarned():
            return "warning", "route compares lengths only", vars(fact)
        case events.EngineChosen():
            return "info", "engine chosen", vars(fact)
        case events.ApplicationFollowed():
            return "info", "YARN application carries the transfer", vars(fact)
        case events.ApplicationEnded():
            return "info", "YARN application ended", _without_none(fact)
        case events.CountersDiffer():
            return "warning", "DistCp counted otherwise than planned", vars(fact)
        case events.StagedAgain():
            event = "repaired staging: objects from DistCp were missing or different"
            return "warning", event, vars(fact)
        case events.AttemptFailed():
            return "warning", "attempt failed: the message comes back", _without_none(fact)
        case events.MessageDead():
            event = "message dead-lettered"
            if fact.dead_letter_queue is None:
                event = "message dead, kept hidden without a dead-letter queue"
            # An operator's own wish is nothing to wake up for.
            level = "info" if fact.code == "E_CANCELLED" else "error"
            return level, f"{event}: {fact.code}", _without_none(fact)
        case events.TransferHeld():
            fields = {**vars(fact), "retry_in_s": round(fact.retry_in_s, 1)}
            return "warning", "transfer held: a dependency is down", fields
        case events.TransferBlocked():
            fields = {**vars(fact), "still_s": round(fact.still_s, 1)}
            return "warning", "transfer waits for a dependency", fields
        case events.TransferUnblocked():
            return "info", "transfer moves again", vars(fact)
        case events.TransferResumed():
            fields = {**vars(fact), "held_s": round(fact.held_s, 1)}
            return "info", "transfer resumed", fields
        case events.TransferWaits():
            return "debug", "transfer waits for its destination or route", vars(fact)
        case events.MessageReturned():
            return "info", "message handed back", vars(fact)
        case events.VisibilityWasLost():
            return "warning", "visibility lost: the message may be delivered again", vars(fact)
        case events.ThreadHangs():
            return "error", "a thread of the agent hangs: the process ends", vars(fact)
        case events.WorkerReplaced():
            return "warning", "worker replaced", vars(fact)
        case events.StagingSwept():
            return "info", "staging of a dead transfer removed", vars(fact)
        case events.SweepFailed():
            return (
                "warning",
                "abandoned staging not removed, retried later",
                _without_none(fact),
            )
        case events.StagingStays():
            # Where nothing may be written nothing was staged.
            level = "debug" if fact.code == "E_DST_DENIED" else "warning"
            return level, "staging of a dead transfer not removed", vars(fact)
        case events.CallRetried():
            fields = {**vars(fact), "retry_in_s": round(fact.retry_in_s, 1)}
            event = "call to SQS failed and is retried"
            if fact.dependency == "ledger":
                event = "call to the ledger failed and is retried"
            return "warning", event, fields
        case events.RecordMissed():
            return "warning", "the ledger did not record a change; the transfer goes on", vars(fact)
        case events.RouteTargetWarned():
            return "warning", "destination of a route does not answer", _without_none(fact)
        case BaseException():
            return "error", "unexpected error", {"exc_info": fact}
        case _:
            return "debug", type(fact).__name__, _without_none(fact)


def _done(fact: events.TransferDone) -> dict[str, Any]:
    fields = _without_none(fact)
    seconds = fields.pop("duration_s")
    size, copied = fields.pop("size_bytes"), fields.pop("copied_bytes")
    if not fact.adopted:
        fields.pop("adopted")
    if not fact.markers:
        fields.pop("markers")
    if not fact.is_superseded:
        fields.pop("is_superseded")
    for name in ("rungs", "asked"):
        if pairs := fields.pop(name):
            fields["proof" if name == "rungs" else name] = dict(pairs)
    found = {**fields, "bytes": size, "copied_bytes": copied, "seconds": round(seconds, 3)}
    if copied and seconds > 0:
        found["rate"] = f"{human_bytes(copied / seconds)}/s"
    return found


def _without_none(fact: object) -> dict[str, Any]:
    return {name: value for name, value in vars(fact).items() if value not in {None, ""}}


# ---------------------------------------------------------------- structlog


class _Quiet(logging.Handler):
    """Reports a line that could not be written in one line now and then, not with a traceback."""

    _silent_until_s = 0.0

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's own name
        """Called by logging where `emit` failed; the transfer goes on."""
        del record
        error = sys.exc_info()[1]
        now_s = time.monotonic()
        if now_s < self._silent_until_s or self._is_lost(error):
            return
        self._silent_until_s = now_s + ERROR_LINE_S
        with contextlib.suppress(OSError, ValueError):
            print(f"backhaul: the log cannot be written: {error}", file=sys.stderr)  # noqa: T201

    def _is_lost(self, error: BaseException | None) -> bool:
        """A closed pipe: whoever read it is gone, and nothing else is wrong."""
        return isinstance(error, BrokenPipeError)


class LogStream(_Quiet, logging.StreamHandler[TextIO]):
    """Standard output or error."""


class LogFile(_Quiet, logging.handlers.RotatingFileHandler):
    """A file that rotates by itself, and can be opened anew."""

    def reopen(self) -> None:
        """Close it; the next line opens the file of that name."""
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
    """A log that its reader can hold up would hold up the agent; opening a FIFO waits for one.

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
    handlers: list[logging.Handler] = [LogStream(target.stream)]
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


def _logger(target: LogTarget, handlers: list[logging.Handler]) -> Any:
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,  # before `_redact`: tracebacks quote foreign text
        _redact,
        _in_reading_order,
    ]
    sink = logging.Logger("backhaul", level=target.level.upper())  # noqa: LOG001 - of our own
    for number, handler in enumerate(handlers):
        is_json = target.is_json or number > 0
        handler.setFormatter(_formatter(is_json=is_json, stream=target.stream))
        sink.addHandler(handler)
    return structlog.wrap_logger(
        sink,
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, target.level.upper())),
        cache_logger_on_first_use=True,
    )


def _formatter(*, is_json: bool, stream: TextIO) -> logging.Formatter:
    remove = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    if is_json:
        renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    else:
        renderer = structlog.dev.ConsoleRenderer(
            colors=stream.isatty(),
            timestamp_key="at",
            pad_event_to=0,
            sort_keys=False,
            exception_formatter=structlog.dev.plain_traceback,  # it is text already
        )
    return structlog.stdlib.ProcessorFormatter(processors=[remove, renderer])


def _redact(_logger: object, _method: str, fields: Any) -> Any:
    """The last net under every line: nothing that looks like a password leaves."""
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = redacted(value)
    return fields


def _in_reading_order(_logger: object, _method: str, fields: Any) -> Any:
    """When, how bad, what; then the rest as it came."""
    first = {name: fields.pop(name) for name in ("at", "level", "event") if name in fields}
    return {**first, **fields}


def standard_target(
    *, log_format: str, level: str, file: Path | None, file_bytes: int, file_count: int
) -> LogTarget:
    """Standard output, as configured."""
    is_json = log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())
    return LogTarget(
        stream=sys.stdout,
        is_json=is_json,
        level=level,
        file=file,
        file_bytes=file_bytes,
        file_count=file_count,
    )
