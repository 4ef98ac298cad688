"""How much room a ledger has to grow into."""

from __future__ import annotations

import os
from dataclasses import dataclass

from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl


@dataclass(frozen=True, kw_only=True)
class DiskSpace:
    """Of the file system that a file is on; `used` is a share, as df has it."""

    free_bytes: int
    used: float


def disk_space(path: LedgerPlace) -> DiskSpace | None:
    """None for a database, whose disk is not known here."""
    if isinstance(path, PostgresUrl):
        return None
    found = os.statvfs(path)
    used = found.f_blocks - found.f_bfree
    usable = used + found.f_bavail
    return DiskSpace(
        free_bytes=found.f_bavail * found.f_frsize, used=used / usable if usable else 0.0
    )
