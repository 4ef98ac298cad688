"""What the ledger records of an attempt that did not succeed: a failure, or nothing spent."""

from __future__ import annotations

from backhaul.core import facts
from backhaul.core.agent.context import AgentContext
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import Hold, TransferState
from backhaul.core.ports import AttemptStart, Holder, Message


def record_failure(
    context: AgentContext,
    start: AttemptStart,
    state: TransferState,
    error: BackhaulError,
    *,
    has_dead_letter: bool = False,
) -> bool:
    """Record the failed attempt; False when the agent has to stop before the ledger answers."""
    ledger, now = context.ports.ledger, context.clock.now()
    answer = context.until_answered(
        lambda: ledger.fail(
            start.transfer_id,
            state,
            error.code,
            error.message,
            now,
            has_dead_letter=has_dead_letter,
        )
    )
    return answer is not None


def fail(context: AgentContext, start: AttemptStart, message: Message, error: BackhaulError) -> int:
    """Record a failure that another attempt may follow; returns the seconds until then."""
    delay_s = context.settings.retry.delay_s(start.failures + 1, context.chance())
    record_failure(context, start, TransferState.WAITING, error)
    context.emit(
        facts.AttemptFailed(
            transfer_id=start.transfer_id,
            message_id=message.message_id,
            attempt=start.attempt,
            code=error.code,
            reason=error.message,
            hint=error.hint,
            retry_in_s=delay_s,
        )
    )
    return delay_s


def refund(
    context: AgentContext,
    start: AttemptStart | None,
    state: TransferState,
    error: BackhaulError,
    hold: Hold | None = None,
) -> None:
    """End the attempt without spending it, and give up its claim."""
    if start is None or start.state.is_final or start.is_live:
        return
    try:
        context.ports.ledger.fail(
            start.transfer_id,
            state,
            error.code,
            error.message,
            context.clock.now(),
            refund=True,
            hold=hold,
        )
    except OutageError as outage:
        # The ledger itself is down: nothing was recorded and nothing needs undoing; the claim is
        # ours until this process ends.
        context.emit(
            facts.LedgerRecordMissed(
                transfer_id=start.transfer_id, code=outage.code, reason=outage.message
            )
        )


def is_taken_over(
    context: AgentContext, start: AttemptStart, message: Message, error: BackhaulError
) -> bool:
    """True when another process has the transfer now: its outcome counts, and our failure not."""
    ledger = context.ports.ledger
    if context.until_answered(lambda: ledger.is_mine(start.transfer_id)):
        return False
    found = context.until_answered(lambda: ledger.holder(start.transfer_id))
    holder = found if isinstance(found, Holder) else Holder(owner=None, is_cancelled=False)
    context.emit(
        facts.TransferTakenOver(
            message_id=message.message_id,
            transfer_id=start.transfer_id,
            code=error.code,
            reason=error.message,
            is_cancelled=holder.is_cancelled,
            owner=holder.owner,
        )
    )
    return True
