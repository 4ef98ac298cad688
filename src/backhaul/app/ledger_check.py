"""`backhaul ledger check`: whether the ledger is sound, beside an agent that works.

It reads the ledger alone: whether the target still holds what was proven is `verify`'s to find out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from backhaul.access import described
from backhaul.adapters.ledger import EditedLedger, LedgerReader, open_reader
from backhaul.adapters.ledger.dialects.migrate import HEAD
from backhaul.adapters.ledger.opening.places import examined
from backhaul.adapters.ledger.sqlite.trust import check_trust, real_path
from backhaul.adapters.ledger.upkeep.checking import TableSize
from backhaul.core.errors import ConfigurationError, LedgerDamaged
from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl
from backhaul.core.transfer.evidence import (
    Manifest,
    Sealed,
    broken_links,
    object_line,
    sealed_manifest,
)

# SQLite reads all pages in one go, for which commits wait.
AT_ONCE_BYTES = 64 << 20

FindingKind = Literal["access", "database", "pages", "rows", "evidence"]
Found = Callable[["LedgerFinding"], None]


@dataclass(frozen=True, kw_only=True)
class LedgerFinding:
    """One thing that is not as it should be.

    Attributes:
        kind: Closed set: `access` (others may change the file), `database` (a server, or its
            tables, are not as Backhaul needs them), `pages` (the file is damaged), `rows` (they
            contradict each other), `evidence` (it is not as it was sealed).
        transfer_id: Empty: of no single transfer.
    """

    kind: FindingKind
    transfer_id: str
    what: str


@dataclass(kw_only=True)
class LedgerState:
    """What was checked.

    Attributes:
        path: Of the file; of a database its address.
        access: Mode and owner of the file, for people.
        server: PostgreSQL's version, encoding and user, for people; empty: it is a file.
        free_bytes: In the file, for later rows; likewise `disk_free_bytes` on its disk. 0 of a
            database, which does not show them.
        pages: How they were checked: `quick_check` or `integrity_check`; empty: the file is too
            large for that while an agent may work, or it is a database, for `pg_amcheck`.
        rows: How many each table has, as far as they were counted.
        sealed: Transfers whose evidence was computed again, with `objects`.
        pruned: Sealed ones whose object lines were dropped.
    """

    path: str
    schema: str = HEAD
    access: str = ""
    server: str = ""
    size_bytes: int = 0
    free_bytes: int = 0
    disk_free_bytes: int = 0
    tables: list[TableSize] = field(default_factory=list)
    rows: dict[str, int] = field(default_factory=dict)
    pages: str = ""
    sealed: int = 0
    objects: int = 0
    pruned: int = 0
    findings: list[LedgerFinding] = field(default_factory=list)
    v: Literal[1] = 1
    kind: Literal["ledger-check"] = "ledger-check"


@cache
def ledger_states() -> TypeAdapter[LedgerState]:
    """Writes the document of `--json`, and its schema."""
    return TypeAdapter(LedgerState)


def _was_pruned_meanwhile(reader: LedgerReader, transfer_id: str) -> bool:
    """The sealing line was read before: an agent, or a command, may prune since then."""
    return reader.show(transfer_id, first_objects=0).transfer.pruned_at is not None


def check_ledger(
    place: LedgerPlace,
    *,
    is_full: bool = False,
    since: datetime | None = None,
    found: Found = lambda _: None,
    progress: Callable[[str], None] = lambda _: None,
) -> LedgerState:
    """Check everything; each finding is reported as it is made.

    Args:
        is_full: All pages and indexes, however large the file is: commits wait meanwhile. Nothing
            more of a database.
        since: The object lines only of transfers that ended at or after it; the chain is checked
            as a whole.
        progress: Called with what is checked now.

    Raises:
        ConfigurationError: There is no such ledger, or of another version, or not for this user.
        OutageError: It stays locked, or cannot be read.
    """
    return _LedgerCheck(place, found, progress).run(is_full=is_full, since=since)


class _LedgerCheck:
    def __init__(self, place: LedgerPlace, found: Found, progress: Callable[[str], None]) -> None:
        self._place = place
        self._found = found
        self._progress = progress
        self._state = LedgerState(path=str(place))

    def run(self, *, is_full: bool, since: datetime | None) -> LedgerState:
        try:
            with closing(open_reader(self._place)) as reader:
                if isinstance(self._place, PostgresUrl):
                    self._check_database(self._place)
                    self._check_rows(reader)
                else:
                    self._check_access(self._place)
                    if not self._check_pages(reader, is_full=is_full):
                        return self._state
                    self._check_rows(reader)
                    is_counted = is_full or self._state.size_bytes <= AT_ONCE_BYTES
                    self._state.tables = reader.sizes(None if is_counted else self._state.rows)
                self._check_evidence(reader, since)
        except LedgerDamaged as error:
            kind: FindingKind = "rows" if isinstance(error, EditedLedger) else "pages"
            self._report(kind, "", error.message)
        return self._state

    def _check_database(self, url: PostgresUrl) -> None:
        self._progress("the database")
        seen = examined(url)
        self._state.server, self._state.size_bytes = seen.server, seen.size_bytes
        self._state.tables = [
            TableSize(name=name, size_bytes=size, is_estimate=False)
            for name, size in sorted(seen.tables.items(), key=lambda one: (-one[1], one[0]))
        ]
        for fault in seen.faults:
            self._report("database", "", fault)

    def _check_access(self, path: Path) -> None:
        real = real_path(path)
        self._state.access = described(real)
        disk = os.statvfs(real)
        self._state.disk_free_bytes = disk.f_bavail * disk.f_frsize
        try:
            check_trust(path, is_agent=False)
        except ConfigurationError as error:
            self._report("access", "", f"{error.message}; {error.hint}")

    def _check_pages(self, reader: LedgerReader, *, is_full: bool) -> bool:
        """Whether rows can be read at all."""
        size = reader.file_size()
        self._state.size_bytes, self._state.free_bytes = size.size_bytes, size.free_bytes
        if not is_full and size.size_bytes > AT_ONCE_BYTES:
            return True
        self._progress("pages")
        self._state.pages = "integrity_check" if is_full else "quick_check"
        damage = reader.damage(is_full=is_full)
        for line in damage:
            self._report("pages", "", line)
        return not damage

    def _check_rows(self, reader: LedgerReader) -> None:
        self._progress("rows")
        for transfer_id, what in reader.contradictions():
            self._report("rows", transfer_id, what)
        self._state.rows = reader.row_counts()

    def _check_evidence(self, reader: LedgerReader, since: datetime | None) -> None:
        for line in broken_links(self._chain(reader, since)):
            transfer_id, _, what = line.partition(": ")
            self._report("evidence", transfer_id, what)
        for transfer_id in reader.unsealed():
            self._report("evidence", transfer_id, "has no sealing line")

    def _chain(self, reader: LedgerReader, since: datetime | None) -> Iterator[Sealed]:
        """Every sealing line, on the way held against the object lines."""
        for one in reader.chain():
            ended = one.ended
            is_wanted = since is None or (
                ended is not None and ended.finished_at is not None and ended.finished_at >= since
            )
            if ended is not None and ended.is_pruned:
                self._state.pruned += 1
            elif ended is not None and is_wanted:
                self._check_objects(reader, one)
            yield one

    def _check_objects(self, reader: LedgerReader, one: Sealed) -> None:
        manifest = Manifest()
        try:
            for row in reader.objects(one.transfer_id):
                line = object_line(one.transfer_id, row.planned, row.staged, row.target)
                manifest.add(line)
        except EditedLedger as error:  # a value that Backhaul never writes
            self._report("evidence", one.transfer_id, error.message)
            return
        is_sealed_so = manifest.sum.manifest == sealed_manifest(one.line)
        if not is_sealed_so and _was_pruned_meanwhile(reader, one.transfer_id):
            self._state.pruned += 1
            return
        self._state.sealed += 1
        self._state.objects += manifest.sum.objects
        if not self._state.sealed % 1000:
            self._progress(f"evidence: {self._state.sealed:,} transfers")
        if not is_sealed_so:
            self._report("evidence", one.transfer_id, "its object lines differ from those sealed")

    def _report(self, kind: FindingKind, transfer_id: str, what: str) -> None:
        finding = LedgerFinding(kind=kind, transfer_id=transfer_id, what=what)
        self._found(finding)
        self._state.findings.append(finding)
