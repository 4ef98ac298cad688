"""What agents report and what ended, in the ledger in memory."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from backhaul.core.agent_report import AgentIdentity, AgentRecord, AgentReport
from backhaul.core.cost.budget import BudgetRaise, EgressBudget
from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.model import TransferState
from backhaul.core.ports import Act, Operator, OperatorEntry, PausedRoute
from backhaul.testing.fakes.memory_file import MemorySession, outage

SPANS = (timedelta(minutes=5), timedelta(hours=1))
NO_FAILURE = frozenset({"E_BUDGET_USED", "E_DST_BUSY", "E_ROUTE_PAUSED", "E_STOPPED"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class MemorySum:
    """One row of `activity`."""

    begins_at: datetime
    route: str
    counts: Counter[str] = field(default_factory=Counter)


class MemoryAgents(MemorySession):
    """`AgentLedger` and `EgressLedger`."""

    def beat(
        self, identity: AgentIdentity, report: AgentReport, *, has_ended: bool = False
    ) -> None:
        with self._faults.call("ledger.beat", outage):
            before = self._file.agents.get(identity.id)
            if before is not None and before.ended_at is not None:
                return
            self._file.agents[identity.id] = AgentRecord(
                identity=identity,
                report=report,
                beats=1 + (before.beats if before else 0),
                ended_at=report.at if has_ended else None,
            )

    def note_egress(self, transfer_id: str, read: EgressCount) -> None:
        with self._faults.call("ledger.note_egress", outage):
            self._add_read(self._row(transfer_id), read)

    def note_command_egress(self, route: str, read: EgressCount) -> None:
        with self._faults.call("ledger.note_command_egress", outage):
            self._add_egress(route, read)

    def egress_since(self, since: date, route: str | None = None) -> Egress:
        with self._faults.call("ledger.egress_since", outage):
            found = Egress()
            for (day, of_route, _engine), egress in self._file.egress.items():
                if day >= since and route in {None, of_route}:
                    found += egress
            return found

    def sum_activity(self, *, most: int) -> bool:
        with self._faults.call("ledger.sum_activity", outage):
            file = self._file
            lines = file.journal[file.summed_to : file.summed_to + most]
            for at, transfer_id, state, code in lines:
                self._add(at, transfer_id, state, code)
            self._sum_up_to(file.summed_to + len(lines))
            return file.summed_to < len(file.journal)

    def _sum_up_to(self, number: int) -> None:
        self._file.summed_to = number

    def _add(self, at: datetime, transfer_id: str, state: TransferState, code: str | None) -> None:
        row = self._file.transfers[transfer_id]
        route = (row.assignment.route if row.assignment is not None else row.route) or ""
        counts: dict[str, int] = {"done": 1}
        if state is TransferState.DEAD:
            counts = {"dead": 1}
        elif state is TransferState.WAITING:
            counts = {} if code in NO_FAILURE else {"failed": 1}
        else:
            sizes = [one.pin.size_bytes for one in row.plan]
            counts |= {"objects": len(sizes), "bytes_done": sum(sizes)}
        for span in SPANS if counts else ():
            begins_at = at - (at - _EPOCH) % span
            found = self._file.activity.setdefault((span, begins_at, route), Counter())
            found.update(counts)

    def activity(self, span: timedelta, since: datetime, until: datetime) -> list[MemorySum]:
        """As `ActivityReader.activity`; by a test, so nothing befalls it."""
        return [
            MemorySum(begins_at=begins_at, route=route, counts=counts)
            for (its_span, begins_at, route), counts in sorted(self._file.activity.items())
            if its_span == span and since <= begins_at < until
        ]

    def paused_routes(self, now: datetime) -> list[PausedRoute]:
        with self._faults.call("ledger.paused_routes", outage):
            return [one for one in self._file.paused.values() if one.is_in_force(now)]

    def budget_raises(self, since: datetime) -> list[BudgetRaise]:
        with self._faults.call("ledger.budget_raises", outage):
            return [one for one in self._file.raises if one.period >= since]

    def note_budget_warning(self, budget: EgressBudget, period: datetime, now: datetime) -> bool:
        del now
        key = (budget.route, budget.per, budget.unit, period)
        with self._faults.call("ledger.note_budget_warning", outage):
            is_first = key not in self._file.budget_warnings
            self._file.budget_warnings.add(key)
            return is_first

    def raise_budget(self, more: BudgetRaise, entry: OperatorEntry) -> None:
        self._file.raises.append(more)
        self._file.acts.append(entry)

    def pause_route(self, paused: PausedRoute, by: Operator) -> PausedRoute | None:
        before = self._end_pause(paused.route, paused.since)
        self._file.paused[paused.route] = paused
        self._file.acts.append(
            OperatorEntry(at=paused.since, by=by, act=Act.PAUSE, subject=paused.route)
        )
        return before

    def resume_route(self, route: str, now: datetime, by: Operator) -> PausedRoute | None:
        self._file.acts.append(OperatorEntry(at=now, by=by, act=Act.RESUME, subject=route))
        return self._end_pause(route, now)

    def _end_pause(self, route: str, now: datetime) -> PausedRoute | None:
        before = self._file.paused.pop(route, None)
        return before if before is not None and before.is_in_force(now) else None
