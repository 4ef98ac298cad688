"""A database's rows that writers need before the first of them, and whether it is in use."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from sqlalchemy import Connection, select

from backhaul.adapters.ledger.fleet.tables import members
from backhaul.adapters.ledger.postgres.pulse import LEADER_ROW, LOCK_ROW
from backhaul.adapters.ledger.schema import meta, upsert
from backhaul.core.errors import LedgerLocked
from backhaul.core.fleet.liveness import BEAT_S, Liveness

if TYPE_CHECKING:
    from sqlalchemy import Engine

FIRST_WITH_MEMBERS = "0023"  # the schema
_IN_FORCE = select(members.c.id, members.c.beats, members.c.host).where(
    members.c.ended_at.is_(None), members.c.judged_at.is_(None)
)


def make_rows(tx: Connection) -> None:
    """Of a new ledger: what all writers lock, and who leads."""
    for name, value in ((LOCK_ROW, ""), (LEADER_ROW, "0:")):
        row = upsert(tx.dialect.name, meta).values(name=name, value=value)
        tx.execute(row.on_conflict_do_nothing())


def wait_for_nobody(
    engine: Engine,
    name: str,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Before the schema changes: nobody may write by the older one.

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
            raise LedgerLocked(
                "E_LEDGER_IN_USE",
                f"{name} has an older schema, and is in use by a process on {moving[0]}",
                hint="stop all agents on this ledger, then start those of this version",
            )
        if len(liveness.beat(began_s, clock(), beats)) == len(beats):
            return
        before = beats
        sleep(BEAT_S)
