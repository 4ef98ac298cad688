"""Replies of an agent: who gets them, and the threads that deliver them."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from functools import partial

from backhaul.adapters.ledger import SqlLedger, open_reader
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.context import Context
from backhaul.app.hive import directories_by, hive_target
from backhaul.app.lineage import lineage_target
from backhaul.app.replies import in_vain, in_vain_hint, waiting_in_vain
from backhaul.app.reply_targets import AwsSessions, reply_targets
from backhaul.core.agent.replying.sender import ReplySender
from backhaul.core.facts import InstallationWarned
from backhaul.core.ports import Emit
from backhaul.core.ports.replies import ReplyCounts
from backhaul.core.replies.reply import HIVE, LINEAGE


class Replying:
    """The agent's sender of replies.

    At work between `start` and `close`: where no route sends any, too, as the ledger may have some
    of an earlier configuration.
    """

    def __init__(self) -> None:
        self._sender: ReplySender | None = None
        self._sends = False

    def start(self, context: Context, ledger: SqlLedger, region: str, emit: Emit) -> None:
        """Deliver from now on; warn of what waits for a target that is not configured any more.

        Raises:
            ConfigurationError: As `reply_targets`, `hive_target` and `lineage_target`.
        """
        self.adopt(context)
        sessions = AwsSessions(context.conf_dir, region)
        targets = reply_targets(context.settings.reply, context.config_path, sessions)
        directories = directories_by(partial(open_reader, context.settings.ledger_place))
        own = {
            HIVE: hive_target(context.settings, directories),
            LINEAGE: lineage_target(context.settings),
        }
        for warning in _warnings(waiting_in_vain(context.settings, context.settings.ledger_place)):
            emit(warning)
        self._sender = ReplySender(
            ledger=ledger,
            find=lambda name: own.get(name) or targets.get(name),
            clock=SystemClock(),
            emit=emit,
            chance=random.SystemRandom().random,
            sends=lambda: self._sends,
            leads=lambda: ledger.standing.is_leader,
        )
        self._sender.start()

    def adopt(self, context: Context) -> None:
        """Follow these routes: where none sends replies the ledger is seldom read for any."""
        self._sends = context.policy.sends_replies

    def close(self) -> None:
        """Deliver what is due, for some seconds; the rest waits for the next start."""
        if self._sender is not None:
            self._sender.close()


def _warnings(found: Iterable[ReplyCounts]) -> Iterator[InstallationWarned]:
    for one in found:
        yield InstallationWarned(
            code="W_REPLY_TARGET",
            reason=f"{in_vain(one)}: given up now",
            hint=in_vain_hint(one),
        )
