"""What was published where and when, counted for expected data.

Counting ends once it is enough. Until then it reads on in short transactions, as many as it takes:
a count that stopped early would call data missing that is there. Between them it may rest: where it
was is a value.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    CursorResult,
    RowMapping,
    and_,
    case,
    func,
    select,
    tuple_,
    type_coerce,
)

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.expectations import expectation_record
from backhaul.adapters.ledger.paths import packed
from backhaul.adapters.ledger.paths.block import PublishedRow
from backhaul.adapters.ledger.reading.observing import ActivityReader, ActivityRow
from backhaul.adapters.ledger.reading.reconciling import ReconciledReader
from backhaul.adapters.ledger.schema import (
    WrongValue,
    expectations,
    moment,
    published,
    transfers,
)
from backhaul.core.outlook.counting import Count, whole
from backhaul.core.outlook.expectation import ArrivalQuery, Arrived, ExpectationRecord

FILES_AT_ONCE = 5000  # some 15 ms
TRANSFERS_AT_ONCE = 1000
EXPECTATIONS_AT_ONCE = 50  # some 10 ms
DEADLINES_MOST = 16  # of one expectation; one of every day has as many in `_NEWEST`
_FIVE_MINUTES = timedelta(minutes=5)
# Of one of a single day a week: the next deadline, the last one, and one that no agent judged.
_NEWEST = timedelta(days=15)
_DONE = "done"
_OF_TRANSFER = (
    transfers.c.id,
    type_coerce(transfers.c.finished_at, BigInteger),  # a date of each would take longer than all
    *(transfers.c[name] for name in ("canonical", "objects_planned", "bytes_planned")),
)
# Transfer, objects and bytes.
_Part = tuple[str, int, int]
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
        return whole(self.count_arrivals, query)

    def count_arrivals(self, query: ArrivalQuery, so_far: Count | None) -> Count:
        """One piece more, in one short transaction, until it is enough."""
        before = so_far or Count(position=_Position.of(query))
        position = before.position
        if not isinstance(position, _Position):
            raise TypeError("a count of another reader")
        piece = self._transfers(query, position) if position.is_of_transfers else None
        if piece is None:
            piece = self._files(query, position)
        found = Arrived(
            objects=before.found.objects + sum(count for _, count, _ in piece),
            size_bytes=before.found.size_bytes + sum(size for _, _, size in piece),
            transfers=position.know(transfer for transfer, count, _ in piece if count),
        )
        is_over = position.is_at_end or query.wanted.is_met_by(found)
        return Count(found=found, is_over=is_over, position=position)

    # ------------------------------------------------------------ in a directory, whenever

    def _files(self, query: ArrivalQuery, position: _Position) -> list[_Part]:
        """Of the files that are published there now: transfer, files and bytes."""
        if not position.ranges:
            return []
        after, last = position.ranges[0]
        uri = published.c.uri
        here = (
            select(uri, published.c.transfer_id, published.c.size_bytes)
            .where(uri == last if after == last else and_(uri > after, uri < last))
            .order_by(uri)
            .limit(FILES_AT_ONCE)
            .subquery()
        )
        # Summed by SQLite: a million rows are read in a tenth of the time that Python needs.
        by_transfer = (
            select(
                here.c.transfer_id,
                func.count().label("files"),
                func.sum(here.c.size_bytes).label("size_bytes"),
                func.max(here.c.uri).label("last"),
            )
            .group_by(here.c.transfer_id)
            .subquery()
        )
        was_done = and_(transfers.c.state == _DONE, transfers.c.finished_at <= query.until)
        statement = select(by_transfer, case((was_done, 1), else_=0)).outerjoin(
            transfers, transfers.c.id == by_transfer.c.transfer_id
        )
        with self._transaction("the published files") as tx:
            if not packed.has_packed(tx, after, last):
                found = [_typed(row) for row in tx.execute(statement)]
            elif after == last:
                found = _counted(tx, packed.rows_at(tx, [last]), was_done)
            else:
                found = _counted(tx, packed.rows_between(tx, after, last, FILES_AT_ONCE), was_done)
        position.go_on(max((row[3] for row in found), default=""), sum(row[1] for row in found))
        wanted = position.above
        return [
            (transfer, files, size)
            for transfer, files, size, _, is_done in found
            if is_done and (wanted is None or transfer in wanted)
        ]

    # ------------------------------------------------------------ on a route, within a time

    def _transfers(self, query: ArrivalQuery, position: _Position) -> list[_Part]:
        """Of the transfers done within the time: id, objects and bytes."""
        of = transfers.c
        place = tuple_(of.finished_at, of.id)
        # One lower bound alone: of two, SQLite reads the index from the first on.
        last = position.last
        begins = of.finished_at > query.since if last is None else place > last
        statement = (
            select(*_OF_TRANSFER)
            .where(of.route == query.route, of.state == _DONE, of.finished_at <= query.until)
            .where(begins)
            .order_by(of.finished_at, of.id)
            .limit(TRANSFERS_AT_ONCE)
        )
        with self._transaction("the transfers done") as tx:
            piece = [_typed_transfer(row) for row in tx.execute(statement)]
            if piece:
                position.last = (moment(piece[-1][1]), piece[-1][0])
        position.is_of_transfers = len(piece) == TRANSFERS_AT_ONCE
        if query.places:
            # Of a transfer to a directory above, only what is below the place counts.
            position.count_below(row[0] for row in piece if _is_above(row[2], query))
        return [
            (transfer, objects, size)
            for transfer, _, canonical, objects, size in piece
            if not query.places or _is_within(canonical, query)
        ]


@dataclass(kw_only=True)
class _Position:
    """Where a count goes on.

    Attributes:
        ranges: Of URIs that are still to be read: after the first, and before the last; where both
            are the same, of that name alone.
        is_of_transfers: The transfers done within a time are still read, and `last` was the last.
        above: Files of these transfers count; None: of all.
        ids: Transfers that brought something.
    """

    ranges: deque[tuple[str, str]]
    is_of_transfers: bool
    last: tuple[datetime, str] | None = None
    above: set[str] | None = None
    ids: set[str] = field(default_factory=set)

    @classmethod
    def of(cls, query: ArrivalQuery) -> _Position:
        """At the beginning."""
        bases = [place.rstrip("/") for place in query.places]
        # The file of just that name, and what is below a directory of that name.
        ranges = [pair for base in bases for pair in ((base, base), (f"{base}/", f"{base}0"))]
        is_timed = query.since is not None
        return cls(
            ranges=deque(ranges), is_of_transfers=is_timed, above=set() if is_timed else None
        )

    @property
    def is_at_end(self) -> bool:
        """Nothing is left to read."""
        return not self.is_of_transfers and (not self.ranges or self.above == set())

    def know(self, ids: Iterable[str]) -> int:
        """How many there are with these."""
        self.ids.update(ids)
        return len(self.ids)

    def count_below(self, ids: Iterable[str]) -> None:
        """Their files below the places count, too."""
        if self.above is not None:
            self.above.update(ids)

    def go_on(self, last: str, files: int) -> None:
        """So many files were read, the last of them with this URI."""
        _, end = self.ranges.popleft()
        if files == FILES_AT_ONCE and last != end:
            self.ranges.appendleft((last, end))


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


def _counted(
    tx: Connection, files: Sequence[PublishedRow], was_done: ColumnElement[bool]
) -> list[tuple[str, int, int, str, int]]:
    """The same sums, where some of the files are packed."""
    sums: dict[str, tuple[int, int]] = {}
    last: dict[str, str] = {}
    for one in files:
        count, size = sums.get(one.transfer_id, (0, 0))
        sums[one.transfer_id] = (count + 1, size + one.size_bytes)
        last[one.transfer_id] = one.uri
    done: set[str] = set()
    ids = sorted(sums)
    for start in range(0, len(ids), rows.LOOKUP_BATCH):
        some = ids[start : start + rows.LOOKUP_BATCH]
        query = select(transfers.c.id).where(transfers.c.id.in_(some), was_done)
        done.update(tx.execute(query).scalars())
    return [_typed((one, *sums[one], last[one], int(one in done))) for one in ids]


def _typed(row: Sequence[Any]) -> tuple[str, int, int, str, int]:
    """As Backhaul writes them; a size that is no number makes a sum that is none."""
    transfer, files, size, last, is_done = row
    if not (isinstance(transfer, str) and isinstance(last, str)):
        raise WrongValue(f"uri or transfer_id of published is no text: {last!r}, {transfer!r}")
    if not isinstance(size, int) or size < 0:
        raise WrongValue(f"size_bytes of published add up to {size!r}")
    return transfer, files, size, last, is_done


def _typed_transfer(row: Sequence[Any]) -> tuple[str, int, str | None, int, int]:
    transfer, ended, canonical, objects, size = row
    is_text = isinstance(transfer, str) and isinstance(canonical, str | None)
    for number in (ended, objects, size):
        if not is_text or not isinstance(number, int) or number < 0:
            raise WrongValue(f"a row of transfers has {tuple(row)!r}")
    return transfer, ended, canonical, objects, size


def _is_within(uri: str | None, query: ArrivalQuery) -> bool:
    bases = [one.rstrip("/") for one in query.places]
    return uri is not None and any(uri == one or uri.startswith(f"{one}/") for one in bases)


def _is_above(uri: str | None, query: ArrivalQuery) -> bool:
    if uri is None or _is_within(uri, query):
        return False
    return any(one.startswith(f"{uri.rstrip('/')}/") for one in query.places)
