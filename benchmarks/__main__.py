"""`./dev bench`: measure, print the table, save it under build/bench/."""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path

from benchmarks.claims import claims
from benchmarks.copies import huge, large, medium, mixed, small, small_many
from benchmarks.dashboard import dashboard
from benchmarks.distcp import distcp, distcp_small
from benchmarks.fleet import fleet
from benchmarks.gets import gets
from benchmarks.idle import idle
from benchmarks.latency import latency
from benchmarks.ledgers import ledgers
from benchmarks.messages import events, messages
from benchmarks.outbox import outbox
from benchmarks.parsing import parsing
from benchmarks.planning import planning
from benchmarks.plot import svg
from benchmarks.reconcile import reconcile, reconcile_hdfs
from benchmarks.report import Figure, programs, save, table
from benchmarks.servers import QUICK, Sizes, open_servers, tell
from benchmarks.start import start
from benchmarks.stored import stored, stored_small
from benchmarks.wan import wan_large_15, wan_large_40, wan_small
from testbed import netns

SHAPES = {
    "small": small,
    "small-20000": small_many,
    "medium": medium,
    "large": large,
    "huge": huge,
    "mixed": mixed,
    "messages": messages,
    "events": events,
    "ledgers": ledgers,
    "claims": claims,
    "latency": latency,
    "outbox": outbox,
    "fleet": fleet,
    "stored": stored,
    "stored-small": stored_small,
    "planning": planning,
    "wan-large-40": wan_large_40,
    "wan-large-15": wan_large_15,
    "wan-small": wan_small,
    "distcp": distcp,
    "distcp-small": distcp_small,
    "parsing": parsing,
    "idle": idle,
    "gets": gets,
    "dashboard": dashboard,
    "reconcile": reconcile,
    "reconcile-hdfs": reconcile_hdfs,
    "start": start,
}
ON_YARN = {"distcp", "distcp-small"}  # asked for by name only
OUT = Path("build/bench")


def main(arguments: list[str]) -> int:
    """Measure the shapes asked for."""
    parser = argparse.ArgumentParser(prog="./dev bench", description=__doc__)
    parser.add_argument("--only", choices=SHAPES, action="append", help="this shape; repeatable")
    parser.add_argument("--rounds", type=int, help="default 5; 1 with --quick")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, one round")
    parser.add_argument("--yarn", action="store_true", help="DistCp on YARN as a peer: needs root")
    parser.add_argument(
        "--before",
        type=Path,
        metavar="DIR",
        help="against the Backhaul of this checkout, in turn with ours, instead of other programs: "
        "messages, events, ledgers, claims, fleet, small, medium, large, huge, mixed and start",
    )
    given = parser.parse_args(arguments)
    needs_yarn = given.yarn or ON_YARN & set(given.only or ())
    if needs_yarn and not netns.is_inside():
        argv = netns.command([sys.executable, "-m", "benchmarks", *arguments])
        os.execv(argv[0], argv)
    rounds = given.rounds or (1 if given.quick else 5)
    sizes = QUICK if given.quick else Sizes()
    figures: list[Figure] = []
    with open_servers(given.before) as servers:
        tell(f"load before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        for name in given.only or [one for one in SHAPES if one not in ON_YARN]:
            figures += SHAPES[name](servers, sizes, rounds)
            tell(f"load after {name}: {os.getloadavg()[0]:.1f}")
    if compared := programs(figures):
        print(f"{compared}\n")
    print(table(figures))
    path = OUT / f"{time.strftime('%Y%m%dT%H%M%S')}.json"
    about: dict[str, object] = {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "kernel": platform.release(),
        "rounds": rounds,
        "is_quick": given.quick,
    }
    save(path, figures, about)
    path.with_suffix(".svg").write_text(svg(figures), "utf-8")
    print(f"\n{path}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
