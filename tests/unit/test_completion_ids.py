"""A Tab offers ids of the ledger: those that the command takes, at once, or none."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from backhaul import cli
from backhaul.adapters.ledger import open_ledger
from backhaul.cli import completion
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from tests.ledgers import QUEUE, bring, bring_dead

AT = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("BACKHAUL_CONFIG", "BACKHAUL_LEDGER", "STATE_DIRECTORY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(completion, "SYSTEM_CONFIG", tmp_path / "none.toml")
    path = tmp_path / "ledger.db"
    with closing(open_ledger(path, create=True)) as ledger:
        for number in range(60):
            bring(ledger, f"0mdone{number:02}", AT, objects=1)
        bring_dead(ledger, "0mdead01", AT)
        key = MessageKey(queue=QUEUE, message_id="open")
        ledger.begin(key, "0mopen01", "s3://raw/open/", "/landing/open", AT + timedelta(1))
        ledger.fail("0mopen01", TransferState.HELD, "E_HDFS_SAFEMODE", "x", AT)
    monkeypatch.setenv("BACKHAUL_LEDGER", str(path))
    return path


Offered = Callable[[str], dict[str, str]]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Offered:
    def offered(words: str) -> dict[str, str]:
        """Ids and their help, as fish gets them."""
        monkeypatch.setenv("_BACKHAUL_COMPLETE", "fish_complete")
        monkeypatch.setenv("COMP_WORDS", f"backhaul {words}")
        monkeypatch.setenv("COMP_CWORD", words.rpartition(" ")[2])
        assert cli.answer_shell() == 0
        out, err = capsys.readouterr()
        assert err == ""
        pairs = (line.partition(",")[2].partition("\t") for line in out.splitlines())
        return {name: text for name, _, text in pairs if name.startswith("0m")}

    return offered


@pytest.mark.usefixtures("path")
def test_each_command_offers_what_it_takes_newest_first_with_state_and_source(
    offered: Offered,
) -> None:
    every = offered("show ")
    assert len(every) == completion.OFFERED_MOST
    assert list(every) == sorted(every, reverse=True)
    assert next(iter(every.items())) == ("0mopen01", "held E_HDFS_SAFEMODE s3://raw/open/")
    assert offered("cancel ") == {"0mopen01": "held E_HDFS_SAFEMODE s3://raw/open/"}
    assert offered("retry ") == {"0mdead01": "dead E_SRC_EMPTY s3://raw/0mdead01/"}
    done = {f"0mdone0{number}": f"done s3://raw/0mdone0{number}/" for number in range(10)}
    for words in ("show 0mdone0", "verify 0mdone0", "receipt 0mdone0", "receipt issue 0mdone0"):
        assert offered(words) == done, words
    assert offered("receipt issue 0mopen") == {}
    assert "0mdone07" not in offered("verify 0mdone07 0mdone0"), "named already"


def test_the_ledger_is_the_one_that_the_command_would_read(
    offered: Offered, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BACKHAUL_LEDGER")
    assert offered(f"cancel --ledger {path} ") == {
        "0mopen01": "held E_HDFS_SAFEMODE s3://raw/open/"
    }
    config = tmp_path / "b.toml"
    config.write_text(f'ledger = "{path}"\n', "utf-8")
    assert list(offered(f"cancel --config {config} ")) == ["0mopen01"]
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))
    assert list(offered("cancel ")) == ["0mopen01"]
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "elsewhere"))
    assert offered("cancel ") == {}
    assert not (tmp_path / "elsewhere").exists(), "nothing is made"


def test_a_ledger_that_cannot_be_read_offers_nothing_and_prints_nothing(
    offered: Offered, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "_WAIT_S", 0.0)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN EXCLUSIVE")
        assert offered("show ") == {}
    assert offered("show 0mopen") != {}
    path.write_bytes(b"no ledger at all" * 1000)
    assert offered("show ") == {}


def test_every_statement_is_answered_from_an_index(path: Path) -> None:
    """However many transfers there are: none is sorted but the thousand of the inner one."""
    with closing(sqlite3.connect(path)) as connection:
        for inner in (completion._NEWEST, completion._OPEN, completion._DEAD):
            named = {"low": "0m", "high": "0n"}
            plan = connection.execute(f"EXPLAIN QUERY PLAN {inner}", named).fetchall()
            text = " ".join(str(row[3]) for row in plan)
            assert "INDEX" in text or "PRIMARY KEY" in text, text
            assert "TEMP B-TREE" not in text
