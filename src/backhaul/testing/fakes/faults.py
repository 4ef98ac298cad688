"""Where and how a fake fails: before the effect, after it, or as the end of the process.

    faults = Faults()
    faults.at("target.rename", 2, Fault.LOST)   # the second rename happens, its answer is lost

A fake's call is named `port.method`; `log` has every call made, in order.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum

from backhaul.core.errors import BackhaulError, TransientError


class Fault(Enum):
    """How one call fails."""

    FAIL = "fails before it takes effect"
    LOST = "takes effect, and its answer is lost"
    KILL = "is never made: the process ends here"


class Killed(BaseException):
    """The process was killed; nothing may catch this and go on."""


class Faults:
    """Counts calls by name and lets the planned ones fail; shared by all fakes of one test.

    Attributes:
        log: (name, occurrence) of every call, in order.
        is_dead: After a KILL every further call is refused: a dead process makes none.
        after_effect: Called after each effect with the call's name; for checks at every step.
    """

    def __init__(self) -> None:
        self.log: list[tuple[str, int]] = []
        self.is_dead = False
        self.after_effect: Callable[[str], None] = lambda _name: None
        self._counts: Counter[str] = Counter()
        self._planned: dict[tuple[str, int], tuple[Fault, BackhaulError | None]] = {}
        self._lock = threading.Lock()

    def at(
        self, name: str, occurrence: int, fault: Fault, error: BackhaulError | None = None
    ) -> None:
        """Plan a fault for the n-th call of that name, counted from 1 and from now on.

        Args:
            error: What FAIL and LOST raise; default: what the port documents for no answer.
        """
        with self._lock:
            self._planned[(name, self._counts[name] + occurrence)] = (fault, error)

    def always(self, name: str, error: BackhaulError) -> None:
        """Let every call of that name fail with this error, until `never`."""
        with self._lock:
            self._planned[(name, 0)] = (Fault.FAIL, error)

    def never(self, name: str) -> None:
        """Take back `always`."""
        with self._lock:
            self._planned.pop((name, 0), None)

    def count(self, name: str) -> int:
        """How often the call was made so far."""
        with self._lock:
            return self._counts[name]

    def revive(self) -> None:
        """A new process: calls are answered again, but for faults that are still planned."""
        with self._lock:
            self.is_dead = False

    @contextmanager
    def call(self, name: str, lost: Callable[[str], BackhaulError] | None = None) -> Iterator[None]:
        """Surrounds the effect of one call.

        Args:
            lost: Makes the error for a call without an answer; default a TransientError.
        """
        fault, error = self._enter(name)
        if fault is Fault.KILL:
            raise Killed(name)
        if fault is Fault.FAIL:
            raise error or (lost or _unanswered)(name)
        yield
        self.after_effect(name)
        if fault is Fault.LOST:
            raise error or (lost or _unanswered)(name)

    def _enter(self, name: str) -> tuple[Fault | None, BackhaulError | None]:
        with self._lock:
            if self.is_dead:
                return Fault.KILL, None
            self._counts[name] += 1
            occurrence = self._counts[name]
            self.log.append((name, occurrence))
            every = self._planned.get((name, 0), (None, None))
            found = self._planned.get((name, occurrence), every)
            if found[0] is Fault.KILL:
                self.is_dead = True
            return found


def _unanswered(name: str) -> TransientError:
    return TransientError("E_FAKE", f"{name} was not answered")
