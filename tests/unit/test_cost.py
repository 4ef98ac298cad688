"""What bytes cost that leave S3: tiers at their edges, exact sums, the table in the settings."""

from __future__ import annotations

from datetime import UTC, date, datetime
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.app.cost import Costs
from backhaul.core.cost.prices import (
    DIRECT_CONNECT,
    GB,
    INTERNET,
    TB,
    ZERO,
    EgressPrice,
    PriceTier,
    day_costs,
    flat,
    usd,
    usd_text,
)
from backhaul.core.errors import ConfigurationError
from backhaul.settings.load import load_settings

BYTES = st.integers(0, 400 * TB)
STEPS = st.lists(
    st.tuples(st.integers(1, 100 * TB), st.fractions(0, 10, max_denominator=1000)), max_size=5
)


@st.composite
def prices(draw: st.DrawFn) -> EgressPrice:
    at, tiers = 0, []
    for width, each in draw(STEPS):
        at += width
        tiers.append(PriceTier(up_to_bytes=at, usd_per_gb=each))
    last = PriceTier(up_to_bytes=None, usd_per_gb=draw(st.fractions(0, 10, max_denominator=1000)))
    return EgressPrice(tiers=(*tiers, last), source="a test")


@pytest.mark.parametrize(
    ("size_bytes", "expected"),
    [
        (0, "0"),
        (1, "0"),
        (100 * GB, "0"),
        (101 * GB, "0.09"),
        (10 * TB, "912.6"),  # 10,240 GB less the free 100
        (10 * TB + GB, "912.685"),
        (50 * TB, "4394.2"),
        (50 * TB + GB, "4394.27"),
        (150 * TB, "11562.2"),
        (151 * TB, "11613.4"),
    ],
)
def test_aws_s_list_price_at_the_edges_of_its_tiers(size_bytes: int, expected: str) -> None:
    assert INTERNET.cost(size_bytes) == Fraction(expected)


def test_a_byte_beyond_the_free_ones_costs_something() -> None:
    assert INTERNET.cost(100 * GB + 1) == Fraction(9, 100 * GB)
    assert INTERNET.cost(1, month_bytes=100 * GB) == Fraction(9, 100 * GB)
    assert INTERNET.cost(1, month_bytes=100 * GB - 1) == 0


@pytest.mark.parametrize(
    ("month_bytes", "expected"),
    [(0, "0"), (100 * GB - 1, "0"), (100 * GB, "0.09"), (10 * TB, "0.085"), (150 * TB, "0.05")],
)
def test_the_price_of_the_next_byte(month_bytes: int, expected: str) -> None:
    assert INTERNET.usd_per_gb(month_bytes) == Fraction(expected)


def test_other_ways_out() -> None:
    assert DIRECT_CONNECT.cost(TB) == Fraction("20.48")
    assert ZERO.cost(1000 * TB) == 0


@given(prices(), BYTES, BYTES, BYTES)
def test_two_amounts_cost_what_they_cost_together(
    price: EgressPrice, before: int, one: int, other: int
) -> None:
    first = price.cost(one, month_bytes=before)
    second = price.cost(other, month_bytes=before + one)
    assert first + second == price.cost(one + other, month_bytes=before)


@given(prices(), BYTES, BYTES, BYTES)
def test_more_bytes_never_cost_less(price: EgressPrice, before: int, one: int, more: int) -> None:
    assert 0 <= price.cost(one, month_bytes=before) <= price.cost(one + more, month_bytes=before)


@given(st.lists(st.integers(0, 80 * TB), max_size=31))
def test_the_days_of_a_month_cost_what_the_month_costs(sizes: list[int]) -> None:
    days = [(f"2026-10-{day:02}", size) for day, size in enumerate(sizes, 1)]
    assert sum(cost for _, cost in day_costs(INTERNET, days)) == INTERNET.cost(sum(sizes))


def test_a_month_begins_anew() -> None:
    days = [("2026-10-31", 110 * GB), ("2026-11-01", 110 * GB)]
    assert [cost for _, cost in day_costs(INTERNET, days)] == [Fraction("0.9")] * 2


@pytest.mark.parametrize(
    ("amount", "expected"),
    [
        (Fraction(0), "$0.00"),
        (Fraction(1, 1000), "< $0.01"),
        (Fraction(1, 100), "$0.01"),
        (Fraction("1234.567"), "$1,234.57"),
    ],
)
def test_dollars_for_people(amount: Fraction, expected: str) -> None:
    assert usd_text(amount) == expected
    assert usd(Fraction(1, 3)) == 0.333333


# ---------------------------------------------------------------- settings


def price_of(directory: Path, text: str) -> EgressPrice:
    path = directory / "backhaul.toml"
    path.write_text(f"[cost]\n{text}\n")
    return load_settings(path).cost.price


def test_unset_it_is_aws_s_list_price(tmp_path: Path) -> None:
    assert price_of(tmp_path, "") == INTERNET
    assert price_of(tmp_path, 'path = "direct_connect"') == DIRECT_CONNECT
    assert price_of(tmp_path, 'path = "zero"') == ZERO


def test_a_number_counts_as_it_is_written(tmp_path: Path) -> None:
    found = price_of(tmp_path, "egress_usd_per_gb = 0.07")
    assert found == flat(Fraction(7, 100), "[cost] egress_usd_per_gb")
    assert price_of(tmp_path, "egress_usd_per_gb = 0").cost(TB) == 0
    found = price_of(tmp_path, 'egress_usd_per_gb = 0.03\npath = "direct_connect"')
    assert found.cost(GB) == Fraction(3, 100)


def test_steps(tmp_path: Path) -> None:
    table = "egress_usd_per_gb = [{ up_to_tb = 0.5, usd = 0 }, { usd = 0.05 }]"
    found = price_of(tmp_path, table)
    assert found.cost(512 * GB) == 0
    assert found.cost(513 * GB) == Fraction(5, 100)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('egress_usd_per_gb = "cheap"', "such as 0.09"),
        ("egress_usd_per_gb = true", "such as 0.09"),
        ("egress_usd_per_gb = -1", "from 0 to 100"),
        ("egress_usd_per_gb = 101", "from 0 to 100"),
        ("egress_usd_per_gb = nan", "cost.egress_usd_per_gb.0.usd"),
        ("egress_usd_per_gb = inf", "cost.egress_usd_per_gb.0.usd"),
        ("egress_usd_per_gb = []", "the last step"),
        ("egress_usd_per_gb = [{ up_to_tb = 1, usd = 1 }]", "the last step"),
        ("egress_usd_per_gb = [{ usd = 1 }, { usd = 2 }]", "only the last step"),
        ("egress_usd_per_gb = [{ up_to_tb = 1 }, { usd = 2 }]", "cost.egress_usd_per_gb.0.usd"),
        ("egress_usd_per_gb = [{ up_to_tb = 0, usd = 1 }, { usd = 2 }]", "up_to_tb"),
        (
            "egress_usd_per_gb = [{up_to_tb = 2, usd = 1}, {up_to_tb = 2, usd = 1}, {usd = 1}]",
            "up_to_tb = 2 after 2",
        ),
        ('path = "moon"', "cost.path"),
        ('path = "zero"\negress_usd_per_gb = 1', "leave egress_usd_per_gb out"),
    ],
)
def test_a_malformed_table_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        price_of(tmp_path, text)
    assert caught.value.code == "E_CFG_VALUE"
    assert words in str(caught.value)
    assert caught.value.hint


def test_what_was_read_before_midnight_is_not_free_after_it() -> None:
    """A transfer's bytes are counted on one day, and it may end on a later one without any."""
    months = {
        date(2026, 11, 1): [("2026-11-02", 2 * GB), ("2026-11-30", GB)],
        date(2026, 12, 1): [("2026-12-05", GB)],
    }
    price = EgressPrice(
        tiers=(
            PriceTier(up_to_bytes=2 * GB, usd_per_gb=Fraction(3)),
            PriceTier(up_to_bytes=None, usd_per_gb=Fraction(1)),
        ),
        source="a test",
    )
    costs = Costs(price, lambda month: months.get(month, []))

    def of_a_gb(month: int, day: int) -> Fraction:
        return costs.of(GB, datetime(2026, month, day, 0, 0, 1, tzinfo=UTC))

    assert [of_a_gb(11, day) for day in (1, 2, 3, 29, 30)] == [0, 3, 3, 3, 1]
    assert [of_a_gb(12, day) for day in (1, 4, 5, 6)] == [1, 1, 3, 3]
    assert costs.rate(date(2026, 12, 1)) == 0, "a day of a report has what left on it alone"
