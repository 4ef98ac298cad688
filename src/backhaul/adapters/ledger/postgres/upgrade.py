"""A database's rows that writers need before the first of them, and how its schema is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from backhaul.adapters.ledger.dialects.migrate import HEAD, Revisions
from backhaul.adapters.ledger.fleet.tables import members
from backhaul.adapters.ledger.postgres import migrate
from backhaul.adapters.ledger.postgres.pulse import LEADER_ROW, LOCK_ROW
from backhaul.adapters.ledger.schema import agents, meta, upsert
from backhaul.core.agent_report import SILENT_AFTER
from backhaul.core.errors import LedgerLocked
from backhaul.core.fleet.liveness import BEAT_S, Liveness

if TYPE_CHECKING:
    from sqlalchemy import Engine

_IS_IN_FORCE = (members.c.ended_at.is_(None), members.c.judged_at.is_(None))
_IN_FORCE = select(members.c.id, members.c.beats, members.c.host).where(*_IS_IN_FORCE)


def make_rows(tx: Connection) -> None:
    """Of a new ledger: what all writers lock, and who leads."""
    for name, value in ((LOCK_ROW, ""), (LEADER_ROW, "0:")):
        row = upsert(tx.dialect.name, meta).values(name=name, value=value)
        tx.execute(row.on_conflict_do_nothing())


def change_schema(engine: Engine, name: str, found: str) -> Revisions:
    """`backhaul ledger migrate`: all steps in one transaction, which alone writes.

    Args:
        found: The revision that it has.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE: an agent or a command works on it.
        ConfigurationError: As `migrate.bring_to_head`.
    """
    if found == HEAD:
        return Revisions(found, HEAD)
    with engine.begin() as tx:
        tables = migrate.tables_of(tx)
        if members.name not in tables and agents.name in tables:
            _require_no_report(tx, name)
    silent = wait_for_nobody(engine, name) if members.name in tables else {}

    def lock(tx: Connection) -> None:
        tx.execute(select(meta.c.value).where(meta.c.name == LOCK_ROW).with_for_update())
        if members.name not in tables:
            return
        for row in tx.execute(_IN_FORCE).all():
            if silent.get(row.id) != row.beats:  # it came since
                raise _in_use(name, row.host)
        # Who was silent and comes back would write by the older schema.
        judged = {"judged_at": datetime.now(UTC), "judged_by": "backhaul ledger migrate"}
        tx.execute(members.update().where(*_IS_IN_FORCE).values(judged))

    migrate.bring_to_head(engine, name, lock)
    return Revisions(found, HEAD)


def wait_for_nobody(
    engine: Engine,
    name: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Mapping[str, int]:
    """Before the schema changes: nobody may write by the older one.

    Returns:
        The counters of those who stood still for the whole watch, by their ids.

    Raises:
        LedgerLocked: E_LEDGER_IN_USE: somebody beats.
    """
    liveness, before = Liveness(), dict[str, int]()
    while True:
        began_s = clock()
        with engine.begin() as tx:
            found = tx.execute(_IN_FORCE).all()
        beats = {row.id: row.beats for row in found}
        moving = [row.host for row in found if before.get(row.id, row.beats) != row.beats]
        if moving:
            raise _in_use(name, moving[0])
        if len(liveness.beat(began_s, clock(), beats)) == len(beats):
            return beats
        before = beats
        sleep(BEAT_S)


def _require_no_report(tx: Connection, name: str) -> None:
    """Versions before members had one agent, whose reports alone show that it works."""
    since = datetime.now(UTC) - SILENT_AFTER
    alive = select(agents.c.host).where(agents.c.ended_at.is_(None), agents.c.beat_at > since)
    host = tx.execute(alive).scalar()
    if host is not None:
        raise _in_use(name, host)


def _in_use(name: str, host: str) -> LedgerLocked:
    return LedgerLocked(
        "E_LEDGER_IN_USE",
        f"{name} has an older schema, and is in use by a process on {host}",
        hint="stop all agents on this ledger, migrate it, then start those of this version",
    )
