"""What runs of `./dev torture` came to: counts by fault, in `tests/data`, and as text.

`python -m tests.reliability --torture build/torture.jsonl` takes in what a run left, and
`--fleet build/fleet.jsonl` what some with `--fleet` did. Those add up over days: each line has the
day and the commit of its round, and a batch is the rounds of one day and one commit. What was wrong
in rounds of a fleet that violated something, a person writes into `data/torture_violations.json`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from tests.torture.fleet_faults import FLEET_FAULTS

RUNS = Path(__file__).parent / "data/torture.json"
FLEET = Path(__file__).parent / "data/torture_fleet.json"
VIOLATIONS = Path(__file__).parent / "data/torture_violations.json"
KINDS = ("rounds", "struck", "killed", "violated")
WANTED = 300  # rounds of a fleet, before the page may call them enough
BOUNDED = 30  # rounds that struck something, before a bound of 10 % or less follows from them


def take_in(told: Sequence[Path], *, day: str, commit: str) -> None:
    """All rounds of these files; they replace what was there."""
    _keep(RUNS, {"day": day, "commit": commit, **_counted(_rounds(told))})


def take_in_fleet(told: Sequence[Path]) -> None:
    """The same of rounds with `--fleet`; a batch replaces that of the same day and commit.

    So all files of a batch have to be given at once, and giving them again changes nothing.
    """
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for one in _rounds(told):
        found.setdefault((one["day"], one["commit"]), []).append(one)
    kept = {(one["day"], one["commit"]): one for one in _batches()}
    kept |= {key: _batch(*key, rounds) for key, rounds in found.items()}
    _keep(FLEET, {"batches": [*kept.values()]})


def _batch(day: str, commit: str, rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return {
        "day": day,
        "commit": commit,
        "leases": Counter(str(one["lease"]) for one in rounds),
        "fenced": sum(one["fenced"] for one in rounds),
        **_counted(rounds),
    }


def _batches() -> list[dict[str, Any]]:
    """In the order in which they were taken in."""
    if not FLEET.exists():
        return []
    found: list[dict[str, Any]] = json.loads(FLEET.read_text("utf-8"))["batches"]
    return found


def _rounds(told: Sequence[Path]) -> list[dict[str, Any]]:
    return [json.loads(line) for path in told for line in path.read_text("utf-8").splitlines()]


def _counted(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    counts = {"looks": 0, "reads": 0}
    faults: dict[str, dict[str, int]] = {}
    for one in rounds:
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
            f"{_summary(runs, _clean(runs))}"
        ),
        "",
        *_table(runs),
    ]


def _of_a_fleet() -> list[str]:
    batches = _batches()
    if not batches:
        return []
    runs = _together(batches)
    rounds = _total(runs)["rounds"]
    unknown = sorted(FLEET_FAULTS.keys() - runs["faults"].keys() - {"fleet-calm"})
    summary = _summary(runs, _since_the_last_violation(batches))
    missing = f" No round is on record for: {', '.join(unknown)}." if unknown else ""
    few = f" The aim is {WANTED} rounds; these are fewer." if rounds < WANTED else ""
    return [
        "## Real runs of a fleet",
        "",
        (
            "`./dev torture --fleet`: three agents, each a node of its own with its own way to one "
            f"PostgreSQL. {summary} "
            f"{runs['fenced']} times an agent found that others had taken it for gone, and ended "
            f"with `E_LEDGER_FENCED`.{few}{missing}"
        ),
        "",
        "Each line is one commit on one day. *Times*: those by which agents judge each other, 1 as",
        "shipped. *Fenced*: agents that found so that others had taken them for gone.",
        "",
        "| day | commit | times | rounds | struck | killed | fenced | violated |",
        "|---|---|---|---|---|---|---|---|",
        *(_batch_line(one) for one in batches),
        "",
        *_of_violations(batches),
        *_table(runs, "violated"),
    ]


def violations() -> list[dict[str, Any]]:
    """What is known of rounds that violated something: their batch, number, cause and mend."""
    found: list[dict[str, Any]] = json.loads(VIOLATIONS.read_text("utf-8"))
    return found


def unexplained(batches: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Rounds that violated something and of which nothing is known yet, by commit."""
    counts = Counter[str]()
    for one in batches:
        counts[one["commit"]] += _total(one)["violated"]
    for known in violations():
        if known["commit"] in counts:
            counts[known["commit"]] -= known["rounds"]
    return {commit: count for commit, count in counts.items() if count}


def _of_violations(batches: Sequence[dict[str, Any]]) -> list[str]:
    known = [one for one in violations() if one["commit"] in {each["commit"] for each in batches}]
    rest = unexplained(batches)
    if not known and not rest:
        return []
    is_harmless = not rest and not any(one["is_data_harmed"] for one in known)
    harm = " In none of them were data lost, partial or older than before." if is_harmless else ""
    return [
        "Of the rounds that violated something: what was seen, what was wrong, and the commit that",
        f"mended it.{harm}",
        "",
        "| commit | fault | rounds | seen | wrong | mended by |",
        "|---|---|---|---|---|---|",
        *(_violation_line(one) for one in known),
        *(f"| `{commit}` | | {n} | not explained yet | | |" for commit, n in rest.items()),
        "",
    ]


def _violation_line(one: dict[str, Any]) -> str:
    faults = ", ".join(f"`{fault}`" for fault in one["faults"])
    cells = (f"`{one['commit']}`", faults, one["rounds"], one["what"], one["cause"])
    return f"| {' | '.join(map(str, cells))} | `{one['mended']}` |"


def _clean(runs: dict[str, Any]) -> int:
    """Rounds that struck something, of a run that violated nothing."""
    total = _total(runs)
    return 0 if total["violated"] else total["struck"]


def _batch_line(batch: dict[str, Any]) -> str:
    total = _total(batch)
    leases: dict[str, int] = batch["leases"]
    times = ", ".join(f"{float(one):g}" for one in sorted(leases, reverse=True))
    counts = (total["rounds"], total["struck"], total["killed"], batch["fenced"], total["violated"])
    cells = (batch["day"], f"`{batch['commit']}`", times, *map(str, counts))
    return f"| {' | '.join(cells)} |"


def _together(batches: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Counts of all batches."""
    faults: dict[str, Counter[str]] = {}
    for batch in batches:
        for name, kinds in batch["faults"].items():
            # `update` keeps a kind whose count is 0.
            faults.setdefault(name, Counter()).update(kinds)
    sums = {name: sum(one[name] for one in batches) for name in ("looks", "reads", "fenced")}
    return {**sums, "faults": faults}


def _since_the_last_violation(batches: Sequence[dict[str, Any]]) -> int:
    """Rounds that struck something, in the batches after the last one with a violation."""
    since = takewhile(lambda one: not _total(one)["violated"], reversed(batches))
    return sum(map(_clean, since))


def _summary(runs: dict[str, Any], clean: int) -> str:
    """Counts in words, and what they bound.

    Args:
        clean: Rounds that struck something since the last violation.
    """
    total = _total(runs)
    since = " since the last one" if total["violated"] else ""
    return (
        f"{total['rounds']} rounds, {total['struck']} of them struck something, "
        f"{total['killed']} processes were killed with SIGKILL. Meanwhile readers looked "
        f"{runs['looks']:,} times and read {runs['reads']:,} files. "
        f"{total['violated']} rounds violated a promise.{_bound(clean, since)}"
    )


def _total(runs: dict[str, Any]) -> dict[str, int]:
    return {kind: sum(one[kind] for one in runs["faults"].values()) for kind in KINDS}


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


def _bound(clean: int, since: str) -> str:
    """The rule of three: none in n. Of few rounds it says nothing worth reading."""
    if clean < BOUNDED:
        return ""
    share = f"{300 / clean:.1f} % of such rounds (3/{clean})"
    return f" With 95 % confidence fewer than {share} do{since}."
