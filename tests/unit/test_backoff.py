"""Delays double, stay within their bounds, and are never zero."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.core.backoff import RetryPolicy, hold_delay_s

POLICY = RetryPolicy(base_s=5, cap_s=900)


@pytest.mark.parametrize(
    ("failures", "least_s", "most_s"),
    [(1, 2, 5), (2, 5, 10), (3, 10, 20), (8, 320, 640), (9, 450, 900), (50, 450, 900)],
)
def test_delay_doubles_up_to_the_cap(failures: int, least_s: int, most_s: int) -> None:
    assert POLICY.delay_s(failures, 0.0) == least_s
    assert POLICY.delay_s(failures, 1.0) == most_s


def test_delay_is_never_zero() -> None:
    assert RetryPolicy(base_s=0.01).delay_s(1, 0.0) == 1


@given(st.integers(1, 10_000), st.floats(0, 1))
def test_delay_stays_within_cap(failures: int, chance: float) -> None:
    assert 1 <= POLICY.delay_s(failures, chance) <= 900


@pytest.mark.parametrize(
    ("tries", "least_s", "most_s"), [(1, 1, 2), (2, 2, 4), (4, 8, 16), (5, 10, 20), (999, 10, 20)]
)
def test_hold_tries_again_within_half_a_minute(tries: int, least_s: float, most_s: float) -> None:
    assert hold_delay_s(tries, 0.0) == least_s
    assert hold_delay_s(tries, 1.0) == most_s
