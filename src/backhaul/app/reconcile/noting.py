"""The result of a route, kept in the ledger for `status` and the metrics."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system.clock import host_name
from backhaul.core.reconciliation.values import ObjectClass, ReconcileResult

NOTE_WAIT_S = 5.0  # for the ledger's lock


@dataclass(kw_only=True)
class ClassTotals:
    """Paths of one class and their bytes, of S3 or else of the target."""

    objects: int = 0
    size_bytes: int = 0


def note_result(
    path: Path, route: str, started_at: datetime, totals: Mapping[ObjectClass, ClassTotals]
) -> None:
    """Keep the result of a comparison of everything that ends now.

    Raises:
        BackhaulError: The ledger cannot be written.
    """
    result = ReconcileResult(
        route=route,
        started_at=started_at,
        finished_at=datetime.now(UTC),
        totals={kind.value: (found.objects, found.size_bytes) for kind, found in totals.items()},
    )
    ledger = open_ledger(
        path, create=False, host=host_name(), busy_timeout_s=NOTE_WAIT_S, migrates=False
    )
    with closing(ledger):
        ledger.note_reconciled(result)
