"""Threads that go on one at a time, in an order that a chooser decides; time moves only by choice.

Stand-ins for what the two ends of the pipe use of `threading`, `queue`, `concurrent.futures`,
`select` and `time`. Each place where a real thread could be interrupted between two of these calls
is a place where another one may go on, so every order of sends, reads, ends and orders can happen.
"""

from __future__ import annotations

import queue
import random
import select
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Self

from greenlet import GreenletExit, getcurrent, greenlet

MOST_STEPS = 20_000
MOST_S = 60.0  # of its own time


class Violation(AssertionError):
    """What must not happen, happened."""


# ---------------------------------------------------------------- who decides


class Chooser(Protocol):
    def pick(self, options: int) -> int:
        """An index below `options`; 0 is the usual choice: the running thread goes on."""


class Seeded:
    """Chance; some seeds change over often, others hardly ever."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(f"wire {seed}")
        self._usual = self._random.choice((0.3, 0.7, 0.9, 0.98))

    def pick(self, options: int) -> int:
        if self._random.random() < self._usual:
            return 0
        return self._random.randrange(options)


@dataclass
class Listed:
    """A list of choices, then the usual ones; notes how many options there were."""

    choices: tuple[int, ...] = ()
    options: list[int] = field(default_factory=list)

    def pick(self, options: int) -> int:
        at = len(self.options)
        self.options.append(options)
        return self.choices[at] if at < len(self.choices) else 0


def every(run: Callable[[Listed], object], *, deviations: int) -> Iterator[Listed]:
    """Run with every list of choices that has at most so many that are unusual."""
    waiting: deque[tuple[tuple[int, ...], int]] = deque([((), deviations)])
    while waiting:
        choices, left = waiting.popleft()
        chooser = Listed(choices)
        run(chooser)
        yield chooser
        if not left:
            continue
        for at in range(len(choices), len(chooser.options)):
            before = choices + (0,) * (at - len(choices))
            waiting.extend(((*before, other), left - 1) for other in range(1, chooser.options[at]))


# ---------------------------------------------------------------- threads


@dataclass(eq=False)
class Task:
    """One thread.

    Attributes:
        until: It goes on once this is true; None: at any time.
        due_s: Or at this time.
        is_stopped: It never goes on again.
    """

    name: str
    body: greenlet
    until: Callable[[], object] | None = None
    due_s: float | None = None
    is_stopped: bool = False


class Schedule:
    """All threads of one run."""

    def __init__(self, chooser: Chooser) -> None:
        self._chooser = chooser
        self._hub = getcurrent()
        self.tasks: list[Task] = []
        self.current: Task | None = None
        self.now_s = self._began_s = 1000.0
        self.steps = 0
        self.failures: list[str] = []
        self._is_ended = False

    def spawn(self, name: str, work: Callable[[], object]) -> Task:
        def live() -> None:
            try:
                work()
            except (GreenletExit, Violation):
                raise
            except BaseException as error:  # noqa: BLE001 - a thread's end, looked at afterwards
                self.failures.append(f"{name}: {type(error).__name__}: {error}")

        task = Task(name, greenlet(live, self._hub))
        self.tasks.append(task)
        return task

    def pause(self) -> None:
        """Others may go first."""
        self.wait(None, None)

    def wait(self, until: Callable[[], object] | None, timeout_s: float | None) -> None:
        """Go on once `until` is true, or after the time."""
        if self._is_ended:
            raise GreenletExit  # whatever a thread does at its end
        task = self.current
        if task is None:
            return  # the test itself, before the run
        task.until = until
        task.due_s = None if timeout_s is None else self.now_s + timeout_s
        self._hub.switch()
        task.until = task.due_s = None

    def run(self, last: Task) -> None:
        """Until this one has ended."""
        while not last.body.dead:
            self.steps += 1
            if self.steps > MOST_STEPS or self.now_s > self._began_s + MOST_S:
                raise Violation("it does not end")
            self._step()

    def _step(self) -> None:
        ready = [one for one in self.tasks if self._is_ready(one)]
        if self.current in ready:
            ready.remove(self.current)
            ready.insert(0, self.current)
        later = [
            one
            for one in self.tasks
            if one not in ready and one.due_s is not None and not one.is_stopped
        ]
        later.sort(key=lambda one: one.due_s or 0.0)
        # Time passes only while no thread can go on: to what is due first.
        options = ready + later if ready else later[:1]
        if not options:
            waiting = ", ".join(one.name for one in self.tasks)
            raise Violation(f"deadlock: {waiting} wait for each other")
        task = options[self._chooser.pick(len(options)) if len(options) > 1 else 0]
        if not ready and task.due_s is not None:
            self.now_s = max(self.now_s, task.due_s)
        self.current = task
        task.body.switch()
        if task.body.dead:
            self.tasks.remove(task)

    def _is_ready(self, task: Task) -> bool:
        if task.is_stopped:
            return False
        if task.until is None:
            return task.due_s is None
        return bool(task.until())

    def end(self) -> None:
        """Nothing goes on any more; frees what the threads hold."""
        self._is_ended = True
        for task in self.tasks:
            task.body.throw(GreenletExit)
        self.tasks.clear()


# ---------------------------------------------------------------- what threads share


class Lock:
    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._is_held = False

    def __enter__(self) -> Self:
        self._schedule.wait(lambda: not self._is_held, None)
        self._is_held = True
        return self

    def __exit__(self, *error: object) -> None:
        self._is_held = False


class Event:
    """Set by `set` alone; a wait with a time ends by choice."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def wait(self, timeout: float | None = None) -> bool:
        self._schedule.wait(self.is_set, timeout)
        return self._is_set


class Thread:
    def __init__(
        self,
        schedule: Schedule,
        target: Callable[..., object],
        args: tuple[Any, ...] = (),
        name: str = "thread",
    ) -> None:
        self._schedule = schedule
        self._work = lambda: target(*args)
        self._name = name
        self._task: Task | None = None

    def start(self) -> None:
        self._task = self._schedule.spawn(self._name, self._work)
        self._schedule.pause()

    def join(self) -> None:
        task = self._task
        assert task is not None
        self._schedule.wait(lambda: task.body.dead, None)


class SimpleQueue:
    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._items: deque[Any] = deque()

    def put(self, item: Any) -> None:
        self._items.append(item)
        self._schedule.pause()

    def get(self) -> Any:
        self._schedule.wait(lambda: self._items, None)
        return self._items.popleft()

    def get_nowait(self) -> Any:
        if not self._items:
            raise queue.Empty
        return self._items.popleft()


class Executor:
    """Replaces `ThreadPoolExecutor`; an error that a future would swallow is a failure here."""

    def __init__(self, schedule: Schedule, threads: int, name: str) -> None:
        self._schedule = schedule
        self._name = name
        self._free = threads
        self._waiting: deque[Callable[[], object]] = deque()
        self._open = 0
        self._is_shut = False

    def submit(self, work: Callable[..., object], *arguments: Any) -> None:
        self._schedule.pause()
        if self._is_shut:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self._open += 1
        self._waiting.append(lambda: work(*arguments))
        self._start_next()

    def _start_next(self) -> None:
        if self._free and self._waiting:
            self._free -= 1
            work = self._waiting.popleft()
            self._schedule.spawn(self._name, lambda: self._run(work))

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        finally:
            self._open -= 1
            self._free += 1
            self._start_next()

    def shutdown(self, *, wait: bool = True) -> None:
        self._is_shut = True
        if wait:
            self._schedule.wait(lambda: self._open == 0, None)


class Poll:
    """Replaces `select.poll`: waits for real sockets in the schedule's time."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._real = select.poll()

    def register(self, what: Any, events: int) -> None:
        self._real.register(what, events)

    def poll(self, timeout_ms: float | None = None) -> list[tuple[int, int]]:
        if timeout_ms is not None and timeout_ms <= 0:
            self._schedule.pause()
        else:
            seconds = None if timeout_ms is None else timeout_ms / 1000
            self._schedule.wait(lambda: self._real.poll(0), seconds)
        return self._real.poll(0)
