"""The agent's numbers: its settings, and what it counts."""

from __future__ import annotations

from dataclasses import dataclass, field

from backhaul.core.agent.visibility import SQS_TOTAL_S
from backhaul.core.backoff import RetryPolicy
from backhaul.core.file_systems import DefaultFs
from backhaul.core.ports import Queue


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """What one agent runs with.

    Attributes:
        host: Name of this node, for dead letters.
        slots: Messages worked on at once.
        poll_wait_s: SQS long poll, 0 to 20.
        visibility_timeout_s: Initial and renewed, 60 to 43,200.
        visibility_total_s: SQS's cap on the sum of all timeouts of one receive; less in tests.
        stop_grace_s: How long running transfers may go on after a stop request.
        drain: End when the queue stayed empty for one long poll and nothing is in flight.
        drain_patience_s: In a drain, the longest wait for a dependency that is down.
        watchdog_s: A thread of the agent that is silent for this long ends the process.
        default_fs: `hdfs://authority` for destinations that name no file system.
    """

    host: str
    slots: int = 4
    poll_wait_s: int = 20
    visibility_timeout_s: int = 120
    visibility_total_s: int = SQS_TOTAL_S
    stop_grace_s: float = 60.0
    drain: bool = False
    drain_patience_s: float = 60.0
    watchdog_s: float = 300.0
    default_fs: DefaultFs = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(frozen=True, kw_only=True)
class WorkedQueue:
    """A queue that the agent works.

    Attributes:
        name: What facts call it; no other queue of the agent has this name.
        min_slots: So many of the agent's slots are kept for it.
    """

    queue: Queue
    name: str
    min_slots: int = 0


@dataclass(kw_only=True)
class RunTotals:
    """What one run of the agent did, in messages."""

    done: int = 0
    dead: int = 0
    ignored: int = 0
    failed: int = 0
    returned: int = 0
    gave_up: int = 0  # handed back by a drain: a dependency stayed down, or the route is paused
