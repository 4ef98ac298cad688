"""Packs what was published long ago: rows of `published` go into blocks, and nothing is lost.

In order of the paths. A block has some thousand files, so that one path is found in milliseconds;
those that come between its files later are added to it. Each step is a transaction: a step that was
cut off by a death has not happened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, bindparam, case, delete, func, select

from backhaul.adapters.ledger.paths.block import PublishedRow, pack
from backhaul.adapters.ledger.paths.packed import (
    ROW_COLUMNS,
    PathBlock,
    block_before,
    next_block_begins,
)
from backhaul.adapters.ledger.rows import LOOKUP_BATCH
from backhaul.adapters.ledger.schema import packed_paths, published, put, transfers
from backhaul.adapters.ledger.session import ReadSession, WriteSession

BLOCK_FILES = 1000
LOOKED_AT = 5000  # rows whose age is looked at in one step
_FULLEST = BLOCK_FILES + BLOCK_FILES // 2
_IS_OLD = case((transfers.c.finished_at < bindparam("of_before"), 1), else_=0).label("is_old")
_ROWS = (
    select(*ROW_COLUMNS, _IS_OLD)
    .outerjoin_from(published, transfers, transfers.c.id == published.c.transfer_id)
    .where(published.c.uri > bindparam("of_after"))
    .order_by(published.c.uri)
    .limit(bindparam("of_most"))
)
_AGES = (
    select(published.c.uri, _IS_OLD)
    .outerjoin_from(published, transfers, transfers.c.id == published.c.transfer_id)
    .where(published.c.uri > bindparam("of_after"))
    .order_by(published.c.uri)
    .limit(LOOKED_AT)
)
_DROP_ROWS = delete(published).where(published.c.uri.in_(bindparam("of_uris", expanding=True)))
_DROP_BLOCK = delete(packed_paths).where(packed_paths.c.first_uri == bindparam("of_uri"))


@dataclass(frozen=True, kw_only=True)
class PackStep:
    """What one step did.

    Attributes:
        files: Rows that went into blocks.
        after: Where the next step begins; None: all rows were looked at.
        held_s: How long others could not write.
    """

    files: int
    after: str | None
    held_s: float = 0.0


class SqlPacking(WriteSession):
    """What `ledger prune` and the agent do to `published`."""

    def pack_paths(self, before: datetime, *, after: str = "", most: int) -> PackStep:
        """One step, in one transaction.

        Args:
            before: Aware; files of transfers that ended before it.
            after: The position that the step before it returned; empty: from the beginning.
            most: Rows to look at, and twice as many files in blocks to write anew.
        """
        with self._transaction() as tx:
            began_s = time.monotonic()
            files, last = _packed(tx, before, after, most)
        return PackStep(files=files, after=last, held_s=time.monotonic() - began_s)


class PackReader(ReadSession):
    """What `ledger prune` would pack."""

    def packable(self, before: datetime) -> int:
        """Published files that steps would pack; counted in pieces, so that no commit waits."""
        counted, after = 0, ""
        while True:
            page_of = _AGES.subquery()
            sums = select(func.count(), func.max(page_of.c.uri), func.sum(page_of.c.is_old))
            with self._transaction("the published files") as tx:
                count, last, old = tx.execute(sums, {"of_before": before, "of_after": after}).one()
            counted += int(old or 0)
            if count < LOOKED_AT:
                return counted
            after = last


def _packed(tx: Connection, before: datetime, after: str, most: int) -> tuple[int, str | None]:
    """How many rows went into blocks, and where the next step begins."""
    page = tx.execute(_ROWS, {"of_before": before, "of_after": after, "of_most": most}).all()
    rows = [PublishedRow._make(row[:-1]) for row in page if row.is_old]
    old = [row for row in rows if row.is_well_formed]
    packed, written = 0, 0
    while packed < len(old):
        if written >= 2 * most:
            return packed, old[packed - 1].uri
        count, files = _pack_some(tx, old[packed:])
        packed, written = packed + count, written + files
    return packed, page[-1].uri if len(page) == most else None


def _pack_some(tx: Connection, old: Sequence[PublishedRow]) -> tuple[int, int]:
    """The first of these rows, as far as no other block begins.

    Returns:
        How many went into blocks, and how many files those blocks have.
    """
    first = old[0].uri
    until = next_block_begins(tx, first)
    some = [row for row in old if row.uri < until]
    files = {row.uri: row for row in some}
    block = block_before(tx, first)
    if block is not None and _is_to_grow(block, first, len(some)):
        files = {row.uri: row for row in block.unpacked()} | files
        tx.execute(_DROP_BLOCK, {"of_uri": block.first_uri})
    for piece in _pieces([files[uri] for uri in sorted(files)]):
        values = {"first_uri": piece[0].uri, "last_uri": piece[-1].uri, "files": len(piece)}
        put(tx, packed_paths, values | {"block": pack(piece)})
    for start in range(0, len(some), LOOKUP_BATCH):
        uris = [row.uri for row in some[start : start + LOOKUP_BATCH]]
        tx.execute(_DROP_ROWS, {"of_uris": uris})
    return len(some), len(files)


def _is_to_grow(block: PathBlock, uri: str, more: int) -> bool:
    """Whether files from this path on go into it: they are between its own, or it has room."""
    return block.last_uri >= uri or block.files + more <= _FULLEST


def _pieces(files: Sequence[PublishedRow]) -> Iterator[Sequence[PublishedRow]]:
    """Of about the same size, each with at most half as many again as a block is to have."""
    count = max(1, round(len(files) / BLOCK_FILES))
    for number in range(count):
        start, end = len(files) * number // count, len(files) * (number + 1) // count
        yield files[start:end]
