"""`backhaul budget`: what is spent, for people and programs, and more for this period."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.app.budget import parse_amount
from backhaul.app.budget_states import verdict_on
from backhaul.cli import cli
from backhaul.cli.budget import NEEDS
from backhaul.cli.options import Files
from backhaul.core.cost.budget import BudgetUnit
from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.errors import BadArgument
from backhaul.core.model import TransferState
from backhaul.core.ports import Act
from tests.docs.test_schemas import SCHEMAS, Checker

GIB = 1024**3
CONFIGURATION = """
budget = { usd = 100, per = "month" }
[[route]]
name = "landing"
source = ["s3://raw/landing/"]
destination = ["file:///landing/"]
budget = { bytes = "10GiB", per = "day" }
[[route]]
name = "free"
source = ["s3://raw/free/"]
destination = ["file:///free/"]
"""


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sequence[str]:
    monkeypatch.delenv("HADOOP_CONF_DIR", raising=False)
    path, ledger = tmp_path / "backhaul.toml", tmp_path / "ledger.db"
    path.write_text(CONFIGURATION, "utf-8")
    path.chmod(0o644)
    with closing(open_ledger(ledger, create=True)) as opened:
        count = EgressCount(at=datetime.now(UTC), native=Egress(copy=10 * GIB))
        opened.note_command_egress("landing", count)
    return ("--config", str(path), "--ledger", str(ledger))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, standalone_mode=False)


def shown(files: Sequence[str]) -> dict[str | None, dict[str, object]]:
    result = run("budget", "show", "--json", *files)
    assert result.exception is None, result.output
    checker = Checker(json.loads((SCHEMAS / "budget-show.schema.json").read_text("utf-8")))
    found = [json.loads(line) for line in result.stdout.splitlines()]
    for one in found:
        assert checker.accepts(one), one
    return {one["route"]: one for one in found}


def test_each_budget_is_shown_with_what_is_spent_and_left(files: Sequence[str]) -> None:
    found = shown(files)
    assert list(found) == [None, "landing"]
    landing = found["landing"]
    assert (landing["unit"], landing["per"]) == ("bytes", "day")
    assert (landing["amount"], landing["spent"], landing["left"]) == (10 * GIB, 10 * GIB, 0)
    assert landing["is_held"] is True
    assert "the budget of route landing is used up until" in str(landing["sentence"])
    every = found[None]
    assert every["amount"] == 100
    assert every["is_held"] is False
    assert 0 <= float(str(every["spent"])) < 2

    text = run("budget", "show", *files).stdout
    assert "budget of route landing: 10.0 GiB of 10.0 GiB are spent today" in text
    assert "budget over all routes: " in text


def test_more_is_for_this_period_and_in_the_journal(files: Sequence[str]) -> None:
    result = run("budget", "raise", "landing", "5GiB", "--reason", "backfill", *files)
    assert result.exception is None, result.output
    assert "10.0 GiB of 15.0 GiB are spent today, 5.0 GiB of it added by hand" in result.stdout
    landing = shown(files)["landing"]
    assert (landing["raised"], landing["left"], landing["is_held"]) == (5 * GIB, 5 * GIB, False)
    run("budget", "raise", "landing", "5GiB", *files)
    assert shown(files)["landing"]["raised"] == 10 * GIB
    result = run("budget", "raise", "--all", "12.50", "--json", *files)
    assert json.loads(result.stdout)["raised"] == 12.5
    with closing(open_reader(Path(files[-1]))) as reader:
        newest, _, first = reader.operator_actions(most=10)
    assert newest.action == first.action == Act.BUDGET
    assert first.subject == "the budget of route landing by 5.0 GiB today: backfill"
    assert newest.subject == "the budget over all routes by 12.50 USD this month"


def test_after_a_raise_the_reason_of_before_is_not_repeated(files: Sequence[str]) -> None:
    with closing(open_ledger(Path(files[-1]), create=False)) as ledger:
        now = datetime.now(UTC)
        ledger.begin(None, "waits", "s3://b/x", "/landing/x", now, route="landing")
        ledger.fail("waits", TransferState.WAITING, "E_BUDGET_USED", "it does not fit", now)
    raised = run("budget", "raise", "landing", "5GiB", *files).stdout
    assert "it does not fit" not in raised
    assert "1 transfer held; what fits now goes on within some seconds" in raised
    assert "when last tried: it does not fit" in run("budget", "show", *files).stdout


def test_a_route_without_a_budget_has_nothing_to_raise(files: Sequence[str]) -> None:
    result = run("budget", "raise", "free", "5GiB", *files)
    assert isinstance(result.exception, BadArgument)
    assert result.exception.code == "E_NO_BUDGET"
    assert result.exception.message == "route free has no budget; there are: --all, landing"


@pytest.mark.parametrize(
    ("unit", "text"),
    [
        *((BudgetUnit.BYTES, text) for text in ("", "much", "0", "-5GiB", "1e99", "9" * 40)),
        *((BudgetUnit.USD, text) for text in ("", "much", "0", "-5", "inf", "nan", "1e99")),
        (BudgetUnit.USD, "5GiB"),
    ],
)
def test_amounts_that_are_none_are_refused(unit: BudgetUnit, text: str) -> None:
    with pytest.raises(BadArgument) as refused:
        parse_amount(unit, text)
    assert refused.value.code == "E_BUDGET_AMOUNT"


def test_amounts_are_read_in_the_unit_of_the_budget() -> None:
    assert parse_amount(BudgetUnit.BYTES, "20GiB") == 20 * GIB
    assert parse_amount(BudgetUnit.BYTES, "7") == 7
    assert parse_amount(BudgetUnit.USD, "$12.50") == 12_500_000
    assert parse_amount(BudgetUnit.USD, "7") == 7_000_000


def test_without_a_budget_nothing_is_shown(tmp_path: Path) -> None:
    path = tmp_path / "backhaul.toml"
    path.write_text("", "utf-8")
    path.chmod(0o644)
    result = run("budget", "show", "--config", str(path), "--ledger", str(tmp_path / "l.db"))
    assert result.exception is None
    assert (result.stdout, result.stderr) == ("", "no budget is configured\n")


def test_before_the_first_start_nothing_is_spent(files: Sequence[str], tmp_path: Path) -> None:
    other = (*files[:-1], str(tmp_path / "other.db"))
    assert [one["spent"] for one in shown(other).values()] == [0, 0]


def test_whether_a_transfer_fits_is_known_beforehand(files: Sequence[str], tmp_path: Path) -> None:
    settings = Files(config=Path(files[1]), ledger=Path(files[3])).settings(needs=NEEDS)
    now = datetime.now(UTC)
    held = verdict_on(settings, "landing", GIB, now)
    assert held.startswith("held: the budget of route landing is used up until ")
    run("budget", "raise", "landing", "2GiB", *files)
    assert verdict_on(settings, "landing", GIB, now) == (
        "fits into the budget over all routes, 100.00 USD left"
        " and the budget of route landing, 2.0 GiB left"
    )
    assert "does not fit into" in verdict_on(settings, "landing", 3 * GIB, now)
    assert "larger than the budget over all routes" in verdict_on(settings, "free", 10**13, now)
    other = settings.model_copy(update={"ledger": tmp_path / "other.db"})
    assert verdict_on(other, "landing", GIB, now).startswith("fits into")
