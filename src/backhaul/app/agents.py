"""`backhaul agents`: who works on the ledger, and what each of them does."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import datetime, timedelta

from backhaul.adapters.ledger import LedgerReader, find_reader
from backhaul.core.health import ObservedAgent, health
from backhaul.core.ports.ledger_place import LedgerPlace

SHOWN_FOR = timedelta(days=1)  # after it has ended or died


@dataclass(frozen=True, kw_only=True)
class AgentRow:
    """One start of one agent.

    Attributes:
        beat_at: Of its last report.
        is_leader: It does what is done once for all: sweep, prune, replies, notified health.
        health: One sentence; empty for one that is not alive.
        transfers: What it works on: ids.
    """

    id: str
    host: str
    version: str
    queue: str
    region: str
    slots: int
    busy: int
    is_alive: bool
    is_leader: bool
    started_at: datetime
    beat_at: datetime
    ended_at: datetime | None
    health: str
    transfers: tuple[str, ...]


def read_agents(path: LedgerPlace, now: datetime) -> list[AgentRow] | None:
    """Those alive, and those that ended or died within a day, newest first; None: no ledger.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    reader = find_reader(path)
    if reader is None:
        return None
    with closing(reader):
        return _rows(reader, now)


def _rows(reader: LedgerReader, now: datetime) -> list[AgentRow]:
    leader = reader.leader()
    return [
        _row(one, leader, now)
        for one in reader.agents()
        if one.is_alive(now) or now - one.record.report.at < SHOWN_FOR
    ]


def _row(one: ObservedAgent, leader: str | None, now: datetime) -> AgentRow:
    identity, report, is_alive = one.record.identity, one.record.report, one.is_alive(now)
    return AgentRow(
        id=identity.id,
        host=identity.host,
        version=identity.version,
        queue=identity.queue,
        region=identity.region,
        slots=identity.slots,
        busy=report.in_hand,
        is_alive=is_alive,
        is_leader=is_alive and leader in {None, identity.id},  # of a file there is one alone
        started_at=identity.started_at,
        beat_at=report.at,
        ended_at=one.record.ended_at,
        health=health([one], now).sentence if is_alive else "",
        transfers=tuple(running.transfer_id for running in report.running),
    )
