"""Who is alive: an owner's text names one process on one boot, never a pid alone."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import Owner
from backhaul.adapters.ledger import owner as owner_module

ME = Owner.current("edge1")


def test_this_process_is_alive() -> None:
    assert ME.is_alive(ME.text)
    assert ME.is_alive(Owner.current("edge1").text)


def test_host_defaults_to_the_nodes_own_name() -> None:
    assert Owner.current().host == os.uname().nodename


def test_text_has_four_parts() -> None:
    assert ME.text == f"edge1:{ME.boot_id}:{os.getpid()}:{ME.start}"
    assert ME.start > 0


@pytest.mark.parametrize(
    ("other", "is_alive"),
    [
        (replace(ME, start=ME.start - 1), False),  # the pid was used again
        (replace(ME, boot_id="another-boot"), False),
        (replace(ME, pid=2**22 + 1), False),  # above the kernel's largest pid
        (replace(ME, host="edge2"), True),  # cannot be judged from here
        (replace(ME, host="edge2", boot_id="another-boot"), True),
    ],
)
def test_owner_is_alive_only_as_the_very_same_process(other: Owner, *, is_alive: bool) -> None:
    assert ME.is_alive(other.text) is is_alive


@pytest.mark.parametrize("text", ["", "nonsense", "edge1:boot"])
def test_text_that_is_no_owner_counts_as_alive(text: str) -> None:
    assert ME.is_alive(text)


def test_owner_on_this_boot_without_a_pid_is_dead() -> None:
    assert not ME.is_alive(f"edge1:{ME.boot_id}:-1:{ME.start}")


@pytest.fixture
def proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A /proc of the test's own, with this process and the first one."""
    me = tmp_path / str(os.getpid())
    me.mkdir()
    (me / "stat").write_bytes(Path("/proc/self/stat").read_bytes())
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "stat").write_bytes(b"1 (init) S " + b"0 " * 50)
    monkeypatch.setattr(owner_module, "_PROC", tmp_path)
    return tmp_path


def test_what_is_seen_of_a_process_is_there_gone_or_unknown(proc: Path) -> None:
    assert ME.sees(ME.text) is True
    assert ME.sees(replace(ME, pid=ME.pid + 1).text) is False
    assert ME.sees(replace(ME, host="edge2").text) is None
    assert ME.sees("nonsense") is None


def test_where_the_kernel_hides_processes_of_others_nothing_is_known_of_them(proc: Path) -> None:
    """`hidepid=2`: their directories are not there."""
    (proc / "1" / "stat").unlink()
    other = replace(ME, pid=os.getppid()).text
    assert ME.sees(other) is None
    assert ME.is_alive(other), "waiting is safe"
    assert ME.sees(ME.text) is True


@pytest.mark.parametrize("refusal", [None, PermissionError])
def test_a_hidden_process_is_there_also_where_no_signal_may_be_sent_to_it(
    proc: Path, monkeypatch: pytest.MonkeyPatch, refusal: type[Exception] | None
) -> None:
    (proc / "1" / "stat").unlink()

    def ask(_pid: int, _signal: int) -> None:
        if refusal is not None:
            raise refusal

    monkeypatch.setattr(os, "kill", ask)
    assert ME.sees(replace(ME, pid=ME.pid + 1).text) is None


def test_a_killed_agent_is_dead_also_where_the_kernel_hides_processes_of_others(
    proc: Path,
) -> None:
    """Otherwise what it had begun would wait for it until the message expires."""
    (proc / "1" / "stat").unlink()
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        pid = child.pid
    assert not ME.is_alive(replace(ME, pid=pid).text)
    assert not ME.is_alive(replace(ME, pid=10**30).text), "no process has such a number"


def test_where_processes_of_others_may_not_be_read_nothing_is_known_of_them(
    proc: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`hidepid=1`."""

    def refuse(_pid: int) -> None:
        raise PermissionError

    monkeypatch.setattr(owner_module, "_start_of", refuse)
    assert ME.sees(ME.text) is None


def test_killed_process_is_dead_before_its_parent_collects_it() -> None:
    code = "import os; print(open(f'/proc/{os.getpid()}/stat').read(), flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        start = int(child.stdout.readline().rsplit(")", 1)[1].split()[19])
        text = replace(ME, pid=child.pid, start=start).text
        assert ME.is_alive(text)
        child.send_signal(signal.SIGKILL)
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # a zombie now
        assert not ME.is_alive(text)
    assert not ME.is_alive(text)
