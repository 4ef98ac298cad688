"""What recognises events and signed messages that were here before.

Sequencers of published events (`sequencers`) and nonces of signed messages (`nonces`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, bindparam, delete, insert, select

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.schema import nonces, put, sequencers, transfers
from backhaul.adapters.ledger.session import WriteSession
from backhaul.core.model import Assignment, Location, TransferState
from backhaul.core.ports import MessageKey

_PUBLISHED = select(sequencers.c.sequencer).where(
    *(sequencers.c[name] == bindparam(f"of_{name}") for name in ("uri", "bucket", "key"))
)
_SEEN = select(nonces.c.queue, nonces.c.message_id).where(nonces.c.nonce == bindparam("of_nonce"))
_ITS_MESSAGE = select(transfers.c.queue, transfers.c.message_id, transfers.c.state).where(
    transfers.c.id == bindparam("of_transfer")
)
_FORGET = delete(nonces).where(nonces.c.keep_until < bindparam("of_now"))


class SqlReplays(WriteSession):
    """`ReplayLedger`."""

    def published_sequencer(self, destination: Location, bucket: str, key: str) -> str | None:
        wanted = {"of_uri": destination.uri, "of_bucket": bucket, "of_key": key}
        with self._beside() as tx:
            return rows.text(tx.execute(_PUBLISHED, wanted).scalar_one_or_none())

    def claim_nonce(
        self,
        nonce: str,
        key: MessageKey,
        keep_until: datetime,
        now: datetime,
        *,
        redriven_from: str | None = None,
    ) -> bool:
        message = {"queue": key.queue, "message_id": key.message_id}
        with self._transaction() as tx:
            tx.execute(_FORGET, {"of_now": now})  # their messages can no longer come
            seen = tx.execute(_SEEN, {"of_nonce": nonce}).one_or_none()
            if seen is not None:
                if (seen.queue, seen.message_id) == (key.queue, key.message_id):
                    return True
                if redriven_from is None or not _died(
                    tx, redriven_from, seen.queue, seen.message_id
                ):
                    return False
                tx.execute(delete(nonces).where(nonces.c.nonce == nonce))
            tx.execute(insert(nonces), {"nonce": nonce, **message, "keep_until": keep_until})
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


def event_values(assignment: Assignment) -> dict[str, Any]:
    """What a transfer's row keeps of the decision and of the event behind it."""
    event = assignment.request.event
    return {
        "policy": assignment.policy_digest or None,
        "event_bucket": assignment.request.source.bucket if event else None,
        "event_key": event.key if event else None,
        "sequencer": event.sequencer if event else None,
    }


def remember_event(tx: Connection, transfer: RowMapping) -> None:
    """The transfer is published, so its event is the newest: S3 confirmed it, not the event.

    A higher sequencer that was here before was forged, or of an object that was restored since.
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
    put(tx, sequencers, values)
