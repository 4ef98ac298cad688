"""Where the ledgers of the contract tests are: a file, a PostgreSQL, one behind a PgBouncer."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.schema import meta, metadata
from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl

if TYPE_CHECKING:
    from testbed import PgBouncer, PostgreSQL

SERVERS = ("postgres", "pgbouncer")
EVERY_LEDGER = ["sqlite", "memory", pytest.param("postgres", marks=pytest.mark.integration)]
# What a pooler in transaction mode could break, each once: statements prepared or not, many
# threads, batches, text of any kind, a fence, a pooled connection after an error.
BEHIND_POOLER = pytest.param("pgbouncer", marks=pytest.mark.integration)
DATABASE = "contract"
_MADE: set[int] = set()  # servers, by their port, that have the database


def ledger_place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> LedgerPlace:
    """Of an empty ledger for one test.

    Args:
        kind: `sqlite` or one of `SERVERS`.
    """
    if kind not in SERVERS:
        return tmp_path / "ledger.sqlite"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    request.getfixturevalue("monkeypatch").setenv("PGPASSFILE", str(server.pass_file))
    direct = PostgresUrl(server.url(DATABASE))
    if server.ports[0] in _MADE:
        _empty(direct)
    else:
        server.drop_database(DATABASE)
        server.create_database(DATABASE)
        open_ledger(direct, create=True).close()
        _MADE.add(server.ports[0])
    if kind == "postgres":
        return direct
    pooler: PgBouncer = request.getfixturevalue("pgbouncer")
    return PostgresUrl(pooler.url(DATABASE))


def statement(place: LedgerPlace, sql: str) -> list[Any]:
    """Run it beside the ledger, committed; its rows."""
    connection = (
        psycopg.connect(place.text) if isinstance(place, PostgresUrl) else sqlite3.connect(place)
    )
    with closing(connection), connection:
        cursor = connection.execute(sql)
        return cursor.fetchall() if cursor.description else []


def _empty(url: PostgresUrl) -> None:
    """As it was made. The tables have few rows: TRUNCATE, which makes files, takes longer."""
    with psycopg.connect(url.text) as connection:
        for table in reversed(metadata.sorted_tables):
            if table.name != meta.name:
                connection.execute(str(table.delete()))
        connection.execute("SELECT setval(seqrelid::regclass, seqstart, false) FROM pg_sequence")
        connection.execute(
            "DELETE FROM meta"
            " WHERE name NOT IN ('ledger_id', 'sealed_from_us', 'activity_summed_to')"
        )
        connection.execute("UPDATE meta SET value = '0' WHERE name = 'activity_summed_to'")
