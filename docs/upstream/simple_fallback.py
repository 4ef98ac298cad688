"""Whether a client that is to use Kerberos goes on without it.

Usage: python simple_fallback.py hdfs://NAMENODE:PORT

For a NameNode without Kerberos. `ipc.client.fallback-to-simple-auth-allowed` is not set; Hadoop's
own client then refuses such a NameNode. Exit status 0: hdfs-native still goes on.
"""

from __future__ import annotations

import sys

from hdfs_native import Client


def main(uri: str) -> int:
    """Call it."""
    client = Client(uri, {"hadoop.security.authentication": "kerberos"})
    status = client.get_file_info("/")
    print(f"answered without Kerberos: / is {status.owner}'s")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
