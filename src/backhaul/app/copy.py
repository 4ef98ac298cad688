"""`backhaul copy`: one transfer without a queue, repeated here when it fails."""

from __future__ import annotations

import threading

from backhaul.adapters.system.clock import SystemRandomness
from backhaul.app.context import Context
from backhaul.app.ports import open_ports
from backhaul.app.sweep import sweep
from backhaul.core.backoff import RetryPolicy
from backhaul.core.cost.egress import EgressEstimated
from backhaul.core.cost.prices import Estimate, month_of
from backhaul.core.errors import BackhaulError, DestinationBusy, PermanentError, TakenOver
from backhaul.core.facts import AttemptFailed
from backhaul.core.model import Assignment, Request, TransferState
from backhaul.core.ports import AttemptStart, Emit, MessageKey, Ports
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.cluster.jobs import discard
from backhaul.core.transfer.outcome import Budget, Disposition, Verdict
from backhaul.core.transfer.planning import resolve

COPY_ATTEMPTS = 3
ESTIMATED_PAGES = 20  # of a thousand objects: some seconds of listing
_BUSY = DestinationBusy(
    "E_DST_BUSY", "another transfer owns the destination", hint="try again when it has ended"
)


def run_copy(context: Context, request: Request, *, region: str, emit: Emit) -> None:
    """Run the transfer, and repeat it after a transient failure.

    Raises:
        BackhaulError: Why the copy was given up. An outage or a busy destination is reported at
            once: the command line does not wait for it.
    """
    job = context.policy.decide(request, sender_id=None)
    with open_ports(context, region, emit, 1, is_warm=True) as opened:
        sweep(opened.ports, opened.ledger, context.policy)
        _estimate(context, opened.ports, job)
        run_transfer(opened.ports, context.policy, job, retry=context.settings.agent.retry)


def _estimate(context: Context, ports: Ports, job: Assignment) -> None:
    """Say what it may cost before a byte is read; one that cannot be listed says so later."""
    objects = size_bytes = 0
    is_all = True
    try:
        found = resolve(ports.store, job.request.source, owner=job.source_owner)
        for number, page in enumerate(found.pages):
            if number == ESTIMATED_PAGES:
                is_all = False
                break
            objects += len(page.pins)
            size_bytes += sum(pin.size_bytes for pin in page.pins)
    except BackhaulError:
        return
    month = month_of(ports.clock.now())
    month_bytes = ports.ledger.egress_since(month).size_bytes
    estimate = Estimate(context.settings.cost.price, month_bytes)
    ports.emit(
        EgressEstimated(
            objects=objects,
            size_bytes=size_bytes,
            is_all=is_all,
            cost=estimate.text(size_bytes),
        )
    )


def run_transfer(
    ports: Ports,
    policy: Policy,
    job: Assignment,
    *,
    retry: RetryPolicy,
    attempts: int = COPY_ATTEMPTS,
) -> str:
    """Run one transfer that no message requested, to its end; its id.

    Args:
        retry: How long to wait before it is repeated.
        attempts: How often it is tried.

    Raises:
        BackhaulError: As `run_copy`; the ledger has it.
    """
    chance = SystemRandomness()
    transfer_id = chance.transfer_id()
    try:
        while True:
            begun, verdict = _attempt(ports, policy, job, transfer_id, attempts)
            if verdict.disposition is Disposition.DELETE:
                return transfer_id
            error = verdict.error or _BUSY
            if isinstance(error, TakenOver):
                raise error  # cancelled: it is dead in the ledger already
            if verdict.disposition is not Disposition.RETRY:
                _give_up(ports, job, transfer_id, error)
                raise error
            _record(ports, transfer_id, TransferState.WAITING, error)
            delay_s = retry.delay_s(begun.failures + 1, chance.uniform(0, 1))
            ports.emit(_failed(transfer_id, begun.attempt, error, delay_s))
            threading.Event().wait(delay_s)
    except KeyboardInterrupt:
        # Remove its staging: no message will bring this transfer back.
        interrupted = PermanentError("E_INTERRUPTED", "interrupted")
        _give_up(ports, job, transfer_id, interrupted)
        raise


def _attempt(
    ports: Ports, policy: Policy, job: Assignment, transfer_id: str, attempts: int
) -> tuple[AttemptStart, Verdict]:
    # Imported late: the worker starts first, see `open_ports`.
    from backhaul.adapters.ledger.attempts import ADOPT_QUEUE, COPY_QUEUE

    queue = ADOPT_QUEUE if job.adopts_only else COPY_QUEUE
    begun = ports.ledger.begin(
        MessageKey(queue=queue, message_id=transfer_id),
        transfer_id,
        job.request.source.uri,
        job.request.destination.uri,
        ports.clock.now(),
        route=job.route,
    )
    attempt = Attempt(
        ports=ports,
        policy=lambda: policy,
        begun=begun,
        job=job,
        budget=Budget(
            retry=RetryPolicy(max_attempts=attempts),
            failures=begun.failures,
            source_changes=begun.source_changes,
        ),
        message_id=None,
    )
    return begun, attempt.run()


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


def _give_up(ports: Ports, job: Assignment, transfer_id: str, error: BackhaulError) -> None:
    """Remove its staging and record it as dead."""
    state = TransferState.DEAD
    try:
        discard(ports, transfer_id, job.run_as)
    except PermanentError:
        pass  # no write access, so no staging either
    except BackhaulError:
        state = TransferState.WAITING  # staging may remain: the next start removes it
    if job.adopts_only:
        # By a code of its own: nothing was to be copied.
        error = PermanentError("E_ADOPT_UNPROVEN", str(error))
    _record(ports, transfer_id, state, error)


def _record(ports: Ports, transfer_id: str, state: TransferState, error: BackhaulError) -> None:
    ports.ledger.fail(transfer_id, state, error.code, error.message, ports.clock.now())
