"""Who takes replies, as the agent sees them."""

from __future__ import annotations

from typing import Protocol

from backhaul.core.replies.reply import Reply


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
