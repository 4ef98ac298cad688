"""A real `WorkerSession` and a real `serve` on one socket, in one schedule; and what must hold.

Only what is below them is a stand-in: threads and time (`schedule`), the stager and the target.
A `Program` lists what the agent does with the worker and what happens to it meanwhile.
"""

from __future__ import annotations

import pickle
import queue
import select
import socket
from collections import Counter as Counts
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from greenlet import GreenletExit

from backhaul.core.checksums import Checksum
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    SourceChanged,
    TransientError,
)
from backhaul.core.model import Location, VerifyLevel
from backhaul.core.objects import FileStatus, Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import Endpoint, StageTask
from backhaul.engines import asking, exchange, hung_workers, pipe, serve, session
from backhaul.engines.exchange import Exchange
from backhaul.engines.native import Cancelled
from backhaul.engines.pipe import Pipe
from backhaul.engines.session import WorkerSession
from backhaul.engines.tuning import Tuning
from backhaul.engines.wire import Answer, Staged, StageOver
from tests.wire.schedule import (
    Chooser,
    Event,
    Executor,
    Lock,
    Poll,
    Schedule,
    SimpleQueue,
    Thread,
    Violation,
)

FS = "hdfs://ns1"
STALL_S = 2.0
LATE_S = 3.0  # a stall is noticed within `STALL_S` and this
SIZE = 5
REFUSED_BYTES = 6
BUFFER_BYTES = 1  # the kernel makes the least of it that it can: a few KiB
ENDPOINT = Endpoint(base_url="https://s3.fake/raw/", region="us-east-1")


@dataclass(frozen=True, kw_only=True)
class Staging:
    """One staging call of the program.

    Attributes:
        chunks: Fates of objects, chunk by chunk: `ok`, `slow` (several steps), `fail`, `bug`,
            `hang`, `endless` (active, but never done), and of batched proofs `again` (proven at
            the second try), `unproven`.
        calls: Paths whose status is requested before each chunk: any word; `bad` fails, `hang`
            never returns.
        gives_up_after: The agent closes the staging call after so many batches.
        listing_fails: The source of chunks raises at its end.
        name_bytes: Length of each object's name, to fill the socket's buffers.
    """

    chunks: tuple[tuple[str, ...], ...] = (("ok", "ok"), ("ok",))
    calls: tuple[tuple[str, ...], ...] = ()
    gives_up_after: int | None = None
    listing_fails: bool = False
    name_bytes: int = 10


@dataclass(frozen=True, kw_only=True)
class Program:
    """What the agent does with one worker.

    Attributes:
        is_batched: Proofs are made for many closed files at once.
        threads: Copying threads of the worker.
        window: Objects that may be open.
        worker_dies_at: The worker's process is killed at this step of a stager or target.
        worker_stops_at: It is stopped there, as by SIGSTOP.
        interrupted_at: Ctrl-C at this wait of the agent for the pipe.
    """

    stagings: tuple[Staging, ...] = (Staging(),)
    is_batched: bool = False
    threads: int = 2
    window: int = 2000
    worker_dies_at: int | None = None
    worker_stops_at: int | None = None
    interrupted_at: int | None = None


@dataclass(kw_only=True)
class Ghost:
    """What really happened, however it was reported."""

    proven: set[int] = field(default_factory=set)
    under_way: Counts[str] = field(default_factory=Counts)
    closed: set[str] = field(default_factory=set)
    ends: Counts[int] = field(default_factory=Counts)
    answers: Counts[int] = field(default_factory=Counts)
    hanging_since_s: float | None = None
    is_dead: bool = False
    is_stopped: bool = False
    was_interrupted: bool = False
    steps: int = 0
    waits: int = 0
    asked: int = 0  # of the agent, before something is read once more
    granted: int = 0  # reads that went on after its answer
    refused: bool = False


class World:
    """One run."""

    def __init__(self, program: Program, chooser: Chooser) -> None:
        self.program = program
        self.schedule = Schedule(chooser)
        self.ghost = Ghost()
        self.session: WorkerSession | None = None
        self.pid = 7

    def run(self) -> None:
        """To the end of the program; raises what is violated."""
        with pytest.MonkeyPatch.context() as patch:
            self._patch(patch)
            ours, self._theirs = socket.socketpair()
            for one in (ours, self._theirs):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER_BYTES)
            try:
                self.agent_pipe = AgentPipe(self, ours)
                self.exchange = Exchange(self.agent_pipe, STALL_S)
                agent = self.schedule.spawn("agent", self.agent)
                worker_pipe = WorkerPipe(self, self._theirs)
                self.schedule.spawn("worker", lambda: self._worker(worker_pipe))
                self.schedule.run(agent)
                self._check_failures()
            finally:
                self.schedule.end()
                ours.close()
                self._theirs.close()

    def _check_failures(self) -> None:
        ghost = self.ghost
        is_whole = not (ghost.is_dead or ghost.is_stopped)
        found = [
            one
            for one in self.schedule.failures
            if is_whole or not one.startswith(("tick", "call", "copy", "prove", "finish", "worker"))
        ]
        if found:
            raise Violation(found[0])

    # ------------------------------------------------------------ the agent

    def agent(self) -> None:
        """Carry out the program."""
        current = self.session = WorkerSession(self, FS, STALL_S)
        for number, staging in enumerate(self.program.stagings, 1):
            try:
                self._stage(current, number, staging)
            except KeyboardInterrupt:
                self._check_fault("interrupted")
                return
            if current.fault:
                break
        current.end()
        if self.exchange.open and not current.fault:
            raise Violation("something is open at the end, and the worker is lent again")

    def _stage(self, current: WorkerSession, number: int, staging: Staging) -> None:
        directory = Location(scheme="hdfs", authority="ns1", path=f"/staging/{number}")
        received: list[int] = []
        sent: list[int] = []
        batches = current.stage(
            self._tasks(current, number, staging, sent), directory, VerifyLevel.STREAM, self._more
        )
        try:
            batch_number = 0
            for batch in batches:
                received += [one.seq for one in batch]
                batch_number += bool(batch)
                if staging.gives_up_after is not None and batch_number >= staging.gives_up_after:
                    batches.close()  # type: ignore[attr-defined] # a generator
                    self._check_given_up(current, number)
                    return
        except BackhaulError as error:
            self._check_error(current, number, staging, error)
        else:
            self._check_end(current, number, staging, received, sent)
        strangers = [seq for seq in received if seq // 1000 != number]
        if strangers:
            raise Violation(f"proofs {strangers} of another staging call came to {number}")

    def _tasks(
        self, current: WorkerSession, number: int, staging: Staging, sent: list[int]
    ) -> Iterator[Sequence[StageTask]]:
        for at, fates in enumerate(staging.chunks):
            for path in staging.calls[at] if at < len(staging.calls) else ():
                self._call(current, f"{path}/{number}-{at}")
            chunk = [
                task_of(number * 1000 + len(sent) + n, fate, staging.name_bytes)
                for n, fate in enumerate(fates)
            ]
            sent += [one.planned.seq for one in chunk]
            yield chunk
        if staging.listing_fails:
            raise OutageError.of("s3", "E_S3_UNREACHABLE", "listing broke")

    def _more(self, size_bytes: int) -> None:
        """As a budget: some may be read once more, and others not."""
        self.ghost.asked += 1
        if size_bytes == REFUSED_BYTES:
            self.ghost.refused = True
            raise TransientError("E_BUDGET_USED", "used up")

    def _call(self, current: WorkerSession, path: str) -> None:
        (found,) = current.status([Location(scheme="hdfs", authority="ns1", path=path)])
        if found is None or found.size_bytes != len(path):
            raise Violation(f"the answer for {path} is {found}")

    # ------------------------------------------------------------ what must hold

    def _check_fault(self, *allowed: str) -> None:
        assert self.session is not None
        if self.session.fault not in allowed:
            raise Violation(f"fault is {self.session.fault!r}, not one of {allowed}")

    def _check_quiet(self, number: int) -> None:
        directory = f"/staging/{number}"
        if self.ghost.under_way[directory]:
            raise Violation(f"{directory} is still written after its end")
        self.ghost.closed.add(directory)

    def _check_given_up(self, current: WorkerSession, number: int) -> None:
        if current.fault:
            self._check_broken("E_WORKER_DIED")
            return
        self._check_quiet(number)

    def _check_end(
        self,
        current: WorkerSession,
        number: int,
        staging: Staging,
        received: list[int],
        sent: list[int],
    ) -> None:
        if sorted(received) != sorted(sent):
            raise Violation(f"sent {sent}, received {received}")
        bad = {"fail", "bug", "hang", "endless", "unproven", "refused"} & {
            one for each in staging.chunks for one in each
        }
        if bad or staging.listing_fails:
            raise Violation(f"it ended well although {bad} were in it")
        self._check_fault("")
        self._check_quiet(number)
        if self.ghost.granted > self.ghost.asked:
            raise Violation("something was read once more without an answer")
        progress = current.progress
        if (progress.objects, progress.size_bytes) != (len(sent), SIZE * len(sent)):
            raise Violation(f"progress of {len(sent)} objects is {progress}")

    def _check_error(
        self, current: WorkerSession, number: int, staging: Staging, error: BackhaulError
    ) -> None:
        if current.fault:
            self._check_broken(error.code)
            return
        fates = {one for each in staging.chunks for one in each}
        allowed = {CODES[one] for one in fates if one in CODES}
        if any("bad" in paths for paths in staging.calls):
            allowed.add("E_DST_BAD")
        if staging.listing_fails:
            allowed.add("E_S3_UNREACHABLE")
        if error.code not in allowed:
            raise Violation(f"{error} was raised; allowed: {sorted(allowed)}")
        self._check_quiet(number)

    def _check_broken(self, code: str) -> None:
        """The session is of no more use: that needs a reason."""
        ghost = self.ghost
        if ghost.is_dead:
            self._check_fault("died")
        elif ghost.is_stopped:
            self._check_fault("stalled", "died")
        elif ghost.hanging_since_s is not None:
            self._check_fault("stalled")
            if self.schedule.now_s - ghost.hanging_since_s > STALL_S + LATE_S:
                raise Violation("a hanging worker was noticed too late")
            if code not in {"E_TARGET_STALLED", "E_WORKER_STALLED", "E_WORKER_DIED"}:
                raise Violation(f"a hanging worker is {code}")
        else:
            assert self.session is not None
            raise Violation(f"{code}: fault {self.session.fault!r} without a reason")

    # ------------------------------------------------------------ the process, for the session

    def send(self, message: Any) -> None:
        try:
            self.exchange.send(message)
        except (EOFError, OSError):
            self.kill()

    def death(self) -> str:
        return "killed by signal 9"

    def kill(self) -> None:
        if not self.ghost.is_dead:
            self.ghost.is_dead = True
            self._stop_worker()
            self._theirs.close()

    def _stop_worker(self) -> None:
        for task in self.schedule.tasks:
            if task.name != "agent":
                task.is_stopped = True

    # ------------------------------------------------------------ the worker

    def _worker(self, worker_pipe: Pipe) -> None:
        parts = serve.Parts(
            reader=lambda: None,  # type: ignore[arg-type, return-value] # the stager needs none
            target=lambda _filesystem: ModelTarget(self),  # type: ignore[arg-type, return-value]
            new_digest=lambda _name: None,  # type: ignore[arg-type, return-value]
            tuning=lambda _filesystem: Tuning(threads=self.program.threads),
        )
        serve.serve(worker_pipe, parts)

    def step(self, fate: str = "ok") -> None:
        """One step of a stager or target, where others may go on and things may happen."""
        ghost = self.ghost
        ghost.steps += 1
        if ghost.steps == self.program.worker_dies_at:
            self.kill()
        if ghost.steps == self.program.worker_stops_at:
            ghost.is_stopped = True
            self._stop_worker()
        if fate == "hang":
            if ghost.hanging_since_s is None:
                ghost.hanging_since_s = self.schedule.now_s
            self.schedule.wait(lambda: False, None)
        self.schedule.pause()

    # ------------------------------------------------------------ stand-ins

    def _patch(self, patch: pytest.MonkeyPatch) -> None:
        schedule = self.schedule
        time = SimpleNamespace(
            monotonic=lambda: schedule.now_s,
            sleep=lambda seconds: schedule.wait(None, seconds),
        )
        for module in (exchange, hung_workers, pipe, session):
            patch.setattr(module, "time", time)
        patch.setattr(serve, "time", time)
        patch.setattr(
            pipe,
            "select",
            SimpleNamespace(
                poll=lambda: Poll(schedule), POLLIN=select.POLLIN, POLLOUT=select.POLLOUT
            ),
        )
        threads = SimpleNamespace(
            Lock=lambda: Lock(schedule),
            Event=lambda: Event(schedule),
            Thread=lambda target, name="thread", daemon=False, args=(): Thread(
                schedule, target, args, name
            ),
        )
        for module in (asking, serve):
            patch.setattr(module, "threading", threads)
        queues = SimpleNamespace(SimpleQueue=lambda: SimpleQueue(schedule), Empty=queue.Empty)
        patch.setattr(serve, "queue", queues)
        patch.setattr(
            serve,
            "ThreadPoolExecutor",
            lambda threads, thread_name_prefix: Executor(schedule, threads, thread_name_prefix),
        )
        patch.setattr(serve, "os", SimpleNamespace(_exit=_exit))
        patch.setattr(serve, "Stager", lambda **parts: ModelStager(self, **parts))
        patch.setattr(session, "WINDOW_OBJECTS", self.program.window)


TURNS = {"slow": 3, "endless": 1000}


def _exit(_status: int) -> None:
    raise GreenletExit


CODES = {
    "fail": "E_SRC_GONE",
    "bug": "E_BUG",
    "unproven": "E_CHECKSUM",
    "hang": "E_WORKER_STALLED",
    "refused": "E_BUDGET_USED",
}


def task_of(seq: int, fate: str, name_bytes: int) -> StageTask:
    """An object whose fate is in its name."""
    name = f"{fate}-{seq}".ljust(name_bytes, "n")
    pin = Pin(
        bucket="raw",
        key=name,
        size_bytes=SIZE,
        etag="e",
        last_modified=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return StageTask(planned=PlannedObject(seq=seq, pin=pin, relative=name), endpoint=ENDPOINT)


def _fate(task: StageTask) -> str:
    return task.planned.relative.partition("-")[0]


class AgentPipe(Pipe):
    """Ctrl-C may come while it is read."""

    def __init__(self, world: World, connection: socket.socket) -> None:
        super().__init__(connection)
        self._world = world

    def receive_all(self, wait_s: float) -> list[Any]:
        found = super().receive_all(wait_s)
        ghost = self._world.ghost
        ghost.waits += 1
        if ghost.waits == self._world.program.interrupted_at:
            ghost.was_interrupted = True
            raise KeyboardInterrupt
        return found


class WorkerPipe(Pipe):
    """Counts what ends a conversation."""

    def __init__(self, world: World, connection: socket.socket) -> None:
        super().__init__(connection)
        self._ghost = world.ghost

    def send_frame(self, frame: bytes, **more: Any) -> None:
        message = pickle.loads(frame[8:])  # noqa: S301 - our own
        match message:
            case StageOver(number=number):
                self._count(self._ghost.ends, number, "StageOver")
            case Answer(number=number):
                self._count(self._ghost.answers, number, "Answer")
            case Staged(number=number) if self._ghost.ends[number]:
                raise Violation(f"proofs of {number} after its end")
        super().send_frame(frame, **more)

    def _count(self, counts: Counts[int], number: int, what: str) -> None:
        counts[number] += 1
        if counts[number] > 1:
            raise Violation(f"{what} of {number} came twice")


class ModelTarget:
    """A target that has every path, as long as its name."""

    keeps_checksums = False

    def __init__(self, world: World) -> None:
        self._world = world

    def status(self, path: str) -> FileStatus:
        fate = path.partition("/")[0]
        self._world.step(fate)
        if fate == "unpicklable":
            return lambda: None  # type: ignore[return-value]
        if fate == "bad":
            raise CannotWrite("E_DST_BAD", path)
        return FileStatus(is_directory=False, size_bytes=len(path), modified_ms=0)


class ModelStager:
    """Does with each object what its name demands."""

    def __init__(self, world: World, *, counter: Any, directory: str, **_parts: Any) -> None:
        self._world = world
        self._counter = counter
        self._directory = directory
        self._tried: set[int] = set()
        self.is_batched = world.program.is_batched
        self.more: Any = None
        self.cancelled = Event(world.schedule)

    def stage(self, task: StageTask) -> StagedObject:
        self.copy(task)
        return self._proof(task)

    def copy(self, task: StageTask) -> Any:
        with self._at_work():
            fate = _fate(task)
            for _ in range(TURNS.get(fate, 1)):
                if self.cancelled.is_set():
                    raise Cancelled
                self._world.step(fate)
                self._counter.add(0)
                if fate == "endless":
                    self._world.schedule.wait(None, 0.3)
            if fate in {"more", "refused"}:
                self.more(SIZE if fate == "more" else REFUSED_BYTES)
                if self._world.ghost.refused:
                    raise Violation("what was refused is read")
                self._world.ghost.granted += 1
            if fate == "fail":
                raise SourceChanged("E_SRC_GONE", task.planned.relative)
            if fate == "bug":
                raise ZeroDivisionError("a bug")
            self._counter.add(SIZE)
        return SimpleNamespace(task=task)

    def prove(self, closed: Sequence[Any]) -> list[StagedObject | BackhaulError]:
        with self._at_work():
            self._world.step()
            return [self._proof_or_error(one.task) for one in closed]

    def _proof_or_error(self, task: StageTask) -> StagedObject | BackhaulError:
        fate, seq = _fate(task), task.planned.seq
        if fate == "unproven" or (fate == "again" and seq not in self._tried):
            self._tried.add(seq)
            return TransientError("E_CHECKSUM", task.planned.relative)
        return self._proof(task)

    def again(self, closed: Any, error: BackhaulError) -> Any:
        with self._at_work():
            self._world.step()
            if _fate(closed.task) == "unproven":
                raise error
        return closed

    def _proof(self, task: StageTask) -> StagedObject:
        seq = task.planned.seq
        self._world.ghost.proven.add(seq)
        return StagedObject(
            seq=seq, size_bytes=SIZE, content=Checksum("CRC32C", "00000000"), proof=Proof.STREAM
        )

    def close(self) -> None:
        with self._at_work():
            self._world.step()

    def sync_directories(self) -> None:
        with self._at_work():
            self._world.step()

    @contextmanager
    def _at_work(self) -> Iterator[None]:
        ghost = self._world.ghost
        if self._directory in ghost.closed:
            raise Violation(f"{self._directory} is written after its end")
        ghost.under_way[self._directory] += 1
        try:
            yield
        finally:
            ghost.under_way[self._directory] -= 1
