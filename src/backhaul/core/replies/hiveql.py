r"""The statements that register partitions: nothing in a path can become more than a value.

A literal is made of letters, digits, `_`, `/`, `.`, `=`, `:` and single `-`; every other character
is `\uXXXX`. So no quote, semicolon, `--`, `!`, `$` or line end of a path is ever in the text:
neither the server's parser nor what comes before it (beeline and impala-shell, which look for line
ends, commands and `${variables}`, and the server, which does so, too) gets to see one.

Sources: Apache Hive, `BaseSemanticAnalyzer.unescapeSQLString`; Apache Impala, `StringLiteral`,
which has a copy of it. Impala takes the text of a LOCATION as it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum

from backhaul.core.errors import PermanentError
from backhaul.core.replies.partitions import (
    NAME,
    HivePartition,
    PartitionColumn,
    PartitionedTable,
)
from backhaul.core.text import printable

_PLAIN = re.compile(r"[A-Za-z0-9_/.=:]|(?<!-)-(?!-)")
_PLAIN_LOCATION = re.compile(r"(?:[A-Za-z0-9_/.=:%+,@~]|(?<!-)-(?!-))+")


class HiveDialect(StrEnum):
    """Whose SQL it is."""

    HIVE = "hive"
    IMPALA = "impala"


def identifier(name: str) -> str:
    """A name of a database, table or column, in backticks.

    Raises:
        ValueError: It has other characters than letters, digits and `_`, or more than 128.
    """
    if not NAME.fullmatch(name):
        raise ValueError(f"{printable(name, 80)} has other characters than letters, digits and _")
    return f"`{name}`"


def literal(text: str) -> str:
    """A string literal that is exactly `text`: ASCII, on one line.

    Raises:
        UnicodeEncodeError: It has a surrogate, which is half of a character.
    """
    text.encode("utf-8")
    return (
        "'"
        + "".join(
            char if _PLAIN.match(text, at) else _escaped(char) for at, char in enumerate(text)
        )
        + "'"
    )


def describe_table(database: str, table: str) -> str:
    """The statement whose rows have columns and location of a table."""
    return f"DESCRIBE FORMATTED {identifier(database)}.{identifier(table)};"


def add_partitions(
    table: PartitionedTable, partitions: Iterable[HivePartition], dialect: HiveDialect
) -> str:
    """The statement that adds those which are not there; it says nothing of those that are.

    Raises:
        PermanentError: E_HIVE_VALUE, E_HIVE_PATH: Impala's SQL cannot name it.
    """
    clauses = (
        f"PARTITION ({_spec(table.columns, one, dialect)}) LOCATION {_place(one, dialect)}"
        for one in partitions
    )
    return f"ALTER TABLE {_name(table)} ADD IF NOT EXISTS {' '.join(clauses)};"


def describe_partitions(
    table: PartitionedTable, partitions: Iterable[HivePartition], dialect: HiveDialect
) -> Sequence[str]:
    """Statements whose rows have the locations: of each in order; of Impala's, of all there are."""
    if dialect is HiveDialect.IMPALA:
        return [f"SHOW PARTITIONS {_name(table)};"]
    return [
        f"DESCRIBE FORMATTED {_name(table)} PARTITION ({_spec(table.columns, one, dialect)});"
        for one in partitions
    ]


def _name(table: PartitionedTable) -> str:
    return f"{identifier(table.database)}.{identifier(table.name)}"


def _spec(
    columns: Sequence[PartitionColumn], partition: HivePartition, dialect: HiveDialect
) -> str:
    pairs = zip(columns, partition.values, strict=True)
    return ", ".join(
        f"{identifier(one.name)}={_value(one, value, dialect)}" for one, value in pairs
    )


def _value(column: PartitionColumn, value: str, dialect: HiveDialect) -> str:
    if dialect is HiveDialect.HIVE:  # which makes it a value of the column's type by itself
        return literal(value)
    if column.is_whole_number:
        return str(int(value))
    if column.type == "string":
        return literal(value)
    if column.type == "date":
        return f"CAST({literal(value)} AS DATE)"
    raise PermanentError(
        "E_HIVE_VALUE",
        f"the partition column {column.name} is of type {printable(column.type, 40)}, of which no"
        " partition is added through Impala",
        hint="register this table's partitions through beeline",
    )


def _place(partition: HivePartition, dialect: HiveDialect) -> str:
    if dialect is HiveDialect.HIVE:
        return literal(partition.location)
    if not _PLAIN_LOCATION.fullmatch(partition.location):
        raise PermanentError(
            "E_HIVE_PATH",
            f"{printable(partition.location)} has characters that Impala's LOCATION cannot have",
            hint="register this table's partitions through beeline",
        )
    return f"'{partition.location}'"


def _escaped(char: str) -> str:
    units = char.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))
