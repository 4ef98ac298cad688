"""Compare COUNT objects from streams that are made up as they are read: a process of its own.

`python -m benchmarks.reconcile_once COUNT` prints a JSON object: `seconds`, `cpu_s`, `peak_mb`,
`findings`. Places, threads that read ahead, merge, classes and the second look are the product's;
S3, ledger and target are not there.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from backhaul.app.reconcile.report import as_json
from backhaul.app.reconcile.run import Comparison, ReconcileOptions
from backhaul.core.model import Location, Route
from backhaul.core.objects import FileStatus
from backhaul.core.ports import FoundFile, ListedObject
from backhaul.core.reconciliation.values import ComparedPath, ProvenFile

IN_A_DIRECTORY = 1000
MISSING_EVERY = 100_003
NOW = datetime(2026, 12, 1, tzinfo=UTC)
MODIFIED = NOW - timedelta(days=30)
MODIFIED_US = int(MODIFIED.timestamp()) * 1_000_000
ETAG = "d41d8cd98f00b204e9800998ecf8427e"
ROOT = Location(scheme="hdfs", authority="nn1:8020", path="/landing")


def name(number: int) -> str:
    """Of an object, below the route's prefix; in order."""
    directory, file = divmod(number, IN_A_DIRECTORY)
    return f"day={directory:06d}/part-{file:05d}.snappy.parquet"


def is_missing(number: int) -> bool:
    """Whether the target does not have it."""
    return number % MISSING_EVERY == MISSING_EVERY - 1


class MadeUp:
    """Objects, proofs and files, page by page."""

    def __init__(self, count: int) -> None:
        self._count = count

    def objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        del bucket
        text = MODIFIED.isoformat()
        for number in range(self._count):
            yield ListedObject(
                key=prefix + name(number), size="1048576", etag=f'"{ETAG}"', last_modified=text
            )

    def proven_between(self, filesystem: str, after: str, until: str) -> list[ProvenFile]:
        del filesystem, until
        start = _number(after.removeprefix(f"{ROOT.path}/"))
        return [
            ProvenFile(
                f"{ROOT.path}/{name(number)}",
                "raw",
                f"in/{name(number)}",
                1_048_576,
                ETAG,
                MODIFIED_US,
                None,
                77,
                "0mh3k2v1x0000001",
                "r",
            )
            for number in range(start, min(start + 2000, self._count))
        ]

    def proven_at(self, filesystem: str, paths: Sequence[str]) -> dict[str, ProvenFile]:
        del filesystem, paths
        return {}

    def sent_of(self, *_: object) -> list[Any]:
        return []

    open_of = dead_of = sent_of

    def walk(self, directory: Location, *, after: str, most: int) -> list[FoundFile]:
        del directory
        found: list[FoundFile] = []
        number = _number(after)
        while len(found) < most and number < self._count:
            if not is_missing(number):
                found.append(FoundFile(name(number), 1_048_576, 77, is_special=False))
            number += 1
        return found

    def status(self, locations: Sequence[Location]) -> list[FileStatus | None]:
        return [None] * len(locations)

    @contextmanager
    def session(self, filesystem: str, user: str | None = None) -> Iterator[MadeUp]:
        del filesystem, user
        yield self


def _number(after: str) -> int:
    """Of the first object behind this path."""
    if not after:
        return 0
    directory, _, file = after.partition("/")
    return int(directory[4:]) * IN_A_DIRECTORY + int(file[5:10]) + 1


def main(arguments: list[str]) -> None:
    """Compare, and say what it took."""
    count = int(arguments[0])
    made: Any = MadeUp(count)
    lines = 0

    def report(one: ComparedPath, root: Location) -> None:
        nonlocal lines
        lines += bool(as_json(one, root.filesystem))

    comparison = Comparison(
        route=Route(
            name="r",
            sources=(("raw", "in/"),),
            destinations=(ROOT,),
            event_destination="/landing/{rel_dir}/",
        ),
        options=ReconcileOptions(),
        objects=made,
        store=None,
        reader=made,
        pool=made,
        default_fs="hdfs://nn1:8020",
        now=lambda: NOW,
    )
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    found = comparison.run(report)
    took_s, took_cpu_s = time.perf_counter() - began_s, time.process_time() - began_cpu_s
    assert lines == count, f"{lines} of {count} paths were reported"
    assert found.findings == sum(map(is_missing, range(count))), found.findings
    print(
        json.dumps(
            {
                "seconds": took_s,
                "cpu_s": took_cpu_s,
                "peak_mb": _peak_mb(),
                "findings": found.findings,
            }
        )
    )


def _peak_mb() -> float:
    """Peak RSS of this process; `ru_maxrss` would begin with the size of its parent."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / 1e6


if __name__ == "__main__":
    main(sys.argv[1:])
