"""The rules of the pipe, each with a way to remove it; a model that does not notice fails.

A rule is removed by replacing one named part of the program, from here only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any

import pytest

from backhaul.core.errors import BackhaulError
from backhaul.engines import serve
from backhaul.engines.asking import Asking
from backhaul.engines.counter import Counter
from backhaul.engines.exchange import Conversation, Exchange, Kind
from backhaul.engines.pipe import Pipe
from backhaul.engines.session import WorkerSession
from backhaul.engines.wire import (
    Activity,
    Answer,
    Call,
    Cancel,
    StageBegin,
    Staged,
    StageMore,
    StageOver,
    Tick,
)

Patch = pytest.MonkeyPatch
Remove = Callable[[Patch], None]


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One rule, removed.

    Attributes:
        rule: What no longer holds.
        notices: The program, script or list of orders (`test_wire`) that notices.
    """

    name: str
    rule: str
    notices: str
    remove: Remove

    @contextmanager
    def applied(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            self.remove(patch)
            yield


MUTANTS: list[Mutant] = []


def mutant(rule: str, notices: str) -> Callable[[Remove], Remove]:
    """Register the function below as the removal of `rule`."""

    def register(remove: Remove) -> Remove:
        MUTANTS.append(Mutant(name=remove.__name__, rule=rule, notices=notices, remove=remove))
        return remove

    return register


def _around(patch: Patch, owner: Any, name: str, wrap: Callable[..., Any]) -> None:
    """Replace a method by `wrap(original, *arguments)`."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **named: wrap(original, *args, **named))


def _has_call(self: Exchange) -> bool:
    return any(one.kind is Kind.CALL for one in self.open)


# ---------------------------------------------------------------- the agent's end


@mutant("proofs that arrive during a call are delivered", "calls during a staging call")
def staged_dropped_during_a_call(patch: Patch) -> None:
    def deliver(original: Any, self: Exchange, message: Any) -> None:
        if not (isinstance(message, Staged) and _has_call(self)):
            original(self, message)

    _around(patch, Exchange, "_deliver", deliver)


@mutant("an end that arrives during a call is delivered", "a failure during calls")
def stage_over_dropped_during_a_call(patch: Patch) -> None:
    def deliver(original: Any, self: Exchange, message: Any) -> None:
        if not (isinstance(message, StageOver) and _has_call(self)):
            original(self, message)

    _around(patch, Exchange, "_deliver", deliver)


@mutant("a call discards nothing but what is over", "calls during a staging call")
def everything_but_the_answer_is_dropped(patch: Patch) -> None:
    def deliver(original: Any, self: Exchange, message: Any) -> None:
        if isinstance(message, Answer | Tick) or not _has_call(self):
            original(self, message)

    _around(patch, Exchange, "_deliver", deliver)


def _any_of(self: Exchange, kind: Kind, message: Any) -> Any:
    """The message, with the number of whatever of this kind is open."""
    for one in self.open:
        if one.kind is kind and one.number != message.number:
            return replace(message, number=one.number)
    return message


@mutant("an answer is delivered by its number", "repeated messages")
def answers_without_numbers(patch: Patch) -> None:
    def deliver(original: Any, self: Exchange, message: Any) -> None:
        is_answer = isinstance(message, Answer)
        original(self, _any_of(self, Kind.CALL, message) if is_answer else message)

    _around(patch, Exchange, "_deliver", deliver)


@mutant("proofs are counted for their own staging call only", "repeated messages")
def proofs_of_an_older_staging_counted(patch: Patch) -> None:
    def deliver(original: Any, self: Exchange, message: Any) -> None:
        is_proof = isinstance(message, Staged)
        original(self, _any_of(self, Kind.STAGING, message) if is_proof else message)

    _around(patch, Exchange, "_deliver", deliver)


@mutant("an end closes its own staging call only", "repeated messages")
def ends_without_numbers(patch: Patch) -> None:
    def deliver(original: Any, self: Exchange, message: Any) -> None:
        is_end = isinstance(message, StageOver)
        original(self, _any_of(self, Kind.STAGING, message) if is_end else message)

    _around(patch, Exchange, "_deliver", deliver)


@mutant("of two messages that arrive together both are delivered", "calls during a staging call")
def one_message_per_read(patch: Patch) -> None:
    _around(patch, Pipe, "receive_all", lambda original, self, wait_s: original(self, wait_s)[:1])


@mutant("messages of one staging call stay in order", "played, three chunks")
def inbox_is_a_stack(patch: Patch) -> None:
    def take(original: Any, self: WorkerSession, conversation: Conversation) -> Any:
        if not conversation.inbox:
            self._read()
        return conversation.inbox.pop() if conversation.inbox else None

    _around(patch, WorkerSession, "_next", take)


@mutant("a given-up staging call is waited for", "the agent gives up")
def cancel_does_not_wait(patch: Patch) -> None:
    patch.setattr(WorkerSession, "_cancel", lambda self, staging: None)


@mutant("a given-up staging call is cancelled in the worker, too", "the agent gives up, at length")
def cancel_is_not_sent(patch: Patch) -> None:
    def send(original: Any, self: WorkerSession, message: Any) -> None:
        if not isinstance(message, Cancel):
            original(self, message)

    _around(patch, WorkerSession, "_send", send)


@mutant(
    "a call that stalls is noticed, whatever a staging call does", "a call hangs while files move"
)
def activity_is_the_whole_workers(patch: Patch) -> None:
    def deliver(original: Any, self: Exchange, message: Any) -> None:
        if isinstance(message, Tick):
            total = sum(one.count for one in message.activities)
            several = tuple(replace(one, count=total) for one in message.activities)
            message = replace(message, activities=several)
        original(self, message)

    _around(patch, Exchange, "_deliver", deliver)


@mutant("a staging call that stalls is noticed", "an object hangs")
def stalls_are_not_noticed(patch: Patch) -> None:
    patch.setattr(WorkerSession, "_check_stalled", lambda *args: None)


@mutant("ticks count as activity only where the count grows", "an object hangs")
def every_tick_is_activity(patch: Patch) -> None:
    def note(original: Any, self: Conversation, activity: Activity) -> None:
        original(self, activity)
        self.touch()

    _around(patch, Conversation, "note", note)


@mutant("a pipe that was interrupted is not used again", "Ctrl-C")
def interrupted_worker_is_lent_again(patch: Patch) -> None:
    def stage(original: Any, self: WorkerSession, *args: Any) -> Iterator[Any]:
        try:
            yield from original(self, *args)
        except KeyboardInterrupt:
            self.fault = ""
            raise

    _around(patch, WorkerSession, "stage", stage)


@mutant("the window opens again as proofs arrive", "a window of one object")
def window_stays_closed(patch: Patch) -> None:
    def has_something(original: Any, self: Exchange, conversation: Any) -> bool:
        return bool(original(self, conversation))

    _around(patch, Exchange, "has_something", has_something)
    _around(patch, WorkerSession, "_converse", _without_proofs)


def _without_proofs(original: Any, self: WorkerSession, staging: Any, tasks: Any) -> Iterator[Any]:
    """As if the batches were empty for the window; the agent still gets them."""
    held: list[Any] = []

    def take(conversation: Conversation) -> Any:
        message = WorkerSession._next(self, conversation)
        if isinstance(message, Staged):
            held.append(message)
            return replace(message, objects=())
        return message

    self._next = take  # type: ignore[method-assign]
    for message in original(self, staging, tasks):
        yield held.pop(0) if isinstance(message, Staged) else message


@mutant("what may not be read once more ends the staging call", "one may not be read once more")
def refusals_are_allowed(patch: Patch) -> None:
    def stage(original: Any, self: WorkerSession, *args: Any) -> Iterator[Any]:
        def more(size_bytes: int) -> None:
            with suppress(BackhaulError):
                args[3](size_bytes)

        yield from original(self, *args[:3], more)

    _around(patch, WorkerSession, "stage", stage)


# ---------------------------------------------------------------- the worker's end


@mutant("nothing is read once more before the answer", "one may not be read once more")
def more_is_read_without_an_answer(patch: Patch) -> None:
    def more(original: Any, self: Asking, size_bytes: int) -> None:
        self._send(StageMore(number=self._number, order=1, size_bytes=size_bytes))

    _around(patch, Asking, "more", more)


@mutant("a thread that waits for an answer learns of a cancel", "one may not be read once more")
def cancels_leave_threads_waiting(patch: Patch) -> None:
    patch.setattr(Asking, "cancel", lambda self: None)


@mutant("a staging call ends once: nothing is added to one that ends", "tasks after a failure")
def tasks_after_the_end_are_added(patch: Patch) -> None:
    def add(original: Any, self: Any, tasks: Any) -> None:
        with self._lock:
            self._open += len(tasks)
        for task in tasks:
            self._threads.submit(self._copy, task)

    _around(patch, serve._Staging, "add", add)


@mutant("an end is sent once", "tasks after the end")
def end_twice(patch: Patch) -> None:
    def over(original: Any, self: Any, staging: Any, end: Any) -> None:
        original(self, staging, end)
        self.send(end)

    _around(patch, serve._Worker, "over", over)


@mutant("an end is sent", "a failure during calls")
def end_is_lost(patch: Patch) -> None:
    def over(original: Any, self: Any, staging: Any, end: Any) -> None:
        if self._call_running is None:
            original(self, staging, end)

    _around(patch, serve._Worker, "over", over)


@mutant("an end has the number of its own staging call", "a second begins at once")
def end_with_the_latest_number(patch: Patch) -> None:
    def begin(original: Any, self: Any, order: Any) -> None:
        self._latest = order.number
        original(self, order)

    def over(original: Any, self: Any, staging: Any, end: Any) -> None:
        original(self, staging, replace(end, number=self._latest))

    _around(patch, serve._Worker, "_begin", begin)
    _around(patch, serve._Worker, "over", over)


@mutant("all proofs are sent before the end", "calls during a staging call")
def end_before_the_last_proofs(patch: Patch) -> None:
    def flush(original: Any, self: Any) -> None:
        if not (self._has_end and self._open == 0):
            original(self)

    _around(patch, serve._Staging, "flush", flush)


@mutant("a call that raises has an answer", "a call fails")
def failed_call_without_an_answer(patch: Patch) -> None:
    def call(original: Any, self: Any, order: Any) -> None:
        original(self, order) if "bad" not in order.arguments[0][0] else None

    _around(patch, serve._Worker, "_call", call)


@mutant("a result that cannot be pickled has an answer", "calls in a row")
def pickled_too_late(patch: Patch) -> None:
    def call(original: Any, self: Any, order: Any) -> None:
        self.send(Answer(number=order.number, value=self._result(order, Counter())))

    _around(patch, serve._Worker, "_call", call)


@mutant("an answer has its call's number", "calls during a staging call")
def answer_without_its_number(patch: Patch) -> None:
    def call(original: Any, self: Any, order: Any) -> None:
        original(self, replace(order, number=1))

    _around(patch, serve._Worker, "_call", call)


@mutant("an object that is proven at the second try is waited for", "proofs in batches")
def second_tries_are_not_counted(patch: Patch) -> None:
    def again(original: Any, self: Any, closed: Any, error: Any) -> None:
        with self._settling():
            self._closed.put(self._stager.again(closed, error))

    _around(patch, serve._Staging, "_copy_again", again)


@mutant("what still runs is waited for before the end", "the agent gives up, at length")
def end_does_not_wait(patch: Patch) -> None:
    def cancel(original: Any, self: Any) -> None:
        self._stager.cancelled.set()
        self._worker.over(self, StageOver(number=self.running.number))

    _around(patch, serve._Staging, "cancel", cancel)


@mutant("the thread that reads the pipe does nothing else", "many calls at once")
def orders_are_carried_out_by_the_reader(patch: Patch) -> None:
    def accept(original: Any, self: Any, order: Any) -> None:
        match order:
            case Call():
                self._call(order)
            case StageBegin():
                self._begin(order)
            case _:
                self._feed(order)

    _around(patch, serve._Worker, "accept", accept)
