"""What is left of a file that is replaced in an encryption zone by a client without a key server.

Usage: python overwrite_in_zone.py hdfs://NAMENODE:PORT ZONE_DIRECTORY kms://PROVIDER

Writes a file with the key server, then creates it with `overwrite` and without one, which is
refused. Exit status 0: the refused call has removed the file.
"""

from __future__ import annotations

import sys

from hdfs_native import Client, WriteOptions

KEY_PROVIDER = "hadoop.security.key.provider.path"


def main(uri: str, zone: str, provider: str) -> int:
    """Try it."""
    path = f"{zone}/upstream-overwrite-in-zone"
    with Client(uri, {KEY_PROVIDER: provider}).create(path) as writer:
        writer.write(b"the only copy")
    client = Client(uri, {KEY_PROVIDER: ""})
    try:
        client.create(path, WriteOptions(overwrite=True)).close()
    except RuntimeError as error:
        print(f"refused: {error}"[:100])
    try:
        print(f"the file is still there: {client.get_file_info(path).length} bytes")
    except FileNotFoundError:
        print("the file that was there is gone")
        return 0
    client.delete(path)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
