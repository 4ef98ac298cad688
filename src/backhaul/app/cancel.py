"""`backhaul cancel`: ends a transfer in the ledger first, then on YARN."""

from __future__ import annotations

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.system.clock import SystemClock, host_name
from backhaul.app.context import Context
from backhaul.app.ports import make_cluster
from backhaul.app.records import read_transfer
from backhaul.core.transfer.cluster.engine_choice import no_cluster
from backhaul.core.transfer.cluster.jobs import end_job


def cancel(context: Context, id_prefix: str) -> str:
    """End a transfer for good, even while an agent runs it; returns its id.

    Raises:
        PermanentError: E_NO_SUCH_TRANSFER, E_ENDED.
        LedgerLocked: E_PUBLISHING.
        OutageError: The ledger; or YARN: it is cancelled, and its application may go on.
    """
    transfer_id = read_transfer(context.settings.ledger_path, id_prefix).transfer.id
    clock = SystemClock()
    ledger = open_ledger(context.settings.ledger_path, create=False, host=host_name())
    try:
        jobs = ledger.cancel(transfer_id, clock.now())
        cluster = make_cluster(context)
        for job in jobs:
            if cluster is None:
                raise no_cluster()
            end_job(cluster, ledger, clock, job)
    finally:
        ledger.close()
    return transfer_id
