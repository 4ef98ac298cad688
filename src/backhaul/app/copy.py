"""`backhaul copy`: one transfer without a queue, repeated here when it fails."""

from __future__ import annotations

import threading

from backhaul.adapters.system.clock import SystemRandomness
from backhaul.app.context import Context
from backhaul.app.ports import open_ports
from backhaul.app.sweep import sweep
from backhaul.core.backoff import RetryPolicy
from backhaul.core.cost.egress import EgressEstimated
from backhaul.core.cost.prices import EgressPrice, Estimate, month_of
from backhaul.core.errors import (
    BackhaulError,
    DestinationBusy,
    OutageError,
    PermanentError,
    TakenOver,
)
from backhaul.core.facts import AttemptFailed, TransferProgress, TransferWaiting
from backhaul.core.model import Assignment, Request, TransferState
from backhaul.core.ports import AttemptStart, Emit, MessageKey, Ports
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.cluster.jobs import discard
from backhaul.core.transfer.outcome import Budget, Disposition, Verdict

COPY_ATTEMPTS = 3
_BUSY = DestinationBusy(
    "E_DST_BUSY", "another transfer owns the destination", hint="try again when it has ended"
)


def run_copy(context: Context, request: Request, *, region: str, emit: Emit) -> None:
    """Run the transfer, and repeat it after a transient failure.

    Raises:
        BackhaulError: Why the copy was given up. An outage or a busy destination is reported at
            once: the command line does not wait for it, except once for as long as it takes to see
            whether those who share the ledger are still there.
    """
    job = context.policy.decide(request, sender_id=None)
    estimating = _Estimating(emit, context.settings.cost.price)
    with open_ports(context, region, estimating, 1, is_warm=True) as opened:
        estimating.follow(opened.ports)
        sweep(opened.ports, opened.ledger, context.policy)
        run_transfer(opened.ports, context.policy, job, retry=context.settings.agent.retry)


class _Estimating:
    """Passes facts on, and adds once what the transfer may cost, before a byte is read."""

    def __init__(self, emit: Emit, price: EgressPrice) -> None:
        self._emit = emit
        self._price = price
        self._ports: Ports | None = None

    def follow(self, ports: Ports) -> None:
        """The ledger knows what has left S3 in this month."""
        self._ports = ports

    def __call__(self, fact: object) -> None:
        self._emit(fact)
        if isinstance(fact, TransferProgress) and fact.phase == "planning" and self._ports:
            ports, self._ports = self._ports, None
            try:
                month = ports.ledger.egress_since(month_of(ports.clock.now()))
            except OutageError:
                return  # the transfer will say so
            estimate = Estimate(self._price, month.size_bytes)
            self._emit(
                EgressEstimated(
                    objects=fact.objects_total,
                    size_bytes=fact.size_bytes_total,
                    is_all=fact.is_planned,
                    cost=estimate.text(fact.size_bytes_total),
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
            if verdict.disposition is Disposition.WAIT and error is _BUSY:
                watch_s = ports.standing.watch_left_s
                if watch_s > 0:
                    _wait_for_watch(ports, begun, job, watch_s)
                    continue
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


def _wait_for_watch(ports: Ports, begun: AttemptStart, job: Assignment, watch_s: float) -> None:
    """Who owns the destination may have died; a process that has just begun cannot know it yet."""
    now = ports.clock.now()
    ports.ledger.fail(
        begun.transfer_id, TransferState.WAITING, _BUSY.code, _BUSY.message, now, refund=True
    )
    ports.emit(
        TransferWaiting(
            transfer_id=begun.transfer_id,
            destination=job.request.destination.uri,
            retry_in_s=watch_s,
        )
    )
    threading.Event().wait(watch_s)


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
