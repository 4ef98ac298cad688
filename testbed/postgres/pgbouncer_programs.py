"""Program of PgBouncer: the machine's own, else unpacked, as PostgreSQL's are."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from backhaul.testing.servers.postgres.programs import Programs, fetched, libraries

_INSTALL = "install: apt-get install pgbouncer"


def pgbouncer_programs() -> Programs:
    """PgBouncer.

    Raises:
        ServerUnavailable: Neither there nor to be fetched.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    own = shutil.which("pgbouncer", path=path)
    if own is not None:
        return Programs(directory=Path(own).parent)
    root = fetched("pgbouncer", lambda root: _below(root).program("pgbouncer"), _INSTALL)
    return _below(root)


def _below(root: Path) -> Programs:
    return Programs(directory=root / "usr/sbin", libraries=libraries(root))
