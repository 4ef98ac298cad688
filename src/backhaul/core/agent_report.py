"""What an agent reports of itself every few seconds: its queue, what it does, what it waits for.

Frozen data. `core.agent.observer` makes a report from facts, the ledger keeps the newest one of
each agent, and `core.health` judges it. Everything is as of `AgentReport.at`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta

from backhaul.core.cost.budget import BudgetHold

REPORT_EVERY_S = 5.0
# Twelve reports missed in a row. One turn may wait 30 s for SQS, or for the ledger's lock.
SILENT_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class AgentIdentity:
    """One start of one agent process.

    Attributes:
        id: 32 hex digits, new at every start: a host name identifies nothing across restarts.
        owner: `host:boot_id:pid:starttime`, as in the ledger's owner columns.
        queue: Name of the queue that it works; of several, with commas between them.
        region: Likewise.
    """

    id: str
    host: str
    owner: str
    version: str
    queue: str
    region: str
    slots: int
    started_at: datetime


@dataclass(frozen=True, kw_only=True)
class QueueDepth:
    """SQS's approximate counts of messages, and when they were read.

    Attributes:
        visible: Waiting to be received.
        in_flight: Received by an agent and hidden.
        delayed: Not visible yet because of a delay.
        retention_s: How long SQS keeps a message; None: not known.
        dead_letters: Messages in the dead-letter queue; None: there is none, or it may not be read.
    """

    visible: int
    in_flight: int
    delayed: int
    retention_s: int | None
    at: datetime
    dead_letters: int | None = None


@dataclass(frozen=True, kw_only=True)
class DependencyHold:
    """A dependency that transfers wait for.

    Attributes:
        dependency: As `OutageError.dependency`: `sqs`, `s3`, `hdfs`, `yarn`, `ledger`, ...
        since: When the first of the transfers began to wait.
        transfers: How many wait for it; 0 where polling itself, or the ledger, is held.
    """

    dependency: str
    since: datetime
    code: str
    reason: str
    hint: str
    transfers: int


@dataclass(frozen=True, kw_only=True)
class RunningTransfer:
    """A transfer under way, as far as its agent knows.

    Attributes:
        phase: As `facts.TransferProgress.phase`; empty before the first progress.
        engine: Empty where there was no choice; then `engine_reason` is empty, too.
        size_bytes: Copied so far; `size_bytes_total` grows until `is_planned`.
        bytes_per_s: Over the last half minute; None before there are two measurements.
        waits_for: The dependency that its worker, or it itself, waits for; empty: none.
        tracking_url: Of its YARN application; empty without one.
        event_bytes: Its size, where an S3 event reported one; for the time before it is planned.
        queue: As `QueueReport.queue`; empty where the agent works one queue.
    """

    transfer_id: str
    message_id: str | None
    route: str
    source: str
    destination: str
    attempt: int
    started_at: datetime
    phase: str = ""
    engine: str = ""
    engine_reason: str = ""
    objects: int = 0
    objects_total: int = 0
    size_bytes: int = 0
    size_bytes_total: int = 0
    is_planned: bool = False
    bytes_per_s: float | None = None
    waits_for: str = ""
    application: str = ""
    tracking_url: str = ""
    event_bytes: int | None = None
    queue: str = ""


@dataclass(frozen=True, kw_only=True)
class QueueReport:
    """One of the queues of an agent that works several; each field as in `AgentReport`.

    Attributes:
        queue: What facts, metrics and pages call it.
    """

    queue: str
    region: str
    last_poll_at: datetime | None = None
    failed_polls: int = 0
    failing_since: datetime | None = None
    poll_code: str = ""
    poll_reason: str = ""
    poll_hint: str = ""
    in_hand: int = 0
    parked: int = 0
    is_everything_paused: bool = False
    slot_free_since: datetime | None = None
    depth: QueueDepth | None = None
    oldest_sent_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class AgentReport:
    """The state of one agent; of one with several queues, what is said of polls is of all of them.

    Attributes:
        failure: Code of the error that ended the agent; empty: it runs, or ended well.
        last_poll_at: Of the last receive that SQS answered; None: none yet.
        failed_polls: In a row, since then; `poll_code` and the like are of the last one.
        oldest_sent_at: Of the messages in hand, and of the newest receive while the queue has more.
        in_hand: Messages received and not done with; each has a slot.
        parked: Messages of paused routes that it keeps hidden, without a slot.
        paused_routes: As far as it knows; `is_everything_paused`: it hardly polls because of it.
        budget_holds: Why routes wait for their budgets.
        slot_free_since: Since then at least one slot has been free; None: all are busy.
        depth: None until SQS has answered once.
        bytes_per_s: Of all running transfers together.
        queues: Each by itself, where there are several.
    """

    at: datetime
    is_stopping: bool = False
    failure: str = ""
    last_poll_at: datetime | None = None
    failed_polls: int = 0
    failing_since: datetime | None = None
    poll_code: str = ""
    poll_reason: str = ""
    poll_hint: str = ""
    in_hand: int = 0
    parked: int = 0
    paused_routes: tuple[str, ...] = ()
    is_everything_paused: bool = False
    budget_holds: tuple[BudgetHold, ...] = ()
    slot_free_since: datetime | None = None
    depth: QueueDepth | None = None
    oldest_sent_at: datetime | None = None
    holds: tuple[DependencyHold, ...] = ()
    running: tuple[RunningTransfer, ...] = ()
    bytes_per_s: float = 0.0
    queues: tuple[QueueReport, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AgentRecord:
    """An agent as the ledger knows it.

    Attributes:
        beats: How many reports it has written; it never falls.
        ended_at: When it stopped in an orderly way; None while it runs, and after a crash.
    """

    identity: AgentIdentity
    report: AgentReport
    beats: int
    ended_at: datetime | None = None

    @property
    def by_queue(self) -> tuple[AgentRecord, ...]:
        """A record for each of its queues, as if it worked that one alone; itself where it does.

        Holds and budgets are of the agent as a whole, and therefore in each.
        """
        if not self.report.queues:
            return (self,)
        return tuple(self._of_queue(one) for one in self.report.queues)

    def _of_queue(self, one: QueueReport) -> AgentRecord:
        values = {
            field.name: getattr(one, field.name)
            for field in fields(QueueReport)
            if field.name not in {"queue", "region"}
        }
        running = tuple(each for each in self.report.running if each.queue == one.queue)
        rate = sum(each.bytes_per_s or 0.0 for each in running)
        return replace(
            self,
            identity=replace(self.identity, queue=one.queue, region=one.region),
            report=replace(self.report, running=running, bytes_per_s=rate, queues=(), **values),
        )
