"""Sealing lines as they are read, each with what its transfer's own row says of the same."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, RowMapping, select, type_coerce

from backhaul.adapters.ledger.schema import moment, seals, transfers
from backhaul.core.transfer.evidence import Ended, Sealed

SEALED = select(
    seals,
    transfers.c.state,
    transfers.c.publish_mode,
    transfers.c.source,
    transfers.c.destination,
    type_coerce(transfers.c.finished_at, BigInteger).label("finished_us"),
).outerjoin_from(seals, transfers, transfers.c.id == seals.c.transfer_id)


def as_sealed(row: RowMapping) -> Sealed:
    """From a row of `SEALED`, as it stands there: an editor can put anything anywhere."""
    ended = None
    if row["state"] is not None:
        ended = Ended(
            state=row["state"],
            publish=row["publish_mode"],
            source=row["source"],
            destination=row["destination"],
            finished_at=_moment(row["finished_us"]),
        )
    return Sealed(
        transfer_id=_text(row["transfer_id"]),
        line=_text(row["line"]),
        seal=_text(row["seal"]),
        ended=ended,
    )


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _moment(since_epoch_us: Any) -> datetime | None:
    try:
        return moment(since_epoch_us)
    except (ArithmeticError, TypeError):
        return None
