"""Each SQL statement is compiled once in a process of tests, not once for each ledger.

SQLAlchemy keeps what it compiled with the engine, and under the engine's dialect. An agent has one
engine all its life. The tests open thousands of ledgers, and more than a third of their CPU went
into compiling the same statements for each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite
from sqlalchemy.util import LRUCache

if TYPE_CHECKING:
    from sqlalchemy import Engine

_COMPILED: LRUCache[object, object] = LRUCache(5_000)


class Dialect(SQLiteDialect_pysqlite):
    """All of one process are made alike, with the same SQLite below."""

    supports_statement_cache = True

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Dialect)

    def __hash__(self) -> int:
        return hash(Dialect)

    @classmethod
    def engine_created(cls, engine: Engine) -> None:
        engine._compiled_cache = _COMPILED  # type: ignore[assignment]
