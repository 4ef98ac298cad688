"""What a file's checksum costs: HDFS has it, and hdfs-native has no call for it.

Usage: python block_checksum.py hdfs://NAMENODE:PORT [MIB]

Needs Hadoop's `hdfs` on PATH, and the package awscrt. Writes a file, and proves that HDFS holds the
bytes: by reading them back, all that hdfs-native allows, and by Hadoop's `COMPOSITE_CRC`, for which
a DataNode sends some bytes for each block. A second file shows that `dfs.checksum.type` is not
read. Exit status 0: there is still no call, and the property is still not read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from awscrt.checksums import crc32c
from hdfs_native import Client

DIRECTORY = "/upstream-block-checksum"


def by_command(uri: str, *paths: str) -> list[tuple[str, int]]:
    """Algorithm and value of each file."""
    combine = "-Ddfs.checksum.combine.mode=COMPOSITE_CRC"
    done = subprocess.run(
        ["hdfs", "dfs", combine, "-checksum", *(f"{uri}{path}" for path in paths)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    fields = [line.split("\t") for line in done.stdout.splitlines()]
    return [(algorithm, int(value, 16)) for _, algorithm, value in fields]


def main(uri: str, mib: str = "256") -> int:
    """Compare both."""
    calls = [name for name in dir(Client) if "checksum" in name.lower()]
    print("calls of hdfs_native.Client for a checksum:", calls or "none")
    paths = [f"{DIRECTORY}/{name}" for name in ("default", "crc32")]
    clients = [Client(uri), Client(uri, {"dfs.checksum.type": "CRC32"})]
    data = os.urandom(int(mib) << 20)
    clients[0].mkdirs(DIRECTORY)
    for client, path in zip(clients, paths, strict=True):
        with client.create(path) as writer:
            writer.write(data)

    start, read_back = time.monotonic(), 0
    reader = clients[0].read(paths[0])
    for piece in reader.read_range_stream(0, len(reader)):
        read_back = crc32c(piece, read_back)
    print(f"read back: {read_back:08x}, {time.monotonic() - start:.2f} s for {mib} MiB")

    start = time.monotonic()
    (algorithm, value), (of_crc32, _) = by_command(uri, *paths)
    print(f"asked for: {value:08x}, {time.monotonic() - start:.2f} s with the start of a JVM")
    print(f"written with dfs.checksum.type = CRC32: {of_crc32}")
    clients[0].delete(DIRECTORY, recursive=True)
    is_equal = value == read_back == crc32c(data)
    return 0 if not calls and is_equal and of_crc32 == algorithm == "COMPOSITE-CRC32C" else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
