"""Shards: a comparison in ranges of paths, several at once, and one that was killed goes on.

A directory holds the plan and, for each part that is complete, what it found. Parts are written
under another name and renamed, so a part that is there is whole. The report is made from them, in
order: the same whether the command ran once or was killed and run again.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from backhaul.core.errors import BadArgument
from backhaul.core.model import Location
from backhaul.core.reconciliation.values import (
    ComparedPath,
    ObjectClass,
    ProvenFile,
    Row,
    SourceObject,
    TargetFile,
)

PLAN = "plan.json"


@dataclass(frozen=True, kw_only=True)
class PathRange:
    """Paths of one directory behind `after`, up to `until`.

    Attributes:
        area: Number of the area, from 0.
        until: The last one; empty: to the end.
    """

    area: int
    after: str
    until: str


Compare = Callable[[PathRange], Generator[ComparedPath, None, None]]


@dataclass(frozen=True, kw_only=True)
class PartsPlan:
    """What is compared in which parts.

    Attributes:
        about: Route, options and places: another command with the same directory must agree.
        started_us: When it began.
    """

    about: str
    started_us: int
    parts: tuple[PathRange, ...]


class PartFiles:
    """The directory of one comparison.

    Raises:
        BadArgument: E_RECONCILE_STATE: it holds something else.
        OSError: It cannot be read or written.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    def plan(self, about: str, make: Callable[[], PartsPlan]) -> PartsPlan:
        """The plan that was begun here, or a new one."""
        path = self._directory / PLAN
        if not path.exists():
            if any(self._directory.iterdir()):
                raise self._not_ours("it has files, and no plan of a comparison")
            plan = make()
            self._write(path, [json.dumps(asdict(plan))])
            return plan
        try:
            found = json.loads(path.read_text("utf-8"))
            parts = tuple(PathRange(**one) for one in found["parts"])
            plan = PartsPlan(about=found["about"], started_us=found["started_us"], parts=parts)
        except (ValueError, TypeError, KeyError) as error:
            raise self._not_ours("its plan cannot be read") from error
        if plan.about != about:
            raise self._not_ours("it holds a comparison of another route, or with other options")
        return plan

    def run(
        self,
        plan: PartsPlan,
        compare: Compare,
        report: Callable[[ComparedPath, int], None],
        jobs: int,
    ) -> None:
        """Compare what is not there yet, then report everything in order.

        Args:
            report: Called with the number of the area.
            jobs: So many parts at once.
        """
        with ThreadPoolExecutor(jobs, thread_name_prefix="part") as threads:
            running = [
                threads.submit(self._complete, number, part, compare)
                for number, part in enumerate(plan.parts)
            ]
            try:
                for number, (part, one) in enumerate(zip(plan.parts, running, strict=True)):
                    one.result()
                    for found in self._read(number):
                        report(found, part.area)
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def remove(self) -> None:
        """The report is complete: the next comparison begins anew."""
        for path in sorted(self._directory.glob("part-*")):
            path.unlink()
        (self._directory / PLAN).unlink()

    def _complete(self, number: int, part: PathRange, compare: Compare) -> None:
        path = self._path(number)
        if not path.exists():
            with closing(compare(part)) as found:
                self._write(path, map(_line, found))

    def _read(self, number: int) -> Iterator[ComparedPath]:
        with self._path(number).open(encoding="utf-8", errors="surrogatepass") as file:
            for line in file:
                yield _compared(json.loads(line))

    def _path(self, number: int) -> Path:
        return self._directory / f"part-{number:06}.jsonl"

    @staticmethod
    def _write(path: Path, lines: Iterator[str] | Sequence[str]) -> None:
        partial = path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8", errors="surrogatepass") as file:
            file.writelines(f"{line}\n" for line in lines)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)

    def _not_ours(self, why: str) -> BadArgument:
        return BadArgument(
            "E_RECONCILE_STATE",
            f"--state {self._directory}: {why}",
            hint="name another directory, or remove this one",
        )


def _line(one: ComparedPath) -> str:
    """Tuples become arrays; the path is written once."""
    row = one.row
    parts = [None if part is None else part[1:] for part in row[1:]]
    return json.dumps([row.path, one.found.value, one.why, one.transfer_id, *parts])


def _compared(line: Any) -> ComparedPath:
    path, found, why, transfer_id, source, proven, target = line
    row = Row(
        path,
        None if source is None else SourceObject(path, *source),
        None if proven is None else ProvenFile(path, *proven),
        None if target is None else TargetFile(path, *target),
    )
    return ComparedPath(row, ObjectClass(found), why, transfer_id)


def parts_of(
    roots: Sequence[Location], boundaries: Sequence[Sequence[str]]
) -> tuple[PathRange, ...]:
    """The parts of each area between its boundaries, which are paths."""
    found: list[PathRange] = []
    for area, (root, every) in enumerate(zip(roots, boundaries, strict=True)):
        start = "/" if root.path == "/" else f"{root.path}/"
        edges = [start, *sorted({one for one in every if one > start}), ""]
        found += (
            PathRange(area=area, after=after, until=until) for after, until in pairwise(edges)
        )
    return tuple(found)
