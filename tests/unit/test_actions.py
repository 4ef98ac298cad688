"""What operators' acts leave behind: the change, its line in the journal, and what they print."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.app import actions
from backhaul.cli import cli
from backhaul.core.errors import BackhaulError
from backhaul.core.ports import MessageKey, Operator, Origin
from backhaul.settings.model import Settings

T0 = datetime(2026, 11, 1, 3, tzinfo=UTC)
ROUTES = "".join(
    f'[[route]]\nname = "{name}"\nsource = ["s3://b/{name}/"]\ndestination = ["/{name}/"]\n'
    for name in ("landing", "click")
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(actions, "operator_name", lambda: "alice@edge1")
    monkeypatch.setattr(actions, "NOTE_WAIT_S", 0.05)


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    with closing(open_ledger(path, create=True)) as made:
        made.begin(MessageKey(queue="q", message_id="m"), "t1", "s3://b/p/", "/landing/p", T0)
    return path


@pytest.fixture
def config(tmp_path: Path, ledger: Path) -> Path:
    path = tmp_path / "backhaul.toml"
    path.write_text(f'ledger = "{ledger}"\n{ROUTES}', "utf-8")
    path.chmod(0o644)
    return path


def invoke(*arguments: object) -> Result:
    done = CliRunner().invoke(cli, [str(one) for one in arguments], standalone_mode=False)
    assert done.exception is None or isinstance(done.exception, BackhaulError), done.exc_info
    return done


def out(*arguments: object) -> str:
    done = invoke(*arguments)
    assert done.exception is None, done.exception
    return done.stdout


def error(*arguments: object) -> BackhaulError:
    found = invoke(*arguments).exception
    assert isinstance(found, BackhaulError), found
    return found


def journal(ledger: Path, *arguments: object) -> list[dict[str, Any]]:
    lines = out("journal", "--json", "--ledger", ledger, *arguments)
    return [json.loads(line) for line in lines.splitlines()]


def paused(ledger: Path) -> list[str]:
    with closing(open_reader(ledger)) as reader:
        return [one.route for one in reader.paused_routes(datetime.now(UTC))]


# ---------------------------------------------------------------- pause and resume


def test_a_route_is_paused_and_resumed(ledger: Path, config: Path) -> None:
    words = out("pause", "landing", "--for", "2h", "--reason", "upgrade", "--config", config)
    assert words.startswith("route landing is paused until 20")
    assert words.endswith("UTC by alice@edge1: upgrade; transfers under way finish\n")
    assert paused(ledger) == ["landing"]
    again = out("pause", "landing", "--config", config)
    assert again.startswith("route landing is paused by alice@edge1 until it is resumed; ")
    assert "before, it was paused until 20" in again
    resumed = out("resume", "landing", "--config", config)
    assert resumed == (
        "route landing is resumed; it was paused by alice@edge1 until it is resumed\n"
    )
    assert paused(ledger) == []
    assert out("resume", "landing", "--config", config) == "route landing was not paused\n"
    lines = journal(ledger)
    assert [line["action"] for line in lines] == ["resume", "resume", "pause", "pause"]
    assert {(line["operator"], line["origin"], line["outcome"]) for line in lines} == {
        ("alice@edge1", "command", "done")
    }


def test_all_routes_are_paused_and_resumed_together(ledger: Path, config: Path) -> None:
    assert out("resume", "--all", "--config", config) == "no route is paused\n"
    words = out("pause", "--all", "--for", "2h", "--config", config)
    names = paused(ledger)
    assert "landing" in names
    assert [line.split()[1] for line in words.splitlines()] == names
    resumed = out("resume", "--all", "--config", config)
    assert [line.split()[1] for line in resumed.splitlines()] == names
    assert paused(ledger) == []


@pytest.mark.parametrize("command", ["pause", "resume"])
@pytest.mark.parametrize("arguments", [(), ("landing", "--all")])
def test_a_route_or_all_of_them(command: str, arguments: tuple[str, ...]) -> None:
    done = CliRunner().invoke(cli, [command, *arguments])
    assert done.exit_code == 2  # click's; 64 at the shell
    assert "name a route, or give --all" in done.output


@pytest.mark.parametrize("command", ["pause", "resume"])
def test_an_unknown_route_is_refused_with_those_that_are_known(
    ledger: Path, config: Path, command: str
) -> None:
    refused = error(command, "lnading", "--config", config)
    assert (refused.code, int(refused.exit_code)) == ("E_ROUTE_UNKNOWN", 64)
    assert refused.hint == "did you mean 'landing'? known routes: click, landing"
    (line,) = journal(ledger)
    assert (line["action"], line["subject"]) == (command, "lnading")
    assert line["outcome"].startswith("E_ROUTE_UNKNOWN: no route 'lnading'")
    assert paused(ledger) == []


def test_without_any_route_the_refusal_says_so(ledger: Path) -> None:
    assert error("pause", "x", "--ledger", ledger).hint == "there is no route yet"


def test_many_known_routes_are_not_all_listed(ledger: Path) -> None:
    settings = Settings.model_validate(
        {
            "ledger": ledger,
            "route": [
                {"name": f"r{n:02d}", "source": ["s3://b/"], "destination": ["/x/"]}
                for n in range(25)
            ],
        }
    )
    with pytest.raises(BackhaulError) as caught:
        actions.pause(settings, Operator(name="a"), "other", warn=lambda _error: None)
    assert "r19 and 5 more" in caught.value.hint


def test_a_route_of_the_ledger_alone_is_known(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE transfers SET route = 'allow-0123abcd'")
    assert out("pause", "allow-0123abcd", "--ledger", ledger)
    assert paused(ledger) == ["allow-0123abcd"]


def test_a_route_that_is_paused_can_be_resumed_after_it_left_the_configuration(
    ledger: Path, config: Path
) -> None:
    out("pause", "landing", "--config", config)
    assert "is resumed" in out("resume", "landing", "--ledger", ledger)


@pytest.mark.parametrize(
    "arguments",
    [("--for", "soon"), ("--for", "0h"), ("--for", "2h", "--for", "3h"), ("--reason", "x" * 201)],
)
def test_bad_options_of_pause_are_refused(
    ledger: Path, config: Path, arguments: Sequence[str]
) -> None:
    done = CliRunner().invoke(cli, ["pause", "landing", *arguments, "--config", str(config)])
    assert done.exit_code == 2, "click's own; `main` makes it 64"
    assert paused(ledger) == []


def test_pause_needs_a_ledger_and_says_where_it_looked(tmp_path: Path, config: Path) -> None:
    refused = error("pause", "landing", "--config", config, "--ledger", tmp_path / "none.db")
    assert refused.code == "E_LEDGER_MISSING"


def test_a_configuration_that_others_may_write_changes_nothing(ledger: Path, config: Path) -> None:
    config.chmod(0o666)
    for command in ("pause", "resume"):
        assert error(command, "landing", "--config", config).code == "E_CFG_PERMISSIONS"
    assert paused(ledger) == []


# ---------------------------------------------------------------- acts elsewhere


def test_a_limit_is_a_line_and_reading_it_is_none(ledger: Path) -> None:
    out("limit", "--ledger", ledger)
    for rate in ("50MB/s", "off", "default"):
        out("limit", rate, "--ledger", ledger)
    out("limit", "1MB/s", "--for", "2h", "--ledger", ledger)
    subjects = [line["subject"] for line in journal(ledger, "--action", "limit")]
    assert subjects[1:] == ["as configured", "off", "50.000 MB/s"]
    assert subjects[0].startswith("1.000 MB/s until 20")


def test_without_a_ledger_a_limit_is_set_without_a_word(tmp_path: Path) -> None:
    done = invoke("limit", "50MB/s", "--ledger", tmp_path / "ledger.db")
    assert done.exception is None
    assert (done.stdout, done.stderr) == ("50.000 MB/s, by hand; configured: no limit\n", "")
    assert not (tmp_path / "ledger.db").exists()


def test_a_ledger_that_takes_no_line_is_a_warning_and_the_act_is_done(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        done = invoke("limit", "50MB/s", "--ledger", ledger)
    assert done.exception is None
    assert done.stdout.startswith("50.000 MB/s, by hand")
    assert "warning: E_LEDGER_LOCKED: no line in the operators' journal: " in done.stderr
    assert journal(ledger) == []


def test_an_older_ledger_is_left_to_its_agent(ledger: Path) -> None:
    with closing(sqlite3.connect(ledger)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0009'")
    done = invoke("limit", "50MB/s", "--ledger", ledger)
    assert done.exception is None
    assert "warning: E_LEDGER_OLDER" in done.stderr
    with closing(sqlite3.connect(ledger)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("0009",)


def test_a_refusal_is_reported_although_the_journal_takes_no_line_of_it(ledger: Path) -> None:
    (ledger.parent / "ledger.db.limit").mkdir()
    done = invoke("limit", "50MB/s", "--ledger", ledger)
    assert isinstance(done.exception, BackhaulError)
    assert done.exception.code == "E_CFG_PERMISSIONS"
    assert "warning: E_CFG_PERMISSIONS: no line in the operators' journal: " in done.stderr


# ---------------------------------------------------------------- cancel


def test_a_cancel_is_a_line_also_where_it_is_refused(ledger: Path, config: Path) -> None:
    assert "t1 is cancelled" in out("cancel", "t1", "--config", config)
    assert error("cancel", "t1", "--config", config).code == "E_ENDED"
    assert [(line["subject"], line["outcome"]) for line in journal(ledger)] == [
        ("t1", "E_ENDED: t1 has ended already: dead"),
        ("t1", "done"),
    ]


def test_a_transfer_that_there_is_not_is_no_line(ledger: Path, config: Path) -> None:
    assert error("cancel", "zz", "--config", config).code == "E_NO_SUCH_TRANSFER"
    assert journal(ledger) == []


# ---------------------------------------------------------------- the journal


def test_the_journal_is_a_table_for_people(ledger: Path, config: Path) -> None:
    assert out("journal", "--ledger", ledger) == "no operator has done such a thing yet\n"
    out("pause", "landing", "--reason", "a\u202eb", "--config", config)
    text = out("journal", "--ledger", ledger)
    assert text.splitlines()[0].split()[:2] == ["when", "(UTC)"]
    assert "alice@edge1" in text
    assert "\u202e" not in text, "what no font shows is escaped"


def test_the_journal_is_narrowed(ledger: Path, config: Path) -> None:
    out("pause", "landing", "--config", config)
    out("resume", "landing", "--config", config)
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    assert len(journal(ledger, "--since", "2h")) == 2
    assert journal(ledger, "--since", tomorrow) == []
    assert journal(ledger, "--until", "2h") == []
    assert [line["action"] for line in journal(ledger, "--action", "pause")] == ["pause"]
    assert len(journal(ledger, "--operator", "alice")) == 2
    assert journal(ledger, "--operator", "bob") == []
    done = invoke("journal", "--limit", 1, "--ledger", ledger)
    assert "1 of 2 shown; --limit 2 for all" in done.stderr


def test_without_a_ledger_the_journal_names_where_it_looked(tmp_path: Path) -> None:
    done = invoke("journal", "--ledger", tmp_path / "none.db")
    assert done.exception is None
    assert str(tmp_path / "none.db") in done.stderr


def test_the_dashboards_operator_is_in_the_line(ledger: Path, config: Path) -> None:
    settings = Settings.model_validate({"ledger": ledger, "route": []})
    bob = Operator(name="bob", origin=Origin.DASHBOARD)
    actions.set_limit(settings, bob, None, warn=_fail)
    (line,) = journal(ledger)
    assert (line["operator"], line["origin"]) == ("bob", "dashboard")


def _fail(found: BackhaulError) -> None:
    raise found
