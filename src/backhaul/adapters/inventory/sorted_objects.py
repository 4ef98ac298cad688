"""The objects of a report in the order of their keys' UTF-8 bytes, however many there are.

A report's files are in no order among each other. SQLite sorts them on disk, in constant memory,
and finds the place of any key again; the file lives in a directory that goes away with the command.
"""

from __future__ import annotations

import sqlite3
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import islice
from pathlib import Path

from backhaul.core.errors import BadArgument
from backhaul.core.inventory.rows import InventoryRow
from backhaul.spool import spool_directory

BATCH = 10_000  # rows in one call
CACHE_KIB = 16 << 10  # of SQLite, and what its sorter keeps in memory

_PRAGMAS = (
    "PRAGMA journal_mode = OFF",  # a file that ends with the command needs no recovery
    "PRAGMA synchronous = OFF",
    "PRAGMA locking_mode = EXCLUSIVE",
    "PRAGMA temp_store = FILE",
    f"PRAGMA cache_size = -{CACHE_KIB}",
)
_TABLE = "CREATE TABLE objects (key TEXT, size TEXT, etag TEXT, modified TEXT, class TEXT)"
_INSERT = "INSERT INTO objects VALUES (?, ?, ?, ?, ?)"
# It holds all columns: the table itself is not read again.
_INDEX = "CREATE INDEX by_key ON objects (key, size, etag, modified, class)"
# Under BINARY, the default, text is compared by its bytes in UTF-8. One bound in each, so that the
# index is entered at it.
_FROM = "SELECT key, size, etag, modified, class FROM objects WHERE key >= ? ORDER BY key LIMIT ?"
_AFTER = "SELECT key, size, etag, modified, class FROM objects WHERE key > ? ORDER BY key LIMIT ?"


class SortedObjects:
    """Filled once, then read page by page, by any thread. Made by `sorted_objects`.

    Raises (any method):
        BadArgument: E_INVENTORY_SPACE.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        self.count = 0

    def add(self, rows: Iterable[InventoryRow]) -> None:
        """Keep these; before `sort`."""
        remaining = iter(rows)
        while batch := list(islice(remaining, BATCH)):
            with room_needed():
                self._connection.executemany(_INSERT, batch)
            self.count += len(batch)

    def sort(self) -> None:
        """Once all are there."""
        with room_needed():
            self._connection.execute(_INDEX)

    def page(self, first: str, after: str, most: int) -> list[InventoryRow]:
        """The next `most` in order: after key `after`, or from `first` on where it is empty."""
        statement, bound = (_AFTER, after) if after else (_FROM, first)
        with self._lock, room_needed():
            return self._connection.execute(statement, (bound, most)).fetchall()


@contextmanager
def sorted_objects() -> Iterator[SortedObjects]:
    """An empty one, on disk for the block."""
    with ExitStack() as held:
        with room_needed():
            made = tempfile.TemporaryDirectory(prefix="backhaul-inventory-", dir=spool_directory())
            path = Path(held.enter_context(made)) / "objects.db"
            connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            held.enter_context(closing(connection))
            for pragma in _PRAGMAS:
                connection.execute(pragma)
            connection.execute(_TABLE)
        yield SortedObjects(connection)


@contextmanager
def room_needed() -> Iterator[None]:
    """Around writing to the spool directory, and nothing else."""
    try:
        yield
    except (sqlite3.Error, OSError) as exc:
        raise BadArgument(
            "E_INVENTORY_SPACE",
            f"the inventory cannot be sorted in {spool_directory()}: {exc}",
            hint="set TMPDIR to a directory on disk with some 400 bytes for each object",
        ) from exc
