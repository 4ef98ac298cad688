"""The result of a route, kept in the ledger for `status` and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system.clock import host_name
from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.core.reconciliation.values import ObjectClass, ReconcileResult

NOTE_WAIT_S = 5.0  # for the ledger's lock


@dataclass(kw_only=True)
class ClassTotals:
    """Paths of one class and their bytes, of S3 or else of the target."""

    objects: int = 0
    size_bytes: int = 0


def note_result(
    path: LedgerPlace,
    route: str,
    started_at: datetime,
    totals: Mapping[ObjectClass, ClassTotals] | None,
    received_bytes: int,
) -> None:
    """Keep the result of a comparison that ends now, and what it read from S3.

    Args:
        totals: None: it was not of everything, so none is kept.
        received_bytes: Of bodies: those of an inventory.

    Raises:
        BackhaulError: The ledger cannot be written.
    """
    if totals is None and not received_bytes:
        return
    now = datetime.now(UTC)
    ledger = open_ledger(
        path, create=False, host=host_name(), busy_timeout_s=NOTE_WAIT_S, migrates=False
    )
    with closing(ledger):
        if received_bytes:
            read = EgressCount(at=now, native=Egress(verify=received_bytes))
            ledger.note_command_egress(route, read)
        if totals is not None:
            sums = {kind.value: (one.objects, one.size_bytes) for kind, one in totals.items()}
            ledger.note_reconciled(
                ReconcileResult(route=route, started_at=started_at, finished_at=now, totals=sums)
            )
