"""Counts what the facts of one agent report, and reads everything else at a scrape.

A receiver of facts: it must run before `core.agent.observer`, which forgets a transfer when that
ends. A fact costs it some microseconds, and no transfer waits for a scrape.
"""

from __future__ import annotations

import math
import re
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import date, datetime
from typing import Any

from prometheus_client import Histogram, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from backhaul.adapters.metrics import catalogue
from backhaul.adapters.metrics.catalogue import MetricFamily
from backhaul.adapters.metrics.figures import LedgerFigures, Scraped
from backhaul.adapters.metrics.text import TextFormat
from backhaul.core import facts
from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import AgentReport, QueueReport
from backhaul.core.cost.budget import USD, BudgetUnit
from backhaul.core.cost.egress import EgressRecorded
from backhaul.core.cost.prices import INTERNET, Dollars, EgressPrice, month_of
from backhaul.core.errors import DEPENDENCIES
from backhaul.core.health import HealthState
from backhaul.core.outlook.risks import RiskKind, known_kinds
from backhaul.core.ports import Clock
from backhaul.core.replies.delivery import ReplySent

NATIVE, DISTCP = "native", "distcp"
BEFORE_PROGRESS = "starting"  # the phase of a transfer that has not reported one
OTHER_CODE = "other"
CODES_MOST = 400  # more than there are; a code beyond them is counted as `OTHER_CODE`
MONTHS_KEPT = 2
DEAD_MOST = 10_000  # transfers remembered as counted
# Of `IntegrityError`; a test compares them with the source.
VERIFY_CODES = frozenset({"E_CHECKSUM", "E_LENGTH", "E_STORED"})
_CODE = re.compile(r"E_[A-Z0-9_]{1,60}")


class AgentMetrics:
    """The metrics of one agent.

    Args:
        routes: Configured ones, whose counters begin at 0.
        price: Of what leaves S3.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        observer: Observer,
        version: str,
        routes: Iterable[str] = (),
        price: EgressPrice = INTERNET,
    ) -> None:
        self.leads: Callable[[], bool] = lambda: True  # the one agent of a file
        self._costs = _MonthCosts(price)
        self._clock = clock
        self._observer = observer
        self._version = version
        self._text = TextFormat()
        self._rendering = threading.Lock()
        self._transfers = SeriesCounter(catalogue.TRANSFERS)
        self._attempts_failed = SeriesCounter(catalogue.ATTEMPTS_FAILED)
        self._bytes = SeriesCounter(catalogue.BYTES)
        self._cost = SeriesCounter(catalogue.COST)
        self._objects = SeriesCounter(catalogue.OBJECTS)
        self._verify_failures = SeriesCounter(catalogue.VERIFY_FAILURES)
        self._visibility_lost = SeriesCounter(catalogue.VISIBILITY_LOST)
        self._takeovers = SeriesCounter(catalogue.TAKEOVERS)
        self._fenced_writes = SeriesCounter(catalogue.FENCED_WRITES)
        self._worker_restarts = SeriesCounter(catalogue.WORKER_RESTARTS)
        self._replies_sent = SeriesCounter(catalogue.REPLIES_SENT)
        self._duration = _histogram(catalogue.DURATION)
        self._lag = _histogram(catalogue.LAG)
        self._commit = _histogram(catalogue.LEDGER_COMMIT)
        self._last_done: dict[str, datetime] = {}
        self._codes: set[str] = set()
        self._dead: dict[str, None] = {}  # in the order in which they came
        self._actions: dict[type, Callable[[Any], None]] = {
            facts.AttemptStarted: self._started,
            EgressRecorded: self._read,
            facts.AttemptFailed: self._failed,
            facts.TransferDone: self._done,
            facts.MessageDead: self._died,
            facts.TransferTakenOver: self._taken_over,
            ReplySent: lambda fact: self._replies_sent.add(_reply_target(fact.target)),
            facts.VisibilityWasLost: lambda _fact: self._visibility_lost.add(),
            facts.WorkerReplaced: lambda _fact: self._worker_restarts.add(),
        }
        self.add_routes(routes)

    def add_routes(self, routes: Iterable[str]) -> None:
        """Let the counters of these begin at 0, where they have not begun."""
        for route in routes:
            self._transfers.add(route, "done", "", amount=0)

    def __call__(self, fact: object) -> None:
        action = self._actions.get(type(fact))
        if action is not None:
            action(fact)

    def month_began_with(self, month: date, size_bytes: int) -> None:
        """So much had left S3 in this month when the agent started."""
        self._costs.begin(month, size_bytes)

    def committed(self, seconds: float) -> None:
        """The ledger committed."""
        self._commit.observe(seconds)

    def render(self, scraped: Scraped) -> bytes:
        """All metrics in Prometheus's text format; safe from every thread."""
        with self._rendering:
            return self._text.render([*self._gauges(scraped), *self._counted()])

    # ------------------------------------------------------------ facts

    def _started(self, fact: facts.AttemptStarted) -> None:
        if fact.is_takeover:
            self._takeovers.add()

    def _failed(self, fact: facts.AttemptFailed) -> None:
        route = self._observer.route_of(fact.transfer_id)
        self._attempts_failed.add(route, self._known(fact.code))
        self._count_verify_failure(fact.code)

    def _done(self, fact: facts.TransferDone) -> None:
        now, route = self._clock.now(), self._observer.route_of(fact.transfer_id)
        state = "superseded" if fact.is_superseded else "done"
        self._transfers.add(route, state, "")
        self._last_done[route] = now
        self._duration.observe(fact.duration_s)
        for proof, objects in fact.proof_levels:
            self._objects.add(route, proof, amount=objects)
        sent_at = self._observer.sent_at(fact.message_id) if fact.message_id else None
        if sent_at is not None:
            self._lag.observe(max(0.0, (now - sent_at).total_seconds()))

    def _died(self, fact: facts.MessageDead) -> None:
        # Without a dead-letter queue the message returns, and the fact with it.
        if fact.transfer_id in self._dead:
            return
        self._dead[fact.transfer_id] = None
        if len(self._dead) > DEAD_MOST:
            del self._dead[next(iter(self._dead))]
        route = self._observer.route_of(fact.transfer_id)
        self._transfers.add(route, "dead", self._known(fact.code))
        self._count_verify_failure(fact.code)

    def _taken_over(self, fact: facts.TransferTakenOver) -> None:
        if not fact.is_cancelled:
            self._fenced_writes.add()

    def _read(self, fact: EgressRecorded) -> None:
        for engine, egress in ((NATIVE, fact.native), (DISTCP, fact.distcp)):
            for purpose, size_bytes in egress.by_purpose() if egress.size_bytes else ():
                self._bytes.add(fact.route, engine, purpose.value, amount=size_bytes)
        size_bytes = fact.native.size_bytes + fact.distcp.size_bytes
        dollars = self._costs.add(size_bytes, month_of(self._clock.now()))
        self._cost.add(fact.route, amount=float(dollars))

    def _count_verify_failure(self, code: str) -> None:
        if code in VERIFY_CODES:
            self._verify_failures.add()

    def _known(self, code: str) -> str:
        """The code as a label: of a closed set, whatever a row of the ledger holds."""
        if code not in self._codes:
            if len(self._codes) >= CODES_MOST or _CODE.fullmatch(code) is None:
                return OTHER_CODE
            self._codes.add(code)
        return code

    # ------------------------------------------------------------ gauges

    def _gauges(self, scraped: Scraped) -> Iterator[Metric]:
        yield _gauge(catalogue.BUILD_INFO, {(self._version,): 1})
        yield _gauge(catalogue.READY, {(): scraped.health.is_healthy})
        state = scraped.health.state
        yield _gauge(catalogue.HEALTH, {(one.value,): one is state for one in HealthState})
        held = {one.dependency for one in scraped.report.holds}
        yield _gauge(catalogue.HOLD, {(one,): one in held for one in DEPENDENCIES})
        yield _gauge(catalogue.LEADER, {(): self.leads()})
        limit = scraped.rate_limit_bytes
        yield _gauge(catalogue.RATE_LIMIT, {(): math.inf if limit is None else limit})
        if scraped.figures is not None:
            yield _gauge(catalogue.AGENTS_ALIVE, {(): scraped.figures.agents_alive})
        yield self._running(scraped.report)
        yield self._last_done_gauge(scraped.figures)
        if scraped.queue:
            yield from _queue_gauges(scraped)
        if scraped.figures is not None:
            queues = {name for name, _ in _by_queue(scraped)}
            yield from _outlook_gauges(scraped.figures, queues)
            yield from _budget_gauges(scraped.figures)
            yield from _reconciled_gauges(scraped.figures)
            yield from _reply_gauges(scraped.figures)

    def _running(self, report: AgentReport) -> Metric:
        counts: dict[tuple[str, ...], float] = {}
        for one in report.running:
            key = (one.route, one.engine or NATIVE, one.phase or BEFORE_PROGRESS)
            counts[key] = counts.get(key, 0) + 1
        return _gauge(catalogue.RUNNING, counts)

    def _last_done_gauge(self, figures: LedgerFigures | None) -> Metric:
        known = {**(figures.last_done if figures else {}), **self._last_done.copy()}
        values: dict[tuple[str, ...], float] = {
            (route,): at.timestamp() for route, at in sorted(known.items())
        }
        return _gauge(catalogue.LAST_DONE, values)

    def _counted(self) -> Iterator[Metric]:
        for counter in (
            self._transfers,
            self._attempts_failed,
            self._bytes,
            self._cost,
            self._objects,
            self._verify_failures,
            self._visibility_lost,
            self._takeovers,
            self._fenced_writes,
            self._worker_restarts,
            self._replies_sent,
        ):
            yield counter.metric()
        for histogram in (self._duration, self._lag, self._commit):
            yield from histogram.collect()


class _MonthCosts:
    """Prices bytes by what of their month was read before them; safe from every thread.

    A fact of the month before may come when the present one has begun already.
    """

    def __init__(self, price: EgressPrice) -> None:
        self._price = price
        self._lock = threading.Lock()
        self._bytes: dict[date, int] = {}  # of the latest months

    def begin(self, month: date, size_bytes: int) -> None:
        with self._lock:
            self._bytes[month] = size_bytes

    def add(self, size_bytes: int, month: date) -> Dollars:
        with self._lock:
            before = self._bytes.get(month, 0)
            self._bytes[month] = before + size_bytes
            while len(self._bytes) > MONTHS_KEPT:
                del self._bytes[min(self._bytes)]
        return self._price.cost(size_bytes, month_bytes=before)


class SeriesCounter:
    """A counter with all its series; safe from every thread.

    prometheus-client's own makes three objects for each series of a scrape, this one makes one.
    """

    def __init__(self, family: MetricFamily) -> None:
        self._family = family
        self._lock = threading.Lock()
        # Without labels there is one series, from the beginning.
        self._values: dict[tuple[str, ...], float] = {} if family.labels else {(): 0}

    def add(self, *labels: str, amount: float = 1) -> None:
        """Add to the series with these labels, which begins at 0."""
        with self._lock:
            self._values[labels] = self._values.get(labels, 0) + amount

    def metric(self) -> Metric:
        """As of now."""
        family = self._family
        made = CounterMetricFamily(family.full_name, family.meaning, labels=family.labels)
        with self._lock:
            values = self._values.copy()
        for labels, value in values.items():
            made.add_metric(labels, value)
        return made


def _histogram(family: MetricFamily) -> Histogram:
    return Histogram(family.full_name, family.meaning, buckets=family.buckets, registry=None)


def _queue_gauges(scraped: Scraped) -> Iterator[Metric]:
    found: dict[MetricFamily, dict[tuple[str, ...], float]] = defaultdict(dict)
    for name, report in _by_queue(scraped):
        for family, value in _of_queue(report, scraped.at):
            found[family][name,] = value
    for family, values in found.items():
        yield _gauge(family, values)


def _by_queue(scraped: Scraped) -> list[tuple[str, AgentReport | QueueReport]]:
    if scraped.report.queues:
        return [(one.queue, one) for one in scraped.report.queues]
    return [(scraped.queue, scraped.report)]


def _of_queue(
    report: AgentReport | QueueReport, now: datetime
) -> Iterator[tuple[MetricFamily, float]]:
    if report.last_poll_at is not None:
        yield catalogue.LAST_POLL, report.last_poll_at.timestamp()
    depth = report.depth
    age = None
    if report.oldest_sent_at is not None:
        age = max(0.0, (now - report.oldest_sent_at).total_seconds())
    elif depth is not None and not depth.visible:
        age = 0.0  # an empty queue has no age that could be too high
    if age is not None:
        yield catalogue.OLDEST_AGE, age
    if depth is None:
        return
    yield catalogue.VISIBLE, depth.visible
    yield catalogue.IN_FLIGHT, depth.in_flight
    if depth.retention_s and age is not None:
        yield catalogue.RETENTION_USED, age / depth.retention_s
    if depth.dead_letters is not None:
        yield catalogue.DEAD_LETTERS, depth.dead_letters


def _outlook_gauges(figures: LedgerFigures, queues: Collection[str]) -> Iterator[Metric]:
    """What is unknown is not there: a rule that asks for it must not take it for 0."""
    found: dict[MetricFamily, dict[tuple[str, ...], float]] = defaultdict(dict)
    for one in figures.forecasts:
        if one.queue not in queues:
            continue  # of another agent, which has it
        if one.size_bytes is not None:
            found[catalogue.BACKLOG][one.queue,] = one.size_bytes
        if one.left is not None:
            found[catalogue.BACKLOG_LEFT][one.queue,] = one.left.total_seconds()
        if one.retention_share is not None:
            found[catalogue.RETENTION_FORECAST][one.queue,] = one.retention_share
    for family, values in found.items():
        yield _gauge(family, values)
    kinds = {one.kind for one in figures.risks}
    known = known_kinds(figures.forecasts, figures.expectations)
    shown = [kind for kind in RiskKind if kind in kinds or kind in known]
    yield _gauge(catalogue.AT_RISK, {(kind.value,): kind in kinds for kind in shown})
    met: dict[tuple[str, ...], float] = {}
    deadlines: dict[tuple[str, ...], float] = {}
    objects: dict[tuple[str, ...], float] = {}
    for status in figures.expectations:
        key = (status.next.route, status.next.name)
        if status.last is not None:
            met[key] = not status.is_missed
        deadlines[key] = status.next.deadline.timestamp()
        if status.next.found is not None:
            objects[key] = status.next.found.objects
    yield _gauge(catalogue.EXPECTATION_MET, met)
    yield _gauge(catalogue.EXPECTATION_DEADLINE, deadlines)
    yield _gauge(catalogue.EXPECTATION_OBJECTS, objects)


def _budget_gauges(figures: LedgerFigures) -> Iterator[Metric]:
    used: dict[tuple[str, ...], float] = {}
    limits = {unit: dict[tuple[str, ...], float]() for unit in BudgetUnit}
    spent = {unit: dict[tuple[str, ...], float]() for unit in BudgetUnit}
    for one in figures.budgets:
        unit, key = one.budget.unit, (one.budget.route,)
        used[key] = one.spent / one.limit
        scale = USD if unit is BudgetUnit.USD else 1
        limits[unit][key], spent[unit][key] = one.limit / scale, one.spent / scale
    yield _gauge(catalogue.BUDGET_USED, used)
    yield _gauge(catalogue.BUDGET_BYTES, limits[BudgetUnit.BYTES])
    yield _gauge(catalogue.BUDGET_SPENT_BYTES, spent[BudgetUnit.BYTES])
    yield _gauge(catalogue.BUDGET_USD, limits[BudgetUnit.USD])
    yield _gauge(catalogue.BUDGET_SPENT_USD, spent[BudgetUnit.USD])


def _reconciled_gauges(figures: LedgerFigures) -> Iterator[Metric]:
    objects: dict[tuple[str, ...], float] = {
        (one.route, kind): count
        for one in figures.reconciled
        for kind, (count, _) in one.totals.items()
    }
    yield _gauge(catalogue.RECONCILE_OBJECTS, objects)
    ended: dict[tuple[str, ...], float] = {
        (one.route,): one.finished_at.timestamp() for one in figures.reconciled
    }
    yield _gauge(catalogue.RECONCILED_AT, ended)


def _reply_gauges(figures: LedgerFigures) -> Iterator[Metric]:
    waiting: dict[tuple[str, ...], float] = {}
    dead: dict[tuple[str, ...], float] = {}
    for one in figures.replies:
        key = (_reply_target(one.target),)
        waiting[key] = waiting.get(key, 0) + one.waiting
        dead[key] = dead.get(key, 0) + one.dead
    yield _gauge(catalogue.REPLIES_WAITING, waiting)
    yield _gauge(catalogue.REPLIES_DEAD, dead)


def _reply_target(target: str) -> str:
    """A name of the configuration; addresses, which messages choose, are counted together."""
    return "reply_to" if ":" in target else target


def _gauge(family: MetricFamily, values: Mapping[tuple[str, ...], float]) -> Metric:
    made = GaugeMetricFamily(family.full_name, family.meaning, labels=family.labels)
    for labels, value in values.items():
        made.add_metric(labels, value)
    return made
