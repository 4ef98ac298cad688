"""`docs/reliability.md` is what its rows and results say, and the rows name tests that exist."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests import reliability, reliability_runs
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


@pytest.mark.parametrize(
    ("wrong", "says"),
    [([], "fewer than 7.5 % of such rounds (3/40)"), (["S1 lost"], "1 rounds violated a promise")],
)
def test_rounds_are_counted_by_their_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: list[str], says: str
) -> None:
    monkeypatch.setattr(reliability_runs, "RUNS", tmp_path / "torture.json")
    monkeypatch.setattr(reliability_runs, "FLEET", tmp_path / "torture_fleet.json")
    assert reliability_runs.section() == []
    rounds = [
        {"fault": "calm", "struck": 0, "crashes": 0, "wrong": [], "looks": 900, "reads": 5},
        *[{"fault": "kill", "struck": 3, "crashes": 3, "wrong": [], "looks": 900, "reads": 5}] * 39,
        {"fault": "kill", "struck": 1, "crashes": 1, "wrong": wrong, "looks": 900, "reads": 5},
    ]
    told = tmp_path / "torture.jsonl"
    told.write_text("".join(f"{json.dumps(one)}\n" for one in rounds), "utf-8")
    reliability_runs.take_in([told], day="2026-01-01", commit="abc")
    text = "\n".join(reliability_runs.section())
    assert "41 rounds, 40 of them struck something, 118 processes were killed" in text
    assert "looked 36,900 times and read 205 files" in text
    assert "| `kill` | 40 | 40 | 118 |" in text
    assert says in text
    assert ("With 95 %" in text) == (not wrong)


FLEET_ROUND = {"crashes": 1, "looks": 900, "reads": 5, "struck": 1, "fenced": 1, "lease": 0.2}


def fleet_text(path: Path, *rounds: tuple[str, str, str, list[str]]) -> str:
    """The section after a run with these: day, commit, fault, violations."""
    kept = [
        {**FLEET_ROUND, "day": day, "commit": commit, "fault": fault, "wrong": wrong}
        for day, commit, fault, wrong in rounds
    ]
    path.write_text("".join(f"{json.dumps(one)}\n" for one in kept), "utf-8")
    reliability_runs.take_in_fleet([path])
    return "\n".join(reliability_runs.section())


@pytest.fixture
def nothing_on_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reliability_runs, "RUNS", tmp_path / "torture.json")
    monkeypatch.setattr(reliability_runs, "FLEET", tmp_path / "torture_fleet.json")


@pytest.mark.usefixtures("nothing_on_record")
def test_rounds_of_a_fleet_add_up_over_days_and_commits(tmp_path: Path) -> None:
    told = tmp_path / "fleet.jsonl"
    first, later = ("2026-01-01", "abc"), ("2026-01-02", "def")
    fleet_text(told, (*first, "node-killed", ["S3"]), (*first, "failover", []))
    fleet_text(told, (*later, "node-killed", []))
    # It ran on since: all of the batch are told together.
    text = fleet_text(told, *[(*later, "node-killed", [])] * 2)
    assert "4 rounds, 4 of them struck something, 4 processes were killed" in text
    assert "4 times an agent found" in text
    assert "| 2026-01-01 | `abc` | 0.2 | 2 | 2 | 2 | 2 | 1 |" in text
    assert "| 2026-01-02 | `def` | 0.2 | 2 | 2 | 2 | 2 | 0 |" in text
    assert "| `node-killed` | 3 | 3 | 3 | 1 |" in text
    assert (
        "No round is on record for: commit-lost, database-backend-killed, database-restart" in text
    )
    assert "The aim is 300 rounds; these are fewer." in text
    assert "With 95 %" not in text, "two rounds bound nothing"


@pytest.mark.usefixtures("nothing_on_record")
def test_a_bound_counts_from_the_last_batch_that_violated_something(tmp_path: Path) -> None:
    told = tmp_path / "fleet.jsonl"
    fleet_text(told, *[("2026-01-01", "abc", "failover", ["S1"])] * 400)
    text = fleet_text(told, *[("2026-01-02", "def", "failover", [])] * 60)
    assert "fewer than 5.0 % of such rounds (3/60) do since the last one." in text
    assert "The aim is" not in text


def test_each_round_on_record_that_violated_something_is_explained() -> None:
    batches = json.loads(reliability_runs.FLEET.read_text("utf-8"))["batches"]
    assert reliability_runs.unexplained(batches) == {}


@pytest.mark.usefixtures("nothing_on_record")
def test_a_violation_is_explained_or_the_page_says_that_it_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, known = tmp_path / "fleet.jsonl", tmp_path / "known.json"
    monkeypatch.setattr(reliability_runs, "VIOLATIONS", known)
    known.write_text("[]", "utf-8")
    text = fleet_text(told, *[("2026-01-01", "abc", "failover", ["S1"])] * 2)
    assert "| `abc` | | 2 | not explained yet | | |" in text
    assert "In none of them" not in text
    one = {"commit": "abc", "faults": ["failover"], "rounds": 2, "mended": "def"}
    for is_data_harmed in (False, True):
        one |= {"what": "S1: lost", "cause": "the program", "is_data_harmed": is_data_harmed}
        known.write_text(json.dumps([one]), "utf-8")
        text = "\n".join(reliability_runs.section())
        assert "| `abc` | `failover` | 2 | S1: lost | the program | `def` |" in text
        assert ("In none of them were data lost" in text) is not is_data_harmed
        assert "not explained" not in text
