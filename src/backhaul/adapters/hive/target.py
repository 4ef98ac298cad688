"""Registers the partitions that a transfer has published: the reply target `hive`.

Each is added by `ALTER TABLE ... ADD IF NOT EXISTS PARTITION`, then looked at: what is there with
another location is an error, which that statement hides. Nothing is ever dropped, moved or repaired
(`MSCK`), and nothing is copied again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from backhaul.adapters.hive import answers
from backhaul.adapters.hive.shell import WarehouseShell
from backhaul.core.errors import BackhaulError, PermanentError, TransientError
from backhaul.core.replies import hiveql
from backhaul.core.replies.hiveql import HiveDialect
from backhaul.core.replies.partitions import (
    HivePartition,
    HiveTable,
    PartitionedTable,
    batches,
    elsewhere,
    is_same_place,
)
from backhaul.core.replies.reply import SUPERSEDED, Reply

Directories = Callable[[Reply], Iterable[str]]


class HiveTarget:
    """Implements `core.ports.replies.ReplyTarget`.

    Args:
        tables: By the names of the routes that register partitions.
        directories: URIs of the directories of all files that a transfer has published, with
            repeats.
    """

    def __init__(
        self, shell: WarehouseShell, tables: Mapping[str, HiveTable], directories: Directories
    ) -> None:
        self._shell = shell
        self._tables = dict(tables)
        self._directories = directories
        # A start of beeline takes seconds, so what a table is like is kept until it does not fit.
        self._known: dict[HiveTable, PartitionedTable] = {}

    def deliver(self, reply: Reply) -> None:
        """See the port. Safe to repeat.

        Raises:
            PermanentError: E_HIVE_ROUTE, E_HIVE_UNPARTITIONED; E_HIVE_PATH, E_HIVE_VALUE,
                E_HIVE_LOCATION: of one partition, and all others are registered. And as
                `WarehouseShell.run`.
            TransientError: As that.
        """
        if reply.code == SUPERSEDED:
            return  # the transfer of the newer data registers it
        wanted = self._tables.get(reply.route)
        if wanted is None:
            raise PermanentError(
                "E_HIVE_ROUTE",
                f"route {reply.route} has no hive any more: no table to register in",
                hint="give the route its hive back, then: backhaul replies resend",
            )
        problems: list[PermanentError] = []
        try:
            table = self._known.get(wanted) or self.describe(wanted)
            for batch in batches(self._directories(reply), table, problems):
                self._register(table, batch, problems)
        except BackhaulError:
            self._known.pop(wanted, None)
            raise
        if problems:
            self._known.pop(wanted, None)  # it may have been made anew, with other columns
            raise problems[0]

    def describe(self, wanted: HiveTable) -> PartitionedTable:
        """The table as the warehouse has it; changes nothing.

        Raises:
            PermanentError, TransientError: E_HIVE_UNPARTITIONED, or as `WarehouseShell.run`.
        """
        statement = hiveql.describe_table(wanted.database, wanted.table)
        lines = self._shell.run([statement], wanted.full_name)
        columns, location = answers.table_columns(lines), answers.table_location(lines)
        if location is None and not lines:
            raise _unexpected(wanted.full_name, "no row of DESCRIBE FORMATTED")
        if not columns or not location:
            raise PermanentError(
                "E_HIVE_UNPARTITIONED",
                f"{wanted.full_name} is a view, or a table without partitions",
                hint="a table without partitions sees new files by itself: remove hive from the"
                " route, or name another table",
            )
        table = PartitionedTable(
            database=wanted.database, name=wanted.table, columns=columns, location=location
        )
        self._known[wanted] = table
        return table

    def check(self) -> Mapping[str, PartitionedTable]:
        """Whether every route's table could be registered in; changes nothing.

        Raises:
            PermanentError, TransientError: As `describe`.
        """
        return {route: self.describe(wanted) for route, wanted in self._tables.items()}

    def _register(
        self,
        table: PartitionedTable,
        batch: Sequence[HivePartition],
        problems: list[PermanentError],
    ) -> None:
        dialect = self._shell.dialect
        add = hiveql.add_partitions(table, batch, dialect)
        look = hiveql.describe_partitions(table, batch, dialect)
        lines = self._shell.run([add, *look], table.full_name)
        if dialect is HiveDialect.IMPALA:
            places = _listed(lines, table, batch)
        else:
            places = answers.partition_locations(lines)
        if len(places) != len(batch):
            what = f"{len(places)} of {len(batch)} partitions found after they were added"
            raise _unexpected(table.full_name, what)
        for partition, place in zip(batch, places, strict=True):
            if not is_same_place(partition.location, place) and not problems:
                problems.append(elsewhere(partition, place, table))


def _listed(
    lines: Iterable[str], table: PartitionedTable, batch: Sequence[HivePartition]
) -> list[str]:
    """Where each of the batch is by Impala's list, in order."""
    wanted = {table.identity(one.values): one for one in batch}
    found: dict[HivePartition, str] = {}
    for values, place in answers.listed_partitions(lines, len(table.columns)):
        if (partition := wanted.get(table.identity(values))) is not None:
            found[partition] = place
    return [found[one] for one in batch if one in found]


def _unexpected(where: str, what: str) -> TransientError:
    return TransientError(
        "E_HIVE_ANSWER",
        f"{where}: {what}",
        hint="take what changes its output out of [hive] command; backhaul replies test hive",
    )
