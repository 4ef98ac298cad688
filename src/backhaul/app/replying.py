"""Replies of an agent: who gets them, and the threads that deliver them."""

from __future__ import annotations

import random
from functools import partial

from backhaul.adapters.ledger import SqlLedger, open_reader
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.context import Context
from backhaul.app.hive import directories_by, hive_target
from backhaul.app.lineage import lineage_target
from backhaul.app.reply_targets import AwsSessions, reply_targets
from backhaul.core.agent.replying.sender import ReplySender
from backhaul.core.ports import Emit
from backhaul.core.replies.reply import HIVE
from backhaul.settings.lineage import LINEAGE


def takes_replies(context: Context) -> bool:
    """Whether an agent that starts with this delivers any."""
    return bool(context.settings.reply) or context.policy.sends_replies


class Replying:
    """The agent's sender of replies; nothing at all where no route sends any.

    A receiver of facts from the beginning, and at work between `start` and `close`.
    """

    def __init__(self) -> None:
        self._sender: ReplySender | None = None

    def __call__(self, fact: object) -> None:
        if self._sender is not None:
            self._sender(fact)

    def start(self, context: Context, ledger: SqlLedger, region: str, emit: Emit) -> None:
        """Deliver from now on.

        Raises:
            ConfigurationError: As `reply_targets`, `hive_target` and `lineage_target`.
        """
        if not takes_replies(context):
            return
        sessions = AwsSessions(context.conf_dir, region)
        targets = reply_targets(context.settings.reply, context.config_path, sessions)
        directories = directories_by(partial(open_reader, context.settings.ledger_path))
        own = {
            HIVE: hive_target(context.settings, directories),
            LINEAGE: lineage_target(context.settings),
        }
        self._sender = ReplySender(
            ledger=ledger,
            find=lambda name: own.get(name) or targets.get(name),
            clock=SystemClock(),
            emit=emit,
            chance=random.SystemRandom().random,
        )
        self._sender.start()

    def close(self) -> None:
        """Deliver what is due, for some seconds; the rest waits for the next start."""
        if self._sender is not None:
            self._sender.close()
