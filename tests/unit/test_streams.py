"""Standard streams that are closed, or without a reader: the exit code stays right."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # each test starts processes

BACKHAUL = f"{sys.executable} -m backhaul"


def ran(
    command: str, tmp_path: Path, *, stdout: int = subprocess.PIPE
) -> subprocess.CompletedProcess[str]:
    """A line of the shell, in a home of its own."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("BACKHAUL_", "PYTHONUNBUFFERED"))
    }
    return subprocess.run(
        ["bash", "-c", command],
        env=kept | {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


@pytest.fixture
def unread() -> int:
    """The end of a pipe whose reader is gone."""
    ours, theirs = os.pipe()
    os.close(ours)
    return theirs


@pytest.mark.parametrize(
    ("command", "closed", "code"),
    [
        ("--version", ">&-", 0),
        ("history", "<&- >&- 2>&-", 0),
        ("statu", "2>&-", 64),
        ("explain --no-list --allow-any", "<&-", 65),
        ("run q us-east-1", "<&- >&- 2>&-", 78),
        ("--version", ">&0", 0),
    ],
)
def test_a_closed_stream_is_like_the_null_device(
    command: str, closed: str, code: int, tmp_path: Path
) -> None:
    done = ran(f"{BACKHAUL} {command} {closed}", tmp_path)
    assert done.returncode == code, done
    assert "Traceback" not in done.stdout + done.stderr


def test_what_is_opened_later_takes_no_number_of_a_standard_stream(tmp_path: Path) -> None:
    code = (
        "import os, sys; from backhaul.cli.streams import open_streams; open_streams();"
        "sys.exit(os.open('/dev/null', os.O_RDONLY))"
    )
    assert ran(f'{sys.executable} -c "{code}" <&- >&- 2>&-', tmp_path).returncode > 2


def test_the_verdict_stays_when_the_reader_is_gone(tmp_path: Path, unread: int) -> None:
    done = ran(f"echo '{{}}' | {BACKHAUL} explain --no-list", tmp_path, stdout=unread)
    os.close(unread)
    assert done.returncode == 65, done
    assert done.stderr == ""


def test_a_command_whose_reader_is_gone_goes_on_to_its_end(tmp_path: Path, unread: int) -> None:
    code = (
        "import click; from pathlib import Path; from backhaul import cli;"
        "cli.cli.main = lambda *_, **__: [click.echo('x'), Path('made').touch(), 65][-1];"
        "cli.main(['verify'])"
    )
    done = ran(f'cd {tmp_path}; {sys.executable} -c "{code}"', tmp_path, stdout=unread)
    os.close(unread)
    assert (done.returncode, done.stderr) == (65, "")
    assert (tmp_path / "made").exists()


def test_the_exit_code_stays_when_nothing_can_be_written(tmp_path: Path) -> None:
    assert ran(f"{BACKHAUL} statu 2>/dev/full", tmp_path).returncode == 64
    assert ran(f"{BACKHAUL} run q us-east-1 2>/dev/full", tmp_path).returncode == 78


def test_output_that_is_lost_on_a_full_disk_is_reported(tmp_path: Path) -> None:
    done = ran(f"{BACKHAUL} --version >/dev/full", tmp_path)
    assert done.returncode == 69, done
    assert done.stderr.startswith("backhaul: E_SYSTEM: "), done
