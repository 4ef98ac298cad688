"""Epochs that rise from one cluster of PostgreSQL to the next.

The upper bits of an epoch are a timeline, which each promotion raises. But a cluster that was made
by `pg_upgrade`, or that a dump was restored into, begins at timeline 1. Until it has passed the old
one's timeline, claims would go on above the last epoch that the ledger has, and an epoch that a
failover lost would be given again. So the ledger has a row that says how many timelines count as
passed before those of its cluster. Agents that share a ledger have the same number: the first that
starts on a cluster writes it, before any claim there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select

from backhaul.adapters.ledger.postgres.moment import COUNTER_BITS, current
from backhaul.adapters.ledger.schema import WrongValue, destinations, meta, upsert

if TYPE_CHECKING:
    from sqlalchemy import Connection

LINEAGE_ROW = "lineage"  # of `meta`: the system identifier, a colon, the number
_ROW = select(meta.c.value).where(meta.c.name == LINEAGE_ROW)


def timelines_before(tx: Connection) -> int:
    """How many timelines count as passed before timeline 1 of this cluster; in a transaction alone.

    Raises:
        WrongValue: The row was edited.
    """
    system = current(tx).system
    text = tx.execute(_ROW).scalar()
    if text is None or _parsed(text)[0] != system:
        highest = select(func.coalesce(func.max(destinations.c.epoch), 0))
        before = int(tx.execute(highest).scalar_one()) >> COUNTER_BITS
        row = upsert(tx.dialect.name, meta).values(name=LINEAGE_ROW, value=f"{system}:{before}")
        # Who comes second of two that start waits here, and then finds the first one's row.
        tx.execute(
            row.on_conflict_do_update(
                index_elements=[meta.c.name],
                set_={"value": row.excluded.value},
                where=meta.c.value == text,
            )
        )
        text = tx.execute(_ROW).scalar_one()
    return _parsed(text)[1]


def newest_timeline(tx: Connection, before: int) -> int:
    """The highest timeline of an epoch that this ledger may have given, `before` counted.

    Also of those that it has from another cluster, which the claims that a dump brought show.
    """
    highest = select(func.coalesce(func.max(destinations.c.epoch), 0))
    given = int(tx.execute(highest).scalar_one()) >> COUNTER_BITS
    return max(given, before + (current(tx).timeline or 0))


def _parsed(text: str) -> tuple[int, int]:
    system, _, before = text.partition(":")
    if not (system.isascii() and system.isdigit() and before.isascii() and before.isdigit()):
        raise WrongValue(f"the row {LINEAGE_ROW} of meta is {text!r}")
    return int(system), int(before)
