"""The ledger as `status` and the dashboard read it: agents, sums, what is open, what died.

Every query is bounded in rows and reads an index, so that none holds up a commit for long however
large the ledger is: in a rollback journal a commit waits for readers.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime, timedelta

from sqlalchemy import RowMapping, func, literal_column, select, tuple_

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.agents import agent_record, paused
from backhaul.adapters.ledger.fleet.tables import members
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.schema import (
    activity,
    agents,
    jobs,
    journal,
    meta,
    transfers,
)
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.health import ObservedAgent
from backhaul.core.model import TransferState
from backhaul.core.ports import PausedRoute

AGENTS_MOST = 50
SUMS_AT_ONCE = 1000  # rows; some 5 ms
_HOUR = timedelta(hours=1)
_HOUR_S = 3600
_JUDGED = select(members.c.id).where(members.c.judged_at.is_not(None))
_DONE = (TransferState.DONE.value, TransferState.SUPERSEDED.value)


@dataclass(frozen=True, kw_only=True)
class ActivityRow:
    """What ended and failed on one route within one span of time.

    Attributes:
        route: Empty: of none, such as messages that could not be read.
        done: Transfers, those superseded among them.
        failed: Attempts that another one follows.
        bytes_done: Of all objects of those done; `bytes_copied` without those adopted.
        lags: How many of those done have a lag, sent to done; `lag` is their sum.
    """

    begins_at: datetime
    route: str
    done: int
    dead: int
    failed: int
    objects: int
    bytes_done: int
    bytes_copied: int
    lags: int
    lag: timedelta
    lag_max: timedelta


@dataclass(frozen=True, kw_only=True)
class OpenTransfer:
    """A transfer that has not ended."""

    id: str
    message_id: str | None
    route: str
    source: str
    destination: str
    state: TransferState
    attempt: int
    failures: int
    engine: str | None
    engine_reason: str | None
    objects_planned: int
    bytes_planned: int
    code: str | None
    reason: str | None
    held_by: str | None
    held_since: datetime | None
    retry_at: datetime | None
    first_seen_at: datetime
    updated_at: datetime


@dataclass(frozen=True, kw_only=True)
class OpenJob:
    """A YARN application that may run, as last seen; the attributes are those of `JobRow`."""

    transfer_id: str
    tag: str
    application_id: str | None
    state: str
    tracking_url: str | None
    maps_done: int | None
    maps: int | None
    size_bytes: int | None


@dataclass(frozen=True, kw_only=True)
class DeadTransfer:
    """A transfer that died, and is not settled."""

    id: str
    message_id: str | None
    route: str
    source: str
    destination: str
    code: str
    reason: str
    has_dead_letter: bool
    finished_at: datetime


class ActivityReader(ReadSession):
    """What the front page shows; each call is one short transaction.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """

    def ledger_id(self) -> str:
        """16 hex digits drawn when the ledger was made."""
        with self._transaction("the ledger's id") as tx:
            found = tx.execute(select(meta.c.value).where(meta.c.name == "ledger_id"))
            return rows.text(found.scalar_one()) or ""

    def agents(self) -> list[ObservedAgent]:
        """The newest starts first."""
        me = Owner.current()
        query = select(agents).order_by(agents.c.started_at.desc()).limit(AGENTS_MOST)
        with self._transaction("the agents") as tx:
            records = [agent_record(row) for row in tx.execute(query).mappings()]
            judged = set(map(rows.text, tx.execute(_JUDGED).scalars()))
        seen = [me.sees(one.identity.owner) for one in records]
        return [
            ObservedAgent(
                record=record,
                is_gone=is_there is False or record.identity.id in judged,
                is_there=is_there is True,
            )
            for record, is_there in zip(records, seen, strict=True)
        ]

    def leader(self) -> str | None:
        """Id of the agent that leads those of a database; None: a file has one agent."""
        query = select(meta.c.value).where(meta.c.name == "leader")
        with self._transaction("the leader") as tx:
            found = tx.execute(query).scalar_one_or_none()
        return None if found is None else (rows.text(found) or "").partition(":")[2]

    def paused_routes(self, now: datetime) -> list[PausedRoute]:
        """The routes that are paused at this time."""
        with self._transaction("the paused routes") as tx:
            return paused(tx, now)

    def activity(self, span: timedelta, since: datetime, until: datetime) -> list[ActivityRow]:
        """The sums of each span of time and route that begins in [since, until), oldest first.

        Args:
            span: 5 minutes, kept for 8 days, or 1 hour, kept for 800 days.
        """
        query = (
            select(activity)
            .where(
                activity.c.span_s == int(span.total_seconds()),
                activity.c.begins_at >= since,
                activity.c.begins_at < until,
            )
            .order_by(activity.c.begins_at, activity.c.route)
            .limit(SUMS_AT_ONCE)
        )
        place = tuple_(activity.c.begins_at, activity.c.route)
        found: list[ActivityRow] = []
        rest = query
        while True:
            with self._transaction("the activity") as tx:
                piece = [_activity_row(row) for row in tx.execute(rest).mappings()]
            found += piece
            if len(piece) < SUMS_AT_ONCE:
                return found
            rest = query.where(place > (piece[-1].begins_at, piece[-1].route))

    def mean_bytes(self, since: datetime) -> float | None:
        """Of the transfers done since then, to the hour; None where there were none."""
        query = select(func.sum(activity.c.done), func.sum(activity.c.bytes_done)).where(
            activity.c.span_s == _HOUR_S, activity.c.begins_at >= since - _HOUR
        )
        with self._transaction("the activity") as tx:
            done, size_bytes = tx.execute(query).one()
        return size_bytes / done if done else None

    def last_done(self, since: datetime) -> dict[str, datetime]:
        """By route, the beginning of the last hour since then in which a transfer was done."""
        query = (
            select(activity.c.route, func.max(activity.c.begins_at).label("last"))
            .where(activity.c.span_s == _HOUR_S, activity.c.begins_at >= since, activity.c.done > 0)
            .group_by(activity.c.route)
        )
        with self._transaction("the activity") as tx:
            return {one.route: one.last for one in tx.execute(query)}

    def activity_by_time(
        self, span: timedelta, since: datetime, until: datetime, *, route: str | None = None
    ) -> list[ActivityRow]:
        """The sums of each span of time, of one route or over all of them, oldest first.

        Args:
            span: As in `activity`.
        """
        of = activity.c
        counts = (of.done, of.dead, of.failed, of.objects, of.bytes_done, of.bytes_copied, of.lags)
        sums = [func.sum(one).label(one.name) for one in (*counts, of.lag_us)]
        query = (
            select(of.begins_at, *sums, func.max(of.lag_max_us).label("lag_max_us"))
            .where(
                of.span_s == int(span.total_seconds()),
                of.begins_at >= since,
                of.begins_at < until,
                *(() if route is None else (of.route == route,)),
            )
            .group_by(of.begins_at)
            .order_by(of.begins_at)
        )
        with self._transaction("the activity") as tx:
            return [
                ActivityRow(
                    begins_at=row["begins_at"],
                    route=route or "",
                    **{one.name: int(row[one.name]) for one in counts},
                    lag=timedelta(microseconds=int(row["lag_us"])),
                    lag_max=timedelta(microseconds=row["lag_max_us"]),
                )
                for row in tx.execute(query).mappings()
            ]

    def open_transfers(self, *, most: int) -> list[OpenTransfer]:
        """Those that have not ended, oldest first."""
        names = ("id", "message_id", "route", "source", "destination", "state", "attempt")
        more = ("failures", "engine", "engine_reason", "objects_planned", "bytes_planned", "code")
        last = ("reason", "held_by", "held_since", "retry_at", "first_seen_at", "updated_at")
        columns = [transfers.c[name] for name in (*names, *more, *last)]
        query = (
            select(*columns)
            .where(transfers.c.finished_at.is_(None))
            .order_by(transfers.c.first_seen_at)
            .limit(most)
        )
        with self._transaction("the open transfers") as tx:
            found = []
            for row in tx.execute(query).mappings():
                rows.checked(row, columns)
                route, state = row["route"] or "", TransferState(row["state"])
                found.append(OpenTransfer(**{**row, "route": route, "state": state}))
            return found

    def open_jobs(self, *, most: int) -> list[OpenJob]:
        """The YARN applications that may run."""
        columns = [jobs.c[field.name] for field in fields(OpenJob)]
        query = select(*columns).where(jobs.c.closed_at.is_(None)).limit(most)
        with self._transaction("the open applications") as tx:
            found = []
            for row in tx.execute(query).mappings():
                rows.checked(row, columns)
                found.append(OpenJob(**row))
            return found

    def dead_transfers(self, since: datetime, *, most: int) -> list[DeadTransfer]:
        """Those that died at or after `since` and are not settled, newest first."""
        names = ("id", "message_id", "route", "source", "destination", "code", "reason")
        more = ("has_letter", "finished_at")
        columns = [transfers.c[name] for name in (*names, *more)]
        query = (
            select(*columns)
            .where(
                transfers.c.state == literal_column("'dead'"),
                transfers.c.settled_at.is_(None),
                transfers.c.finished_at >= since,
            )
            .order_by(transfers.c.finished_at.desc())
            .limit(most)
        )
        with self._transaction("the dead transfers") as tx:
            found = []
            for row in tx.execute(query).mappings():
                rows.checked(row, columns)
                texts = {name: row[name] or "" for name in ("route", "code", "reason")}
                values = {name: row[name] for name in (*names, *more[1:])} | texts
                found.append(DeadTransfer(**values, has_dead_letter=row["has_letter"]))
            return found

    def newest_lags(self, since: datetime, *, most: int) -> list[tuple[str, timedelta]]:
        """Route and lag, sent to done, of the newest transfers done since then, newest first.

        Args:
            most: So many lines of the journal are looked at.
        """
        newest = (
            select(journal.c.transfer_id, journal.c.at, journal.c.state)
            .order_by(journal.c.number.desc())
            .limit(most)
            .subquery()
        )
        query = (
            select(transfers.c.route, transfers.c.sent_at, newest.c.at)
            .join(newest, newest.c.transfer_id == transfers.c.id)
            .where(
                newest.c.state.in_(_DONE),
                newest.c.at >= since,
                transfers.c.sent_at.is_not(None),
            )
        )
        with self._transaction("the newest lags") as tx:
            return [
                (row["route"] or "", max(timedelta(), row["at"] - row["sent_at"]))
                for row in tx.execute(query).mappings()
            ]


def _activity_row(row: RowMapping) -> ActivityRow:
    return ActivityRow(
        begins_at=row["begins_at"],
        route=row["route"],
        done=row["done"],
        dead=row["dead"],
        failed=row["failed"],
        objects=row["objects"],
        bytes_done=row["bytes_done"],
        bytes_copied=row["bytes_copied"],
        lags=row["lags"],
        lag=timedelta(microseconds=row["lag_us"]),
        lag_max=timedelta(microseconds=row["lag_max_us"]),
    )
