"""Filters of lists find what they name, by an index where there is one, and say what they hide."""

from __future__ import annotations

import csv
import io
import itertools
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import event

from backhaul.adapters.ledger import HistoryFilter, TransferRow, open_ledger, open_reader
from backhaul.adapters.ledger.reading import filtering, history
from backhaul.cli import cli
from backhaul.cli.listing import csv_cell
from backhaul.core.model import Location, TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.transfer_ids import time_part
from tests.contract.test_ledger import T0, claim, planned, proof

QUEUES = [f"arn:aws:sqs:us-west-2:123456789012:{name}" for name in ("clicks", "orders")]
MINUTE = timedelta(minutes=1)
ENDS = (TransferState.DONE, TransferState.DEAD, TransferState.HELD, TransferState.RECEIVED)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 transfers: two queues, three sources, two directories, four states."""
    path = tmp_path_factory.mktemp("filters") / "ledger.db"
    sources = ("s3://raw/click/", "s3a://raw/click/day=2/", "s3://raw/orders/a=b_%/")
    with closing(open_ledger(path, create=True)) as ledger:
        for number in range(48):
            made_at = T0 + number * MINUTE
            name = f"{time_part(made_at)}{number:06}"
            state = ENDS[number % 4]
            place = ("/landing/click", "/landing/clicks")[number % 2] + f"/n={number}"
            target = Location(scheme="hdfs", authority="ns", path=place)
            asked = place if number % 3 else target.uri
            key = MessageKey(queue=QUEUES[number % 2], message_id=f"{number % 5}f-{number:04}")
            ledger.begin(key, name, sources[number % 3], asked, made_at)
            changed_at = made_at + (number % 7) * 10 * MINUTE
            if state is TransferState.DONE:
                found = claim(ledger, name, target, first=[planned(0)], is_complete=True)
                assert found is not None
                ledger.intend(name, found.epoch, [proof(0)], made_at)
                ledger.finish(name, found.epoch, state, "tree", changed_at)
            elif state is not TransferState.RECEIVED:
                ledger.fail(name, state, ("E_A", "E_B")[number % 5 % 2], "x", changed_at)
    return path


FILTERS = [
    HistoryFilter(codes=("E_A",)),
    HistoryFilter(codes=("E_A", "E_B"), states=(TransferState.HELD,)),
    HistoryFilter(route="clickstream"),
    HistoryFilter(route="other"),
    HistoryFilter(source="s3://raw/click/"),
    HistoryFilter(source="raw/click/day"),
    HistoryFilter(source="s3a://raw/orders/a=b_%/"),
    HistoryFilter(source="s3://raw/orders/a=bx"),
    HistoryFilter(destination="/landing/click"),
    HistoryFilter(destination="/landing/click/"),
    HistoryFilter(destination="hdfs://ns/landing/clicks/n=7"),
    HistoryFilter(destination="/landing"),
    HistoryFilter(destination="/"),
    HistoryFilter(message="1f-"),
    HistoryFilter(message="2f-0007"),
    HistoryFilter(since=T0 + 30 * MINUTE),
    HistoryFilter(since=T0 + 600 * MINUTE),
    HistoryFilter(until=T0 + 20 * MINUTE),
    HistoryFilter(since=T0 + 20 * MINUTE, until=T0 + 40 * MINUTE, states=(TransferState.DEAD,)),
]


def is_one(row: TransferRow, wanted: HistoryFilter) -> bool:
    """The same once more, without SQL."""

    def bare(source: str) -> str:
        return source.replace("s3a://", "").replace("s3://", "")

    def within(text: str) -> bool:
        place = (wanted.destination or "").rstrip("/")
        texts = [text, text.removeprefix("hdfs://ns")]
        return any(one == place or one.startswith(f"{place}/") for one in texts)

    return (
        (not wanted.states or row.state in wanted.states)
        and (not wanted.codes or row.code in wanted.codes)
        and wanted.route in {None, row.route}
        and bare(row.source).startswith(bare(wanted.source or ""))
        and (wanted.destination is None or within(row.destination))
        and (row.message_id or "").startswith(wanted.message or "")
        and (wanted.since is None or row.updated_at >= wanted.since)
        and (wanted.until is None or row.updated_at < wanted.until)
    )


@pytest.mark.parametrize("few", [0, 6, 4000])
def test_each_filter_finds_the_same_with_an_index_and_without(
    path: Path, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(filtering, "FEW", few)
    monkeypatch.setattr(history, "TRANSFERS_AT_ONCE", 7)
    with closing(open_reader(path)) as reader:
        every = reader.history(1000)
        assert len(every) == 48
        pairs = [replace(one, states=(TransferState.DEAD,)) for one in FILTERS]
        for wanted in (*FILTERS, *pairs):
            expected = [row.id for row in every if is_one(row, wanted)]
            assert [row.id for row in reader.history(1000, wanted=wanted)] == expected, wanted
            assert [row.id for row in reader.history(3, wanted=wanted)] == expected[:3], wanted
            assert reader.count(wanted=wanted) == len(expected), wanted


@pytest.mark.parametrize(
    ("wanted", "index"),
    [
        (HistoryFilter(message="2f-0007"), "uq_transfers_message|sqlite_autoindex"),
        (HistoryFilter(source="s3://raw/orders/"), "ix_transfers_source"),
        (HistoryFilter(destination="/landing/click/n=4"), "ix_transfers_canonical"),
        (HistoryFilter(codes=("E_A",)), "ix_transfers_dead"),
        (HistoryFilter(states=(TransferState.DEAD,), settled=False), "ix_transfers_dead_open"),
        (HistoryFilter(since=T0 + 600 * MINUTE), "SEARCH journal USING INTEGER PRIMARY KEY"),
    ],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_a_filter_reads_through_an_index(path: Path, wanted: HistoryFilter, index: str) -> None:
    seen: list[tuple[str, Any]] = []

    def note(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
        seen.append((statement, values))

    with closing(open_reader(path)) as reader:
        event.listen(reader._engine, "before_cursor_execute", note)
        reader.history(20, wanted=wanted)
    with closing(sqlite3.connect(path)) as connection:
        plans = [
            row[3]
            for statement, values in seen
            if statement.startswith("SELECT")
            and ("transfers" in statement or "journal" in statement)
            for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", values)
        ]
    assert any(name in " ".join(plans) for name in index.split("|")), plans
    assert not [one for one in plans if one in {"SCAN transfers", "SCAN journal"}], plans


# ---------------------------------------------------------------- the command


def run(path: Path, *words: str, env: dict[str, str] | None = None) -> Result:
    given = [*words, "--ledger", str(path)]
    result = CliRunner().invoke(cli, given, standalone_mode=False, env=env or {})
    assert result.exception is None, result.exc_info
    return result


def ids(result: Result) -> list[str]:
    return [line.split()[0] for line in result.stdout.splitlines()[1:]]


def test_what_is_hidden_is_told_unless_it_is_to_be_quiet(path: Path) -> None:
    shown = run(path, "history", "-n", "3")
    assert shown.stderr == "3 of 48 shown; --limit 48 for all\n"
    assert run(path, "history", "-n", "3", "--quiet").stderr == ""
    assert ids(run(path, "history", "-n", "3", "--reverse")) == ids(shown)[::-1]
    empty = run(path, "history", "--code", "E_NONE")
    assert empty.stdout == "No transfer matches these filters (48 in the ledger).\n"
    assert run(path, "history", "--code", "E_NONE", "--json").stdout == ""


def test_rows_in_a_pipe_are_one_line_each_without_blanks_at_the_end(path: Path) -> None:
    for form in ("table", "wide"):
        lines = run(path, "history", "-o", form).stdout.splitlines()
        assert len(lines) == 21
        assert [line for line in lines if line != line.rstrip()] == []
        assert ("message id" in lines[0]) is (form == "wide")


def test_csv_has_a_header_and_zones_and_whole_numbers(path: Path) -> None:
    text = run(path, "history", "--state", "done", "-o", "csv", "-q").stdout
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == 12
    assert {row["state"] for row in rows} == {"done"}
    assert {row["bytes_planned"] for row in rows} == {"100"}
    assert datetime.fromisoformat(rows[0]["updated_at"]).tzinfo == UTC
    assert (
        run(path, "history", "--code", "E_NONE", "-o", "csv").stdout == text.split("\n")[0] + "\n"
    )


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1"])
def test_a_text_like_a_formula_is_none_in_a_spreadsheet(text: str) -> None:
    assert csv_cell(text) == f"'{text}"


@pytest.mark.parametrize("value", ["a=1", "s3://b/-x", 5, 0, ""])
def test_other_cells_are_as_they_are(value: object) -> None:
    assert csv_cell(value) == value
    assert csv_cell(None) == ""


def test_json_and_another_form_exclude_each_other(path: Path) -> None:
    words = ["history", "--json", "-o", "csv", "--ledger", str(path)]
    done = CliRunner().invoke(cli, words)
    assert done.exit_code == 2
    assert "--json and --output csv exclude each other" in done.output


def colours(path: Path, monkeypatch: pytest.MonkeyPatch, *words: str) -> Iterator[str]:
    """The escape sequences before each state, as on a terminal."""
    from rich.console import Console

    monkeypatch.setattr(Console, "is_terminal", property(lambda _: True))
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")
    return iter(run(path, "history", *words).stdout.splitlines())


def test_states_have_colours_on_a_terminal_and_none_with_no_color(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from backhaul.cli.history import state_style

    styles = [
        state_style(one, None, is_settled=False) for one in ("dead", "held", "done", "staging")
    ]
    assert styles == ["red", "yellow", "green", ""]
    assert state_style("dead", "E_CANCELLED", is_settled=False) == "dim"
    assert state_style("dead", "E_X", is_settled=True) == "dim"
    monkeypatch.setenv("NO_COLOR", "1")
    text = "\n".join(itertools.islice(colours(path, monkeypatch), 30))
    assert "\x1b[3" not in text
