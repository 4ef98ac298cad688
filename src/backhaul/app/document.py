"""The first screen as one JSON document, for programs: `backhaul check --json`.

Its form is these classes; `docs/schema/check.schema.json` is made of them. A field may be added;
what is taken away or changes its meaning makes `v` another number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Literal

from pydantic import TypeAdapter

from backhaul.app.check import Checked
from backhaul.app.overview import AgentView, Overview, QueueView, RouteView, RunningView
from backhaul.core.outlook.expectation import ExpectationRecord

State = Literal["not-running", "silent", "not-polling", "held", "budget", "stopping", "running"]


@dataclass(frozen=True, kw_only=True)
class HealthPart:
    """The health: one of the states, its sentence, and the fix."""

    state: State
    sentence: str
    code: str
    hint: str
    since: datetime | None


@dataclass(frozen=True, kw_only=True)
class LedgerPart:
    """The ledger's file."""

    path: str
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class AgentPart:
    """One start of an agent; those of the last day that have ended are listed, too.

    Attributes:
        in_hand: Messages with a slot; `parked` are those of paused routes, which have none.
        failure: Code of the error that ended it; empty: none did.
    """

    id: str
    host: str
    queue: str
    region: str
    version: str
    slots: int
    in_hand: int
    parked: int
    started_at: datetime
    reported_at: datetime
    ended_at: datetime | None
    is_alive: bool
    failure: str


@dataclass(frozen=True, kw_only=True)
class QueuePart:
    """A queue that an agent works; null: not known.

    Attributes:
        at: When SQS gave its counts.
        retention_used: Age of the oldest known message by the retention; 1 is all of it.
        messages: Those that wait or are in flight, without those of paused routes.
        per_minute: Messages that ended, over a quarter of an hour, or an hour where few did; 0 is
            none.
        backlog_bytes: What is left to copy of them.
        left_s: Until the backlog is through at the present rate; `unknown` is why it is not known.
        retention_forecast: Of the retention, used once the backlog is through.
    """

    name: str
    visible: int | None
    in_flight: int | None
    at: datetime | None
    oldest_age_s: float | None
    retention_s: float | None
    retention_used: float | None
    last_poll_at: datetime | None
    messages: int | None
    per_minute: float | None
    backlog_bytes: int | None
    left_s: float | None
    done_by: datetime | None
    unknown: str
    retention_forecast: float | None


@dataclass(frozen=True, kw_only=True)
class TodayPart:
    """What ended since midnight of this machine's time zone."""

    since: datetime
    done: int
    dead: int
    objects: int
    bytes_done: int
    bytes_copied: int


@dataclass(frozen=True, kw_only=True)
class RoutePart:
    """A route over the last day; the empty name: of none.

    Attributes:
        failed: Attempts that another one follows.
        lag_p95_s: Sent to done.
        struggling: Under way in the second attempt or later.
    """

    name: str
    running: int
    waiting: int
    done: int
    dead: int
    failed: int
    bytes_done: int
    lag_p95_s: float | None
    struggling: int
    held_by: list[str]
    is_paused: bool
    paused_until: datetime | None


@dataclass(frozen=True, kw_only=True)
class RunningPart:
    """A transfer under way, as of its agent's last report."""

    transfer_id: str
    message_id: str | None
    route: str
    source: str
    destination: str
    host: str
    attempt: int
    started_at: datetime
    phase: str
    engine: str
    engine_reason: str
    objects: int
    objects_total: int
    size_bytes: int
    size_bytes_total: int
    is_planned: bool
    bytes_per_s: float | None
    left_s: float | None
    waits_for: str
    application: str
    tracking_url: str


@dataclass(frozen=True, kw_only=True)
class WaitingPart:
    """Another transfer that has not ended."""

    transfer_id: str
    message_id: str | None
    route: str
    source: str
    destination: str
    state: str
    attempt: int
    code: str
    reason: str
    held_by: str
    held_since: datetime | None
    retry_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class DeadPart:
    """Deaths of one code within a day, not sent again; the last three are an example's."""

    code: str
    count: int
    routes: list[str]
    transfer_id: str
    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DeadlinePart:
    """One deadline of expected data; what is there was counted until it was enough.

    Attributes:
        objects: Null while nothing was counted; likewise `bytes` and `transfers`.
        due: The deadline in its own time zone, for people.
    """

    deadline: datetime
    due: str
    place: str
    state: Literal["due", "met", "missed", "late"]
    objects: int | None
    objects_wanted: int | None
    bytes: int | None
    bytes_wanted: int | None
    transfers: int | None
    transfers_wanted: int | None
    is_met: bool
    arrived_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class ExpectedPart:
    """Data that is expected on a route: the next deadline, and the last one that was judged."""

    route: str
    name: str
    next: DeadlinePart
    last: DeadlinePart | None


@dataclass(frozen=True, kw_only=True)
class RiskPart:
    """What will break before a backlog is through."""

    kind: Literal["retention", "deadline"]
    code: str
    sentence: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class CheckDocument:
    """How it is.

    Attributes:
        level: What `backhaul check` ends with; `reasons` are why.
        waiting: At most 500; `is_cut` where there are more, or more dead than were counted.
        risks_known: The kinds of which `risks` has all; of others there may be some that are not
            known.
    """

    v: Literal[1]
    at: datetime
    level: Literal["OK", "WARNING", "CRITICAL"]
    reasons: list[str]
    health: HealthPart
    ledger: LedgerPart
    agents: list[AgentPart]
    queues: list[QueuePart]
    bytes_per_s: float | None
    today: TodayPart
    routes: list[RoutePart]
    running: list[RunningPart]
    waiting: list[WaitingPart]
    dead: list[DeadPart]
    expected: list[ExpectedPart]
    risks: list[RiskPart]
    risks_known: list[str]
    is_cut: bool


@cache
def documents() -> TypeAdapter[CheckDocument]:
    """What writes the document, and its schema."""
    return TypeAdapter(CheckDocument)


def as_text(view: Overview, checked: Checked) -> str:
    """One line of JSON."""
    return documents().dump_json(document(view, checked)).decode()


def document(view: Overview, checked: Checked) -> CheckDocument:
    """Of the first screen and its judgement."""
    level = checked.level.name
    if level == "UNKNOWN":
        raise AssertionError("what was read is known")
    return CheckDocument(
        v=1,
        at=view.now,
        level=level,  # type: ignore[arg-type]
        reasons=list(checked.reasons),
        health=HealthPart(
            state=view.health.state.value,
            sentence=view.health.sentence,
            code=view.health.code,
            hint=view.health.hint,
            since=view.health.since,
        ),
        ledger=LedgerPart(path=str(view.ledger), size_bytes=view.ledger_bytes),
        agents=[_agent(one) for one in view.agents],
        queues=[_queue(one) for one in view.queues],
        bytes_per_s=view.bytes_per_s,
        today=TodayPart(**vars(view.today)),
        routes=[_route(one) for one in view.routes],
        running=[_running(one) for one in view.running],
        waiting=[
            WaitingPart(
                transfer_id=one.id,
                message_id=one.message_id,
                route=one.route,
                source=one.source,
                destination=one.destination,
                state=one.state.value,
                attempt=one.attempt,
                code=one.code or "",
                reason=one.reason or "",
                held_by=one.held_by or "",
                held_since=one.held_since,
                retry_at=one.retry_at,
            )
            for one in view.waiting
        ],
        dead=[
            DeadPart(
                code=one.code,
                count=one.count,
                routes=list(one.routes),
                transfer_id=one.newest.id,
                source=one.newest.source,
                reason=one.newest.reason,
            )
            for one in view.dead
        ],
        expected=[
            ExpectedPart(
                route=one.next.route,
                name=one.next.name,
                next=deadline_part(one.next),
                last=None if one.last is None else deadline_part(one.last),
            )
            for one in view.expectations
        ],
        risks=[
            RiskPart(kind=one.kind.value, code=one.code, sentence=one.sentence, hint=one.hint)
            for one in view.risks
        ],
        risks_known=sorted(one.value for one in view.risks_known),
        is_cut=view.is_cut,
    )


def deadline_part(one: ExpectationRecord) -> DeadlinePart:
    """One deadline, as programs read it."""
    found = one.found
    return DeadlinePart(
        deadline=one.deadline,
        due=one.due,
        place=one.place,
        state=one.state.value,
        objects=None if found is None else found.objects,
        objects_wanted=one.wanted.objects,
        bytes=None if found is None else found.size_bytes,
        bytes_wanted=one.wanted.size_bytes,
        transfers=None if found is None else found.transfers,
        transfers_wanted=one.wanted.transfers,
        is_met=one.is_met,
        arrived_at=one.arrived_at,
    )


def _seconds(span: timedelta | None) -> float | None:
    return None if span is None else span.total_seconds()


def _agent(one: AgentView) -> AgentPart:
    identity, report = one.record.identity, one.record.report
    return AgentPart(
        id=identity.id,
        host=identity.host,
        queue=identity.queue,
        region=identity.region,
        version=identity.version,
        slots=identity.slots,
        in_hand=report.in_hand,
        parked=report.parked,
        started_at=identity.started_at,
        reported_at=report.at,
        ended_at=one.record.ended_at,
        is_alive=one.is_alive,
        failure=report.failure,
    )


def _queue(one: QueueView) -> QueuePart:
    return QueuePart(
        name=one.name,
        visible=one.visible,
        in_flight=one.in_flight,
        at=one.at,
        oldest_age_s=_seconds(one.oldest_age),
        retention_s=_seconds(one.retention),
        retention_used=one.retention_used,
        last_poll_at=one.last_poll_at,
        messages=one.forecast.messages,
        per_minute=one.forecast.per_minute,
        backlog_bytes=one.forecast.size_bytes,
        left_s=_seconds(one.forecast.left),
        done_by=one.forecast.done_by,
        unknown=one.forecast.unknown,
        retention_forecast=one.forecast.retention_share,
    )


def _route(one: RouteView) -> RoutePart:
    return RoutePart(
        name=one.name,
        running=one.running,
        waiting=one.waiting,
        done=one.done,
        dead=one.dead,
        failed=one.failed,
        bytes_done=one.bytes_done,
        lag_p95_s=_seconds(one.lag_p95),
        struggling=one.struggling,
        held_by=list(one.held_by),
        is_paused=one.paused is not None,
        paused_until=one.paused.until if one.paused is not None else None,
    )


def _running(one: RunningView) -> RunningPart:
    transfer = one.transfer
    return RunningPart(
        transfer_id=transfer.transfer_id,
        message_id=transfer.message_id,
        route=transfer.route,
        source=transfer.source,
        destination=transfer.destination,
        host=one.host,
        attempt=transfer.attempt,
        started_at=transfer.started_at,
        phase=transfer.phase,
        engine=transfer.engine,
        engine_reason=transfer.engine_reason,
        objects=transfer.objects,
        objects_total=transfer.objects_total,
        size_bytes=transfer.size_bytes,
        size_bytes_total=transfer.size_bytes_total,
        is_planned=transfer.is_planned,
        bytes_per_s=transfer.bytes_per_s,
        left_s=_seconds(one.left),
        waits_for=transfer.waits_for,
        application=transfer.application,
        tracking_url=transfer.tracking_url,
    )
