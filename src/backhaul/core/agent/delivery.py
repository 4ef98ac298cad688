"""One message, from its receipt to its end, in the thread of one slot.

What becomes of it, and in which order:

    settled     ledger first, then delete, once every record of the message has ended
    ignored     deleted: an event that requests nothing
    failed      comes back after a back-off, by changing its visibility (`returning`)
    held, busy  stays with us, invisible, spending nothing, until the obstacle is gone (`attempts`)
    dead        copied to the dead-letter queue with its reason, then ledger, then deleted
                (`dead_lettering`). Where SQS refused the copy, it is sent by a later delivery,
                after the ledger knows the death and before the message is deleted. Without a
                dead-letter queue the message is never deleted: it is hidden for as long as SQS
                allows
    paused      kept hidden without a slot until its route is resumed, spending nothing (`pausing`);
                its records of other routes do not wait for that
    stopping    handed back unspent, visible at once (`returning`)

The transfer itself is `core.transfer.attempt`; where messages come from is `agent`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backhaul.core.agent.attempts import RecordAttempts
from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.dead_lettering import send_missing
from backhaul.core.agent.returning import hand_back, return_later, show_after
from backhaul.core.agent.verdicts import budget_of, in_time
from backhaul.core.errors import BackhaulError, PermanentError
from backhaul.core.ports import Message
from backhaul.core.requests.records import MessageRecord, RecordOutcome, RouteWait, records_of
from backhaul.core.transfer.outcome import Disposition, after_failure

WHOLE = -1  # number of the record that is a message whose records cannot even be counted
KEPT_MARGIN_S = 60


def deliver(context: AgentContext, message: Message) -> RouteWait | None:
    """Work each record of the message in turn; the message goes when all of them have ended.

    The message's visibility is kept already; it is released here, unless the message has to wait
    for a paused route.

    Returns:
        What it waits for; None: nothing is left to do for this delivery.
    """
    records = _read(context, message)
    if records is None:
        return None
    outcomes: list[RecordOutcome] = []
    for record in records:
        if outcomes and context.stopper.is_requested:
            # What has ended is in the ledger, and the next delivery skips it.
            if not _returned_for_retry(context, message, outcomes):
                hand_back(context, message)
            return None
        outcome = RecordAttempts(context, message, record).run()
        if outcome is None:
            return None  # records before this one have ended or failed; the ledger knows it
        outcomes.append(outcome)
    if _returned_for_retry(context, message, outcomes):
        return None
    # A pause holds up no record of another route: those have ended by now.
    wait = next((one.wait for one in outcomes if one.wait is not None), None)
    if wait is None:
        _settle(context, message, outcomes)
    return wait


def _read(context: AgentContext, message: Message) -> Sequence[MessageRecord] | None:
    """The records; None where reading fails, and the message comes back after a while.

    No text should make it fail, and if one does, the other messages go on. A message that does so
    at every delivery is dead in the end, as a whole.
    """
    retry, facts = context.settings.retry, context.queue.facts
    records = context.result_or_error(
        lambda: records_of(message, default_fs=context.settings.default_fs)
    )
    if not isinstance(records, BackhaulError):
        return records
    budget = replace(budget_of(None, message, retry, facts), retry=retry)
    verdict = in_time(after_failure(records, budget), message, facts, context.clock.now())
    reason = verdict.error
    if verdict.disposition is Disposition.DEAD and reason is not None:
        dead = PermanentError(reason.code, reason.message, hint=reason.hint)
        return [MessageRecord(number=WHOLE, count=1, body=dead)]
    context.totals.failed += 1
    return_later(context, message, retry.delay_s(message.receive_count, 1.0))
    return None


def _returned_for_retry(
    context: AgentContext, message: Message, outcomes: Sequence[RecordOutcome]
) -> bool:
    """True when a record has to be tried again, so that the message comes back."""
    delays_s = [one.retry_in_s for one in outcomes if one.retry_in_s is not None]
    if not delays_s:
        return False
    context.totals.failed += 1
    return_later(context, message, max(delays_s))
    return True


def _settle(context: AgentContext, message: Message, outcomes: Sequence[RecordOutcome]) -> None:
    """Every record has ended and the ledger knows it: send missing dead letters, then delete."""
    missing = [one.dead for one in outcomes if one.dead is not None and not one.is_copied]
    for dead in missing:
        if not send_missing(context, message, dead):
            return
    newest = context.keeper.newest_released(message)
    if any(one.dead is not None for one in outcomes):
        context.totals.dead += 1
    elif all(one.is_ignored for one in outcomes):
        context.totals.ignored += 1
    else:
        context.totals.done += 1
    if missing and context.queue.facts.dead_letter_url is None:
        # Never delete the only copy: hide it for as long as SQS allows.
        elapsed_s = context.clock.monotonic() - newest.received_monotonic_s
        left_s = int(context.settings.visibility_total_s - elapsed_s) - KEPT_MARGIN_S
        show_after(context, newest, max(0, left_s))
        return
    # Die or stop before the answer and the message reappears, is recognised, and deleted then.
    context.until_queue_answers(lambda: context.deletes.delete(newest))
