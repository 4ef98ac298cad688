"""Health: one sentence, the same in `status`, `/readyz`, metrics and on the dashboard.

Pure. Degraded is only what lasts and an operator has to fix, and only the success of the same thing
clears it: three failed polls in a row, a dependency that transfers wait for, an agent that is gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from backhaul.core.agent_report import SILENT_AFTER, AgentRecord, DependencyHold
from backhaul.core.units import human_span

FAILED_POLLS = 3
POLL_OVERDUE = timedelta(seconds=120)  # a long poll takes 20 s, its dead connection 25 s


class HealthState(StrEnum):
    """The first that is true, in this order of urgency."""

    NOT_RUNNING = "not-running"
    NOT_POLLING = "not-polling"
    HELD = "held"
    STOPPING = "stopping"
    RUNNING = "running"


@dataclass(frozen=True, kw_only=True)
class Health:
    """How it is, and what to do about it.

    Attributes:
        sentence: One line, with the dependency and since when; no final full stop.
        code: The error behind it; empty where there is none.
        hint: The fix; empty where nothing is to be done.
        since: When it began; None while running.
    """

    state: HealthState
    sentence: str
    code: str = ""
    hint: str = ""
    since: datetime | None = None

    @property
    def is_healthy(self) -> bool:
        """What `/readyz` answers with 200."""
        return self.state is HealthState.RUNNING


@dataclass(frozen=True, kw_only=True)
class ObservedAgent:
    """An agent's record, and whether its process is known to have ended.

    Attributes:
        is_gone: Its process is not there any more, seen from its own host; False: it is there, or
            this is another host.
    """

    record: AgentRecord
    is_gone: bool = False

    def is_alive(self, now: datetime) -> bool:
        """It reported within `SILENT_AFTER` and has not ended."""
        record = self.record
        if record.ended_at is not None or self.is_gone:
            return False
        return now - record.report.at < SILENT_AFTER


def health(agents: Sequence[ObservedAgent], now: datetime) -> Health:
    """The health of all agents on one ledger: the most urgent thing that is not well.

    Args:
        agents: Newest start first.
    """
    alive = [one.record for one in agents if one.is_alive(now)]
    if not alive:
        return _not_running(agents, now)
    judged = [agent_health(one, now) for one in alive]
    worst = min(judged, key=lambda one: list(HealthState).index(one.state))
    if worst.state is not HealthState.RUNNING:
        return worst
    running = sum(len(one.report.running) for one in alive)
    return Health(state=HealthState.RUNNING, sentence=_running(running, alive))


def agent_health(record: AgentRecord, now: datetime) -> Health:
    """The health of one agent that is alive."""
    report = record.report
    if report.is_stopping:
        count = len(report.running)
        left = f"{count} transfer{'' if count == 1 else 's'} to finish" if count else "nothing left"
        return Health(state=HealthState.STOPPING, sentence=f"Stopping: {left}")
    polling = _not_polling(record, now)
    if polling is not None:
        return polling
    if report.holds:
        return _held(min(report.holds, key=lambda one: one.since), now)
    return Health(state=HealthState.RUNNING, sentence=_running(len(report.running), [record]))


def _running(transfers: int, agents: Sequence[AgentRecord]) -> str:
    what = f"{transfers} transfer{'' if transfers == 1 else 's'} under way"
    if not transfers:
        what = "waiting for messages"
    return f"Running: {what}" + (f" on {len(agents)} agents" if len(agents) > 1 else "")


def _not_polling(record: AgentRecord, now: datetime) -> Health | None:
    report = record.report
    queue = record.identity.queue
    if report.failed_polls >= FAILED_POLLS:
        since = report.failing_since or report.at
        return Health(
            state=HealthState.NOT_POLLING,
            sentence=f"Not polling {queue} for {human_span(now - since)}: "
            f"{report.poll_code}: {report.poll_reason}",
            code=report.poll_code,
            hint="the queue keeps the messages; check the network, the proxy and the credentials"
            " of this node. Polling resumes by itself",
            since=since,
        )
    polled = report.last_poll_at or record.identity.started_at
    has_room = len(report.running) < record.identity.slots
    if has_room and report.failed_polls == 0 and report.at - polled > POLL_OVERDUE:
        return Health(
            state=HealthState.NOT_POLLING,
            sentence=f"Not polling {queue} for {human_span(now - polled)}: no answer and no error",
            code="E_POLL_STUCK",
            hint="the watchdog ends the agent if this lasts; see its log",
            since=polled,
        )
    return None


def _held(hold: DependencyHold, now: datetime) -> Health:
    count = hold.transfers
    who = f", {count} transfer{' waits' if count == 1 else 's wait'}" if count else ""
    return Health(
        state=HealthState.HELD,
        sentence=f"Held by {hold.dependency} for {human_span(now - hold.since)}{who}: "
        f"{hold.code}: {hold.reason}",
        code=hold.code,
        hint=hold.hint,
        since=hold.since,
    )


def _not_running(agents: Sequence[ObservedAgent], now: datetime) -> Health:
    if not agents:
        return Health(
            state=HealthState.NOT_RUNNING,
            sentence="Not running: no agent has worked on this ledger yet",
            hint="start it: systemctl start backhaul, or backhaul run QUEUE REGION",
        )
    last = max(agents, key=lambda one: one.record.report.at).record
    host = last.identity.host
    if last.ended_at is not None:
        return Health(
            state=HealthState.NOT_RUNNING,
            sentence=f"Not running: the agent on {host} stopped "
            f"{human_span(now - last.ended_at)} ago",
            hint="start it: systemctl start backhaul, or backhaul run QUEUE REGION",
            since=last.ended_at,
        )
    return Health(
        state=HealthState.NOT_RUNNING,
        sentence=f"Not running: the agent on {host} was last seen "
        f"{human_span(now - last.report.at)} ago and did not stop in an orderly way",
        code="E_AGENT_GONE",
        hint="see its log: journalctl -u backhaul; then systemctl start backhaul."
        " Nothing is lost: its messages reappear in the queue",
        since=last.report.at,
    )
