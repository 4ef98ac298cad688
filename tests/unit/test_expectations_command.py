"""`backhaul expectations`: what each route expects, judged or not, for people and programs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Self

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import open_ledger
from backhaul.app.context import load_context
from backhaul.app.outlook import as_json_line, read_expectations
from backhaul.cli import cli
from backhaul.core.model import Location
from backhaul.core.outlook.expectation import Arrived, ExpectationState
from tests.docs.test_schemas import SCHEMAS, Checker
from tests.unit.test_arrivals import Shelf

LANDING = Location(scheme="hdfs", authority="nameservice:8020", path="/landing")
CONFIGURATION = """
[[route]]
name = "clickstream"
source = ["s3://raw/click/"]
destination = ["hdfs://nameservice/landing/"]

[[route.expect]]
name = "daily"
by = "00:00 UTC"
path = "day={date}/"
objects = 3

[[route.expect]]
name = "any"
by = "00:00 UTC"
transfers = 1
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    path = tmp_path / "backhaul.toml"
    path.write_text(CONFIGURATION, "utf-8")
    path.chmod(0o644)
    return ("--config", str(path), "--ledger", str(tmp_path / "ledger.db"))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


class AtNoon(datetime):
    """It is always noon: no midnight passes between what a test writes and the command reads."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        found = cls(2026, 12, 1, 12, tzinfo=UTC)
        return found if tz is None else found.astimezone(tz)


@pytest.fixture(autouse=True)
def at_noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.cli.expectations.datetime", AtNoon)


def midnight() -> datetime:
    return AtNoon.now(UTC).replace(hour=0)


def test_without_a_ledger_it_says_where_it_looked(files: Sequence[str]) -> None:
    done = run("expectations", *files)
    assert (done.return_value, done.exception) == (0, None)
    assert "no ledger yet at" in done.stderr


def test_without_expectations_it_says_what_to_write(files: Sequence[str]) -> None:
    path = Path(files[1])
    path.write_text(CONFIGURATION.split("[[route.expect]]", 1)[0], "utf-8")
    done = run("expectations", *files)
    assert "write `expect` on a route" in done.stderr


def test_what_is_there_is_counted_now(files: Sequence[str], tmp_path: Path) -> None:
    shelf = Shelf(tmp_path / "ledger.db", LANDING)
    today = midnight()
    now, then = (f"{one:%Y-%m-%d}" for one in (today, today + timedelta(days=1)))
    shelf.publish("t1", f"day={now}", 3, at=today - timedelta(hours=1))
    shelf.publish("t2", f"day={then}", 2, at=today)
    shelf.ledger.close()
    done = run("expectations", *files)
    assert done.exception is None, done.exc_info
    assert done.return_value == 0
    place = LANDING.uri
    daily = done.stdout.splitlines()[:3]
    assert daily[0] == "clickstream/daily: well"
    assert daily[1] == (f"  last {now} 00:00 UTC: not judged: 3 of 3 objects in {place}/day={now}")
    assert daily[2].startswith(f"  next {then} 00:00 UTC, in 12 h: ")
    assert ": 2 of 3 objects in " in daily[2]
    assert done.stdout.splitlines()[3] == "clickstream/any: well"


def test_what_no_agent_has_judged_and_is_not_there_is_not_called_well(
    files: Sequence[str], tmp_path: Path
) -> None:
    open_ledger(tmp_path / "ledger.db", create=True).close()
    done = run("expectations", *files)
    assert done.return_value == 0
    assert done.stdout.splitlines()[0] == "clickstream/daily: not judged"


def test_what_an_agent_found_missing_ends_with_65(files: Sequence[str], tmp_path: Path) -> None:
    with closing(open_ledger(tmp_path / "ledger.db", create=True)) as ledger:
        context = load_context(config=Path(files[1]), ledger=tmp_path / "ledger.db")
        one = context.expectations[0].record(midnight(), Arrived(objects=2))
        missed = replace(one, state=ExpectationState.MISSED, judged_at=midnight())
        ledger.note_expectation(missed)
        done = run("expectations", *files)
        assert done.return_value == 65
        assert done.stdout.splitlines()[0] == "clickstream/daily: MISSING"
        assert ": MISSING: 2 of 3 objects in " in done.stdout
        late = replace(
            missed, state=ExpectationState.LATE, arrived_at=midnight() + timedelta(0, 60)
        )
        ledger.note_expectation(late)
        done = run("expectations", *files)
    assert done.return_value == 0
    assert ": late, 60 s late: " in done.stdout


def test_as_columns_and_by_the_last_deadline(files: Sequence[str], tmp_path: Path) -> None:
    open_ledger(tmp_path / "ledger.db", create=True).close()
    done = run("expectations", "--output", "csv", *files)
    header, daily, other = done.stdout.splitlines()
    assert header == "route,name,is,last,last_state,there,next,there_now"
    now, then = (midnight() + timedelta(days=number) for number in (0, 1))
    last, following = now.isoformat(), then.isoformat()
    assert daily.startswith(f"clickstream,daily,not judged,{last},due,0 of 3 objects in ")
    assert f",{following},0 of 3 objects in " in daily
    assert other.startswith("clickstream,any,")
    wide = run("expectations", "-o", "wide", *files).stdout.splitlines()
    assert wide[0].split() == [
        "route",
        "name",
        "is",
        "last",
        "last",
        "state",
        "there",
        "next",
        *("there", "now"),
    ]
    assert len(wide) == 3
    assert run("expectations", "--since", then.isoformat(), *files).stdout == ""
    assert run("expectations", "--until", now.isoformat(), *files).stdout == ""
    assert run("expectations", "--since", now.isoformat(), *files).stdout.count("clickstream/") == 2


def test_for_programs_each_is_a_line_of_its_schema(files: Sequence[str], tmp_path: Path) -> None:
    Shelf(tmp_path / "ledger.db").ledger.close()
    schema = json.loads((SCHEMAS / "expectations.schema.json").read_text("utf-8"))
    done = run("expectations", "--json", *files)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(one["v"], one["name"], one["is_missed"]) for one in found] == [
        (1, "daily", False),
        (1, "any", False),
    ]
    assert all(Checker(schema).accepts(one) for one in found)
    context = load_context(config=Path(files[1]), ledger=tmp_path / "ledger.db")
    views = read_expectations(context, AtNoon.now(UTC))
    assert views is not None
    assert json.loads(as_json_line(views[0]))["next"]["objects_wanted"] == 3


def test_expectations_of_one_route_or_only_those_that_are_missing(files: Sequence[str]) -> None:
    with closing(open_ledger(Path(files[-1]), create=True)):
        pass
    assert run("expectations", "--route", "clickstream", *files).stdout.count("  next ") == 2
    assert run("expectations", "--missing", *files).stdout == ""
    error = run("expectations", "--route", "clikstream", *files).exception
    assert "E_ROUTE_UNKNOWN" in str(error)
    assert "did you mean 'clickstream'?" in str(getattr(error, "hint", ""))
