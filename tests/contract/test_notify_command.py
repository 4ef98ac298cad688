"""A notification's command, for real: what it reads, what it inherits, and how it may misbehave."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from backhaul.adapters.notify.command import CommandSender
from backhaul.core.agent.notifying.plan import sample
from backhaul.core.errors import BackhaulError
from backhaul.core.notification import Deaths, Notification
from tests.unit.test_notification_plan import IDENTITY, START, death
from tests.world import eventually

Script = Callable[..., CommandSender]
FULL = sample("oncall", IDENTITY, 900, START)


@pytest.fixture
def script(tmp_path: Path) -> Script:
    """A command that runs these lines of shell in the test's own directory."""

    def make(lines: str, limit_s: float = 20) -> CommandSender:
        path = tmp_path / "hook"
        path.write_text(f"#!/bin/sh\ncd {tmp_path}\n{lines}\n")
        path.chmod(0o755)
        return CommandSender([str(path), "one argument", "$HOME"], limit_s)

    return make


def send(sender: CommandSender, notification: Notification = FULL) -> None:
    assert sender.send(notification, threading.Event()) == ""


def refused(sender: CommandSender, abandon: threading.Event | None = None) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        sender.send(FULL, abandon or threading.Event())
    return caught.value


def test_it_reads_one_line_of_json_and_gets_its_arguments_as_they_are(
    script: Script, tmp_path: Path
) -> None:
    send(script('cat > given; printf "%s|" "$@" > arguments; pwd > /dev/null'))
    given = (tmp_path / "given").read_text()
    assert given.count("\n") == 1
    assert json.loads(given)["id"] == FULL.id
    assert (tmp_path / "arguments").read_text() == "one argument|$HOME|"


def test_it_has_four_variables_and_no_secret(
    script: Script, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canaryc0ffee")
    monkeypatch.setenv("BACKHAUL_AGENT__SLOTS", "3")
    send(script("env > environment"))
    found = dict(line.split("=", 1) for line in (tmp_path / "environment").read_text().splitlines())
    ours = {name: value for name, value in found.items() if name.startswith("BACKHAUL_")}
    assert ours.pop("BACKHAUL_NOTIFY_SUBJECT").startswith("[backhaul] TEST: edge1 q: ")
    assert ours == {
        "BACKHAUL_NOTIFY_NAME": "oncall",
        "BACKHAUL_NOTIFY_ABOUT": "health,dead,test",
        "BACKHAUL_NOTIFY_DEAD": "1",
    }
    assert "canaryc0ffee" not in found.values()
    assert found["PATH"] == os.environ["PATH"]


def test_without_a_death_it_counts_none(script: Script, tmp_path: Path) -> None:
    send(script('echo "$BACKHAUL_NOTIFY_DEAD" > dead'), replace(FULL, deaths=None))
    assert (tmp_path / "dead").read_text() == "0\n"


def test_one_that_closes_its_input_unread_has_it_delivered(script: Script) -> None:
    long = replace(death(), source="s3://b/" + "k" * 2000, reason="r" * 1000)
    many = Deaths.of(long)
    for _ in range(50):
        many = many.with_more(Deaths.of(long))
    send(script("exec 0<&-; true"), replace(FULL, deaths=many))
    send(script("true"), replace(FULL, deaths=many))


def test_exit_1_is_an_error_with_its_last_words(script: Script) -> None:
    error = refused(script('echo "no such pager" >&2; printf "a\\033[2Jb"; exit 1'))
    assert error.code == "E_NOTIFY_COMMAND"
    assert error.message.endswith("hook ended with 1: no such pager a\\x1b[2Jb")
    assert "backhaul notify test oncall" in error.hint


def test_a_secret_in_its_output_is_not_shown(script: Script) -> None:
    error = refused(script('echo "Authorization: Bearer canaryc0ffeecanary"; exit 2'))
    assert "canaryc0ffee" not in error.message
    assert "ended with 2" in error.message


@pytest.mark.parametrize(("number", "name"), [(9, "SIGKILL"), (40, "signal 40")])
def test_a_signal_is_named(script: Script, number: int, name: str) -> None:
    assert f"was ended by {name}" in refused(script(f"kill -{number} $$")).message


def test_output_without_end_costs_no_memory_and_is_ended(script: Script) -> None:
    before = psutil.Process().memory_info().rss
    error = refused(script("exec yes flood", 1.0))
    assert error.code == "E_NOTIFY_TIMEOUT"
    assert "flood flood" in error.message
    assert psutil.Process().memory_info().rss - before < 20_000_000


def test_one_that_floods_and_ends_is_delivered(script: Script) -> None:
    send(script("yes flood | head -c 5000000"))


def test_one_that_hangs_is_killed_with_all_that_it_started(script: Script, tmp_path: Path) -> None:
    sender = script("sleep 3600 & echo $! > child; wait", 0.5)
    began_s = time.monotonic()
    error = refused(sender)
    assert error.code == "E_NOTIFY_TIMEOUT"
    assert "it ran for" in error.message
    assert time.monotonic() - began_s < 15
    child = int((tmp_path / "child").read_text())
    eventually(lambda: not _is_alive(child))


def test_one_that_hangs_with_its_output_closed_is_killed(script: Script) -> None:
    assert refused(script("exec >&- 2>&-; sleep 3600", 0.5)).code == "E_NOTIFY_TIMEOUT"


def test_the_end_of_the_agent_kills_it(script: Script) -> None:
    abandon = threading.Event()
    threading.Timer(0.3, abandon.set).start()
    began_s = time.monotonic()
    error = refused(script("sleep 3600"), abandon)
    assert "the agent ended" in error.message
    assert time.monotonic() - began_s < 15


def test_what_it_leaves_running_on_purpose_holds_nothing_up(script: Script, tmp_path: Path) -> None:
    """It keeps the output open, too, as a program in the background does."""
    began_s = time.monotonic()
    send(script("sleep 60 & echo $! > child"))
    assert time.monotonic() - began_s < 15
    child = psutil.Process(int((tmp_path / "child").read_text()))
    assert child.is_running()
    child.kill()


def test_a_program_that_cannot_be_run_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no program")
    (tmp_path / "text").chmod(0o755)
    (tmp_path / "script").write_text("#!/no/interpreter\n")
    (tmp_path / "script").chmod(0o755)
    for program, reason in (
        (tmp_path / "none", "No such file or directory"),
        (tmp_path, "Permission denied"),
        (tmp_path / "text", "Exec format error"),
        (tmp_path / "script", "No such file or directory"),
    ):
        error = refused(CommandSender([str(program)]))
        assert (error.code, error.message.rpartition(": ")[2]) == ("E_NOTIFY_COMMAND", reason)


def _is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
