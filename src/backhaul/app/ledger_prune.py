"""Drops object rows from the ledger: by command at once, by the agent a little every few seconds.

Either way in steps, each a commit of its own with a pause behind it, so that a transfer's commit
never waits for more than one step.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

from backhaul.adapters.ledger import SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.upkeep.pruning import Prunable, PruneRule
from backhaul.adapters.system.clock import host_name
from backhaul.app.actions import Warn, noted_act
from backhaul.core.ports import Act, Clock, Operator

# A step takes as long as its commit, some 50 ms, whether it drops 100 rows or these.
STEP_OBJECTS = 500
TURN_OBJECTS = 500  # in one turn of the agent, every five seconds: 8,640,000 a day
# Longer than SQLite's busy handler sleeps (100 ms): who waits for the lock gets it after one step.
PAUSE_S = 0.12
WALK_PAUSE_S = 0.02  # after a step that found nothing to drop: it waits for no disk
WALKED = 10  # such steps in one turn of the agent
REST = timedelta(hours=1)  # between two walks through all transfers
SETTING = "retention.objects"


def count_prunable(path: Path, before: datetime) -> Prunable:
    """What `prune` would drop.

    Raises:
        ConfigurationError, OutageError: The ledger.
    """
    with closing(open_reader(path)) as reader:
        return reader.prunable(before)


def prune(
    path: Path,
    by: Operator,
    rule: PruneRule,
    now: datetime,
    *,
    warn: Warn,
    progress: Callable[[Prunable], None],
    sleep: Callable[[float], None] = time.sleep,
) -> Prunable:
    """Drop all that may go; may be broken off, and goes on the next time.

    Args:
        progress: Called after each step with what was dropped so far.

    Raises:
        ConfigurationError, OutageError: The ledger. What was dropped until then is noted.
    """
    done = Prunable(transfers=0, objects=0, size_bytes=0)
    with noted_act(
        path, by, Act.PRUNE, f"what ended before {rule.before:%Y-%m-%d %H:%M} UTC", warn
    ) as note:
        ledger = open_ledger(path, create=False, host=host_name(), migrates=False)
        with closing(ledger):
            after: str | None = ""
            while after is not None:
                step = ledger.prune(rule, now, after=after, most=STEP_OBJECTS)
                after = step.after
                done = Prunable(
                    transfers=done.transfers + step.transfers,
                    objects=done.objects + step.objects,
                    size_bytes=done.size_bytes + step.size_bytes,
                )
                note(done.transfers, 0)  # no data is touched
                progress(done)
                sleep(PAUSE_S if step.objects else WALK_PAUSE_S)
    return done


class Pruner:
    """The agent's: in each turn one step that drops something.

    Args:
        kept: How long object rows are kept; None: for ever.
    """

    def __init__(self, ledger: SqlLedger, clock: Clock, kept: timedelta | None) -> None:
        self._ledger = ledger
        self._clock = clock
        self._kept = kept
        self._after: str | None = ""
        self._begins_at = clock.now()

    def turn(self) -> None:
        """Drop a little of what may go.

        Raises:
            BackhaulError: The ledger.
        """
        now = self._clock.now()
        if self._kept is None or now < self._begins_at:
            return
        days = self._kept / timedelta(days=1)
        rule = PruneRule(before=now - self._kept, name=f"{SETTING} = {days:g}d")
        for _ in range(WALKED):
            step = self._ledger.prune(rule, now, after=self._after or "", most=TURN_OBJECTS)
            self._after = step.after
            if step.after is None:
                self._begins_at = now + REST
                return
            if step.objects:
                return
