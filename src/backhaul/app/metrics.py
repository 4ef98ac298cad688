"""`[metrics]` of the agent: counts facts, answers scrapes and probes, writes the file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul import __version__
from backhaul.adapters.ledger import SqlLedger, find_reader
from backhaul.adapters.metrics.figures import LedgerFigures, Scraped
from backhaul.adapters.metrics.http_message import HttpAnswer
from backhaul.adapters.metrics.server import MetricsServer
from backhaul.adapters.metrics.text import CONTENT_TYPE
from backhaul.adapters.metrics.textfile import TextFile
from backhaul.adapters.system.governor import GovernorSpec
from backhaul.app.budget_states import states_of
from backhaul.app.context import Context
from backhaul.app.ports import governor_spec
from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import AgentIdentity, AgentRecord
from backhaul.core.cost.prices import month_of
from backhaul.core.errors import BackhaulError
from backhaul.core.facts import InstallationWarned, MetricsNotWritten
from backhaul.core.health import Health, HealthState, agent_health
from backhaul.core.outlook.expectation import statuses
from backhaul.core.outlook.forecast import forecasts
from backhaul.core.outlook.risks import risks
from backhaul.core.ports import Clock, Emit
from backhaul.core.text import redacted, visible
from backhaul.settings.model import in_home

if TYPE_CHECKING:
    from backhaul.adapters.metrics.collector import AgentMetrics

LIVE_WITHIN_S = 60.0  # the main thread turns once a second
TEXTFILE_EVERY_S = 15.0
FIGURES_EVERY_S = 30.0
FIGURES_AGAIN_S = 5.0  # while there are none
WARNED_EVERY_S = 60.0
LINE_MOST = 2000  # characters
JOIN_S = 2.0
_LAST_DONE_WITHIN = timedelta(days=30)


class MetricsExport:
    """Of one agent. Without `[metrics]` it does nothing and costs nothing.

    Args:
        turn: Held while this process reads the ledger.

    Attributes:
        receivers: Of facts; they run before the observer.
    """

    def __init__(
        self, context: Context, observer: Observer, clock: Clock, turn: threading.Lock
    ) -> None:
        self._settings = context.settings.metrics
        self._ledger_path = context.settings.ledger_place
        self._budgets, self._price = context.settings.budgets, context.settings.cost.price
        self._governor = governor_spec(context.settings).open()
        self._observer = observer
        self._clock = clock
        self._turn = turn
        self._identity: AgentIdentity | None = None
        self._figures: LedgerFigures | None = None
        self._beat_s: float | None = None
        self._has_ended = False
        self._looking = threading.Lock()
        self._metrics: AgentMetrics | None = None
        self.receivers: tuple[Emit, ...] = ()
        if self._settings.listen or self._settings.textfile:
            # Only here: loading the library takes a while.
            from backhaul.adapters.metrics.collector import AgentMetrics

            routes = [route.name for route in context.policy.routes]
            self._metrics = AgentMetrics(
                clock=clock,
                observer=observer,
                version=__version__,
                routes=routes,
                price=context.settings.cost.price,
            )
            self.receivers = (self._metrics,)

    def add_routes(self, context: Context) -> None:
        """After a reload: routes that came have counters from then on."""
        if self._metrics is not None:
            self._metrics.add_routes(route.name for route in context.policy.routes)
        self._budgets = context.settings.budgets

    @contextmanager
    def opened(self, emit: Emit) -> Iterator[None]:
        """Answers and writes until the end of the block; it shows the end, too.

        Raises:
            ConfigurationError, TransientError: E_METRICS_LISTEN, E_METRICS_TEXTFILE.
        """
        if self._metrics is None:
            yield
            return
        with ExitStack() as stack:
            if (address := self._settings.address) is not None:
                server = self._listen(*address, emit)
                stack.callback(server.close)
            if self._settings.textfile is not None:
                written = self._textfile(in_home(self._settings.textfile), emit)
                stack.enter_context(
                    _repeated(
                        "textfile", lambda: TEXTFILE_EVERY_S, written, emit, is_last_wanted=True
                    )
                )
            every_s = self._figures_every_s
            stack.enter_context(_repeated("figures", every_s, self._read_figures, emit))
            try:
                yield
            finally:
                self._has_ended = True

    def limited_by(self, spec: GovernorSpec) -> None:
        """The byte rate that is shown."""
        self._governor = spec.open()

    def follow(self, identity: AgentIdentity, ledger: SqlLedger) -> None:
        """The queue and the ledger have answered: from here on the agent's own health is shown."""
        if self._metrics is not None:
            ledger.observe_commits(self._metrics.committed)
            self._metrics.leads = lambda: ledger.standing.is_leader
            month = month_of(self._clock.now())
            self._metrics.month_began_with(month, ledger.egress_since(month).size_bytes)
        self._identity = identity

    def beat(self) -> None:
        """The main thread turns."""
        self._beat_s = self._clock.monotonic()

    # ------------------------------------------------------------ what is opened

    def _listen(self, host: str, port: int, emit: Emit) -> MetricsServer:
        pages = {"/metrics": self.metrics, "/livez": self.livez, "/readyz": self.readyz}
        server = MetricsServer.listen(host, port, pages, emit)
        server.start()
        if server.is_open:
            emit(
                InstallationWarned(
                    code="W_METRICS_OPEN",
                    reason=f"metrics.listen = {server.name}: whoever reaches this machine may read"
                    " the metrics, with the names of routes and queues",
                    hint="127.0.0.1, or a firewall that lets Prometheus alone through",
                )
            )
        return server

    def _textfile(self, path: Path, emit: Emit) -> Callable[[], None]:
        file = TextFile(path, lambda: self.metrics().body)
        file.write()
        if path.suffix != ".prom":
            emit(
                InstallationWarned(
                    code="W_METRICS_NAME",
                    reason=f"metrics.textfile = {path}: node_exporter reads only files that end in"
                    " .prom",
                    hint="name it backhaul.prom, unless something else reads it",
                )
            )
        silent_until_s = 0.0

        def write() -> None:
            nonlocal silent_until_s
            try:
                file.write()
            except BackhaulError as error:
                now_s = self._clock.monotonic()
                if now_s >= silent_until_s:
                    silent_until_s = now_s + WARNED_EVERY_S
                    emit(MetricsNotWritten(code=error.code, reason=error.message, hint=error.hint))

        return write

    # ------------------------------------------------------------ pages

    def metrics(self) -> HttpAnswer:
        """Everything, in Prometheus's text format."""
        if self._metrics is None:
            raise AssertionError("there is no page without [metrics]")
        with self._looking:
            now, identity = self._clock.now(), self._identity
            scraped = Scraped(
                at=now,
                health=self._health(),
                report=self._observer.report(),
                queue=identity.queue if identity else "",
                rate_limit_bytes=self._governor.limit().bytes_per_s,
                figures=self._figures,
            )
            return HttpAnswer(body=self._metrics.render(scraped), content_type=CONTENT_TYPE)

    def livez(self) -> HttpAnswer:
        """200 while the main thread turns, and during the start, when it has other work."""
        if self._beat_s is not None:
            silent_s = self._clock.monotonic() - self._beat_s
            if silent_s > LIVE_WITHIN_S:
                return HttpAnswer.of(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"the main thread has not moved for {silent_s:.0f} s",
                )
        return HttpAnswer.of(HTTPStatus.OK, "alive")

    def readyz(self) -> HttpAnswer:
        """The health sentence, with its code and fix; 200 only while healthy."""
        health = self._health()
        found = {"": health.sentence, "code: ": health.code, "hint: ": health.hint}
        lines = [f"{name}{_shown(text)}" for name, text in found.items() if text]
        status = HTTPStatus.OK if health.is_healthy else HTTPStatus.SERVICE_UNAVAILABLE
        return HttpAnswer.of(status, "\n".join(lines))

    def _health(self) -> Health:
        if self._has_ended:
            return Health(state=HealthState.NOT_RUNNING, sentence="Not running: the agent stopped")
        if self._identity is None:
            sentence = "Starting: ledger, queue and targets are checked before the first poll"
            return Health(state=HealthState.NOT_POLLING, sentence=sentence)
        record = AgentRecord(identity=self._identity, report=self._observer.report(), beats=0)
        return agent_health(record, self._clock.now())

    # ------------------------------------------------------------ the ledger

    def _figures_every_s(self) -> float:
        return FIGURES_AGAIN_S if self._figures is None else FIGURES_EVERY_S

    def _read_figures(self) -> None:
        """What the ledger alone knows; nothing while it does not answer, which `hold` shows."""
        now = self._clock.now()
        if self._identity is None:
            return  # the ledger is not of this version yet, or not there
        try:
            reader = find_reader(self._ledger_path, turn=self._turn)
            if reader is None:
                return
            with closing(reader):
                last_done = self._figures.last_done if self._figures else None
                if last_done is None:  # from before this start; later ones are counted
                    last_done = reader.last_done(now - _LAST_DONE_WITHIN)
                agents = reader.agents()
                found = forecasts(reader, agents, now)
                expected = tuple(statuses(reader.expectations()))
                self._figures = LedgerFigures(
                    agents_alive=sum(one.is_alive(now) for one in agents),
                    forecasts=found,
                    expectations=expected,
                    risks=risks(found, expected),
                    budgets=tuple(states_of(reader, self._budgets, self._price, now)),
                    reconciled=tuple(reader.last_reconciled()),
                    replies=tuple(reader.reply_counts()),
                    last_done=last_done,
                )
        except BackhaulError:
            self._figures = None
        except Exception:
            self._figures = None  # old ones would look like those of now
            raise


def _shown(text: str) -> str:
    """On one line and without secrets: reasons quote foreign answers."""
    return visible(redacted(text), LINE_MOST)


@contextmanager
def _repeated(
    name: str,
    every_s: Callable[[], float],
    action: Callable[[], None],
    emit: Emit,
    *,
    is_last_wanted: bool = False,
) -> Iterator[None]:
    """Call it now and again in a thread of its own, until the end of the block.

    Args:
        emit: Gets a defect of it, once a minute while it lasts; the next call comes all the same.
        is_last_wanted: Once more at the end.
    """
    over = threading.Event()
    silent_until_s = 0.0

    def call() -> None:
        nonlocal silent_until_s
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a defect must not end the thread
            now_s = time.monotonic()
            if now_s >= silent_until_s:
                silent_until_s = now_s + WARNED_EVERY_S
                emit(error)  # with its traceback

    def repeat() -> None:
        due_s = time.monotonic()
        while not over.wait(max(0.0, due_s - time.monotonic())):
            call()
            due_s = time.monotonic() + every_s()
        if is_last_wanted:
            call()

    thread = threading.Thread(target=repeat, name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(JOIN_S)  # one that waits for a hanging disk keeps nothing from ending
