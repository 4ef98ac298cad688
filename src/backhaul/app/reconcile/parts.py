"""Shards: a comparison in ranges of paths, several at once, and one that was killed goes on.

A directory holds the plan and, for each part that is complete, what it found. Files are written
under another name and renamed, and each ends with the CRC32 of what is before: a part that is there
is whole, or it is compared again. The report is made from them, in order: the same whether the
command ran once or was killed and run again. What cannot be used is removed, with a warning, and
the comparison begins anew: a timer needs no person. One command at a time has the directory.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from zlib import crc32

from backhaul.core.errors import BackhaulError, BadArgument
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
ANOTHER_DIRECTORY = "name another directory, or remove this one"
_OURS = re.compile(r"plan\.(?:json|partial)|part-\d{6,}\.(?:jsonl|partial)")
_HEAD = b'{"about": {"version of Backhaul": "'  # other programs have a plan.json, too


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


@dataclass(frozen=True, kw_only=True)
class PlannedPlace:
    """Objects of a prefix and where they belong.

    Attributes:
        directory: Its URI.
    """

    bucket: str
    prefix: str
    directory: str


Compare = Callable[[PathRange], Generator[ComparedPath, None, None]]
Warn = Callable[[BackhaulError], None]


@dataclass(frozen=True, kw_only=True)
class PartsPlan:
    """What is compared in which parts.

    Attributes:
        about: Route, options and configuration: a command with others begins anew.
        started_us: When it began.
        since_us: `--since` as it was then; None: everything is compared.
        places: As they were then: the next transfer may change what the ledger has.
    """

    about: Mapping[str, str]
    started_us: int
    since_us: int | None
    places: tuple[PlannedPlace, ...]
    parts: tuple[PathRange, ...]


def ends(warning: BackhaulError) -> None:
    """A `Warn` for those that keep nothing: it raises."""
    raise warning


@contextmanager
def part_files(directory: Path, warn: Warn) -> Iterator[PartFiles]:
    """The directory of one comparison, made where it is not there, and locked for the block.

    Args:
        warn: Gets what was kept there and cannot be used.

    Raises:
        BadArgument: E_RECONCILE_STATE: it holds something else, or another command is using it.
        OSError: It cannot be read or written.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if isinstance(error, BlockingIOError):
            hint = "wait until it has ended, or name another directory"
            raise _refused(directory, "another command is using it", hint) from error
        hint = "name a directory on a local disk"
        raise _refused(directory, f"it cannot be locked: {error.strerror}", hint) from error
    try:
        yield PartFiles(directory, warn)
    finally:
        os.close(descriptor)


class PartFiles:
    """The files in the directory of one comparison; see `part_files`."""

    def __init__(self, directory: Path, warn: Warn) -> None:
        self._directory = directory
        self._warn = warn

    def begun(self, about: Mapping[str, str]) -> PartsPlan | None:
        """The plan that was begun here; None: there is none that can be used.

        Args:
            about: What the plan must agree in, of which `route` is never replaced.
        """
        path = self._directory / PLAN
        text = path.read_bytes() if path.exists() else None
        if text is None or not (text.startswith(_HEAD) or _HEAD.startswith(text)):
            if text is not None or not all(_OURS.fullmatch(one) for one in self._names()):
                raise _refused(
                    self._directory,
                    "it has files, and no plan of a comparison",
                    ANOTHER_DIRECTORY,
                )
            return None
        plan, seal = (*text.splitlines(keepends=True), b"", b"")[:2]
        if seal != _seal(crc32(plan)):
            self.useless("its plan is damaged")
            return None
        try:
            found = _plan(json.loads(plan))
        except (ValueError, TypeError, KeyError):
            self.useless("its plan is of another version of Backhaul")
            return None
        if found.about.get("route") != about["route"]:
            raise _refused(
                self._directory, "it holds a comparison of another route", ANOTHER_DIRECTORY
            )
        others = [one for one in about if found.about.get(one) != about[one]]
        if not others:
            return found
        self.useless(f"it was begun with another {', '.join(others)}")
        return None

    def begin(self, plan: PartsPlan) -> None:
        """Keep this plan, and nothing of an earlier one."""
        self._empty()
        self._write(self._directory / PLAN, [json.dumps(asdict(plan))])

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
        self._empty()

    def _empty(self) -> None:
        (self._directory / PLAN).unlink(missing_ok=True)
        # Die here, and parts without a plan are removed by the next command.
        for name in filter(_OURS.fullmatch, self._names()):
            (self._directory / name).unlink()

    def useless(self, why: str) -> None:
        """Warn that what was kept cannot be used."""
        self._warn(_refused(self._directory, f"{why}, so the comparison begins anew"))

    def _names(self) -> list[str]:
        return sorted(one.name for one in self._directory.iterdir())

    def _complete(self, number: int, part: PathRange, compare: Compare) -> None:
        path = self._path(number)
        if path.exists():
            if _is_whole(path):
                return
            self._warn(_refused(self._directory, f"{path.name} is damaged and is compared again"))
        with closing(compare(part)) as found:
            self._write(path, map(_line, found))

    def _read(self, number: int) -> Iterator[ComparedPath]:
        with self._path(number).open("rb") as file:
            for line, _ in pairwise(file):  # the last one is the seal
                yield _compared(json.loads(line))

    def _path(self, number: int) -> Path:
        return self._directory / f"part-{number:06}.jsonl"

    @staticmethod
    def _write(path: Path, lines: Iterable[str]) -> None:
        partial, crc = path.with_suffix(".partial"), 0
        with partial.open("wb") as file:
            for one in lines:
                line = f"{one}\n".encode("ascii")
                crc = crc32(line, crc)
                file.write(line)
            file.write(_seal(crc))
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)


def _refused(directory: Path, why: str, hint: str = "") -> BadArgument:
    return BadArgument("E_RECONCILE_STATE", f"--state {directory}: {why}", hint=hint)


def _plan(kept: Any) -> PartsPlan:
    """The reverse of `asdict`."""
    places = [PlannedPlace(**one) for one in kept.pop("places")]
    parts = [PathRange(**one) for one in kept.pop("parts")]
    return PartsPlan(places=tuple(places), parts=tuple(parts), **kept)


def _seal(crc: int) -> bytes:
    """The last line of a file, from the CRC32 of those before."""
    return b'{"crc32": "%08x"}\n' % crc


def _is_whole(path: Path) -> bool:
    crc, last = 0, b""
    with path.open("rb") as file:
        for line in file:
            crc, last = crc32(last, crc), line
    return last == _seal(crc)


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
