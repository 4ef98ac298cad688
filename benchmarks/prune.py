"""How long commits wait while half of a large ledger is pruned.

`python -m benchmarks.prune DIRECTORY`. A writer commits as an agent does, and in every other round
`ledger prune` works beside it, until it is through. On a machine with other load, run it below
`chrt --rr 10`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.upkeep.pruning import Prunable, PruneRule
from backhaul.app.ledger_prune import prune
from backhaul.core.errors import BackhaulError
from backhaul.core.ports import Operator
from benchmarks.big_ledger import DAYS, big_ledger
from benchmarks.ledger_writer import forget_written
from benchmarks.servers import tell


def _tell(error: BackhaulError) -> None:
    tell(error.message)


class Pruning(threading.Thread):
    """`ledger prune`, which waits between two steps while it is not its turn."""

    def __init__(self, path: Path, before: datetime) -> None:
        super().__init__(daemon=True)
        self.turn = threading.Event()
        self.done, self.paths, self.steps = Prunable(transfers=0, objects=0, size_bytes=0), 0, 0
        self._path, self._rule = path, PruneRule(before=before, name="the benchmark")

    def run(self) -> None:
        """Until nothing is left to drop or to pack."""
        by, now = Operator(name="benchmark"), datetime.now(UTC)
        prune(self._path, by, self._rule, now, warn=_tell, progress=self._note, sleep=self._pause)

    def _note(self, done: Prunable, paths: int) -> None:
        self.done, self.paths, self.steps = done, paths, self.steps + 1

    def _pause(self, seconds: float) -> None:
        time.sleep(seconds)
        self.turn.wait()


def commits(path: Path, seconds: float) -> list[float]:
    """Milliseconds of each commit of a writer."""
    command = (sys.executable, "-m", "benchmarks.ledger_writer", str(path), str(seconds))
    found: list[float] = json.loads(subprocess.run(command, check=True, stdout=-1).stdout)
    return found


def shown(name: str, found: list[float]) -> None:
    """One line."""
    cuts = statistics.quantiles(found, n=100)
    more = sum(one > 200 for one in found)
    tell(
        f"{name:8} {len(found):,} commits: p50 {statistics.median(found):.1f} ms, "
        f"p99 {cuts[98]:.1f} ms, max {max(found):.1f} ms; {more} above 200 ms"
    )


def main() -> None:
    """Rounds with and without, in turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--transfers", type=int, default=1_000_000)
    parser.add_argument("--round-s", type=float, default=20.0)
    given = parser.parse_args()
    path = given.directory / "pruned.db"
    shutil.copy(big_ledger(given.directory, given.transfers), path)
    open_ledger(path, create=False).close()
    forget_written(path)
    pruning = Pruning(path, datetime.now(UTC) - timedelta(days=DAYS / 2))
    pruning.start()
    with_it: list[float] = []
    without: list[float] = []
    pruned_s = 0.0
    while pruning.is_alive():
        pruning.turn.set()
        began_s = time.monotonic()
        with_it += commits(path, given.round_s)
        pruned_s += time.monotonic() - began_s
        pruning.turn.clear()
        without += commits(path, given.round_s / 4)
        shown("pruning", with_it)
        shown("alone", without)
        done = pruning.done
        tell(
            f"{pruned_s:.0f} s: dropped {done.objects:,} object lines of {done.transfers:,} "
            f"transfers, packed {pruning.paths:,} paths, in {pruning.steps:,} steps"
        )
    path.unlink()


if __name__ == "__main__":
    main()
