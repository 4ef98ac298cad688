"""What becomes of a message, as far as that is decided without any call. Pure.

What a failed attempt means for its message is in `core.transfer.outcome`.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from math import ceil

from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import BackhaulError, DestinationBusy, PermanentError
from backhaul.core.model import TransferState
from backhaul.core.ports import AttemptStart, Message, QueueFacts
from backhaul.core.transfer.outcome import Budget, Disposition, Verdict

EXPIRING_SHARE = 0.8  # of the queue's retention: no further attempt after a failed one
HOLD_SHARE = 0.95  # of the queue's retention: no further wait for a dependency or for others
ELSEWHERE_LAST_S = 900  # the same for one that may not be received often any more
BUSY = DestinationBusy("E_DST_BUSY", "another transfer owns the destination or route")


def dead(error: BackhaulError) -> Verdict:
    """The message goes to the dead-letter queue."""
    return Verdict(disposition=Disposition.DEAD, error=error)


def budget_of(
    start: AttemptStart | None, message: Message, retry: RetryPolicy, facts: QueueFacts
) -> Budget:
    """What the message has spent, by the ledger; where that did not count, by SQS's receives.

    Receives include what an outage or a stop handed back, so the higher limit holds for them: the
    one for attempts whose end was never recorded.
    """
    return Budget(
        retry=retry if start else replace(retry, max_attempts=retry.max_starts),
        failures=start.failures if start else max(0, message.receive_count - 1),
        source_changes=start.source_changes if start else 0,
        receive_count=message.receive_count,
        max_receive_count=facts.max_receive_count,
    )


def known_end(start: AttemptStart, retry: RetryPolicy) -> Verdict | None:
    """The verdict where no work is needed, such as a redelivery of a finished transfer."""
    if start.state in {TransferState.DONE, TransferState.SUPERSEDED}:
        return Verdict(disposition=Disposition.DELETE)
    if start.state is TransferState.DEAD:
        return dead(PermanentError(start.code or "E_DEAD", start.reason or "dead before"))
    if start.is_live:
        return Verdict(disposition=Disposition.WAIT)
    if start.was_changed:
        return dead(
            PermanentError(
                "E_MSG_CHANGED",
                "this message came before, under the same id, with another body",
                hint="look for what rewrites messages between SQS and here; send it as a new one",
            )
        )
    if start.attempt > retry.max_starts:
        return dead(
            PermanentError(
                "E_ATTEMPTS_SPENT",
                f"started {start.attempt} times and never ended; last: {start.code or 'killed'}",
                hint="look for what kills the agent while it works on this message",
            )
        )
    return None


def in_time(verdict: Verdict, message: Message, facts: QueueFacts, now: datetime) -> Verdict:
    """Dead instead of another wait or attempt that SQS's retention would cut short.

    SQS deletes a message at the end of the retention without notice; a dead letter is better.
    """
    match verdict.disposition:
        case Disposition.RETRY:
            share, last = EXPIRING_SHARE, verdict.error
        case Disposition.HOLD:
            share, last = HOLD_SHARE, verdict.error
        case Disposition.WAIT:
            share, last = HOLD_SHARE, verdict.error or BUSY
        case _:
            return verdict
    if last is None or message.sent_at is None or not is_expiring(message, facts, now, share):
        return verdict
    age_s = (now - message.sent_at).total_seconds()
    return dead(
        PermanentError(
            "E_EXPIRING",
            f"sent {age_s:.0f} s ago, and queue {facts.name} keeps messages {facts.retention_s} s;"
            f" last: {last.code}: {last.message}",
            hint="fix what held it up, then `backhaul dlq redrive`; give the queue more retention",
        )
    )


def is_expiring(message: Message, facts: QueueFacts, now: datetime, share: float) -> bool:
    """This share of the queue's retention is over, and the message may become a dead letter."""
    if message.sent_at is None or facts.retention_s is None or facts.dead_letter_url is None:
        return False
    return (now - message.sent_at).total_seconds() >= facts.retention_s * share


def elsewhere_s(
    message: Message, facts: QueueFacts, *, watch_s: float, times: int, timeout_s: int
) -> int:
    """How long a message is hidden whose transfer another process works on.

    At first for the rest of the watch over that process, then twice as long each time, as each
    receive is one of those that SQS allows; but no longer than a visibility timeout, as the message
    of a process that dies is hidden, too. Only where hardly a receive is left, for 15 minutes.

    Args:
        watch_s: Until the process is judged, should it be gone.
        times: The message was met with the same owner so often before.
        timeout_s: Of the queue's messages while they are worked on.
    """
    most, rest_s = facts.max_receive_count, ceil(watch_s)
    if times and most is not None and message.receive_count >= most - 1:
        return ELSEWHERE_LAST_S
    return min(rest_s << min(times, 8), max(rest_s, timeout_s))


def ends_at(message: Message, facts: QueueFacts) -> datetime | None:
    """When a message that still waits dies: with a dead letter, or deleted by SQS without one."""
    if message.sent_at is None or facts.retention_s is None:
        return None
    share = HOLD_SHARE if facts.dead_letter_url is not None else 1.0
    return message.sent_at + timedelta(seconds=facts.retention_s * share)
