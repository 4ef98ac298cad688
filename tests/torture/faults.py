"""What is done to the agent, by name. Each takes a round and leaves no process that must not be.

A fault that kills does so up to six times in a row: each start recovers from the one before and
is killed in turn, and finds more to do. Whatever a fault leaves is then drained by an honest
agent, and judged.
"""

from __future__ import annotations

import contextlib
import functools
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.acceptance.installation import Running, eventually
from tests.torture.points.sitecustomize import AGENT, WORKER
from tests.torture.rounds import Round
from tests.torture.tcp import PIECE_BYTES, TcpProxy

KILLS = 6
SLOW_PIECE_S = 0.03
FAULTS: dict[str, Callable[[Round], None]] = {}
# How often beside the others; 10 unless it stands here. Those that restart a JVM cost the most.
WEIGHTS = {
    "kill-agent-point": 60,
    "kill-agent-anytime": 60,
    "kill-agent-from-worker": 25,
    "kill-worker-point": 25,
    "kill-worker-anytime": 20,
    "zombie-worker": 20,
    "calm": 2,
    "safe-mode": 1,
    "namenode-restart": 2,
    "datanode-death": 2,
    "clock-steps": 4,
}


def fault(name: str) -> Callable[[Callable[[Round], None]], Callable[[Round], None]]:
    def named(function: Callable[[Round], None]) -> Callable[[Round], None]:
        FAULTS[name] = function
        return function

    return named


# Of these calls there is one in a round.
ONCE = frozenset(
    {
        "ledger.fail",
        "ledger.record_staged",
        "queue.extend",
        "queue.send_dead_letter",
        "session.publish_tree",
    }
)
# What makes these calls is done at the first start, if not killed there.
AT_FIRST = frozenset({"session.publish_tree", "queue.extend"})
# This call is made by the successor of an agent that died there.
AFTER = {"ledger.record_staged": "ledger.finish:before:1"}
EXTENDS_AFTER_S = 22.0  # a third of the shortest visibility timeout, and some


def _points(it: Round, names: dict[str, str], action: str, *, turn: int = 0) -> list[str]:
    """Where to strike: one place, or the one before it and that one."""
    known = sorted(set(names) - AT_FIRST if turn else names)
    name = it.chance.choices(known, [_weight(one) for one in known])[0]
    when = it.chance.choice(("before", "after"))
    # The first, mostly: of some calls there are only a few, and later there is less to do.
    nth = 1 if turn or name in ONCE else it.chance.choice((1, 1, 1, 1, 2, 3))
    first = [f"{AFTER[name]}:{action}"] if name in AFTER else []
    return [*first, f"{name}:{when}:{nth}:{action}"]


def _weight(name: str) -> int:
    return 1 if name == "queue.extend" else 10  # the agent has to work for 20 s


def point_of(it: Round, names: dict[str, str], action: str) -> str:
    return _points(it, names, action)[-1]


def _and_move(it: Round, turn: int) -> None:
    """After the first strike: the object that changes, changes."""
    if turn == 0 and it.chance.random() < 0.6:
        it.move()


@fault("calm")
def calm(it: Round) -> None:
    it.tell("let alone")


# ---------------------------------------------------------------- kill -9


def _kills_at_points(it: Round, names: dict[str, str], action: str) -> None:
    for turn in range(it.chance.randint(2, KILLS)):
        if turn > 0:
            it.send_more()
        for point in _points(it, names, action, turn=turn):
            _kill_at(it, point)
        _and_move(it, turn)


def _kill_at(it: Round, point: str) -> None:
    if point.startswith("queue.extend"):
        pieces = len(it.big) / PIECE_BYTES
        it.servers.s3.delay(EXTENDS_AFTER_S / pieces)
    agent = it.start(point)
    if it.wait_for(lambda: not agent.is_alive):
        it.verdict.crashes += 1
        it.verdict.struck += 1
        it.tell(point)
        agent.kill()
    else:
        it.tell(f"({point} not reached)")
        it.kill()
    it.servers.be_honest()
    it.gone()


@fault("kill-agent-point")
def kill_agent_point(it: Round) -> None:
    _kills_at_points(it, AGENT, "kill")


@fault("kill-agent-from-worker")
def kill_agent_from_worker(it: Round) -> None:
    """The agent dies at the moment at which a worker is at a point."""
    _kills_at_points(it, WORKER, "parent")


@fault("kill-agent-anytime")
def kill_agent_anytime(it: Round) -> None:
    for turn in range(it.chance.randint(2, KILLS)):
        if turn > 0:
            it.send_more()
        if it.chance.random() < 0.5:
            it.servers.s3.delay(SLOW_PIECE_S)
        it.start()
        after_s = it.chance.choice((0.0, 0.1, 0.4, 0.9)) * it.chance.random()
        if it.wait_until_at_work():
            time.sleep(after_s)
            it.verdict.struck += 1
            it.tell(f"killed {after_s:.2f} s after receipt")
        it.kill()
        it.servers.be_honest()
        it.gone()
        _and_move(it, turn)


@fault("kill-worker-point")
def kill_worker_point(it: Round) -> None:
    point = point_of(it, WORKER, "kill")
    it.start(point)
    if it.wait_for(it.mark.exists):
        it.verdict.crashes += 1
        it.verdict.struck += 1
        it.tell(point)
    else:
        it.tell(f"({point} not reached)")
    _finish(it)


@fault("kill-worker-anytime")
def kill_worker_anytime(it: Round) -> None:
    it.servers.s3.delay(SLOW_PIECE_S)
    agent = it.start()
    if it.wait_until_at_work():
        for _ in range(it.chance.randint(1, 4)):
            time.sleep(it.chance.random() * 0.4)
            workers = agent.workers()
            if workers:
                with contextlib.suppress(psutil.NoSuchProcess):
                    it.chance.choice(workers).kill()
                    it.verdict.crashes += 1
                    it.verdict.struck += 1
        it.tell(f"{it.verdict.crashes} workers killed")
    it.servers.be_honest()
    _finish(it)


def _slowly_at_work(it: Round, most_s: float) -> None:
    """Its bytes come slowly, and some of them have come."""
    it.servers.s3.delay(SLOW_PIECE_S)
    it.start()
    it.wait_until_at_work()
    time.sleep(it.chance.random() * most_s)


def _finish(it: Round) -> None:
    """The agent goes on by itself to the end of its work, and is stopped."""
    agent = it.agent
    assert agent is not None
    it.move()
    eventually(it.nothing_left, within_s=90, what=lambda: f"the agent goes on: {agent.out[-2000:]}")
    agent.terminate()
    ended = agent.wait()
    if ended.code != 0:
        it.verdict.wrong.append(f"L1 after the fault the agent ended with {ended}")
    it.is_over = True


# ---------------------------------------------------------------- pauses


@fault("zombie-worker")
def zombie_worker(it: Round) -> None:
    """A worker stands still, its agent dies, another takes over; then the worker goes on."""
    point = point_of(it, WORKER, "stop")
    it.start(point)
    if not it.wait_for(it.mark.exists):
        it.tell(f"({point} not reached)")
        it.kill()
        it.gone()
        return
    zombie = int(it.mark.read_text("ascii").strip() or 0)
    it.kill()
    it.verdict.struck += 1
    it.tell(f"{point}, agent killed")
    it.gone(but=zombie)
    goes_on_early = it.chance.random() < 0.3
    if not goes_on_early:
        it.drain()
    it.move()
    with contextlib.suppress(ProcessLookupError):
        os.kill(zombie, signal.SIGCONT)
    it.tell("goes on before its successor" if goes_on_early else "goes on after its successor")
    it.gone()


@fault("pause-agent")
def pause_agent(it: Round) -> None:
    """The agent stands still until its messages are anybody's again."""
    it.servers.s3.delay(SLOW_PIECE_S)
    agent = it.start()
    if it.wait_until_at_work():
        time.sleep(it.chance.random() * 0.4)
        agent.send_signal(signal.SIGSTOP)
        try:
            if it.chance.random() < 0.7:
                it.servers.show_again(it.it)
            it.move()
            time.sleep(it.chance.random() * 2)
        finally:
            agent.send_signal(signal.SIGCONT)
        it.verdict.struck += 1
        it.tell("agent paused")
    it.servers.be_honest()
    _finish(it)


@fault("pause-worker")
def pause_worker(it: Round) -> None:
    """A worker stands still for longer than a stall may last: it is replaced."""
    point = point_of(it, WORKER, "stop")
    it.start(point)
    if it.wait_for(it.mark.exists):
        it.verdict.struck += 1
        it.tell(point)
    _finish(it)


@fault("pause-namenode")
def pause_namenode(it: Round) -> None:
    _slowly_at_work(it, 0.4)
    pause_s = it.chance.choice((0.5, 2.0, 6.0))
    it.servers.hdfs.suspend_namenode()
    try:
        it.servers.s3.be_honest()
        time.sleep(pause_s)
    finally:
        it.servers.hdfs.resume_namenode()
    it.verdict.struck += 1
    it.tell(f"NameNode paused {pause_s} s")
    _finish(it)


# ---------------------------------------------------------------- the network


def _network(it: Round, which: str, how: str) -> None:
    tcp: TcpProxy = getattr(it.servers, which)
    _slowly_at_work(it, 0.3)
    it.servers.s3.be_honest()
    match how:
        case "cut":
            times = it.chance.randint(1, 5)
            for _ in range(times):
                tcp.cut()
                time.sleep(it.chance.random() * 0.2)
            it.tell(f"cut {times} times")
        case "refuse":
            tcp.refuse()
            time.sleep(it.chance.random() * 2)
            it.tell("cut and refused")
        case "stall":
            tcp.stall()
            time.sleep(it.chance.choice((0.5, 2.0, 6.0)))
            if it.chance.random() < 0.5:
                tcp.cut()
            it.tell("stalled")
        case "delay":
            tcp.delay(0.1)
            time.sleep(2)
            it.tell("delayed")
    it.verdict.struck += 1
    it.servers.be_honest()
    _finish(it)


for _which in ("sqs", "s3", "namenode"):
    for _how in ("cut", "refuse", "stall", "delay"):
        FAULTS[f"{_which}-{_how}"] = functools.partial(_network, which=_which, how=_how)
        WEIGHTS[f"{_which}-{_how}"] = 4


# ---------------------------------------------------------------- HDFS


@fault("namenode-restart")
def namenode_restart(it: Round) -> None:
    hdfs = it.servers.hdfs
    _killed_and_started(it, hdfs.kill_namenode, hdfs.start_namenode, "NameNode")


@fault("datanode-death")
def datanode_death(it: Round) -> None:
    hdfs = it.servers.hdfs
    _killed_and_started(it, hdfs.kill_datanode, hdfs.start_datanode, "DataNode")


def _killed_and_started(
    it: Round, kill: Callable[[], None], start: Callable[[], None], what: str
) -> None:
    _slowly_at_work(it, 0.4)
    kill()
    it.servers.be_honest()
    start()
    it.verdict.struck += 1
    it.tell(f"{what} killed and started")
    _finish(it)


@fault("safe-mode")
def safe_mode(it: Round) -> None:
    it.servers.hdfs.safemode("enter")
    try:
        agent = it.start()
        eventually(lambda: agent.of("transfer held"), within_s=30, what="held")
    finally:
        it.servers.hdfs.safemode("leave")
    it.verdict.struck += 1
    it.tell("safe mode")
    _finish(it)


# ---------------------------------------------------------------- the ledger


def _ledger_directory(it: Round) -> Path:
    path = it.it.home / ".local" / "state" / "backhaul"
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    return path


@fault("ledger-full")
def ledger_full(it: Round) -> None:
    """The ledger's disk is full from some commit on, and has room again later."""
    directory = _ledger_directory(it)
    if not _mounted("-t", "tmpfs", "-o", "size=3m,mode=0700", "tmpfs", directory):
        _ledger_file_limit(it)
        return
    try:
        agent = it.start()
        filler = directory / "filler"
        if it.wait_until_at_work():
            time.sleep(it.chance.random() * 0.3)
            _fill(filler)
            it.verdict.struck += 1
            it.tell("ledger's disk full")
            it.wait_for(lambda: bool(agent.of("transfer held")))
            time.sleep(it.chance.random())
            filler.unlink()
        _finish(it)
        _keep(it, directory)
    finally:
        it.it.clean_up()
        subprocess.run(["umount", "-l", str(directory)], check=False)
        with contextlib.suppress(OSError):
            for path in (it.it.home / "kept").iterdir():
                path.rename(directory / path.name)


def _keep(it: Round, directory: Path) -> None:
    """The ledger outlives its file system, for the drain and the checker."""
    kept = it.it.home / "kept"
    kept.mkdir()
    subprocess.run(["cp", "-a", f"{directory}/.", str(kept)], check=True)


def _fill(path: Path) -> None:
    with path.open("wb", buffering=0) as filler, contextlib.suppress(OSError):
        while True:
            filler.write(b"x" * 512)


def _mounted(*arguments: object) -> bool:
    if os.geteuid() != 0:
        return False
    done = subprocess.run(["mount", *map(str, arguments)], check=False, capture_output=True)
    return done.returncode == 0


def _ledger_file_limit(it: Round) -> None:
    """Without a mount: no file of the agent may grow for a while."""
    agent = it.start()
    if it.wait_until_at_work():
        time.sleep(it.chance.random() * 0.3)
        before = resource.prlimit(agent.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, (4096, before[1]))
        time.sleep(it.chance.random() * 2)
        resource.prlimit(agent.pid, resource.RLIMIT_FSIZE, before)
        it.verdict.struck += 1
        it.tell("no file may grow")
    _finish(it)


@fault("ledger-readonly")
def ledger_readonly(it: Round) -> None:
    """Nobody may write the ledger, from its start or in the middle of the work."""
    directory = _ledger_directory(it)
    agent: Running
    if it.chance.random() < 0.3:
        it.start()
        it.wait_until_at_work()
        it.kill()
        it.gone()
        with _immutable(directory):
            ended = it.it.drain(timeout_s=90)
        it.tell(f"read-only at the start: exit {ended.code}")
        if ended.code == 0:
            it.verdict.wrong.append(f"S3 exit 0 on a ledger that nobody may write: {ended}")
        it.verdict.struck += 1
        it.gone()
        return
    agent = it.start()
    if it.wait_until_at_work():
        time.sleep(it.chance.random() * 0.3)
        with _immutable(directory):
            it.wait_for(lambda: bool(agent.of("transfer held")) or not agent.is_alive)
            time.sleep(it.chance.random())
        it.verdict.struck += 1
        it.tell("ledger read-only")
    if agent.is_alive:
        _finish(it)
    else:
        it.tell(f"the agent ended with {agent.wait().code}")
        it.gone()


@contextlib.contextmanager
def _immutable(directory: Path):  # type: ignore[no-untyped-def]  # noqa: ANN202
    paths = [str(directory), *map(str, directory.iterdir())]
    subprocess.run(["chattr", "+i", *paths], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["chattr", "-i", *paths], check=True, capture_output=True)


# ---------------------------------------------------------------- two agents


@fault("second-agent")
def second_agent(it: Round) -> None:
    """On the same ledger it is refused with 75 and disturbs nothing."""
    it.servers.s3.delay(SLOW_PIECE_S)
    first = it.start()
    it.wait_until_at_work()
    second = it.it.drain(timeout_s=60)
    it.tell(f"the second ended with {second.code}")
    if second.code != 75:
        it.verdict.wrong.append(f"S3 two agents on one ledger: {second}")
    it.verdict.struck += 1
    it.servers.be_honest()
    it.agent = first
    _finish(it)


@fault("two-ledgers")
def two_ledgers(it: Round) -> None:
    """Two agents with ledgers of their own share the queue; one may be killed.

    Which of two states of an object stays is not promised then, so none changes here.
    """
    it.has_one_ledger = False
    it.move = lambda: None  # type: ignore[method-assign]
    other = it.it.home / "other"
    other.mkdir()
    it.homes.append(other)
    it.servers.s3.delay(SLOW_PIECE_S)
    settings = {"HOME": str(other)}
    first, second = it.start(), it.it.start(**settings)
    it.agent = first
    it.wait_until_at_work()
    if it.chance.random() < 0.6:
        time.sleep(it.chance.random() * 0.4)
        it.kill()
        it.tell("one of two killed")
        # What the dead one held comes back while the other works.
        it.servers.show_again(it.it, is_any_alive=True)
        it.agent = second
    else:
        if it.chance.random() < 0.7:
            it.servers.show_again(it.it, is_any_alive=True)  # each is handed what the other has
            it.tell("messages in two hands")
        eventually(it.nothing_left, within_s=90, what="both work")
        first.terminate()
        first.wait()
        it.agent = second
        it.tell("one of two stopped")
    it.verdict.struck += 1
    it.servers.be_honest()
    _finish(it)


# ---------------------------------------------------------------- the clock


@fault("clock-steps")
def clock_steps(it: Round) -> None:
    """The agent's clock steps, some time later it is right again."""
    told = it.it.home / "offset"
    told.write_text("0", "ascii")
    it.servers.s3.delay(SLOW_PIECE_S)
    agent = it.start(PYTHONPATH=it.python_path, TORTURE_CLOCK=str(told))
    it.wait_until_at_work()
    step = it.chance.choice(("3600", "-3600", "90000", "-90000"))
    told.write_text(step, "ascii")
    it.servers.be_honest()
    eventually(lambda: agent.of("transfer done"), within_s=60, what="work goes on")
    told.write_text("0", "ascii")
    it.verdict.struck += 1
    it.tell(f"clock {step} s and back")
    _finish(it)
