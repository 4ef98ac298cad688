"""Real worker processes: killed, stopped, hanging, cancelled, orphaned."""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest

from backhaul.core.errors import BackhaulError, CannotWrite, OutageError, TransientError
from backhaul.core.facts import WorkerReplaced
from backhaul.core.model import Location, VerifyLevel
from backhaul.core.objects import Pin, PlannedObject, StagedObject
from backhaul.core.ports import Endpoint, Rename, StageTask
from backhaul.engines.pool import PoolSettings, WorkerPool, WorkerProcess
from backhaul.engines.session import WorkerSession
from tests.children import child
from tests.world import eventually

pytestmark = pytest.mark.slow

WORKER = Path(__file__).parents[1] / "pool_worker.py"
FS = "file://"
STALL_S = 6.0  # of a hasty pool; the start of a worker is within it, on a busy machine, too
PIECES_PER_S = 50  # of a slow object; see pool_worker
ENDPOINT = Endpoint(base_url="https://s3.fake/raw/", region="us-east-1")


class Facts(list[object]):
    def __call__(self, fact: object) -> None:
        self.append(fact)

    @property
    def replaced(self) -> list[str]:
        return [fact.why for fact in self if isinstance(fact, WorkerReplaced)]


@pytest.fixture
def facts() -> Facts:
    return Facts()


def settings(
    *, workers: int = 1, stall_timeout_s: float = 30.0, idle_s: float = 300.0, how: str = ""
) -> PoolSettings:
    return PoolSettings(
        workers=workers,
        stall_timeout_s=stall_timeout_s,
        idle_s=idle_s,
        command=(sys.executable, str(WORKER)),
        configuration=how,
    )


@pytest.fixture
def pool(facts: Facts) -> Iterator[WorkerPool]:
    made = WorkerPool(settings(), facts)
    yield made
    made.close()


@pytest.fixture
def hasty(facts: Facts) -> Iterator[WorkerPool]:
    """A pool that calls a worker stuck after three seconds: a start takes one on a busy machine."""
    made = WorkerPool(settings(stall_timeout_s=STALL_S), facts)
    yield made
    made.close()


@pytest.fixture
def directory(tmp_path: Path) -> Location:
    return Location(scheme="file", authority="", path=str(tmp_path))


def task(seq: int, name: str, size: int = 5) -> StageTask:
    pin = Pin(
        bucket="raw",
        key=name,
        size_bytes=size,
        etag="no-md5",
        last_modified=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return StageTask(planned=PlannedObject(seq=seq, pin=pin, relative=name), endpoint=ENDPOINT)


def staging(
    session: WorkerSession, directory: Location, *tasks: StageTask
) -> Iterator[Sequence[StagedObject]]:
    return session.stage(iter([tasks]), directory, VerifyLevel.STREAM)


def stage(session: WorkerSession, directory: Location, *tasks: StageTask) -> list[int]:
    """Positions of what was proven."""
    return sorted(one.seq for batch in staging(session, directory, *tasks) for one in batch)


def works(pool: WorkerPool, directory: Location, name: str = "after") -> int:
    """Use the pool once more; the pid that did it."""
    with pool.session(FS) as session:
        assert stage(session, directory, task(0, name)) == [0]
        assert (Path(directory.path) / name).read_bytes() == b"xxxxx"
        return session._worker.pid


# ---------------------------------------------------------------- what it is for


def test_objects_are_staged_and_counted(pool: WorkerPool, directory: Location) -> None:
    with pool.session(FS) as session:
        tasks = [task(seq, f"sub/{seq}") for seq in range(300)]
        assert stage(session, directory, *tasks) == list(range(300))
        assert session.progress.objects == 300
        assert session.progress.size_bytes == 1500  # not what was read back
        assert stage(session, directory, task(300, "again")) == [300]
        assert (session.progress.size_bytes, session.progress.received_bytes) == (5, 1505)

    assert len(list(Path(directory.path).glob("sub/*"))) == 300


def test_operations_are_carried_out_by_the_worker(pool: WorkerPool, directory: Location) -> None:
    root, final = directory.join(".backhaul/d"), directory.join("final")
    with pool.session(FS) as session:
        assert session.existing_ancestor(final) == directory
        assert session.fence(root, 3) == 0
        assert session.fence(root, 3) == 3
        stage(session, root.join("3"), task(0, "a"))
        assert session.publish_tree(root.join("3"), final) is True
        session.fence(root, 4)
        stage(session, root.join("4"), task(0, "b"))
        assert session.publish_tree(root.join("4"), final) is False
        rename = Rename(source=root.join("4/b"), target=final.join("deep/b"))
        session.publish_files([rename], replace=False)
        assert session.stored_checksums([final.join("a"), final.join("none")])[1] is None
        assert [one is None for one in session.status([final, final.join("none")])] == [False, True]
        session.remove_staging(root, up_to=4)

    assert sorted(path.name for path in Path(directory.path).rglob("*")) == [
        *("a", "b", "deep", "final")
    ]


def with_calls(
    session: WorkerSession, directory: Location, chunks: Sequence[Sequence[StageTask]]
) -> Iterator[Sequence[StageTask]]:
    """Chunks, and a call before each: as the runner looks at the final paths of the next page."""
    for chunk in chunks:
        finals = [directory.join(one.planned.relative) for one in chunk]
        assert len(session.status(finals)) == len(finals)
        yield chunk


def test_proofs_that_arrive_during_calls_are_not_lost(
    pool: WorkerPool, directory: Location, facts: Facts
) -> None:
    chunks = [[task(100 * n + i, f"{n}-{i}") for i in range(100)] for n in range(40)]
    with pool.session(FS) as session:
        batches = session.stage(
            with_calls(session, directory, chunks), directory, VerifyLevel.STREAM
        )
        assert sorted(one.seq for batch in batches for one in batch) == list(range(4000))
        assert session.progress.objects == 4000
        assert session.progress.size_bytes == 20_000
        assert session.status([directory])[0] is not None

    assert facts.replaced == []


def test_a_failure_that_arrives_during_a_call_ends_the_staging_call(
    pool: WorkerPool, directory: Location, facts: Facts
) -> None:
    chunks = [[task(0, "gone-a")], *([task(n, f"slow-{n}", 20)] for n in range(1, 30))]
    with pool.session(FS) as session:
        for _ in range(5):
            tasks = with_calls(session, directory, chunks)
            with pytest.raises(BackhaulError, match="E_SRC_GONE"):
                list(session.stage(tasks, directory, VerifyLevel.STREAM))
            for left in Path(directory.path).iterdir():
                left.unlink()
            assert stage(session, directory, task(99, "after")) == [99]
            Path(directory.path, "after").unlink()

    assert facts.replaced == []


def test_a_call_that_stalls_is_noticed_while_files_are_copied(
    hasty: WorkerPool, directory: Location, facts: Facts
) -> None:
    def tasks() -> Iterator[Sequence[StageTask]]:
        yield [task(0, "slow-x", 10_000)]
        session.status([directory.join("stuck-status")])
        yield [task(1, "never")]

    with hasty.session(FS) as session, pytest.raises(OutageError) as caught:
        list(session.stage(tasks(), directory, VerifyLevel.STREAM))
    assert caught.value.code == "E_TARGET_STALLED"
    assert facts.replaced == ["stalled"]


def test_a_staging_call_that_was_left_open_costs_the_worker(
    pool: WorkerPool, directory: Location, facts: Facts
) -> None:
    with pool.session(FS) as session:
        going = staging(session, directory, task(0, "slow-x", 10_000))
        next(going)

    assert facts.replaced == ["interrupted"]
    works(pool, directory)


def test_error_of_a_call_arrives_as_it_was_raised(pool: WorkerPool, directory: Location) -> None:
    Path(directory.path, "file").touch()
    with pool.session(FS) as session:
        with pytest.raises(CannotWrite) as caught:
            session.existing_ancestor(directory.join("file/sub"))
        assert caught.value.code == "E_DST_PARENT_FILE"
        assert caught.value.hint
        assert session.existing_ancestor(directory) == directory


@pytest.mark.parametrize(("name", "code"), [("gone-a", "E_SRC_GONE"), ("bug-a", "E_BUG")])
def test_failed_object_ends_the_call_and_not_the_worker(
    pool: WorkerPool, directory: Location, facts: Facts, name: str, code: str
) -> None:
    with pool.session(FS) as session:
        pid = session._worker.pid
        with pytest.raises(BackhaulError) as caught:
            stage(session, directory, task(0, "slow-x", 500), task(1, name))
        assert caught.value.code == code
        assert stage(session, directory, task(7, "next")) == [7]

    assert works(pool, directory) == pid
    assert facts.replaced == []


def test_worker_is_used_again(pool: WorkerPool, directory: Location) -> None:
    assert works(pool, directory, "a") == works(pool, directory, "b")


def test_warm_worker_is_the_first_one_lent(pool: WorkerPool, directory: Location) -> None:
    pool.warm_up()
    pool.warm_up()
    (warm,) = pool._all

    assert works(pool, directory) == warm.pid


def test_worker_that_died_idle_is_not_lent(pool: WorkerPool, directory: Location) -> None:
    pid = works(pool, directory, "a")
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not pool._free[0].is_alive)

    assert works(pool, directory, "b") != pid


def test_workers_with_nothing_to_do_end_and_others_start(facts: Facts, directory: Location) -> None:
    pool = WorkerPool(settings(workers=2, idle_s=0.5), facts)
    try:
        pool.warm_up()
        (warm,) = pool._all
        eventually(lambda: not warm.is_alive and not pool._all, timeout_s=30)
        with pool.session(FS) as one:
            busy = one._worker.pid
            with pool.session(FS) as other:
                idle = other._worker.pid
                assert stage(other, directory, task(0, "soon")) == [0]
            eventually(lambda: not psutil.pid_exists(idle), timeout_s=30)
            assert stage(one, directory, task(1, "late")) == [1], "it was lent all the time"
            assert one._worker.pid == busy
        assert works(pool, directory) not in (idle, warm.pid)
        assert facts.replaced == [], "no failure"
    finally:
        pool.close()


# ---------------------------------------------------------------- killed


def test_kill_9_in_the_middle_costs_one_attempt(
    pool: WorkerPool, directory: Location, facts: Facts
) -> None:
    with pool.session(FS) as session:
        pid = session._worker.pid
        going = staging(session, directory, task(0, "quick"), task(1, "slow-x", 10_000))
        eventually(lambda: any(next(going)))
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(TransientError) as caught:
            list(going)
        assert caught.value.code == "E_WORKER_DIED"
        assert "killed by signal 9" in caught.value.message
        with pytest.raises(TransientError, match="E_WORKER_DIED"):
            session.status([directory])

    assert facts.replaced == ["died"]
    assert works(pool, directory) != pid


def test_kill_9_between_two_calls_is_noticed(
    pool: WorkerPool, directory: Location, facts: Facts
) -> None:
    with pool.session(FS) as session:
        session.status([directory])
        worker = session._worker
        assert isinstance(worker, WorkerProcess)
        os.kill(worker.pid, signal.SIGKILL)
        eventually(lambda: not worker.is_alive)
        with pytest.raises(TransientError, match="E_WORKER_DIED"):
            session.status([directory])

    assert facts.replaced == ["died"]
    works(pool, directory)


# ---------------------------------------------------------------- stuck


def test_stopped_process_is_stalled_and_replaced(
    hasty: WorkerPool, directory: Location, facts: Facts
) -> None:
    with hasty.session(FS) as session:
        pid = session._worker.pid
        going = staging(session, directory, task(0, "slow-x", 10_000))
        next(going)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TransientError) as caught:
            list(going)
        assert caught.value.code == "E_WORKER_STALLED"

    assert facts.replaced == ["stalled"]
    assert not psutil.pid_exists(pid)
    works(hasty, directory)


class Waits:
    """A watch that finds a dependency down, until it gives up."""

    def __init__(self, give_up_s: float) -> None:
        self.is_waiting = True
        self.longest_s = 0.0
        self._give_up_s = give_up_s

    def look(self, still_s: float, patience_s: float) -> OutageError | None:
        self.longest_s = max(self.longest_s, still_s)
        if still_s < self._give_up_s:
            return None
        return OutageError.of("s3", "E_S3_UNREACHABLE", f"{patience_s:g} s are over")


class Slow:
    """A watch whose look takes longer than the stall timeout, and finds nothing."""

    is_waiting = False

    def __init__(self, takes_s: float) -> None:
        self.looks = 0
        self._takes_s = takes_s

    def look(self, still_s: float, patience_s: float) -> OutageError | None:
        self.looks += 1
        if self.looks == 1:
            time.sleep(self._takes_s)
        return None


def test_a_worker_that_is_at_work_is_not_stalled_by_a_look_that_takes_long(
    hasty: WorkerPool, facts: Facts, directory: Location
) -> None:
    watch = Slow(takes_s=STALL_S + 0.5)
    with hasty.session(FS) as session:
        session.watched_by(watch)
        assert stage(session, directory, task(0, "slow-x", int(1.5 * STALL_S * PIECES_PER_S))) == [
            0
        ]
    assert watch.looks > 0
    assert facts.replaced == []


def test_hanging_read_is_waited_for_while_the_watch_says_so(
    hasty: WorkerPool, facts: Facts, directory: Location
) -> None:
    watch = Waits(give_up_s=2 * STALL_S)
    with hasty.session(FS) as session:
        session.watched_by(watch)
        with pytest.raises(OutageError, match=f"{STALL_S:g} s are over"):
            stage(session, directory, task(0, "hang-a"))
        assert session.fault == "stalled"
    assert watch.longest_s >= 2 * STALL_S
    assert facts.replaced == ["stalled"]
    works(hasty, directory)


def test_hanging_read_is_stalled_although_the_worker_ticks(
    hasty: WorkerPool, directory: Location, facts: Facts
) -> None:
    with hasty.session(FS) as session, pytest.raises(TransientError) as caught:
        stage(session, directory, task(0, "hang-x"))
    assert caught.value.code == "E_WORKER_STALLED"
    assert facts.replaced == ["stalled"]
    works(hasty, directory)


def test_slow_object_is_not_stalled(hasty: WorkerPool, directory: Location, facts: Facts) -> None:
    with hasty.session(FS) as session:
        assert stage(session, directory, task(0, "slow-x", int(1.5 * STALL_S * PIECES_PER_S))) == [
            0
        ]

    assert facts.replaced == []


def test_target_that_gives_no_answer_is_an_outage(
    hasty: WorkerPool, directory: Location, facts: Facts
) -> None:
    with hasty.session(FS) as session:
        session.status([directory])
        os.kill(session._worker.pid, signal.SIGSTOP)
        with pytest.raises(OutageError) as caught:
            session.status([directory])
    assert (caught.value.dependency, caught.value.code) == ("target", "E_TARGET_STALLED")
    assert facts.replaced == ["stalled"]


def test_worker_that_does_not_read_cannot_stop_a_send(directory: Location, facts: Facts) -> None:
    pool = WorkerPool(settings(stall_timeout_s=1.0, how="hang at once"), facts)
    with pool.session(FS) as session:
        many = [task(seq, f"{'n' * 200}{seq}") for seq in range(2000)]
        with pytest.raises(TransientError) as caught:
            stage(session, directory, *many)
    assert caught.value.code in {"E_WORKER_DIED", "E_WORKER_STALLED"}
    pool.close()


# ---------------------------------------------------------------- cancelled


def test_cancelled_call_leaves_the_worker_usable(
    pool: WorkerPool, directory: Location, facts: Facts
) -> None:
    with pool.session(FS) as session:
        pid = session._worker.pid
        for turn in range(5):
            going = staging(
                session,
                directory,
                *(task(seq, f"{turn}-{seq}") for seq in range(50)),
                task(50, f"slow-{turn}", 10_000),
            )
            next(going)
            going.close()  # type: ignore[attr-defined] # the agent gave up
            # Nothing of the call before is taken for the answer to this one.
            assert stage(session, directory, task(1000 + turn, f"after-{turn}")) == [1000 + turn]
            assert session.progress.objects == 1

    assert facts.replaced == []
    assert works(pool, directory) == pid


def test_failure_of_the_listing_cancels_the_call(
    pool: WorkerPool, directory: Location, facts: Facts
) -> None:
    def tasks() -> Iterator[Sequence[StageTask]]:
        yield [task(0, "slow-x", 10_000)]
        raise OutageError.of("s3", "E_S3_UNREACHABLE", "listing broke")

    with pool.session(FS) as session:
        with pytest.raises(OutageError):
            list(session.stage(tasks(), directory, VerifyLevel.STREAM))
        assert stage(session, directory, task(1, "next")) == [1]

    assert facts.replaced == []


# ---------------------------------------------------------------- the end


def test_abort_ends_what_runs_and_lends_no_more(pool: WorkerPool, directory: Location) -> None:
    with pool.session(FS) as session:
        going = staging(session, directory, task(0, "slow-x", 10_000))
        next(going)
        aborting = threading.Thread(target=pool.abort)
        aborting.start()
        with pytest.raises(TransientError, match="E_WORKER_DIED"):
            list(going)
        aborting.join()

    with pytest.raises(TransientError, match="E_STOPPED"), pool.session(FS):
        pass


def test_closed_pool_leaves_no_process(facts: Facts, directory: Location) -> None:
    pool = WorkerPool(settings(workers=2), facts)
    with pool.session(FS) as one, pool.session(FS) as two:
        pids = {one._worker.pid, two._worker.pid}
        assert stage(one, directory, task(0, "a")) == stage(two, directory, task(0, "b"))
    pool.close()

    assert len(pids) == 2
    assert not any(psutil.pid_exists(pid) for pid in pids)


AGENT = """
import sys, time
from backhaul.engines.pool import PoolSettings, WorkerPool
pool = WorkerPool(PoolSettings(workers=1, stall_timeout_s=30, idle_s=9,
                               command=(sys.executable, sys.argv[1]),
                               configuration=""), lambda fact: None)
with pool.session("file://") as session:
    session.status([])
    print(session._worker.pid, flush=True)
    time.sleep(1000)
"""


def test_worker_ends_when_its_agent_is_killed() -> None:
    with child(
        [sys.executable, "-c", AGENT, str(WORKER)], stdout=subprocess.PIPE, text=True
    ) as agent:
        assert agent.stdout is not None
        worker = psutil.Process(int(agent.stdout.readline()))
        agent.kill()
    psutil.wait_procs([worker], timeout=10)

    assert not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE


# ---------------------------------------------------------------- users


def test_a_worker_serves_one_user_and_makes_room_for_another(facts: Facts) -> None:
    """The user is in the process's environment, so it cannot be lent to somebody else."""
    given: list[str | None] = []

    def environment(user: str | None) -> dict[str, str]:
        given.append(user)
        return {**os.environ, "HADOOP_PROXY_USER": user or ""}

    made = WorkerPool(dataclasses.replace(settings(), environment=environment), facts)
    try:
        pids = []
        for user in (None, None, "alice", "alice", None):
            with made.session("fs://x", user) as session:
                pids.append(session._worker.pid)
                process = psutil.Process(session._worker.pid)
                # The kernel shows it a moment after the process has begun.
                eventually(lambda: "HADOOP_PROXY_USER" in process.environ())  # noqa: B023
                assert process.environ()["HADOOP_PROXY_USER"] == (user or "")
        assert pids[0] == pids[1]
        assert pids[2] == pids[3]
        assert len({pids[0], pids[2], pids[4]}) == 3, "one place: the idle one had to go"
        assert given == [None, "alice", None]
    finally:
        made.close()


def test_workers_of_several_users_stay_while_there_is_room(facts: Facts) -> None:
    made = WorkerPool(settings(workers=2), facts)
    try:
        pids = []
        for user in ("alice", "bob", "alice", "bob"):
            with made.session("fs://x", user) as session:
                pids.append(session._worker.pid)
        assert pids[:2] == pids[2:]
    finally:
        made.close()
