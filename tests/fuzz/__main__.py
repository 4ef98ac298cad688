"""Hostile messages, hostile answers of S3, SQS and STS, hostile paths of partitions.

Against parser, policy and paths; the adapters; the statements that register partitions. Status 1
for a broken promise.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections import Counter
from functools import partial

from tests.fuzz.hiveql import fuzz_paths
from tests.fuzz.run import CORPUS, Report, fuzz, kept
from tests.fuzz.servers import ServerReport, fuzz_servers

KEEP_BYTES = 600  # the corpus stays small
GROWTH_MAX_BYTES = 100 << 20  # of one process, in a run of any length


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long each (default: 10)")
    parser.add_argument("--count", type=int, help="this many of each, however long it takes")
    parser.add_argument("--seed", type=int, default=1, help="the same one makes the same inputs")
    parser.add_argument("--keep", action="store_true", help="add what was new to the corpus")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1, help="for --servers")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--messages", action="store_true", help="message bodies alone")
    only.add_argument("--servers", action="store_true", help="answers of servers alone")
    only.add_argument("--paths", action="store_true", help="paths of partitions alone")
    options = parser.parse_args()
    seconds = None if options.count else options.minutes * 60
    status = 0
    if not (options.servers or options.paths):
        report = fuzz(seed=options.seed, count=options.count, seconds=seconds)
        _show(report)
        if options.keep:
            _keep(report)
        status = 1 if report.broken else 0
    if not (options.messages or options.paths):
        status |= _servers(options.seed, options.count, seconds, options.processes)
    if not (options.messages or options.servers):
        status |= _paths(options.seed, options.count, seconds)
    return status


def _paths(seed: int, count: int | None, seconds: float | None) -> int:
    report = fuzz_paths(seed=seed, count=count, seconds=seconds)
    for outcome, many in report.outcomes.most_common():
        print(f"{many:>10,}  {outcome}")
    print(f"{report.count:,} paths of partitions, {len(report.broken):,} broken promises")
    for path, why in report.broken[:10]:
        print(f"  {why[:300]}\n    {path[:300]!a}")
    return 1 if report.broken else 0


def _servers(seed: int, count: int | None, seconds: float | None, processes: int) -> int:
    each = None if count is None else -(-count // processes)
    run = partial(fuzz_servers, count=each, seconds=seconds)
    whole = ServerReport()
    # A process each: signals, memory and what is patched are its own.
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        for report in pool.imap_unordered(run, range(seed * 1000, seed * 1000 + processes)):
            whole.add(report)
    for outcome, many in sorted(whole.outcomes.items(), key=lambda one: -one[1]):
        print(f"{many:>10,}  {outcome}")
    print(f"{whole.answers:,} answers in {whole.calls:,} calls, seed {seed}, {processes} processes")
    print(f"{whole.answers / max(whole.seconds, 0.001):,.0f} answers a second")
    print(f"memory of a process grew by {whole.grown_bytes / 1e6:.1f} MB at most")
    print(f"{len(whole.broken):,} broken promises")
    for answer, why in whole.broken[:10]:
        print(f"  {why[:300]}\n    {answer[:500]}")
    return 1 if whole.broken or whole.grown_bytes > GROWTH_MAX_BYTES else 0


def _show(report: Report) -> None:
    codes = Counter[str]()
    for outcome, many in report.outcomes.items():
        words = outcome.split()
        code = next((word for word in words if word.startswith("E_")), "accepted")
        codes["accepted" if words[1:2] == ["accepted"] else code] += many
    for code, many in codes.most_common():
        print(f"{many:>10,}  {code}")
    print(f"{report.count:,} bodies, {len(report.outcomes):,} outcomes told apart")
    print(f"{report.median_ms:.3f} ms of CPU at the median, all checks of the fuzzer included")
    print(f"{len(report.broken):,} broken promises")
    for body, why in report.broken[:10]:
        print(f"  {why[:200]}\n    {body[:300]!a}")


def _keep(report: Report) -> None:
    found = {*kept(), *report.fresh, *(body for body, _ in report.broken)}
    lines = sorted(json.dumps(body) for body in found)
    CORPUS.write_text("".join(f"{line}\n" for line in lines if len(line) <= KEEP_BYTES), "ascii")


if __name__ == "__main__":
    sys.exit(main())
