"""`backhaul copy`, put together: one transfer without a queue, repeated here when it fails."""

from __future__ import annotations

import threading

from backhaul.adapters.aws_common import AwsSession
from backhaul.adapters.ledger.store import COPY_QUEUE, SqlLedger
from backhaul.adapters.system import SystemRandomness
from backhaul.app.context import Context, open_ports, require_routes
from backhaul.app.sweep import sweep
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import BackhaulError, SourceChanged, TransientError
from backhaul.core.events import AttemptFailed
from backhaul.core.model import Request, TransferState
from backhaul.core.ports import Emit, MessageKey
from backhaul.core.runner import Ports, TransferRunner
from backhaul.core.transfer import Budget, Fate, Verdict

COPY_ATTEMPTS = 3


def run_copy(context: Context, request: Request, *, region: str, emit: Emit) -> Verdict:
    """`backhaul copy`: the same transfer without a queue; repeats transient failures itself."""
    require_routes(context)
    job = context.policy.decide(request, sender_id=None)
    aws = AwsSession(region, context.conf_dir)
    with open_ports(context, aws, emit, 1) as (ports, _, ledger):
        sweep(ports, ledger)
        chance = SystemRandomness()
        transfer_id = chance.transfer_id()
        failures = changes = 0
        try:
            while True:
                begun = ledger.begin(
                    MessageKey(queue=COPY_QUEUE, message_id=transfer_id),
                    transfer_id,
                    request.source.uri,
                    request.destination.uri,
                    ports.clock.now(),
                )
                verdict = TransferRunner(
                    ports=ports,
                    policy=lambda: context.policy,
                    begun=begun,
                    job=job,
                    budget=Budget(
                        retry=RetryPolicy(max_attempts=COPY_ATTEMPTS),
                        failures=failures,
                        source_changes=changes,
                    ),
                    message_id=None,
                ).run()
                if verdict.fate is Fate.DELETE:
                    return verdict
                is_last = _end_copy(ports, ledger, transfer_id, verdict)
                if is_last or verdict.error is None:
                    return verdict
                failures += 1
                changes += isinstance(verdict.error, SourceChanged)
                delay_s = context.retry.delay_s(failures, chance.uniform(0, 1))
                emit(_failed(transfer_id, begun.attempt, verdict.error, delay_s))
                threading.Event().wait(delay_s)
        except KeyboardInterrupt:
            _abandon(ports, ledger, transfer_id)
            raise


def _failed(transfer_id: str, attempt: int, error: BackhaulError, delay_s: float) -> AttemptFailed:
    return AttemptFailed(
        transfer_id=transfer_id,
        message_id=None,
        attempt=attempt,
        code=error.code,
        reason=error.message,
        hint=error.hint,
        retry_in_s=delay_s,
    )


def _end_copy(ports: Ports, ledger: SqlLedger, transfer_id: str, verdict: Verdict) -> bool:
    """Record a failed attempt; True when there is no use in another.

    Nobody waits for an outage on the command line's behalf: it is reported at once.
    """
    error = verdict.error or TransientError(
        "E_DST_BUSY", "another transfer owns the destination", hint="try again when it has ended"
    )
    is_last = verdict.fate is not Fate.RETRY
    state = TransferState.DEAD if is_last else TransferState.WAITING
    if is_last:
        _remove_staging(ports, ledger, transfer_id)
    ledger.fail(transfer_id, state, error.code, error.message, ports.clock.now())
    return is_last


def _abandon(ports: Ports, ledger: SqlLedger, transfer_id: str) -> None:
    """Ctrl-C: leave nothing behind."""
    _remove_staging(ports, ledger, transfer_id)
    ledger.fail(transfer_id, TransferState.DEAD, "E_INTERRUPTED", "interrupted", ports.clock.now())


def _remove_staging(ports: Ports, ledger: SqlLedger, transfer_id: str) -> None:
    root = ledger.staging_root(transfer_id)
    if root is None:
        return
    try:
        with ports.pool.session(root.filesystem) as session:
            session.remove_staging(root)
    except BackhaulError as error:
        ports.emit(error)
