"""Turns values into HTML: the templates, and how sizes, times, paths and codes look in them.

Every value is escaped by the templates. Text from outside also loses its secrets, and control and
bidirectional characters become visible escapes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from backhaul.core.text import redacted, visible
from backhaul.core.units import human_bytes, human_rate, human_span

HERE = Path(__file__).parent
WHOLE = 8000  # characters; a key of 1,024 bytes, each as an escape, has fewer
TAIL = 24  # characters of a path that stay when it is cut in the middle
SPARK_WIDTH, SPARK_HEIGHT = 72, 18


class Renderer:
    """All templates, compiled at the start.

    Args:
        shared: What every page may use: version, links to static files.
    """

    def __init__(self, **shared: object) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            # An upgrade under a running dashboard must not mix its templates with this code.
            auto_reload=False,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        filters = (number, size, rate, span, when, clock, outside, path, backticks, spark, percent)
        self._environment.filters |= {one.__name__: one for one in filters}
        self._environment.globals |= {"error_text": error_text, **shared}
        for name in self._environment.list_templates(["html"]):
            self._environment.get_template(name)

    def page(self, name: str, **values: object) -> str:
        """One template with these values."""
        return self._environment.get_template(name).render(**values)


def number(value: float) -> str:
    """`12,345`."""
    return f"{value:,}"


def size(size_bytes: float | None) -> str:
    """`1.5 MiB`."""
    return "–" if size_bytes is None else human_bytes(size_bytes)


def rate(bytes_per_s: float | None) -> str:
    """`1.5 MiB/s`."""
    return "–" if bytes_per_s is None else human_rate(bytes_per_s)


def span(value: timedelta | None) -> str:
    """`5 min`."""
    return "–" if value is None else human_span(value)


def percent(share: float | None) -> str:
    """`63 %`."""
    return "–" if share is None else f"{share * 100:.0f} %"


def when(at: datetime | None, now: datetime) -> Markup:
    """Day and time in the server's zone, which is named; UTC on hover.

    Args:
        now: Aware; its zone is the server's.
    """
    return _time(at, now, "%Y-%m-%d %H:%M:%S %Z")


def clock(at: datetime | None, now: datetime) -> Markup:
    """The same; without its day where that is today, and without seconds."""
    if at is not None and at.astimezone(now.tzinfo).date() == now.date():
        return _time(at, now, "%H:%M %Z")
    return _time(at, now, "%a %Y-%m-%d %H:%M %Z")


def _time(at: datetime | None, now: datetime, form: str) -> Markup:
    if at is None:
        return Markup("–")
    utc = at.astimezone(UTC)
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"),
        f"{utc:%Y-%m-%d %H:%M:%S} UTC",
        at.astimezone(now.tzinfo).strftime(form),
    )


def outside(value: str | None, limit: int = WHOLE) -> str:
    """Text from outside, safe to show: without secrets, on one line, every character visible."""
    return visible(redacted(value or ""), limit)


def path(value: str | None) -> Markup:
    """A URI or path on one line: a narrow column cuts its middle, hover and copying have all."""
    whole = outside(value)
    if len(whole) <= TAIL:
        return Markup('<span class="path" title="{0}">{0}</span>').format(whole)
    return Markup(
        '<span class="path" title="{}"><span class="head">{}</span><span class="tail">{}</span>'
        "</span>"
    ).format(whole, whole[:-TAIL], whole[-TAIL:])


def backticks(text: str) -> Markup:
    """The manual's text, where backticks mark what is typed."""
    parts = [
        Markup("<code>{}</code>").format(part) if place % 2 else escape(part)
        for place, part in enumerate(text.split("`"))
    ]
    return Markup("").join(parts)


def spark(values: Sequence[float], label: str) -> Markup:
    """Bars for these values as an SVG image; the label is for those who do not see it."""
    most = max(values, default=0)
    step = SPARK_WIDTH / max(1, len(values))
    bars = []
    for place, value in enumerate(values):
        height = max(1.5, SPARK_HEIGHT * value / most) if value else 0.5
        bars.append(
            Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}"/>').format(
                place * step, SPARK_HEIGHT - height, step - 1, height
            )
        )
    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" width="{}" height="{}" role="img" '
        'aria-label="{}"><title>{}</title>{}</svg>'
    ).format(
        *(SPARK_WIDTH, SPARK_HEIGHT, SPARK_WIDTH, SPARK_HEIGHT),
        *(label, label, Markup("").join(bars)),
    )


@cache
def _error_texts() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((HERE / "error_texts.json").read_text("utf-8"))
    return found


def error_text(code: str) -> tuple[str, str]:
    """When an error occurs and how it is fixed, in the manual's words; empty if it has none."""
    when_it_occurs, fix = _error_texts().get(code, ("", ""))
    return when_it_occurs[:1].upper() + when_it_occurs[1:], fix
