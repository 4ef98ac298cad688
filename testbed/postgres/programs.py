"""Programs of PostgreSQL and PgBouncer: the machine's own, else unpacked from Debian's packages.

Unpacked, not installed: an installation would make and start a cluster of its own, and a PgBouncer.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backhaul.testing.servers.errors import ServerUnavailable
from testbed.debian import run, unpacked

# The oldest that a ledger may be on, and the one that tests are about where there are several.
OLDEST, PREFERRED = 12, 15
_INSTALL = "install: apt-get install postgresql pgbouncer"
# Debian keeps a directory for each version, and none of them in PATH.
_SHARED_CACHE = Path("/var/cache/backhaul/testbed")
_VERSIONS = "usr/lib/postgresql/*/bin"


@dataclass(frozen=True, kw_only=True)
class Programs:
    """Where the programs of one package are.

    Attributes:
        directory: With `initdb`, `postgres` and the clients; or with `pgbouncer`.
        libraries: Directories of what only unpacked programs need.
    """

    directory: Path
    libraries: tuple[Path, ...] = ()

    def program(self, name: str) -> str:
        """Path of one of them.

        Raises:
            ServerUnavailable: It is not among them.
        """
        found = shutil.which(name, path=self.directory)
        if found is None:
            raise ServerUnavailable(f"{self.directory} has no {name}; {_INSTALL}")
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        """What the unpacked programs need to find their libraries; only they."""
        if not self.libraries:
            return {}
        return {"LD_LIBRARY_PATH": os.pathsep.join(map(str, self.libraries))}


def postgres_programs() -> Programs:
    """Server and clients of PostgreSQL.

    Safe to call from several processes at once: one fetches, the others wait.

    Raises:
        ServerUnavailable: Neither there nor to be fetched.
    """
    own = _server_below(Path("/"))
    if own is not None:
        return Programs(directory=own)
    postgres = shutil.which("postgres")
    if postgres is not None:
        return Programs(directory=Path(postgres).resolve().parent)
    root = _unpacked("postgresql", _unpacked_server)
    return Programs(directory=_unpacked_server(root), libraries=_libraries(root))


def pgbouncer_programs() -> Programs:
    """PgBouncer.

    Raises:
        ServerUnavailable: As `postgres_programs`.
    """
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin"))
    own = shutil.which("pgbouncer", path=path)
    if own is not None:
        return Programs(directory=Path(own).parent)
    root = _unpacked("pgbouncer", lambda root: _pgbouncer_below(root).program("pgbouncer"))
    return _pgbouncer_below(root)


def _server_below(root: Path) -> Path | None:
    """The directory of the preferred server in Debian's places, else of the newest."""
    found = {
        int(path.parent.name): path
        for path in root.glob(_VERSIONS)
        if re.fullmatch(r"\d+", path.parent.name) and (path / "initdb").is_file()
    }
    fitting = [version for version in found if version >= OLDEST]
    if not fitting:
        return None
    return found[PREFERRED if PREFERRED in fitting else max(fitting)]


def _unpacked_server(root: Path) -> Path:
    found = _server_below(root)
    if found is None:
        raise ServerUnavailable(f"Debian's package postgresql has no server; {_INSTALL}")
    return found


def _unpacked(package: str, check: Callable[[Path], object]) -> Path:
    # Root's own cache is hidden from the user as whom these programs run: see `user`.
    shared = _SHARED_CACHE if os.geteuid() == 0 else None
    return unpacked(package, lambda at: _plan(package, at), check, _INSTALL, cache=shared)


def _pgbouncer_below(root: Path) -> Programs:
    return Programs(directory=root / "usr/sbin", libraries=_libraries(root))


def _plan(package: str, at: Path) -> list[str]:
    """What an installation would bring; libraries that the machine has are not among it."""
    plan = run(
        "apt-get", "-s", "--no-install-recommends", "install", package, at=at, install=_INSTALL
    )
    return [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]


def _libraries(root: Path) -> tuple[Path, ...]:
    return tuple(sorted(path for path in root.glob("**/*-linux-gnu*") if path.is_dir()))
