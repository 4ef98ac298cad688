"""What runs of `./dev torture` came to: counts by fault, in `tests/data/torture.json`, and as text.

`python -m tests.reliability --torture build/torture.jsonl` takes in what a run left.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

RUNS = Path(__file__).parent / "data/torture.json"
KINDS = ("rounds", "struck", "killed", "violated")


def take_in(told: Sequence[Path], *, day: str, commit: str) -> None:
    """All rounds of these files; they replace what was there."""
    counts = {"looks": 0, "reads": 0}
    faults: dict[str, dict[str, int]] = {}
    for path in told:
        for line in path.read_text("utf-8").splitlines():
            one = json.loads(line)
            kinds = faults.setdefault(one["fault"], dict.fromkeys(KINDS, 0))
            kinds["rounds"] += 1
            kinds["struck"] += one["struck"] > 0
            kinds["killed"] += one["crashes"]
            kinds["violated"] += bool(one["wrong"])
            for name in counts:
                counts[name] += one[name]
    found = {"day": day, "commit": commit, **counts, "faults": faults}
    RUNS.write_text(json.dumps(found, indent=1, sort_keys=True) + "\n", "utf-8")


def section() -> list[str]:
    """Lines of the page; none where no run is on record."""
    if not RUNS.exists():
        return []
    runs = json.loads(RUNS.read_text("utf-8"))
    faults: dict[str, dict[str, int]] = runs["faults"]
    total = {kind: sum(one[kind] for one in faults.values()) for kind in KINDS}
    bound = "" if total["violated"] else f" With 95 % confidence fewer than {_bound(total)} do."
    return [
        "## Real runs",
        "",
        (
            f"`./dev torture` on {runs['day']}, the program as of `{runs['commit']}`: "
            f"{total['rounds']} rounds, {total['struck']} of them struck something, "
            f"{total['killed']} processes were killed with SIGKILL. Meanwhile readers looked "
            f"{runs['looks']:,} times and read {runs['reads']:,} files. "
            f"{total['violated']} rounds violated a promise.{bound}"
        ),
        "",
        "| fault | rounds | struck | killed |",
        "|---|---|---|---|",
        *(
            f"| `{name}` | {one['rounds']} | {one['struck']} | {one['killed']} |"
            for name, one in sorted(faults.items())
        ),
        "",
    ]


def _bound(total: dict[str, int]) -> str:
    """The rule of three: none in n."""
    return f"{300 / max(1, total['struck']):.1f} % of such rounds (3/{total['struck']})"
