"""`./dev prove`: many schedules, or one of them told step by step.

python -m tests.sim --seeds 100000        the run of a release
python -m tests.sim --seed 4031           one schedule, with its story
python -m tests.sim --fleet --seeds 20000 of agents that judge each other by their own clocks
python -m tests.sim --failover --seeds 20000   of those whose ledger loses its last commits
python -m tests.sim --points              every crash point
python -m tests.sim --mutants             every rule removed, hunting where its seed is blind
python -m tests.sim --machine 5000        lists of steps, new ones each time; the shortest bad one
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from multiprocessing import get_context

from tests.sim.crash_points import points
from tests.sim.ghost import Violation
from tests.sim.mutants import MUTANTS
from tests.sim.shape import Shape, failover_of, fleet_of, shape_of
from tests.sim.world import Sim

CHUNK = 500
CHUNKS_PER_CHILD = 4


ShapeOf = Callable[[int], Shape]


def first_words(seed: int, shape_of: ShapeOf = shape_of) -> str | None:
    """What the schedule violates; None when nothing."""
    try:
        Sim(seed, shape_of(seed)).run()
    except Violation as violation:
        return str(violation)
    return None


def run_seeds(start: int, stop: int, shape_of: ShapeOf = shape_of) -> list[tuple[int, str]]:
    """The schedules that violate something."""
    told = ((seed, first_words(seed, shape_of)) for seed in range(start, stop))
    return [(seed, what) for seed, what in told if what is not None]


def _chunk(shape_of: ShapeOf, bounds: tuple[int, int]) -> list[tuple[int, str]]:
    return run_seeds(*bounds, shape_of)


def _command(shape_of: ShapeOf, seed: int) -> str:
    of: dict[ShapeOf, str] = {fleet_of: "--fleet ", failover_of: "--failover "}
    return f"./dev prove {of.get(shape_of, '')}--seed {seed}"


def _tell(shape_of: ShapeOf, progress: str, found: list[tuple[int, str]]) -> None:
    """At once, as the run takes minutes; on standard error, beside the result."""
    sys.stderr.write(f"{progress}\n")
    sys.stderr.writelines(f"  {_command(shape_of, seed)}    {what}\n" for seed, what in found)
    sys.stderr.flush()


def many(start: int, count: int, processes: int, shape_of: ShapeOf = shape_of) -> int:
    began_s = time.monotonic()
    chunks = range(start, start + count, CHUNK)
    stops = [min(one + CHUNK, start + count) for one in chunks]
    bad: list[tuple[int, str]] = []
    # A process of its own for every few chunks: what a dead agent's greenlets hold is never freed,
    # and 12,000 schedules come to 1.4 GB.
    with get_context("fork").Pool(processes, maxtasksperchild=CHUNKS_PER_CHILD) as pool:
        told = pool.imap(partial(_chunk, shape_of), list(zip(chunks, stops, strict=True)))
        for number, found in enumerate(told, 1):
            bad += found
            _tell(shape_of, f"{number} of {len(stops)} chunks", found)
    took_s = time.monotonic() - began_s
    print(f"{count} schedules, {len(bad)} violations, {took_s:.0f} s")
    if not bad:
        print(f"with 95 % confidence fewer than {3 / count:.1e} of such schedules violate anything")
    for name, times in Counter(what.split()[0] for _, what in bad).most_common():
        print(f"  {name}: {times}")
    for seed, what in bad[:20]:
        print(f"  {_command(shape_of, seed)}    {what}")
    return 1 if bad else 0


def one(seed: int, shape_of: ShapeOf = shape_of) -> int:
    sim = Sim(seed, shape_of(seed))
    print(sim.shape)
    try:
        sim.run()
    except Violation as violation:
        print("\n".join(sim.story))
        print(f"VIOLATION {violation}")
        return 1
    print("\n".join(sim.story))
    print("nothing is violated")
    return 0


def all_points() -> int:
    began_s = time.process_time()
    number, bad = 0, 0
    for point in points():
        number += 1
        try:
            point.run()
        except Violation as violation:
            bad += 1
            print(f"  {point}: {violation}")
    took_s = time.process_time() - began_s
    print(f"{number} crash points, {bad} violations, {took_s:.0f} s of CPU")
    return 1 if bad else 0


def all_mutants(budget: int) -> int:
    survivors = 0
    for mutant in MUTANTS:
        with mutant.applied():
            if mutant.point is not None:
                try:
                    mutant.point.run()
                except Violation as violation:
                    print(f"{mutant.name}: {mutant.point}: {str(violation)[:80]}")
                    continue
            for seed in [mutant.seed, *range(budget)]:
                what = first_words(seed, mutant.shape_of)
                if what is not None:
                    print(f"{mutant.name}: seed {seed}: {what[:80]}")
                    break
            else:
                survivors += 1
                print(f"{mutant.name}: SURVIVES {budget} schedules")
    return 1 if survivors else 0


def machine(examples: int) -> int:
    """Hypothesis raises, with the steps, when one of them violates anything."""
    from tests.sim.machine import run_machine

    began_s = time.process_time()
    run_machine(examples, is_fixed=False)
    took_s = time.process_time() - began_s
    print(f"{examples} lists of steps, 0 violations, {took_s:.0f} s of CPU")
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev prove", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--seed", type=int, help="replay one schedule")
    parser.add_argument("--seeds", type=int, default=100_000, help="how many (100,000)")
    parser.add_argument("--start", type=int, default=0, help="the first of them (0)")
    parser.add_argument("--processes", type=int, default=2, help="at once (2)")
    parser.add_argument("--fleet", action="store_true", help="of agents that judge each other")
    parser.add_argument("--failover", action="store_true", help="of a ledger that fails over")
    parser.add_argument("--points", action="store_true", help="every crash point instead")
    parser.add_argument("--mutants", action="store_true", help="every removed rule instead")
    parser.add_argument("--machine", type=int, metavar="N", help="so many lists of steps instead")
    chosen = parser.parse_args()
    shape_of_each = fleet_of if chosen.fleet else failover_of if chosen.failover else shape_of
    if chosen.seed is not None:
        return one(chosen.seed, shape_of_each)
    if chosen.points:
        return all_points()
    if chosen.machine is not None:
        return machine(chosen.machine)
    if chosen.mutants:
        return all_mutants(min(chosen.seeds, 5_000))
    return many(chosen.start, chosen.seeds, chosen.processes, shape_of_each)


if __name__ == "__main__":
    sys.exit(main())
