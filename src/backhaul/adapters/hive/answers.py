"""What beeline and impala-shell print: rows with a tab between columns, of statements in order.

`DESCRIBE FORMATTED` is written for people: sections that begin with `# ...`, names that end in `:`
and are filled up with blanks. Impala prints it as Hive does.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from backhaul.core.replies.partitions import PartitionColumn

_COLUMNS = "# Partition Information"
_TABLE = "# Detailed Table Information"
_PARTITION = "# Detailed Partition Information"
_LOCATION = "Location:"


def table_columns(lines: Iterable[str]) -> tuple[PartitionColumn, ...]:
    """Partition columns, in order; none where the table has no partitions."""
    found: list[PartitionColumn] = []
    is_inside = False
    for name, value in _pairs(lines):
        if name.startswith("#") and found:
            break
        if name == _COLUMNS:
            is_inside = True
        elif is_inside and name and not name.startswith("#"):
            found.append(PartitionColumn(name=name.lower(), type=value.strip().lower()))
    return tuple(found)


def table_location(lines: Iterable[str]) -> str | None:
    """URI of the table's directory; None for a view."""
    return next(_locations(lines, _TABLE), None)


def partition_locations(lines: Iterable[str]) -> list[str]:
    """URIs of directories, one for each `DESCRIBE FORMATTED ... PARTITION`, in order."""
    return list(_locations(lines, _PARTITION))


def listed_partitions(lines: Iterable[str], columns: int) -> Iterator[tuple[tuple[str, ...], str]]:
    """Values and location of each row of Impala's `SHOW PARTITIONS`; its last row is a sum.

    Args:
        columns: How many partition columns there are.
    """
    for line in lines:
        cells = line.split("\t")
        place = next((cell for cell in reversed(cells[columns:]) if ":/" in cell), None)
        if place is not None:
            yield tuple(cells[:columns]), place


def _locations(lines: Iterable[str], section: str) -> Iterator[str]:
    is_inside = False
    for name, value in _pairs(lines):
        if name == section:
            is_inside = True
        elif is_inside and name == _LOCATION:
            is_inside = False  # a parameter below may have any name
            yield value


def _pairs(lines: Iterable[str]) -> Iterator[tuple[str, str]]:
    for line in lines:
        name, _, rest = line.partition("\t")
        yield name.strip(), rest.partition("\t")[0]
