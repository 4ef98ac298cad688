"""What agents report of themselves, and the sums of what happened: `agents` and `activity`.

Nothing here takes part in a transfer: the newest report of each agent is for people, and the sums
are made from `journal`, from which they could be made again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, Insert, RowMapping, bindparam, delete, func, select, tuple_

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.dialects.commits import take_turn
from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.schema import (
    WrongValue,
    activity,
    agents,
    journal,
    meta,
    moment,
    paused_routes,
    put,
    transfers,
    upsert,
)
from backhaul.adapters.ledger.session import WriteSession
from backhaul.core.agent_report import AgentIdentity, AgentRecord, AgentReport
from backhaul.core.model import TransferState
from backhaul.core.ports import PausedRoute

SPANS = (timedelta(minutes=5), timedelta(hours=1))
KEPT = (timedelta(days=8), timedelta(days=800))  # of each span
AGENTS_KEPT = 100  # starts; those that reported last. One that crashes at every start leaves many
FORGOTTEN_AT_ONCE = 100  # sums; so that a clock that is wrong for a minute costs only the oldest
SUMMED_TO = "activity_summed_to"  # in `meta`: the number of the journal's last line in the sums

_MICROSECOND = timedelta(microseconds=1)
_COUNTS = ("done", "dead", "failed", "objects", "bytes_done", "bytes_copied", "lags", "lag_us")
_ENDED = (*(state.value for state in TransferState if state.is_final), TransferState.WAITING.value)
_OF_TRANSFER = ("route", "objects_planned", "bytes_planned", "bytes_copied", "sent_at")
_LINE = (
    *(journal.c[name] for name in ("number", "at", "state", "code")),
    *(transfers.c[name] for name in _OF_TRANSFER),
)
_NEXT_LINES = (
    select(*_LINE)
    .join(transfers, transfers.c.id == journal.c.transfer_id)
    .where(journal.c.number > bindparam("after"), journal.c.number <= bindparam("to"))
    .where(journal.c.state.in_(_ENDED))
    .order_by(journal.c.number)
)
_BEFORE = select(agents.c.beats, agents.c.ended_at).where(agents.c.id == bindparam("id"))
_FORGET_AGENTS = delete(agents).where(
    agents.c.id.not_in(select(agents.c.id).order_by(agents.c.beat_at.desc()).limit(AGENTS_KEPT - 1))
)
_LAST_LINE = select(func.coalesce(func.max(journal.c.number), 0))
_SUMMED = select(meta.c.value).where(meta.c.name == SUMMED_TO)
# A wait for a busy destination is recorded as WAITING, too, and is no failure.
NO_FAILURE = frozenset({"E_BUDGET_USED", "E_DST_BUSY", "E_ROUTE_PAUSED", "E_STOPPED"})


@cache
def reports() -> TypeAdapter[AgentReport]:
    """The form of `agents.report`; fields that a newer agent adds are ignored."""
    return TypeAdapter(AgentReport)


class SqlAgents(WriteSession):
    """`AgentLedger`."""

    def beat(
        self, identity: AgentIdentity, report: AgentReport, *, has_ended: bool = False
    ) -> None:
        values = {field.name: getattr(identity, field.name) for field in fields(AgentIdentity)}
        values["report"] = _report_text(report)
        with self._beside() as tx:
            found = tx.execute(_BEFORE, {"id": identity.id}).one_or_none()
            if found is None:
                tx.execute(_FORGET_AGENTS)
            elif found.ended_at is not None:
                return  # a report that was under way when the agent ended
            beats = {"beats": 1 + (found.beats if found else 0), "beat_at": report.at}
            put(tx, agents, {**values, **beats, "ended_at": report.at if has_ended else None})

    def sum_activity(self, *, most: int) -> bool:
        if self.standing.is_shared and not self.standing.is_leader:
            return False
        with self._beside() as tx:
            last = int(tx.execute(_LAST_LINE).scalar_one())
            if _number(tx.execute(_SUMMED).scalar()) >= last:
                return False
        with self._transaction() as tx:  # alone: no line below the last one comes after it
            last = int(tx.execute(_LAST_LINE).scalar_one())
        with self._beside() as tx:
            take_turn(tx, LedgerTurn.SUM)
            after = _number(tx.execute(_SUMMED).scalar())
            if after >= last:
                return False  # another thread has summed further meanwhile
            to = min(last, after + most)
            lines = tx.execute(_NEXT_LINES, {"after": after, "to": to}).mappings().all()
            for values in _sums(lines):
                tx.execute(_adding(tx.dialect.name), values)
            if lines:
                _forget_old(tx, lines[-1]["at"])
            put(tx, meta, {"name": SUMMED_TO, "value": str(to)})
        return to < last

    def paused_routes(self, now: datetime) -> list[PausedRoute]:
        with self._beside() as tx:
            return paused(tx, now)


def _report_text(report: AgentReport) -> str:
    """JSON. Each text in it is made readable by itself: in JSON a secret might end anywhere."""
    return json.dumps(_readable(reports().dump_python(report, mode="json")))


def _readable(value: Any) -> Any:
    if isinstance(value, str):
        return rows.readable(value)
    if isinstance(value, list):
        return [_readable(one) for one in value]
    if isinstance(value, dict):
        return {name: _readable(one) for name, one in value.items()}
    return value


def paused(tx: Connection, now: datetime) -> list[PausedRoute]:
    """The routes that are paused at this time."""
    every = map(paused_route, tx.execute(select(paused_routes)).mappings())
    return [one for one in every if one.is_in_force(now)]


def paused_route(row: RowMapping) -> PausedRoute:
    """From a row of `paused_routes`, in force or not."""
    rows.checked(row, paused_routes.c)
    return PausedRoute(**row)


def agent_record(row: RowMapping) -> AgentRecord:
    """From a row of `agents`.

    Raises:
        WrongValue: Its report is none.
    """
    rows.checked(row, agents.c)
    try:
        report = reports().validate_json(row["report"])
    except ValidationError as error:
        raise WrongValue(f"report of agents is no report: {error.error_count()} errors") from error
    identity = AgentIdentity(**{field.name: row[field.name] for field in fields(AgentIdentity)})
    return AgentRecord(
        identity=identity, report=report, beats=row["beats"], ended_at=row["ended_at"]
    )


def _sums(lines: Sequence[RowMapping]) -> Iterator[dict[str, Any]]:
    """Rows to be added to `activity`: of each span, its beginning and route."""
    found: dict[tuple[int, datetime, str], dict[str, int]] = {}
    for line in lines:
        rows.checked(line, _LINE)
        one = _counted(line)
        if one is None:
            continue
        for span in SPANS:
            key = (int(span.total_seconds()), begin_of(line["at"], span), line["route"] or "")
            sums = found.setdefault(key, dict.fromkeys((*_COUNTS, "lag_max_us"), 0))
            for name in _COUNTS:
                sums[name] += one.get(name, 0)
            sums["lag_max_us"] = max(sums["lag_max_us"], one.get("lag_us", 0))
    for (span_s, begins_at, route), sums in found.items():
        yield {"span_s": span_s, "begins_at": begins_at, "route": route, **sums}


def _counted(line: RowMapping) -> dict[str, int] | None:
    """What one line of the journal adds; None: nothing."""
    state = TransferState(line["state"])
    if state is TransferState.DEAD:
        return {"dead": 1}
    if state is TransferState.WAITING:
        return None if line["code"] in NO_FAILURE else {"failed": 1}
    counts = {
        "done": 1,
        "objects": line["objects_planned"],
        "bytes_done": line["bytes_planned"],
        "bytes_copied": line["bytes_copied"] or 0,
    }
    if line["sent_at"] is not None:
        lag_us = max(0, (line["at"] - line["sent_at"]) // _MICROSECOND)
        counts |= {"lags": 1, "lag_us": lag_us}
    return counts


def begin_of(at: datetime, span: timedelta) -> datetime:
    """The beginning of the span of time that this moment is in, counted from 1970 UTC."""
    epoch = moment(0)
    return at - (at - epoch) % span


@cache
def _adding(dialect: str) -> Insert:
    statement = upsert(dialect, activity)
    new, old = statement.excluded, activity.c
    sums: dict[str, Any] = {name: old[name] + new[name] for name in _COUNTS}
    largest = func.max if dialect == "sqlite" else func.greatest
    return statement.on_conflict_do_update(
        index_elements=list(activity.primary_key.columns),
        set_={**sums, "lag_max_us": largest(old.lag_max_us, new.lag_max_us)},
    )


def _number(text: Any) -> int:
    """Of the journal's last line in the sums; 0: none is."""
    if text is None:
        return 0
    if not isinstance(text, str) or not text.isdecimal():
        raise WrongValue(f"{SUMMED_TO} of meta is {text!r}: no number")
    return int(text)


def _forget_old(tx: Connection, now: datetime) -> None:
    for span, kept in zip(SPANS, KEPT, strict=True):
        span_s = int(span.total_seconds())
        old = (
            select(*activity.primary_key.columns)
            .where(activity.c.span_s == span_s, activity.c.begins_at < now - kept)
            .order_by(activity.c.begins_at)
            .limit(FORGOTTEN_AT_ONCE)
        )
        tx.execute(delete(activity).where(tuple_(*activity.primary_key.columns).in_(old)))
