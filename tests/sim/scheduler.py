"""Cooperative threads whose order a seed decides, and a clock that moves only when they wait.

A simulated process is some greenlets in one OS thread. Every port call and every wait comes back
to the scheduler, which picks who goes on. Between two such points nothing else can happen, so a
seed replays exactly.

Background tasks run between the others, with a chance of their own, and cost no step and no time:
where they change nothing for the others, a schedule is the same with them and without.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Self

from greenlet import getcurrent, greenlet

from backhaul.testing.fakes import FakeClock, Killed

TICK_S = 0.01  # what one step takes
_EPOCH = datetime.fromisoformat("2026-01-01T00:00:00+00:00")


class SimClock(FakeClock):
    """Without locks: there is one thread."""

    now_s = 1000.0

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.now_s)

    def monotonic(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


@dataclass(kw_only=True, eq=False)
class Process:
    """What dies and pauses together.

    Attributes:
        is_zombie_worker: Its worker outlived it and goes on with the call it was in.
    """

    name: str
    is_dead: bool = False
    paused_until_s: float = 0.0
    tasks: list[Task] = field(default_factory=list)


@dataclass(kw_only=True, eq=False)
class Task:
    """One thread of a process.

    Attributes:
        wake_s: When it goes on by itself; None: only when notified.
        call: The port call it is in.
        is_zombie: Its process is dead, and it finishes the call of the worker that it is in.
    """

    name: str
    process: Process
    body: greenlet
    is_waiting: bool = False
    is_notified: bool = False
    wake_s: float | None = None
    waits_on: object = None
    call: str = ""
    is_zombie: bool = False
    is_background: bool = False


class Scheduler:
    """Picks who goes on."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.clock = SimClock()
        self.tasks: list[Task] = []
        self.background: list[Task] = []
        self.aside = random.Random(f"background {seed}")
        self.steps = 0
        self._hub = getcurrent()
        self.current: Task | None = None

    def spawn(
        self,
        process: Process,
        name: str,
        work: Callable[[], object],
        *,
        is_background: bool = False,
    ) -> Task:
        def live() -> None:
            with suppress(Killed):
                work()

        body = greenlet(live, self._hub)
        task = Task(name=name, process=process, body=body, is_background=is_background)
        (self.background if is_background else self.tasks).append(task)
        process.tasks.append(task)
        return task

    # ------------------------------------------------------------ from inside a task

    def switch(self) -> Task:
        """Let others go first; the task that is running again afterwards."""
        task = self.current
        assert task is not None
        self._hub.switch()
        return task

    def sleep(self, seconds: float) -> None:
        """Wait that long."""
        self.wait(None, seconds)

    def wait(self, on: object, timeout: float | None) -> bool:
        """Until notified, or until the time has passed; True when notified."""
        task = self.current
        assert task is not None
        if task.process.is_dead and not task.is_zombie:
            raise Killed(task.name)
        task.is_waiting, task.is_notified, task.waits_on = True, False, on
        task.wake_s = None if timeout is None else self.clock.now_s + max(0.0, timeout)
        try:
            self._hub.switch()
        finally:
            task.is_waiting, task.waits_on, task.wake_s = False, None, None
        return task.is_notified

    def notify(self, on: object) -> None:
        for task in (*self.tasks, *self.background):
            if task.waits_on is on:
                task.is_notified = True

    # ------------------------------------------------------------ from the hub

    def runnable(self) -> list[Task]:
        return self._ready(self.tasks)

    def _ready(self, tasks: list[Task]) -> list[Task]:
        now_s = self.clock.now_s
        return [
            task
            for task in tasks
            if task.process.paused_until_s <= now_s
            and (
                not task.is_waiting
                or task.is_notified
                or (task.wake_s is not None and task.wake_s <= now_s)
            )
        ]

    def step(self, later_s: float | None = None) -> bool:
        """One task goes on to its next call or wait; False when nobody ever will.

        Args:
            later_s: When something outside happens next: the clock jumps no further.
        """
        ready = self.runnable()
        if not ready:
            due_s = _dues(self.tasks)
            if later_s is not None:
                due_s.append(later_s)
            if not due_s:
                return False
            self._jump(max(self.clock.now_s, min(due_s)))
            return True
        for aside in self._ready(self.background):
            if self.aside.random() < 0.5:
                self._run(aside)
        task = ready[0] if len(ready) == 1 else ready[int(self.random.random() * len(ready))]
        self.clock.now_s += TICK_S
        self.steps += 1
        self._run(task)
        return True

    def _jump(self, until_s: float) -> None:
        """Let the time pass, and what happens in the background meanwhile."""
        while True:
            while ready := self._ready(self.background):
                self._run(ready[0])
            due_s = min(_dues(self.background), default=until_s)
            self.clock.now_s = max(self.clock.now_s, min(due_s, until_s))
            if due_s >= until_s:
                return

    def _run(self, task: Task, *error: Any) -> None:
        self.current = task
        try:
            if error:
                task.body.throw(*error)
            else:
                task.body.switch()
        finally:
            self.current = None
            if task.body.dead:
                (self.background if task.is_background else self.tasks).remove(task)

    def reap(self, process: Process) -> None:
        """End the tasks of a dead process, but for what its worker still does."""
        process.is_dead = True
        for task in [one for one in (*self.tasks, *self.background) if one.process is process]:
            if not task.is_zombie and not task.body.dead:
                if task.body:
                    self._run(task, Killed, Killed(process.name))
                else:  # never begun
                    (self.background if task.is_background else self.tasks).remove(task)


def _dues(tasks: list[Task]) -> list[float]:
    """When each goes on by itself, those that are notified as soon as they are not paused."""
    return [
        max(task.process.paused_until_s, task.wake_s or 0.0 if task.is_waiting else 0.0)
        for task in tasks
        if not task.is_waiting or task.wake_s is not None
    ] + [task.process.paused_until_s for task in tasks if task.is_notified and task.is_waiting]


class SimCondition:
    """Stands for `threading.Condition`: nobody else runs inside a `with` that does not wait.

    Args:
        rate: Of the clock by which it waits.
    """

    def __init__(self, scheduler: Scheduler, rate: float = 1.0) -> None:
        self._scheduler = scheduler
        self._rate = rate

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.wait(self, None if timeout is None else timeout / self._rate)

    def notify(self, n: int = 1) -> None:
        self._scheduler.notify(self)

    notify_all = notify


class SimEvent:
    """Stands for `threading.Event`, as a stager waits on it between tries.

    Args:
        rate: Of the clock by which it waits.
    """

    def __init__(self, scheduler: Scheduler, rate: float = 1.0) -> None:
        self._scheduler = scheduler
        self._rate = rate
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def wait(self, timeout: float | None = None) -> bool:
        self._scheduler.sleep((timeout or 0.0) / self._rate)
        return self._is_set


class SimExecutor:
    """Stands for the agent's pool of slot threads."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler = scheduler
        self._process = process

    def submit(self, work: Callable[..., object], *arguments: Any) -> None:
        self._scheduler.spawn(self._process, "slot", lambda: work(*arguments))

    def shutdown(self, *, wait: bool = True, cancel_futures: bool = False) -> None:
        pass
