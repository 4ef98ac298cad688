"""The seat of a ledger's one agent, on PostgreSQL: who has it, and whether it is still there.

Three rows of `meta`: `agent_seat` names the incarnation that has it (empty: none), `agent_owner`
its process, and `agent_beats` is its counter, which it raises every five seconds. Each transaction
of the agent first locks `agent_seat` and finds itself in it, or does nothing: so an agent that was
suspended, and whose seat another took meanwhile, changes nothing any more.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, and_, bindparam, func, select, update

from backhaul.adapters.ledger.owner import GONE, Owner
from backhaul.adapters.ledger.postgres.watch import BEAT_S, PeerWatch
from backhaul.adapters.ledger.schema import destinations, meta, put, transfers, upsert
from backhaul.core.errors import BackhaulError, LedgerLocked

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from backhaul.adapters.ledger.dialects.database import Database

SEAT, OWNER, BEATS = "agent_seat", "agent_owner", "agent_beats"
_VALUE = select(meta.c.value).where(meta.c.name == bindparam("of_name"))
_HELD = _VALUE.with_for_update()
# Of its own row alone: what another row says is not looked at again where this one was locked.
_BEAT = (
    update(meta)
    .where(meta.c.name == BEATS, func.starts_with(meta.c.value, bindparam("of_incarnation")))
    .values(value=bindparam("of_beats"))
)


class AgentSeat:
    """The right of this process to be the ledger's agent, with a thread that keeps it.

    Args:
        engine: As `engine.writing_engine` makes it; used by this object alone.
        database: Of that engine.
        owner: This process.
        clock: Monotonic seconds.
        sleep: Waits so many seconds; for tests.
    """

    def __init__(
        self,
        engine: Engine,
        database: Database,
        owner: Owner,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.incarnation = uuid.uuid4().hex
        self.on_lost: Callable[[], None] = lambda: None
        self._engine = engine
        self._database = database
        self._owner = owner
        self._clock = clock
        self._sleep = sleep
        self._beats = 0
        self._is_over = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self) -> None:
        """Wait until the last agent is known to be gone, and sit down; then beat.

        Raises:
            LedgerLocked: E_LEDGER_IN_USE: it beats.
            OutageError: `ledger`.
        """
        watch = PeerWatch()
        before = ""
        while True:
            began_s = self._clock()
            with self._database.mapped(), self._engine.begin() as tx:
                holder, owner = _read(tx, SEAT, is_locked=True), _read(tx, OWNER)
                if holder != before:
                    before, watch = holder, PeerWatch()
                watch.see(_number(_read(tx, BEATS)), began_s)
                seen = self._sees(owner)
                if not holder or watch.is_dead or seen is False:
                    self._sit(tx, _text(owner) if holder else "")
                    break
            if watch.has_moved or seen:
                raise self._in_use(owner)
            self._sleep(BEAT_S)
        self._thread = threading.Thread(target=self._keep, name="ledger-seat", daemon=True)
        self._thread.start()

    def give_back(self) -> None:
        """For the next agent, at once; safe to repeat. Nothing where the ledger is away."""
        self._is_over.set()
        if self._thread is not None:
            self._thread.join()
        try:
            with self._database.mapped(), self._engine.begin() as tx:
                if _read(tx, SEAT, is_locked=True) == self.incarnation:
                    put(tx, meta, {"name": SEAT, "value": ""})
        except BackhaulError:
            return  # its counter stands still: the next one waits for that
        finally:
            self._engine.dispose()

    def check(self, connection: Connection) -> None:
        """Lock the seat for a transaction of this agent.

        Raises:
            LedgerLocked: E_LEDGER_IN_USE: another has it.
        """
        holder = _read(connection, SEAT, is_locked=True)
        if holder != self.incarnation:
            raise self._in_use(_read(connection, OWNER))

    def _sees(self, holder: str) -> bool | None:
        """Whether its process runs; None where that cannot be seen from here.

        The name of a host identifies nobody, and another container has other processes: only one of
        this very boot and of this process's own namespace can be seen.
        """
        namespace, _, text = holder.partition(" ")
        is_here = namespace == _namespace() and f":{self._owner.boot_id}:" in text
        return self._owner.sees(text) if is_here else None

    def _sit(self, tx: Connection, gone: str) -> None:
        if gone:
            _declare_gone(tx, gone)
        values = {
            SEAT: self.incarnation,
            OWNER: f"{_namespace()} {self._owner.text}",
            BEATS: f"{self.incarnation}:0",
        }
        for name, value in values.items():
            put(tx, meta, {"name": name, "value": value})

    def _keep(self) -> None:
        while not self._is_over.wait(BEAT_S):
            try:
                if not self._beat():
                    self.on_lost()
                    return
            except BackhaulError:
                continue  # the ledger is away; those who look at the counter cannot either

    def _beat(self) -> bool:
        beats = f"{self.incarnation}:{self._beats + 1}"
        values = {"of_incarnation": f"{self.incarnation}:", "of_beats": beats}
        with self._database.mapped(), self._engine.begin() as tx:
            is_mine = tx.execute(_BEAT, values).rowcount == 1
        self._beats += 1
        return is_mine

    def _in_use(self, owner: str) -> LedgerLocked:
        host, _, rest = _text(owner).partition(":")
        pid = rest.rsplit(":", 2)[-2] if rest.count(":") > 1 else "unknown"
        return LedgerLocked(
            "E_LEDGER_IN_USE",
            f"{self._database.name} is in use by the agent with pid {pid} on {host or 'unknown'}",
            hint="stop that agent; a ledger on PostgreSQL serves one agent so far",
        )


def make_rows(tx: Connection) -> None:
    """Of a new ledger."""
    for name in (SEAT, OWNER, BEATS):
        row = upsert(tx.dialect.name, meta).values(name=name, value="")
        tx.execute(row.on_conflict_do_nothing())


def _declare_gone(tx: Connection, owner: str) -> None:
    """What that process worked on is nobody's: any process may see that now."""
    for table, is_open in (
        (transfers, transfers.c.finished_at.is_(None)),
        (destinations, destinations.c.owner_transfer.is_not(None)),
    ):
        mine = and_(table.c.owner == owner, is_open)
        tx.execute(update(table).where(mine).values(owner=f"{GONE}{owner}"))


def _text(holder: str) -> str:
    """The owner as transfers have it."""
    return holder.partition(" ")[2]


def _namespace() -> str:
    """Of process numbers: `pid:[4026531836]`."""
    return str(Path("/proc/self/ns/pid").readlink())


def _read(tx: Connection, name: str, *, is_locked: bool = False) -> str:
    found: str = tx.execute(_HELD if is_locked else _VALUE, {"of_name": name}).scalar_one()
    return found


def _number(text: str) -> int:
    beats = text.rpartition(":")[2]
    return int(beats) if beats.isdecimal() else 0
