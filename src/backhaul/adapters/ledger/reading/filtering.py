"""Which transfers a list has: conditions on their rows, and ids where an index has all of them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

from sqlalchemy import (
    ColumnElement,
    and_,
    bindparam,
    false,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
)

from backhaul.adapters.ledger.paths import packed
from backhaul.adapters.ledger.paths.packed import LAST_CHARACTER
from backhaul.adapters.ledger.reading.evidence import begins_with
from backhaul.adapters.ledger.schema import journal, transfers
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.model import TransferState
from backhaul.core.transfer_ids import time_part

FEW = 4000  # transfers that an index finds, looked at one by one
IDS_AT_ONCE = 250
NEWEST_AT_ONCE, NEWEST_MOST = 2000, 20_000  # transfers of one index
FILESYSTEMS_MOST = QUEUES_MOST = 50
CLOCK_SLACK = timedelta(hours=1)  # lines of the journal whose time is not in their order
# Ids of the first version were dates; those of today begin with 0 for decades.
_OTHER_IDS = time_part(datetime(2058, 1, 1, tzinfo=UTC))
_S3 = re.compile(r"^s3a?://")
# Spelled out: SQLite compares it with the condition of the index.
_DEAD: ColumnElement[str] = literal_column("'dead'")
_DEAD_ONES = (transfers.c.state == _DEAD, transfers.c.finished_at)
_DEAD_OPEN = (and_(_DEAD_ONES[0], transfers.c.settled_at.is_(None)), transfers.c.finished_at)
_OPEN_ONES = (transfers.c.finished_at.is_(None), transfers.c.first_seen_at)
_SUPERSEDED = (transfers.c.state == literal_column("'superseded'"), transfers.c.finished_at)
_DONE = transfers.c.state == literal_column("'done'")
_REFUSED = and_(transfers.c.state == _DEAD, transfers.c.canonical.is_(None))


@dataclass(frozen=True, kw_only=True)
class HistoryFilter:
    """What a transfer must be; each condition that is given has to hold.

    Attributes:
        states: One of these; empty: any.
        settled: Of dead ones: only those that are settled, or only those that are not; None: all.
        codes: It died or waits because of one of these errors.
        source: Beginning of its source, with or without `s3://`.
        destination: Its destination is this directory or below it; a path, or a URI.
        message: Beginning of the SQS message's id.
        since: Aware; it changed its state last at this time or later. `until` is not included.
    """

    states: tuple[TransferState, ...] = ()
    settled: bool | None = None
    codes: tuple[str, ...] = ()
    route: str | None = None
    source: str | None = None
    destination: str | None = None
    message: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = HistoryFilter()


class FilterReader(ReadSession):
    """Finds what a filter lets through, by an index where there is one."""

    def conditions(self, wanted: HistoryFilter) -> tuple[ColumnElement[bool], ...]:
        """On rows of `transfers`; empty: every transfer."""
        of, found = transfers.c, list[ColumnElement[bool]]()
        if wanted.states:
            found.append(of.state.in_([state.value for state in wanted.states]))
        if wanted.settled is not None:
            is_settled = of.settled_at.is_not(None)
            is_so = is_settled if wanted.settled else of.settled_at.is_(None)
            found.append(or_(of.state != TransferState.DEAD.value, is_so))
        if wanted.codes:
            found.append(of.code.in_(wanted.codes))
        if wanted.route is not None:
            found.append(of.route == wanted.route)
        if wanted.source is not None:
            found.append(_any_begins(of.source, _sources(wanted.source)))
        if wanted.destination is not None:
            texts = self._places(wanted.destination)
            found.append(or_(_any_within(of.canonical, texts), _any_within(of.destination, texts)))
        if wanted.message is not None:
            found.append(_any_begins(of.message_id, [wanted.message]))
        if wanted.since is not None:
            found.append(of.updated_at >= wanted.since)
        if wanted.until is not None:
            found.append(of.updated_at < wanted.until)
        return tuple(found)

    def few_ids(self, wanted: HistoryFilter) -> list[str] | None:
        """Ids of all transfers that may match, newest first, where an index has them.

        Returns:
            None: there is no index for them, or there are more than a few.
        """
        for ids in self._ways(wanted):
            found = set(islice(ids, FEW + 1))
            if len(found) <= FEW:
                return sorted(found, reverse=True)
        return None

    def newest_ids(self, wanted: HistoryFilter) -> tuple[list[str], str] | None:
        """The newest of those that may match, where indexes have them by time.

        Returns:
            Ids, newest first, and the text from which on these are all; empty: from the beginning.
            None: there is no index for them, or a better one.
        """
        others = (wanted.message, wanted.source, wanted.destination, wanted.since, wanted.until)
        indexes = self._indexes(wanted)
        if indexes is None or any(one is not None for one in others) or self._has_other_ids():
            return None
        found, floor = set[str](), ""
        for condition, time in indexes:
            ids, since = self._newest_of(condition, time, wanted.route)
            found.update(ids)
            if since is not None:
                # Whatever is not among these ended before that, and so began before it.
                floor = max(floor, time_part(since + CLOCK_SLACK))
        return sorted((one for one in found if one >= floor), reverse=True), floor

    def _newest_of(
        self, condition: ColumnElement[bool], time: ColumnElement[datetime], route: str | None
    ) -> tuple[list[str], datetime | None]:
        """Ids of one index, and the time from which on these are all; None: they are all."""
        order = tuple_(time, transfers.c.id)
        here = select(time, transfers.c.id, transfers.c.route).where(condition)
        query = here = here.order_by(time.desc(), transfers.c.id.desc()).limit(NEWEST_AT_ONCE)
        found, looked_at = list[str](), 0
        while True:
            with self._transaction("transfers") as tx:
                page = tx.execute(query).all()
            found += [one.id for one in page if route in {None, one.route}]
            looked_at += len(page)
            if len(page) < NEWEST_AT_ONCE:
                return found, None
            if len(found) > FEW or looked_at >= NEWEST_MOST:
                return found, page[-1][0]
            query = here.where(order < tuple_(literal(page[-1][0], time.type), page[-1].id))

    def _has_other_ids(self) -> bool:
        """Whether there are some whose order says nothing about time."""
        query = select(transfers.c.id).where(transfers.c.id >= _OTHER_IDS).limit(1)
        with self._transaction("transfers") as tx:
            return tx.execute(query).first() is not None

    @staticmethod
    def _indexes(
        wanted: HistoryFilter,
    ) -> list[tuple[ColumnElement[bool], ColumnElement[datetime]]] | None:
        """That together have all that may match; None: there are not enough."""
        states = set(wanted.states)
        if wanted.codes and not states:
            states = {one for one in TransferState if not _is_well(one)}
        if wanted.route is not None and not states:
            states = set(TransferState)
        if not states or (TransferState.DONE in states and wanted.route is None):
            return None
        found: list[tuple[ColumnElement[bool], ColumnElement[datetime]]] = []
        # First: what ends meanwhile is then in one of those behind, instead of in none.
        if any(not state.is_final for state in states):
            found.append(_OPEN_ONES)
        if TransferState.DONE in states:
            found.append((and_(*done_of(wanted.route)), transfers.c.finished_at))
        if TransferState.SUPERSEDED in states:
            found.append(_SUPERSEDED)
        if TransferState.DEAD in states:
            found.append(_DEAD_OPEN if wanted.settled is False else _DEAD_ONES)
        return found

    def _ways(self, wanted: HistoryFilter) -> Iterator[Iterator[str]]:
        of, states = transfers.c, set(wanted.states)
        if wanted.message is not None:
            yield self._of_message(wanted.message)
        if wanted.source is not None:
            yield self._ranges(of.source, _sources(wanted.source))
        if wanted.destination is not None:
            yield self._of_destination(self._places(wanted.destination))
        # What has an error is dead or has not ended.
        if wanted.codes and not states:
            states = {one for one in TransferState if not _is_well(one)}
        if states and not any(map(_is_well, states)):
            yield self._of_states(states, is_open=wanted.settled is False)
        if wanted.since is not None:
            yield self._changed(wanted.since)

    def _of_states(self, states: Collection[TransferState], *, is_open: bool) -> Iterator[str]:
        if any(not state.is_final for state in states):  # first, as in `_indexes`
            yield from self.ids(*_OPEN_ONES)
        if TransferState.DEAD in states:
            yield from self.ids(*(_DEAD_OPEN if is_open else _DEAD_ONES))

    def _of_message(self, message_id: str) -> Iterator[str]:
        queue = ""
        for _ in range(QUEUES_MOST):
            query = select(func.min(transfers.c.queue)).where(transfers.c.queue > queue)
            with self._transaction("the transfers of a message") as tx:
                queue = tx.execute(query).scalar() or ""
            if not queue:
                return
            is_it = and_(
                transfers.c.queue == queue, *begins_with(transfers.c.message_id, message_id)
            )
            yield from self._some(is_it)

    def _of_destination(self, texts: Sequence[str]) -> Iterator[str]:
        is_within = [*_within(transfers.c.canonical, texts)]
        refused = [and_(_REFUSED, one) for one in _within(transfers.c.destination, texts)]
        for condition in (*is_within, *refused):
            yield from self._some(condition)
        # They may have claimed nothing yet.
        yield from self.ids(*_OPEN_ONES)

    def _ranges(self, column: ColumnElement[str], beginnings: Sequence[str]) -> Iterator[str]:
        for one in beginnings:
            yield from self._some(and_(*begins_with(column, one)))

    def _some(self, condition: ColumnElement[bool]) -> Sequence[str]:
        query = select(transfers.c.id).where(condition).limit(FEW + 1)
        with self._transaction("transfers") as tx:
            return list(tx.execute(query).scalars())

    def _changed(self, since: datetime) -> Iterator[str]:
        """By the journal, which has a line for each change, one after the other."""
        first = self._line_at(since - CLOCK_SLACK)
        query = select(journal.c.transfer_id).where(journal.c.number >= first)
        with self._transaction("the journal") as tx:
            found = tx.execute(query.order_by(journal.c.number).limit(4 * FEW + 1)).scalars().all()
        if len(found) > 4 * FEW:
            # More lines than are looked at: as if there were too many transfers.
            return iter([str(number) for number in range(FEW + 1)])
        return iter(found)

    def _line_at(self, at: datetime) -> int:
        """The number of the first line of the journal at this time or later, by halving."""
        number = journal.c.number
        here = select(number, journal.c.at).where(number >= bindparam("of_number"))
        query = here.order_by(number).limit(1)
        with self._transaction("the journal") as tx:
            # Each by itself: SQLite reads the whole table for both at once.
            low = tx.execute(select(func.min(number))).scalar()
            high = tx.execute(select(func.max(number))).scalar()
            if low is None or high is None:
                return 0
            high += 1
            while low < high:
                middle = (low + high) // 2
                found = tx.execute(query, {"of_number": middle}).one_or_none()
                if found is None or found.at >= at:
                    high = middle
                else:
                    low = found.number + 1
        return int(low)

    def ids(self, condition: ColumnElement[bool], time: ColumnElement[datetime]) -> Iterator[str]:
        """Of all transfers in an index of their own, which has them by this time."""
        order = tuple_(time, transfers.c.id)
        here = select(time, transfers.c.id).where(condition).order_by(time, transfers.c.id)
        query = here
        while True:
            with self._transaction("transfers") as tx:
                found = tx.execute(query.limit(IDS_AT_ONCE)).all()
            for one in found:
                yield one[1]
            if len(found) < IDS_AT_ONCE:
                return
            last_at, last_id = found[-1]
            query = here.where(order > tuple_(literal(last_at, time.type), last_id))

    def _places(self, destination: str) -> list[str]:
        """A path, on every file system on which something was published; a URI as it is."""
        if not destination.startswith("/"):
            return [destination.rstrip("/")]
        path = destination.rstrip("/")
        return [path, *(f"{one}{path}" for one in self._filesystems())]

    def _filesystems(self) -> list[str]:
        """`hdfs://host:port` and `file://`: all on which a file was published."""
        found: list[str] = []
        after = ""
        for _ in range(FILESYSTEMS_MOST):
            with self._transaction("the published files") as tx:
                uri = packed.first_behind(tx, after)
            match = re.match(r"[a-z0-9]+://[^/]*", uri or "")
            if match is None:
                break
            found.append(match[0])
            after = f"{match[0]}/{LAST_CHARACTER}"
        return found


def is_only(wanted: HistoryFilter, state: TransferState) -> bool:
    """True where it is of this state and of nothing else."""
    return wanted == HistoryFilter(states=(state,), settled=wanted.settled)


def done_of(route: str | None) -> tuple[ColumnElement[bool], ...]:
    """As their index has them."""
    return _DONE, transfers.c.route == route


def ids_of_state(reader: FilterReader, wanted: HistoryFilter) -> Iterator[str] | None:
    """Ids of the dead or the superseded; None: more is wanted, or there is no index for them."""
    if is_only(wanted, TransferState.SUPERSEDED):
        return reader.ids(*_SUPERSEDED)
    if wanted.settled or not is_only(wanted, TransferState.DEAD):
        return None
    return reader.ids(*(_DEAD_ONES if wanted.settled is None else _DEAD_OPEN))


def _is_well(state: TransferState) -> bool:
    return state in {TransferState.DONE, TransferState.SUPERSEDED}


def _sources(text: str) -> list[str]:
    """However the message has written it."""
    bare = _S3.sub("", text)
    return [f"s3://{bare}", f"s3a://{bare}", bare]


def _any_begins(column: ColumnElement[str], beginnings: Sequence[str]) -> ColumnElement[bool]:
    return or_(false(), *(and_(*begins_with(column, one)) for one in beginnings))


def _within(column: ColumnElement[str], texts: Sequence[str]) -> Iterator[ColumnElement[bool]]:
    for one in texts:
        yield column == one
        yield and_(*begins_with(column, f"{one}/"))


def _any_within(column: ColumnElement[str], texts: Sequence[str]) -> ColumnElement[bool]:
    return or_(false(), *_within(column, texts))
