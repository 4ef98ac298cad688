"""The arithmetic of `benchmarks`; nothing is measured and no time is asserted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.report import Figure, best, paired, save, table


def figure(*values: float, at_least: float | None = None, at_most: float | None = None) -> Figure:
    return Figure(
        shape="small", what="ratio", unit="x", values=values, at_least=at_least, at_most=at_most
    )


def test_ratios_pair_values_of_the_same_round() -> None:
    assert paired([4.0, 9.0], [5.0, 10.0]) == (0.8, 0.9)


def test_rounds_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="shorter"):
        paired([1.0, 2.0], [1.0])


def test_the_best_ceiling_is_the_one_with_the_lowest_median() -> None:
    assert best({"128 threads": [7.0, 7.1, 7.2], "256 threads": [1.0, 8.0, 9.0]}) == "128 threads"


@pytest.mark.parametrize(
    ("one", "is_met"),
    [
        (figure(0.7, 0.8, 0.9, at_least=0.8), True),
        (figure(0.7, 0.79, 0.9, at_least=0.8), False),
        (figure(90, 100, 300, at_most=100), True),
        (figure(90, 101, 300, at_most=100), False),
        (figure(1.0), None),
    ],
)
def test_a_target_is_met_by_the_median(one: Figure, is_met: bool | None) -> None:  # noqa: FBT001
    assert one.is_met is is_met


def test_the_table_has_a_line_for_each_figure() -> None:
    lines = table([figure(0.5, 0.75, at_least=0.8), figure(123.4)]).splitlines()
    assert lines[0].split() == ["shape", "what", "min", "median", "max", "target"]
    assert " ".join(lines[1].split()) == "small ratio 0.50 0.62 0.75 x >= 0.8 MISSED"
    assert " ".join(lines[2].split()) == "small ratio 123 123 123 x"


def test_what_is_saved_can_be_read_again(tmp_path: Path) -> None:
    save(tmp_path / "bench" / "one.json", [figure(1.0, 3.0)], {"rounds": 2})
    found = json.loads((tmp_path / "bench" / "one.json").read_text())
    assert found["rounds"] == 2
    assert found["figures"][0]["median"] == 2.0
    assert "small" in (tmp_path / "bench" / "one.txt").read_text()
