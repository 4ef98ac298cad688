"""What transfers cost, and what one would: the ledger's bytes at the configured prices."""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction

from backhaul.adapters.ledger import LedgerReader, TransferRow, find_reader
from backhaul.core.cost.prices import Dollars, EgressPrice, Estimate, day_costs, month_of
from backhaul.core.errors import BackhaulError
from backhaul.core.ports.ledger_place import LedgerPlace

Days = Sequence[tuple[str, int]]


class Costs:
    """Prices what was read, by the tier that its month had reached on its day.

    Args:
        days_of: The first day of a month to its days with their bytes, in order.
    """

    def __init__(self, price: EgressPrice, days_of: Callable[[date], Days]) -> None:
        self.price = price
        self._days_of = days_of
        self._rates: dict[date, dict[str, Fraction]] = {}

    def rate(self, day: date) -> Fraction:
        """Dollars for each byte of this day in UTC, on average over the day."""
        return self._rates_of(day.replace(day=1)).get(day.isoformat(), Fraction(0))

    def of(self, size_bytes: int, at: datetime) -> Dollars:
        """Of what was read until this time: at the prices of the last day with any until then.

        A transfer that ends after midnight has perhaps read all of it on the day before.
        """
        if not size_bytes:
            return Fraction(0)
        day = at.astimezone(UTC).date()
        month = day.replace(day=1)
        for one in (month, (month - timedelta(days=1)).replace(day=1)):
            rates = self._rates_of(one)
            if days := [known for known in rates if known <= day.isoformat()]:
                return size_bytes * rates[max(days)]
        return Fraction(0)

    def of_transfer(self, row: TransferRow) -> Dollars:
        """Of all that was read for it, at the prices of its last day."""
        size_bytes = row.egress_copy + row.egress_retry + row.egress_verify
        return self.of(size_bytes, row.finished_at or row.updated_at)

    def _rates_of(self, month: date) -> dict[str, Fraction]:
        """Of its days on which something left S3."""
        if month not in self._rates:
            days = self._days_of(month)
            sizes = dict(days)
            priced = day_costs(self.price, days)
            self._rates[month] = {one: cost / sizes[one] for one, cost in priced if sizes[one]}
        return self._rates[month]


def costs_of(reader: LedgerReader, price: EgressPrice) -> Costs:
    """Of a ledger that stays open meanwhile."""
    return Costs(price, lambda month: reader.bytes_by_day(month, _last_day(month)))


def read_costs(ledger: LedgerPlace, price: EgressPrice) -> Costs:
    """Of a ledger that is opened for each month that is priced; it may not exist yet."""

    def days_of(month: date) -> Days:
        reader = find_reader(ledger)
        if reader is None:
            return []
        with closing(reader):
            return reader.bytes_by_day(month, _last_day(month))

    return Costs(price, days_of)


def _last_day(month: date) -> date:
    return month.replace(day=monthrange(month.year, month.month)[1])


def estimate_of(reader: LedgerReader, price: EgressPrice, now: datetime) -> Estimate:
    """By a ledger that is open."""
    days = reader.bytes_by_day(month_of(now))
    return Estimate(price, sum(size_bytes for _, size_bytes in days))


def read_estimate(ledger: LedgerPlace, price: EgressPrice, now: datetime | None = None) -> Estimate:
    """By the ledger, which is only read; where it cannot be, as at the beginning of a month."""
    try:
        reader = find_reader(ledger)
        if reader is None:
            return Estimate(price, 0)
        with closing(reader):
            return estimate_of(reader, price, now or datetime.now(UTC))
    except BackhaulError:
        return Estimate(price, 0)  # an estimate is no reason to fail: who needs the ledger says so
