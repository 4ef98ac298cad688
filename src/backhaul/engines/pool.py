"""The agent's end: long-lived worker processes, lent to one transfer each, killed when stuck.

A worker that crashes or hangs costs its transfer one attempt and nothing else. The agent never
waits on a target or on an S3 body itself, so nothing in native code can stop its heartbeats.
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from backhaul.core.errors import BackhaulError, OutageError, TransientError
from backhaul.core.events import WorkerReplaced
from backhaul.core.model import FileStatus, Location, StagedObject, VerifyLevel
from backhaul.core.ports import Emit, Held, Progress, Rename, StageTask
from backhaul.engines.wire import (
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

WINDOW_OBJECTS = 2000  # tasks a worker may have open; with the plan's pages, the memory bound
CANCEL_WAIT_S = 15.0
EXIT_WAIT_S = 5.0


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How many workers there are and when one is stuck.

    Attributes:
        workers: Processes at most; one transfer each.
        stall_timeout_s: A busy worker without a byte or a finished call for this long is killed.
        command: argv of a worker; the pipe's file descriptor is appended.
        configuration: Sent first; must pickle; holds no secret.
        environment: Of a worker for this user (`run_as` of a route); None: the agent's own.
    """

    workers: int
    stall_timeout_s: float
    command: tuple[str, ...]
    configuration: Any
    environment: Callable[[str | None], Mapping[str, str]] | None = None


class WorkerPool:
    """Implements `ports.TargetPool`."""

    def __init__(self, settings: PoolSettings, emit: Emit) -> None:
        self._settings = settings
        self._emit = emit
        self._free: list[WorkerProcess] = []
        self._all: set[WorkerProcess] = set()
        self._places = threading.BoundedSemaphore(settings.workers)
        self._lock = threading.Lock()
        self._is_aborted = False
        self._aborted = threading.Event()

    def warm_up(self) -> None:
        """Start one worker ahead of the first transfer."""
        with self._lock:
            if not self._all:
                self._free.append(self._spawn())

    @contextlib.contextmanager
    def session(self, filesystem: str, user: str | None = None) -> Iterator[WorkerSession]:
        """Lend one process to the calling thread; a process serves one user all its life."""
        with self._places:
            worker = self._take(user)
            session = WorkerSession(worker, filesystem, self._settings.stall_timeout_s)
            try:
                yield session
            finally:
                self._give_back(worker, session)

    def wait_for_abort(self, seconds: float) -> bool:
        """Wait this long for `abort`; True once it was called."""
        return self._aborted.wait(seconds)

    def abort(self) -> None:
        """Kill every worker at once and lend no more."""
        self._aborted.set()
        with self._lock:
            self._is_aborted = True
            workers = list(self._all)
        for worker in workers:
            worker.kill()

    def close(self) -> None:
        """End all workers; they have nothing to finish."""
        self.abort()
        with self._lock:
            workers, self._all, self._free = list(self._all), set(), []
        for worker in workers:
            worker.close()

    def _take(self, user: str | None) -> WorkerProcess:
        with self._lock:
            if self._is_aborted:
                raise TransientError("E_STOPPED", "the agent is stopping")
            mine = [worker for worker in self._free if worker.user == user]
            while mine:
                worker = mine.pop()
                self._free.remove(worker)
                if worker.is_alive:
                    return worker
                self._drop(worker)
            if len(self._all) >= self._settings.workers and self._free:
                # Full, and this one is idle as another user: a process cannot change its user.
                self._drop(self._free.pop(0))
            return self._spawn(user)

    def _drop(self, worker: WorkerProcess) -> None:
        self._all.discard(worker)
        worker.close()

    def _spawn(self, user: str | None = None) -> WorkerProcess:
        settings = self._settings
        worker = WorkerProcess(
            settings.command,
            settings.configuration,
            max(1, int(settings.stall_timeout_s)),
            user=user,
            environment=settings.environment(user) if settings.environment else None,
        )
        self._all.add(worker)
        return worker

    def _give_back(self, worker: WorkerProcess, session: WorkerSession) -> None:
        if session.fault:
            worker.kill()
            self._emit(WorkerReplaced(pid=worker.pid, why=session.fault))
        with self._lock:
            is_usable = not session.fault and not self._is_aborted
            if is_usable:
                self._free.append(worker)
            else:
                self._all.discard(worker)
        if not is_usable:
            worker.close()  # outside the lock: a process in the kernel's hands may take its time


class WorkerProcess:
    """One child process and its pipe.

    `subprocess`, not `multiprocessing`: nothing of the agent is imported or forked into it. It has
    a session of its own, so that a Ctrl-C meant for the agent does not reach it.
    """

    def __init__(
        self,
        command: Sequence[str],
        configuration: Any,
        send_timeout_s: int,
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.user = user
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [*command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr if _has_descriptor(sys.stderr) else subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                env=None if environment is None else dict(environment),
                start_new_session=True,
            )
        # A stopped process does not read: a send must not wait for it longer than a stall may last.
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", send_timeout_s, 0))
        self.pipe = Connection(ours.detach())
        # `Connection.poll` would build a selector for every word.
        self._poller = select.poll()
        self._poller.register(self.pipe, select.POLLIN)
        self.pid = self._process.pid
        self.stagings = 0
        self.send(configuration)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def has_words(self, wait_s: float) -> bool:
        """Whether `pipe.recv` would find something, or the end, within `wait_s` seconds."""
        return bool(self._poller.poll(wait_s * 1000))

    def send(self, words: Downward | Any) -> None:
        try:
            self.pipe.send(words)
        except OSError:
            # Died, or stopped reading half-way through: either way it is of no more use, and the
            # next receive says how it ended.
            self.kill()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        self.pipe.close()
        try:
            self._process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            # One that even this does not end hangs in the kernel: nobody waits for it.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(EXIT_WAIT_S)

    def death(self) -> str:
        """How it ended, for people."""
        try:
            status = self._process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            return "closed its pipe"
        return f"killed by signal {-status}" if status < 0 else f"exited with {status}"


def _has_descriptor(stream: Any) -> bool:
    try:
        os.fstat(stream.fileno())
    except (AttributeError, OSError, ValueError):
        return False
    return True


class WorkerSession:
    """One transfer's use of one worker; implements `ports.TargetSession`.

    Attributes:
        fault: Why the worker must be replaced afterwards: `died`, `stalled`, or empty.
    """

    def __init__(self, worker: WorkerProcess, filesystem: str, stall_timeout_s: float) -> None:
        self._worker = worker
        self._filesystem = filesystem
        self._stall_timeout_s = stall_timeout_s
        self._moved = 0
        self._objects = 0
        self._activity = -1
        self._active_s = time.monotonic()
        self.fault = ""

    @property
    def progress(self) -> Progress:
        return Progress(size_bytes=self._moved, objects=self._objects)

    # ------------------------------------------------------------ calls

    def status(self, locations: Sequence[Location]) -> list[FileStatus | None]:
        result: list[FileStatus | None] = self._call("status", _paths(locations))
        return result

    def existing_ancestor(self, location: Location) -> Location:
        path: str = self._call("existing_ancestor", location.path)
        return Location(scheme=location.scheme, authority=location.authority, path=path)

    def fence(self, staging_root: Location, epoch: int) -> int:
        highest: int = self._call("fence", staging_root.path, epoch)
        return highest

    def fence_keeping(
        self, staging_root: Location, kept: int, epoch: int
    ) -> tuple[int, int | None]:
        found: tuple[int, int | None] = self._call("fence_keeping", staging_root.path, kept, epoch)
        return found

    def take_over(self, staging_root: Location, kept: int, epoch: int) -> None:
        self._call("take_over", staging_root.path, kept, epoch)

    def count_files(self, directory: Location) -> tuple[int, int]:
        counts: tuple[int, int] = self._call("count_files", directory.path)
        return counts

    def prune(self, directory: Location, planned: Sequence[str]) -> int:
        removed: int = self._call("prune", directory.path, list(planned))
        return removed

    def write_whole(self, location: Location, content: bytes) -> None:
        self._call("write_whole", location.path, content)

    def publish_tree(self, staged: Location, target: Location) -> bool:
        is_done: bool = self._call("publish_tree", staged.path, target.path)
        return is_done

    def publish_files(self, renames: Sequence[Rename], *, replace: bool) -> None:
        pairs = [(one.source.path, one.target.path) for one in renames]
        self._call("publish_files", pairs, replace)

    def contents(
        self,
        locations: Sequence[Location],
        *,
        algorithms: Sequence[str] = (),
        is_read: bool = False,
        passes_over: bool = False,
    ) -> list[Held | None]:
        asked = _paths(locations), is_read, tuple(algorithms), passes_over
        result: list[Held | None] = self._call("contents", *asked)
        return result

    def vouched(
        self, tasks: Sequence[StageTask], finals: Sequence[Location]
    ) -> list[StagedObject | None]:
        result: list[StagedObject | None] = self._call("vouched", tuple(tasks), _paths(finals))
        return result

    def remove_staging(self, staging_root: Location, *, up_to: int | None = None) -> None:
        self._call("remove_staging", staging_root.path, up_to)

    def _call(self, method: str, *arguments: Any) -> Any:
        self._refuse_use_after_fault()
        # Until the answer is here the pipe is of no use to anybody else: a Ctrl-C in between must
        # not leave it to the next call.
        self.fault = "interrupted"
        self._worker.send(Call(filesystem=self._filesystem, method=method, arguments=arguments))
        self._active_s = time.monotonic()
        while True:
            words = self._receive()
            if isinstance(words, Answer):
                self.fault = ""
                if words.error is not None:
                    raise words.error
                return words.value
            if words is None and self._is_stalled():
                self.fault = "stalled"
                # A call is one question to the file system: no answer is its fault, not the
                # message's.
                raise OutageError.of(
                    "target",
                    "E_TARGET_STALLED",
                    f"{self._filesystem} gave no answer to {method} for "
                    f"{self._stall_timeout_s:.0f} s",
                    hint="check the NameNode or the mount; the transfer waits and goes on",
                )

    # ------------------------------------------------------------ staging

    def stage(
        self,
        tasks: Iterator[Sequence[StageTask]],
        directory: Location,
        verify: VerifyLevel,
    ) -> Iterator[Sequence[StagedObject]]:
        """See the port. Yields an empty batch now and then, so that progress can be shown."""
        self._refuse_use_after_fault()
        self._moved = self._objects = 0
        self._worker.stagings += 1
        self._worker.send(
            StageBegin(
                number=self._worker.stagings,
                filesystem=self._filesystem,
                directory=directory.path,
                verify=verify,
            )
        )
        is_over = False
        try:
            for words in self._exchange(tasks):
                match words:
                    case StageOver(error=error):
                        is_over = True
                        if error is not None:
                            raise error
                    case Staged(objects=objects):
                        self._objects += len(objects)
                        yield objects
                    case _:
                        yield ()
        except (KeyboardInterrupt, SystemExit):
            self.fault = "interrupted"  # maybe in the middle of a word
            raise
        finally:
            if not is_over and not self.fault:
                self._cancel()

    def _exchange(self, tasks: Iterator[Sequence[StageTask]]) -> Iterator[Upward]:
        """Feed the worker within the window and pass on what it says, until it is over."""
        open_objects = 0
        has_more = True
        self._active_s = time.monotonic()
        while True:
            while has_more and open_objects < WINDOW_OBJECTS:
                chunk = next(tasks, None)
                self._active_s = time.monotonic()  # listing is the agent's time, not the worker's
                if chunk is None:
                    has_more = False
                    self._worker.send(StageEnd())
                elif chunk:
                    open_objects += len(chunk)
                    self._worker.send(StageTasks(tasks=tuple(chunk)))
                if self._worker.has_words(0):
                    break
            words = self._receive()
            if words is None:
                if self._is_stalled():
                    self.fault = "stalled"
                    raise TransientError(
                        "E_WORKER_STALLED",
                        f"worker {self._worker.pid} moved nothing for "
                        f"{self._stall_timeout_s:.0f} s and was killed",
                        hint="S3 or the target hangs; the attempt is repeated",
                    )
                continue
            if isinstance(words, (Staged, StageOver)) and words.number != self._worker.stagings:
                continue  # of a call that was given up
            if isinstance(words, Staged):
                open_objects -= len(words.objects)
            yield words
            if isinstance(words, StageOver):
                return

    def _cancel(self) -> None:
        """The agent gave up: wait until nothing of the call moves, else replace the worker."""
        self._worker.send(Cancel())
        deadline_s = time.monotonic() + CANCEL_WAIT_S
        try:
            while time.monotonic() < deadline_s:
                if isinstance(self._receive(), StageOver):
                    return
        except BackhaulError:
            return  # died: `fault` says so
        self.fault = "stalled"

    # ------------------------------------------------------------ the pipe

    def _receive(self) -> Upward | None:
        """The next words; None for a tick without activity or after a second of silence."""
        try:
            if not self._worker.has_words(1.0):
                return None
            words: Upward = self._worker.pipe.recv()
        except (EOFError, OSError) as error:
            self.fault = "died"
            raise TransientError(
                "E_WORKER_DIED",
                f"worker {self._worker.pid} {self._worker.death()}",
                hint="the attempt is repeated by another worker",
            ) from error
        if isinstance(words, (Staged, Tick)):
            self._moved = max(self._moved, words.size_bytes)
            if words.activity != self._activity:
                self._activity = words.activity
                self._active_s = time.monotonic()
            elif isinstance(words, Tick):
                return None
        return words

    def _is_stalled(self) -> bool:
        return time.monotonic() - self._active_s > self._stall_timeout_s

    def _refuse_use_after_fault(self) -> None:
        if self.fault:
            raise TransientError("E_WORKER_DIED", f"worker {self._worker.pid} {self.fault}")


def _paths(locations: Sequence[Location]) -> list[str]:
    return [location.path for location in locations]
