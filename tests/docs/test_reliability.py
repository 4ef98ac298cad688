"""`docs/reliability.md` is what its table says, and the table names tests that exist."""

from __future__ import annotations

from tests.reliability import COVERED, PAGE, page

ROOT = PAGE.parents[1]


def test_page_is_made_from_the_table() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.reliability"


def test_every_row_names_a_test_that_exists() -> None:
    for _, _, test in COVERED:
        path, _, name = test.partition("::")
        assert f"def {name}(" in (ROOT / path).read_text("utf-8"), test
