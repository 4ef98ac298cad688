"""What left S3 and what ended, by day, route or sender: read from the sums by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Select, Table, func, select

from backhaul.adapters.ledger.daily.adding import amount, egress_of
from backhaul.adapters.ledger.daily.tables import egress, endings
from backhaul.adapters.ledger.session import ReadSession
from backhaul.core.cost.egress import Egress

_BYTES = func.sum(egress.c.bytes).label("size_bytes")


class GroupBy(StrEnum):
    """What a line of a report is of."""

    ROUTE = "route"
    SENDER = "sender"
    DAY = "day"


@dataclass(frozen=True, kw_only=True)
class EgressSum:
    """What left S3 on one day for one group.

    Attributes:
        day: In UTC, `2026-11-30`.
        key: The route, the sender or the day; empty: of none.
    """

    day: str
    key: str
    egress: Egress


@dataclass(frozen=True, kw_only=True)
class EndingSum:
    """Transfers of one group that ended.

    Attributes:
        key: As in `EgressSum`.
        done: Those superseded among them.
        objects: Of those done.
    """

    key: str
    done: int
    dead: int
    objects: int


class EgressReader(ReadSession):
    """What a report and prices need.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """

    def bytes_by_day(self, since: date, until: date | None = None) -> list[tuple[str, int]]:
        """Days in UTC with what left S3 on them, in order; days without are left out.

        Args:
            since: The first; `until` is the last, None: no end.
        """
        query = select(egress.c.day, func.sum(egress.c.bytes)).group_by(egress.c.day)
        query = _within(query, egress, since, until, None).order_by(egress.c.day)
        with self._transaction("what left S3") as tx:
            return [(str(row[0]), amount(egress.c.bytes, row[1])) for row in tx.execute(query)]

    def egress_sums(
        self, by: GroupBy, since: date, until: date | None = None, route: str | None = None
    ) -> list[EgressSum]:
        """By day and group, in order of both.

        Args:
            route: Of this one alone; None: of all.
        """
        key = egress.c[by.value]
        groups: list[ColumnElement[Any]] = [egress.c.day, key, egress.c.purpose]
        query = select(egress.c.day, key.label("key"), egress.c.purpose, _BYTES)
        query = _within(query, egress, since, until, route).group_by(*groups).order_by(*groups)
        found: dict[tuple[str, str], Egress] = {}
        with self._transaction("what left S3") as tx:
            for row in tx.execute(query).mappings():
                key_of_row = row["day"], row["key"]
                more = egress_of(row["purpose"], row["size_bytes"])
                found[key_of_row] = found.get(key_of_row, Egress()) + more
        return [EgressSum(day=day, key=name, egress=one) for (day, name), one in found.items()]

    def ending_sums(
        self, by: GroupBy, since: date, until: date | None = None, route: str | None = None
    ) -> list[EndingSum]:
        """By group, in its order; `route` as in `egress_sums`."""
        key = endings.c[by.value]
        sums = (func.sum(endings.c[name]).label(name) for name in ("done", "dead", "objects"))
        query = _within(select(key.label("key"), *sums), endings, since, until, route)
        query = query.group_by(key).order_by(key)
        with self._transaction("what ended") as tx:
            return [
                EndingSum(
                    key=row["key"],
                    done=amount(endings.c.done, row["done"]),
                    dead=amount(endings.c.dead, row["dead"]),
                    objects=amount(endings.c.objects, row["objects"]),
                )
                for row in tx.execute(query).mappings()
            ]


def _within(
    query: Select[Any], table: Table, since: date, until: date | None, route: str | None
) -> Select[Any]:
    query = query.where(table.c.day >= since.isoformat())
    if until is not None:
        query = query.where(table.c.day <= until.isoformat())
    return query if route is None else query.where(table.c.route == route)
