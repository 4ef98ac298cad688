"""What may go wrong, which test makes it happen, how that test last ended: `docs/reliability.md`.

    python -m tests.reliability                             writes the page
    python -m tests.reliability --results build/junit.xml   takes in what `./dev test` left, first
    python -m tests.reliability --torture build/torture.jsonl   what `./dev torture` left
    python -m tests.reliability --fleet build/fleet.jsonl   what `./dev torture --fleet` left
    python -m tests.reliability --tests                     names the tests, for pytest

The rows are in `tests/reliability_rows.py`, the results in `tests/data/results.json`: each with the
day and the commit of its run, so that a result that is old says so. A test in `tests/docs` holds
page, rows and results together; it runs none of them.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from tests import reliability_runs
from tests.reliability_rows import NOT_HERE, SECTIONS, Row

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs/reliability.md"
RESULTS = ROOT / "tests/data/results.json"
ROWS = tuple(row for _, rows in SECTIONS for row in rows)
WORST = ("failed", "skipped", "passed")

HEAD = """\
# Reliability

What may go wrong, what Backhaul promises then, the tests that make it happen, and how each of them
last ended. `./dev test` runs all of them, 2,000 simulated schedules and 3,000 of the crash points
among them; `./dev prove` runs 100,000 schedules, `./dev prove --points` every crash point, and
`./dev prove --seed N` replays a schedule.

A simulated schedule is the real agent on stand-ins that keep the rules of SQS, S3, HDFS and the
ledger, in one thread. A seed decides who goes on at each call, which calls fail, which take
effect and lose their answer, and which agent dies or is paused. After each step a checker that
sees everything checks whether data was lost, half visible or replaced by something older.
`./dev prove --fleet` has schedules of two to five agents on one shared ledger, each with a clock that
shows another time and runs at another rate. They judge each other by the product's own beats, while the
ledger is away for all of them or for one, an answer to a beat is late, or an agent is suspended at any
step and wakes after others have its work. The checker demands that whoever is judged dead had stopped
acting by its own clock (D1), that nobody is judged for a silence of the ledger (D2), and that
whoever was judged changes nothing in the ledger (D3) and begins nothing that others see (D4). The database
below is the simulator's own, and limits and rates over several agents are not in these schedules. Their wall clocks are
up to an hour away from the database's. `./dev prove --failover` has the same agents, on a primary that dies and a
standby without the last commits, which were confirmed: of a claim, an intent, an end, a judgement, a beat. The old
primary may answer afterwards. No epoch is given twice (G1), who has seen the newer primary takes no older one (G2), a
COMMIT without an answer counts as made only if it was (G3), and an agent whose row is lost changes nothing (D5).
What [such a failover may cost](postgresql.md#failover) is excepted, and nothing else is. Of a node that never
reached the newer primary the checker asks what the old primary says of it.
`./dev prove --machine N` lets Hypothesis put the same troubles together, and shortens what it finds.
`./dev torture` strikes the real agent on real servers, `./dev torture --fleet` three of them. Where one process talks to another, the
[last table](#borders-between-processes) names what tests the orders in which messages can come; the
pipe between agent and worker has a model of both its ends, in `tests/wire`.

A result has its day and the commit that was tested; *not run* means that none is on record for this
row. What is *not covered* is named in the row, or has no test.
"""

GUARANTEES = """\
## Guarantees

The code and the simulator refer to these by their numbers.

| number | name | guarantee |
|---|---|---|
| S1 | no loss | a message is deleted only when its data is published and proven, replaced by something newer that is, or when it is a dead letter, or the policy ignores its event |
| S2 | nothing partial | at a final path a reader finds what was there before, or a complete file whose bytes were proven |
| S3 | true ledger | what the ledger calls done was published and proven; a transfer that is done or dead does not begin again |
| S4 | no regression | an older state of an object never replaces a newer one at the same path, for agents that share a ledger |
| S5 | policy | bytes are read and published only where the policy that is in force right before publishing allows it |
| S6 | fencing | after a newer attempt has removed the staging of an older one, the older one can publish nothing |
| S7 | secrets | none of the agent's own keys, tokens or keytabs is in the ledger, the log, a reason of a dead letter or an argument of a process; secrets in foreign text are hidden there in every form that `core/text.py` knows |
| S8 | whole plan | nothing is published from a listing that is not known to be complete and consistent |
| S9 | claims | no claim in a message, such as a sequencer, a size or an id, is by itself a reason to drop data; S3 or the target has to confirm it |
| E1 | economy | without faults each object is read once, and no valid message becomes a dead letter |
| L1 | an end | every message ends as done or dead after a limited number of attempts, not counting the time in which a dependency is down |
| L2 | a reason | every dead message has a code |
| L3 | no remains | when all transfers have ended and the sweep has run, no staging is left |
| L4 | resumption | a held transfer goes on within a minute of its dependency's return |
| L5 | retention | a message whose retention is about to end is tried, and dead-lettered with `E_EXPIRING` if that fails, before SQS deletes it |

What an agent reports of itself is checked in the same schedules: a live agent whose reports are not
disturbed is never shown as silent or gone (H1), a report names nothing that the agent has no longer in hand
(H2), and each end of a transfer is summed up once (H3). A schedule is the same, step by step, with
reports and without, whatever befalls the calls that write them.
"""


def every_test() -> list[str]:
    """The tests that some row names, each once."""
    return sorted({test for row in ROWS for test in row.tests})


def results() -> dict[str, list[str]]:
    """Test to [outcome, day, commit]."""
    if not RESULTS.exists():
        return {}
    found: dict[str, list[str]] = json.loads(RESULTS.read_text("utf-8"))
    return found


def page() -> str:
    """The whole text."""
    known = results()
    lines = [HEAD, GUARANTEES]
    for title, rows in SECTIONS:
        lines += [
            f"## {title}",
            "",
            "| row | what happens | promise | tests | last result | not covered |",
            "|---|---|---|---|---|---|",
            *(_line(row, known) for row in rows),
            "",
        ]
    lines += reliability_runs.section()
    lines += ["## Not on this page", "", *(f"- {one}" for one in NOT_HERE), ""]
    return "\n".join(lines)


def _line(row: Row, known: dict[str, list[str]]) -> str:
    tests = "<br>".join(f"`{test}`" for test in row.tests)
    ends = [_told(known.get(test)) for test in row.tests]
    last = ends[0] if len(set(ends)) == 1 else "<br>".join(ends)
    return f"| {row.name} | {row.fault} | {row.promise} | {tests} | {last} | {row.known} |"


def _told(result: list[str] | None) -> str:
    if result is None:
        return "not run"
    outcome, day, commit = result
    return f"{outcome} {day} `{commit}`"


def take_in(report: Path) -> None:
    """Outcomes of a JUnit report of pytest; of a test with parameters the worst counts."""
    found: dict[str, str] = {}
    day = ""
    for suite in ET.parse(report).iter("testsuite"):  # noqa: S314 - our own pytest wrote it
        day = suite.get("timestamp", "")[:10]
        for case in suite.iter("testcase"):
            path = case.get("classname", "").replace(".", "/")
            test = f"{path}.py::{case.get('name', '').partition('[')[0]}"
            before = found.get(test, "passed")
            found[test] = min(before, _outcome(case), key=WORST.index)
    commit = _git("rev-parse", "--short=10", "HEAD")
    if _git("status", "--porcelain", "--", "src", "tests", ":!tests/data/results.json"):
        commit += " and changes"
    known = results()
    named = every_test()
    known |= {test: [found[test], day, commit] for test in named if test in found}
    kept = {test: known[test] for test in named if test in known}
    RESULTS.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", "utf-8")


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.reliability")
    parser.add_argument("--results", type=Path, metavar="JUNIT_XML", help="take these in first")
    parser.add_argument(
        "--torture", type=Path, nargs="+", metavar="JSONL", help="rounds; they replace the old"
    )
    parser.add_argument(
        "--fleet", type=Path, nargs="+", metavar="JSONL", help="rounds with --fleet; they add up"
    )
    parser.add_argument("--tests", action="store_true", help="name the tests, and write nothing")
    chosen = parser.parse_args()
    if chosen.tests:
        sys.stdout.write("\n".join([*every_test(), ""]))
        return 0
    if chosen.results is not None:
        take_in(chosen.results)
    if chosen.fleet:
        reliability_runs.take_in_fleet(chosen.fleet)
    if chosen.torture:
        # The program that was tormented, not the tests around it.
        commit = _git("log", "-1", "--format=%h", "--abbrev=10", "--", "src")
        day = datetime.now(UTC).date().isoformat()
        reliability_runs.take_in(chosen.torture, day=day, commit=commit)
    PAGE.write_text(page(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
