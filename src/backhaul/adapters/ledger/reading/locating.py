"""From a place to its transfers: by the target path that they claimed, and by their source.

Both texts have an index, in byte order and then by id, so by time. What lies below a place is a
range of it, which may be all of the ledger: it is read in pieces, each a transaction of its own, so
that no commit waits for long.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Select,
    and_,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    select,
    tuple_,
)

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.paths import packed
from backhaul.adapters.ledger.paths.packed import LAST_CHARACTER
from backhaul.adapters.ledger.reading.evidence import begins_with
from backhaul.adapters.ledger.reading.plan_search import PlanSearchReader, TextRange
from backhaul.adapters.ledger.reading.searching import FOUND_COLUMNS, FoundTransfer, found_transfer
from backhaul.adapters.ledger.reading.transfer_rows import TransferRow, transfer_row
from backhaul.adapters.ledger.schema import completion_markers, objects, published, transfers
from backhaul.core.ports import Published

TEXTS_AT_ONCE = 200
FILES_AT_ONCE = 10_000
FILES_READ = 2000  # some 15 ms
FILESYSTEMS_MOST = 50
_KEPT_SUM = func.coalesce(transfers.c.bytes_copied, 0).label("copied_bytes")
_ROWS = select(transfers, _KEPT_SUM)
_NEWEST = transfers.c.id.desc()
# Spelled out: SQLite compares it with the condition of the index.
_DEAD: ColumnElement[str] = literal_column("'dead'")
_MARKER = select(completion_markers).where(completion_markers.c.uri == bindparam("of_uri"))


@dataclass(frozen=True, kw_only=True)
class MarkerNow:
    """An empty file that a transfer published after all others."""

    uri: str
    transfer_id: str
    published_at: datetime


class TransferEnd(StrEnum):
    """By which text a transfer is looked for; the values are columns."""

    SOURCE = "source"  # `s3://bucket/key`, as requested
    TARGET = "canonical"  # the URI that it claimed
    REFUSED = "destination"  # as requested, of those that died before they claimed one

    @property
    def column(self) -> ColumnElement[str]:
        found: ColumnElement[str] = transfers.c[self.value]
        return found

    @property
    def condition(self) -> ColumnElement[bool]:
        """Of the rows that its index has."""
        if self is TransferEnd.REFUSED:
            return and_(transfers.c.state == _DEAD, transfers.c.canonical.is_(None))
        return self.column.is_not(None)

    def begins_with(self, prefix: str) -> tuple[ColumnElement[bool], ...]:
        return (self.condition, *begins_with(self.column, prefix))


@dataclass(frozen=True, kw_only=True)
class OpenUnclaimed:
    """Some transfers that have not ended and have claimed nothing.

    Attributes:
        destinations: Id and destination, as requested.
        last: When the oldest one that was looked at was first seen; None: there are no older ones.
    """

    destinations: tuple[tuple[str, str], ...]
    last: datetime | None


@dataclass(frozen=True, kw_only=True)
class FilesNow:
    """How much of what a transfer brought is what the ledger published there last.

    Attributes:
        checked: So many of its objects were looked at, the first ones.
        there: So many of those are what was published last at their paths.
        replaced: At the paths of so many another transfer published last. Of the rest the ledger
            has nothing.
    """

    checked: int
    there: int
    replaced: int


class PlaceReader(PlanSearchReader):
    """What `where` reads, and others who look for transfers by a place.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """

    # ------------------------------------------------------------ transfers

    def known(self, end: TransferEnd, texts: Sequence[str]) -> list[str]:
        """Those of these texts that a transfer has."""
        here = select(transfers.c.id).where(end.condition, end.column == bindparam("of_text"))
        query = here.limit(1)
        found: list[str] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            with self._transaction("the places of transfers") as tx:
                found += [
                    text
                    for text in texts[start : start + TEXTS_AT_ONCE]
                    if tx.execute(query, {"of_text": text}).first() is not None
                ]
        return found

    def at(
        self, end: TransferEnd, text: str, *, before: str = LAST_CHARACTER, most: int
    ) -> list[TransferRow]:
        """Transfers with exactly this text and an id before that one, newest first."""
        query = _ROWS.where(end.condition, end.column == text, transfers.c.id < before)
        return self._transfer_rows(query.order_by(_NEWEST).limit(most))

    def with_ids(self, ids: Sequence[str]) -> list[TransferRow]:
        """Newest first; at most some hundred."""
        return self._transfer_rows(_ROWS.where(transfers.c.id.in_(ids)).order_by(_NEWEST))

    def newest_below(
        self, end: TransferEnd, prefix: str, *, before: str, scan: int, most: int
    ) -> tuple[list[str], str | None]:
        """Ids of transfers whose text begins like this, newest first, by going back in time.

        Args:
            before: Only ids before that one; so many of them are looked at as `scan` has it.

        Returns:
            The ids, and the oldest one that was looked at; None: there are none further back.
        """
        older = select(transfers.c.id).where(transfers.c.id < before).order_by(_NEWEST)
        with self._transaction("the newest transfers below a place") as tx:
            last = tx.execute(older.limit(1).offset(scan - 1)).scalar()
            # As a function of the text, so that SQLite goes by the ids.
            is_below = func.substr(end.column, 1, len(prefix)) == prefix
            query = older.where(end.condition, is_below).limit(most)
            if last is not None:
                query = query.where(transfers.c.id >= last)
            return list(map(rows.named, tx.execute(query).scalars())), last

    def below(
        self,
        end: TransferEnd,
        prefix: str,
        *,
        after: tuple[str, str] | None,
        scan: int,
        most: int,
    ) -> tuple[list[str], tuple[str, str] | None]:
        """The newest ids of the next piece of all whose text begins like this, by the index alone.

        Args:
            scan: So many transfers are looked at.

        Returns:
            The ids, newest first, and where the next piece begins; None: it was the last.
        """
        column = end.column
        here = (
            select(column.label("text"), transfers.c.id)
            .where(end.condition, *_behind(column, prefix, after))
            .order_by(column, transfers.c.id)
        )
        with self._transaction("the transfers below a place") as tx:
            last = tx.execute(here.limit(1).offset(scan - 1)).one_or_none()
            piece = here.limit(scan).subquery()
            newest = select(piece.c.id).order_by(piece.c.id.desc()).limit(most)
            found = list(map(rows.named, tx.execute(newest).scalars()))
        return found, None if last is None else (last[0], last[1])

    def has_below(self, end: TransferEnd, prefix: str) -> bool:
        """Whether the text of any transfer begins like this."""
        query = select(transfers.c.id).where(*end.begins_with(prefix)).limit(1)
        with self._transaction("the transfers below a place") as tx:
            return tx.execute(query).first() is not None

    def in_key_order(
        self,
        prefix: str,
        *,
        route: str | None = None,
        after: tuple[str, str] | None = None,
        scan: int = 1000,
    ) -> tuple[list[FoundTransfer], tuple[str, str] | None]:
        """Transfers whose source begins like this, in the byte order of sources, then by time.

        Args:
            prefix: `s3://bucket/` and the beginning of a key.
            route: Only those of this route.
            after: As the piece before has it; so many transfers are looked at as `scan` has it.

        Returns:
            One piece, and where the next one begins; None: it was the last.
        """
        column = transfers.c.source
        here = select(*FOUND_COLUMNS).where(*_behind(column, prefix, after))
        query = here.order_by(column, transfers.c.id).limit(scan)
        with self._transaction("the transfers of a source") as tx:
            found = list(map(found_transfer, tx.execute(query).mappings()))
        last = (found[-1].source, found[-1].id) if len(found) == scan else None
        return [one for one in found if route in {None, one.route}], last

    def open_unclaimed(self, *, before: datetime | None, scan: int) -> OpenUnclaimed:
        """Transfers that have not ended and have claimed nothing, newest first.

        Args:
            before: Only those first seen before that; so many are looked at as `scan` has it.
        """
        columns = (transfers.c.id, transfers.c.destination, transfers.c.canonical)
        query = select(*columns, transfers.c.first_seen_at).where(transfers.c.finished_at.is_(None))
        if before is not None:
            query = query.where(transfers.c.first_seen_at < before)
        query = query.order_by(transfers.c.first_seen_at.desc(), transfers.c.id.desc()).limit(scan)
        with self._transaction("transfers that claimed nothing") as tx:
            found = tx.execute(query).all()
        return OpenUnclaimed(
            destinations=tuple(
                (rows.named(one.id), rows.named(one.destination))
                for one in found
                if one.canonical is None
            ),
            last=found[-1].first_seen_at if len(found) == scan else None,
        )

    def filesystems_of(self, end: TransferEnd) -> list[str]:
        """`hdfs://host:port` and `file://`: all that transfers name at this end."""
        found: list[str] = []
        with self._transaction("the file systems of transfers") as tx:
            for scheme in ("file://", "hdfs://"):
                after = scheme
                while len(found) < FILESYSTEMS_MOST:
                    # One lower bound, as in `_behind`.
                    query = select(func.min(end.column)).where(
                        end.condition, end.column > after, end.column < scheme + LAST_CHARACTER
                    )
                    uri = tx.execute(query).scalar()
                    if uri is None:
                        break
                    found.append(rows.location(uri).filesystem)
                    after = f"{found[-1]}/{LAST_CHARACTER}"
        return found

    # ------------------------------------------------------------ published files

    def published_at(self, uri: str) -> Published | None:
        """What was published last at this very path; None: nothing that the ledger has."""
        with self._transaction("the published file") as tx:
            row = packed.row_at(tx, uri)
            return None if row is None else rows.published_file(row)

    def marker_at(self, uri: str) -> MarkerNow | None:
        """The completion marker at this very path, by its transfer; None: no transfer left one.

        What a transfer published there since, as a file of its source, is none.
        """
        with self._transaction("the completion marker") as tx:
            row = tx.execute(_MARKER, {"of_uri": uri}).mappings().one_or_none()
            if row is None:
                return None
            rows.checked(row, completion_markers.c)
            later = packed.row_at(tx, uri)
            if later is not None and rows.published_file(later).transfer_id >= row["transfer_id"]:
                return None
            return MarkerNow(**row)

    def files_now(
        self, transfer_id: str, directory: str, wanted: TextRange, *, first: int, most: int
    ) -> FilesNow:
        """Whether objects of a transfer are what was published last at their paths.

        Args:
            directory: The URI to which their relative paths are appended, with a slash at its end.
            first: Position at which the range begins.
        """
        some = (
            select(objects.c.relative)
            .where(
                objects.c.transfer_id == transfer_id,
                objects.c.seq >= first,
                objects.c.seq < first + FILES_AT_ONCE,
                objects.c.key >= wanted.low,
                objects.c.key < wanted.high,
            )
            .order_by(objects.c.seq)
            .limit(most)
            .subquery()
        )
        uri = literal(directory) + some.c.relative
        pairs = some.outerjoin(published, published.c.uri == uri)
        is_mine = case((published.c.transfer_id == transfer_id, 1), else_=0)
        query = select(
            func.count(), func.count(published.c.uri), func.coalesce(func.sum(is_mine), 0)
        ).select_from(pairs)
        others = select(uri).select_from(pairs).where(published.c.uri.is_(None)).order_by(uri)
        with self._transaction("the published files") as tx:
            checked, known, there = tx.execute(query).one()
            if known < checked and packed.has_packed(tx, directory, directory + LAST_CHARACTER):
                for row in packed.packed_at(tx, tx.execute(others).scalars()):
                    known += 1
                    there += row.transfer_id == transfer_id
        return FilesNow(checked=checked, there=there, replaced=known - there)

    def files_left(
        self, transfer_id: str, file: str | None, directory: str, brought: int, *, most: int
    ) -> FilesNow | None:
        """The same for all objects of a transfer whose plan was dropped, from what is published.

        Args:
            file: URI of the one that is wanted; None: all of them.
            brought: So many objects it had.

        Returns:
            None: there are too many files below the directory to look at; or the ledger has
            nothing at the path of the one.
        """
        if file is not None:
            return self._file_left(transfer_id, file)
        looked_at, there, after = 0, 0, directory
        while looked_at <= most:
            with self._transaction("the published files") as tx:
                page = packed.rows_between(tx, after, directory + LAST_CHARACTER, FILES_READ)
            there += sum(row.transfer_id == transfer_id for row in page)
            looked_at += len(page)
            if len(page) < FILES_READ:
                break
            after = page[-1].uri
        if looked_at > most:
            return None
        return FilesNow(checked=brought, there=there, replaced=brought - there)

    def _file_left(self, transfer_id: str, uri: str) -> FilesNow | None:
        there = self.published_at(uri)
        if there is None:
            return None
        is_mine = there.transfer_id == transfer_id
        return FilesNow(checked=1, there=int(is_mine), replaced=int(not is_mine))

    def _transfer_rows(self, query: Select[Any]) -> list[TransferRow]:
        with self._transaction("transfers") as tx:
            return list(map(transfer_row, tx.execute(query).mappings()))


def _behind(
    column: ColumnElement[str], prefix: str, after: tuple[str, str] | None
) -> tuple[ColumnElement[bool], ...]:
    """Texts that begin so, behind that one and its id.

    Of two bounds on one side SQLite would take the first one, and read all between them.
    """
    low, high = begins_with(column, prefix)
    if after is not None:
        low = tuple_(column, transfers.c.id) > tuple_(*map(literal, after))
    return low, high
