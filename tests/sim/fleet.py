"""Agents of a simulation that share a ledger as they do on PostgreSQL: members that may be judged.

Each is the real `Member`, whose beats, judgements and fence are the product's own; only the
database below it is a stand-in. An agent reads a clock of its own, which shows another time than
those of the others and runs at another rate. What must hold:

    D1  whoever is judged dead had stopped acting by its own clock before
    D2  nobody is judged for a silence that was the ledger's
    D3  whoever was judged dead changes nothing in the ledger
    D4  whoever was judged dead begins nothing that others see
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.postgres.members.member import AGENT, Member
from backhaul.adapters.ledger.postgres.members.pulse import Seen
from backhaul.adapters.ledger.postgres.waits import StatementAnswer
from backhaul.core.fleet.liveness import DEAD_S, GAP_S, TRUST_S
from backhaul.core.ports import Message
from backhaul.core.ports.ledger_place import PostgresUrl
from tests.sim.ghost import Violation
from tests.sim.scheduler import SimClock, SimEvent
from tests.sim.shape import AHEAD_S, LATE_S

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from tests.sim.failover import Server
    from tests.sim.world import Running, Sim, SimQueue

FAR = 1000.0  # two monotonic clocks differ by weeks
UP_S = 2 * FAR * AHEAD_S  # since its machine started: never below 0
SEEN_BY_OTHERS = frozenset({"queue.receive", "queue.delete", "queue.send_dead_letter"})


class OwnClock:
    """Implements `ports.Clock` for one node: seconds since anything, at a rate of its own."""

    def __init__(self, clock: SimClock, ahead_s: float, rate: float) -> None:
        self._clock = clock
        self._ahead_s = ahead_s
        self.rate = rate

    def now(self) -> datetime:
        return self._clock.now() + timedelta(seconds=self._ahead_s)

    def monotonic(self) -> float:
        return UP_S + FAR * self._ahead_s + self.rate * self._clock.monotonic()


class OwnQueue:
    """A queue as an agent with its own clock sees it: a message has the time of that clock."""

    def __init__(self, queue: SimQueue, clock: OwnClock) -> None:
        self._queue = queue
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._queue, name)

    def receive(self, **wanted: int) -> list[Message]:
        began_s = self._clock.monotonic()
        found = self._queue.receive(**wanted)
        return [replace(one, received_monotonic_s=began_s) for one in found]


@dataclass(kw_only=True)
class MemberRow:
    """One row of `members`, and what nobody but the checker knows.

    Attributes:
        shows_at: When it beat last, by the clock of its own node.
        beat_s: When its last beat was committed, in simulated seconds.
    """

    process: Running
    where: str
    beats: int = 0
    shows_at: datetime
    beat_s: float
    is_judged: bool = False
    has_ended: bool = False

    @property
    def is_in_force(self) -> bool:
        return not (self.is_judged or self.has_ended)


@dataclass(kw_only=True)
class Members:
    """What the database knows of the members.

    Attributes:
        leader: Its id; empty: there was none yet.
        judgements: Ids of those that were judged dead, in order.
        away_s: When the ledger was away for everyone: from and until, in simulated seconds.
    """

    rows: dict[str, MemberRow] = field(default_factory=dict)
    leader: str = ""
    judgements: list[str] = field(default_factory=list)
    away_s: list[tuple[float, float]] = field(default_factory=list)

    def copied(self) -> Members:
        """As a standby has them; what only the checker knows is one for all."""
        return replace(self, rows={me: replace(row) for me, row in self.rows.items()})

    def in_force(self) -> dict[str, MemberRow]:
        return {me: row for me, row in self.rows.items() if row.is_in_force}

    def silent_s(self, row: MemberRow, now_s: float) -> float:
        """For how long it has not beaten while the ledger was there; a beat that is lost is one."""
        last_s = beat_s = max(row.beat_s, row.process.beat_s)
        away_s = 0.0
        for from_s, until_s in sorted(self.away_s):  # they may overlap
            end_s = min(until_s, now_s)
            away_s += max(0.0, end_s - max(from_s, last_s))
            last_s = max(last_s, end_s)
        return now_s - beat_s - away_s


class SimPulse:
    """Stands for `Pulse`: the same transactions, each of them one call of the simulation."""

    def __init__(self, sim: Sim, process: Running, clock: OwnClock) -> None:
        self._sim = sim
        self._process = process
        self._clock = clock
        self._alone = partial(sim.servers.alone, process)

    @property
    def _members(self) -> Members:
        return self._sim.members

    def join(self, me: str, kind: str, host: str, process: str, version: str) -> None:
        del kind, host, version
        with self._alone("member.join") as server:
            server.members.rows[me] = MemberRow(
                process=self._process,
                where=process,
                shows_at=self._clock.now(),
                beat_s=self._sim.clock.now_s,
            )

    def beat(self, me: str) -> Seen:
        with self._alone("member.beat") as server:
            members = server.members
            row = members.rows.get(me)
            if row is not None and row.is_in_force:
                row.beats += 1
                row.shows_at = self._clock.now()
                row.beat_s = self._sim.clock.now_s
            found = members.in_force()
            seen = Seen(
                beats={peer: one.beats for peer, one in found.items()},
                processes={peer: one.where for peer, one in found.items()},
                leader=members.leader,
                server=(0, server.timeline),
            )
        if row is not None:  # and not on an old primary, whose answer would have been refused
            self._process.beat_s = row.beat_s
        self._sim.answer_late(self._process)
        return seen

    def judge(self, me: str, peer: str, beats: int) -> None:
        with self._alone("member.judge") as server:
            members = server.members
            row, judge = members.rows.get(peer), members.rows.get(me)
            if row is None or judge is None:
                return
            if row.is_in_force and row.beats == beats and judge.is_in_force:
                if members is self._members and not self._sim.shape.is_split:
                    self._check(peer, row)
                row.is_judged = True
                members.judgements.append(peer)
                self._sim.tell(f"{self._process.name} judges {row.process.name} dead")

    def _check(self, peer: str, row: MemberRow) -> None:
        """D1 and D2, by the rules as they were written; what is mutated is the program's."""
        ghost, member = self._sim.ghost, row.process.member
        assert member is not None
        began_s = member._liveness._began_s
        own_s = member._clock()
        if not row.process.is_dead and began_s is not None and own_s - began_s <= TRUST_S:
            ghost.broken(f"D1 {peer} is judged dead, and trusts itself still")
        silent_s = self._members.silent_s(row, self._sim.clock.now_s) * self._clock.rate
        # A gap no longer than this between two beats of the judge does not end its watch.
        if silent_s < DEAD_S - GAP_S:
            ghost.broken(f"D2 {peer} is judged dead after a silence of {silent_s:.1f} s")

    def stand(self, me: str) -> str:
        with self._alone("member.stand") as server:
            members = server.members
            found = members.in_force()
            if me in found and members.leader not in found:
                members.leader = me
            return members.leader

    def leave(self, me: str) -> None:
        with self._alone("member.leave") as server:
            if me in server.members.rows:
                server.members.rows[me].has_ended = True

    def close(self) -> None:
        """There is no connection."""


class _Connection:
    """What `Member.check` asks: from its answer on it has the lock, as nothing else runs then.

    Args:
        on_the_way: Called before the statement is at the server; its process may be suspended.

    Attributes:
        server: That the transaction is on.
    """

    def __init__(self, sim: Sim, process: Running, on_the_way: Callable[[], None]) -> None:
        self._sim = sim
        self._process = process
        self._on_the_way = on_the_way
        self.server = sim.servers.primary
        self.info: dict[str, object] = {}
        self.connection = self.driver_connection = self

    def answers(self, _texts: object) -> list[StatementAnswer]:
        self._on_the_way()
        self.server = self._sim.servers.begin(self._process)
        self._sim.servers.check(self._process, self.server)
        members = self.server.members.in_force()
        in_force = [(me, row.where) for me, row in members.items()]
        found: list[list[Any]] = [[(turn,) for turn in LedgerTurn], in_force]
        return [StatementAnswer([], len(rows), rows) for rows in found]


@dataclass(frozen=True, kw_only=True)
class _Named:
    """All that a member wants of its database."""

    name: str = "the ledger"


def make_member(sim: Sim, process: Running, number: int, clock: OwnClock) -> Member:
    """One in force, that has beaten once.

    Args:
        number: Of this start of an agent; its id is of it, so that a seed replays.
    """
    owner = Owner(host=f"edge{process.seat}", boot_id=f"boot{number}", pid=number, start=1)
    url = PostgresUrl(text="postgresql://ledger")
    member = Member(url, cast("Any", _Named()), AGENT, owner, clock=clock.monotonic)
    member.id = f"{number:032x}"
    member.text = f"{owner.host}:{member.id}"
    member._pulse = SimPulse(sim, process, clock)  # type: ignore[assignment]
    member._wakes = SimEvent(sim.scheduler, clock.rate)  # type: ignore[assignment]
    process.member, process.name = member, member.text
    member.join()
    return member


def check_begin(sim: Sim, process: Running, name: str) -> None:
    """D4, before a call that others see."""
    if _is_judged(sim, process) and not process.is_dead:
        sim.ghost.broken(f"D4 {process.name} was judged dead, and begins {name}")


def lock(sim: Sim, process: Running, name: str) -> Server:
    """As each transaction of a session does first; then D3 and D5.

    Returns:
        The server that it is on.

    Raises:
        OutageError: `ledger`.
        FencedOff: Others took it for gone.
    """
    member = process.member
    assert member is not None
    on_the_way = partial(sim.freeze_on_the_way, process)
    connection = _Connection(sim, process, on_the_way)
    member.check(cast("Connection", connection), is_beside=True)  # nothing else runs then
    row = connection.server.members.rows.get(member.id)
    if row is None:
        sim.ghost.broken(f"D5 {process.name} is not in the ledger, and its {name} is committed")
    elif row.is_judged:
        sim.ghost.broken(f"D3 {process.name} was judged dead, and its {name} is committed")
    return connection.server


def _is_judged(sim: Sim, process: Running) -> bool:
    members = sim.servers.known_to(process).members
    row = None if process.member is None else members.rows.get(process.member.id)
    return row is not None and row.is_judged


def late_s(chance: random.Random) -> float:
    """How long the answer to a beat takes that was committed."""
    return chance.choice(LATE_S)


def check_member(process: Running) -> None:
    """Its thread ends of nothing that it does not know."""
    failure = process.member.beating.failure if process.member is not None else None
    if isinstance(failure, Violation):
        raise failure
    if isinstance(failure, Exception):
        raise Violation(f"BUG the thread of beats: {type(failure).__name__}: {failure}")
