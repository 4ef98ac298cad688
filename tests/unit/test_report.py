"""`backhaul report`: bytes, transfers and dollars from the sums by day."""

from __future__ import annotations

import csv
import io
import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.reading.egress import GroupBy
from backhaul.app.report import read_report
from backhaul.cli import cli
from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.cost.prices import GB, INTERNET, TB, EgressPrice, flat
from backhaul.core.errors import LedgerDamaged
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey, MessageOrigin

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
DOLLAR = flat(Fraction(1), "a test")
Row = tuple[str, str, str, str, int]  # day, route, sender, purpose, bytes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    open_ledger(path, create=True).close()
    return path


def fill(path: Path, rows: Sequence[Row], ended: Sequence[tuple[str, str, str]] = ()) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany("INSERT INTO egress VALUES (?, ?, ?, ?, 'native', ?)", rows)
        connection.executemany("INSERT INTO endings VALUES (?, ?, ?, 2, 1, 10)", ended)


def totals(
    path: Path, by: GroupBy, price: EgressPrice, route: str | None = None
) -> dict[str, Fraction]:
    found = read_report(path, price, by=by, since=NOW - timedelta(days=60), until=NOW, route=route)
    assert found is not None
    assert found.total.cost == sum(line.cost for line in found.lines)
    return {line.key: line.cost for line in found.lines}


def run(path: Path, *arguments: str) -> Result:
    wanted = ["report", "--ledger", str(path), "--since", "2026-11-01", *arguments]
    return CliRunner().invoke(cli, wanted)


def test_routes_senders_and_days(path: Path) -> None:
    fill(
        path,
        [
            ("2026-11-01", "a", "s1", "copy", GB),
            ("2026-11-01", "b", "s1", "retry", 2 * GB),
            ("2026-11-02", "a", "s2", "verify", 4 * GB),
        ],
    )
    assert totals(path, GroupBy.ROUTE, DOLLAR) == {"a": 5, "b": 2}
    assert totals(path, GroupBy.SENDER, DOLLAR) == {"s1": 3, "s2": 4}
    assert totals(path, GroupBy.DAY, DOLLAR) == {"2026-11-01": 3, "2026-11-02": 4}
    assert totals(path, GroupBy.DAY, DOLLAR, "a") == {"2026-11-01": 1, "2026-11-02": 4}


def test_the_tier_is_that_of_all_routes_and_of_the_whole_month(path: Path) -> None:
    fill(
        path,
        [
            ("2026-11-01", "big", "", "copy", 10 * TB),
            ("2026-11-19", "small", "", "copy", GB),
        ],
    )
    found = read_report(path, INTERNET, by=GroupBy.ROUTE, since=NOW - timedelta(days=2), until=NOW)
    assert found is not None
    assert [(one.key, one.cost) for one in found.lines] == [("small", Fraction("0.085"))]


def test_until_midnight_is_without_the_day_that_it_begins(path: Path) -> None:
    """`--since 2026-11-01 --until 2026-12-01` is November, and not a day more."""
    fill(path, [("2026-11-30", "a", "", "copy", GB), ("2026-12-01", "a", "", "copy", 2 * GB)])
    for until, size_bytes in (("2026-12-01", GB), ("2026-12-01T00:01", 3 * GB)):
        lines = run(path, "--until", until, "--json").stdout.splitlines()
        assert json.loads(lines[-1])["bytes"] == size_bytes
    assert "2026-11-01 to 2026-11-30, UTC" in run(path, "--until", "2026-12-01").stderr


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=20
)
@given(st.lists(st.tuples(st.integers(1, 30), st.sampled_from("abc"), st.integers(0, 20 * TB))))
def test_groups_cost_together_what_the_month_costs(
    tmp_path_factory: pytest.TempPathFactory, found: list[tuple[int, str, int]]
) -> None:
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    open_ledger(path, create=True).close()
    unique = {(day, route): size for day, route, size in found}
    fill(path, [(f"2026-10-{day:02}", r, "", "copy", size) for (day, r), size in unique.items()])
    for by in GroupBy:
        assert sum(totals(path, by, INTERNET).values()) == INTERNET.cost(sum(unique.values()))


def test_the_agent_s_writes_are_what_is_read(path: Path) -> None:
    origin = MessageOrigin(sender="AROAEXAMPLE:session-1")
    with closing(open_ledger(path, create=False)) as ledger:
        key = MessageKey(queue="q", message_id="m")
        ledger.begin(key, "t1", "s3://b/k", "/d", NOW, origin=origin, route="a")
        ledger.note_egress("t1", EgressCount(at=NOW, native=Egress(copy=GB)))
        ledger.fail("t1", TransferState.DEAD, "E_X", "", NOW)
    (line, total) = (
        json.loads(one) for one in run(path, "--by", "sender", "--json").stdout.splitlines()
    )
    assert (line["key"], line["dead"], line["copy_bytes"]) == ("AROAEXAMPLE", 1, GB)
    assert (line["kind"], total["kind"], total["bytes"]) == ("group", "total", GB)


def test_csv_holds_no_formula(path: Path) -> None:
    names = ["=1+1", "+1", "-1", "@SUM(A1)", 'a,"b"\nc']
    fill(path, [("2026-11-03", name, "", "copy", 1) for name in names])
    found = list(csv.DictReader(io.StringIO(run(path, "--csv").stdout)))
    assert {one["route"] for one in found} == {*(f"'{one}" for one in names[:4]), names[4], "total"}
    assert found[-1]["copy_bytes"] == "5"


def test_in_csv_the_total_is_no_route_of_that_name(path: Path) -> None:
    fill(path, [("2026-11-03", "total", "", "copy", 7), ("2026-11-03", "click", "", "copy", 3)])
    found = list(csv.DictReader(io.StringIO(run(path, "--csv").stdout)))
    kinds = {(one["kind"], one["route"]): one["copy_bytes"] for one in found}
    assert kinds == {("group", "total"): "7", ("group", "click"): "3", ("total", "total"): "10"}


def test_the_table_has_a_total(path: Path) -> None:
    fill(path, [("2026-11-03", "click", "", "copy", 200 * GB)], [("2026-11-03", "click", "")])
    result = run(path)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[1][:4] == ["click", "3", "1", "10"]
    assert lines[-1][0] == "total"
    assert lines[-1][-1] == "$9.00"
    assert "AWS's list price since December 2021" in result.stderr


def test_nothing_is_no_error(path: Path, tmp_path: Path) -> None:
    assert "nothing left S3" in run(path).stdout
    assert run(tmp_path / "none.db").exit_code == 0
    assert run(path, "--csv", "--json").exit_code == 2


@pytest.mark.parametrize(
    "edit",
    [
        "UPDATE egress SET purpose = 'fun'",
        "UPDATE egress SET bytes = 'many'",
        "UPDATE egress SET bytes = -1",
        "UPDATE egress SET bytes = 0.5",
        "UPDATE endings SET done = 'x'",
    ],
)
def test_a_sum_that_was_edited_is_refused(path: Path, edit: str) -> None:
    fill(path, [("2026-11-03", "a", "", "copy", GB)], [("2026-11-03", "a", "")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(edit)
    with pytest.raises(LedgerDamaged, match="E_LEDGER_CORRUPT"):
        totals(path, GroupBy.ROUTE, DOLLAR)


def test_no_transfer_is_read_for_it(path: Path) -> None:
    fill(path, [("2026-11-03", "a", "", "copy", GB)], [("2026-11-03", "a", "")])
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DROP TABLE objects")
        connection.execute("DROP TABLE transfers")
    assert totals(path, GroupBy.ROUTE, DOLLAR) == {"a": 1}
