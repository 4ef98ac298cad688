"""Every metric once: name, kind, labels and meaning. The manual's table is held to this list.

Seconds, bytes and ratios, never multiples. Labels come from the configuration and from closed sets
alone: nothing that a message holds becomes a label.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFIX = "backhaul_"
DURATIONS_S = (0.1, 0.5, 1, 2.5, 5, 15, 60, 300, 900, 3600, 14_400, 43_200)
LAGS_S = (1, 5, 15, 60, 300, 900, 3600, 14_400, 43_200, 86_400, 345_600)
COMMITS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30)


class MetricKind(StrEnum):
    """As Prometheus calls it."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, kw_only=True)
class MetricFamily:
    """One metric.

    Attributes:
        name: Without the prefix; a counter ends in `_total`.
        meaning: One line; the metric's HELP.
        buckets: Upper bounds of a histogram.
    """

    name: str
    kind: MetricKind
    meaning: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def full_name(self) -> str:
        """As it is scraped."""
        return f"{PREFIX}{self.name}"


def _counter(name: str, meaning: str, *labels: str) -> MetricFamily:
    return MetricFamily(name=name, kind=MetricKind.COUNTER, meaning=meaning, labels=labels)


def _gauge(name: str, meaning: str, *labels: str) -> MetricFamily:
    return MetricFamily(name=name, kind=MetricKind.GAUGE, meaning=meaning, labels=labels)


def _histogram(name: str, meaning: str, buckets: tuple[float, ...]) -> MetricFamily:
    return MetricFamily(name=name, kind=MetricKind.HISTOGRAM, meaning=meaning, buckets=buckets)


# ---------------------------------------------------------------- the agent

BUILD_INFO = _gauge("build_info", "1; the label is the version.", "version")
READY = _gauge("ready", "1 while healthy, as /readyz answers; else 0.")
HEALTH = _gauge("health", "1 for the present state, 0 for the others.", "state")
HOLD = _gauge("hold", "1 while polling or transfers wait for this dependency.", "dependency")
AGENTS_ALIVE = _gauge("agents_alive", "Agents on this ledger that reported within a minute.")
LEADER = _gauge("leader", "1 while this agent does what one agent of a ledger does.")
TAKEOVERS = _counter("takeovers_total", "Transfers continued that another process left.")
FENCED_WRITES = _counter(
    "fenced_writes_total", "Attempts stopped because another process had the transfer."
)
WORKER_RESTARTS = _counter("worker_restarts_total", "Workers replaced: died, stalled or stopped.")
LEDGER_COMMIT = _histogram("ledger_commit_seconds", "Time of one commit of the ledger.", COMMITS_S)
RATE_LIMIT = _gauge("rate_limit_bytes", "Bytes per second allowed from S3 now; +Inf: no limit.")

# ---------------------------------------------------------------- transfers

TRANSFERS = _counter("transfers_total", "Transfers that ended.", "route", "state", "code")
ATTEMPTS_FAILED = _counter(
    "attempts_failed_total", "Failed attempts that another one follows.", "route", "code"
)
RUNNING = _gauge("transfers_running", "Transfers under way.", "route", "engine", "phase")
BYTES = _counter("bytes_total", "Bytes read from S3, by purpose.", "route", "engine", "purpose")
COST = _counter("cost_usd_total", "Dollars for bytes read from S3, by [cost].", "route")
OBJECTS = _counter("objects_total", "Objects published or adopted, by proof.", "route", "proof")
DURATION = _histogram(
    "transfer_duration_seconds", "From the start of the last attempt to done.", DURATIONS_S
)
LAG = _histogram("arrival_lag_seconds", "From the sending of a message to done.", LAGS_S)
LAST_DONE = _gauge("last_done_timestamp_seconds", "When a transfer was last done.", "route")
VERIFY_FAILURES = _counter(
    "verify_failures_total", "Attempts ended because bytes or lengths differed."
)

# ---------------------------------------------------------------- the queue

VISIBLE = _gauge("queue_visible", "Messages that wait in the queue, by SQS's count.", "queue")
IN_FLIGHT = _gauge("queue_in_flight", "Messages received and hidden, by SQS's count.", "queue")
OLDEST_AGE = _gauge("queue_oldest_age_seconds", "Age of the oldest known message.", "queue")
RETENTION_USED = _gauge(
    "queue_retention_used_ratio", "That age divided by the queue's retention.", "queue"
)
BACKLOG = _gauge(
    "backlog_bytes", "What is left to copy: sizes that are known, else the mean of a day.", "queue"
)
BACKLOG_LEFT = _gauge(
    "backlog_left_seconds", "Until the backlog is through, at the present rate.", "queue"
)
RETENTION_FORECAST = _gauge(
    "retention_forecast_ratio", "Of the retention, used once the backlog is through.", "queue"
)
LAST_POLL = _gauge(
    "last_poll_success_timestamp_seconds", "When SQS last answered a receive.", "queue"
)
DEAD_LETTERS = _gauge("dead_letters", "Messages in the dead-letter queue.", "queue")
VISIBILITY_LOST = _counter(
    "visibility_lost_total", "Receipt handles that SQS refused: may be delivered again."
)

# ---------------------------------------------------------------- data that should have come

EXPECTATION_MET = _gauge(
    "expectation_met", "0 while data that was due at its last deadline is missing.", "route", "name"
)
EXPECTATION_DEADLINE = _gauge(
    "expectation_deadline_timestamp_seconds", "The next deadline.", "route", "name"
)
EXPECTATION_OBJECTS = _gauge(
    "expectation_objects", "Objects that are there for the next deadline.", "route", "name"
)
AT_RISK = _gauge("at_risk", "1 while the backlog will break a retention or deadline.", "kind")

# ---------------------------------------------------------------- budgets

BUDGET_USED = _gauge(
    "budget_used_ratio", "Spent of what the budget allows in this period.", "route"
)
BUDGET_BYTES = _gauge("budget_bytes", "What a budget in bytes allows in this period.", "route")
BUDGET_SPENT_BYTES = _gauge("budget_spent_bytes", "What is spent of it.", "route")
BUDGET_USD = _gauge("budget_usd", "What a budget in dollars allows in this period.", "route")
BUDGET_SPENT_USD = _gauge("budget_spent_usd", "What is spent of it.", "route")

# ---------------------------------------------------------------- reconciliations

RECONCILE_OBJECTS = _gauge(
    "reconcile_objects", "Paths of each class in the last reconciliation.", "route", "class"
)
RECONCILED_AT = _gauge(
    "reconcile_last_timestamp_seconds", "When the last reconciliation ended.", "route"
)

# ---------------------------------------------------------------- replies

REPLIES_SENT = _counter("replies_sent_total", "Replies that their target has taken.", "target")
REPLIES_WAITING = _gauge("replies_waiting", "Replies that wait for a try.", "target")
REPLIES_DEAD = _gauge("replies_dead", "Replies that were given up.", "target")

CATALOGUE = (
    *(BUILD_INFO, READY, HEALTH, HOLD, AGENTS_ALIVE, LEADER, TAKEOVERS, FENCED_WRITES),
    *(WORKER_RESTARTS, LEDGER_COMMIT, RATE_LIMIT),
    *(TRANSFERS, ATTEMPTS_FAILED, RUNNING, BYTES, COST, OBJECTS, DURATION, LAG, LAST_DONE),
    VERIFY_FAILURES,
    *(VISIBLE, IN_FLIGHT, OLDEST_AGE, RETENTION_USED, BACKLOG, BACKLOG_LEFT),
    *(RETENTION_FORECAST, LAST_POLL, DEAD_LETTERS, VISIBILITY_LOST),
    *(EXPECTATION_MET, EXPECTATION_DEADLINE, EXPECTATION_OBJECTS, AT_RISK),
    *(BUDGET_USED, BUDGET_BYTES, BUDGET_SPENT_BYTES, BUDGET_USD, BUDGET_SPENT_USD),
    *(RECONCILE_OBJECTS, RECONCILED_AT),
    *(REPLIES_SENT, REPLIES_WAITING, REPLIES_DEAD),
)
