"""What PostgreSQL's catalogue says about a ledger: the server, and whether its tables are as made.

A plain role may read all of it.
Source: https://www.postgresql.org/docs/15/catalogs.html.
"""

from __future__ import annotations

import statistics
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import Table, Text, text

from backhaul.adapters.ledger.schema import destinations, metadata

if TYPE_CHECKING:
    from sqlalchemy import Connection

OLDEST = 12  # the version that the ledger's statements are for
NO_OVERLAP = "no_overlap"  # of `destinations`: two that are owned never contain each other
_SERVER = text("""
    SELECT current_setting('server_version'), current_setting('server_version_num')::int,
           current_setting('server_encoding'), current_user::text,
           pg_database_size(current_database())""")
_HERE = "c.relnamespace = current_schema()::regnamespace"
_COLUMNS = text(f"""
    SELECT c.relname, a.attname, format_type(a.atttypid, NULL), l.collname
    FROM pg_catalog.pg_class c
    JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    LEFT JOIN pg_catalog.pg_collation l ON l.oid = a.attcollation
    WHERE c.relkind = 'r' AND {_HERE}""")  # noqa: S608 - of a constant
_INDEXES = text(f"""
    SELECT c.relname, i.indisvalid AND i.indisready AS usable
    FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indexrelid
    WHERE {_HERE}""")  # noqa: S608
_CONSTRAINTS = text(f"""
    SELECT c.relname, k.conname, k.contype::text, k.convalidated
    FROM pg_catalog.pg_constraint k JOIN pg_catalog.pg_class c ON c.oid = k.conrelid
    WHERE {_HERE}""")  # noqa: S608
_INTERFERING = text(f"""
    SELECT c.relname, 'trigger ' || t.tgname FROM pg_catalog.pg_trigger t
    JOIN pg_catalog.pg_class c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal AND {_HERE}
    UNION ALL
    SELECT c.relname, 'rule ' || r.rulename FROM pg_catalog.pg_rewrite r
    JOIN pg_catalog.pg_class c ON c.oid = r.ev_class WHERE c.relkind = 'r' AND {_HERE}
    ORDER BY 1, 2""")  # noqa: S608
_SIZES = text(f"""
    SELECT c.relname, pg_total_relation_size(c.oid) FROM pg_catalog.pg_class c
    WHERE c.relkind = 'r' AND {_HERE}""")  # noqa: S608
_CONNECTIONS = text("""
    SELECT current_setting('max_connections')::int
           - current_setting('superuser_reserved_connections')::int
           - coalesce(current_setting('reserved_connections', true), '0')::int,
           (SELECT sum(numbackends)::int FROM pg_catalog.pg_stat_database),
           (SELECT datconnlimit FROM pg_catalog.pg_database WHERE datname = current_database()),
           (SELECT numbackends FROM pg_catalog.pg_stat_database
            WHERE datname = current_database())""")
_TABLES = frozenset(metadata.tables)
_TRIPS = 5


@dataclass(frozen=True, kw_only=True)
class Examined:
    """Which PostgreSQL it is, and what is wrong with its database.

    Attributes:
        server: For people: version, encoding, the user of this connection.
        size_bytes: Of the database, with all that is in it.
        tables: Bytes of each table with its indexes.
        faults: A sentence for each thing that Backhaul did not make so.
    """

    server: str
    size_bytes: int
    tables: dict[str, int]
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Connected:
    """What a login found.

    Attributes:
        login_s: Until the first transaction had begun.
        trip_s: A question and its answer, the median of some.
        most: Connections that plain users may have, by what binds first: server or database.
        left: Of them, now; connections to a pooler are the pooler's to count.
    """

    login_s: float
    trip_s: float
    most: int
    left: int


def examined(connection: Connection) -> Examined:
    """As it is now; in any transaction."""
    version, number, encoding, role, size = connection.execute(_SERVER).one()
    return Examined(
        server=f"PostgreSQL {version}, {encoding}, as {role}",
        size_bytes=size,
        tables={name: size for name, size in connection.execute(_SIZES) if name in _TABLES},
        faults=(*_faults_of_server(version, number, encoding), *_faults_of_tables(connection)),
    )


def connected(connection: Connection, login_s: float) -> Connected:
    """As it is now.

    Args:
        login_s: What it took to have this connection.
    """
    most, used, own_most, own_used = connection.execute(_CONNECTIONS).one()
    limits = [(most - used, most)]
    if own_most >= 0:  # -1: none of its own
        limits.append((own_most - own_used, own_most))
    left, most = min(limits)
    trips = [_trip_s(connection) for _ in range(_TRIPS)]
    return Connected(login_s=login_s, trip_s=statistics.median(trips), most=most, left=max(left, 0))


def _trip_s(connection: Connection) -> float:
    began_s = time.monotonic()
    connection.exec_driver_sql("SELECT 1").scalar_one()
    return time.monotonic() - began_s


def _faults_of_server(version: str, number: int, encoding: str) -> Iterator[str]:
    if number // 10_000 < OLDEST:
        yield f"PostgreSQL {version} is older than {OLDEST}, the oldest that Backhaul knows"
    if encoding != "UTF8":
        yield f"the encoding of the database is {encoding}, and not UTF8"


def _faults_of_tables(connection: Connection) -> Iterator[str]:
    columns: dict[str, dict[str, tuple[str, str | None]]] = {}
    for table, name, kind, collation in connection.execute(_COLUMNS):
        columns.setdefault(table, {})[name] = (kind, collation)
    indexes: dict[str, bool] = {one.relname: one.usable for one in connection.execute(_INDEXES)}
    constraints = {(of, name): tuple(row) for of, name, *row in connection.execute(_CONSTRAINTS)}
    referring = Counter(
        of for (of, _), (kind, is_valid) in constraints.items() if kind == "f" and is_valid
    )
    keyed = {of for (of, _), (kind, _) in constraints.items() if kind == "p"}
    for expected in metadata.sorted_tables:
        yield from _faults_of_table(expected, columns.get(expected.name), indexes)
        if expected.name in columns and expected.name not in keyed:
            yield f"the table {expected.name} has no primary key"
        missing = len(expected.foreign_key_constraints) - referring[expected.name]
        if expected.name in columns and missing > 0:
            yield f"the table {expected.name} lacks foreign keys: {missing}"
    if constraints.get((destinations.name, NO_OVERLAP)) != ("x", True):
        yield (
            f"the constraint {NO_OVERLAP} of the table {destinations.name} is missing or not "
            "validated: nothing but Backhaul itself keeps two transfers out of one directory"
        )
    for table, what in connection.execute(_INTERFERING):
        if table in _TABLES:
            yield f"the table {table} has a {what}, which Backhaul did not make"


def _faults_of_table(
    expected: Table,
    columns: dict[str, tuple[str, str | None]] | None,
    indexes: dict[str, bool],
) -> Iterator[str]:
    if columns is None:
        yield f"the table {expected.name} is missing"
        return
    for column in expected.columns:
        if column.name not in columns:
            yield f"the column {expected.name}.{column.name} is missing"
            continue
        kind, collation = columns[column.name]
        if isinstance(column.type, Text) and (kind, collation) != ("text", "C"):
            yield (
                f"the column {expected.name}.{column.name} is {kind} with the collation "
                f'{collation}, and not text COLLATE "C"'
            )
    for index in expected.indexes:
        name = str(index.name)
        if not indexes.get(name, False):
            state = "invalid" if name in indexes else "missing"
            yield f"the index {name} of {expected.name} is {state}"
