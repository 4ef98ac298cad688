"""How the demo ends: with what to type next, and something to look at."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from backhaul.cli import demo


@pytest.fixture
def left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state" / "backhaul" / "demo"


def ended(directory: Path, log: str) -> Path:
    directory.mkdir()
    (directory / "landing").mkdir()
    (directory / "agent.log").write_text(log)
    (directory / "ledger.db").write_bytes(b"rows")
    (directory / "backhaul.toml").write_text(f'ledger = "{directory}/ledger.db"\n')
    return directory


def test_ledger_log_and_configuration_of_the_last_run_are_left(left: Path, tmp_path: Path) -> None:
    demo._leave_to_look_at(ended(tmp_path / "first", "one"))
    (left / "ledger.db-wal").write_text("of the first run")
    config = demo._leave_to_look_at(ended(tmp_path / "second", "two"))
    assert config == left / "backhaul.toml"
    assert config.read_text() == f'ledger = "{left}/ledger.db"\n'
    assert {each.name for each in left.iterdir()} == {"agent.log", "ledger.db", "backhaul.toml"}
    assert (left / "agent.log").read_text() == "two"


def test_two_demos_that_end_together_do_not_mix(left: Path, tmp_path: Path) -> None:
    demo._leave_to_look_at(ended(tmp_path / "first", "one"))
    handle = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        assert demo._leave_to_look_at(ended(tmp_path / "second", "two")) is None
    finally:
        os.close(handle)
    assert (left / "agent.log").read_text() == "one"


def test_without_a_home_directory_it_still_ends_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/none")
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    found = demo._leave_to_look_at(ended(tmp_path / "first", "one"))
    assert found is None
    demo._next(found)
    assert "demo --dashboard" in capsys.readouterr().out


def test_what_comes_next_can_be_typed_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(tmp_path / ".venv" / "bin" / "backhaul"), "demo"])
    demo._next(tmp_path / "my demo" / "backhaul.toml")
    shown = capsys.readouterr().out
    assert f"  export BACKHAUL_CONFIG='{tmp_path}/my demo/backhaul.toml'\n" in shown
    assert "  .venv/bin/backhaul history " in shown
