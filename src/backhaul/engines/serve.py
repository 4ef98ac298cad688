"""The life of a worker process: obey the pipe, tick, and die with the agent.

The main thread only reads the pipe, so it notices at once when the agent is gone, whatever native
calls hang in other threads; the process then ends without a word. All state that matters is in the
ledger and in staging names, so that is always safe.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection

from backhaul.core.bandwidth import Allowance
from backhaul.core.errors import BackhaulError, TransientError
from backhaul.core.model import StagedObject
from backhaul.core.ports import SourceReader, StageTask, TargetFs
from backhaul.core.verification import Digest
from backhaul.engines.native import Cancelled, Shared, Stager, Tuning
from backhaul.engines.operations import TargetOperations
from backhaul.engines.paced import PacedReader
from backhaul.engines.proving import Closed, Counter
from backhaul.engines.wire import (
    TICK_S,
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

FLUSH_OBJECTS = 100
PROVE_OBJECTS = 1000  # closed files in one question to the target


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a worker is made of; the composition root knows the concrete classes.

    Attributes:
        reader: Made at the first staging call: looking and renaming need no S3.
        target: File system URI to the target.
        tuning: File system URI to the numbers for it.
        allowance: The byte-rate limit over all workers; None: there is none.
    """

    reader: Callable[[], SourceReader]
    target: Callable[[str], TargetFs]
    new_digest: Callable[[str], Digest]
    tuning: Callable[[str], Tuning]
    allowance: Allowance | None = None


def serve(pipe: Connection, parts: Parts) -> None:
    """Work until the agent closes the pipe."""
    worker = _Worker(pipe, parts)
    threading.Thread(target=worker.tick_for_ever, name="tick", daemon=True).start()
    try:
        while True:
            worker.obey(pipe.recv())
    except (EOFError, OSError):
        # The agent is gone. Threads may hang in native code: do not wait for them.
        os._exit(0)


class _Worker:
    def __init__(self, pipe: Connection, parts: Parts) -> None:
        self._pipe = pipe
        self._parts = parts
        self._sending = threading.Lock()
        self._counter = Counter()
        self._targets: dict[str, TargetFs] = {}
        self._reader: SourceReader | None = None
        self._shared: Shared | None = None
        self._calls = ThreadPoolExecutor(1, thread_name_prefix="call")
        self._staging: _Staging | None = None
        self._number = 0
        self._quiet = threading.Event()

    def obey(self, order: Downward) -> None:
        match order:
            case Call():
                self._calls.submit(self._call, order)
            case StageBegin():
                self._calls.submit(self._begin, order)
            case StageTasks() | StageEnd() | Cancel():
                # Through the same single thread, so that they follow the `StageBegin`.
                self._calls.submit(self._feed, order)

    def tick_for_ever(self) -> None:
        while not self._quiet.wait(TICK_S):
            staging = self._staging
            try:
                if staging is not None:
                    staging.flush()
                self.send(Tick(size_bytes=self._moved, activity=self._activity))
            except OSError:
                return  # the main thread sees the same and ends the process

    @property
    def _activity(self) -> int:
        return self._counter.size_bytes + self._counter.calls

    @property
    def _moved(self) -> int:
        staging = self._staging
        return 0 if staging is None else self._counter.size_bytes - staging.started_at_bytes

    def send(self, words: Upward) -> None:
        with self._sending:
            self._pipe.send(words)

    def _target(self, filesystem: str) -> TargetFs:
        if filesystem not in self._targets:
            self._targets[filesystem] = self._parts.target(filesystem)
        return self._targets[filesystem]

    def _the_reader(self) -> SourceReader:
        """Made when first needed, by the thread that carries out all orders."""
        if self._reader is None:
            self._reader = self._parts.reader()
        return self._reader

    def _what_is_shared(self, tuning: Tuning) -> Shared:
        """Made when first needed, by the same thread."""
        if self._shared is None:
            self._shared = Shared.of(tuning, self._parts.allowance)
        return self._shared

    def _nap(self, seconds: float) -> None:
        self._counter.add(0)  # not stuck: S3 is given time
        time.sleep(seconds)

    def _call(self, call: Call) -> None:
        try:
            target = self._target(call.filesystem)
            shared = self._what_is_shared(self._parts.tuning(call.filesystem))

            def reader() -> SourceReader:
                return PacedReader(self._the_reader(), shared.s3_gate, self._nap)

            operations = TargetOperations(target, self._parts.new_digest, self._counter, reader)
            value = getattr(operations, call.method)(*call.arguments)
        except BackhaulError as error:
            self.send(Answer(error=error))
        except BaseException as error:  # noqa: BLE001 - carried to the agent
            self.send(Answer(error=crashed(error)))
        else:
            self._counter.add(0)
            self.send(Answer(value=value))

    def _begin(self, begin: StageBegin) -> None:
        try:
            tuning = self._parts.tuning(begin.filesystem)
            stager = Stager(
                reader=self._the_reader(),
                target=self._target(begin.filesystem),
                new_digest=self._parts.new_digest,
                tuning=tuning,
                counter=self._counter,
                directory=begin.directory,
                verify=begin.verify,
                shared=self._what_is_shared(tuning),
            )
            self._number = begin.number
            self._staging = _Staging(self, stager, tuning.threads, self._counter.size_bytes)
        except BackhaulError as error:
            self.send(StageOver(number=begin.number, error=error))
        except BaseException as error:  # noqa: BLE001 - carried to the agent
            self.send(StageOver(number=begin.number, error=crashed(error)))

    def _feed(self, order: StageTasks | StageEnd | Cancel) -> None:
        staging = self._staging
        if staging is None:
            return  # it ended already and said so: one `StageOver` for each `StageBegin`
        match order:
            case StageTasks(tasks=tasks):
                staging.add(tasks)
            case StageEnd():
                staging.end()
            case Cancel():
                staging.cancel()

    def over(self, error: BackhaulError | None) -> None:
        """The staging call is finished, as its last thread reports."""
        self._staging = None
        self.send(StageOver(number=self._number, error=error))

    def report(self, objects: list[StagedObject]) -> None:
        self.send(
            Staged(
                number=self._number,
                objects=tuple(objects),
                size_bytes=self._moved,
                activity=self._activity,
            )
        )


class _Staging:
    """One staging call: its threads, what they finished, and its first error."""

    def __init__(
        self, worker: _Worker, stager: Stager, threads: int, started_at_bytes: int
    ) -> None:
        self.started_at_bytes = started_at_bytes
        self._worker = worker
        self._stager = stager
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="copy")
        self._lock = threading.Lock()
        self._finished: list[StagedObject] = []
        # Closed files on their way to their proof: whatever has gathered makes the next batch, so
        # one question to the target serves many files and copying goes on meanwhile.
        self._closed: queue.SimpleQueue[Closed | None] = queue.SimpleQueue()
        self._proving = threading.Thread(target=self._prove_all, name="prove", daemon=True)
        self._proving.start()
        self._open = 1  # tasks under way, and one for the end of the list
        self._has_end = False
        self._error: BackhaulError | None = None

    def add(self, tasks: tuple[StageTask, ...]) -> None:
        with self._lock:
            self._open += len(tasks)
        for task in tasks:
            self._threads.submit(self._copy, task)

    def end(self) -> None:
        with self._lock:
            if self._has_end:
                return
            self._has_end = True
        self._close_one()

    def cancel(self) -> None:
        self._stager.cancelled.set()
        self.end()

    def flush(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
            if finished:
                # Under the lock, so that no batch overtakes another or the end.
                self._worker.report(finished)

    def _copy(self, task: StageTask) -> None:
        with self._settling():
            if self._stager.cancelled.is_set():
                return
            if not self._stager.is_batched:
                self._done(self._stager.stage(task))
                return
            closed = self._stager.copy(task)
            with self._lock:
                self._open += 1
            self._closed.put(closed)

    def _copy_again(self, closed: Closed, error: BackhaulError) -> None:
        with self._settling():
            again = self._stager.again(closed, error)
            with self._lock:
                self._open += 1
            self._closed.put(again)

    def _prove_all(self) -> None:
        """Batch after batch, until the end of the call."""
        while (first := self._closed.get()) is not None:
            batch = [first]
            with contextlib.suppress(queue.Empty):
                while len(batch) < PROVE_OBJECTS:
                    one = self._closed.get_nowait()
                    if one is None:
                        self._closed.put(None)  # after this batch
                        break
                    batch.append(one)
            self._prove(batch)

    def _prove(self, batch: Sequence[Closed]) -> None:
        results: Sequence[StagedObject | BackhaulError | None] = [None] * len(batch)
        try:
            if not self._stager.cancelled.is_set():
                results = self._stager.prove(batch)
        except BackhaulError as error:
            self._fail(error)
        except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception
            self._fail(crashed(error))
        for closed, result in zip(batch, results, strict=True):
            match result:
                case StagedObject():
                    with self._settling():
                        self._done(result)
                case BackhaulError():
                    self._threads.submit(self._copy_again, closed, result)
                case None:
                    self._close_one()

    @contextmanager
    def _settling(self) -> Iterator[None]:
        """One object's turn: its error ends the call, and whatever happens it is counted off."""
        try:
            yield
        except Cancelled:
            pass
        except BackhaulError as error:
            self._fail(error)
        except BaseException as error:  # noqa: BLE001 - a Rust panic is no Exception
            self._fail(crashed(error))
        finally:
            self._close_one()

    def _done(self, staged: StagedObject) -> None:
        with self._lock:
            self._finished.append(staged)

    def _fail(self, error: BackhaulError) -> None:
        with self._lock:
            self._error = self._error or error
        self._stager.cancelled.set()
        # The agent may still be listing: tell it by ending now; later tasks are dropped.
        self.end()

    def _close_one(self) -> None:
        with self._lock:
            self._open -= 1
            is_last = self._open == 0
            is_full = len(self._finished) >= FLUSH_OBJECTS
        if is_full:
            self.flush()
        if is_last:
            # From a thread of its own: this one belongs to the pool that is shut down.
            threading.Thread(target=self._finish, name="finish").start()

    def _finish(self) -> None:
        error = self._error
        try:
            self._threads.shutdown(wait=True)
            self._closed.put(None)
            self._proving.join()
            self._stager.close()
            if error is None and not self._stager.cancelled.is_set():
                self._stager.sync_directories()
        except BackhaulError as raised:
            error = raised
        except BaseException as raised:  # noqa: BLE001 - carried to the agent
            error = crashed(raised)
        self.flush()
        self._worker.over(error)


def crashed(error: BaseException) -> TransientError:
    """A bug in the worker, as an error that spends an attempt."""
    return TransientError(
        "E_BUG",
        f"unexpected {type(error).__name__} in the worker: {error}",
        hint="this is a defect in Backhaul or a library; the attempt is repeated",
    )
