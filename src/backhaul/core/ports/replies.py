"""Replies: who takes them, and where they wait."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol, runtime_checkable

from backhaul.core.replies.reply import Reply

MOVES_AFTER = timedelta(minutes=1)  # an attempt that its dependency still holds up fails before


class ReplyTarget(Protocol):
    """Delivers replies to one place; called by one thread at a time, of its own.

    Targets are found by `Reply.target` in a `Mapping[str, ReplyTarget]`, with `get`: the names of
    the configuration, and each address that a message's `reply_to` may name. None: there is no such
    target any more.
    """

    def deliver(self, reply: Reply) -> None:
        """Try once; return when the other side has it.

        It may be called again with the same reply: `reply.key` names it. It ends within a minute.

        Raises:
            PermanentError: It will never be taken.
            TransientError, OutageError: It may be taken later.
        """


@runtime_checkable
class BatchReplyTarget(ReplyTarget, Protocol):
    """A target that takes several replies in one call, which costs little more than one alone."""

    def deliver_batch(self, replies: Sequence[Reply]) -> frozenset[str]:
        """Try once, in any order.

        Args:
            replies: 2 to 10.

        Returns:
            The keys of those that the other side has. Any other is for `deliver`, which tells why
            it is not taken.

        Raises:
            PermanentError: None of them was taken together; each may be alone.
            TransientError, OutageError: They may be taken later; whether some were is not known.
        """


class ReplyState(StrEnum):
    """What has become of a reply."""

    WAITING = "waiting"  # for its first try, or the next one
    SENT = "sent"
    DEAD = "dead"  # given up: refused for good, or tried for too long


@dataclass(frozen=True, kw_only=True)
class DueReply:
    """A reply whose turn has come.

    Attributes:
        tries: That failed.
        tried_since: When it was written, or when an operator last had it sent again.
    """

    reply: Reply
    tries: int
    tried_since: datetime


@dataclass(frozen=True, kw_only=True)
class ReplyCounts:
    """How many replies of one target wait, or were given up."""

    target: str
    waiting: int
    dead: int


class ReplyLedger(Protocol):
    """Replies that wait: each was written in the transaction that recorded what it is about.

    Those about a transfer's start and end are written by `claim`, `finish`, `fail`, `abandon` and
    `cancel`, by what `begin` was given.
    """

    def report_holds(self, now: datetime) -> int:
        """Write HELD for each hold that has lasted too long for a target, and RESUMED after it.

        RESUMED once an attempt has claimed its destination and was not held for `MOVES_AFTER`, or
        has failed for another cause (`fail`). Safe to repeat.

        Returns:
            How many were written.
        """

    def observe_replies(self, receiver: Callable[[DueReply], None]) -> None:
        """From now on `receiver` gets each reply that this process writes.

        After its commit, and before `due_replies` returns it. It must not raise, nor call the
        ledger.
        """

    def due_reply_targets(self, now: datetime) -> list[str]:
        """The targets that have a reply due, by name."""

    def due_replies(self, target: str, now: datetime, *, most: int) -> list[DueReply]:
        """Of this target, those due longest first."""

    def note_replies_sent(self, target: str, sent: Mapping[str, datetime], now: datetime) -> None:
        """The other side has them; safe to repeat.

        Args:
            sent: By key, `DueReply.tried_since` as it was then. One that an operator has had sent
                again meanwhile has another: it stays due.
        """

    def note_reply_failed(
        self,
        target: str,
        key: str,
        code: str,
        reason: str,
        now: datetime,
        *,
        due_at: datetime | None,
    ) -> None:
        """It was not taken. One that was sent, or given up, stays as it is.

        Args:
            due_at: Of the next try; None: it is given up.
        """
