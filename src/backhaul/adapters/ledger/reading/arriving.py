"""What was published where and when, counted for expected data.

Counting ends once it is enough. Until then it reads on in short transactions, as many as it takes:
a count that stopped early would call data missing that is there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, CursorResult, RowMapping, and_, select, tuple_

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.expectations import expectation_record
from backhaul.adapters.ledger.reading.observing import ActivityReader, ActivityRow
from backhaul.adapters.ledger.reading.reconciling import ReconciledReader
from backhaul.adapters.ledger.schema import expectations, published, transfers
from backhaul.core.outlook.expectation import ArrivalQuery, Arrived, ExpectationRecord

FILES_AT_ONCE = 1000  # some 15 ms
TRANSFERS_AT_ONCE = 500
EXPECTATIONS_AT_ONCE = 50  # some 10 ms
DEADLINES_MOST = 16  # of one expectation; one of every day has as many in `_NEWEST`
_FIVE_MINUTES = timedelta(minutes=5)
# Of one of a single day a week: the next deadline, the last one, and one that no agent judged.
_NEWEST = timedelta(days=15)
_DONE = "done"
_OF_FILE = (
    *(published.c[name] for name in ("uri", "size_bytes", "transfer_id")),
    *(transfers.c[name] for name in ("state", "finished_at")),
)
_OF_TRANSFER = tuple(
    transfers.c[name]
    for name in ("id", "finished_at", "canonical", "objects_planned", "bytes_planned")
)
_NAMED = (expectations.c.route, expectations.c.name)
_EXPECTATION = select(*_NAMED).order_by(*_NAMED).limit(1)


class ArrivingReader(ActivityReader, ReconciledReader):
    """`core.ports.outlook.OutlookReader`."""

    def ended(self, since: datetime) -> list[ActivityRow]:
        """Over all routes, of each five minutes that begin at or after this moment."""
        return self.activity_by_time(_FIVE_MINUTES, since, since + timedelta(days=1))

    def expectations(self) -> list[ExpectationRecord]:
        """The newest deadlines of each expectation, those that are due among them."""
        found: list[ExpectationRecord] = []
        rest = _EXPECTATION
        while True:
            with self._transaction("the expectations") as tx:
                for _ in range(EXPECTATIONS_AT_ONCE):
                    following = _checked(tx.execute(rest), _NAMED)
                    if not following:
                        return found
                    (one,) = following
                    found += _newest(tx, one)
                    rest = _EXPECTATION.where(tuple_(*_NAMED) > (one["route"], one["name"]))

    def arrived(self, query: ArrivalQuery) -> Arrived:
        """What was published, counted until it is enough."""
        pieces = self._transfers(query) if query.since else self._files(query)
        objects = size_bytes = 0
        ids: set[str] = set()
        found = Arrived()
        for piece in pieces:
            for transfer, count, size in piece:
                objects, size_bytes = objects + count, size_bytes + size
                if count:
                    ids.add(transfer)
            found = Arrived(objects=objects, size_bytes=size_bytes, transfers=len(ids))
            if query.wanted.is_met_by(found):
                break
        return found

    # ------------------------------------------------------------ in a directory, whenever

    def _files(
        self, query: ArrivalQuery, *, of_transfer: str | None = None
    ) -> Iterator[list[tuple[str, int, int]]]:
        """Of the files that are published there now: transfer, 1, and size."""
        for place in query.places:
            base = place.rstrip("/")
            # The file of just that name, and what is below a directory of that name.
            for first, last in ((base, base), (f"{base}/", f"{base}0")):
                after, is_more = first, True
                while is_more:
                    piece = self._files_from(after, last, of_transfer)
                    yield [
                        (row["transfer_id"], 1, row["size_bytes"])
                        for row in piece
                        if _was_done(row, query.until)
                    ]
                    is_more = len(piece) == FILES_AT_ONCE
                    after = piece[-1]["uri"] if piece else after

    def _files_from(self, after: str, last: str, of_transfer: str | None) -> list[RowMapping]:
        """The next ones in the order of their URIs; of that name alone where both are the same."""
        uri = published.c.uri
        statement = (
            select(*_OF_FILE)
            .join(transfers, transfers.c.id == published.c.transfer_id)
            .where(uri == last if after == last else and_(uri > after, uri < last))
            .where(*(() if of_transfer is None else (published.c.transfer_id == of_transfer,)))
            .order_by(uri)
            .limit(FILES_AT_ONCE)
        )
        with self._transaction("the published files") as tx:
            return _checked(tx.execute(statement), _OF_FILE)

    # ------------------------------------------------------------ on a route, within a time

    def _transfers(self, query: ArrivalQuery) -> Iterator[list[tuple[str, int, int]]]:
        """Of the transfers done within the time: id, objects and bytes."""
        of = transfers.c
        place = tuple_(of.finished_at, of.id)
        statement = (
            select(*_OF_TRANSFER)
            .where(
                of.route == query.route,
                of.state == _DONE,
                of.finished_at <= query.until,
            )
            .order_by(of.finished_at, of.id)
            .limit(TRANSFERS_AT_ONCE)
        )
        # One lower bound alone: of two, SQLite reads the index from the first on.
        rest = statement.where(of.finished_at > query.since)
        while True:
            with self._transaction("the transfers done") as tx:
                piece = _checked(tx.execute(rest), _OF_TRANSFER)
            yield [
                (row["id"], row["objects_planned"], row["bytes_planned"])
                for row in piece
                if not query.places or _is_within(row["canonical"], query)
            ]
            for row in piece:
                # Of a transfer to a directory above, only what is below the place counts.
                if query.places and _is_above(row["canonical"], query):
                    yield from self._files(query, of_transfer=row["id"])
            if len(piece) < TRANSFERS_AT_ONCE:
                return
            last = piece[-1]
            rest = statement.where(place > (last["finished_at"], last["id"]))


def _newest(tx: Connection, one: RowMapping) -> Iterator[ExpectationRecord]:
    """Counted back from its own newest: others may be due much later."""
    of = expectations.c
    statement = (
        select(expectations)
        .where(of.route == one["route"], of.name == one["name"])
        .order_by(of.deadline.desc())
        .limit(DEADLINES_MOST)
    )
    found = [expectation_record(row) for row in tx.execute(statement).mappings()]
    return (each for each in found if each.deadline >= found[0].deadline - _NEWEST)


def _checked(found: CursorResult[Any], columns: Sequence[ColumnElement[Any]]) -> list[RowMapping]:
    piece = list(found.mappings())
    for row in piece:
        rows.checked(row, columns)
    return piece


def _was_done(row: RowMapping, until: datetime) -> bool:
    ended = row["finished_at"]
    return row["state"] == _DONE and ended is not None and ended <= until


def _is_within(uri: str | None, query: ArrivalQuery) -> bool:
    bases = [one.rstrip("/") for one in query.places]
    return uri is not None and any(uri == one or uri.startswith(f"{one}/") for one in bases)


def _is_above(uri: str | None, query: ArrivalQuery) -> bool:
    if uri is None or _is_within(uri, query):
        return False
    return any(one.startswith(f"{uri.rstrip('/')}/") for one in query.places)
