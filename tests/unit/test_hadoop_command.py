"""Running the node's own `hadoop`: which one, with what around it, and its end with ours."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import psutil
import pytest

from backhaul.adapters.hadoop.command import Command
from backhaul.core.errors import OutageError, TransientError
from tests.children import child
from tests.world import eventually


def script(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def quiet() -> None:
    pass


def test_the_configured_one_then_hadoop_home_then_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = script(tmp_path / "ours" / "hadoop", "exit 0")
    home = script(tmp_path / "home" / "bin" / "hadoop", "exit 0")
    on_path = script(tmp_path / "path" / "hadoop", "exit 0")
    monkeypatch.setenv("PATH", str(on_path.parent))
    monkeypatch.delenv("HADOOP_HOME", raising=False)
    assert Command("hadoop", None, None).path == str(on_path)
    monkeypatch.setenv("HADOOP_HOME", str(home.parent.parent))
    assert Command("hadoop", None, None).path == str(home)
    assert Command("hadoop", ours, None).path == str(ours)


def test_one_that_is_not_there_is_named(tmp_path: Path) -> None:
    command = Command("hadoop", tmp_path / "none", None)
    error = command.missing()
    assert error is not None
    assert (error.code, error.dependency) == ("E_HADOOP_MISSING", "yarn")
    with pytest.raises(OutageError, match="none"):
        command.run(("version",), quiet)


def test_a_path_that_is_no_program_is_missing(tmp_path: Path) -> None:
    broken = tmp_path / "hadoop"
    broken.write_bytes(b"\x7fELF nonsense")
    broken.chmod(0o755)
    code, output = Command("hadoop", broken, None).run(("distcp",), quiet)
    assert code != 0
    assert output


def test_nothing_of_aws_reaches_it_and_the_configuration_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("BACKHAUL_LEDGER", "x")
    monkeypatch.setenv("HADOOP_OPTS", "-Dx=y")
    monkeypatch.setenv("HADOOP_PROXY_USER", "alice")
    command = Command("hadoop", script(tmp_path / "hadoop", "env"), tmp_path)
    code, output = command.run((), quiet)
    names = {line.split("=", 1)[0] for line in output.splitlines()}
    assert code == 0
    assert f"HADOOP_CONF_DIR={tmp_path}" in output.splitlines()
    assert "HADOOP_OPTS" in names
    assert "HADOOP_PROXY_USER" not in names, "only a route sets the user that the agent writes for"
    assert not {name for name in names if name.startswith(("AWS_", "BACKHAUL_"))}


def test_variables_that_hadoop_s_files_use_reach_it_but_for_aws_s_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAMENODE_PORT", "9000")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    used = {"NAMENODE_PORT", "AWS_SECRET_ACCESS_KEY"}
    program = script(tmp_path / "hadoop", "env")
    _, output = Command("hadoop", program, tmp_path, variables=used).run((), quiet)
    assert "NAMENODE_PORT=9000" in output.splitlines()
    assert "secret" not in output


def test_it_has_the_agent_s_ticket_while_it_runs(tmp_path: Path) -> None:
    held: list[str] = []

    @contextmanager
    def ticket() -> Iterator[dict[str, str]]:
        held.append("taken")
        yield {"KRB5CCNAME": "FILE:/x"}
        held.append("given back")

    hadoop = script(tmp_path / "hadoop", "echo $KRB5CCNAME")
    assert Command("hadoop", hadoop, None, ticket).run((), quiet) == (0, "FILE:/x\n")
    assert held == ["taken", "given back"]


def test_a_kinit_that_hangs_holds(tmp_path: Path) -> None:
    def ticket() -> AbstractContextManager[dict[str, str]]:
        raise subprocess.TimeoutExpired("kinit", 30)

    command = Command("hadoop", script(tmp_path / "hadoop", "exit 0"), None, ticket)
    with pytest.raises(OutageError, match="kinit") as caught:
        command.run((), quiet)
    assert caught.value.code == "E_HADOOP_COMMAND"


def test_words_arrive_as_they_are(tmp_path: Path) -> None:
    command = Command("hadoop", script(tmp_path / "hadoop", 'printf "%s\\n" "$@"'), None)
    words = ("distcp", "s3a://b/a b; $(id) *", "-Dx='y'")
    assert command.run(words, quiet) == (0, "".join(f"{word}\n" for word in words))


def test_both_streams_and_the_exit_code_come_back(tmp_path: Path) -> None:
    command = Command(
        "hadoop", script(tmp_path / "hadoop", "echo out; echo err >&2; exit 25"), None
    )
    assert command.run((), quiet) == (25, "out\nerr\n")


def test_it_is_killed_when_waiting_raises(tmp_path: Path) -> None:
    command = Command("hadoop", script(tmp_path / "hadoop", "exec sleep 600"), None)

    def stop() -> None:
        raise TransientError("E_STOPPED", "stopping")

    with pytest.raises(TransientError, match="stopping"):
        command.run((), stop)
    assert not [one for one in psutil.Process().children() if "sleep" in one.name()]


AGENT = """
from pathlib import Path
from backhaul.adapters.hadoop.command import Command
Command("hadoop", Path({hadoop!r}), None).run((), lambda: None)
"""


def test_it_dies_with_the_agent(tmp_path: Path) -> None:
    mark = tmp_path / "pid"
    hadoop = script(
        tmp_path / "hadoop", f"echo $$ > {mark}.new; mv {mark}.new {mark}; exec sleep 600"
    )
    with child([sys.executable, "-c", AGENT.format(hadoop=str(hadoop))]) as agent:
        eventually(mark.exists)
        client = psutil.Process(int(mark.read_text()))
        agent.kill()
    eventually(lambda: not client.is_running() or client.status() == psutil.STATUS_ZOMBIE)
