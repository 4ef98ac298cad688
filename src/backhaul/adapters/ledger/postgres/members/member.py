"""This process among those that write one ledger on PostgreSQL.

Its id is new at every start: the name of a host identifies nobody. It raises a counter, looks at
those of the others, and judges who is gone (`core.fleet.liveness`). Each transaction that writes
first locks the ledger, alone or beside others, and finds its own id in force, or does nothing.
A judge is alone: so a process that was suspended, and whose work others took meanwhile,
changes nothing any more.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul import __version__
from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.postgres.engine import begun_with
from backhaul.adapters.ledger.postgres.members.in_force import IN_FORCE
from backhaul.adapters.ledger.postgres.members.pulse import (
    LOCK_ALONE,
    LOCK_BESIDE,
    Pulse,
    require_row,
)
from backhaul.adapters.ledger.postgres.members.rates import MemberRates
from backhaul.core.agent.thread_watchdog import Heartbeat
from backhaul.core.errors import BackhaulError, FencedOff, OutageError
from backhaul.core.fleet.liveness import BEAT_S, DEAD_S, TRUST_S, Liveness

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from backhaul.adapters.ledger.dialects.database import Database
    from backhaul.core.fleet.rate_shares import RateSeat
    from backhaul.core.ports.ledger_place import PostgresUrl

AGENT, COMMAND = "agent", "command"
AGAIN_S = 1.0  # after a second beat that failed: the first is repeated at once
JOIN_TRIES = 5  # of five seconds each: the server ends an idle transaction after 15 s
_CHECK = f"""
SELECT name FROM meta WHERE name IN ({", ".join(f"'{one}'" for one in LedgerTurn)});
SELECT id, process FROM members WHERE {IN_FORCE}
"""  # noqa: S608 - of constants
_ALONE, _BESIDE = f"{LOCK_ALONE}; {_CHECK}", f"{LOCK_BESIDE}; {_CHECK}"


def since_boot_s() -> float:
    """Monotonic, and it goes on while the machine is suspended."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def locked(*, is_beside: bool) -> str:
    """What a transaction begins with; for `Member.check`."""
    return _BESIDE if is_beside else _ALONE


class MemberThread(Heartbeat):
    """That of a member's beats.

    Attributes:
        failure: What ended it that no outage is.
    """

    def __init__(self) -> None:
        super().__init__()
        self.failure: BaseException | None = None


class Member:
    """`core.fleet.standing.Standing` and the owner of a session, with a thread that beats.

    Args:
        kind: `AGENT`, which others may follow as the leader, or `COMMAND`.
        process: This process, for those on the same machine.
        clock: Monotonic seconds.
        seat: Holds its share of the byte rate; None: it reads nothing from S3.

    Attributes:
        id: 32 hex digits.
        text: As rows name it as their owner: `edge1:ID`.
        beating: Its thread.
    """

    is_shared = True

    def __init__(
        self,
        url: PostgresUrl,
        database: Database,
        kind: str,
        process: Owner,
        *,
        clock: Callable[[], float] = since_boot_s,
        seat: RateSeat | None = None,
    ) -> None:
        self.id = uuid.uuid4().hex
        self.text = f"{process.host}:{self.id}"
        self.process = process
        self.beating = MemberThread()
        self._kind = kind
        self._clock = clock
        self._name = database.name
        self._pulse = Pulse(url, database, is_agent=kind == AGENT)
        self._rates = None if seat is None else MemberRates(self.id, self._pulse.split, seat, clock)
        self._liveness = Liveness()
        self._in_force: Mapping[str, str] = {}  # as of the lock that is held, or was last
        self._leader = ""
        self._is_fenced = False
        self._fencing = threading.Lock()
        self._on_fenced: Callable[[], None] | None = None
        self._joined_s = 0.0
        self._is_over = False
        self._wakes = threading.Event()  # the thread that beats, before its time
        self._thread: threading.Thread | None = None

    # ------------------------------------------------------------ its life

    def join(self) -> None:
        """Be in force, and beat once.

        Raises:
            OutageError: `ledger`.
        """
        where = f"{_namespace()} {self.process.text}"
        for left in reversed(range(JOIN_TRIES)):
            try:
                self._pulse.join(self.id, self._kind, self.process.host, where, __version__)
                break
            except OutageError as error:
                # A process that was suspended in a transaction holds the lock, and not for long.
                if error.code != "E_LEDGER_LOCKED" or not left:
                    raise
        if self._rates is not None:
            self._pulse.enter(self.id)
        self._joined_s = self._clock()
        self.turn()

    def keep(self) -> None:
        """Beat from now on, in a thread."""
        self._thread = threading.Thread(target=self._beat_until_over, name="member", daemon=True)
        self._thread.start()

    def leave(self) -> None:
        """Others have what it leaves at once; safe to repeat. Nothing where the ledger is away."""
        self._is_over = True
        self._wakes.set()
        if self._thread is not None:
            self._thread.join()
        try:
            self._pulse.leave(self.id)
        except BackhaulError:
            return  # its counter stands still: the others wait for that
        finally:
            self._pulse.close()

    def _beat_until_over(self) -> None:
        try:
            self._beat_or_fail()
        except BaseException as error:  # noqa: BLE001 - the agent's main thread checks `failure`
            self.beating.failure = error
        finally:
            self.beating.rest()

    def _beat_or_fail(self) -> None:
        wait_s, has_failed = BEAT_S, False
        while True:
            self._wakes.wait(wait_s)
            if self._is_over or self._is_fenced:
                return
            self._wakes.clear()
            self.beating.beat()
            try:
                self.turn()
            except OutageError:
                # The ledger is away, by which nobody is judged; or this connection alone is lost.
                wait_s = AGAIN_S if has_failed else 0.0
                has_failed = True
            else:
                has_failed = False
                is_settling = self._rates is not None and self._rates.is_settling
                wait_s = AGAIN_S if is_settling else BEAT_S
            self.beating.rest()

    def turn(self) -> None:
        """One beat; then judge who is gone, and follow a leader who is.

        Raises:
            OutageError: `ledger`.
            LedgerDamaged: As `Pulse.stand`.
        """
        began_s = self._clock()
        rates = self._rates
        reports = () if rates is None else (rates.report(),)
        seen = self._pulse.beat(self.id, *reports)
        if self.id not in seen.beats:
            self._fence()
            return
        self._leader = seen.leader
        peers = {peer: beats for peer, beats in seen.beats.items() if peer != self.id}
        silent = self._liveness.beat(began_s, self._clock(), peers, seen.server)
        gone = {one.peer: one.beats for one in silent}
        gone |= {
            peer: beats for peer, beats in peers.items() if self._sees_gone(seen.processes[peer])
        }
        for peer, beats in gone.items():
            self._pulse.judge(self.id, peer, beats)
        if self._kind == AGENT and (seen.leader in gone or seen.leader not in seen.beats):
            self._leader = self._pulse.stand(self.id)
        if rates is not None:
            rates.turn(seen.rates, leader=self._leader if self._leader in seen.beats else None)

    def _sees_gone(self, where: str) -> bool:
        """Whether a process of this machine is gone, by the kernel's word.

        The name of a host identifies nobody, and another container has other processes: only one of
        this very boot and of this process's own namespace can be seen.
        """
        namespace, _, text = where.partition(" ")
        is_here = namespace == _namespace() and f":{self.process.boot_id}:" in text
        return is_here and self.process.sees(text) is False

    # ------------------------------------------------------------ in a transaction of a session

    def check(self, connection: Connection, *, is_beside: bool) -> None:
        """Lock the ledger for a transaction of this process, which must be in force.

        Args:
            is_beside: Others may have it so, too; no member is judged meanwhile.

        Raises:
            OutageError: `ledger`: it has not beaten for too long.
            FencedOff: Others took it for gone.
            LedgerDamaged: There is nothing to take turns by.
        """
        self.require()
        turns, in_force = begun_with(connection, locked(is_beside=is_beside))
        self._in_force = dict(in_force)
        there = {name for (name,) in turns}
        for turn in LedgerTurn:
            require_row(turn in there, turn, self._name)
        if self.id not in self._in_force:
            self._fence()
            raise self.fenced_off()

    @property
    def has_peers(self) -> bool:
        """Whether another one is in force, by the transaction under way."""
        return any(peer != self.id for peer in self._in_force)

    def is_alive(self, text: str) -> bool:
        """Whether this owner is in force, by the transaction under way.

        A process of this machine that has ended still counts as in force until its row in `members`
        is marked. The next beat, which then comes at once, marks it. The server may still be
        committing a transaction of that process, and marking the row waits for it.
        """
        where = self._in_force.get(_id_of(text))
        if where is None:
            return False
        if self._sees_gone(where):
            self._wakes.set()
        return True

    # ------------------------------------------------------------ standing

    @property
    def is_leader(self) -> bool:
        return self._leader == self.id and self._is_trusted

    @property
    def is_fenced(self) -> bool:
        return self._is_fenced

    def require(self) -> None:
        if self._is_fenced:
            raise self.fenced_off()
        if not self._is_trusted:
            failure = self.beating.failure
            raise OutageError.of(
                "ledger",
                "E_LEDGER_SILENT",
                f"{self._name} has not taken this agent's beat for over {TRUST_S:.0f} s"
                + (f": its thread died of {type(failure).__name__}: {failure}" if failure else ""),
                hint="start it again"
                if failure
                else "check that PostgreSQL runs and that this node reaches it; Backhaul goes on "
                "by itself",
            )

    @property
    def watch_left_s(self) -> float:
        return max(0.0, self._joined_s + DEAD_S + 2 * BEAT_S - self._clock())

    def elsewhere_s(self, owner: str | None) -> float:
        """The rest of the watch over it, and a beat of whoever judges it."""
        return self._liveness.left_s(_id_of(owner or ""), self._clock()) + 2 * BEAT_S

    @property
    def _is_trusted(self) -> bool:
        return self._liveness.is_trusted(self._clock())

    def fenced_off(self) -> FencedOff:
        """What it ends with."""
        return FencedOff(
            "E_LEDGER_FENCED",
            f"{self._name}: this process was silent for so long that others took over its work",
            hint="nothing: it ends, and systemd starts it again unless it was being stopped",
        )

    def when_fenced(self, act: Callable[[], None]) -> None:
        """Call this once, from any thread, when it is in force no more: now, if that is so."""
        with self._fencing:
            self._on_fenced = act
            is_late = self._is_fenced
        if is_late:
            act()

    def _fence(self) -> None:
        with self._fencing:
            act = None if self._is_fenced else self._on_fenced
            self._is_fenced = True
        if act is not None:
            act()


def _id_of(text: str) -> str:
    """Of an owner, as rows have it."""
    return text.rpartition(":")[2]


def _namespace() -> str:
    """Of process numbers: `pid:[4026531836]`."""
    return str(Path("/proc/self/ns/pid").readlink())
