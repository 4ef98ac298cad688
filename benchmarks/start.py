"""Shape `start`: what a command costs before and after its work.

One object of 16 KiB is copied to a local directory, into a new ledger and into one that is there,
and commands are run that only read or print. With `--before DIR` each is held against the same
command of another checkout, in turn with ours.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

from benchmarks.measure import Run, measured
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BEFORE, BUCKET, Servers, Sizes, tell

TURNS = 3  # of each command in a round: a start is short
AT_MOST_OF_BEFORE = 0.75
_COPIES = ("copy of one small object", "copy of one small object, new ledger")
_Start = Callable[[str, list[str]], Run]


def start(servers: Servers, _sizes: Sizes, rounds: int) -> list[Figure]:
    """Seconds and CPU of whole processes."""
    (name,) = servers.put_small("start/", 1)
    environment = servers.environment()
    numbers = count()

    def copy(who: str, command: list[str], *, is_new: bool) -> Run:
        number = next(numbers)
        ledger = servers.ledger(f"start-{number if is_new else who}")
        source, target = f"s3://{BUCKET}/start/{name}", servers.directory / f"start-{number}"
        return measured(
            [*command, "copy", source, f"file://{target}/", "--allow-any", "--ledger", ledger],
            environment,
        )

    def history(who: str, command: list[str]) -> Run:
        return measured(
            [*command, "history", "--ledger", servers.ledger(f"start-{who}")], environment
        )

    starts: dict[str, _Start] = {
        _COPIES[0]: lambda who, command: copy(who, command, is_new=False),
        _COPIES[1]: lambda who, command: copy(who, command, is_new=True),
        "history": history,
        "--version": lambda _who, command: measured([*command, "--version"], environment),
    }
    programs = {"backhaul": BACKHAUL, **({BEFORE: servers.before} if servers.before else {})}
    for who, command in programs.items():  # makes the ledger that is there
        copy(who, command, is_new=False)
    figures = []
    for what, run in starts.items():
        runs: dict[str, list[Run]] = {who: [] for who in programs}
        for turn in range(rounds * TURNS):
            for who in list(programs)[:: 1 if turn % 2 else -1]:
                runs[who].append(run(who, programs[who]))
        told = ", ".join(f"{who} {of[-1].seconds:.2f} s" for who, of in runs.items())
        tell(f"start, {what}: {told}")
        figures += _figures(what, runs)
    return figures


def _figures(what: str, runs: dict[str, list[Run]]) -> list[Figure]:
    found = []
    for unit, value in (("seconds", _seconds), ("CPU", _cpu_s)):
        for who, of in runs.items():
            found.append(
                Figure(
                    shape="start",
                    what=f"{who}: {what}, {unit}",
                    unit="s",
                    values=tuple(map(value, of)),
                )
            )
        if BEFORE in runs:
            found.append(
                Figure(
                    shape="start",
                    what=f"{what}, {unit} of before",
                    unit="x",
                    values=paired(
                        [value(one) for one in runs["backhaul"]],
                        [value(one) for one in runs[BEFORE]],
                    ),
                    at_most=AT_MOST_OF_BEFORE if what in _COPIES else None,
                )
            )
    return found


def _seconds(run: Run) -> float:
    return run.seconds


def _cpu_s(run: Run) -> float:
    return run.cpu_s
