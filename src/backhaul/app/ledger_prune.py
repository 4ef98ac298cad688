"""Drops object rows from the ledger, and packs old paths.

By command at once, by the agent a little every few seconds. Either way in steps, each a commit of
its own with a pause behind it, so that a transfer's commit never waits for more than one step. How
large a step is follows from how long the last one took.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

from backhaul.adapters.ledger import SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.upkeep.pruning import Prunable, PruneRule
from backhaul.adapters.system.clock import host_name
from backhaul.app.actions import Warn, noted_act
from backhaul.core.ports import Act, Clock, Operator
from backhaul.core.ports.ledger_place import LedgerPlace

PACKED_AFTER = timedelta(days=1)  # nothing is lost with that, so it needs no setting
# Longer than SQLite's busy handler sleeps (100 ms): who waits for the lock gets it after one step.
PAUSE_S = 0.12
WALK_PAUSE_S = 0.02  # after a step that found nothing to drop: it waits for no disk
WALKED = 10  # such steps in one turn of the agent
REST = timedelta(hours=1)  # between two walks through all transfers
SETTING = "retention.objects"


class StepSize:
    """How many rows the next step is to have, so that it holds up a commit for some 30 ms."""

    FIRST, LEAST, MOST = 500, 100, 4000
    SHORT_S, LONG_S = 0.02, 0.05

    def __init__(self) -> None:
        self.rows = self.FIRST

    def note(self, held_s: float) -> None:
        """The step before it took so long."""
        if held_s > self.LONG_S:
            self.rows = max(self.LEAST, self.rows // 2)
        elif held_s < self.SHORT_S:
            self.rows = min(self.MOST, self.rows * 2)


def count_prunable(path: LedgerPlace, before: datetime, now: datetime) -> tuple[Prunable, int]:
    """What `prune` would drop, and how many paths it would pack.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    with closing(open_reader(path)) as reader:
        return reader.prunable(before), reader.packable(now - PACKED_AFTER)


def prune(
    path: LedgerPlace,
    by: Operator,
    rule: PruneRule,
    now: datetime,
    *,
    warn: Warn,
    progress: Callable[[Prunable, int], None],
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[Prunable, int]:
    """Drop all that may go, and pack old paths; may be broken off, and goes on the next time.

    Args:
        progress: Called after each step with what was dropped so far, and how many paths were
            packed.

    Raises:
        ConfigurationError, OutageError: The ledger. What was dropped until then is noted.
    """
    done, paths, size = Prunable(transfers=0, objects=0, size_bytes=0), 0, StepSize()
    with noted_act(
        path, by, Act.PRUNE, f"what ended before {rule.before:%Y-%m-%d %H:%M} UTC", warn
    ) as note:
        ledger = open_ledger(path, create=False, host=host_name(), migrates=False)
        with closing(ledger):
            after: str | None = ""
            while after is not None:
                step = ledger.prune(rule, now, after=after, most=size.rows)
                after = step.after
                if step.objects:
                    size.note(step.held_s)
                done = Prunable(
                    transfers=done.transfers + step.transfers,
                    objects=done.objects + step.objects,
                    size_bytes=done.size_bytes + step.size_bytes,
                )
                note(done.transfers, 0)  # no data is touched
                progress(done, 0)
                sleep(PAUSE_S if step.objects else WALK_PAUSE_S)
            after, size = "", StepSize()
            while after is not None:
                packed = ledger.pack_paths(now - PACKED_AFTER, after=after, most=size.rows)
                after = packed.after
                paths += packed.files
                if packed.files:
                    size.note(packed.held_s)
                progress(done, paths)
                sleep(PAUSE_S if packed.files else WALK_PAUSE_S)
    return done, paths


class Pruner:
    """The agent's: in each turn one step that drops something, or else one that packs paths.

    Args:
        kept: How long object rows are kept; None: for ever, and nothing is packed.
    """

    def __init__(self, ledger: SqlLedger, clock: Clock, kept: timedelta | None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kept = kept
        self._after = self._packed_after = ""
        self._begins_at = self._packing_begins_at = clock.now()
        self._size, self._packed_size = StepSize(), StepSize()

    def turn(self) -> None:
        """Drop a little of what may go, or pack a little.

        Raises:
            BackhaulError: The ledger.
        """
        now = self._clock.now()
        if self._kept is not None and not self._prunes(now, self._kept):
            self._pack(now)

    def _prunes(self, now: datetime, kept: timedelta) -> bool:
        """Whether something was dropped in this turn."""
        if now < self._begins_at:
            return False
        days = kept / timedelta(days=1)
        rule = PruneRule(before=now - kept, name=f"{SETTING} = {days:g}d")
        for _ in range(WALKED):
            step = self._ledger.prune(rule, now, after=self._after, most=self._size.rows)
            self._after = step.after or ""
            if step.objects:
                self._size.note(step.held_s)
            if step.after is None:
                self._begins_at = now + REST
            if step.objects or step.after is None:
                return step.objects > 0
        return False

    def _pack(self, now: datetime) -> None:
        if now < self._packing_begins_at:
            return
        for _ in range(WALKED):
            step = self._ledger.pack_paths(
                now - PACKED_AFTER, after=self._packed_after, most=self._packed_size.rows
            )
            self._packed_after = step.after or ""
            if step.files:
                self._packed_size.note(step.held_s)
            if step.after is None:
                self._packing_begins_at = now + REST
            if step.files or step.after is None:
                return
