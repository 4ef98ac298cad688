"""What the HDFS client reaches when it does nothing but write: a process of its own.

`python -m benchmarks.ceiling URI DIRECTORY FILES SIZE_BYTES THREADS` prints `{"seconds": ...}`,
without the interpreter's start. Same client, block size, gate and write size as Backhaul's; no
source, no digest, no look afterwards, no rename, no ledger.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from hdfs_native import Client, WriteOptions

from backhaul.engines.native import Tuning

MIB = 1 << 20


def main(arguments: list[str]) -> None:
    """Write, time it, remove it."""
    uri, directory = arguments[:2]
    files, size_bytes, threads = (int(one) for one in arguments[2:5])
    client = Client(uri)
    client.mkdirs(directory, create_parent=True)
    tuning = Tuning()
    is_small = size_bytes <= tuning.small_bytes
    gate = threading.Semaphore(tuning.open_small_files if is_small else tuning.open_files)
    piece = os.urandom(min(size_bytes, MIB))
    options = WriteOptions(block_size=MIB if size_bytes <= MIB else None, create_parent=False)

    def write(number: int) -> None:
        with gate:
            writer = client.create(f"{directory}/{number:06d}", options)
            for _ in range(size_bytes // len(piece)):
                writer.write(piece)
        writer.close()

    with ThreadPoolExecutor(threads) as pool:
        began_s = time.perf_counter()
        list(pool.map(write, range(files)))
        took_s = time.perf_counter() - began_s
    client.delete(directory, recursive=True)
    print(json.dumps({"seconds": took_s}))


if __name__ == "__main__":
    main(sys.argv[1:])
