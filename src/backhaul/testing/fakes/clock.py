"""Time and chance that a test owns."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
_ALPHABET = "0123456789abcdefghijklmnopqrstuvwxyz"
_GLANCE_S = 0.001  # a jumping wait gives other threads this long to notify it first


class FakeClock:
    """Does not move until `advance` is called; implements `ports.Clock`."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now_s = start_s
        self._start_s = start_s
        self._lock = threading.Lock()
        self._woken: list[threading.Condition] = []

    def now(self) -> datetime:
        return _EPOCH + timedelta(seconds=self.monotonic() - self._start_s)

    def monotonic(self) -> float:
        with self._lock:
            return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass; threads that wait on a `waking` condition read the clock again."""
        with self._lock:
            self._now_s += seconds
            woken = list(self._woken)
        for condition in woken:
            with condition:
                condition.notify_all()

    def waking(self) -> threading.Condition:
        """A condition that is notified whenever this clock advances."""
        condition = threading.Condition()
        with self._lock:
            self._woken.append(condition)
        return condition

    def jumping(self, *thread_names: str) -> threading.Condition:
        """A condition whose timed waits take no time: the clock jumps instead.

        Args:
            thread_names: How the names of the threads begin that jump; others really wait.
        """
        return _Jumping(self, thread_names)


class _Jumping(threading.Condition):
    def __init__(self, clock: FakeClock, thread_names: tuple[str, ...]) -> None:
        super().__init__()
        self._clock = clock
        self._thread_names = thread_names

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None or not threading.current_thread().name.startswith(self._thread_names):
            return super().wait(timeout)
        if super().wait(_GLANCE_S):
            return True
        self._clock.advance(timeout)
        return False


class FakeEvent(threading.Event):
    """An event whose timed waits take no time: the clock jumps instead."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__()
        self._clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            return super().wait()
        if not self.is_set():
            self._clock.advance(timeout)
        return self.is_set()


class FakeRandomness:
    """Chance that a seed replays; ids that count up. Implements `ports.Randomness`."""

    def __init__(self, seed: int = 0) -> None:
        self._random = random.Random(seed)  # noqa: S311 - jitter, not a secret
        self._ids = 0
        self._lock = threading.Lock()

    def uniform(self, low: float, high: float) -> float:
        with self._lock:
            return self._random.uniform(low, high)

    def transfer_id(self) -> str:
        with self._lock:
            self._ids += 1
            number, digits = self._ids, ""
            tail = "".join(self._random.choice(_ALPHABET) for _ in range(7))
        for _ in range(9):
            number, rest = divmod(number, 36)
            digits = _ALPHABET[rest] + digits
        return digits + tail
