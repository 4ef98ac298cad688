"""How CRC32C is computed: by tables, or by the CPU's instruction.

Usage: python hardware_crc32c.py hdfs://NAMENODE:PORT [MIB]

Needs the package awscrt, which uses the instruction. Prints the CRC crates that the wheel was built
of, and the CPU time of a write beside that of a CRC32C of the same bytes by the instruction.
Exit status 0: the wheel has no crate that uses the instruction.
"""

from __future__ import annotations

import json
import os
import re
import sys
import time
from importlib.metadata import files

from awscrt.checksums import crc32c
from hdfs_native import Client

PATH = "/upstream-hardware-crc32c"
TABLES = {"crc", "crc-catalog"}  # portable Rust


def crates() -> set[str]:
    """All for CRCs, from the wheel's bill of materials."""
    boms = [one for one in files("hdfs-native") or () if re.search(r"sboms/.*\.json$", str(one))]
    parts = [part for bom in boms for part in json.loads(bom.read_text())["components"]]
    return {str(part["name"]) for part in parts if re.match(r"crc", str(part["name"]))}


def main(uri: str, mib: str = "256") -> int:
    """Show both."""
    found = crates()
    print("CRC crates in the wheel:", *sorted(found))
    piece = os.urandom(1 << 20)
    client = Client(uri)
    start = time.process_time()
    with client.create(PATH) as writer:
        for _ in range(int(mib)):
            writer.write(piece)
    write_s = time.process_time() - start
    client.delete(PATH)
    start = time.process_time()
    for _ in range(int(mib)):
        crc32c(piece)
    print(
        f"{mib} MiB: CPU {write_s:.2f} s to write, {time.process_time() - start:.3f} s for CRC32C"
    )
    return 0 if found == TABLES else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
