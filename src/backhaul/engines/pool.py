"""Long-lived worker processes, each lent to one transfer at a time and killed when stuck.

A worker that crashes or hangs costs its transfer one attempt and nothing else. The agent never
waits on a target or on an S3 body itself, so nothing in native code can stop its heartbeats.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from backhaul.core.errors import TransientError
from backhaul.core.facts import WorkerReplaced
from backhaul.core.ports import Emit
from backhaul.engines.exchange import Exchange
from backhaul.engines.pipe import Pipe
from backhaul.engines.prober import Prober
from backhaul.engines.session import WorkerSession
from backhaul.engines.wire import Downward

EXIT_WAIT_S = 5.0
IDLE_LOOKS = 10  # for idle workers, within the time after which they end


@dataclass(frozen=True, kw_only=True)
class PoolSettings:
    """How many workers there are and when one is stuck.

    Attributes:
        workers: Processes at most; one transfer each.
        stall_timeout_s: A busy worker without a byte or a finished call for this long is killed.
            While S3 or the target does not answer, and until they have answered again for some
            15 s, it is killed later: `hung_workers` has all rules.
        idle_s: A worker that nobody has borrowed for this long ends, and its memory is free; the
            next transfer starts another. Seconds, above 0.
        command: argv of a worker; the pipe's file descriptor is appended.
        configuration: Sent first; must pickle; holds no secret.
        environment: Of a worker for this user (`run_as` of a route); None: the agent's own.
    """

    workers: int
    stall_timeout_s: float
    idle_s: float
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
        self._prober = Prober(self._process)
        self.require: Callable[[], None] = lambda: None
        self._idle = threading.Thread(target=self._end_idle, name="idle-workers", daemon=True)

    def warm_up(self) -> None:
        """Start one worker ahead of the first transfer."""
        with self._lock:
            if not self._all:
                self._free.append(self._spawn())
                self._watch_idle()

    @contextlib.contextmanager
    def session(self, filesystem: str, user: str | None = None) -> Iterator[WorkerSession]:
        """Lend one process to the calling thread; a process serves one user all its life."""
        with self._places:
            worker = self._take(user)
            session = WorkerSession(
                worker,
                filesystem,
                self._settings.stall_timeout_s,
                probe=lambda root, endpoint: self._prober.probe(filesystem, user, root, endpoint),
                require=self.require,
            )
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
        self._prober.abort()
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
        if self._idle.ident is not None:
            self._idle.join(2 * EXIT_WAIT_S)  # it may be in the middle of ending one

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
        worker = self._process(user)
        self._all.add(worker)
        return worker

    def _process(self, user: str | None) -> WorkerProcess:
        settings = self._settings
        return WorkerProcess(
            settings.command,
            settings.configuration,
            settings.stall_timeout_s,
            user=user,
            environment=settings.environment(user) if settings.environment else None,
        )

    def _give_back(self, worker: WorkerProcess, session: WorkerSession) -> None:
        session.end()
        if session.fault:
            worker.kill()
            self._emit(WorkerReplaced(pid=worker.pid, why=session.fault))
        with self._lock:
            is_usable = not session.fault and not self._is_aborted
            if is_usable:
                worker.free_since_s = time.monotonic()
                self._free.append(worker)
                self._watch_idle()
            else:
                self._all.discard(worker)
        if not is_usable:
            worker.close()  # outside the lock: a process in the kernel's hands may take its time

    # ------------------------------------------------------------ idle

    def _watch_idle(self) -> None:
        if self._idle.ident is None:
            self._idle.start()

    def _end_idle(self) -> None:
        while not self._aborted.wait(self._settings.idle_s / IDLE_LOOKS):
            latest_s = time.monotonic() - self._settings.idle_s
            with self._lock:
                ended = [worker for worker in self._free if worker.free_since_s <= latest_s]
                self._free = [worker for worker in self._free if worker not in ended]
                self._all.difference_update(ended)
            for worker in ended:
                worker.close()


class WorkerProcess:
    """One child process and its pipe.

    `subprocess`, not `multiprocessing`: nothing of the agent is imported or forked into it. It has
    a session of its own, so that a Ctrl-C meant for the agent does not reach it.
    """

    def __init__(
        self,
        command: Sequence[str],
        configuration: Any,
        send_timeout_s: float,
        *,
        user: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.user = user
        self.free_since_s = time.monotonic()  # of the pool: when nobody borrowed it any longer
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
        self.exchange = Exchange(Pipe(ours), send_timeout_s)
        self.pid = self._process.pid
        self.send(configuration)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def send(self, message: Downward | Any) -> None:
        """Send, or end the process; in that case the next receive reports how it ended."""
        try:
            self.exchange.send(message)
        except (EOFError, OSError):
            # Died, or stopped reading half-way through: either way it is of no more use.
            self.kill()

    def kill(self) -> None:
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        self.exchange.close()
        try:
            self._process.wait(EXIT_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            # One that even this does not end hangs in the kernel and is not waited for.
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
