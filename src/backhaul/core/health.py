"""Health: one sentence, the same in `status`, `/readyz`, metrics and on the dashboard.

Pure. Degraded is only what lasts and an operator has to fix, and only the success of the same thing
clears it: three failed polls in a row, a dependency that transfers wait for, an agent that is gone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from backhaul.core.agent_report import SILENT_AFTER, AgentRecord, DependencyHold
from backhaul.core.cost.budget import BudgetHold, hold_words
from backhaul.core.units import human_span

FAILED_POLLS = 3
POLL_OVERDUE = timedelta(seconds=120)  # a long poll takes 20 s, its dead connection 25 s
HELD_AFTER = timedelta(seconds=10)  # a shorter wait is a retry
GONE_MOST = timedelta(days=1)  # an agent that died longer ago than this is not missed any more
PAUSED_NAMED = 3  # routes in the sentence
CLOCKS_DIFFER = timedelta(seconds=30)
START = "start it: systemctl start backhaul, or backhaul run QUEUE REGION"


class HealthState(StrEnum):
    """In the order of urgency; of several agents the most urgent one counts."""

    NOT_RUNNING = "not-running"
    SILENT = "silent"
    NOT_POLLING = "not-polling"
    HELD = "held"
    BUDGET = "budget"
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
    """An agent's record, and what is known of its process.

    Attributes:
        is_gone: Its process is not there any more, seen from its own host; False: it is there, or
            that cannot be seen from here.
        is_there: Its process is there, seen from its own host.
    """

    record: AgentRecord
    is_gone: bool = False
    is_there: bool = False

    def is_alive(self, now: datetime) -> bool:
        """It reports, and has not ended."""
        return not self._has_ended and not self._is_late(now)

    def is_silent(self, now: datetime) -> bool:
        """Its process is there, and reports no more."""
        return not self._has_ended and self.is_there and self._is_late(now)

    def has_died(self, now: datetime) -> bool:
        """It is gone, or reports no more, without an orderly end."""
        is_over = self.is_gone or (self._is_late(now) and not self.is_there)
        return self.record.ended_at is None and is_over

    @property
    def _has_ended(self) -> bool:
        return self.record.ended_at is not None or self.is_gone

    def _is_late(self, now: datetime) -> bool:
        return now - self.record.report.at >= SILENT_AFTER


def health(agents: Sequence[ObservedAgent], now: datetime) -> Health:
    """The health of all agents on one ledger: the most urgent thing that is not well.

    An agent that died is missed for a day, unless its queue is worked by another one.
    """
    alive = [one.record for one in agents if one.is_alive(now)]
    judged = [_silent(one.record, now) for one in agents if one.is_silent(now)]
    working = {
        each.identity.queue
        for one in agents
        if one.is_alive(now) or one.is_silent(now)
        for each in one.record.by_queue
    }
    missed = _died(agents, working, now)
    if missed or not (alive or judged):
        judged.append(_not_running(missed or agents, now))
    judged += [agent_health(one, now) for one in alive]
    worst = min(judged, key=lambda one: list(HealthState).index(one.state))
    if worst.state is not HealthState.RUNNING:
        return worst
    running = sum(len(one.report.running) for one in alive)
    words = _running(running, alive) + _paused_words(alive) + _clock_words(alive, now)
    return replace(worst, sentence=words)


def agent_health(record: AgentRecord, now: datetime) -> Health:
    """The health of one agent that is alive."""
    report = record.report
    if report.is_stopping:
        count = len(report.running)
        left = f"{_transfers(count)} to finish" if count else "nothing left"
        return Health(state=HealthState.STOPPING, sentence=f"Stopping: {left}")
    stuck = [one for one in (_not_polling(each, now) for each in record.by_queue) if one]
    if stuck:
        return _with_others(stuck[0], len(stuck), len(record.by_queue))
    lasting = [one for one in report.holds if report.at - one.since >= HELD_AFTER]
    if lasting:
        return _held(record, min(lasting, key=lambda one: one.since), now)
    if report.budget_holds:
        return _held_by_budget(report.budget_holds, len(report.running))
    alone = [record]
    sentence = _running(len(report.running), alone) + _paused_words(alone)
    sentence += _clock_words(alone, now)
    return Health(state=HealthState.RUNNING, sentence=sentence)


def _transfers(count: int) -> str:
    return f"{count} transfer{'' if count == 1 else 's'}"


def _running(transfers: int, agents: Sequence[AgentRecord]) -> str:
    what = f"{_transfers(transfers)} under way" if transfers else "waiting for messages"
    return f"Running: {what}" + (f" on {len(agents)} agents" if len(agents) > 1 else "")


def _paused_words(agents: Sequence[AgentRecord]) -> str:
    """Paused routes are no fault; they are named so that they are not forgotten."""
    routes = sorted({name for one in agents for name in one.report.paused_routes})
    if not routes:
        return ""
    more = f" and {len(routes) - PAUSED_NAMED} more" if len(routes) > PAUSED_NAMED else ""
    return f"; paused: {', '.join(routes[:PAUSED_NAMED])}{more}"


def _clock_words(agents: Sequence[AgentRecord], now: datetime) -> str:
    """A report from the future: ages that are derived from it are wrong."""
    ahead = max((one.report.at - now for one in agents), default=timedelta())
    if ahead < CLOCKS_DIFFER:
        return ""
    return f"; the agent's clock is {human_span(ahead)} ahead of this one: check NTP"


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
            hint=report.poll_hint
            or "the queue keeps the messages; check the network, the proxy and the credentials"
            " of this node. Polling resumes by itself",
            since=since,
        )
    if report.slot_free_since is None or report.failed_polls or report.is_everything_paused:
        return None
    polled = max(report.last_poll_at or report.slot_free_since, report.slot_free_since)
    if report.at - polled > POLL_OVERDUE:
        return Health(
            state=HealthState.NOT_POLLING,
            sentence=f"Not polling {queue} for {human_span(now - polled)}: no answer and no error",
            code="E_POLL_STUCK",
            hint="the watchdog ends the agent if this lasts; see its log",
            since=polled,
        )
    return None


def _with_others(first: Health, stuck: int, queues: int) -> Health:
    """Of several queues: how it is with those that the sentence does not name."""
    if queues == 1:
        return first
    others, well = stuck - 1, queues - stuck
    words = [f"{others} more not polled"] if others else []
    words += [f"{well} polled"] if well else []
    return replace(first, sentence=f"{first.sentence}; of {queues} queues {', '.join(words)}")


def _held(record: AgentRecord, hold: DependencyHold, now: datetime) -> Health:
    count = hold.transfers
    who = f", {_transfers(count)} wait{'s' if count == 1 else ''}" if count else ""
    moving = sum(not one.waits_for for one in record.report.running)
    others = f", {moving} under way" if moving else ""
    return Health(
        state=HealthState.HELD,
        sentence=f"Held by {hold.dependency} for {human_span(now - hold.since)}{who}{others}: "
        f"{hold.code}: {hold.reason}",
        code=hold.code,
        hint=hold.hint,
        since=hold.since,
    )


def _held_by_budget(holds: Sequence[BudgetHold], running: int) -> Health:
    first = holds[0]
    return Health(
        state=HealthState.BUDGET,
        sentence=hold_words(holds) + (f"; {_transfers(running)} under way" if running else ""),
        code="E_BUDGET_USED",
        hint=first.hint,
        since=first.since,
    )


def _silent(record: AgentRecord, now: datetime) -> Health:
    at = record.report.at
    return Health(
        state=HealthState.SILENT,
        sentence=f"Silent: the agent on {record.identity.host} runs, and has reported nothing for "
        f"{human_span(now - at)}",
        code="E_AGENT_SILENT",
        hint="see its log: journalctl -u backhaul. Mostly the ledger takes no write: check its"
        " disk (df -h, df -i) and what else has it open",
        since=at,
    )


def _died(
    agents: Sequence[ObservedAgent], working: Collection[str], now: datetime
) -> list[ObservedAgent]:
    """Those that are missed: the last one of each queue, if it did not end in an orderly way.

    Args:
        working: Queues that another agent works.
    """
    last: dict[str, ObservedAgent] = {}
    for one in agents:
        for queue in (each.identity.queue for each in one.record.by_queue):
            before = last.get(queue)
            if before is None or one.record.identity.started_at > before.record.identity.started_at:
                last[queue] = one
    found = {id(one): one for queue, one in last.items() if queue not in working}
    return [
        one
        for one in found.values()
        if one.has_died(now) and now - one.record.report.at < GONE_MOST
    ]


def _not_running(agents: Sequence[ObservedAgent], now: datetime) -> Health:
    if not agents:
        return Health(
            state=HealthState.NOT_RUNNING,
            sentence="Not running: no agent has worked on this ledger yet",
            hint=START,
        )
    last = max(agents, key=lambda one: one.record.report.at).record
    who = f"the agent of {last.identity.queue} on {last.identity.host}"
    if last.ended_at is None:
        return Health(
            state=HealthState.NOT_RUNNING,
            sentence=f"Not running: {who} was last seen {human_span(now - last.report.at)} ago "
            "and did not stop in an orderly way",
            code="E_AGENT_GONE",
            hint="see its log: journalctl -u backhaul; then systemctl start backhaul."
            " Nothing is lost: its messages reappear in the queue",
            since=last.report.at,
        )
    how = f"ended with {last.report.failure}" if last.report.failure else "stopped"
    return Health(
        state=HealthState.NOT_RUNNING,
        sentence=f"Not running: {who} {how} {human_span(now - last.ended_at)} ago",
        code=last.report.failure,
        hint="see its log: journalctl -u backhaul" if last.report.failure else START,
        since=last.ended_at,
    )
