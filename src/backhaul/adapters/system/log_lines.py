"""Lines of the log, made by structlog of an event and its fields: text or JSON, without secrets.

Apart from `log`, which imports it for the first line: it takes a tenth of a start to load.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TextIO

import structlog

from backhaul.core.text import redacted


def logger(
    handlers: Sequence[logging.Handler], stream: TextIO, level: int, *, is_json: bool
) -> Any:
    """With a method for each level, which takes the event and its fields.

    Args:
        handlers: The first one writes to `stream`; any other one writes JSON to a file.
        level: Below it nothing is written; of `logging`.
        is_json: Whether the first one writes JSON, too.
    """
    shared: list[Any] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="at"),
        structlog.processors.format_exc_info,  # before `_redact`: tracebacks quote foreign text
        _redact,
        _in_reading_order,
    ]
    sink = logging.Logger("backhaul", level=level)  # noqa: LOG001 - of our own
    for number, handler in enumerate(handlers):
        handler.setFormatter(_formatter(is_json=is_json or number > 0, stream=stream))
        sink.addHandler(handler)
    return structlog.wrap_logger(
        sink,
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
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
    """The last safeguard: no line contains anything that looks like a password."""
    for name, value in fields.items():
        if isinstance(value, str):
            fields[name] = redacted(value)
    return fields


def _in_reading_order(_logger: object, _method: str, fields: Any) -> Any:
    """Time, level and event, then the rest as it came."""
    first = {name: fields.pop(name) for name in ("at", "level", "event") if name in fields}
    return {**first, **fields}
