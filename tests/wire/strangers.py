"""Each end of the pipe alone, against a peer that sends in every order, and more than it should."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from backhaul.core.checksums import Checksum
from backhaul.core.errors import BackhaulError, SourceChanged
from backhaul.core.model import Location, VerifyLevel
from backhaul.core.objects import FileStatus, Proof, StagedObject
from backhaul.core.ports import StageTask
from backhaul.engines.exchange import Exchange
from backhaul.engines.hung_workers import READ_WAIT_S
from backhaul.engines.operations import TargetOperations
from backhaul.engines.pipe import Pipe
from backhaul.engines.session import WorkerSession
from backhaul.engines.wire import (
    Activity,
    Answer,
    Call,
    Cancel,
    Downward,
    StageBegin,
    Staged,
    StageEnd,
    StageOver,
    StageTasks,
    Tick,
    Upward,
)
from tests.wire.schedule import Chooser, Violation
from tests.wire.world import FS, Program, World, task_of

STAGING = Location(scheme="hdfs", authority="ns1", path="/staging")


@dataclass(frozen=True, kw_only=True)
class Script:
    """What the agent does with a worker that a chooser plays.

    Attributes:
        chunks: Objects in each chunk of the first staging call.
        calls_before: Calls before each chunk.
        has_failure: The last object fails, and with it the staging call.
        gives_up: The agent closes the first staging call after its first batch.
        may_die: The worker may close its end at any time.
        may_repeat: What was sent of a conversation that is over may be sent again.
        may_tick: Ticks may come in between.
    """

    chunks: tuple[int, ...] = (1, 1)
    calls_before: tuple[int, ...] = (0, 1)
    has_failure: bool = False
    gives_up: bool = False
    may_die: bool = False
    may_repeat: bool = False
    may_tick: bool = False


class PlayedWorker:
    """A worker by choice: at each send and each read of the agent it may send what is due."""

    pid = 7

    def __init__(self, script: Script, chooser: Chooser) -> None:
        self.script = script
        self._chooser = chooser
        ours, self._theirs = socket.socketpair()
        self._peer = Pipe(self._theirs)
        self.exchange = Exchange(_AgentPipe(self, ours), 1.0)
        self.is_dead = False
        self._due: list[Upward] = []
        self._over: list[Upward] = []
        self._last_proofs: dict[int, Staged] = {}
        self._ticks = 2 if script.may_tick else 0
        self._ends: dict[int, StageOver] = {}
        self._staged: Counter[int] = Counter()
        self.sent_objects: dict[int, list[int]] = {}

    def close(self) -> None:
        self.exchange.close()
        self._theirs.close()

    def send(self, message: Downward) -> None:
        try:
            self.exchange.send(message)
        except (EOFError, OSError):
            return
        if not self.is_dead:
            for order in self._peer.receive_all(0.0):
                self._take(order)
            self.turn(must_send=False)

    def death(self) -> str:
        return "closed its end"

    def _take(self, order: Downward) -> None:
        match order:
            case Call(number=number, arguments=([path],)):
                self._due.append(Answer(number=number, value=[_status(path)]))
            case StageBegin(number=number):
                self.sent_objects[number] = []
            case StageTasks(number=number, tasks=tasks) if number not in self._ends:
                for one in tasks:
                    self._stage(number, one)
            case StageEnd(number=number) | Cancel(number=number) if number not in self._ends:
                self._end(number, None)

    def _stage(self, number: int, task: StageTask) -> None:
        if task.planned.relative.startswith("fail"):
            self._end(number, SourceChanged("E_SRC_GONE", task.planned.relative))
            return
        self._staged[number] += 1
        activity = Activity(number=number, size_bytes=self._staged[number], count=1)
        seq = task.planned.seq
        proof = StagedObject(
            seq=seq, size_bytes=1, content=Checksum("CRC32C", "00000000"), proof=Proof.STREAM
        )
        self._due.append(Staged(number=number, objects=(proof,), activity=activity))

    def _end(self, number: int, error: BackhaulError | None) -> None:
        if number in self._ends:
            return
        self._ends[number] = end = StageOver(
            number=number, objects=self._staged[number], error=error
        )
        self._due.append(end)

    # ------------------------------------------------------------ its choices

    def turn(self, *, must_send: bool) -> None:
        """Send something, or not; it must where the agent waits and has nothing to read."""
        while True:
            due, more = self._due_now(), self._more()
            # The usual choice is to send at once what is due, in order, and nothing else.
            quiet: list[Upward | str | None] = [] if must_send and (due or more) else [None]
            choices = [*due, *quiet, *more]
            chosen = choices[self._chooser.pick(len(choices))] if len(choices) > 1 else choices[0]
            if chosen is None:
                return
            self._emit(chosen)
            must_send = False
            if self.is_dead:
                return

    def _due_now(self) -> list[Upward | str | None]:
        """In order within a conversation, in any order between two."""
        first: dict[int, Upward | str | None] = {}
        for one in self._due:
            if not isinstance(one, Tick):
                first.setdefault(one.number, one)
        return list(first.values())

    def _more(self) -> list[Upward | str | None]:
        found: list[Upward | str | None] = []
        if self.script.may_repeat:
            found += self._over
        if self._ticks:
            found.append(Tick())
        if self.script.may_die:
            found.append("die")
        return found

    def _emit(self, what: Upward | str) -> None:
        if isinstance(what, str):
            self.is_dead = True
            self._theirs.close()
            return
        if isinstance(what, Tick):
            self._ticks -= 1
        elif what in self._due:
            self._due.remove(what)
            if isinstance(what, Staged):
                self.sent_objects[what.number] += [one.seq for one in what.objects]
                self._last_proofs[what.number] = what
            if isinstance(what, (Answer, StageOver)):
                self._over.append(what)
            if isinstance(what, StageOver) and what.number in self._last_proofs:
                self._over.append(self._last_proofs[what.number])
        else:
            self._over.remove(what)
        self._peer.send(what)


class _AgentPipe(Pipe):
    def __init__(self, worker: PlayedWorker, connection: socket.socket) -> None:
        super().__init__(connection)
        self._worker = worker

    def receive_all(self, wait_s: float) -> list[Any]:
        if not self._worker.is_dead:
            self._worker.turn(must_send=not self.is_readable())
        return super().receive_all(wait_s)


def _status(path: str) -> FileStatus:
    return FileStatus(is_directory=False, size_bytes=len(path), modified_ms=0)


def play(script: Script, chooser: Chooser) -> None:
    """The agent's part; raises what is violated."""
    worker = PlayedWorker(script, chooser)
    try:
        _play(WorkerSession(worker, FS, 60.0), worker)
    finally:
        worker.close()


def _play(current: WorkerSession, worker: PlayedWorker) -> None:
    script = worker.script
    received: list[int] = []
    try:
        going = current.stage(_tasks(current, script), STAGING, VerifyLevel.STREAM)
        for batch in going:
            received += [one.seq for one in batch]
            if batch and script.gives_up:
                going.close()  # type: ignore[attr-defined] # a generator
                break
        else:
            if script.has_failure:
                raise Violation("a staging call that failed ended well")
            if received != worker.sent_objects[1]:
                raise Violation(f"the worker sent {worker.sent_objects[1]}, received {received}")
        _check_status(current, "between")
        again = [*current.stage(iter([[task_of(7, "ok", 9)]]), STAGING, VerifyLevel.STREAM)]
        if [one.seq for batch in again for one in batch] != [7]:
            raise Violation(f"the second staging call received {again}")
        _check_status(current, "at the end")
    except BackhaulError as error:
        _check(error, current, worker, received)
    else:
        current.end()
        if current.fault:
            raise Violation(f"fault {current.fault!r} without a reason")


def _check(
    error: BackhaulError, current: WorkerSession, worker: PlayedWorker, received: list[int]
) -> None:
    if error.code == "E_WORKER_DIED" and worker.is_dead and current.fault == "died":
        return
    if error.code == "E_SRC_GONE" and worker.script.has_failure and not current.fault:
        if received != worker.sent_objects[1]:
            raise Violation(f"sent {worker.sent_objects[1]} before the failure, got {received}")
        _check_status(current, "after")
        return
    raise Violation(f"{error}, fault {current.fault!r}")


def _tasks(current: WorkerSession, script: Script) -> Iterator[Sequence[StageTask]]:
    seq = 100
    for at, (size, calls) in enumerate(zip(script.chunks, script.calls_before, strict=True)):
        for each in range(calls):
            _check_status(current, f"{at}/{each}")
        is_last = at == len(script.chunks) - 1
        fates = ["ok"] * size
        if is_last and script.has_failure:
            fates[-1] = "fail"
        yield [task_of(seq + n, fate, 9) for n, fate in enumerate(fates)]
        seq += size


def _check_status(current: WorkerSession, path: str) -> None:
    (found,) = current.status([replace(STAGING, path=path)])
    if found is None or found.size_bytes != len(path):
        raise Violation(f"the answer for {path!r} is {found}")


# ---------------------------------------------------------------- the worker's end


class Orders(World):
    """A real `serve` under an agent that sends these orders, whatever comes back."""

    def __init__(self, orders: Sequence[Downward], chooser: Chooser, **program: Any) -> None:
        super().__init__(Program(**program), chooser)
        self._orders = orders

    def agent(self) -> None:
        for order in self._orders:
            # Without reading meanwhile: the worker must read, whatever it does.
            self.agent_pipe.send(order)
            self.schedule.pause()
        wanted = {"ends": self._numbers(StageBegin), "answers": self._numbers(Call)}
        while not self._has_all(wanted):
            self._received()
            if self.schedule.now_s > 1060:
                raise Violation(f"of {wanted} only {self.ghost.ends}, {self.ghost.answers} came")

    def _numbers(self, kind: type[StageBegin | Call]) -> set[int]:
        return {one.number for one in self._orders if isinstance(one, kind)}

    def _has_all(self, wanted: dict[str, set[int]]) -> bool:
        ghost = self.ghost
        return wanted == {"ends": set(ghost.ends), "answers": set(ghost.answers)}

    def _received(self) -> None:
        self.agent_pipe.receive_all(READ_WAIT_S)


def begin(number: int) -> StageBegin:
    return StageBegin(
        number=number, filesystem=FS, directory=f"/staging/{number}", verify=VerifyLevel.STREAM
    )


def tasks(number: int, *fates: str) -> StageTasks:
    return StageTasks(
        number=number,
        tasks=tuple(task_of(number * 1000 + n, fate, 9) for n, fate in enumerate(fates)),
    )


def call(number: int, path: str = "a") -> Call:
    return Call(
        number=number,
        filesystem=FS,
        operation=TargetOperations.status,
        arguments=([path],),
        named={},
    )


ORDERS: dict[str, tuple[Downward, ...]] = {
    "tasks after the end": (
        begin(1),
        tasks(1, "ok"),
        StageEnd(number=1),
        tasks(1, "ok", "ok"),
        call(2),
    ),
    "tasks after a failure": (
        begin(1),
        tasks(1, "fail"),
        tasks(1, "ok"),
        tasks(1, "ok"),
        StageEnd(number=1),
    ),
    "cancelled twice, and more tasks": (
        begin(1),
        tasks(1, "slow", "ok"),
        Cancel(number=1),
        tasks(1, "ok"),
        Cancel(number=1),
        StageEnd(number=1),
        call(2),
    ),
    "orders for a staging call that never was": (
        tasks(1, "ok"),
        Cancel(number=1),
        StageEnd(number=1),
        call(2),
        begin(3),
        StageEnd(number=3),
    ),
    "a second begins at once": (
        begin(1),
        tasks(1, "slow"),
        Cancel(number=1),
        begin(2),
        tasks(2, "ok"),
        StageEnd(number=2),
        call(3),
    ),
    "many calls at once": tuple(call(number, "x" * 300) for number in range(1, 40)),
    "calls in a row": (
        call(1),
        call(2, "bad"),
        begin(3),
        call(4),
        tasks(3, "ok"),
        call(5, "unpicklable"),
        StageEnd(number=3),
        call(6),
    ),
}
