"""One transfer's use of one worker: calls, and staging calls with calls in between.

A hung worker is found here: while a call or a staging call waits, with or without an outage
(`_check_stalled`), and where it leaves a cancel unanswered (`_cancel`). After which time each, and
who kills it, is in `engines.hung_workers`. How messages find their call is `engines.exchange`;
which transfer gets which process is `engines.pool`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Concatenate, Protocol, cast

from backhaul.core.errors import BackhaulError, OutageError, TransientError
from backhaul.core.model import Location, VerifyLevel
from backhaul.core.objects import StagedObject
from backhaul.core.ports import (
    Endpoint,
    Progress,
    StageTask,
    Watch,
)
from backhaul.engines.calls import Arguments, Result, TargetCalls
from backhaul.engines.exchange import Conversation, Exchange, Kind
from backhaul.engines.hung_workers import CANCEL_WAIT_S, READ_WAIT_S, HangCheck
from backhaul.engines.operations import TargetOperations
from backhaul.engines.wire import (
    Answer,
    Call,
    Cancel,
    Downward,
    StageAllowed,
    StageBegin,
    Staged,
    StageEnd,
    StageMore,
    StageOver,
    StageTasks,
    Upward,
)

WINDOW_OBJECTS = 2000  # tasks a worker may have open; with the plan's pages, the memory bound


class Worker(Protocol):
    """What a session needs of the process it is lent."""

    exchange: Exchange
    pid: int

    def send(self, message: Downward) -> None:
        """Send; where that is impossible, the next read of the exchange fails."""

    def death(self) -> str:
        """How it ended, for people."""


# What is renamed or removed is so for every process; bytes into the own staging are not. A file of
# Backhaul's own is written to staging, too; but its operation replaces whatever has its path.
_SEEN_BY_OTHERS: frozenset[object] = frozenset(
    {
        TargetOperations.publish_tree,
        TargetOperations.publish_files,
        TargetOperations.remove_staging,
        TargetOperations.fence,
        TargetOperations.fence_keeping,
        TargetOperations.take_over,
        TargetOperations.prune,
        TargetOperations.write_whole,
    }
)


class WorkerSession(TargetCalls):
    """Implements `ports.TargetSession`; used by one thread.

    Attributes:
        fault: Why the worker must be replaced afterwards: `died`, `stalled`, `interrupted`,
            `protocol`, or empty.
    """

    def __init__(
        self,
        worker: Worker,
        filesystem: str,
        stall_timeout_s: float,
        *,
        probe: Callable[[str | None, Endpoint | None], Sequence[OutageError]] | None = None,
        require: Callable[[], None] = lambda: None,
    ) -> None:
        self._worker = worker
        self._exchange = worker.exchange
        self._filesystem = filesystem
        self._hang = HangCheck(
            pid=worker.pid, filesystem=filesystem, stall_timeout_s=stall_timeout_s
        )
        self._moved_bytes = 0
        self._received_bytes = self._repeated_bytes = 0  # by staging calls that are over
        self._objects = 0
        self._staging: Conversation | None = None
        self._probe = probe
        self._require = require
        self.fault = ""

    @property
    def progress(self) -> Progress:
        received, repeated = self._received_bytes, self._repeated_bytes
        if self._staging is not None:
            self._moved_bytes = self._staging.size_bytes
            received += self._staging.received_bytes
            repeated += self._staging.repeated_bytes
        return Progress(
            size_bytes=self._moved_bytes,
            objects=self._objects,
            received_bytes=received,
            repeated_bytes=repeated,
        )

    def end(self) -> None:
        """The transfer gives the worker back; a call still open in it makes it useless."""
        if self._exchange.open and not self.fault:
            self.fault = "interrupted"

    # ------------------------------------------------------------ dependencies that are down

    def watched_by(self, watch: Watch) -> None:
        """See the port."""
        self._hang.watch = watch

    def probe(
        self, staging_root: Location | None, endpoint: Endpoint | None
    ) -> Sequence[OutageError]:
        """See the port."""
        root = None if staging_root is None else staging_root.path
        return self._probe(root, endpoint) if self._probe is not None else ()

    def outages(self, root: str | None, endpoint: Endpoint | None) -> Sequence[OutageError]:
        """What this very worker finds; see `probing`."""
        dependency = "hdfs" if self._filesystem.startswith("hdfs:") else "target"
        return self._call(TargetOperations.probe, root, endpoint, dependency)

    # ------------------------------------------------------------ calls

    def _call(
        self,
        operation: Callable[Concatenate[TargetOperations, Arguments], Result],
        /,
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """One call to its answer; a staging call may be open meanwhile and goes on."""
        self._refuse_use_after_fault()
        if operation in _SEEN_BY_OTHERS:
            self._require()
        # Until the answer is here the pipe is of no use to another call: a Ctrl-C in between may
        # have cut a message in two.
        self.fault = "interrupted"
        call = self._exchange.begin(Kind.CALL)
        self._send(
            Call(
                number=call.number,
                filesystem=self._filesystem,
                operation=operation,
                arguments=arguments,
                named=named,
            )
        )
        call.touch()
        while (message := self._next(call)) is None:
            self._check_stalled(call, operation.__name__)
        self.fault = ""
        answer = cast("Answer", message)  # the exchange delivers nothing else to a call
        if answer.error is not None:
            raise answer.error
        return cast("Result", answer.value)

    # ------------------------------------------------------------ staging

    def stage(
        self,
        tasks: Iterator[Sequence[StageTask]],
        directory: Location,
        verify: VerifyLevel,
        more: Callable[[int], None] | None = None,
    ) -> Iterator[Sequence[StagedObject]]:
        """See the port. Yields an empty batch now and then, so that progress can be shown."""
        self._refuse_use_after_fault()
        if self._staging is not None:
            raise AssertionError("one staging call at a time")
        self._moved_bytes = self._objects = 0
        staging = self._staging = self._exchange.begin(Kind.STAGING)
        try:
            self._send(
                StageBegin(
                    number=staging.number,
                    filesystem=self._filesystem,
                    directory=directory.path,
                    verify=verify,
                    asks=more is not None,
                )
            )
            for message in self._converse(staging, tasks):
                match message:
                    case StageOver():
                        self._check_end(message)
                    case Staged(objects=objects):
                        self._objects += len(objects)
                        yield objects
                    case StageMore(order=order, size_bytes=size_bytes) if more is not None:
                        more(size_bytes)  # may make calls, of the ledger
                        staging.restart()
                        self._send(StageAllowed(number=staging.number, order=order))
                    case _:
                        yield ()
        except (KeyboardInterrupt, SystemExit):
            self.fault = "interrupted"  # maybe in the middle of a message
            raise
        finally:
            if not staging.is_over and not self.fault:
                self._cancel(staging)
            self._moved_bytes = staging.size_bytes
            self._received_bytes += staging.received_bytes
            self._repeated_bytes += staging.repeated_bytes
            self._staging = None

    def _converse(
        self, staging: Conversation, tasks: Iterator[Sequence[StageTask]]
    ) -> Iterator[Upward | None]:
        """Feed the worker within the window; yield what it sends, and None for mere progress."""
        open_objects = 0
        has_more = True
        count = staging.count
        while True:
            while has_more and open_objects < WINDOW_OBJECTS:
                chunk = next(tasks, None)  # may make calls
                staging.restart()  # listing is the agent's time, not the worker's
                if chunk is None:
                    has_more = False
                    self._send(StageEnd(number=staging.number))
                elif chunk:
                    open_objects += len(chunk)
                    self._send(StageTasks(number=staging.number, tasks=tuple(chunk)))
                if self._exchange.has_something(staging):
                    break
            message = self._next(staging)
            if message is None:
                has_looked = self._check_stalled(staging, "stage")
                if staging.count == count and not has_looked:
                    continue
            count = staging.count
            if isinstance(message, Staged):
                open_objects -= len(message.objects)
            yield message
            if isinstance(message, StageOver):
                return

    def _check_end(self, end: StageOver) -> None:
        if end.error is not None:
            raise end.error
        if end.objects != self._objects:
            raise TransientError(
                "E_BUG",
                f"the worker staged {end.objects} objects, and {self._objects} were received",
                hint="this is a defect in Backhaul; nothing was published",
            )

    def _cancel(self, staging: Conversation) -> None:
        """The agent gave up: wait until nothing of it runs any more, else replace the worker."""
        self.fault = "interrupted"
        deadline_s = time.monotonic() + CANCEL_WAIT_S
        try:
            self._send(Cancel(number=staging.number))
            while not staging.is_over:
                if time.monotonic() > deadline_s:
                    self.fault = "stalled"
                    return
                self._read()
        except BackhaulError:
            return  # `fault` has the reason
        self.fault = ""

    # ------------------------------------------------------------ the pipe

    def _send(self, message: Downward) -> None:
        try:
            self._worker.send(message)
        except BackhaulError:  # of what was read meanwhile
            self.fault = "protocol"
            raise

    def _next(self, conversation: Conversation) -> Upward | None:
        """The next message of this conversation; None after one read without one."""
        if not conversation.inbox:
            self._read()
        return conversation.inbox.popleft() if conversation.inbox else None

    def _read(self) -> None:
        """Deliver what has arrived, or arrives within `READ_WAIT_S`."""
        try:
            self._exchange.read(READ_WAIT_S)
        except (EOFError, OSError) as error:
            self.fault = "died"
            raise TransientError(
                "E_WORKER_DIED",
                f"worker {self._worker.pid} {self._worker.death()}",
                hint="the attempt is repeated by another worker",
            ) from error
        except BackhaulError:
            self.fault = "protocol"
            raise

    def _check_stalled(self, conversation: Conversation, method: str) -> bool:
        """End a call or a staging call whose worker hangs, by the rules of `hung_workers`.

        A worker that does not answer a cancel is found by `_cancel`.

        Returns:
            Whether a second has passed since the last time: the caller may report progress.
        """
        has_looked, error = self._hang.check(conversation, method)
        if error is not None:
            self.fault = "stalled"
            raise error
        return has_looked

    def _refuse_use_after_fault(self) -> None:
        if self.fault:
            raise TransientError("E_WORKER_DIED", f"worker {self._worker.pid} {self.fault}")
