"""The ledger as operators' commands read it: their journal, known routes, dead transfers.

As in `reading.observing` every query is bounded in rows: what may be long is read in batches, each
a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Select, and_, or_, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.reading.evidence import find
from backhaul.adapters.ledger.schema import activity, operator_actions, paused_routes, transfers
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.model import TransferState

ROUTES_OVER = timedelta(days=30)
UNDER_WAY_MOST = 2000  # transfers that are looked at for the names of routes; some 10 ms
_HOUR_S = 3600
_ENDED = (
    *("id", "queue", "message_id", "route", "source", "destination", "state", "code", "reason"),
    *("objects_planned", "bytes_planned", "has_letter", "sent_again_as", "sent_again_at"),
    "finished_at",
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
        action: str | None = None,
        operator: str | None = None,
    ) -> Sequence[OperatorAction]:
        """What operators did, newest first.

        Args:
            before: Only those with a smaller number: for the next page.
            until: Only those before that time.
            operator: `user@host`, or `user` on any host.
        """
        columns = operator_actions.c
        query = select(operator_actions).order_by(columns.number.desc()).limit(most)
        if before is not None:
            query = query.where(columns.number < before)
        if since is not None:
            query = query.where(columns.at >= since)
        if until is not None:
            query = query.where(columns.at < until)
        if action is not None:
            query = query.where(columns.action == action)
        if operator is not None:
            on_any = columns.operator.startswith(f"{operator}@", autoescape=True)
            query = query.where(or_(columns.operator == operator, on_any))
        with self._transaction("the operators' actions") as tx:
            return [_action(row) for row in map(dict, tx.execute(query).mappings())]

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

    def open_deaths(
        self, since: datetime | None = None, *, batch: int = 500
    ) -> Iterator[Sequence[RetryCandidate]]:
        """Dead transfers whose dead letter was not sent again, the newest first, in batches.

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
            yield [one for one in page if one.sent_again_as is None]
            after = page[-1]


def _dead(since: datetime | None, after: RetryCandidate | None) -> Select[tuple[object, ...]]:
    at, order = transfers.c.finished_at, (transfers.c.finished_at.desc(), transfers.c.id.desc())
    conditions: list[ColumnElement[bool]] = [transfers.c.state == TransferState.DEAD.value]
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
