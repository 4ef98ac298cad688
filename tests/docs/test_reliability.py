"""`docs/reliability.md` is what its rows and results say, and the rows name tests that exist."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import reliability
from tests.reliability import PAGE, ROOT, ROWS, every_test, page, results, take_in

REPORT = """<testsuites><testsuite timestamp="2026-11-22T10:00:00">
<testcase classname="tests.unit.test_ends" name="test_x[1]"/>
<testcase classname="tests.unit.test_ends" name="test_x[2]">{}</testcase>
<testcase classname="tests.unit.test_ends" name="test_of_no_row"/>
</testsuite></testsuites>"""


def test_page_is_made_from_rows_and_results() -> None:
    assert PAGE.read_text("utf-8") == page(), "run: python -m tests.reliability"


@pytest.mark.parametrize("test", every_test())
def test_every_row_names_a_test_that_exists(test: str) -> None:
    path, _, name = test.partition("::")
    assert f"def {name}(" in (ROOT / path).read_text("utf-8")


def test_row_without_a_test_has_a_reason_and_one_with_a_test_a_promise() -> None:
    for row in ROWS:
        assert row.promise if row.tests else row.known, row


def test_results_are_of_tests_that_some_row_names() -> None:
    assert results().keys() <= set(every_test())


@pytest.mark.parametrize(
    ("second", "outcome"),
    [("", "passed"), ("<skipped/>", "skipped"), ("<failure/>", "failed"), ("<error/>", "failed")],
)
def test_worst_of_a_tests_parameters_is_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: str, outcome: str
) -> None:
    kept = tmp_path / "results.json"
    kept.write_text('{"tests/a.py::test_a": ["passed", "2026-01-01", "abc"], "gone": []}', "utf-8")
    named = ["tests/a.py::test_a", "tests/unit/test_ends.py::test_x"]
    monkeypatch.setattr(reliability, "RESULTS", kept)
    monkeypatch.setattr(reliability, "every_test", lambda: named)
    monkeypatch.setattr(reliability, "_git", lambda *_words: "")
    report = tmp_path / "junit.xml"
    report.write_text(REPORT.format(second), "utf-8")
    take_in(report)
    assert results() == {
        named[0]: ["passed", "2026-01-01", "abc"],
        named[1]: [outcome, "2026-11-22", ""],
    }
