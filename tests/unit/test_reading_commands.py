"""Commands that read the ledger answer while everything around it is missing or broken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import open_ledger
from backhaul.cli import cli
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey

pytestmark = pytest.mark.slow  # each test starts processes

T0 = datetime(2026, 11, 1, 3, tzinfo=UTC)
READERS = [("status",), ("history",), ("show", "t1"), ("limit",), ("verify", "t1")]
READERS += [("where", "s3://b/p/"), ("arrived", "s3://b/p/")]
ROUTE = '[[route]]\nname = "a"\nsource = ["s3://b/p/"]\ndestination = ["/landing/"]\n'


@pytest.fixture
def ledger(tmp_path: Path) -> Path:
    path = tmp_path / "ledger.db"
    made = open_ledger(path, create=True)
    made.begin(MessageKey(queue="q", message_id="m"), "t1", "s3://b/p/", "/landing/p", T0)
    made.close()
    return path


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As by a plain `sudo -u backhaul`: nothing of agent.env."""
    for name in ("HADOOP_CONF_DIR", "HADOOP_HOME", "BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "backhaul.toml"
    path.write_text(text, "utf-8")
    path.chmod(0o644)
    return path


def invoke(arguments: Sequence[str], *more: object) -> Result:
    done = CliRunner().invoke(cli, [*arguments, *map(str, more)], standalone_mode=False)
    assert done.exception is None or isinstance(done.exception, BackhaulError), done.exc_info
    return done


def refusal(arguments: Sequence[str], *more: object) -> ConfigurationError:
    error = invoke(arguments, *more).exception
    assert isinstance(error, ConfigurationError), error
    return error


@pytest.mark.parametrize("command", READERS, ids=lambda words: words[0])
def test_without_hadoops_configuration_they_answer(
    tmp_path: Path, ledger: Path, command: tuple[str, ...]
) -> None:
    file = config(tmp_path, f'ledger = "{ledger}"\n{ROUTE}')
    done = invoke(command, "--config", file)
    assert done.exception is None, done.exception
    assert "warning" not in done.stderr, "the agent has HADOOP_CONF_DIR, and its routes are right"


BROKEN = [
    ('agent.slots = "four"\n', "E_CFG_VALUE"),
    ("slots = 4\n", "E_CFG_UNKNOWN"),
    ("[[route]]\nname = 5\n", "E_CFG_VALUE"),
    (f'{ROUTE}verify = "never"\n', "E_CFG_VALUE"),
    (f"{ROUTE}[route.signature]\nkey_file = 7\n", "E_CFG_VALUE"),
    ('[log]\nlevel = "loud"\n', "E_CFG_VALUE"),
]


@pytest.mark.parametrize(("broken", "code"), BROKEN)
@pytest.mark.parametrize("command", READERS[:4], ids=lambda words: words[0])
def test_with_another_section_broken_they_answer_and_report_it_in_one_line(
    tmp_path: Path, ledger: Path, command: tuple[str, ...], broken: str, code: str
) -> None:
    file = config(tmp_path, f'ledger = "{ledger}"\n{broken}')
    done = invoke(command, "--config", file)
    assert done.exception is None, done.exception
    assert done.stdout
    (line,) = [line for line in done.stderr.splitlines() if "warning" in line]
    assert line.startswith(f"backhaul: warning: {code}: {file}")


def test_verify_and_cancel_do_not_judge_routes(tmp_path: Path, ledger: Path) -> None:
    file = config(tmp_path, f'ledger = "{ledger}"\n[[route]]\nname = "a"\n')
    assert invoke(["verify", "t1"], "--config", file).exception is None
    assert invoke(["cancel", "t1"], "--config", file).exception is None


def test_an_unknown_variable_does_not_keep_them_from_answering(
    ledger: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BACKHAUL_QUEUE", "q")
    done = invoke(["status"], "--ledger", ledger)
    assert "t1" in done.stdout
    assert "E_CFG_ENV" in done.stderr


def test_where_the_ledgers_path_cannot_be_known_the_way_out_is_named(tmp_path: Path) -> None:
    for text, code in (("ledger = 5\n", "E_CFG_VALUE"), ("ledger = \n", "E_CFG_TOML")):
        error = refusal(["history"], "--config", config(tmp_path, text))
        assert error.code == code
        assert "--ledger FILE" in error.hint


def test_with_the_ledgers_path_not_even_the_file_must_be_readable(
    tmp_path: Path, ledger: Path
) -> None:
    for file in (config(tmp_path, "ledger = \n"), tmp_path / "nowhere.toml", tmp_path):
        done = invoke(["history"], "--config", file, "--ledger", ledger)
        assert done.exception is None, done.exception
        assert "t1" in done.stdout
        assert "backhaul: warning: E_CFG_" in done.stderr


def test_a_file_that_others_may_write_is_read_for_answers_and_not_for_changes(
    tmp_path: Path, ledger: Path
) -> None:
    file = config(tmp_path, f'ledger = "{ledger}"\n')
    file.chmod(0o666)
    assert invoke(["history"], "--config", file).exception is None
    assert invoke(["limit"], "--config", file).exception is None
    for command in (["limit", "50MB/s"], ["cancel", "t1"], ["verify", "t1"]):
        assert refusal(command, "--config", file).code == "E_CFG_PERMISSIONS"


def test_limit_needs_its_own_section(tmp_path: Path, ledger: Path) -> None:
    file = config(tmp_path, f'ledger = "{ledger}"\n[bandwidth]\nlimit = "fast"\n')
    assert refusal(["limit"], "--config", file).code == "E_CFG_VALUE"
    assert "t1" in invoke(["history"], "--config", file).stdout


def test_no_home_directory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_home(_: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", no_home)
    monkeypatch.setattr("backhaul.settings.load.SYSTEM_CONFIG", Path("/nowhere"))
    assert refusal(["history"]).code == "E_CFG_HOME"


def test_no_home_directory_is_needed_where_the_system_has_a_configuration(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ledger: Path
) -> None:
    def no_home(path: Path) -> Path:
        if path.parts[:1] == ("~",):
            raise RuntimeError("Could not determine home directory.")
        return path

    monkeypatch.setattr(Path, "expanduser", no_home)
    file = config(tmp_path, f'ledger = "{ledger}"\n')
    monkeypatch.setattr("backhaul.settings.load.SYSTEM_CONFIG", file)
    assert "t1" in invoke(["history"]).stdout


# ---------------------------------------------------------------- filters of history


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """Three dead, two held, one waiting."""
    path = tmp_path / "ledger.db"
    made = open_ledger(path, create=True)
    states = [TransferState.DEAD] * 3 + [TransferState.HELD] * 2 + [TransferState.WAITING]
    for number, state in enumerate(states):
        key = MessageKey(queue="q", message_id=f"m{number}")
        at = T0 + timedelta(days=number)
        made.begin(key, f"t{number}", "s3://b/p/", "/landing/p", at)
        made.fail(f"t{number}", state, "E_X", "it broke", at)
    made.close()
    return path


def test_several_states_are_any_of_them(many: Path) -> None:
    done = invoke(["history", "--state", "dead", "--state", "held"], "--ledger", many)
    assert [f"t{n}" in done.stdout for n in range(6)] == [True] * 5 + [False]
    assert done.stderr == ""


@pytest.mark.parametrize(
    "filters",
    [("--state", "done"), ("--since", "2026-12-25"), ("--state", "done", "--state", "received")],
)
def test_no_match_is_not_an_empty_ledger(many: Path, filters: tuple[str, ...]) -> None:
    done = invoke(["history", *filters], "--ledger", many)
    assert done.stdout == "No transfer matches these filters (6 in the ledger).\n"
    assert invoke(["history", "--json", *filters], "--ledger", many).stdout == ""


def test_an_empty_ledger_has_no_transfers_yet(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    open_ledger(path, create=True).close()
    for filters in ((), ("--state", "dead")):
        assert invoke(["history", *filters], "--ledger", path).stdout == "no transfers yet\n"


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_what_the_limit_cuts_is_counted_on_standard_error(
    many: Path, form: tuple[str, ...]
) -> None:
    done = invoke(["history", "--limit", "2", *form], "--ledger", many)
    assert done.stderr == "2 of 6 shown; --limit 6 for all\n"
    dead = invoke(["history", "--limit", "2", "--state", "dead", *form], "--ledger", many)
    assert dead.stderr == "2 of 3 shown; --limit 3 for all\n"
    assert invoke(["history", "--limit", "6", *form], "--ledger", many).stderr == ""
