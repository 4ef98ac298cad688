"""Where large temporary files go: `/tmp` is in memory here and there."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

ON_DISK = Path("/var/tmp")  # noqa: S108 - only private directories and files without a name in it


def spool_directory() -> Path:
    """TMPDIR, else the machine's directory for large temporary files."""
    given = os.environ.get("TMPDIR")
    if given:
        return Path(given)
    return ON_DISK if os.access(ON_DISK, os.W_OK) else Path(tempfile.gettempdir())
