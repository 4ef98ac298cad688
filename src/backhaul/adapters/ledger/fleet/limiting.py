"""What `backhaul limit` sets for all agents of a ledger on PostgreSQL; a file is of one node.

How the limit is shared is in `postgres.members.rates` and `core.fleet.rate_shares`.
"""

from __future__ import annotations

from sqlalchemy import delete, select

from backhaul.adapters.ledger.fleet.tables import byte_rates
from backhaul.adapters.ledger.schema import put
from backhaul.adapters.ledger.session import ReadSession, WriteSession
from backhaul.core.rate_limit import ManualLimit

BY_HAND = "by hand"  # a row of `byte_rates`
_FOUND = select(byte_rates.c.bytes_per_s, byte_rates.c.until).where(byte_rates.c.name == BY_HAND)


class SqlByteRates(WriteSession):
    """Of those that command."""

    def limit_rate(self, by_hand: ManualLimit | None) -> None:
        """Limit all agents together; None: the configuration decides again. Safe to repeat."""
        with self._transaction() as tx:
            if by_hand is None:
                tx.execute(delete(byte_rates).where(byte_rates.c.name == BY_HAND))
                return
            values = {"bytes_per_s": by_hand.bytes_per_s, "until": by_hand.until}
            put(tx, byte_rates, {"name": BY_HAND, **values})


class ByteRateReader(ReadSession):
    """The same, read."""

    def limit_by_hand(self) -> ManualLimit | None:
        """None: none is set."""
        with self._transaction("the limit set by hand") as tx:
            row = tx.execute(_FOUND).one_or_none()
        return None if row is None else ManualLimit(bytes_per_s=row.bytes_per_s, until=row.until)
