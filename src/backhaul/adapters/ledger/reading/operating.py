"""The ledger as operators' commands read it: their journal, known routes, dead transfers.

As in `reading.observing` every query is bounded in rows: what may be long is read in batches, each
a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, func, literal_column, or_, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.reading.evidence import find
from backhaul.adapters.ledger.schema import activity, operator_actions, paused_routes, transfers
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.model import TransferState

ROUTES_OVER = timedelta(days=30)
UNDER_WAY_MOST = 2000  # transfers that are looked at for the names of routes; some 10 ms
IDS_AT_ONCE = 500
_HOUR_S = 3600
_ENDED = (
    *("id", "queue", "message_id", "route", "source", "destination", "state", "code", "reason"),
    *("objects_planned", "bytes_planned", "has_letter", "sent_again_as", "sent_again_at"),
    *("settled_at", "settled_how", "settled_transfer", "finished_at"),
)
_COLUMNS = tuple(transfers.c[name] for name in _ENDED)


@dataclass(frozen=True, kw_only=True)
class OperatorAction:
    """One line of `backhaul journal`."""

    number: int
    at: datetime
    operator: str
    origin: str
    action: str
    subject: str
    transfers: int
    size_bytes: int
    outcome: str


@dataclass(frozen=True, kw_only=True)
class RetryCandidate:
    """A transfer that somebody may want to be worked on again.

    Attributes:
        queue: ARN; `copy`, `adopt` or None: no message requested it.
        has_letter: It is dead, and its dead letter was sent.
        sent_again_as: The message as which that went back to the queue.
        settled_at: As in `TransferRow`, like the two below.
    """

    id: str
    queue: str | None
    message_id: str | None
    route: str | None
    source: str
    destination: str
    state: TransferState
    code: str | None
    reason: str | None
    objects_planned: int
    bytes_planned: int
    has_letter: bool
    sent_again_as: str | None
    sent_again_at: datetime | None
    settled_at: datetime | None
    settled_how: str | None
    settled_transfer: str | None
    finished_at: datetime | None


class OperatorReader(ReadSession):
    """What `journal`, `pause` and `retry` read."""

    def operator_actions(
        self,
        *,
        most: int,
        before: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        actions: Sequence[str] = (),
        operator: str | None = None,
    ) -> Sequence[OperatorAction]:
        """What operators did, newest first.

        Args:
            before: Only those with a smaller number: for the next page.
            until: Only those before that time.
            actions: One of these; empty: any.
            operator: `user@host`, or `user` on any host.
        """
        number = operator_actions.c.number
        conditions = _conditions(since, until, actions, operator)
        if before is not None:
            conditions.append(number < before)
        query = select(operator_actions).where(*conditions).order_by(number.desc()).limit(most)
        with self._transaction("the operators' actions") as tx:
            return [_action(row) for row in map(dict, tx.execute(query).mappings())]

    def count_actions(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        actions: Sequence[str] = (),
        operator: str | None = None,
    ) -> int:
        """How many lines there are, as `operator_actions` has them without `most`."""
        conditions = _conditions(since, until, actions, operator)
        query = select(func.count()).select_from(operator_actions).where(*conditions)
        with self._transaction("the operators' actions") as tx:
            return int(tx.execute(query).scalar_one())

    def known_routes(self, now: datetime) -> list[str]:
        """Names of routes that were worked on within a month, or are worked on or paused now."""
        worked_on = (
            select(activity.c.route)
            .where(activity.c.span_s == _HOUR_S, activity.c.begins_at >= now - ROUTES_OVER)
            .distinct()
        )
        # Of a long pause there may be very many; what it pauses is known by itself.
        newest = (
            select(transfers.c.route)
            .where(transfers.c.finished_at.is_(None))
            .order_by(transfers.c.first_seen_at.desc())
            .limit(UNDER_WAY_MOST)
            .subquery()
        )
        under_way = select(newest.c.route).distinct()
        found: set[str | None] = set()
        for query in (worked_on, under_way, select(paused_routes.c.route)):
            with self._transaction("the names of routes") as tx:
                found |= {rows.text(one) for one in tx.execute(query).scalars()}
        return sorted(one for one in found if one)

    def candidate(self, id_prefix: str) -> RetryCandidate:
        """One transfer, in whatever state it is.

        Raises:
            PermanentError: E_NO_SUCH_TRANSFER, no transfer or more than one starts like this.
        """
        with self._transaction(id_prefix) as tx:
            return _candidate(find(tx, id_prefix))

    def candidates(self, ids: Sequence[str]) -> dict[str, RetryCandidate]:
        """Those of these transfers that the ledger has, by id."""
        found: dict[str, RetryCandidate] = {}
        for start in range(0, len(ids), IDS_AT_ONCE):
            some = transfers.c.id.in_(ids[start : start + IDS_AT_ONCE])
            with self._transaction("the transfers of dead letters") as tx:
                rows_found = tx.execute(select(*_COLUMNS).where(some)).mappings()
                found |= {row["id"]: _candidate(dict(row)) for row in rows_found}
        return found

    def open_deaths(
        self, since: datetime | None = None, *, batch: int = 500
    ) -> Iterator[Sequence[RetryCandidate]]:
        """Dead transfers that are not settled, the newest first, in batches.

        Args:
            since: Only those that died at or after it.
        """
        after: RetryCandidate | None = None
        while True:
            with self._transaction("the dead transfers") as tx:
                query = _dead(since, after).limit(batch)
                page = [_candidate(row) for row in map(dict, tx.execute(query).mappings())]
            if not page:
                return
            yield page
            after = page[-1]


def _conditions(
    since: datetime | None, until: datetime | None, actions: Sequence[str], operator: str | None
) -> list[ColumnElement[bool]]:
    columns, found = operator_actions.c, list[ColumnElement[bool]]()
    if since is not None:
        found.append(columns.at >= since)
    if until is not None:
        found.append(columns.at < until)
    if actions:
        found.append(columns.action.in_(actions))
    if operator is not None:
        on_any = columns.operator.istartswith(f"{operator}@", autoescape=True)
        found.append(or_(columns.operator == operator, on_any))
    return found


def _dead(since: datetime | None, after: RetryCandidate | None) -> Select[tuple[object, ...]]:
    at, order = transfers.c.finished_at, (transfers.c.finished_at.desc(), transfers.c.id.desc())
    # Spelled out: SQLite compares it with the condition of the index.
    conditions: list[ColumnElement[bool]] = [
        transfers.c.state == literal_column("'dead'"),
        transfers.c.settled_at.is_(None),
    ]
    if since is not None:
        conditions.append(at >= since)
    if after is not None:
        same_time = and_(at == after.finished_at, transfers.c.id < after.id)
        # The first of the two is what the index is searched by.
        conditions += [at <= after.finished_at, or_(at < after.finished_at, same_time)]
    return select(*_COLUMNS).where(*conditions).order_by(*order)


def _action(row: dict[str, object]) -> OperatorAction:
    rows.checked(row, operator_actions.c)
    return OperatorAction(**row)  # type: ignore[arg-type]


def _candidate(row: object) -> RetryCandidate:
    values = {name: row[name] for name in _ENDED}  # type: ignore[index]
    rows.checked(values, _COLUMNS)
    return RetryCandidate(**{**values, "state": TransferState(values["state"])})
