"""An inventory of any size needs the same memory: it is sorted on disk."""

from __future__ import annotations

import hashlib
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.inventories import AT, Report, in_csv, row

pytestmark = pytest.mark.slow
FILES = 4
GROWTH_MAX_MIB = 80  # SQLite's caches, which a small inventory does not fill; in lists it were 240
READ = """
import resource, sys
from datetime import UTC, datetime
from backhaul.adapters.aws.clients import AwsSession
from backhaul.app.inventory import open_inventory
from backhaul.core.transfer.listing import list_objects

aws, now = AwsSession("us-east-1"), datetime(2026, 12, 1, tzinfo=UTC)
with open_inventory(sys.argv[1], aws, None, sources=[("raw", "")], now=now) as found:
    count = sum(len(page) for page in list_objects(found.store, "raw", ""))
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10)
"""


def made(directory: Path, objects: int) -> Path:
    """In no order, over several files."""
    chance = random.Random(objects)

    def rows() -> Iterator[list[str]]:
        for number in chance.sample(range(objects), objects):
            name = hashlib.sha256(b"%d" % number).hexdigest()[:32]
            yield row(f"click/day={number % 100:02}/part-{number:09}.parquet", number, name)

    every = rows()
    share = objects // FILES
    files = {
        f"{AT}/data/{n}.csv.gz": in_csv(next(every) for _ in range(share)) for n in range(FILES)
    }
    return Report(files=files).write(directory)


def read(path: Path) -> tuple[int, int]:
    """Objects, and the most memory of the process in MiB."""
    done = subprocess.run([sys.executable, "-c", READ, str(path)], capture_output=True, check=True)
    count, memory = done.stdout.split()
    return int(count), int(memory)


def test_memory_does_not_grow_with_the_objects(tmp_path: Path) -> None:
    few, little = read(made(tmp_path / "few", 20_000))
    many, more = read(made(tmp_path / "many", 400_000))
    assert (few, many) == (20_000, 400_000)
    assert more - little < GROWTH_MAX_MIB
