"""A dead record: copied to the dead-letter queue with its reason, then recorded as dead.

The message is deleted after both, by `delivery`. Where SQS refuses the copy, the ledger records the
death without it: the next delivery only sends the dead letter, and copies no data again.
"""

from __future__ import annotations

from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.failures import record_failure
from backhaul.core.agent.returning import hand_back, return_later
from backhaul.core.errors import BackhaulError
from backhaul.core.facts import MessageDead, StagingNotRemoved
from backhaul.core.model import TransferState
from backhaul.core.ports import AttemptStart, DeadLetterReason, Message
from backhaul.core.requests.admission import ticket_for
from backhaul.core.requests.records import Dead, RecordOutcome
from backhaul.core.text import redacted
from backhaul.core.transfer.cluster.jobs import discard

DEAD_LETTER_TRIES = 6  # some 40 s; then the message comes back after DEAD_LETTER_RETRY_S
DEAD_LETTER_RETRY_S = 300


def dead_letter(context: AgentContext, message: Message, dead: Dead) -> RecordOutcome | None:
    """Copy, then record; None when the message goes back to SQS before both are done."""
    is_copied = send(context, message, dead)
    remove_staging(context, dead.start)
    if not record_failure(
        context, dead.start, TransferState.DEAD, dead.error, has_dead_letter=is_copied
    ):
        hand_back(context, message, dead.start.transfer_id)
        return None
    if is_copied:
        _emit_dead(context, message, dead)
    elif context.queue.facts.dead_letter_url is not None:
        _put_off(context, message, dead)
        return None
    return RecordOutcome(dead=dead, is_copied=is_copied)


def send_missing(context: AgentContext, message: Message, dead: Dead) -> bool:
    """Send the dead letter of a record that the ledger knows as dead without one.

    It died when there was no dead-letter queue, when SQS refused the copy, or by
    `backhaul cancel`.

    Returns:
        False when SQS refuses the copy again; the message has been returned for later.
    """
    is_copied = send(context, message, dead)
    if not is_copied and context.queue.facts.dead_letter_url is not None:
        _put_off(context, message, dead)
        return False
    if is_copied:
        # Without this record, as after a stop, a later delivery may send it once more.
        ledger = context.ports.ledger
        context.until_answered(lambda: ledger.note_dead_letter(dead.start.transfer_id))
    _emit_dead(context, message, dead)
    return True


def send(context: AgentContext, message: Message, dead: Dead) -> bool:
    """Send the copy; False when there is no dead-letter queue, or SQS does not take it."""
    start, error = dead.start, dead.error
    reason = DeadLetterReason(
        code=error.code,
        sentence=redacted(dead.sentence),
        hint=redacted(error.hint),
        attempts=dead.attempts,
        first_seen_at=start.first_seen_at,
        transfer_id=start.transfer_id,
        host=context.settings.host,
        redrive=_ticket(context, message, start, error),
    )
    copy = dead.record.dead_letter_for(message)

    def post() -> bool:
        # Before each try: others may have copied what this process, suspended meanwhile, gave up.
        context.ports.standing.require()
        return context.queue.send_dead_letter(copy, reason)

    return bool(context.until_answered(post, max_tries=DEAD_LETTER_TRIES))


def _put_off(context: AgentContext, message: Message, dead: Dead) -> None:
    """Return the message for a later try of its dead letter, so that its slot is free."""
    if context.stopper.is_requested:
        hand_back(context, message, dead.start.transfer_id)
        return
    context.totals.failed += 1
    return_later(context, message, DEAD_LETTER_RETRY_S)


def _emit_dead(context: AgentContext, message: Message, dead: Dead) -> None:
    context.emit(
        MessageDead(
            transfer_id=dead.start.transfer_id,
            message_id=message.message_id,
            code=dead.error.code,
            reason=dead.sentence,
            hint=dead.error.hint,
            attempts=dead.attempts,
            dead_letter_queue=context.queue.facts.dead_letter_name,
        )
    )


def remove_staging(context: AgentContext, start: AttemptStart) -> None:
    """Remove what earlier attempts staged; the last one may have ended before it claimed."""
    try:
        left = context.ports.ledger.staging_of(start.transfer_id)
        user = context.policy().user_of(left.route) if left is not None else None
        discard(context.ports, start.transfer_id, user)
    except BackhaulError as error:
        # It is hidden, and the next claim of this destination fences it.
        context.emit(
            StagingNotRemoved(transfer_id=start.transfer_id, code=error.code, reason=error.message)
        )


def _ticket(
    context: AgentContext, message: Message, start: AttemptStart, error: BackhaulError
) -> str:
    """Empty for a copy of a signed message, and for one whose signature was never good."""
    if error.code.startswith("E_SIG_"):
        return ""
    return ticket_for(context.policy(), message, start.transfer_id, context.clock.now())
