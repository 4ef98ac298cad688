"""A database's rows that writers need before the first of them, and how its schema is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, Connection, Select, select

from backhaul import __version__
from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.dialects.migrate import OLDEST, REVISIONS, Revisions, steps_after
from backhaul.adapters.ledger.fleet.tables import members
from backhaul.adapters.ledger.postgres import migrate
from backhaul.adapters.ledger.postgres.members.pulse import LEADER_ROW, LOCK_ALONE
from backhaul.adapters.ledger.schema import agents, meta, upsert
from backhaul.core.agent_report import SILENT_AFTER
from backhaul.core.errors import LedgerLocked
from backhaul.core.fleet.liveness import BEAT_S, Liveness

if TYPE_CHECKING:
    from sqlalchemy import Engine

_IN_FORCE = (members.c.ended_at.is_(None), members.c.judged_at.is_(None))


def make_rows(tx: Connection) -> None:
    """Of a new ledger: by which writers take turns, and who leads."""
    for name, value in ((LedgerTurn.CLAIM, ""), (LedgerTurn.SUM, ""), (LEADER_ROW, "0:")):
        row = upsert(tx.dialect.name, meta).values(name=name, value=value)
        tx.execute(row.on_conflict_do_nothing())


def change_schema(engine: Engine, name: str, found: str) -> Revisions:
    """`backhaul ledger migrate`: steps that only add beside all agents, then the others.

    Each of the two in one transaction, which alone writes. The others need all agents to be of this
    version, those that do not beat for the whole watch left out: they write no more.

    Args:
        found: The revision that it has.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE: an agent or a command of another version works on it. What
            only adds was done.
        ConfigurationError: As `migrate.bring_to`.
    """
    adding, others = steps_after(found)
    now = found
    with engine.begin() as tx:
        tables = migrate.tables_of(tx)
        if (adding or others) and members.name not in tables and agents.name in tables:
            _require_no_report(tx, name, found)
    if adding:
        migrate.bring_to(engine, name, adding[-1], _lock)
        now = adding[-1]
    if not others:
        return Revisions(found, now)
    silent = wait_for_nobody(engine, name, now) if members.name in tables else {}

    def lock(tx: Connection) -> None:
        _lock(tx)
        if members.name not in tables:
            return
        for row in tx.execute(_members(now)).all():
            if silent.get(row.id) != row.beats:  # it came since
                raise _in_use(name, now, row.host, row.version)
        # Who was silent and comes back would write by the older schema.
        judged = {"judged_at": datetime.now(UTC), "judged_by": "backhaul ledger migrate"}
        tx.execute(members.update().where(*_hinders(now)).values(judged))

    migrate.bring_to(engine, name, others[-1], lock)
    return Revisions(found, others[-1])


def _hinders(now: str) -> tuple[ColumnElement[bool], ...]:
    """Which members the steps that do not only add have to wait for: those of other versions.

    One of this version works before them and after them, if this version works on the schema as it
    is now.
    """
    if now in REVISIONS[REVISIONS.index(OLDEST) :]:
        return *_IN_FORCE, members.c.version != __version__
    return _IN_FORCE


def _members(now: str) -> Select[tuple[str, int, str, str]]:
    columns = members.c
    return select(columns.id, columns.beats, columns.host, columns.version).where(*_hinders(now))


def _lock(tx: Connection) -> None:
    tx.exec_driver_sql(LOCK_ALONE)


def wait_for_nobody(
    engine: Engine,
    name: str,
    schema: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, int]:
    """Before the schema changes: nobody may write by the older one.

    Args:
        schema: That it has.

    Returns:
        The counters of those who stood still for the whole watch, by their ids.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE: somebody beats.
    """
    liveness, before = Liveness(), dict[str, int]()
    while True:
        began_s = clock()
        with engine.begin() as tx:
            found = tx.execute(_members(schema)).all()
        beats = {row.id: row.beats for row in found}
        moving = next((one for one in found if before.get(one.id, one.beats) != one.beats), None)
        if moving is not None:
            raise _in_use(name, schema, moving.host, moving.version)
        if len(liveness.beat(began_s, clock(), beats)) == len(beats):
            return beats
        before = beats
        sleep(BEAT_S)


def _require_no_report(tx: Connection, name: str, schema: str) -> None:
    """Versions before members had one agent, whose reports alone show that it works."""
    since = datetime.now(UTC) - SILENT_AFTER
    alive = select(agents.c.host, agents.c.version)
    alive = alive.where(agents.c.ended_at.is_(None), agents.c.beat_at > since)
    row = tx.execute(alive).first()
    if row is not None:
        raise _in_use(name, schema, row.host, row.version)


def _in_use(name: str, schema: str, host: str, version: str) -> LedgerLocked:
    return LedgerLocked(
        "E_LEDGER_IN_USE",
        f"{name} has schema {schema}, and is in use by a process of version {version} on {host}",
        hint=f"stop all agents and commands that are not of version {__version__}, and migrate it "
        "then",
    )
