"""`./dev testbed up|status|down`: servers that go on running, for trying things by hand.

One bed for each cache directory (see `jars`); data, logs and state.json are in its ``bed/``.
"""

from __future__ import annotations

import fcntl
import shutil
import sys
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from contextlib import contextmanager
from pathlib import Path

from backhaul.testing.servers import hdfs_state
from backhaul.testing.servers.base import Server
from backhaul.testing.servers.clients import s3_client, settings, sqs_client
from backhaul.testing.servers.detached import DetachedProcess
from backhaul.testing.servers.hdfs import Hdfs
from backhaul.testing.servers.jars import cache_root
from backhaul.testing.servers.postgres import PostgreSQL
from backhaul.testing.servers.postgres import listener as postgres_listener
from testbed import elasticmq, hive, s3proxy, seed, yarn
from testbed.detached import DetachedServer, State

_ANSWERS = {
    "elasticmq": elasticmq.answers,
    "s3proxy": s3proxy.answers,
    "hdfs": hdfs_state.is_writable,
    "yarn": yarn.answers,
    "hive": hive.answers,
    "postgresql": postgres_listener.answers,
}
# What a bed may have besides SQS and S3; `yarn` needs `hdfs`.
CHOICES = frozenset({"hdfs", "yarn", "hive", "postgresql"})


def directory() -> Path:
    """Where the bed's data, logs and state are; gone after `down`."""
    return cache_root() / "bed"


def up(wanted: AbstractSet[str]) -> State:
    """Start what is not running yet; return when all answer. Safe to repeat.

    A bed of which a part has died, or with other choices, is replaced.

    Args:
        wanted: Of `CHOICES`. YARN needs to be called inside a network namespace: see `netns`.

    Raises:
        ServerFailed: A server did not come up; then none is left running.
        ServerUnavailable: Java or Maven is missing.
    """
    with _alone():
        state = State.read(_state_path())
        if state is not None and _serves(state, wanted):
            return state
        _end(state)
        try:
            return _start(wanted)
        except BaseException:
            _end(State.read(_state_path()))
            raise


def down() -> int:
    """End the bed's processes, and no others, and remove its directory. Safe to repeat.

    Returns:
        How many processes were running.
    """
    with _alone():
        state = State.read(_state_path())
        running = sum(p.is_alive for each in state.servers for p in each.processes) if state else 0
        _end(state)
        return running


def status(*, with_conditions: bool = True) -> tuple[State | None, dict[str, str]]:
    """The testbed, and the condition of each of its servers at this moment.

    Args:
        with_conditions: False leaves the servers alone, and the second empty.

    Returns:
        The second by server name: ``works``, ``does not answer`` (a process is suspended or
        busy, or HDFS is in safe mode) or ``dead: NAME``.
    """
    state = State.read(_state_path())
    checked = state.servers if state and with_conditions else ()
    return state, {each.name: _condition(each) for each in checked}


def _condition(server: DetachedServer) -> str:
    dead = [process.name for process in server.processes if not process.is_alive]
    if dead:
        return f"dead: {', '.join(dead)}"
    return "works" if _ANSWERS[server.name](server.endpoint) else "does not answer"


def inside(state: State | None) -> int | None:
    """A process in whose network namespace the bed is; None when it is in this one."""
    for server in state.servers if state else ():
        if server.name == "yarn":
            return next((each.pid for each in server.processes if each.is_alive), None)
    return None


def _serves(state: State, wanted: AbstractSet[str]) -> bool:
    return (
        state.is_complete
        and {each.name for each in state.servers} & CHOICES == wanted
        and all(_condition(each) == "works" for each in state.servers)
    )


def _start(wanted: AbstractSet[str]) -> State:
    base = directory()
    queue = elasticmq.ElasticMQ(base / "elasticmq", detached=True)
    store = s3proxy.S3Proxy(base / "s3proxy", detached=True)
    cluster = Hdfs(base / "hdfs", detached=True) if "hdfs" in wanted else None
    warehouse = hive.Hive(base / "hive", detached=True) if "hive" in wanted else None
    # Not in the bed: as root it runs as another user, who does not get there.
    database = PostgreSQL(detached=True) if "postgresql" in wanted else None
    manager = None
    if cluster is not None and "yarn" in wanted:
        manager = yarn.Yarn(base / "yarn", hdfs=cluster, s3=store, detached=True)
    started: list[Server] = []
    try:
        servers = (queue, store, database, cluster, manager, warehouse)
        for server in (each for each in servers if each is not None):
            _print(f"starting {server.name}")
            started.append(server.start())
            # At once: if this process is killed, the next `up` or `down` finds them.
            _state(started, {}, (), is_complete=False).write(_state_path())
        seed.make_queues(sqs_client(queue))
        seed.make_objects(s3_client(store))
    except BaseException:
        for each in started:
            each.stop()
        raise
    variables = settings(sqs=queue, s3=store, hdfs=cluster)
    commands = manager or cluster
    if manager is not None:
        variables["HADOOP_CONF_DIR"] = str(manager.conf_dir)
    if database is not None:
        variables["PGPASSFILE"] = str(database.pass_file)
        variables["LEDGER_URL"] = database.url()
    programs = [commands.bin_dir] if commands else []
    programs += [warehouse.beeline.parent] if warehouse else []
    state = _state(started, variables, tuple(map(str, programs)), is_complete=True)
    state.write(_state_path())
    return state


def _state(
    started: list[Server], variables: dict[str, str], path: tuple[str, ...], *, is_complete: bool
) -> State:
    servers = tuple(
        DetachedServer(
            name=server.name,
            processes=tuple(
                DetachedProcess.of(*each, server.stop_signal) for each in server.pids.items()
            ),
            endpoint=server.endpoint,
            log_path=str(server.log_path),
            directory=str(server.directory),
        )
        for server in started
    )
    return State(servers=servers, settings=variables, path=path, is_complete=is_complete)


def _end(state: State | None) -> None:
    for server in state.servers if state else ():
        for process in server.processes:
            process.end()
        if server.directory is not None:
            shutil.rmtree(server.directory, ignore_errors=True)
    yarn.end_containers(directory() / "yarn")
    shutil.rmtree(directory(), ignore_errors=True)


def _state_path() -> Path:
    return directory() / "state.json"


@contextmanager
def _alone() -> Iterator[None]:
    """Keep a second `up` or `down` waiting. The lock is next to the bed, which is removed."""
    lock_path = directory().with_suffix(".lock")
    lock_path.parent.mkdir(parents=True, exist_ok=True)
    with lock_path.open("w") as lock:  # Not inherited by the servers: Python closes it at exec.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _print(what: str) -> None:
    print(what, file=sys.stderr, flush=True)
