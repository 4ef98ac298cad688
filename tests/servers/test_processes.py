"""Starting and ending: clashes, missing programs, death of the parent, and the detached bed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from backhaul.testing.servers import Hdfs, Moto, ServerFailed, ServerUnavailable, base, jars
from backhaul.testing.servers.base import HttpServer
from backhaul.testing.servers.detached import DetachedProcess
from backhaul.testing.servers.ports import free_ports
from backhaul.testing.servers.process import ServerProcess
from testbed import ElasticMQ, PostgreSQL, S3Proxy
from tests.children import child

DEATH_WAIT_S = 10


def is_running(pid: int) -> bool:
    try:
        DetachedProcess.of("", pid)
    except ProcessLookupError:
        return False
    return True


def wait_for_death(pids: list[int]) -> None:
    deadline = time.monotonic() + DEATH_WAIT_S
    while any(is_running(pid) for pid in pids):
        assert time.monotonic() < deadline, "still running"
        time.sleep(0.02)


# Start


@pytest.fixture
def thief(moto_server: Moto, monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """What `free_ports` gave out; the first time with moto's port as the first.

    As when another process takes a port after it was found free.
    """
    given: list[list[int]] = []

    def choose(count: int) -> list[int]:
        chosen = free_ports(count)
        if not given:
            chosen[0] = moto_server.ports[0]
        given.append(chosen)
        return chosen

    monkeypatch.setattr(base, "free_ports", choose)
    return given


@pytest.mark.integration
@pytest.mark.parametrize("kind", [ElasticMQ, S3Proxy, Moto])
def test_server_takes_another_port_when_its_own_was_taken(
    kind: type[HttpServer], thief: list[list[int]]
) -> None:
    with kind() as server:
        assert list(server.ports) == thief[1]


@pytest.mark.integration
@pytest.mark.hdfs
@pytest.mark.slow
def test_hdfs_takes_other_ports_when_one_was_taken(hdfs: Hdfs, thief: list[list[int]]) -> None:
    with Hdfs() as other:
        assert list(other.ports) == thief[1]


def test_failed_start_shows_the_end_of_the_log(tmp_path: Path) -> None:
    process = ServerProcess("broken", tmp_path / "broken.log")
    process.start(["sh", "-c", "echo no such thing; exit 3"])
    with pytest.raises(ServerFailed, match=r"status 3(.|\n)*broken\.log(.|\n)*no such thing"):
        process.wait_until(lambda: True, port=1, timeout_s=DEATH_WAIT_S)


def test_server_that_does_not_become_ready_is_ended(tmp_path: Path) -> None:
    process = ServerProcess("slow", tmp_path / "slow.log")
    process.start(["sleep", "60"])
    with pytest.raises(ServerFailed, match="not ready after 0 s"):
        process.wait_until(lambda: True, port=1, timeout_s=0)
    assert not process.is_alive


def test_running_server_is_not_started_twice(moto_server: Moto) -> None:
    with pytest.raises(ServerFailed, match="running already"):
        moto_server.start()
    assert moto_server.is_alive


# End


def test_suspended_process_is_stopped(tmp_path: Path) -> None:
    process = ServerProcess("sleeper", tmp_path / "log")
    process.start(["sleep", "60"])
    process.suspend()
    process.stop(grace_s=DEATH_WAIT_S)
    assert not process.is_alive


def test_process_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    process = ServerProcess("sleeper", tmp_path / "log")
    thread = threading.Thread(target=process.start, args=(["sleep", "60"],))
    thread.start()
    thread.join()
    time.sleep(0.2)  # Were it to die, it would have by now: the signal is sent at once.
    assert process.is_alive
    process.stop()


@pytest.mark.parametrize("suspended", [False, True])
def test_process_dies_with_its_killed_parent(suspended: bool, tmp_path: Path) -> None:  # noqa: FBT001
    script = f"""
from pathlib import Path
from backhaul.testing.servers.process import ServerProcess
process = ServerProcess("sleeper", Path({str(tmp_path / "log")!r}))
process.start(["sh", "-c", "echo running; exec sleep 60"])
while "running" not in process.log_path.read_text():
    pass  # Suspended before it could ask for the death signal, it would not get one.
if {suspended}:
    process.suspend()
print(process.pid, flush=True)
input()
"""
    with child(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert is_running(pid)
        parent.kill()
    wait_for_death([pid])


def test_another_process_with_the_number_is_left_alone(tmp_path: Path) -> None:
    process = ServerProcess("bystander", tmp_path / "log")
    process.start(["sleep", "60"])
    known = DetachedProcess.of("bystander", process.pid)
    earlier = replace(known, started_ticks=known.started_ticks - 1)
    assert not earlier.is_alive
    earlier.end()
    replace(known, boot_id="another").end()
    assert process.is_alive
    known.end()
    assert not process.is_alive


# What the machine lacks


@pytest.fixture
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No jars yet, no JAVA_HOME, nothing on PATH but what a test puts into this directory."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    monkeypatch.setenv("BACKHAUL_TESTBED_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(binaries))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return binaries


def put_program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{script}\n")
    path.chmod(0o755)


def put_java(binaries: Path, version: str) -> None:
    put_program(binaries / "java", f"""echo 'openjdk version "{version}"' >&2""")


def test_missing_java_says_what_to_install(bare_machine: Path) -> None:
    with pytest.raises(ServerUnavailable, match=r"java not found.*openjdk-17-jdk-headless maven"):
        jars.prepare()


@pytest.mark.parametrize("version", ["11.0.2", "24.0.1", "1.8.0_402"])
def test_unfit_java_is_refused(version: str, bare_machine: Path) -> None:
    put_java(bare_machine, version)
    with pytest.raises(ServerUnavailable, match="wanted 17 to 23"):
        jars.java()


@pytest.mark.parametrize("version", ["17.0.15", "21", "23.0.2"])
def test_fit_java_is_taken(version: str, bare_machine: Path) -> None:
    put_java(bare_machine, version)
    assert jars.java() == bare_machine / "java"


def test_java_home_goes_before_path(
    bare_machine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_java(bare_machine, "11")
    home = tmp_path / "jdk"
    (home / "bin").mkdir(parents=True)
    put_java(home / "bin", "17")
    monkeypatch.setenv("JAVA_HOME", str(home))
    assert jars.java() == home / "bin" / "java"


def test_missing_maven_says_what_to_install(bare_machine: Path) -> None:
    put_java(bare_machine, "17")
    with pytest.raises(ServerUnavailable, match=r"mvn not found.*openjdk-17-jdk-headless maven"):
        jars.prepare()


def test_failed_fetch_leaves_no_jars(bare_machine: Path) -> None:
    put_java(bare_machine, "17")
    copy = 'for a; do case $a in -DoutputDirectory=*) mkdir -p "${a#*=}";; esac; done'
    put_program(bare_machine / "mvn", f"{copy}; echo could not resolve; exit 1")
    with pytest.raises(ServerUnavailable, match="could not resolve"):
        jars.jars("hdfs")
    put_program(bare_machine / "mvn", copy)
    assert jars.jars("hdfs").is_dir()
    assert [path.name for path in jars.jars("hdfs").parent.glob(".*")] == []


def test_two_processes_fetch_once(bare_machine: Path, tmp_path: Path) -> None:
    put_java(bare_machine, "17")
    calls = tmp_path / "calls"
    copy = 'for a; do case $a in -DoutputDirectory=*) mkdir -p "${a#*=}";; esac; done'
    put_program(bare_machine / "mvn", f"echo call >>{calls}; sleep 0.5; {copy}")
    script = "from backhaul.testing.servers.jars import jars; jars('hdfs')"
    argv = [sys.executable, "-c", script]
    with child(argv) as one, child(argv) as other:
        assert [one.wait(60), other.wait(60)] == [0, 0]
    assert calls.read_text() == "call\n"


# The detached bed


def run_bed(*arguments: str, cache: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "testbed", *arguments],
        env={**os.environ, "BACKHAUL_TESTBED_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.integration
@pytest.mark.slow
def test_testbed_goes_up_is_mended_and_goes_down(
    elasticmq: ElasticMQ, s3proxy: S3Proxy, postgresql: PostgreSQL, tmp_path: Path
) -> None:
    # A cache of its own, but for the jars, which the fixtures have fetched.
    jars_of_pom = jars.jars("s3proxy").parent
    (tmp_path / jars_of_pom.name).symlink_to(jars_of_pom)
    state_path = tmp_path / "bed" / "state.json"

    def pids() -> list[int]:
        servers = json.loads(state_path.read_text())["servers"]
        return [process["pid"] for server in servers for process in server["processes"]]

    def exported(stdout: str, name: str) -> str:
        lines = (line.removeprefix("export ").partition("=") for line in stdout.splitlines())
        return next(value for key, _, value in lines if key == name)

    assert run_bed("status", cache=tmp_path).returncode == 69
    try:
        up = run_bed("up", "--no-hdfs", "--postgres", cache=tmp_path)
        assert up.returncode == 0, up.stderr
        assert "export AWS_ENDPOINT_URL_SQS=http://127.0.0.1:" in up.stdout
        passfile = exported(up.stdout, "PGPASSFILE")
        with psycopg.connect(exported(up.stdout, "LEDGER_URL"), passfile=passfile) as connection:
            assert connection.execute("SELECT current_user").fetchone() == ("backhaul",)
        first = pids()
        assert run_bed("status", cache=tmp_path).returncode == 0
        assert run_bed("up", "--no-hdfs", "--postgres", cache=tmp_path).stdout == up.stdout
        assert pids() == first

        os.kill(first[0], signal.SIGKILL)
        wait_for_death(first[:1])
        status = run_bed("status", cache=tmp_path)
        assert status.returncode == 69
        assert "elasticmq: dead" in status.stdout
        assert run_bed("up", "--no-hdfs", "--postgres", cache=tmp_path).returncode == 0
        assert not set(first) & set(pids())
        last = pids()
    finally:
        down = run_bed("down", cache=tmp_path)
    assert down.returncode == 0
    assert "3 processes ended" in down.stderr
    wait_for_death([*first, *last])
    assert not state_path.parent.exists()
    assert not Path(passfile).parent.exists()
    assert run_bed("down", cache=tmp_path).returncode == 0
