"""`./dev torture`: the real agent on real servers, with seeded faults, as often as you like.

./dev torture                                 100 rounds
./dev torture --for 60 --seed 5000            an hour of them, from this seed on
./dev torture --fault zombie-worker           one kind only
./dev torture --seed 4031 --rounds 1          that round again: the same fault at the same place
./dev torture --fleet                         three agents on one PostgreSQL, and faults of a fleet

One line a round; all of them as JSON in build/torture.jsonl.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from tests.torture.faults import FAULTS, WEIGHTS
from tests.torture.fleet import LEASE, FleetRound, FleetServers, hooks
from tests.torture.fleet_faults import FLEET_FAULTS, FLEET_WEIGHTS
from tests.torture.rounds import Verdict, judged, run_round
from tests.torture.servers import Servers

TOLD = Path("build/torture.jsonl")


def fault_of(seed: int, faults: Collection[str], weights: Mapping[str, int]) -> str:
    """Which fault a seed means, when none is asked for."""
    names = sorted(faults)
    return random.Random(seed).choices(names, [weights.get(name, 10) for name in names])[0]


def summary(verdicts: list[Verdict], seconds: float, command: str) -> str:
    """Counts, violations, and what they bound."""
    rounds, crashes = len(verdicts), sum(one.crashes for one in verdicts)
    bad = [one for one in verdicts if not one.is_good]
    struck = sum(one.struck > 0 for one in verdicts)
    lines = [
        (
            f"{rounds} rounds in {seconds:.0f} s, {struck} of them struck; "
            f"{crashes} processes killed; "
            f"readers looked {sum(one.looks for one in verdicts)} times and read "
            f"{sum(one.reads for one in verdicts)} files; {len(bad)} rounds violated something"
        )
    ]
    if struck and not bad:
        lines.append(f"with 95 % confidence fewer than {3 / struck:.1e} of such rounds do")
    times = Counter(one.fault for one in verdicts)
    lines.append(", ".join(f"{name} {n}" for name, n in sorted(times.items())))
    lines += [f"  {command} --seed {one.seed} --rounds 1 --fault {one.fault}" for one in bad]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev torture", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--rounds", type=int, help="default: 100, or what fits into --for")
    parser.add_argument("--seed", type=int, default=1, help="of the first round; default 1")
    parser.add_argument("--for", type=float, dest="minutes", help="minutes; then no new round")
    parser.add_argument(
        "--fault",
        choices=sorted(FAULTS | FLEET_FAULTS),
        action="append",
        help="only this one, or these in turn",
    )
    parser.add_argument("--fleet", action="store_true", help="three agents on one PostgreSQL")
    parser.add_argument(
        "--lease",
        type=float,
        default=LEASE,
        help=f"with --fleet: factor for the times by which agents judge each other; "
        f"default {LEASE}, and 1 as shipped",
    )
    parser.add_argument("--out", type=Path, default=TOLD, help=f"JSON lines; default {TOLD}")
    asked = parser.parse_args()
    if unfit := {*(asked.fault or ())} - {*(FLEET_FAULTS if asked.fleet else FAULTS)}:
        parser.error(f"{', '.join(sorted(unfit))}: {'not' if asked.fleet else 'only'} with --fleet")
    rounds = asked.rounds or (sys.maxsize if asked.minutes else 100)
    ends_s = time.monotonic() + asked.minutes * 60 if asked.minutes else float("inf")
    commit = _commit()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    verdicts: list[Verdict] = []
    began_s = time.monotonic()
    # Agents and servers are ended on the way out, also by a kill.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if asked.fleet:
        os.environ |= hooks(asked.lease)
    with (
        FleetServers() if asked.fleet else Servers() as servers,
        asked.out.open("a", encoding="utf-8") as told,
    ):
        for seed in range(asked.seed, asked.seed + rounds):
            if time.monotonic() > ends_s:
                break
            verdict = _round(servers, seed, asked.fault or (), asked.lease)
            verdict.day, verdict.commit = datetime.now(UTC).date().isoformat(), commit
            verdicts.append(verdict)
            print(verdict.line(), flush=True)
            told.write(json.dumps(dataclasses.asdict(verdict)) + "\n")
            told.flush()
    command = f"./dev torture{f' --fleet --lease {asked.lease}' if asked.fleet else ''}"
    print(summary(verdicts, time.monotonic() - began_s, command))
    return 1 if any(not one.is_good for one in verdicts) else 0


def _commit() -> str:
    """Of the program: what only changes the tests around it is the same program."""
    last = ("log", "-1", "--format=%h", "--abbrev=10", "--", "src")
    return _git(*last) + (" and changes" if _git("status", "--porcelain", "--", "src") else "")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def _round(servers: Servers, seed: int, chosen: Sequence[str], lease: float) -> Verdict:
    """Of the kind that the servers are for."""
    if isinstance(servers, FleetServers):
        name = _name(seed, chosen, FLEET_FAULTS, FLEET_WEIGHTS)
        return judged(FleetRound(servers, seed, name, lease=lease), FLEET_FAULTS[name])
    name = _name(seed, chosen, FAULTS, WEIGHTS)
    return run_round(servers, seed, name, FAULTS[name])


def _name(
    seed: int, chosen: Sequence[str], faults: Collection[str], weights: Mapping[str, int]
) -> str:
    return chosen[seed % len(chosen)] if chosen else fault_of(seed, faults, weights)


if __name__ == "__main__":
    sys.exit(main())
