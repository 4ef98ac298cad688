"""Figures, their spread and the table; no measuring here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

SERVERS_CPU = "s/GiB of servers"


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One thing that was measured, once in each round.

    Attributes:
        shape: As `--only` names it.
        what: For people, such as `backhaul copy`.
        unit: `s`, `ms`, `B`, `MB`, `/s`, `s/GiB`, `SERVERS_CPU`, or `x` for a ratio.
        values: One for each round, in order.
        at_least: The target; None where there is none.
        at_most: The same, where less is better.
        program: Whose time, CPU or memory it is; empty for anything else.
    """

    shape: str
    what: str
    unit: str
    values: tuple[float, ...]
    at_least: float | None = None
    at_most: float | None = None
    program: str = ""

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def is_met(self) -> bool | None:
        """Whether the median reaches the target; None without one."""
        if self.at_least is not None:
            return self.median >= self.at_least
        if self.at_most is not None:
            return self.median <= self.at_most
        return None


def paired(above: Sequence[float], below: Sequence[float]) -> tuple[float, ...]:
    """Ratios of values of the same round: what slowed a whole round down cancels out."""
    return tuple(one / other for one, other in zip(above, below, strict=True))


def best(by_name: dict[str, list[float]]) -> str:
    """The name whose times have the lowest median."""
    return min(by_name, key=lambda name: median(by_name[name]))


def table(figures: Sequence[Figure]) -> str:
    """Columns for people: shape, what, min, median, max, unit, target."""
    rows = [
        ("shape", "what", "min", "median", "max", "", "target"),
        *(
            (
                one.shape,
                one.what,
                _number(min(one.values)),
                _number(one.median),
                _number(max(one.values)),
                one.unit,
                _target(one),
            )
            for one in figures
        ),
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths, range(2, 5)) for row in rows)


def programs(figures: Sequence[Figure]) -> str:
    """Columns for people: one line for each program of each shape; empty when none was compared."""
    rows: list[tuple[str, ...]] = [
        (
            *("shape", "program", "seconds", "CPU s/GiB", "servers' CPU s/GiB", "peak MB"),
            "of backhaul's time",
        )
    ]
    ours = {one.shape: one for one in figures if one.program == "backhaul" and one.unit == "s"}
    found: dict[tuple[str, str], dict[str, Figure]] = {}
    for one in figures:
        if one.program:
            found.setdefault((one.shape, one.program), {})[one.unit] = one
    for (shape, program), of in found.items():
        ratio = median(paired(of["s"].values, ours[shape].values))
        units = ("s", "s/GiB", SERVERS_CPU, "MB")
        cells = (_number(of[unit].median) if unit in of else "" for unit in units)
        rows.append((shape, program, *cells, _number(ratio)))
    if len(rows) == 1:
        return ""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(_line(row, widths, range(2, 6)) for row in rows)


def _line(row: tuple[str, ...], widths: list[int], numbers: range) -> str:
    cells = [
        text.rjust(width) if column in numbers else text.ljust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _number(value: float) -> str:
    """Three digits that count."""
    if value >= 100:
        return f"{value:.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _target(one: Figure) -> str:
    if one.is_met is None:
        return ""
    sign, limit = ("<=", one.at_most) if one.at_least is None else (">=", one.at_least)
    return f"{sign} {limit:g} {'met' if one.is_met else 'MISSED'}"


def save(path: Path, figures: Sequence[Figure], about: dict[str, object]) -> None:
    """JSON beside a `.txt` of the same name with the table."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {**about, "figures": [{**asdict(one), "median": one.median} for one in figures]}
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    text = "\n\n".join(part for part in (programs(figures), table(figures)) if part)
    path.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
