"""What `backhaul replies` says where the configuration is broken, or where it cannot do all."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from click.testing import CliRunner, Result

from backhaul.adapters.ledger import open_ledger
from backhaul.app import replies as app_replies
from backhaul.app.context import load_context
from backhaul.app.doctor.replies import waiting
from backhaul.app.replying import Replying
from backhaul.cli import cli
from backhaul.cli import replies as cli_replies
from backhaul.core.agent.replying.lane import MOST
from backhaul.core.errors import ConfigurationError
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.replies.reply import ReplyWish
from backhaul.settings.load import load_settings

T0 = datetime(2026, 11, 1, 3, tzinfo=UTC)
BROKEN = (
    '[hive]\ntimeout = "soon"\n',
    "[lineage]\nurl = 3\n",
    '[[reply]]\nname = "out"\ntimeout = "soon"\n',
)


@pytest.fixture(autouse=True)
def _bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BACKHAUL_CONFIG", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """t1, t2 and t3 wait for out."""
    path = tmp_path / "ledger.db"
    leave(path, "out", "t1", "t2", "t3")
    return path


def leave(path: Path, target: str, *ids: str) -> None:
    """Replies that wait for a target."""
    with closing(open_ledger(path, create=True)) as ledger:
        for one in ids:
            key = MessageKey(queue="q", message_id=f"m-{one}")
            wishes = [ReplyWish(target=target)]
            ledger.begin(key, one, "s3://raw/a", "/landing/a", T0, replies=wishes)
            ledger.fail(one, TransferState.DEAD, "E_X", "why", T0)


def run(*arguments: object) -> Result:
    result = CliRunner().invoke(cli, [str(one) for one in arguments])
    assert result.exit_code == 0, (result.output, result.exception)
    return result


def configured(tmp_path: Path, text: str) -> Path:
    file = tmp_path / "backhaul.toml"
    file.write_text(text, encoding="utf-8")
    return file


# ------------------------------------------------------------ a broken configuration


@pytest.mark.parametrize("text", BROKEN)
@pytest.mark.parametrize("is_named", [True, False])
def test_the_list_needs_the_ledger_alone(
    path: Path, tmp_path: Path, text: str, *, is_named: bool
) -> None:
    config = configured(tmp_path, f'ledger = "{path}"\n{text}')
    listed = run("replies", "list", "--config", config, *(["--ledger", path] if is_named else []))
    assert "t1-0-dead" in listed.stdout
    assert "E_CFG_VALUE" in listed.stderr
    assert "not in the configuration" not in listed.stderr  # no one knows


def test_a_fault_elsewhere_does_not_hide_what_waits_in_vain(path: Path, tmp_path: Path) -> None:
    config = configured(tmp_path, "[agent]\nslots = 0\n")
    told = run("replies", "list", "--config", config, "--ledger", path).stderr
    assert "E_CFG_VALUE" in told
    assert "3 replies wait for out, which is not in the configuration" in told


def test_a_command_that_needs_settings_does_not_say_that_it_needs_none(
    path: Path, tmp_path: Path
) -> None:
    text = f'ledger = "{path}"\n[[notify]]\nname = 3\n'
    arguments = ("notify", "list", "--config", str(configured(tmp_path, text)))
    found = CliRunner().invoke(cli, arguments).exception
    assert isinstance(found, ConfigurationError)
    assert "needs no configuration" not in str(found.hint)


# ------------------------------------------------------------ a target that is gone


@pytest.mark.parametrize(
    ("target", "setting", "typed"),
    [
        ("hive", "write [hive] command again", "hive"),
        ("lineage", "write [lineage] url again", "lineage"),
        ("out", "write its [[reply]] again", "out"),
        ("a b", "write its [[reply]] again", "'a b'"),
    ],
)
def test_the_way_out_names_the_setting_and_the_target(
    tmp_path: Path, target: str, setting: str, typed: str
) -> None:
    path = tmp_path / "ledger.db"
    leave(path, target, "t1")
    config = configured(tmp_path, "")
    settings = load_settings(config).model_copy(update={"ledger": path})
    (found,) = waiting(Mock(settings=settings))
    told = run("replies", "list", "--config", config, "--ledger", path).stderr
    for words in (told, "\n".join(found.fix)):
        assert setting in words
        assert f"backhaul replies resend --target {typed}" in words
        assert f"backhaul replies drop --target {typed}" in words
        assert "NAME" not in words
    assert f"--target {typed}; or forget them: backhaul" in told


def test_how_often_the_ledger_is_read_follows_the_routes(path: Path, tmp_path: Path) -> None:
    route = '[[route]]\nname = "r"\nsource = ["s3://raw/"]\ndestination = ["file:///landing/"]\n'
    reply = '[[reply]]\nname = "out"\ncommand = ["/bin/true"]\n'
    without = load_context(config=configured(tmp_path, reply + route), ledger=path)
    some = load_context(
        config=configured(tmp_path, reply + route + 'replies = ["out"]\n'), ledger=path
    )
    replying = Replying()
    with closing(open_ledger(path, create=False)) as ledger:
        replying.start(some, ledger, "us-west-2", Mock())
        assert replying._sender is not None
        assert replying._sender._sends()
        replying.adopt(without)
        assert not replying._sender._sends()
        replying.close()


# ------------------------------------------------------------ not all of them


def test_drop_says_how_many_may_be_sent_still() -> None:
    told = " ".join(run("replies", "drop", "--help").stdout.split())
    assert f"at most {2 * MOST} of each target" in told


@pytest.mark.parametrize("act", ["drop", "resend"])
def test_more_than_are_taken_at_once_is_said(
    path: Path, monkeypatch: pytest.MonkeyPatch, act: str
) -> None:
    with closing(open_ledger(path, create=False)) as ledger:
        for one in ("t1", "t2", "t3"):
            ledger.note_reply_failed("out", f"{one}-0-dead", "E_NO", "no", T0, due_at=None)
    monkeypatch.setattr(cli_replies, "CHOSEN_MOST", 2)
    cut = run("replies", act, "--all-dead", "--yes", "--ledger", path)
    assert "only the first 2 are taken; run it again for the others" in cut.stderr
    assert "2 replies" in cut.stdout
    rest = run("replies", act, "--all-dead", "--yes", "--ledger", path)
    assert "only the first" not in rest.stderr
    assert "1 reply" in rest.stdout


def test_both_states_together_may_be_more_than_that(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with closing(open_ledger(path, create=False)) as ledger:
        ledger.note_reply_failed("out", "t1-0-dead", "E_NO", "no", T0, due_at=None)
    monkeypatch.setattr(cli_replies, "CHOSEN_MOST", 2)
    cut = run("replies", "drop", "--target", "out", "--yes", "--ledger", path)
    assert "only the first 2 are taken" in cut.stderr
    assert "2 replies forgotten" in cut.stdout


@pytest.mark.parametrize(
    ("act", "name", "outcome"),
    [("drop", "drop_replies", "dropped"), ("resend", "resend_replies", "resent")],
)
def test_what_changed_meanwhile_is_not_said_to_be_done(
    path: Path, monkeypatch: pytest.MonkeyPatch, act: str, name: str, outcome: str
) -> None:
    acts: Callable[..., Any] = getattr(app_replies, name)

    def meanwhile(*given: Any) -> Any:
        """Another process is quicker."""
        if act == "drop":
            with closing(open_ledger(path, create=False)) as ledger:
                ledger.note_replies_sent("out", {"t2-0-dead": T0}, T0)
        else:
            run("replies", "drop", "t2-0-dead", "--yes", "--ledger", path)
        return acts(*given)

    monkeypatch.setattr(app_replies, name, meanwhile)
    keys = ("t1-0-dead", "t2-0-dead")
    done = run("replies", act, *keys, "--yes", "--json", "--ledger", path)
    found = {one["key"]: one["outcome"] for one in map(json.loads, done.stdout.splitlines())}
    assert found == {"t1-0-dead": outcome, "t2-0-dead": "skipped"}
    assert "1 reply" in done.stderr
