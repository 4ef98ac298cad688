"""Staging that no message will bring back: of copies whose process died."""

from __future__ import annotations

from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import BackhaulError
from backhaul.core.events import StagingSwept
from backhaul.core.runner import Ports


def sweep(ports: Ports, ledger: SqlLedger) -> None:
    """Remove it and mark those transfers dead; what fails is tried again at the next start."""
    for orphan in ledger.orphans():
        try:
            if orphan.staging_root is not None:
                with ports.pool.session(orphan.staging_root.filesystem) as session:
                    session.remove_staging(orphan.staging_root)
            ledger.abandon(orphan.transfer_id, ports.clock.now())
        except BackhaulError as error:
            ports.emit(error)
        else:
            staging = orphan.staging_root.uri if orphan.staging_root else "none"
            ports.emit(StagingSwept(transfer_id=orphan.transfer_id, staging=staging))
