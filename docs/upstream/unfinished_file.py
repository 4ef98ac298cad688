"""What is left of a file whose writer failed.

Usage: python unfinished_file.py hdfs://NAMENODE:PORT

Leaves the `with` block of one file by an exception, and lets the writer of another be collected.
Exit status 0: both files are short, and closed as if they were whole.
"""

from __future__ import annotations

import contextlib
import sys

from hdfs_native import Client

DIRECTORY = "/upstream-unfinished-file"


def main(uri: str) -> int:
    """Show both."""
    client = Client(uri)
    client.mkdirs(DIRECTORY)
    with contextlib.suppress(ConnectionError), client.create(f"{DIRECTORY}/with") as writer:
        writer.write(b"first half")
        raise ConnectionError("the source broke off")
    writer = client.create(f"{DIRECTORY}/collected")
    writer.write(b"first half")
    del writer
    sizes = []
    for name in ("with", "collected"):
        path = f"{DIRECTORY}/{name}"
        client.append(path).close()  # refused while a file is open
        sizes.append(client.get_file_info(path).length)
        print(f"{name}: closed, {sizes[-1]} bytes")
    client.delete(DIRECTORY, recursive=True)
    return 0 if sizes == [len(b"first half")] * 2 else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
