"""What agent and worker say to each other over their pipe. Both ends are this same installation.

Agent to worker: `Call`, then answered by `Answer`; or `StageBegin`, `StageTasks` ..., `StageEnd`,
answered by `Staged` batches and at last `StageOver`. `Cancel` ends a staging call early. The worker
sends `Tick` all the time: a worker that does not tick, or whose activity stands still, is killed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from backhaul.core.errors import BackhaulError
from backhaul.core.model import StagedObject, VerifyLevel
from backhaul.core.ports import StageTask

TICK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class Call:
    """Run one method of the worker's `TargetOperations` on a file system."""

    filesystem: str
    method: str
    arguments: tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The outcome of one `Call`."""

    value: Any = None
    error: BackhaulError | None = None


@dataclass(frozen=True, kw_only=True)
class StageBegin:
    """Start a staging call.

    Attributes:
        number: Of this staging call; what comes back carries it.
    """

    number: int
    filesystem: str
    directory: str
    verify: VerifyLevel


@dataclass(frozen=True, kw_only=True)
class StageTasks:
    """More objects to stage."""

    tasks: tuple[StageTask, ...]


@dataclass(frozen=True, kw_only=True)
class StageEnd:
    """No more tasks will come."""


@dataclass(frozen=True, kw_only=True)
class Cancel:
    """Give the staging call up; answered by `StageOver` once nothing moves any more."""


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Objects proven since the last such word."""

    number: int
    objects: tuple[StagedObject, ...]
    size_bytes: int
    activity: int


@dataclass(frozen=True, kw_only=True)
class StageOver:
    """The staging call ended; with the first error, if any. Nothing of it runs any more."""

    number: int
    error: BackhaulError | None = None


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Still alive, and how far.

    Attributes:
        size_bytes: Moved by the current staging call so far.
        activity: Grows with every byte and call; standing still while busy means stuck.
    """

    size_bytes: int
    activity: int


Downward = Call | StageBegin | StageTasks | StageEnd | Cancel
Upward = Answer | Staged | StageOver | Tick
