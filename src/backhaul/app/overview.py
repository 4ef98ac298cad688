"""What the front page, `status` and `top` show, read from the ledger alone.

The same for one agent and for several: agents publish their reports there (`core.agent_report`).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from backhaul.adapters.ledger import LedgerReader, find_reader
from backhaul.adapters.ledger.agents import begin_of
from backhaul.adapters.ledger.reading.observing import (
    ActivityReader,
    ActivityRow,
    DeadTransfer,
    OpenJob,
    OpenTransfer,
)
from backhaul.app.disk_space import DiskSpace, disk_space
from backhaul.core.agent_report import AgentRecord, RunningTransfer
from backhaul.core.health import Health, ObservedAgent, health
from backhaul.core.outlook.expectation import ExpectationStatus, statuses
from backhaul.core.outlook.forecast import Forecast, forecasts
from backhaul.core.outlook.risks import Risk, RiskKind, known_kinds, risks
from backhaul.core.ports import PausedRoute
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.ports.replies import ReplyCounts
from backhaul.core.reconciliation.values import ReconcileResult
from backhaul.core.units import human_bytes

FIVE_MINUTES, HOUR, DAY = timedelta(minutes=5), timedelta(hours=1), timedelta(hours=24)
SPARKS = 12  # five minutes each
OPEN_MOST = 500
DEAD_MOST = 1000
LAGS_LOOKED_AT = 5000
STRUGGLING_FROM = 2  # attempts


@dataclass(frozen=True, kw_only=True)
class AgentView:
    """An agent with its health.

    Attributes:
        health: None where it has ended or is gone.
    """

    record: AgentRecord
    is_alive: bool
    health: Health | None


@dataclass(frozen=True, kw_only=True)
class QueueView:
    """A queue as its agents know it.

    Attributes:
        visible: None until SQS was asked; then `in_flight` and `at` are None, too.
        retention_used: Age of the oldest known message by the retention, 0 to 1 and more.
        forecast: When its backlog is through.
    """

    name: str
    visible: int | None
    in_flight: int | None
    at: datetime | None
    oldest_age: timedelta | None
    retention: timedelta | None
    retention_used: float | None
    last_poll_at: datetime | None
    forecast: Forecast


@dataclass(frozen=True, kw_only=True)
class RunningView:
    """A running transfer and its agent.

    Attributes:
        left: At the present rate; None: unknown.
        known: As the ledger has it, with its last error; None where it has ended meanwhile.
    """

    transfer: RunningTransfer
    host: str
    left: timedelta | None
    known: OpenTransfer | None


@dataclass(frozen=True, kw_only=True)
class RouteView:
    """One route over the last hour and day.

    Attributes:
        sparks: Bytes done in each five minutes of the last hour, oldest first.
        dead: Within a day, and not settled.
        lag_p95: Of the newest transfers done within a day; None: none has a lag.
        struggling: Transfers under way in their second attempt or later.
        held_by: Dependencies that its transfers wait for.
    """

    name: str
    running: int
    waiting: int
    sparks: tuple[int, ...]
    done: int
    dead: int
    failed: int
    bytes_done: int
    lag_p95: timedelta | None
    struggling: int
    held_by: tuple[str, ...]
    paused: PausedRoute | None

    @property
    def trouble(self) -> int:
        """For the order of rows: the more, the sooner somebody should look."""
        is_paused = self.paused is not None
        return 1000 * bool(self.held_by) + 100 * is_paused + 10 * self.dead + self.struggling


@dataclass(frozen=True, kw_only=True)
class DeadCode:
    """Deaths of one cause within a day, without those sent again; `newest` is an example."""

    code: str
    count: int
    routes: tuple[str, ...]
    newest: DeadTransfer


@dataclass(frozen=True, kw_only=True)
class Today:
    """Since midnight of the given time zone."""

    since: datetime
    done: int
    dead: int
    objects: int
    bytes_done: int
    bytes_copied: int


DISK_WARNING = 0.8  # share of the ledger's disk


@dataclass(frozen=True, kw_only=True)
class Overview:
    """Everything on the first screen.

    Attributes:
        ledger_disk: What the ledger may grow into; None: that of a database is not known here.
        running: Transfers under way, as their agents report them.
        waiting: The others that have not ended: those that wait, those that are held, and those
            of `copy` and of agents that are gone.
        jobs: YARN applications that may run.
        expectations: What should have come, as an agent judged it last.
        risks: What will break before a backlog is through.
        risks_known: Of which kinds `risks` has all.
        bytes_per_s: From S3, of all agents together; None: none is alive.
        reconciled: The last reconciliation of each route.
        replies: By target; without those that have none waiting or dead.
        is_cut: There are more open or dead transfers than were read.
    """

    now: datetime
    ledger: LedgerPlace
    ledger_bytes: int
    ledger_disk: DiskSpace | None = None
    health: Health
    agents: tuple[AgentView, ...]
    queues: tuple[QueueView, ...]
    bytes_per_s: float | None
    today: Today
    routes: tuple[RouteView, ...]
    running: tuple[RunningView, ...]
    waiting: tuple[OpenTransfer, ...]
    jobs: tuple[OpenJob, ...]
    dead: tuple[DeadCode, ...]
    expectations: tuple[ExpectationStatus, ...]
    risks: tuple[Risk, ...]
    risks_known: frozenset[RiskKind]
    is_cut: bool
    replies: tuple[ReplyCounts, ...] = ()

    @property
    def disk_warning(self) -> str:
        """Begins with a colon; empty: there is room. A full disk holds every transfer."""
        disk = self.ledger_disk
        if disk is None or disk.used < DISK_WARNING:
            return ""
        return f": its disk is {disk.used:.0%} full, {human_bytes(disk.free_bytes)} are free"

    reconciled: tuple[ReconcileResult, ...] = ()


def read_overview(
    path: LedgerPlace, now: datetime, *, routes: Iterable[str] = ()
) -> Overview | None:
    """The first screen; None where no ledger exists yet.

    Args:
        now: Aware; its time zone decides when today began.
        routes: Configured ones, which are shown even if nothing ever happened on them.

    Raises:
        ConfigurationError, OutageError: As `ledger.open_reader`.
    """
    reader = find_reader(path)
    if reader is None:
        return None
    with closing(reader):
        return overview(reader, path, now, routes=routes)


def overview(
    reader: LedgerReader, path: LedgerPlace, now: datetime, *, routes: Iterable[str] = ()
) -> Overview:
    """As `read_overview`, from an open ledger."""
    agents = reader.agents()
    alive = [one.record for one in agents if one.is_alive(now)]
    waiting = reader.open_transfers(most=OPEN_MOST)
    dead = reader.dead_transfers(now - DAY, most=DEAD_MOST)
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    hour = reader.activity(FIVE_MINUTES, now - SPARKS * FIVE_MINUTES, now + FIVE_MINUTES)
    day = _since(reader, now - DAY, now)
    known = {one.id: one for one in waiting}
    running = [
        RunningView(
            transfer=one,
            host=record.identity.host,
            left=_left(one),
            known=known.get(one.transfer_id),
        )
        for record in alive
        for one in record.report.running
    ]
    running_ids = {one.transfer.transfer_id for one in running}
    sums = _Sums(hour=hour, day=day, dead=dead)
    found = forecasts(reader, agents, now)
    expected = tuple(statuses(reader.expectations()))
    views = _routes(reader, now, [*routes, *(one.route for one in day)], sums, running, waiting)
    return Overview(
        now=now,
        ledger=path,
        ledger_bytes=reader.size_bytes(),
        ledger_disk=disk_space(path),
        health=health(agents, now),
        agents=tuple(_agent(one, now) for one in agents if _is_worth_showing(one, now)),
        queues=_queues(agents, found, now),
        bytes_per_s=sum(one.report.bytes_per_s for one in alive) if alive else None,
        today=_today(_since(reader, midnight, now), midnight),
        routes=tuple(sorted(views, key=lambda one: (-one.trouble, one.name))),
        running=tuple(running),
        waiting=tuple(one for one in waiting if one.id not in running_ids),
        jobs=tuple(reader.open_jobs(most=OPEN_MOST)),
        dead=_by_code(dead),
        expectations=expected,
        risks=risks(found, expected),
        risks_known=known_kinds(found, expected),
        replies=tuple(reader.reply_counts()),
        reconciled=tuple(reader.last_reconciled()),
        is_cut=len(waiting) == OPEN_MOST or len(dead) == DEAD_MOST,
    )


@dataclass(frozen=True, kw_only=True)
class _Sums:
    """What ended, by route: in five minutes each within the last hour, and within a day.

    Attributes:
        dead: Those that are not settled.
    """

    hour: Sequence[ActivityRow]
    day: Sequence[ActivityRow]
    dead: Sequence[DeadTransfer]


def _since(reader: ActivityReader, since: datetime, until: datetime) -> list[ActivityRow]:
    """Sums from the five minutes on in which `since` is, in few rows: of hours where they fit."""
    first = begin_of(since.astimezone(UTC), FIVE_MINUTES)
    hours = begin_of(first + HOUR - FIVE_MINUTES, HOUR)  # the first whole one
    rest = reader.activity(FIVE_MINUTES, first, hours) if hours > first else []
    return [*rest, *reader.activity(HOUR, hours, until + HOUR)]


def _agent(one: ObservedAgent, now: datetime) -> AgentView:
    is_alive = one.is_alive(now)
    return AgentView(
        record=one.record,
        is_alive=is_alive,
        health=health([one], now) if is_alive or one.is_silent(now) else None,
    )


def _is_worth_showing(one: ObservedAgent, now: datetime) -> bool:
    """Those alive, and those that went within a day."""
    return one.is_alive(now) or now - one.record.report.at < DAY


def _left(one: RunningTransfer) -> timedelta | None:
    if not one.is_planned or not one.bytes_per_s or one.waits_for:
        return None
    missing = max(0, one.size_bytes_total - one.size_bytes)
    return timedelta(seconds=missing / one.bytes_per_s)


def _queues(
    agents: Sequence[ObservedAgent], found: Sequence[Forecast], now: datetime
) -> tuple[QueueView, ...]:
    alive = [one.record for one in agents if one.is_alive(now)]
    records = [each for one in alive for each in one.by_queue]
    return tuple(
        _queue(one, [each for each in records if each.identity.queue == one.queue]) for one in found
    )


def _queue(one: Forecast, records: Sequence[AgentRecord]) -> QueueView:
    depths = [record.report.depth for record in records if record.report.depth is not None]
    depth = max(depths, key=lambda depth: depth.at, default=None)
    polls = [record.report.last_poll_at for record in records if record.report.last_poll_at]
    age, retention = one.oldest_age, one.retention
    return QueueView(
        name=one.queue,
        visible=depth.visible if depth else None,
        in_flight=depth.in_flight if depth else None,
        at=depth.at if depth else None,
        oldest_age=age,
        retention=retention,
        retention_used=age / retention if age is not None and retention else None,
        last_poll_at=max(polls, default=None),
        forecast=one,
    )


def _today(since: Sequence[ActivityRow], midnight: datetime) -> Today:
    return Today(
        since=midnight,
        done=sum(one.done for one in since),
        dead=sum(one.dead for one in since),
        objects=sum(one.objects for one in since),
        bytes_done=sum(one.bytes_done for one in since),
        bytes_copied=sum(one.bytes_copied for one in since),
    )


def _routes(
    reader: ActivityReader,
    now: datetime,
    names: Sequence[str],
    sums: _Sums,
    running: Sequence[RunningView],
    waiting: Sequence[OpenTransfer],
) -> list[RouteView]:
    pauses = {one.route: one for one in reader.paused_routes(now)}
    lags: dict[str, list[timedelta]] = defaultdict(list)
    for route, lag in reader.newest_lags(now - DAY, most=LAGS_LOOKED_AT):
        lags[route].append(lag)
    by_route: dict[str, list[ActivityRow]] = defaultdict(list)
    for row in sums.day:
        by_route[row.route].append(row)
    newest: dict[str, list[ActivityRow]] = defaultdict(list)
    for row in sums.hour:
        newest[row.route].append(row)
    running_ids = {one.transfer.transfer_id for one in running}
    every = {*names, *pauses, *(one.transfer.route for one in running)}
    every |= {one.route for one in waiting}
    found = []
    for name in every:
        mine = [one.transfer for one in running if one.transfer.route == name]
        others = [one for one in waiting if one.route == name and one.id not in running_ids]
        rows = by_route[name]
        held = {one.waits_for for one in mine if one.waits_for}
        held |= {one.held_by for one in others if one.code and one.held_by}
        attempts = [*(one.attempt for one in mine), *(one.attempt for one in others)]
        found.append(
            RouteView(
                name=name,
                running=len(mine),
                waiting=len(others),
                sparks=_sparks(newest[name], now),
                done=sum(one.done for one in rows),
                dead=sum(one.route == name for one in sums.dead),
                failed=sum(one.failed for one in rows),
                bytes_done=sum(one.bytes_done for one in rows),
                lag_p95=percentile(lags[name], 0.95),
                struggling=sum(one >= STRUGGLING_FROM for one in attempts),
                held_by=tuple(sorted(held)),
                paused=pauses.get(name),
            )
        )
    return found


def _sparks(rows: Sequence[ActivityRow], now: datetime) -> tuple[int, ...]:
    sparks = [0] * SPARKS
    for row in rows:
        place = SPARKS - 1 - int((now - row.begins_at) / FIVE_MINUTES)
        if 0 <= place < SPARKS:
            sparks[place] += row.bytes_done
    return tuple(sparks)


def percentile(values: Sequence[timedelta], share: float) -> timedelta | None:
    """The smallest value that so large a share of the values does not exceed; None of none."""
    if not values:
        return None
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _by_code(dead: Sequence[DeadTransfer]) -> tuple[DeadCode, ...]:
    groups: dict[str, list[DeadTransfer]] = defaultdict(list)
    for one in dead:
        groups[one.code].append(one)
    found = [
        DeadCode(
            code=code,
            count=len(group),
            routes=tuple(sorted({one.route for one in group})),
            newest=group[0],
        )
        for code, group in groups.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.count, one.code)))
