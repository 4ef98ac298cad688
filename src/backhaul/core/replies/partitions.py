"""From published directories to partitions of a table: `…/dt=2026-12-01/hour=07/` is one.

A partition is named by the directories below the table's own, one for each partition column in the
table's order, as Hive, Spark and Impala write them: `column=value`, in which characters that a path
may not have are `%XX`.

Source: Apache Hive, `FileUtils.unescapePathName`: `%XX` is the character of that number, not a byte
of UTF-8, and a `%` without two hexadecimal digits is itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from backhaul.core.errors import PermanentError
from backhaul.core.text import find_control, printable

BATCH = 50  # partitions of one statement
NAME = re.compile(r"[A-Za-z0-9_]{1,128}")
# What Hive names the partition of a NULL; it adds none of that name by a statement.
NULL_PARTITION = "__HIVE_DEFAULT_PARTITION__"
_ENCODED = re.compile(r"%([0-9A-Fa-f]{2})")
_HIDDEN = ("_", ".")  # Hive reads no file and no directory whose name begins so
_WHOLE = re.compile(r"[+-]?[0-9]{1,19}")
_WHOLE_TYPES = frozenset({"tinyint", "smallint", "int", "integer", "bigint"})


@dataclass(frozen=True, kw_only=True)
class HiveTable:
    """The table in which a route's partitions are registered."""

    database: str
    table: str

    @property
    def full_name(self) -> str:
        return f"{self.database}.{self.table}"


@dataclass(frozen=True, kw_only=True)
class PartitionColumn:
    """One of a table's partition columns; name and type in lower case, such as `hour`, `int`."""

    name: str
    type: str

    @property
    def is_whole_number(self) -> bool:
        """For it `07` and `7` are one value."""
        return self.type in _WHOLE_TYPES


@dataclass(frozen=True, kw_only=True)
class PartitionedTable:
    """What the warehouse knows of a table.

    Attributes:
        columns: Its partition columns, in order; at least one.
        location: Its directory's URI as the warehouse has it, such as `hdfs://nn/warehouse/sales`.
    """

    database: str
    name: str
    columns: tuple[PartitionColumn, ...]
    location: str

    @property
    def full_name(self) -> str:
        return f"{self.database}.{self.name}"

    def identity(self, values: Iterable[str]) -> tuple[str | int, ...]:
        """Equal for what the warehouse takes for one partition: `07` and `7` of an int."""
        pairs = zip(self.columns, values, strict=True)
        return tuple(
            int(value) if column.is_whole_number and _WHOLE.fullmatch(value) else value
            for column, value in pairs
        )


@dataclass(frozen=True, kw_only=True)
class HivePartition:
    """One partition to be registered.

    Attributes:
        values: A decoded value for each column, in order.
        location: URI of its directory, exactly as it was published.
    """

    values: tuple[str, ...]
    location: str

    def shown(self, columns: Iterable[PartitionColumn]) -> str:
        """For a sentence, such as `dt=2026-12-01/hour=7`."""
        names = (column.name for column in columns)
        return shown_partition(zip(names, self.values, strict=True))


def batches(
    directories: Iterable[str],
    table: PartitionedTable,
    problems: list[PermanentError],
    size: int = BATCH,
) -> Iterator[tuple[HivePartition, ...]]:
    """The partitions that these directories of published files make, each once in its batch.

    Memory holds one batch.

    Args:
        directories: URIs, with repeats; those of one partition one after the other, mostly.
        problems: Gets the first of what `partition_of` raises, and E_HIVE_LOCATION of two
            directories that are one partition; the others are registered all the same.
    """
    batch: dict[tuple[str | int, ...], HivePartition] = {}
    before: HivePartition | None = None
    for directory in directories:
        try:
            found = partition_of(directory, table)
            if found is None or found == before:
                continue
            before = found
            known = batch.setdefault(table.identity(found.values), found)
            if known.location != found.location:
                raise elsewhere(found, known.location, table)
        except PermanentError as error:
            if not problems:
                problems.append(error)
        if len(batch) == size:
            yield tuple(batch.values())
            batch.clear()
    if batch:
        yield tuple(batch.values())


def elsewhere(partition: HivePartition, location: str, table: PartitionedTable) -> PermanentError:
    """The partition is there, and it is another directory: `07` and `7` of an int are one."""
    name = partition.shown(table.columns)
    return PermanentError(
        "E_HIVE_LOCATION",
        f"partition {name} of {table.full_name} is {printable(location)}, and the files are in"
        f" {printable(partition.location)}",
        hint="drop the partition, or move it by ALTER TABLE ... SET LOCATION; then send the reply"
        " again: backhaul replies resend",
    )


def partition_of(directory: str, table: PartitionedTable) -> HivePartition | None:
    """The partition in which a file of this directory is; None where Hive reads no file in it.

    Args:
        directory: Its URI; it may be below the partition's.

    Raises:
        PermanentError: E_HIVE_PATH: it is not below the table's directory, or its names are not
            the table's columns. E_HIVE_VALUE.
    """
    scheme, authority, path = _place(directory)
    # Paths alone: one HDFS may be known to the warehouse by another name, such as one NameNode's.
    home = _place(table.location)[2]
    if not f"{path}/".startswith(f"{home}/"):
        raise PermanentError(
            "E_HIVE_PATH",
            f"{printable(directory)} is not below the directory of {table.full_name},"
            f" {printable(table.location)}",
            hint="name the table whose directory the route's destination is, or lies in",
        )
    names = [name for name in path[len(home) :].split("/") if name]
    if any(name.startswith(_HIDDEN) for name in names):
        return None
    values = []
    for number, column in enumerate(table.columns):
        key, is_pair, value = names[number].partition("=") if number < len(names) else ("", "", "")
        if not is_pair or key.lower() != column.name:
            raise _misplaced(directory, table)
        values.append(_value(value, column, directory))
    path = "/".join((home, *names[: len(table.columns)]))
    return HivePartition(values=tuple(values), location=f"{scheme}://{authority}{path}")


def is_same_place(one: str, other: str) -> bool:
    """Whether two URIs are one directory: `file:/a` is `file:///a`."""
    return _place(one) == _place(other)


def named_partition(path: str) -> tuple[tuple[str, str], ...]:
    """The last names `column=value` of a path that follow each other: what one can see in it.

    The columns of the table decide; this is for who cannot ask the table.
    """
    found: list[tuple[str, str]] = []
    for name in reversed(path.split("/")):
        key, is_pair, value = name.partition("=")
        if is_pair and NAME.fullmatch(key) and value:
            found.append((key.lower(), _decoded(value)))
        elif found:
            break
    return tuple(reversed(found))


def shown_partition(pairs: Iterable[tuple[str, str]]) -> str:
    """Names of columns and values for a sentence, such as `dt=2026-12-01/hour=7`."""
    return "/".join(f"{name}={printable(value, 80)}" for name, value in pairs)


def _place(uri: str) -> tuple[str, str, str]:
    """Scheme, authority and path; the path without a slash at its end, so empty for the root."""
    scheme, _, rest = uri.partition(":")
    authority, path = "", rest
    if rest.startswith("//"):
        authority, slash, path = rest[2:].partition("/")
        path = slash + path
    return scheme.lower(), authority, path.rstrip("/")


def _misplaced(directory: str, table: PartitionedTable) -> PermanentError:
    wanted = "/".join(f"{column.name}=…" for column in table.columns)
    return PermanentError(
        "E_HIVE_PATH",
        f"{printable(directory)} does not follow {printable(table.location)} with {wanted}, the"
        f" partition columns of {table.full_name}",
        hint="let the sender use these directories, in this order, or leave hive out of the route",
    )


def _value(text: str, column: PartitionColumn, directory: str) -> str:
    value = _decoded(text)
    problem = None
    if value == "":
        problem = "is empty"
    elif value == NULL_PARTITION:
        problem = "is Hive's name for NULL, which no statement adds"
    elif find_control(value) is not None:
        problem = "has a control character"
    elif value.endswith(" "):
        problem = "ends in a blank, which some metastores do not keep apart from none"
    elif column.is_whole_number and not _WHOLE.fullmatch(value):
        problem = f"is no {column.type}"
    if problem is not None:
        raise PermanentError(
            "E_HIVE_VALUE",
            f"{printable(directory)}: the value of {column.name} {problem}",
            hint="rename the directory in S3 and send it again, or add the partition by hand",
        )
    return value


def _decoded(text: str) -> str:
    return _ENCODED.sub(lambda match: chr(int(match[1], 16)), text)
