"""`backhaul report`: what left S3 and what it cost, by route, sender or day."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

from backhaul.adapters.ledger import find_reader
from backhaul.adapters.ledger.reading.egress import GroupBy
from backhaul.app.cost import costs_of
from backhaul.core.cost.egress import Egress
from backhaul.core.cost.prices import Dollars, EgressPrice, usd
from backhaul.core.ports.ledger_place import LedgerPlace


@dataclass(frozen=True, kw_only=True)
class ReportLine:
    """One group of a report, or the total.

    Attributes:
        key: The route, the sender or the day; empty: of none.
        done: Transfers, those superseded among them; `dead` likewise.
        objects: Of those done.
    """

    key: str
    done: int = 0
    dead: int = 0
    objects: int = 0
    egress: Egress = field(default_factory=Egress)
    cost: Dollars = Fraction(0)

    @property
    def as_json(self) -> dict[str, Any]:
        """For programs; dollars to a millionth."""
        return {
            "key": self.key,
            "transfers": self.done + self.dead,
            "done": self.done,
            "dead": self.dead,
            "objects": self.objects,
            "copy_bytes": self.egress.copy,
            "retry_bytes": self.egress.retry,
            "verify_bytes": self.egress.verify,
            "bytes": self.egress.size_bytes,
            "cost_usd": usd(self.cost),
        }

    def __add__(self, other: ReportLine) -> ReportLine:
        return ReportLine(
            key=self.key,
            done=self.done + other.done,
            dead=self.dead + other.dead,
            objects=self.objects + other.objects,
            egress=self.egress + other.egress,
            cost=self.cost + other.cost,
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """A report over whole days in UTC.

    Attributes:
        lines: Days in order; routes and senders with the dearest first.
    """

    by: GroupBy
    since: date
    until: date
    lines: tuple[ReportLine, ...]
    total: ReportLine
    price: EgressPrice


def read_report(
    ledger: LedgerPlace,
    price: EgressPrice,
    *,
    by: GroupBy,
    since: datetime,
    until: datetime | None = None,
    route: str | None = None,
) -> Report | None:
    """From the ledger's sums by day; None where no ledger exists yet.

    Args:
        since: Its day in UTC is the first. The last is that of the moment before `until`: midnight
            begins a day that is not in it; None: today.
        route: Of this one alone. Its bytes cost what they cost among those of all others.
    """
    first = since.astimezone(UTC).date()
    end = datetime.now(UTC) if until is None else until - timedelta(microseconds=1)
    last = end.astimezone(UTC).date()
    reader = find_reader(ledger)
    if reader is None:
        return None
    found: dict[str, ReportLine] = {}
    with closing(reader):
        costs = costs_of(reader, price)
        for ended in reader.ending_sums(by, first, last, route):
            found[ended.key] = ReportLine(
                key=ended.key, done=ended.done, dead=ended.dead, objects=ended.objects
            )
        for one in reader.egress_sums(by, first, last, route):
            cost = one.egress.size_bytes * costs.rate(date.fromisoformat(one.day))
            line = ReportLine(key=one.key, egress=one.egress, cost=cost)
            found[one.key] = found.get(one.key, ReportLine(key=one.key)) + line
    lines = sorted(found.values(), key=lambda line: line.key)
    if by is not GroupBy.DAY:
        lines.sort(key=lambda line: (line.cost, line.egress.size_bytes, line.done), reverse=True)
    total = sum(lines, ReportLine(key=""))
    return Report(
        by=by,
        since=first,
        until=last,
        lines=tuple(lines),
        total=replace(total, key="total"),
        price=price,
    )
