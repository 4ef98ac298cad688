"""The tables `reconcile_sent` and `reconciliations`, as `reconcile` writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

from sqlalchemy import bindparam, delete, select, update

from backhaul.adapters.ledger import rows
from backhaul.adapters.ledger.reconciling.tables import reconcile_sent, reconciliations
from backhaul.adapters.ledger.schema import put
from backhaul.adapters.ledger.session import WriteSession
from backhaul.core.reconciliation.values import ReconcileResult

SENT_KEPT = timedelta(days=15)  # a queue keeps a message for 14 days at most
UNKNOWN_KEPT = timedelta(minutes=15)  # a send that died between its record and its answer
_AT = select(reconcile_sent).where(reconcile_sent.c.uri.in_(bindparam("of_uris", expanding=True)))


@dataclass(frozen=True, kw_only=True)
class SentObject:
    """A message that was left for one object.

    Attributes:
        uri: Where the object belongs.
        queue: ARN.
        message_id: None: it is about to be sent, or whether it was is unknown.
    """

    uri: str
    route: str
    bucket: str
    key: str
    etag: str
    queue: str
    sent_at: datetime
    message_id: str | None = None


class SqlReconciliations(WriteSession):
    """What `reconcile` records from beside the agent."""

    def reserve_sends(
        self, wanted: Sequence[SentObject], now: datetime, *, looked_at: datetime
    ) -> list[SentObject]:
        """Record that these are about to be sent, before they are; one process alone gets each.

        Args:
            looked_at: What was sent before that was looked at, and found to be of no use.

        Returns:
            Those that may be sent: no other message is known to be on its way for the same state of
            the object. Die after this and nothing is sent again for `UNKNOWN_KEPT`.
        """
        free: list[SentObject] = []
        with self._transaction() as tx:
            tx.execute(delete(reconcile_sent).where(reconcile_sent.c.sent_at < now - SENT_KEPT))
            for start in range(0, len(wanted), rows.LOOKUP_BATCH):
                batch = wanted[start : start + rows.LOOKUP_BATCH]
                there = {
                    row["uri"]: row
                    for row in tx.execute(_AT, {"of_uris": [one.uri for one in batch]}).mappings()
                }
                for one in batch:
                    known = there.get(one.uri)
                    if known is not None and known["etag"] == one.etag:
                        is_unknown = known["message_id"] is None
                        if known["sent_at"] > (now - UNKNOWN_KEPT if is_unknown else looked_at):
                            continue
                    put(tx, reconcile_sent, asdict(one))
                    free.append(one)
        return free

    def note_sent(self, sent: Mapping[str, str | None]) -> None:
        """The message ids of what was sent, by URI; None: it was not sent."""
        with self._transaction() as tx:
            for uri, message_id in sent.items():
                its = reconcile_sent.c.uri == uri
                if message_id is None:
                    tx.execute(delete(reconcile_sent).where(its))
                else:
                    tx.execute(update(reconcile_sent).where(its).values(message_id=message_id))

    def note_reconciled(self, result: ReconcileResult) -> None:
        """Keep it as the last result of its route."""
        values = {**asdict(result), "totals": json.dumps(dict(result.totals))}
        with self._transaction() as tx:
            put(tx, reconciliations, values)
