"""`backhaul` in a fork is `backhaul` in a process of its own: the other tests rely on it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil
import pytest

from tests.acceptance import warm
from tests.acceptance.installation import PROGRAM, eventually

pytestmark = [pytest.mark.integration, pytest.mark.slow]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return {**os.environ, "HOME": str(tmp_path), "BACKHAUL_LOG__FORMAT": "json"}


@contextmanager
def streams(directory: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    with (directory / "out").open("wb") as out, (directory / "err").open("wb") as err:
        yield out, err


def ended(
    start: warm.Start, directory: Path, environment: Mapping[str, str], *arguments: str
) -> tuple[int, bytes, bytes]:
    with streams(directory) as (out, err):
        code = start([*PROGRAM, *arguments], environment, out, err).wait(60)
    return code, (directory / "out").read_bytes(), (directory / "err").read_bytes()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--version"],
        ["no-such-command"],
        ["history", "--json"],
        ["show", "unknown"],
        ["status", "--config", "/no/such/file"],
        ["explain", "--allow", "nothing"],
    ],
    ids=" ".join,
)
def test_a_fork_says_and_ends_as_a_process_of_its_own(
    tmp_path: Path, environment: dict[str, str], arguments: list[str]
) -> None:
    cold = ended(warm.start_cold, tmp_path, environment, *arguments)
    assert ended(warm.start, tmp_path, environment, *arguments) == cold


def test_it_has_this_environment_and_leaves_nothing_of_it_behind(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    text = "unknown setting agent.slotz"
    wrong = environment | {"BACKHAUL_AGENT__SLOTZ": "2"}
    _, _, warned = ended(warm.start, tmp_path, wrong, "history")
    assert text in warned.decode()
    _, _, next_one = ended(warm.start, tmp_path, environment, "history")
    assert text not in next_one.decode()


def test_it_is_in_a_session_of_its_own_and_is_ended_by_signals(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [*PROGRAM, "dashboard", "--listen", "127.0.0.1:0"]
    for number, code in ((signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)):
        with streams(tmp_path) as (out, err), warm.start(command, environment, out, err) as process:
            assert isinstance(process, warm.WarmProcess)
            eventually((tmp_path / "out").read_bytes, what="its link")
            assert os.getsid(process.pid) == process.pid
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(0.1)
            assert process.poll() is None
            os.kill(process.pid, number)
            assert process.wait(30) == code
        assert not psutil.pid_exists(process.pid)


def test_its_files_get_the_mode_that_the_test_has_set(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [*PROGRAM, "dashboard", "--listen", "127.0.0.1:0"]
    before = os.umask(0o037)
    try:
        with streams(tmp_path) as (out, err), warm.start(command, environment, out, err) as process:
            eventually((tmp_path / "out").read_bytes, what="its link")
            status = Path(f"/proc/{process.pid}/status").read_text("utf-8")
    finally:
        os.umask(before)
    assert "Umask:\t0037\n" in status


def test_one_that_is_left_running_is_ended_with_its_block(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [*PROGRAM, "dashboard", "--listen", "127.0.0.1:0"]
    with streams(tmp_path) as (out, err), warm.start(command, environment, out, err) as process:
        pass
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize("name", ["PYTHONHASHSEED", "LC_NAME", "LD_BIND_NOW"])
def test_what_is_read_at_the_start_of_a_process_needs_one(
    tmp_path: Path, environment: dict[str, str], name: str
) -> None:
    other = environment | {name: "17"}
    with streams(tmp_path) as (out, err):
        process = warm.start([*PROGRAM, "--version"], other, out, err)
        assert isinstance(process, subprocess.Popen)
        assert process.wait(60) == 0
