"""What the bare parts reach when they do nothing else: a process of its own.

`python -m benchmarks.ceiling write URI DIRECTORY SIZES THREADS` only writes to HDFS, `plain` does
so as the client comes, `create` only makes empty files, `python -m benchmarks.ceiling read
BUCKET/PREFIX - SIZES THREADS` only reads from S3. SIZES is a JSON file, name to bytes. Prints
`{"seconds": ...}`, without the interpreter's start. Same clients and write size as Backhaul's, and
but for `plain` same block size, gate and way to close, too; no digest, no look afterwards, no
rename, no ledger.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from hdfs_native import Client, WriteOptions

from backhaul.adapters.aws_common import AwsSession
from backhaul.adapters.hdfs_closing import closer
from backhaul.adapters.s3 import S3Store
from backhaul.adapters.s3_get import ObjectReader
from backhaul.core.model import Pin
from backhaul.engines.native import Tuning
from backhaul.testing.servers.clients import REGION

MIB = 1 << 20
Thing = TypeVar("Thing")


def main(arguments: list[str]) -> None:
    """Do it, time it, remove it."""
    what, where, directory, sizes_file, threads = arguments
    sizes: dict[str, int] = json.loads(Path(sizes_file).read_text("utf-8"))
    if what == "read":
        took_s = _read_s(where, sizes, int(threads))
    else:
        took_s = _write_s(where, directory, sizes, int(threads), what)
    print(json.dumps({"seconds": took_s}))


def _write_s(uri: str, directory: str, sizes: dict[str, int], threads: int, what: str) -> float:
    client = Client(uri)
    client.mkdirs(directory, create_parent=True)
    tuning = Tuning()
    closing = closer(uri, os.environ.get("HADOOP_CONF_DIR"))
    gate = threading.Semaphore(tuning.open_files)
    small_gate = threading.Semaphore(tuning.open_small_files)
    piece = os.urandom(MIB)
    is_plain, is_empty = what == "plain", what == "create"

    def write_plainly(name: str) -> None:
        with client.create(f"{directory}/{name}") as writer:
            for start in range(0, sizes[name], MIB):
                writer.write(piece[: min(MIB, sizes[name] - start)])

    def write(name: str) -> None:
        size = sizes[name]
        options = WriteOptions(block_size=MIB if size <= MIB else None, create_parent=False)
        with small_gate if size <= tuning.small_bytes else gate:
            writer = client.create(f"{directory}/{name}", options)
            for start in range(0, 0 if is_empty else size, MIB):
                writer.write(piece[: min(MIB, size - start)])
        if is_empty or closing is None:
            writer.close()
        else:
            closing.close(f"{directory}/{name}", size, writer.close)

    took_s = _timed(write_plainly if is_plain else write, list(sizes), threads)
    client.delete(directory, recursive=True)
    return took_s


def _read_s(where: str, sizes: dict[str, int], threads: int) -> float:
    bucket, _, prefix = where.partition("/")
    aws = AwsSession(REGION, None)
    store = S3Store(aws)
    endpoint = store.endpoint(bucket)
    step = Tuning().range_bytes
    pins = [pin for page in store.list_pages(bucket, prefix) for pin in page.pins]
    reader = ObjectReader(aws.credentials_spec.load(), threads)

    def read(what: tuple[Pin, tuple[int, int] | None]) -> None:
        pin, byte_range = what
        with reader.get(endpoint, pin, byte_range=byte_range) as body:
            body.readall()

    pieces: list[tuple[Pin, tuple[int, int] | None]] = []
    for pin in pins:
        size = pin.size_bytes
        if size <= Tuning().large_bytes:
            pieces.append((pin, None))
        else:
            pieces += [(pin, (at, min(at + step, size))) for at in range(0, size, step)]
    assert len(pins) == len(sizes)
    return _timed(read, pieces, threads)


def _timed(do: Callable[[Thing], None], things: list[Thing], threads: int) -> float:
    with ThreadPoolExecutor(threads) as pool:
        began_s = time.perf_counter()
        list(pool.map(do, things))
        return time.perf_counter() - began_s


if __name__ == "__main__":
    main(sys.argv[1:])
