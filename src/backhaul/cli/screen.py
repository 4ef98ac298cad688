"""The first screen as lines of text: what `status` prints and `top` shows.

A line is made of pieces, each with a style; who prints it knows what a terminal can show. All
text from outside is made visible here.
"""

from __future__ import annotations

import os
import sys
import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from backhaul.cli.options import counted
from backhaul.core.health import Health, HealthState
from backhaul.core.outlook.expectation import ExpectationStatus
from backhaul.core.outlook.forecast import Forecast
from backhaul.core.reconciliation.values import FINDINGS, ObjectClass, ReconcileResult
from backhaul.core.text import visible
from backhaul.core.units import human_bytes, human_rate, human_span

if TYPE_CHECKING:
    from backhaul.adapters.ledger.reading.observing import OpenJob, OpenTransfer
    from backhaul.app.overview import (
        AgentView,
        DeadCode,
        Overview,
        QueueView,
        RouteView,
        RunningView,
    )

LONGEST = 4096  # characters of one name
ARROW = " \u2192 "
LABEL = 8
ROUTES_MOST, DEAD_MOST, WAITING_MOST = 20, 10, 40
RED, YELLOW, GREEN, DIM, BOLD = "red", "yellow", "green", "dim", "bold"
_COLOURS = {
    HealthState.RUNNING: GREEN,
    **dict.fromkeys((HealthState.STOPPING, HealthState.HELD, HealthState.BUDGET), YELLOW),
    **dict.fromkeys((HealthState.NOT_POLLING, HealthState.SILENT, HealthState.NOT_RUNNING), RED),
}


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Text in one style: a colour, `bold`, `dim`, or none."""

    text: str
    style: str = ""


Line = Sequence[Piece]


def has_colour() -> bool:
    """Standard output is a terminal that shows colours, and its user wants them: no-color.org."""
    is_dumb = os.environ.get("TERM") == "dumb"
    return sys.stdout.isatty() and not os.environ.get("NO_COLOR") and not is_dumb


def plain(line: Line) -> str:
    """Without styles."""
    return "".join(piece.text for piece in line)


def styled(line: Line) -> str:
    """With the escapes of a terminal."""
    return "".join(
        click.style(
            piece.text,
            fg=piece.style if piece.style in {RED, YELLOW, GREEN} else None,
            bold=piece.style == BOLD or None,
            dim=piece.style == DIM or None,
        )
        if piece.style
        else piece.text
        for piece in line
    )


def screen(
    view: Overview, *, limit: str, width: int | None = None, rows: int | None = None
) -> list[Line]:
    """All lines, the most urgent first.

    Args:
        limit: The bandwidth limit in words; empty: not known.
        width: Columns, for which names are cut in their middle; None: nothing is cut.
        rows: Lines that there is room for; None: any number.
    """
    lines: list[Line] = [
        *_health(view.health, width),
        *(line for one in view.risks for line in _whole("at risk", one.sentence, width, YELLOW)),
        *_expected(view.expectations, view.now, width),
        *_reconciled(view.reconciled),
        *(line for one in view.queues for line in _queue(one)),
        *(_agent(one, view.now) for one in view.agents),
        _of("rate", _rate(view, limit)),
        _of("today", _today(view)),
        _of(
            "ledger",
            f"{_name(str(view.ledger))}, {human_bytes(view.ledger_bytes)}{view.disk_warning}",
            YELLOW if view.disk_warning else "",
        ),
        *_routes(view.routes, view.now),
        *_dead(view.dead, width),
        *_transfers(view, width),
    ]
    if rows is not None and len(lines) > rows:
        hidden = len(lines) - rows + 1
        lines = [*lines[: rows - 1], [Piece(text=f"{counted(hidden, 'more line')}", style=DIM)]]
    return lines


# ---------------------------------------------------------------- the whole


def _health(health: Health, width: int | None) -> Iterator[Line]:
    """Whole, whatever the width: nothing on the screen matters more."""
    for part in _wrapped(_name(health.sentence), width):
        yield [Piece(text=part, style=_COLOURS[health.state])]
    if health.hint:
        yield from _whole("fix", health.hint, width, "")


def _wrapped(text: str, width: int | None) -> list[str]:
    return [text] if width is None else textwrap.wrap(text, max(20, width))


def _whole(label: str, text: str, width: int | None, style: str) -> Iterator[Line]:
    """In as many lines as it takes."""
    room = None if width is None else width - LABEL
    for number, part in enumerate(_wrapped(_name(text), room)):
        yield _of("" if number else label, part, style)


def _of(label: str, text: str, style: str = "") -> Line:
    return [Piece(text=f"{label:<{LABEL}}", style=DIM), Piece(text=text, style=style)]


def _queue(one: QueueView) -> Iterator[Line]:
    if one.visible is None or one.in_flight is None:
        yield _of("queue", f"{_name(one.name)}: SQS has not given its counts yet")
        return
    parts = [f"{one.visible:,} waiting", f"{one.in_flight:,} in flight"]
    if one.oldest_age is not None:
        oldest = f"oldest {human_span(one.oldest_age)}"
        if one.retention_used is not None and one.retention is not None:
            oldest += f" ({one.retention_used:.0%} of {human_span(one.retention)})"
        parts.append(oldest)
    is_late = (one.retention_used or 0) >= 0.5  # noqa: PLR2004 - half of what SQS keeps
    yield _of("queue", f"{_name(one.name)}: {', '.join(parts)}", YELLOW if is_late else "")
    if one.forecast.messages or one.forecast.left is None:
        yield _of("", _backlog(one.forecast))


def _backlog(one: Forecast) -> str:
    size = f"about {human_bytes(one.size_bytes)} to copy; " if one.size_bytes else ""
    if one.left is None or one.done_by is None:
        return f"{size}end unknown: {_name(one.unknown)}"
    rate = f" at {one.per_minute:.1f} a minute" if one.per_minute else " at the present rate"
    return f"{size}done by {_clock(one.done_by)}, in {human_span(one.left)}{rate}"


def _expected(
    found: Sequence[ExpectationStatus], now: datetime, width: int | None
) -> Iterator[Line]:
    """What is missing, each; of the others how many, and which is due next."""
    missed = [one.last for one in found if one.last is not None and one.is_missed]
    for one in missed[:ROUTES_MOST]:
        text = f"{one.subject} due {one.due} is missing: {one.words}"
        yield from _whole("data", text, width, RED)
    if len(missed) > ROUTES_MOST:
        yield _of("", f"and {len(missed) - ROUTES_MOST} more are missing", RED)
    if found:
        due = min((one.next for one in found), key=lambda one: one.deadline)
        met = sum(
            one.last is not None and not one.is_missed and not one.is_unjudged(now) for one in found
        )
        unjudged = len(found) - len(missed) - met
        following = "next" if due.deadline > now else "no agent has judged"
        text = f"{met:,} of {len(found):,} met"
        text += f", {unjudged:,} not judged yet" if unjudged else ""
        text = f"{text}; {following} {due.subject} by {due.due}: {due.words}"
        yield from _whole("" if missed else "data", text, width, "")


def _reconciled(found: Sequence[ReconcileResult]) -> Iterator[Line]:
    """Of each route when it was compared last, and what was found."""
    for number, one in enumerate(found[:ROUTES_MOST]):
        classes = [
            f"{one.totals[each.value][0]:,} {each.value}"
            for each in ObjectClass
            if each in FINDINGS and one.totals.get(each.value, (0, 0))[0]
        ]
        text = f"{_name(one.route)} {_date(one.finished_at)}: {', '.join(classes) or 'all arrived'}"
        yield _of("" if number else "compare", text, YELLOW if classes else "")


def _agent(one: AgentView, now: datetime) -> Line:
    identity, report = one.record.identity, one.record.report
    text = f"{_name(identity.host)}, {_name(identity.queue)}, version {_name(identity.version)}"
    if one.is_alive:
        slots = f"{report.in_hand} of {identity.slots} slots busy"
        parked = f", {report.parked:,} parked for paused routes" if report.parked else ""
        return _of("agent", f"{text}, since {_date(identity.started_at)}, {slots}{parked}")
    if one.health is not None:
        return _of("agent", f"{text}, silent for {human_span(now - report.at)}", RED)
    if one.record.ended_at is None:
        return _of("agent", f"{text}, gone; last seen {_date(report.at)}", RED)
    how = f"ended with {_name(report.failure)}" if report.failure else "stopped"
    return _of("agent", f"{text}, {how} {_date(one.record.ended_at)}", DIM)


def _rate(view: Overview, limit: str) -> str:
    rate = "unknown, no agent is alive"
    if view.bytes_per_s is not None:
        rate = human_rate(view.bytes_per_s)
    return rate + (f", limit {limit}" if limit else "")


def _today(view: Overview) -> str:
    today = view.today
    dead = f"{today.dead:,} dead"
    copied = f"{human_bytes(today.bytes_done)} ({human_bytes(today.bytes_copied)} read from S3)"
    return (
        f"{today.done:,} done, {dead}, {counted(today.objects, 'object')}, {copied}"
        f" since {today.since:%H:%M %Z}"
    )


# ---------------------------------------------------------------- routes, and what died


def _routes(routes: Sequence[RouteView], now: datetime) -> Iterator[Line]:
    troubled = [one for one in routes if one.trouble]
    if not troubled:
        return
    yield []
    yield [Piece(text="routes with trouble", style=BOLD)]
    longest = max(len(_route(one)) for one in troubled[:ROUTES_MOST])
    for one in troubled[:ROUTES_MOST]:
        yield [Piece(text=f"{_route(one):<{longest}}  "), *_trouble(one, now)]
    if len(troubled) > ROUTES_MOST:
        yield [Piece(text=f"and {len(troubled) - ROUTES_MOST} more", style=DIM)]


def _route(one: RouteView) -> str:
    return _name(one.name) or "(no route)"


def _trouble(one: RouteView, now: datetime) -> Line:
    found = []
    if one.held_by:
        found.append(f"held by {', '.join(map(_name, one.held_by))}")
    if one.paused is not None:
        until = (
            "" if one.paused.until is None else f" for {human_span(one.paused.until - now)} more"
        )
        why = f": {_name(one.paused.reason)}" if one.paused.reason else ""
        found.append(f"paused by {_name(one.paused.operator)}{until}{why}")
    if one.dead:
        found.append(f"{one.dead:,} dead in 24 h")
    if one.struggling:
        found.append(f"{one.struggling:,} in a second try or later")
    counts = f"; {one.running:,} under way, {one.waiting:,} waiting"
    lag = f", p95 lag {human_span(one.lag_p95)}" if one.lag_p95 is not None else ""
    return [Piece(text=", ".join(found), style=YELLOW), Piece(text=counts + lag, style=DIM)]


def _dead(dead: Sequence[DeadCode], width: int | None) -> Iterator[Line]:
    if not dead:
        return
    yield []
    yield [Piece(text="dead in 24 h, not sent again", style=BOLD)]
    for one in dead[:DEAD_MOST]:
        yield [
            Piece(text=f"{one.count:>5,}  ", style=RED),
            Piece(text=_cut(f"{_name(one.code)}: {_name(one.newest.reason)}", width, 7)),
        ]
    if len(dead) > DEAD_MOST:
        yield [Piece(text=f"and {len(dead) - DEAD_MOST} more codes", style=DIM)]
    commands = "backhaul history --state dead; backhaul show ID; backhaul retry --code CODE"
    yield [Piece(text=f"       {commands}", style=DIM)]


# ---------------------------------------------------------------- transfers


def _transfers(view: Overview, width: int | None) -> Iterator[Line]:
    yield []
    if not view.running and not view.waiting:
        yield [Piece(text="nothing is under way")]
        return
    jobs: dict[str, list[OpenJob]] = {}
    for job in view.jobs:
        jobs.setdefault(job.transfer_id, []).append(job)
    for one in view.running:
        yield from _running(one, view.now, width)
        yield from _jobs(jobs.get(one.transfer.transfer_id, ()))
    shown = view.waiting if width is None else view.waiting[:WAITING_MOST]
    for other in shown:
        yield from _waiting(other, view.now, width)
        yield from _jobs(jobs.get(other.id, ()))
    if len(shown) < len(view.waiting):
        more = len(view.waiting) - len(shown)
        yield [Piece(text=f"and {more:,} more: backhaul status | less", style=DIM)]
    if view.is_cut:
        yield [Piece(text="and more, which are not shown: backhaul history", style=DIM)]


def _running(one: RunningView, now: datetime, width: int | None) -> Iterator[Line]:
    transfer, known = one.transfer, one.known
    far = "not listed yet"
    if transfer.objects_total or transfer.is_planned:
        more = "" if transfer.is_planned else " or more"
        far = (
            f"{transfer.objects:,} of {transfer.objects_total:,}{more} objects, "
            f"{human_bytes(transfer.size_bytes)} of {human_bytes(transfer.size_bytes_total)}"
        )
    if transfer.bytes_per_s is not None:
        far += f", {human_rate(transfer.bytes_per_s)}"
    if one.left is not None:
        far += f", {human_span(one.left)} left"
    phase = transfer.phase or "starting"
    state = f"waiting for {_name(transfer.waits_for)}" if transfer.waits_for else phase
    yield [
        Piece(text=f"{_name(transfer.transfer_id)}  "),
        Piece(text=state, style=YELLOW if transfer.waits_for else GREEN),
        Piece(text=f", attempt {transfer.attempt}, since {_date(transfer.started_at)}: {far}"),
    ]
    yield _path(transfer.source, transfer.destination, width)
    if transfer.waits_for and known is not None and known.code:
        yield [Piece(text=f"  {why(known, now)}", style=YELLOW)]
    if transfer.engine:
        yield [Piece(text=f"  {_name(transfer.engine)}: {_name(transfer.engine_reason)}")]


def _waiting(one: OpenTransfer, now: datetime, width: int | None) -> Iterator[Line]:
    far = "not listed yet"
    if one.objects_planned:
        far = f"{counted(one.objects_planned, 'object')}, {human_bytes(one.bytes_planned)}"
    yield [
        Piece(text=f"{_name(one.id)}  "),
        Piece(text=one.state.value, style=YELLOW),
        Piece(text=f", attempt {one.attempt}, since {_date(one.updated_at)}: {far}"),
    ]
    yield _path(one.source, one.destination, width)
    if one.code:
        yield [Piece(text=f"  {why(one, now)}", style=YELLOW)]


def why(one: OpenTransfer, now: datetime) -> str:
    """Why it does not go on: the dependency that is down, else its last error."""
    error = f"{_name(one.code or '')}: {_name(one.reason or '')}"
    if one.held_by is None or one.held_since is None:
        return error
    how = "held by" if one.state == "held" else "waiting for"
    text = f"{how} {_name(one.held_by)} for {human_span(now - one.held_since)}: {error}"
    if one.retry_at is None:
        return text
    return f"{text}; next try in {human_span(max(one.retry_at - now, timedelta()))}"


def _jobs(jobs: Sequence[OpenJob]) -> Iterator[Line]:
    for job in jobs:
        maps = f", maps {job.maps_done} of {job.maps}" if job.maps else ""
        size = f", {human_bytes(job.size_bytes)}" if job.size_bytes else ""
        yield [Piece(text=f"  {_name(job.application_id or job.tag)}: {job.state}{maps}{size}")]
        if job.tracking_url:
            yield [Piece(text=f"  {_name(job.tracking_url)}")]


# ---------------------------------------------------------------- names and times


def _name(text: str) -> str:
    return visible(text, LONGEST)


def _date(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _clock(at: datetime) -> str:
    """With the day where it is not within a day."""
    return f"{at:%Y-%m-%d %H:%M %Z}"


def _path(source: str, destination: str, width: int | None) -> Line:
    whole = f"  {_name(source)}{ARROW}{_name(destination)}"
    if width is None or cells(whole) <= width:
        return [Piece(text=whole)]
    room = width - 2 - len(ARROW)
    first, second = cells(_name(source)), cells(_name(destination))
    half = room // 2
    if first <= half:
        half = room - first
        return [Piece(text=f"  {_name(source)}{ARROW}{middle(_name(destination), half)}")]
    if second <= half:
        return [Piece(text=f"  {middle(_name(source), room - second)}{ARROW}{_name(destination)}")]
    return [
        Piece(text=f"  {middle(_name(source), room - half)}{ARROW}"),
        Piece(text=middle(_name(destination), half)),
    ]


def _cut(text: str, width: int | None, indent: int) -> str:
    if width is None or cells(text) <= width - indent:
        return text
    return _first(text, width - indent - 1) + "\u2026"


def middle(text: str, width: int) -> str:
    """`text` in so many cells: its beginning, `…` and, mostly, its end."""
    if cells(text) <= width:
        return text
    before = max(0, width - 1) // 3
    after = max(0, width - 1) - before
    tail = _first(text[::-1], after)[::-1]
    return f"{_first(text, before)}\u2026{tail}"


def _first(text: str, width: int) -> str:
    """The longest beginning that fits."""
    used, end = 0, 0
    for char in text:
        used += cells(char)
        if used > width:
            break
        end += 1
    return text[:end]


def cells(text: str) -> int:
    """Columns that a terminal needs for it."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
