"""How a message goes back to SQS undeleted, and after which delay it is visible again.

    failed          after `RetryPolicy.delay_s` (`core.backoff`): by default 5 s, doubled by each
                    failure up to 900 s, the upper half of it random
    elsewhere       after 30 s, or the rest of the watch over the process that has the transfer
                    (`core.fleet.liveness`); each time twice as long, up to a bound (`verdicts`)
    dead            after 300 s, where SQS refused the dead letter (`dead_lettering`); as late as
                    SQS allows, where there is no dead-letter queue (`delivery`)
    stopping        at once, unspent (`hand_back`)

The delay of a failure is chosen in `failures.fail`; `delivery` takes the longest of a message's
records. Of a failure that the ledger could not count, SQS's receives count instead.
"""

from __future__ import annotations

from collections.abc import Sequence

from backhaul.core.agent.context import AgentContext
from backhaul.core.errors import OutageError, VisibilityLost
from backhaul.core.facts import MessageReturned, VisibilityWasLost
from backhaul.core.ports import Message
from backhaul.core.ports.queue import BATCH_MOST

RETURN_SLACK_S = 1.0  # SQS counts the delay from when it gets the call, later than this process


def return_later(context: AgentContext, message: Message, delay_s: int) -> None:
    """Show the message again after the delay; a drain waits for it."""
    newest = context.keeper.newest_released(message)
    slack_s = max(RETURN_SLACK_S, context.settings.poll_wait_s)
    with context.stopper.changed:
        context.due_back[message.message_id] = context.clock.monotonic() + delay_s + slack_s
    show_after(context, newest, delay_s)


def hand_back(context: AgentContext, message: Message, transfer_id: str = "") -> None:
    """The agent stops: show the message at once, unspent."""
    newest = context.keeper.newest_released(message)
    give_back(context, newest, context.poll.hand_back_delay_s, transfer_id)


def hand_back_all(context: AgentContext, messages: Sequence[Message]) -> None:
    """As `hand_back`, for many: one call of SQS shows ten."""
    for first in range(0, len(messages), BATCH_MOST):
        some = messages[first : first + BATCH_MOST]
        newest = [context.keeper.newest_released(one) for one in some]
        _show_together(context, newest, context.poll.hand_back_delay_s)
        for one in newest:
            _note_returned(context, one)


def give_back(
    context: AgentContext, message: Message, delay_s: int = 0, transfer_id: str = ""
) -> None:
    """The same for a message whose visibility is not kept."""
    show_after(context, message, delay_s)
    _note_returned(context, message, transfer_id)


def _note_returned(context: AgentContext, message: Message, transfer_id: str = "") -> None:
    context.totals.returned += 1
    context.emit(MessageReturned(transfer_id=transfer_id, message_id=message.message_id))


def show_after(context: AgentContext, message: Message, delay_s: int) -> None:
    """Change the visibility timeout; `message` is the newest delivery, released by the keeper.

    Not by an agent that others took for gone: they may have the message by now, and keep it hidden.
    """
    if context.ports.standing.is_fenced:
        return
    try:
        context.until_queue_answers(lambda: context.queue.extend(message, delay_s))
    except VisibilityLost as lost:
        _note_visible(context, message, lost)


def _show_together(context: AgentContext, messages: Sequence[Message], delay_s: int) -> None:
    """As `show_after`, of at most `BATCH_MOST`; what SQS leaves out of them gets its own call."""
    if context.ports.standing.is_fenced:
        return
    errors: Sequence[VisibilityLost | OutageError | None] = ()

    def show() -> None:
        nonlocal errors
        errors = context.queue.extend_batch([(one, delay_s) for one in messages])

    if context.until_queue_answers(show) is None:
        return
    for one, error in zip(messages, errors, strict=True):
        if isinstance(error, VisibilityLost):
            _note_visible(context, one, error)
        elif error is not None:
            show_after(context, one, delay_s)


def _note_visible(context: AgentContext, message: Message, lost: VisibilityLost) -> None:
    """It was visible already, which is the aim."""
    context.emit(VisibilityWasLost(message_id=message.message_id, reason=str(lost)))
