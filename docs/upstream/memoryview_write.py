"""How much longer `write` takes for a memoryview than for the same bytes.

Usage: python memoryview_write.py hdfs://NAMENODE:PORT [ROUNDS]

Only `write` is timed, of 16 MiB, in turn. Exit status 0: a memoryview takes twice as long at least.
"""

from __future__ import annotations

import os
import statistics
import sys
import time

from hdfs_native import Client

PATH = "/upstream-memoryview-write"
TWICE = 2


def write_s(client: Client, data: bytes | memoryview) -> float:
    """CPU seconds of this process for one call."""
    with client.create(PATH) as writer:
        start = time.process_time()
        writer.write(data)
        took_s = time.process_time() - start
    client.delete(PATH)
    return took_s


def main(uri: str, rounds: str = "5") -> int:
    """Compare both."""
    client = Client(uri)
    data = os.urandom(16 << 20)
    pairs = [(write_s(client, data), write_s(client, memoryview(data))) for _ in range(int(rounds))]
    for plain_s, view_s in pairs:
        print(f"bytes {plain_s:.3f} CPU-s, memoryview {view_s:.3f}: {view_s / plain_s:.1f} times")
    return 0 if statistics.median(view_s / plain_s for plain_s, view_s in pairs) >= TWICE else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
