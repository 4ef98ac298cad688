"""Hostile message bodies against parser, policy and paths; status 1 for a broken promise."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter

from tests.fuzz.run import CORPUS, Report, fuzz, kept

KEEP_BYTES = 600  # the corpus stays small


def main() -> int:
    """Run and tell."""
    parser = argparse.ArgumentParser(prog="./dev fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--count", type=int, help="this many bodies, however long it takes")
    parser.add_argument("--seed", type=int, default=1, help="the same one makes the same bodies")
    parser.add_argument("--keep", action="store_true", help="add what was new to the corpus")
    asked = parser.parse_args()
    seconds = None if asked.count else asked.minutes * 60
    report = fuzz(seed=asked.seed, count=asked.count, seconds=seconds)
    _tell(report)
    if asked.keep:
        _keep(report)
    return 1 if report.broken else 0


def _tell(report: Report) -> None:
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
