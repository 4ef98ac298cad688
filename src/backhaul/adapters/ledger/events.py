"""The ledger's part in events and signed messages: sequencers published, nonces seen.

Each function runs inside a transaction that its caller began and holds nothing itself.
"""

from __future__ import annotations

from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Connection, Insert, RowMapping, bindparam, delete, insert, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.engine import upsert
from backhaul.adapters.ledger.schema import nonces, sequencers, transfers
from backhaul.core.model import Assignment, TransferState
from backhaul.core.ports import MessageKey

_KEY = ("uri", "bucket", "key")
_NEWEST = select(sequencers.c.sequencer).where(
    *(sequencers.c[name] == bindparam(f"of_{name}") for name in _KEY)
)
_SEEN = select(nonces.c.queue, nonces.c.message_id).where(nonces.c.nonce == bindparam("of_nonce"))
_ITS_MESSAGE = select(transfers.c.queue, transfers.c.message_id, transfers.c.state).where(
    transfers.c.id == bindparam("of_transfer")
)
_FORGET = delete(nonces).where(nonces.c.keep_until < bindparam("of_now"))


def asked(job: Assignment) -> dict[str, Any]:
    """What a transfer's row keeps of the decision and of the event behind it."""
    event = job.request.event
    return {
        "policy": job.policy_digest or None,
        "event_bucket": job.request.source.bucket if event else None,
        "event_key": event.key if event else None,
        "sequencer": event.sequencer if event else None,
    }


def newest(tx: Connection, uri: str, bucket: str, key: str) -> str | None:
    """The sequencer of the event that was published last."""
    found = tx.execute(_NEWEST, {"of_uri": uri, "of_bucket": bucket, "of_key": key})
    return rows.text(found.scalar_one_or_none())


def remember(tx: Connection, transfer: RowMapping) -> None:
    """The transfer is published, so its event is the newest: S3 has said so, not the event.

    A higher sequencer that stood here was forged, or of an object that was restored since.
    """
    if transfer["sequencer"] is None:
        return
    values = {
        "uri": transfer["canonical"],
        "bucket": transfer["event_bucket"],
        "key": transfer["event_key"],
        "sequencer": transfer["sequencer"],
        "transfer_id": transfer["id"],
    }
    tx.execute(_remembering(tx.dialect.name), values)


@cache
def _remembering(dialect: str) -> Insert:
    statement = upsert(dialect, sequencers)
    new = statement.excluded
    return statement.on_conflict_do_update(
        index_elements=[sequencers.c[name] for name in _KEY],
        set_={"sequencer": new.sequencer, "transfer_id": new.transfer_id},
    )


def claim_nonce(
    tx: Connection,
    nonce: str,
    key: MessageKey,
    keep_until: datetime,
    now: datetime,
    redriven_from: str | None,
) -> bool:
    """Remember it, and forget those whose messages can no longer come."""
    tx.execute(_FORGET, {"of_now": now})
    seen = tx.execute(_SEEN, {"of_nonce": nonce}).one_or_none()
    if seen is not None:
        if (seen.queue, seen.message_id) == (key.queue, key.message_id):
            return True
        if redriven_from is None or not _died(tx, redriven_from, seen.queue, seen.message_id):
            return False
        tx.execute(delete(nonces).where(nonces.c.nonce == nonce))
    values = {
        "nonce": nonce,
        "queue": key.queue,
        "message_id": key.message_id,
        "keep_until": keep_until,
    }
    tx.execute(insert(nonces), values)
    return True


def _died(tx: Connection, transfer_id: str, queue: str, message_id: str) -> bool:
    """The transfer is dead, and of this message or of one of its records."""
    row = tx.execute(_ITS_MESSAGE, {"of_transfer": transfer_id}).one_or_none()
    return (
        row is not None
        and TransferState(row.state) is TransferState.DEAD
        and row.queue == queue
        and (row.message_id == message_id or row.message_id.startswith(f"{message_id}#"))
    )
