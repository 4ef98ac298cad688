"""What the agent does with every report beside its transfers: a little at each turn.

It is called in the reporter's thread: no transfer waits for it.
"""

from __future__ import annotations

from functools import partial
from threading import Lock

from backhaul.adapters.ledger import SqlLedger
from backhaul.adapters.system.clock import SystemClock
from backhaul.app.context import Context
from backhaul.app.ledger_prune import Pruner
from backhaul.app.outlook import make_watch
from backhaul.core.ports import Emit


class Upkeep:
    """Judges the expectations in force, and drops object rows that are too old.

    Args:
        reading: Held while this process reads the ledger.
    """

    def __init__(self, context: Context, ledger: SqlLedger, reading: Lock, emit: Emit) -> None:
        self._make_watch = partial(make_watch, ledger=ledger, turn=reading, emit=emit)
        self._standing = ledger.standing
        self._expectations = context.expectations
        self._watch = self._make_watch(context)
        self._pruner = Pruner(ledger, SystemClock(), context.settings.retention.objects_kept)

    def adopt(self, context: Context) -> None:
        """A reload's expectations; unchanged ones keep what was announced of them."""
        if context.expectations != self._expectations:
            self._expectations = context.expectations
            self._watch = self._make_watch(context)

    def turn(self) -> None:
        """A step of each, by the one agent that does it for all.

        Raises:
            BackhaulError: The ledger.
        """
        if self._standing.is_leader:
            self._watch.turn()
            self._pruner.turn()
