"""The life of a worker process: serve the pipe, tick, and die with the agent.

The main thread only reads the pipe, so it notices at once when the agent is gone, whatever native
calls hang in other threads; the process then ends at once. All state that matters is in the ledger
and in staging names, so that is always safe.
"""

from __future__ import annotations

import contextlib
import os
import queue
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

from backhaul.core.checksums import Digest
from backhaul.core.errors import BackhaulError, TransientError
from backhaul.core.objects import StagedObject
from backhaul.core.ports import SourceReader, StageTask, TargetFs
from backhaul.core.rate_limit import Allowance
from backhaul.engines.asking import Asking
from backhaul.engines.checksum_comparison import Closed
from backhaul.engines.counter import Counter
from backhaul.engines.native import Cancelled, Stager
from backhaul.engines.operations import TargetOperations
from backhaul.engines.pipe import Pipe, frame_of
from backhaul.engines.read_retries import RetryingReader
from backhaul.engines.tree_walk import TreeWalks
from backhaul.engines.tuning import Shared, Tuning
from backhaul.engines.wire import (
    TICK_S,
    Activity,
    Answer,
    Call,
    Cancel,
    Downward,
    StageAllowed,
    StageBegin,
    Staged,
    StageEnd,
    StageOver,
    StageTasks,
    Tick,
    Upward,
)

FLUSH_OBJECTS = 100
PROVE_OBJECTS = 1000  # closed files in one call for the checksums that the target keeps


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a worker is made of; the composition root knows the concrete classes.

    Attributes:
        reader: Made at the first staging call: status and renaming need no S3.
        target: File system URI to the target.
        tuning: File system URI to the numbers for it.
        allowance: The byte-rate limit over all workers; None: there is none.
    """

    reader: Callable[[], SourceReader]
    target: Callable[[str], TargetFs]
    new_digest: Callable[[str], Digest]
    tuning: Callable[[str], Tuning]
    allowance: Allowance | None = None


def serve(pipe: Pipe, parts: Parts) -> None:
    """Work until the agent closes the pipe."""
    worker = _Worker(pipe, parts)
    threading.Thread(target=worker.tick_for_ever, name="tick", daemon=True).start()
    try:
        while True:
            worker.accept(pipe.receive())
    except (EOFError, OSError):
        # The agent is gone. Threads may hang in native code: do not wait for them.
        os._exit(0)


@dataclass(kw_only=True)
class _Running:
    """A call or staging call under way, as far as a tick reports it."""

    number: int
    counter: Counter

    @property
    def activity(self) -> Activity:
        moved, read_back = self.counter.size_bytes, self.counter.read_back_bytes
        return Activity(
            number=self.number,
            size_bytes=moved,
            received_bytes=self.counter.received_bytes,
            repeated_bytes=self.counter.repeated_bytes,
            read_back_bytes=read_back,
            count=moved + read_back + self.counter.calls,
        )


class _Worker:
    def __init__(self, pipe: Pipe, parts: Parts) -> None:
        self._pipe = pipe
        self._parts = parts
        self._sending = threading.Lock()
        self._targets: dict[str, TargetFs] = {}
        self._walks: defaultdict[str, TreeWalks] = defaultdict(TreeWalks)
        self._shared: Shared | None = None
        # One thread carries out all orders, in order: tasks follow their `StageBegin`.
        self._orders = ThreadPoolExecutor(1, thread_name_prefix="call")
        self._call_running: _Running | None = None
        self._staging: _Staging | None = None
        self._quiet = threading.Event()

    def accept(self, order: Downward) -> None:
        """Hand it to the one thread that carries out orders; returns at once.

        The thread that reads the pipe does nothing else and sends nothing. So it never waits for
        the agent, and the agent's own sends always end.
        """
        match order:
            case Call():
                self._orders.submit(self._call, order)
            case StageBegin():
                self._orders.submit(self._begin, order)
            case StageTasks() | StageEnd() | StageAllowed() | Cancel():
                self._orders.submit(self._feed, order)

    def tick_for_ever(self) -> None:
        while not self._quiet.wait(TICK_S):
            staging, call = self._staging, self._call_running
            try:
                if staging is not None:
                    staging.flush()
                running = [call] if call is not None else []
                if staging is not None:
                    running.append(staging.running)
                self.send(Tick(activities=tuple(one.activity for one in running)))
            except OSError:
                return  # the main thread sees the same and ends the process

    def send(self, message: Upward) -> None:
        self._send_frame(frame_of(message))

    def _send_frame(self, frame: bytes) -> None:
        with self._sending:
            self._pipe.send_frame(frame)

    def _target(self, filesystem: str) -> TargetFs:
        if filesystem not in self._targets:
            self._targets[filesystem] = self._parts.target(filesystem)
        return self._targets[filesystem]

    @cached_property
    def _reader(self) -> SourceReader:
        """Made when first needed, by the thread that carries out all orders."""
        return self._parts.reader()

    def _shared_of(self, tuning: Tuning) -> Shared:
        """Made when first needed, by the same thread."""
        if self._shared is None:
            self._shared = Shared.of(tuning, self._parts.allowance)
        return self._shared

    def _call(self, call: Call) -> None:
        counter = Counter()
        self._call_running = _Running(number=call.number, counter=counter)
        try:
            with _bugs_as_errors():
                # Pickled here: a result that cannot be is an error, not a call without an answer.
                frame = frame_of(Answer(number=call.number, value=self._result(call, counter)))
        except BackhaulError as error:
            frame = frame_of(Answer(number=call.number, error=error))
        self._call_running = None
        self._send_frame(frame)

    def _result(self, call: Call, counter: Counter) -> Any:
        target = self._target(call.filesystem)
        shared = self._shared_of(self._parts.tuning(call.filesystem))

        def sleep(seconds: float) -> None:
            counter.add(0)  # not stuck: S3 is given time
            time.sleep(seconds)

        def reader() -> SourceReader:
            return RetryingReader(self._reader, shared.s3_gate, sleep)

        operations = TargetOperations(
            target,
            self._parts.new_digest,
            counter,
            reader,
            walks=self._walks[call.filesystem],
        )
        return call.operation(operations, *call.arguments, **call.named)

    def _begin(self, begin: StageBegin) -> None:
        try:
            with _bugs_as_errors():
                self._staging = self._new_staging(begin)
        except BackhaulError as error:
            self.send(StageOver(number=begin.number, error=error))

    def _new_staging(self, begin: StageBegin) -> _Staging:
        if self._staging is not None:
            raise AssertionError("one staging call at a time")
        tuning = self._parts.tuning(begin.filesystem)
        running = _Running(number=begin.number, counter=Counter())
        asking = Asking(begin.number, self.send)
        stager = Stager(
            reader=self._reader,
            target=self._target(begin.filesystem),
            new_digest=self._parts.new_digest,
            tuning=tuning,
            counter=running.counter,
            directory=begin.directory,
            verify=begin.verify,
            shared=self._shared_of(tuning),
        )
        stager.more = asking.more if begin.asks else None
        return _Staging(self, stager, asking, tuning.threads, running)

    def _feed(self, order: StageTasks | StageEnd | StageAllowed | Cancel) -> None:
        staging = self._staging
        if staging is None or staging.running.number != order.number:
            return  # it is over, and its one `StageOver` was sent
        match order:
            case StageTasks(tasks=tasks):
                staging.add(tasks)
            case StageEnd():
                staging.end()
            case StageAllowed(order=number):
                staging.asking.allowed(number)
            case Cancel():
                staging.cancel()

    def over(self, staging: _Staging, end: StageOver) -> None:
        """The staging call is finished, as its last thread reports."""
        if self._staging is staging:
            self._staging = None
        self.send(end)


class _Staging:
    """One staging call: its threads, what they finished, and its first error."""

    def __init__(
        self, worker: _Worker, stager: Stager, asking: Asking, threads: int, running: _Running
    ) -> None:
        self.running = running
        self.asking = asking
        self._worker = worker
        self._stager = stager
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="copy")
        self._lock = threading.Lock()
        self._finished: list[StagedObject] = []
        # Closed files on their way to their proof: all that are ready make the next batch, so one
        # call to the target serves many files and copying goes on meanwhile.
        self._closed: queue.SimpleQueue[Closed | None] = queue.SimpleQueue()
        proving = partial(_until_gone, self._prove_all)
        self._proving = threading.Thread(target=proving, name="prove", daemon=True)
        self._proving.start()
        self._open = 1  # tasks under way, and one for the end of the list
        self._has_end = False
        self._reported = 0
        self._error: BackhaulError | None = None

    def add(self, tasks: tuple[StageTask, ...]) -> None:
        with self._lock:
            if self._has_end:
                # It failed or was cancelled, and may be finishing: a task more would end it twice.
                return
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
        self.asking.cancel()
        self.end()

    def flush(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
            if finished:
                # Under the lock, so that no batch overtakes another or the end.
                self._reported += len(finished)
                running = self.running
                self._worker.send(
                    Staged(
                        number=running.number,
                        objects=tuple(finished),
                        activity=running.activity,
                    )
                )

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
                with _bugs_as_errors():
                    results = self._stager.prove(batch)
        except BackhaulError as error:
            self._fail(error)
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
        """Work on one object: its error ends the call, and it is counted off in any case."""
        try:
            with _bugs_as_errors(), contextlib.suppress(Cancelled):
                yield
        except BackhaulError as error:
            self._fail(error)
        finally:
            self._close_one()

    def _done(self, staged: StagedObject) -> None:
        with self._lock:
            self._finished.append(staged)

    def _fail(self, error: BackhaulError) -> None:
        with self._lock:
            self._error = self._error or error
        self._stager.cancelled.set()
        self.asking.cancel()  # nothing more is reserved, nor refused, for a call that fails
        # The agent may still be listing: end now, so that it stops; later tasks are dropped.
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
            finishing = partial(_until_gone, self._finish)
            threading.Thread(target=finishing, name="finish").start()

    def _finish(self) -> None:
        error = self._error
        try:
            with _bugs_as_errors():
                self._threads.shutdown(wait=True)
                self._closed.put(None)
                self._proving.join()
                self._stager.close()
                if error is None and not self._stager.cancelled.is_set():
                    self._stager.sync_directories()
        except BackhaulError as raised:
            error = raised
        self.flush()
        end = StageOver(
            number=self.running.number,
            objects=self._reported,
            error=error,
            activity=self.running.activity,
        )
        self._worker.over(self, end)


def _until_gone(work: Callable[[], None]) -> None:
    """In a thread of its own, which ends without a word where what it sends meets no agent."""
    with contextlib.suppress(OSError):  # the main thread sees the same and ends the process
        work()


@contextmanager
def _bugs_as_errors() -> Iterator[None]:
    """A bug in the worker becomes an error that spends an attempt."""
    try:
        yield
    except BackhaulError:
        raise
    except BaseException as error:  # a Rust panic is no Exception
        raise TransientError(
            "E_BUG",
            f"unexpected {type(error).__name__} in the worker: {error}",
            hint="this is a defect in Backhaul or a library; the attempt is repeated",
        ) from error
