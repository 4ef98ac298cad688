"""The messages between agent and worker. Both ends are this same installation.

Agent to worker: `Call`, answered by one `Answer`; or `StageBegin`, `StageTasks` ..., `StageEnd`,
answered by `Staged` batches and at last by one `StageOver`. `Cancel` ends a staging call early.
A call may be made while a staging call is open: their messages then arrive in any order.
`StageMore` may come at any time of a staging call, and is answered by one `StageAllowed`, or by
`Cancel`.

Every message carries the number of its call or staging call. Numbers rise for as long as the worker
lives and are never used twice, so a message is delivered to what it belongs to, and one that comes
after the end of that is recognised. The worker sends `Tick` all the time: a worker that does not
tick, or a call whose count does not grow, has stalled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from backhaul.core.errors import BackhaulError
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import StagedObject
from backhaul.core.ports import StageTask

TICK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Call:
    """Carry out one method of `TargetOperations` on a file system; it is pickled by its name."""

    number: int
    filesystem: str
    operation: Callable[..., Any]
    arguments: tuple[Any, ...]
    named: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of the `Call` of this number; exactly one."""

    number: int
    value: Any = None
    error: BackhaulError | None = None


@dataclass(frozen=True, kw_only=True)
class StageBegin:
    """Start a staging call.

    Attributes:
        asks: The worker sends `StageMore` before it reads anything once more.
    """

    number: int
    filesystem: str
    directory: str
    verify: VerifyLevel
    asks: bool = False


@dataclass(frozen=True, kw_only=True)
class StageTasks:
    """More objects to stage."""

    number: int
    tasks: tuple[StageTask, ...]


@dataclass(frozen=True, kw_only=True)
class StageEnd:
    """No more tasks will come."""

    number: int


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Give the staging call up; answered by `StageOver` once nothing of it runs any more."""

    number: int


@dataclass(frozen=True, kw_only=True)
class StageAllowed:
    """What the `StageMore` of this order was sent for may be read."""

    number: int
    order: int


@dataclass(frozen=True, kw_only=True)
class Activity:
    """How far one open call or staging call has come.

    Attributes:
        size_bytes: Of objects on their way into staging by it so far.
        received_bytes: Of bodies from S3 by it so far, useful or not.
        repeated_bytes: Of those, what came once more.
        read_back_bytes: Read back from the target by it so far.
        count: Grows with every byte and every finished step; unchanged for long means stalled.
    """

    number: int
    size_bytes: int
    received_bytes: int = 0
    repeated_bytes: int = 0
    read_back_bytes: int = 0
    count: int


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Objects proven since the last such message of this staging call; `activity` is its own."""

    number: int
    objects: tuple[StagedObject, ...]
    activity: Activity


@dataclass(frozen=True, kw_only=True)
class StageMore:
    """An object is to be read once more, by so many bytes beyond its size; a thread waits.

    Attributes:
        order: Which of the staging call's, from 1.
    """

    number: int
    order: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class StageOver:
    """The staging call ended; with the first error, if any. Nothing of it runs any more.

    Attributes:
        objects: How many its `Staged` messages held in total.
        activity: Its last; None where it did not begin.
    """

    number: int
    objects: int = 0
    error: BackhaulError | None = None
    activity: Activity | None = None


@dataclass(frozen=True, kw_only=True)
class Tick:
    """The worker lives; `activities` is of what is open, at most one call and one staging call."""

    activities: tuple[Activity, ...] = ()


Downward = Call | StageBegin | StageTasks | StageEnd | StageAllowed | Cancel
Upward = Answer | Staged | StageMore | StageOver | Tick
