"""What the public interface of the Python package has no call or argument for.

Usage: python public_interface.py

Exit status 0: it still has none of them.
"""

from __future__ import annotations

import inspect
import re
import sys

from hdfs_native import Client, WriteOptions
from hdfs_native import FileWriter as Writer

CALLS = {
    "abort of an open file": (Writer, "abort|discard|cancel"),
    "block locations": (Client, "location|block"),
    "checksum of a file": (Client, "checksum"),
    "concat": (Client, "concat"),
    "encryption zone": (Client, "encryption|zone"),
    "erasure coding policy": (Client, "erasure|ec_policy"),
    "extended attributes": (Client, "xattr|attribute"),
    "storage policy": (Client, "storage"),
}
ARGUMENTS = {
    "user of one client": (Client, "user"),
    "sync of closed blocks": (WriteOptions, "sync"),
    "checksum type": (WriteOptions, "checksum"),
}


def main() -> int:
    """Name them."""
    names = {about: dir(owner) for about, (owner, _) in CALLS.items()}
    for about, (owner, _) in ARGUMENTS.items():
        names[about] = list(inspect.signature(owner).parameters)
    has_any = False
    for about, (_, pattern) in (CALLS | ARGUMENTS).items():
        public = [name for name in names[about] if not name.startswith("_")]
        found = [name for name in public if re.search(pattern, name)]
        has_any |= bool(found)
        print(f"{about}: {', '.join(found) or 'none'}")
    return 1 if has_any else 0


if __name__ == "__main__":
    sys.exit(main())
