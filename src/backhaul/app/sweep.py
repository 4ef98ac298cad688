"""Removes abandoned staging of copies whose process died; no message will bring them back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backhaul.core.errors import BackhaulError
from backhaul.core.facts import AbandonedStagingRemoved, SweepFailed
from backhaul.core.ports import Ports
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.cluster.jobs import discard

if TYPE_CHECKING:
    from backhaul.adapters.ledger.store import SqlLedger


def sweep(ports: Ports, ledger: SqlLedger, policy: Policy) -> None:
    """Remove it and mark those transfers dead; a failure is retried at the next start."""
    for transfer_id, left in ledger.interrupted_copies().items():
        try:
            discard(ports, transfer_id, policy.user_of(left.route) if left else None)
            ledger.abandon(transfer_id, ports.clock.now())
        except BackhaulError as error:
            ports.emit(SweepFailed(transfer_id=transfer_id, code=error.code, reason=error.message))
        else:
            staging = left.staging_root.uri if left else "none"
            ports.emit(AbandonedStagingRemoved(transfer_id=transfer_id, staging=staging))
