"""What `ledger check` reads: the file's pages, rows that contradict each other, and what is large.

A commit waits for whoever reads, so what may take long is read in pieces, each a transaction of its
own. Only what SQLite does in one go is not: `damage`, and `sizes` where all pages are counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Table, func, select, text

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.paths.packed import block_behind
from backhaul.adapters.ledger.schema import (
    WrongValue,
    destinations,
    jobs,
    journal,
    meta,
    moment,
    objects,
    packed_paths,
    published,
    replies,
    seals,
    transfers,
)
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.errors import LedgerDamaged
from backhaul.core.model import TransferState

DAMAGE_MOST = 20  # lines about pages
TRANSFERS_AT_ONCE = 1000
FILES_AT_ONCE = 5000
NUMBERS_AT_ONCE = 50_000
PAGES_SAMPLED = 10_000  # of each table and index, where not all are counted: 40 MB
_FINAL = tuple(one.value for one in TransferState if one.is_final)
_WITH_FILES = (TransferState.DONE.value, TransferState.SUPERSEDED.value)
_WITH_TRANSFER = (objects, jobs, journal, replies)
_STATE = (
    *("id", "state", "finished_at", "owner", "renames_possible", "plan_complete"),
    *("objects_planned", "directory"),
)


@dataclass(frozen=True, kw_only=True)
class TableSize:
    """What a table takes, with its indexes.

    Attributes:
        is_estimate: From its first pages and the number of its rows.
    """

    name: str
    size_bytes: int
    is_estimate: bool


@dataclass(frozen=True, kw_only=True)
class FileSize:
    """The ledger's file.

    Attributes:
        free_bytes: Inside the file, for later rows.
    """

    size_bytes: int
    free_bytes: int


class CheckReader(ReadSession):
    """`ledger check`.

    Raises (any method):
        OutageError: `ledger`.
        LedgerDamaged: E_LEDGER_CORRUPT: what is to be read cannot be read.
    """

    def file_size(self) -> FileSize:
        """From the file's header."""
        with self._transaction("the file's header") as tx:
            page, count, free = (
                int(tx.execute(text(f"PRAGMA {name}")).scalar_one())
                for name in ("page_size", "page_count", "freelist_count")
            )
        return FileSize(size_bytes=page * count, free_bytes=page * free)

    def damage(self, *, is_full: bool) -> list[str]:
        """What SQLite finds wrong with its pages, in one transaction; empty: nothing.

        Args:
            is_full: Each index, too, against its table.
        """
        name = "integrity_check" if is_full else "quick_check"
        try:
            with self._transaction("the file's pages") as tx:
                found = tx.execute(text(f"PRAGMA {name}({DAMAGE_MOST})")).scalars().all()
        except LedgerDamaged as error:
            return [error.message]
        # One value may have several lines.
        lines = [line for each in map(str, found) for line in each.splitlines()]
        return [] if lines == ["ok"] else lines[:DAMAGE_MOST]

    def sizes(self, counts: dict[str, int] | None = None) -> list[TableSize]:
        """Of each table, the largest first; empty where this SQLite cannot count.

        Args:
            counts: Rows of tables: those are estimated from some of their pages, and others left
                out. None: all pages are counted, in one transaction.
        """
        if not self._has_dbstat():
            return []
        found = self._counted() if counts is None else self._estimated(counts)
        return sorted(found, key=lambda one: -one.size_bytes)

    def _has_dbstat(self) -> bool:
        """A part of SQLite that some builds leave out."""
        try:
            with self._transaction("the sizes of tables") as tx:
                tx.execute(text("SELECT pgsize FROM dbstat LIMIT 1")).first()
        except LedgerDamaged:  # there is no such table
            return False
        return True

    def _counted(self) -> list[TableSize]:
        query = text(
            "SELECT coalesce(m.tbl_name, s.name), sum(s.pgsize) FROM"
            " (SELECT name, sum(pgsize) AS pgsize FROM dbstat GROUP BY name) s"
            " LEFT JOIN sqlite_master m ON m.name = s.name GROUP BY 1"
        )
        with self._transaction("the sizes of tables") as tx:
            return [
                TableSize(name=name, size_bytes=size, is_estimate=False)
                for name, size in tx.execute(query)
            ]

    def _estimated(self, counts: dict[str, int]) -> list[TableSize]:
        of = text("SELECT name, tbl_name FROM sqlite_master WHERE type IN ('table', 'index')")
        with self._transaction("the names of tables") as tx:
            parts = [(name, table) for name, table in tx.execute(of) if table in counts]
        sample = text(
            "SELECT sum(pgsize), sum(ncell * (pagetype = 'leaf')), count(*) FROM"
            " (SELECT pgsize, ncell, pagetype FROM dbstat WHERE name = :name LIMIT :most)"
        )
        sizes: dict[str, float] = dict.fromkeys(counts, 0.0)
        for name, table in parts:
            with self._transaction("the sizes of tables") as tx:
                wanted = {"name": name, "most": PAGES_SAMPLED}
                size, cells, pages = tx.execute(sample, wanted).one()
            is_all = pages < PAGES_SAMPLED
            sizes[table] += size if is_all or not cells else size / cells * counts[table]
        return [
            TableSize(name=name, size_bytes=round(size), is_estimate=True)
            for name, size in sizes.items()
        ]

    # ------------------------------------------------------------ rows

    def row_counts(self) -> dict[str, int]:
        """Of the tables that grow, some by what others have about them."""
        names = ("transfers", "objects", "journal", "published", "packed_paths", "seals")
        counts = dict.fromkeys(names, 0)
        for page in self._pages_of(transfers, ("objects_planned", "pruned_at")):
            counts["transfers"] += len(page)
            kept = [row for row in page if row["pruned_at"] is None]
            planned = [row["objects_planned"] for row in kept]
            counts["objects"] += sum(one for one in planned if isinstance(one, int))
        for table in (published, packed_paths):
            counts[table.name] = sum(len(page) for page in self._pages_of(table, ()))
        counts["journal"], counts["seals"] = self._numbered(journal), self._numbered(seals)
        return counts

    def _numbered(self, table: Table) -> int:
        """Rows of a table with numbers as its key."""
        number = table.c.number
        with self._transaction(table.name) as tx:
            last = int(tx.execute(select(func.coalesce(func.max(number), 0))).scalar_one())
        counted = 0
        for start in range(0, last + 1, NUMBERS_AT_ONCE):
            here = (number >= start, number < start + NUMBERS_AT_ONCE)
            with self._transaction(table.name) as tx:
                counted += int(tx.execute(select(func.count()).where(*here)).scalar_one())
        return counted

    def unsealed(self) -> Iterator[str]:
        """Ids of transfers that ended with files, and whose sealing line is gone."""
        with self._transaction("meta") as tx:
            query = select(meta.c.value).where(meta.c.name == "sealed_from_us")
            since_us = int(tx.execute(query).scalar() or 0)
            moment(since_us)  # an edited one would hide what is missing
        for page in self._pages_of(transfers, ("state", "finished_at")):
            ids = [
                str(row["id"])
                for row in page
                if row["state"] in _WITH_FILES and rows.is_since(row["finished_at"], since_us)
            ]
            yield from self._missing(ids, seals.c.transfer_id)

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Id and sentence for each row that another one, or another of its columns, excludes."""
        for page in self._pages_of(transfers, _STATE[1:]):
            for row in page:
                yield from ((str(row["id"]), what) for what in _contradictions(row))
        yield from self._claims_of_ended()
        yield from self._without_transfer()

    def _claims_of_ended(self) -> Iterator[tuple[str, str]]:
        query = (
            select(transfers.c.id, destinations.c.uri)
            .join(destinations, destinations.c.owner_transfer == transfers.c.id)
            .where(transfers.c.state.in_(_FINAL))
        )
        with self._transaction("claims") as tx:
            for transfer_id, uri in tx.execute(query).all():
                yield transfer_id, f"it has ended and still owns {uri}"

    def _without_transfer(self) -> Iterator[tuple[str, str]]:
        """Rows of objects, jobs, the journal and published files whose transfer is gone."""
        for table in _WITH_TRANSFER:
            after: Any = ""
            while after is not None:
                ids, after = self._next_transfers(table, after)
                for one in self._missing(ids, transfers.c.id):
                    yield one, f"has rows in {table.name}, and no row of its own"
        known: set[str] = set()
        for ids_of_page in self._publishers():
            publishers = ids_of_page - known
            gone = set(self._missing(sorted(publishers), transfers.c.id))
            known = publishers - gone  # of the last page: neighbours often have one publisher
            for one in sorted(gone):
                yield one, "has published files, and no row of its own"

    def _publishers(self) -> Iterator[set[str]]:
        """Ids of transfers that published something: of some rows, or of one block, each time."""
        for page in self._pages_of(published, ("transfer_id",)):
            yield {str(row["transfer_id"]) for row in page}
        first, last = "", ""
        while True:
            with self._transaction("packed paths") as tx:
                block = block_behind(tx, first)
                if block is None:
                    return
                if block.first_uri <= last:
                    raise WrongValue(f"two blocks of published files have {block.first_uri!r}")
                files = block.unpacked()
            first, last = block.first_uri, block.last_uri
            yield {one.transfer_id for one in files}

    def _next_transfers(self, table: Table, after: str) -> tuple[list[str], str | None]:
        """The next different ids of a table: one look into its index for each."""
        query = text(
            f"WITH RECURSIVE ids(id) AS (SELECT min(transfer_id) FROM {table.name}"  # noqa: S608
            f" WHERE transfer_id > :after UNION ALL SELECT (SELECT min(transfer_id) FROM"
            f" {table.name} WHERE transfer_id > ids.id) FROM ids WHERE ids.id IS NOT NULL)"
            " SELECT id FROM ids WHERE id IS NOT NULL LIMIT :most"
        )
        with self._transaction(table.name) as tx:
            found = tx.execute(query, {"after": after, "most": TRANSFERS_AT_ONCE}).scalars().all()
        return list(found), found[-1] if len(found) == TRANSFERS_AT_ONCE else None

    def _missing(self, ids: list[str], column: Column[str]) -> list[str]:
        """Those of these ids that the column does not have."""
        missing: list[str] = []
        for start in range(0, len(ids), rows.LOOKUP_BATCH):
            some = ids[start : start + rows.LOOKUP_BATCH]
            with self._transaction("transfers") as tx:
                known = set(tx.execute(select(column).where(column.in_(some))).scalars())
            missing += [one for one in some if one not in known]
        return missing

    def _pages_of(self, table: Table, columns: tuple[str, ...]) -> Iterator[list[Any]]:
        """All rows by their key, unchecked: times as numbers, flags as they are."""
        (key,) = table.primary_key.columns
        most = TRANSFERS_AT_ONCE if table is transfers else FILES_AT_ONCE
        names = ", ".join((key.name, *columns))
        query = text(
            f"SELECT {names} FROM {table.name} WHERE {key.name} > :after"  # noqa: S608
            f" ORDER BY {key.name} LIMIT {most}"
        )
        after: Any = ""
        while True:
            with self._transaction(table.name) as tx:
                page = list(tx.execute(query, {"after": after}).mappings())
            if page:
                yield page
            if len(page) < most:
                return
            after = page[-1][key.name]


def _contradictions(row: Any) -> Iterator[str]:
    """Within one row of `transfers`."""
    state = row["state"]
    is_final, has_ended = state in _FINAL, row["finished_at"] is not None
    if is_final != has_ended:
        yield f"is {state}, and {'has' if has_ended else 'no'} time of its end"
    if is_final and row["owner"] is not None:
        yield f"is {state}, and a process still owns it"
    if state in _WITH_FILES:
        if row["renames_possible"]:
            yield f"is {state}, and is still noted as being published"
        if not row["plan_complete"] or row["directory"] is None:
            yield f"is {state}, and its plan is not complete"
