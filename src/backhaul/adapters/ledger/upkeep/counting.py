"""What was read from S3 outside of the transactions that record something else."""

from __future__ import annotations

from datetime import date

from backhaul.adapters.ledger import transfers
from backhaul.adapters.ledger.daily import adding
from backhaul.adapters.ledger.session import WriteSession
from backhaul.core.cost.egress import Egress, EgressCount


class SqlEgress(WriteSession):
    """`EgressLedger`."""

    def note_egress(self, transfer_id: str, read: EgressCount) -> None:
        with self._beside(transfers.by_id_query(transfer_id)) as tx:
            # What a failover of the database has lost has no route to be counted for.
            if (row := transfers.find(tx, transfer_id)) is not None:
                adding.add_of_transfer(tx, row, read)

    def note_command_egress(self, route: str, read: EgressCount) -> None:
        with self._beside() as tx:
            adding.add_of_day(tx, route, "", read)

    def egress_since(self, since: date, route: str | None = None) -> Egress:
        with self._beside() as tx:
            return adding.egress_since(tx, since, route)
