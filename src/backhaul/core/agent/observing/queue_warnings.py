"""Risky settings of a queue, reported at each start. Pure.

Backhaul works any queue, but with these settings SQS itself can lose messages or their reasons.
"""

from __future__ import annotations

from backhaul.core.facts import QueueWarned
from backhaul.core.ports import QueueFacts

MIN_RECEIVES = 5  # fewer, and SQS moves a message before its reason is known (F37)


def warnings(facts: QueueFacts) -> list[QueueWarned]:
    """One for each risky setting."""
    found = []
    if facts.dead_letter_url is None:
        behind = ", and holds up its group" if facts.is_fifo else ""
        found.append(
            _warned(
                facts,
                "W_NO_DLQ",
                "it has no dead-letter queue: a message that can never succeed stays hidden in it"
                f"{behind}",
                "add a redrive policy; see the quick start",
            )
        )
    if facts.max_receive_count is not None and facts.max_receive_count < MIN_RECEIVES:
        found.append(
            _warned(
                facts,
                "W_FEW_RECEIVES",
                f"maxReceiveCount is {facts.max_receive_count}: SQS may dead-letter a message "
                "without its reason, and each restart of the agent spends one",
                f"set maxReceiveCount to {MIN_RECEIVES} or more, better 20",
            )
        )
    ours, theirs = facts.retention_s, facts.dead_letter_retention_s
    if ours is not None and theirs is not None and theirs <= ours:
        found.append(
            _warned(
                facts,
                "W_DLQ_RETENTION",
                f"the dead-letter queue keeps messages {theirs} s, the queue {ours} s: what SQS "
                "itself moves keeps its age and may expire at once",
                "set the dead-letter queue's MessageRetentionPeriod to 1209600 (14 days)",
            )
        )
    return found


def _warned(facts: QueueFacts, code: str, reason: str, hint: str) -> QueueWarned:
    return QueueWarned(queue=facts.name, code=code, reason=reason, hint=hint)
