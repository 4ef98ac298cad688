"""Agents of a simulation that report: what befalls these calls, and what must hold of them.

The calls meet faults with a chance of their own, and no other call depends on them: a schedule is
the same with reports and without, whatever befalls them. What a reader would see:

    H1  a live agent whose reports are not disturbed is never silent
    H2  a report names no more than the agent has in hand, and nothing of what it had
    H3  each end of a transfer is summed up once
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from backhaul.core.agent.observer import Observer
from backhaul.core.agent.reporting import Reporter
from backhaul.core.agent_report import REPORT_EVERY_S, SILENT_AFTER, AgentIdentity, AgentRecord
from backhaul.core.health import Health, HealthState, ObservedAgent, agent_health, health
from backhaul.core.model import TransferState
from backhaul.testing.fakes import MemoryFile, MemoryLedger
from tests.sim.ghost import Violation

if TYPE_CHECKING:
    from tests.sim.world import Running, Sim

REPORT_FAULTS = ("fail", "lost", "down", "slow")
RATE = 0.1
SLOW_S = (50, 130, 300)
LATELY = timedelta(seconds=5)
LONG = timedelta(days=10_000)


class Reports:
    """The reporter of one agent."""

    def __init__(self, sim: Sim, process: Running, ledger: MemoryLedger, file: MemoryFile) -> None:
        self._sim = sim
        self._process = process
        self._file = file
        self._well_since_s = sim.clock.now_s  # nothing has disturbed a report since
        self.identity = AgentIdentity(
            id=process.name,
            host=f"edge{process.seat}",
            owner=process.name,
            version="1",
            queue="q",
            region="us-east-1",
            slots=sim.shape.slots,
            started_at=sim.clock.now(),
        )
        self.observer = Observer(sim.clock, slots=sim.shape.slots)
        self.reporter = Reporter(
            identity=self.identity,
            observer=self.observer,
            queues={"q": sim.queue},
            ledger=ledger,
            clock=sim.clock,
            published=self._published,
        )

    def draw(self, name: str) -> str | None:
        """What happens to a call of the report."""
        sim, chance = self._sim, self._sim.scheduler.aside
        kind = None
        if sim.is_down(name):
            kind = "down"
        elif not sim.is_calm and chance.random() < RATE:
            kind = chance.choice(REPORT_FAULTS)
        if kind is None:
            return None
        self._well_since_s = sim.clock.now_s
        if kind != "slow":
            return kind
        slow_s = chance.choice(SLOW_S)
        self._well_since_s += slow_s
        sim.scheduler.sleep(slow_s)
        return None

    @property
    def _record(self) -> AgentRecord:
        return AgentRecord(identity=self.identity, report=self.observer.report(), beats=1)

    def _published(self, _health: Health) -> None:
        report, agent = self.observer.report(), self._process.agent
        assert agent is not None
        if report.in_hand > agent.busy or len(report.running) > report.in_hand:
            raise Violation(
                f"H2 {len(report.running)} under way, {report.in_hand} in hand, {agent.busy} busy"
            )
        if sum(one.transfers for one in report.holds) > agent.busy:
            raise Violation(f"H2 {report.holds} with {agent.busy} busy")

    def check(self) -> None:
        """H1, at any time."""
        clock = self._sim.clock
        well_since_s = max(self._well_since_s, self._process.paused_until_s)
        if clock.now_s - well_since_s < (SILENT_AFTER + timedelta(seconds=REPORT_EVERY_S)).seconds:
            return
        known = self._file.agents.get(self.identity.id)
        seen = [] if known is None else [ObservedAgent(record=known)]
        found = health(seen, clock.now())
        if found.state is HealthState.NOT_RUNNING:
            raise Violation(f"H1 {self.identity.id} lives, and this is shown: {found.sentence}")

    def check_end(self) -> None:
        """H2: nothing is left of what was in hand."""
        agent = self._process.agent
        assert agent is not None
        if agent.busy:
            return
        report = self.observer.report()
        left = [one for one in report.holds if one.dependency != "ledger" or one.transfers]
        if report.in_hand or report.running or left:
            raise Violation(f"H2 left of what was in hand: {report}")
        has_polled = report.last_poll_at is not None and report.at - report.last_poll_at < LATELY
        is_well = not report.holds and not report.failed_polls and has_polled
        found = agent_health(self._record, report.at)
        if is_well and found.state is not HealthState.RUNNING and not report.is_stopping:
            raise Violation(f"H2 all is well, and this is shown: {found.sentence}")


def check_sums(file: MemoryFile) -> None:
    """H3."""
    ledger = MemoryLedger(file, "reader")
    while ledger.sum_activity(most=100):
        pass
    now = datetime.now(UTC)
    for span in (timedelta(minutes=5), timedelta(hours=1)):
        sums = ledger.activity(span, now - LONG, now + LONG)
        for name, states in (
            ("dead", {TransferState.DEAD}),
            ("done", {TransferState.DONE, TransferState.SUPERSEDED}),
        ):
            ended = sum(row.state in states for row in file.transfers.values())
            summed = sum(one.counts[name] for one in sums)
            if ended != summed:
                raise Violation(f"H3 {ended} ended as {name}, and {summed} are summed up")
