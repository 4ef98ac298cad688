"""SIGHUP opens the log file anew and ends nothing; on a terminal it is a stop."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.acceptance.installation import Installation, eventually
from tests.children import child

pytestmark = pytest.mark.integration


def events(file: Path) -> list[str]:
    return [json.loads(line)["event"] for line in file.read_text("utf-8").splitlines()]


def is_in_file(file: Path, event: str) -> None:
    """It is written to the standard output first."""
    eventually(lambda: event in events(file), what=f"{event!r} in {file.name}")


def test_a_renamed_log_is_left_for_a_new_one_and_the_agent_goes_on(local: Installation) -> None:
    file = local.home / "log" / "backhaul.log"
    local.put("p/a", b"1")
    agent = local.start(BACKHAUL_LOG__FILE=str(file))
    agent.logged("agent started")
    for turn in (1, 2):
        renamed = file.with_name(f"backhaul.log.{turn}")
        file.rename(renamed)
        agent.send_signal(signal.SIGHUP)
        (*_, line) = agent.logged("log reopened", times=turn)
        assert line["file"] == str(file)
        is_in_file(file, "log reopened")
        assert events(renamed).count("log reopened") == turn - 1
        local.ask_for("p/", f"out-{turn}")
        agent.logged("transfer done", times=turn)
        is_in_file(file, "transfer done")
    agent.terminate()
    assert agent.wait().code == 0
    assert events(file)[-1] == "agent stopped"


def test_without_a_log_file_and_for_workers_it_changes_nothing(local: Installation) -> None:
    agent = local.start()
    agent.logged("agent started")
    workers = eventually(agent.workers, what="a worker")
    for worker in workers:
        worker.send_signal(signal.SIGHUP)
    agent.send_signal(signal.SIGHUP)
    (line,) = agent.logged("log reopened")
    assert "file" not in line
    local.put("p/a", b"1")
    local.ask_for("p/", "out")
    agent.logged("transfer done")
    assert agent.of("worker replaced") == []
    assert {worker.pid for worker in workers} <= {worker.pid for worker in agent.workers()}


def test_during_the_start_and_again_and_again_it_kills_nothing(local: Installation) -> None:
    local.is_warm = False
    agent = local.start()
    eventually(agent.workers, every_s=0.005, what="the start of a worker")
    for _ in range(50):
        agent.send_signal(signal.SIGHUP)
        time.sleep(0.01)
    agent.logged("agent started")
    agent.logged("log reopened")
    assert agent.is_alive


def test_a_closed_terminal_is_an_orderly_stop(local: Installation) -> None:
    ours, theirs = pty.openpty()
    try:
        with child(
            local.argv("run", local.queue, "us-east-1", "--allow", local.allow),
            env=local.environment,
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if '"agent started"' in line:
                    break
            os.kill(process.pid, signal.SIGHUP)
            rest = process.stdout.read()
            assert process.wait(60) == 0, rest
    finally:
        os.close(ours)
        os.close(theirs)
    assert json.loads(rest.splitlines()[-1])["event"] == "agent stopped"


def test_a_log_file_that_cannot_be_made_is_a_sentence(local: Installation) -> None:
    for file, words in ((local.home, "Is a directory"), (Path("/proc/none/x.log"), "No such file")):
        ended = local.drain(BACKHAUL_LOG__FILE=str(file))
        assert ended.code == 78, ended
        assert "backhaul: E_LOG_FILE: " in ended.err, ended
        assert words in ended.err


def test_a_log_on_a_full_disk_is_one_line_and_stops_no_transfer(local: Installation) -> None:
    local.put("p/a", b"1")
    local.ask_for("p/", "out")
    ended = local.drained(BACKHAUL_LOG__FILE="/dev/full", BACKHAUL_LOG__FILE_BYTES="1TB")
    assert local.landing.files() == {"a": b"1"} or "out/a" in local.landing.files()
    lines = [line for line in ended.err.splitlines() if "the log cannot be written" in line]
    assert len(lines) == 1, ended.err


def test_routes_are_read_again_and_a_wrong_file_changes_nothing(local: Installation) -> None:
    """A route that comes carries, one that goes does not; a fault keeps those in force."""
    config = local.home / "backhaul.toml"

    def write(*names: str, more: str = "") -> None:
        config.write_text(
            more
            + "".join(
                f'[[route]]\nname = "{name}"\nsource = ["s3://{local.bucket}/{name}/"]\n'
                f'destination = ["{local.landing.uri}/{name}/"]\n'
                for name in names
            )
        )

    for name in ("one", "two"):
        local.put(f"{name}/a", name.encode())
    write("one")
    agent = local.start("--config", str(config))
    agent.logged("agent started")
    write("two", more="agent.slots = 3\n")
    agent.send_signal(signal.SIGHUP)
    (fact,) = agent.logged("routes reloaded")
    assert (fact["added"], fact["removed"]) == (["two"], ["one"])
    assert fact["needs_restart"] == ["agent.slots"]
    local.ask_for("two/", "two/in")
    agent.logged("transfer done")
    local.ask_for("one/", "one/in")
    agent.logged("message dead-lettered: E_POLICY_SOURCE")
    write("one", more="agent.slot = 3\n")
    agent.send_signal(signal.SIGHUP)
    (fact,) = agent.logged("routes not reloaded; the former ones stay in force")
    assert fact["code"] == "E_CFG_UNKNOWN"
    local.ask_for("two/", "two/again")
    agent.logged("transfer done", times=2)
    agent.terminate()
    assert agent.wait().code == 0
