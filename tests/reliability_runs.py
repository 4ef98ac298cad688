"""What runs of `./dev torture` came to: counts by fault, in `tests/data`, and as text.

`python -m tests.reliability --torture build/torture.jsonl` takes in what a run left, and
`--fleet build/fleet.jsonl` what one with `--fleet` did.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.torture.fleet_faults import FLEET_FAULTS

RUNS = Path(__file__).parent / "data/torture.json"
FLEET = Path(__file__).parent / "data/torture_fleet.json"
KINDS = ("rounds", "struck", "killed", "violated")
WANTED = 300  # rounds of a fleet, before the page may call them enough


def take_in(told: Sequence[Path], *, day: str, commit: str) -> None:
    """All rounds of these files; they replace what was there."""
    _keep(RUNS, {"day": day, "commit": commit, **_counted(told)})


def take_in_fleet(told: Sequence[Path], *, commit: str) -> None:
    """The same of rounds with `--fleet`."""
    rounds = _rounds(told)
    leases = Counter(str(one["lease"]) for one in rounds)
    fenced = sum(one["fenced"] for one in rounds)
    _keep(FLEET, {"commit": commit, "leases": leases, "fenced": fenced, **_counted(told)})


def _rounds(told: Sequence[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in told for line in path.read_text("utf-8").splitlines()]


def _counted(told: Sequence[Path]) -> dict[str, Any]:
    counts = {"looks": 0, "reads": 0}
    faults: dict[str, dict[str, int]] = {}
    for one in _rounds(told):
        kinds = faults.setdefault(one["fault"], dict.fromkeys(KINDS, 0))
        kinds["rounds"] += 1
        kinds["struck"] += one["struck"] > 0
        kinds["killed"] += one["crashes"]
        kinds["violated"] += bool(one["wrong"])
        for name in counts:
            counts[name] += one[name]
    return {**counts, "faults": faults}


def _keep(path: Path, found: dict[str, Any]) -> None:
    path.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


def section() -> list[str]:
    """Lines of the page; none where no run is on record."""
    return [*_of_one_agent(), *_of_a_fleet()]


def _of_one_agent() -> list[str]:
    if not RUNS.exists():
        return []
    runs = json.loads(RUNS.read_text("utf-8"))
    return [
        "## Real runs",
        "",
        (
            f"`./dev torture` on {runs['day']}, the program as of `{runs['commit']}`: "
            f"{_summary(runs)}"
        ),
        "",
        *_table(runs),
    ]


def _of_a_fleet() -> list[str]:
    if not FLEET.exists():
        return []
    runs = json.loads(FLEET.read_text("utf-8"))
    leases: dict[str, int] = runs["leases"]
    rounds = sum(leases.values())
    times = ", ".join(
        f"{n} with the times as shipped"
        if float(lease) == 1
        else f"{n} with {float(lease):g} of them"
        for lease, n in sorted(leases.items(), reverse=True)
    )
    unknown = sorted(FLEET_FAULTS.keys() - runs["faults"].keys() - {"fleet-calm"})
    missing = f" No round is on record for: {', '.join(unknown)}." if unknown else ""
    few = f" The aim is {WANTED} rounds; these are fewer." if rounds < WANTED else ""
    few += missing
    return [
        "## Real runs of a fleet",
        "",
        (
            "`./dev torture --fleet`: three agents, each a node of its own with its own way to one "
            f"PostgreSQL; the program as of `{runs['commit']}`. {_summary(runs)} "
            f"{runs['fenced']} times an agent found that others had taken it for gone, and ended "
            f"with `E_LEDGER_FENCED`. Times by which agents judge each other: {times}.{few}"
        ),
        "",
        *_table(runs, "violated"),
    ]


def _summary(runs: dict[str, Any]) -> str:
    total = {kind: sum(one[kind] for one in runs["faults"].values()) for kind in KINDS}
    bound = "" if total["violated"] else f" With 95 % confidence fewer than {_bound(total)} do."
    return (
        f"{total['rounds']} rounds, {total['struck']} of them struck something, "
        f"{total['killed']} processes were killed with SIGKILL. Meanwhile readers looked "
        f"{runs['looks']:,} times and read {runs['reads']:,} files. "
        f"{total['violated']} rounds violated a promise.{bound}"
    )


def _table(runs: dict[str, Any], *further: str) -> list[str]:
    kinds = ("rounds", "struck", "killed", *further)
    return [
        f"| fault | {' | '.join(kinds)} |",
        "|---" * (len(kinds) + 1) + "|",
        *(
            f"| `{name}` | {' | '.join(str(one[kind]) for kind in kinds)} |"
            for name, one in sorted(runs["faults"].items())
        ),
        "",
    ]


def _bound(total: dict[str, int]) -> str:
    """The rule of three: none in n."""
    return f"{300 / max(1, total['struck']):.1f} % of such rounds (3/{total['struck']})"
