"""What leaving S3 costs: tiers over the bytes of a calendar month, in exact arithmetic.

A GB here is 2^30 bytes and a TB 1,024 GB, as AWS bills (S3 FAQ: "100 GB (107,374,182,400 bytes)").
Dollars are fractions until they are shown: a sum of many small amounts is the amount of their sum.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from fractions import Fraction

GB = 1 << 30
TB = 1 << 40
_CENT = Fraction(1, 100)

Dollars = Fraction


@dataclass(frozen=True, kw_only=True)
class PriceTier:
    """One step of a price table.

    Attributes:
        up_to_bytes: Of a month; None: without an end. Greater than that of the tier before it.
        usd_per_gb: 0 or more.
    """

    up_to_bytes: int | None
    usd_per_gb: Fraction


@dataclass(frozen=True, kw_only=True)
class EgressPrice:
    """What bytes cost that leave S3 in one calendar month in UTC.

    Attributes:
        tiers: At least one; the last has no end.
        source: Where the table comes from, for people: `AWS's list price since December 2021`.
    """

    tiers: tuple[PriceTier, ...]
    source: str

    def cost(self, size_bytes: int, *, month_bytes: int = 0) -> Dollars:
        """Of so many bytes, after `month_bytes` of the same month; exact.

        Additive: two amounts one after the other cost what they cost together.
        """
        total, at, end = Fraction(0), month_bytes, month_bytes + size_bytes
        for tier in self.tiers:
            stop = end if tier.up_to_bytes is None else min(end, tier.up_to_bytes)
            if stop > at:
                total += Fraction(stop - at, GB) * tier.usd_per_gb
                at = stop
        return total

    def usd_per_gb(self, month_bytes: int) -> Fraction:
        """Of the next byte after so many of a month."""
        for tier in self.tiers:
            if tier.up_to_bytes is None or month_bytes < tier.up_to_bytes:
                return tier.usd_per_gb
        raise AssertionError("the last tier has no end")


def flat(usd_per_gb: Fraction, source: str) -> EgressPrice:
    """The same for every byte."""
    return EgressPrice(tiers=(PriceTier(up_to_bytes=None, usd_per_gb=usd_per_gb),), source=source)


def _tiers(*steps: tuple[int | None, str]) -> tuple[PriceTier, ...]:
    return tuple(
        PriceTier(up_to_bytes=up_to_bytes, usd_per_gb=Fraction(usd)) for up_to_bytes, usd in steps
    )


# Source: AWS, "Amazon S3 pricing", data transfer out to the internet, us-east-1; in force since
# 1 December 2021, when the first 100 GB of each month became free.
INTERNET = EgressPrice(
    tiers=_tiers(
        (100 * GB, "0"),
        (10 * TB, "0.09"),
        (50 * TB, "0.085"),
        (150 * TB, "0.07"),
        (None, "0.05"),
    ),
    source="AWS's list price since December 2021",
)
# Source: AWS, "AWS Direct Connect pricing", data transfer out; from us-east-1 to locations in the
# United States. Other pairs of region and location differ, from 0.02 to several times as much.
DIRECT_CONNECT = flat(Fraction("0.02"), "AWS Direct Connect's list price within the United States")
ZERO = flat(Fraction(0), "[cost] path = zero")


def day_costs(price: EgressPrice, days: Iterable[tuple[str, int]]) -> Iterator[tuple[str, Dollars]]:
    """What each day cost, as the month's bytes so far decide its tier.

    Args:
        days: `2026-11-30` and its bytes, in order, each month from its first day on.
    """
    month, so_far = "", 0
    for day, size_bytes in days:
        if day[:7] != month:
            month, so_far = day[:7], 0
        yield day, price.cost(size_bytes, month_bytes=so_far)
        so_far += size_bytes


def month_of(at: datetime) -> date:
    """The first day of its month in UTC, as AWS bills."""
    return at.astimezone(UTC).date().replace(day=1)


def usd(amount: Dollars) -> float:
    """For JSON: to a millionth of a dollar."""
    return round(float(amount), 6)


def usd_text(amount: Dollars) -> str:
    """For people: `$1,234.56`; what is not nothing and less than a cent is `< $0.01`."""
    if 0 < amount < _CENT:
        return "< $0.01"
    return f"${float(amount):,.2f}"


@dataclass(frozen=True)
class Estimate:
    """What bytes would cost on top of those of a month.

    Attributes:
        month_bytes: What left S3 this month, in UTC, as the ledger counted it.
    """

    price: EgressPrice
    month_bytes: int

    @property
    def month_usd(self) -> Dollars:
        """What those cost."""
        return self.price.cost(self.month_bytes)

    def usd(self, size_bytes: int) -> Dollars:
        """The most that so many bytes cost when each is read once."""
        return self.price.cost(size_bytes, month_bytes=self.month_bytes)

    def text(self, size_bytes: int) -> str:
        """`$9.00 by AWS's list price since December 2021`."""
        return f"{usd_text(self.usd(size_bytes))} by {self.price.source}"
