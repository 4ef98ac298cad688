"""What the bare parts reach when they do nothing else: a process of its own.

`python -m benchmarks.ceiling write URI DIRECTORY SIZES THREADS` only writes to HDFS, `plain` does
so as the client comes, `create` only makes empty files, `python -m benchmarks.ceiling read
BUCKET/PREFIX - SIZES THREADS` only reads from S3, and `copy BUCKET/PREFIX URI/DIRECTORY SIZES
THREADS` does both. SIZES is a JSON file, name to bytes. Prints `{"seconds": ...}`, without the
interpreter's start and the listing. Same clients and write size as Backhaul's, and but for `plain`
same block size, gate and way to close, too; no digest, no look afterwards, no rename, no ledger.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from hdfs_native import Client, WriteOptions

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.hadoop.hdfs.closing import closer
from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.core.objects import Pin
from backhaul.core.transfer.listing import list_pages
from backhaul.engines.tuning import Tuning
from backhaul.testing.servers.clients import REGION

if TYPE_CHECKING:
    from hdfs_native import FileWriter

MIB = 1 << 20
Thing = TypeVar("Thing")


def main(arguments: list[str]) -> None:
    """Do it, time it, remove it."""
    what, where, directory, sizes_file, threads = arguments
    sizes: dict[str, int] = json.loads(Path(sizes_file).read_text("utf-8"))
    if what == "read":
        took_s = _read_s(where, sizes, int(threads))
    elif what == "copy":
        took_s = _copy_s(where, directory, sizes, int(threads))
    else:
        took_s = _write_s(where, directory, sizes, int(threads), what)
    print(json.dumps({"seconds": took_s}))


def _write_s(uri: str, directory: str, sizes: dict[str, int], threads: int, what: str) -> float:
    target = _Target(uri, directory)
    piece = os.urandom(MIB)

    def pieces(size: int) -> Iterator[bytes]:
        for start in range(0, size, MIB):
            yield piece[: min(MIB, size - start)]

    def write_plainly(name: str) -> None:
        with target.client.create(f"{directory}/{name}") as writer:
            for each in pieces(sizes[name]):
                writer.write(each)

    def write(name: str) -> None:
        target.write(name, sizes[name], pieces(sizes[name]))

    do = {"plain": write_plainly, "create": target.create}.get(what, write)
    took_s = _timed(do, list(sizes), threads)
    target.remove()
    return took_s


def _copy_s(where: str, to: str, sizes: dict[str, int], threads: int) -> float:
    """Small ones whole, larger ones as one answer each, written piece by piece as they come."""
    source = _Source(where, threads)
    parts = urlsplit(to)
    target = _Target(f"{parts.scheme}://{parts.netloc}", parts.path)

    def copy(pin: Pin) -> None:
        name, size = pin.key.removeprefix(source.prefix), pin.size_bytes
        with source.reader.get(source.endpoint, pin) as body:
            target.write(name, size, [body.readall()] if size <= target.small_bytes else body)

    assert len(source.pins) == len(sizes)
    took_s = _timed(copy, source.pins, threads)
    target.remove()
    return took_s


class _Target:
    """A directory of HDFS, with Backhaul's gates and its way to close."""

    def __init__(self, uri: str, directory: str) -> None:
        tuning = Tuning()
        self.client = Client(uri)
        self.client.mkdirs(directory, create_parent=True)
        self.small_bytes = tuning.small_bytes
        self._directory = directory
        self._closing = closer(HdfsCluster(uri, os.environ.get("HADOOP_CONF_DIR")))
        self._gate = threading.Semaphore(tuning.open_files)
        self._small_gate = threading.Semaphore(tuning.open_small_files)

    def create(self, name: str) -> None:
        """An empty file."""
        with self._small_gate:
            writer = self._open(name, 0)
        writer.close()

    def write(self, name: str, size: int, pieces: Iterable[bytes]) -> None:
        """A file of these bytes."""
        with self._small_gate if size <= self.small_bytes else self._gate:
            writer = self._open(name, size)
            for each in pieces:
                writer.write(each)
        if self._closing is None:
            writer.close()
        else:
            self._closing.close(f"{self._directory}/{name}", size, writer.close)

    def _open(self, name: str, size: int) -> FileWriter:
        options = WriteOptions(block_size=MIB if size <= MIB else None, create_parent=False)
        return self.client.create(f"{self._directory}/{name}", options)

    def remove(self) -> None:
        """All of it."""
        self.client.delete(self._directory, recursive=True)


class _Source:
    """The objects below `BUCKET/PREFIX`, listed, and a reader for so many threads."""

    def __init__(self, where: str, threads: int) -> None:
        bucket, _, self.prefix = where.partition("/")
        aws = AwsSession(REGION, None)
        store = S3Store(aws)
        self.endpoint = store.endpoint(bucket)
        self.pins = [pin for page in list_pages(store, bucket, self.prefix) for pin in page.pins]
        self.reader = ObjectReader(aws.credentials, threads)


def _read_s(where: str, sizes: dict[str, int], threads: int) -> float:
    source = _Source(where, threads)
    step = Tuning().range_bytes

    def read(what: tuple[Pin, tuple[int, int] | None]) -> None:
        pin, byte_range = what
        with source.reader.get(source.endpoint, pin, byte_range=byte_range) as body:
            body.readall()

    pieces: list[tuple[Pin, tuple[int, int] | None]] = []
    for pin in source.pins:
        size = pin.size_bytes
        if size <= Tuning().large_bytes:
            pieces.append((pin, None))
        else:
            pieces += [(pin, (at, min(at + step, size))) for at in range(0, size, step)]
    assert len(source.pins) == len(sizes)
    return _timed(read, pieces, threads)


def _timed(do: Callable[[Thing], None], things: list[Thing], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began_s = time.perf_counter()
        list(pool.map(do, things))
        return time.perf_counter() - began_s


if __name__ == "__main__":
    main(sys.argv[1:])
