"""Sizes, rates and spans as people read them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from backhaul.core.units import human_bytes, human_rate, human_span


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536 * 1024, "1.5 MiB"),
        (3 << 30, "3.0 GiB"),
        (5 << 40, "5.0 TiB"),
        (5 << 50, "5120.0 TiB"),
    ],
)
def test_sizes(size: int, words: str) -> None:
    assert human_bytes(size) == words


def test_a_rate_is_a_size_a_second() -> None:
    assert human_rate(2048.0) == "2.0 KiB/s"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (-5, "0 s"),
        (0, "0 s"),
        (119.4, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7200, "2 h"),
        (2 * 86_400 - 1, "47 h"),
        (2 * 86_400, "2 days"),
    ],
)
def test_spans_have_one_unit(seconds: float, words: str) -> None:
    assert human_span(timedelta(seconds=seconds)) == words
