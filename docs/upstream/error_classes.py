"""What a NameNode's refusals are in Python.

Usage: python error_classes.py hdfs://NAMENODE:PORT

Provokes refusals that a program has to tell apart. Exit status 0: they still are RuntimeErrors,
whose text alone has the name of the Java class.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from hdfs_native import Client, WriteOptions

DIRECTORY = "/upstream-error-classes"


def main(uri: str) -> int:
    """Show them."""
    client = Client(uri)
    client.mkdirs(DIRECTORY, permission=0o700)
    client.create(f"{DIRECTORY}/file").close()
    os.environ["HADOOP_USER_NAME"] = "somebody-else"
    other = Client(uri)
    small = WriteOptions(block_size=1024)
    refused: list[Callable[[], object]] = [
        lambda: other.mkdirs(f"{DIRECTORY}/new"),
        lambda: client.mkdirs(f"{DIRECTORY}/file/new"),
        lambda: client.create(f"{DIRECTORY}/small", small),
        lambda: client.delete(DIRECTORY),
    ]
    kinds = []
    for call in refused:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - its class is what is shown
            kinds.append(type(error))
            print(f"{kinds[-1].__name__}: {str(error)[:100]}")
    client.delete(DIRECTORY, recursive=True)
    return 0 if kinds == [RuntimeError] * len(refused) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
