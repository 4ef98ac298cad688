"""Facts: what happened, for log, metrics and progress. `adapters.system.log` has the words.

Frozen data; the only text for people is what an error carries already.
"""

# Longer than 450 lines: one list of everything that can happen.

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from backhaul.core.cost.budget import BudgetHold


@dataclass(frozen=True, kw_only=True)
class AgentStarted:
    """The queue answered and polling begins; `slots` messages at once."""

    queue: str
    slots: int
    dead_letter_queue: str | None
    ledger: str


@dataclass(frozen=True, kw_only=True)
class QueueOpened:
    """One of several queues answered, at the start or later, and is polled from now on."""

    queue: str
    region: str
    dead_letter_queue: str | None


@dataclass(frozen=True, kw_only=True)
class InstallationWarned:
    """Something about this machine is risky; emitted at the start, stops nothing."""

    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class QueueWarned:
    """The queue's own settings put messages or their reasons at risk; emitted at each start."""

    queue: str
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class RouteWarned:
    """A route verifies less than it should; emitted at each start."""

    route: str
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class LogReopened:
    """SIGHUP: the log file of that name was opened anew."""

    file: str | None


@dataclass(frozen=True, kw_only=True)
class RoutesReloaded:
    """SIGHUP: the routes of the configuration are other ones now.

    Attributes:
        added, changed, removed: Names of routes.
        needs_restart: Settings with another value in the file; the agent has the former one until
            its next start.
    """

    added: tuple[str, ...]
    changed: tuple[str, ...]
    removed: tuple[str, ...]
    needs_restart: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ReloadRefused:
    """SIGHUP: the configuration is wrong, and the former one stays in force as a whole."""

    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class AgentStopping:
    """A stop was requested; `in_flight` transfers get `grace_s` seconds to finish.

    Attributes:
        poll_wait_s: The long poll under way cannot be interrupted and may last this much longer.
    """

    in_flight: int
    grace_s: float
    poll_wait_s: int


@dataclass(frozen=True, kw_only=True)
class AgentStopped:
    """What this run did, in messages."""

    done: int
    dead: int
    returned: int


@dataclass(frozen=True, kw_only=True)
class QueuePolled:
    """SQS answered a poll; `messages` is how many it brought."""

    queue: str
    messages: int


@dataclass(frozen=True, kw_only=True)
class PollFailed:
    """SQS could not be polled; polling goes on after `retry_in_s`."""

    queue: str
    code: str
    reason: str
    hint: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class StartHeld:
    """The ledger has a schema that this version does not work on: it waits. Emitted once."""

    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class StartResumed:
    """After `seconds` the ledger has a schema that this version works on."""

    seconds: float


@dataclass(frozen=True, kw_only=True)
class ReceivingHeld:
    """The ledger does not see this agent: the queue is not polled until it does. Emitted once."""

    queue: str
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class ReceivingResumed:
    """The ledger sees this agent again after `seconds`: the queue is polled."""

    queue: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class MessageReceived:
    """A delivery, before anything is decided about it."""

    message_id: str
    receive_count: int
    body_excerpt: str
    sent_at: datetime | None = None
    queue: str = ""


@dataclass(frozen=True, kw_only=True)
class DeliveryEnded:
    """The slot is free: whatever became of the message, this agent works on it no longer.

    Attributes:
        is_parked: It waits for a paused route, without a slot.
    """

    message_id: str
    is_parked: bool = False


@dataclass(frozen=True, kw_only=True)
class MessageRecognised:
    """A redelivery of something already settled, or of a transfer that still runs."""

    message_id: str
    transfer_id: str
    state: str
    is_running: bool


@dataclass(frozen=True, kw_only=True)
class ForeignStaging:
    """The destination has staging under an epoch that this ledger never gave.

    An agent with another ledger works there, or this ledger was restored or made anew.

    Attributes:
        destination: Its URI.
        epoch: That of the staging.
        own_epoch: The one that this ledger has given; the transfer gets one above `epoch` now.
    """

    transfer_id: str
    destination: str
    epoch: int
    own_epoch: int
    code: str = "W_DST_SHARED"
    hint: str = (
        "one ledger for all agents of a queue and its destinations, see Several agents; nothing, "
        "if this ledger was restored, made anew, or failed over"
    )


@dataclass(frozen=True, kw_only=True)
class TransferTakenOver:
    """Another process took the transfer over while we worked on it: it settles the message.

    Attributes:
        code: How our attempt ended; this is no failure of the transfer.
        is_cancelled: `backhaul cancel` ended it, no other process.
        owner: `host:boot_id:pid:starttime` of the process that has it; None: it has ended.
    """

    message_id: str
    transfer_id: str
    code: str
    reason: str
    is_cancelled: bool
    owner: str | None


@dataclass(frozen=True, kw_only=True)
class MessageIgnored:
    """A well-formed event, or one record of a message, that requests nothing.

    Attributes:
        reason: From the closed set of `content.Ignored`.
    """

    message_id: str
    reason: str
    what: str


@dataclass(frozen=True, kw_only=True)
class AttemptStarted:
    """The request is allowed; work on it begins.

    Attributes:
        is_takeover: Another process began the transfer and ended without settling it.
        event_bytes: Its size, where an S3 event reported one.
    """

    transfer_id: str
    message_id: str | None
    attempt: int
    source: str
    destination: str
    route: str
    is_takeover: bool = False
    event_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class TransferProgress:
    """Progress of one transfer; its totals grow while the listing goes on.

    Attributes:
        phase: `planning`, `staging`, `publishing` or `recovering`; with DistCp also `listing`,
            `queued`, `copying` and `proving`.
        is_planned: True once the totals are final.
        detail: What only DistCp has: mappers and the tracking URL.
    """

    transfer_id: str
    phase: str
    objects: int
    size_bytes: int
    objects_total: int
    size_bytes_total: int
    is_planned: bool
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class AttemptUnpublished:
    """An attempt ended before its transfer was done, after it had read something from S3.

    Attributes:
        read_bytes: By workers and, as far as YARN reported, by mappers.
    """

    transfer_id: str
    read_bytes: int


@dataclass(frozen=True, kw_only=True)
class EngineChosen:
    """Which engine carries the bytes of this attempt, and why."""

    transfer_id: str
    engine: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class TableRecognised:
    """The plan has files of tables whose readers go by a log or by metadata.

    Attributes:
        tables: `delta`, `iceberg`, or both.
    """

    transfer_id: str
    tables: str


@dataclass(frozen=True, kw_only=True)
class ApplicationFollowed:
    """A YARN application carries the bytes: just submitted, or adopted from an earlier attempt."""

    transfer_id: str
    application: str
    tag: str
    state: str
    tracking_url: str


@dataclass(frozen=True, kw_only=True)
class ApplicationEnded:
    """The YARN application is over; each file is verified before anything is published.

    Attributes:
        counters: DistCp's own, where its application succeeded; `unknown` where none were had.
    """

    transfer_id: str
    application: str
    state: str
    reason: str
    counters: str | None = None


@dataclass(frozen=True, kw_only=True)
class CountersDiffer:
    """DistCp counted other files or bytes than were planned; each file was verified anyway.

    Attributes:
        counted: DistCp's counters.
        objects: Planned; likewise `size_bytes`.
    """

    transfer_id: str
    counted: str
    objects: int
    size_bytes: int


@dataclass(frozen=True, kw_only=True)
class StagingRepaired:
    """Objects that DistCp left out or copied wrongly were copied natively into its staging."""

    transfer_id: str
    objects: int
    removed: int


@dataclass(frozen=True, kw_only=True)
class TransferDone:
    """Verified, published and recorded in the ledger; the message may be deleted now.

    Attributes:
        size_bytes: Of all objects, including those that were at the destination already.
        copied_bytes: Of the objects that this transfer copied.
        read_bytes: Read from S3 by this attempt, repeated ranges included.
        placeholders: Directory placeholders that were skipped.
        proof_levels: (proof, objects) pairs; `checksum_sources` and `manifest` likewise as in
            `ManifestSum`.
    """

    transfer_id: str
    message_id: str | None
    source: str
    destination: str
    objects: int
    size_bytes: int
    copied_bytes: int
    placeholders: int
    adopted: int
    publish: str
    is_superseded: bool
    duration_s: float
    proof_levels: tuple[tuple[str, int], ...] = ()
    checksum_sources: tuple[tuple[str, int], ...] = ()
    manifest: str = ""
    read_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class SweepFailed:
    """Abandoned staging could not be found or removed; the next sweep tries again."""

    code: str
    reason: str
    transfer_id: str = ""


@dataclass(frozen=True, kw_only=True)
class StagingNotRemoved:
    """Staging of a dead transfer could not be removed; it is hidden and only costs space."""

    transfer_id: str
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class CallRetried:
    """SQS or the ledger did not answer a call that settles a message; it is called again.

    Attributes:
        call: Number of this call and its repetitions, within the agent.
        dependency: `sqs` or `ledger`.
    """

    call: int
    dependency: str
    code: str
    reason: str
    hint: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class CallRetriesEnded:
    """After `CallRetried`: the call was answered at last, or is not repeated any more.

    Attributes:
        tries: How many failed.
    """

    call: int
    tries: int
    is_answered: bool


@dataclass(frozen=True, kw_only=True)
class LedgerRecordMissed:
    """The ledger missed a change that only `status` and `show` read; the transfer goes on."""

    transfer_id: str
    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class RouteTargetWarned:
    """The file system of a route could not be checked when the agent started."""

    route: str
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class AttemptFailed:
    """The attempt failed; the message comes back after `retry_in_s`."""

    transfer_id: str
    message_id: str | None
    attempt: int
    code: str
    reason: str
    hint: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class MessageDead:
    """The message went to the dead-letter queue, or stays hidden where there is none."""

    transfer_id: str
    message_id: str
    code: str
    reason: str
    hint: str
    attempts: int
    dead_letter_queue: str | None


@dataclass(frozen=True, kw_only=True)
class TransferHeld:
    """A dependency is down; the transfer keeps its message and tries again.

    While a worker waits by itself, it is `TransferBlocked`.

    Attributes:
        transfer_id: Empty while the ledger has not counted the attempt.
    """

    transfer_id: str
    message_id: str
    dependency: str
    code: str
    reason: str
    hint: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class TransferBlocked:
    """A worker makes no progress because a dependency does not answer; it goes on waiting.

    Attributes:
        still_s: For how long nothing has moved.
    """

    transfer_id: str
    dependency: str
    code: str
    reason: str
    hint: str
    still_s: float


@dataclass(frozen=True, kw_only=True)
class TransferUnblocked:
    """The worker makes progress again."""

    transfer_id: str


@dataclass(frozen=True, kw_only=True)
class TransferResumed:
    """The dependency is back."""

    transfer_id: str
    message_id: str
    dependency: str
    held_s: float


@dataclass(frozen=True, kw_only=True)
class TransferWaiting:
    """Another live transfer owns the destination, or the route is full; it waits, unspent."""

    transfer_id: str
    destination: str
    retry_in_s: float


@dataclass(frozen=True, kw_only=True)
class TransferPaused:
    """An operator paused the route; the message is kept hidden without a slot, unspent."""

    transfer_id: str
    message_id: str
    route: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class MessageUnparked:
    """Its route is resumed or may have room, or the message would expire: it goes on, in a slot."""

    message_id: str
    route: str
    sent_at: datetime | None
    queue: str = ""


@dataclass(frozen=True, kw_only=True)
class ParkedMessageReturned:
    """A message of a paused route went back to the queue, hidden for so long; costs a receive."""

    message_id: str
    route: str
    hidden_s: int


@dataclass(frozen=True, kw_only=True)
class PausedRoutesChanged:
    """Operators paused or resumed routes, or a pause ended; `routes` are paused now.

    Attributes:
        is_everything: All that this queue may serve: the agent hardly polls.
        queue: Whose routes these are; empty where the agent works one queue.
    """

    routes: tuple[str, ...]
    is_everything: bool
    queue: str = ""


@dataclass(frozen=True, kw_only=True)
class RoutePausedItself:
    """Transfers of the route died one after the other of one cause: no further one begins.

    Attributes:
        deaths: How many.
        reason: Of the last one.
    """

    route: str
    code: str
    deaths: int
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class BudgetNearlyUsed:
    """Most of a budget is spent: once in each period.

    Attributes:
        route: Empty: the budget over all of them.
        reason: Which one, and how much of it.
        ends_at: When its period ends.
    """

    route: str
    reason: str
    ends_at: datetime
    hint: str


@dataclass(frozen=True, kw_only=True)
class BudgetHoldsChanged:
    """Other routes than before are held by their budgets; none: all go on.

    Attributes:
        queue: Whose messages wait for them; empty where the agent works one queue.
    """

    holds: tuple[BudgetHold, ...]
    queue: str = ""


@dataclass(frozen=True, kw_only=True)
class BudgetOutlivesQueue:
    """A budget holds a message for longer than its queue keeps it; once for route and period.

    Attributes:
        until: When the budget's period ends.
        dies_at: When the message gets a dead letter, or SQS deletes it where there can be none.
    """

    route: str
    message_id: str
    until: datetime
    dies_at: datetime
    hint: str


@dataclass(frozen=True, kw_only=True)
class PausedRoutesUnknown:
    """The ledger does not say which routes are paused; what is known holds for some seconds.

    After that no attempt begins. Emitted once, until the ledger answers again.
    """

    code: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class MessageReturned:
    """Handed back unspent because the agent stops."""

    transfer_id: str
    message_id: str


@dataclass(frozen=True, kw_only=True)
class VisibilityWasLost:
    """SQS no longer accepts the receipt handle; the message may be delivered again."""

    message_id: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class ThreadHung:
    """A thread of the agent hangs; the process ends, to be started again."""

    thread: str
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class MetricsNotWritten:
    """The file with the metrics could not be replaced; the next try is a quarter of a minute later.

    Emitted once a minute while it lasts.
    """

    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class WorkerReplaced:
    """A worker process died or was killed.

    Attributes:
        why: `died`, `stalled`, `interrupted` or `protocol`.
    """

    pid: int
    why: str


@dataclass(frozen=True, kw_only=True)
class AbandonedStagingRemoved:
    """A sweep removed staging that its transfer had left behind."""

    transfer_id: str
    staging: str


@dataclass(frozen=True, kw_only=True)
class ExpectationMissed:
    """A deadline has passed, and its data has not come; emitted once.

    Attributes:
        due: The deadline in its own time zone, for people.
        found: What is there, of what, and where.
        late_s: How long ago it was; long where no agent ran at that time.
    """

    route: str
    name: str
    deadline: datetime
    due: str
    found: str
    late_s: float


@dataclass(frozen=True, kw_only=True)
class ExpectationArrived:
    """All of it is there now, after its deadline; emitted once."""

    route: str
    name: str
    deadline: datetime
    due: str
    found: str
    late_s: float


@dataclass(frozen=True, kw_only=True)
class ForecastWarned:
    """At the present rate something breaks before the backlog is through."""

    subject: str
    code: str
    reason: str
    hint: str


@dataclass(frozen=True, kw_only=True)
class ForecastCleared:
    """It will not break any more, and has not been about to for a while."""

    subject: str
    code: str
