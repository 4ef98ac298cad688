"""Programs of PostgreSQL: the machine's own, else unpacked from Debian's packages.

Unpacked, not installed: an installation would make and start a cluster of its own.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from backhaul.testing.servers.debian import run, unpacked
from backhaul.testing.servers.errors import ServerUnavailable

# The oldest that a ledger may be on, and the one that tests are about where there are several.
OLDEST, PREFERRED = 12, 15
_INSTALL = "install: apt-get install postgresql, or dnf install postgresql-server"
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
            raise ServerUnavailable(f"{self.directory} has no {name}; install its package anew")
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
    root = fetched("postgresql", _unpacked_server, _INSTALL)
    return Programs(directory=_unpacked_server(root), libraries=libraries(root))


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


def fetched(package: str, check: Callable[[Path], object], install: str) -> Path:
    """The directory below which this package of Debian's is, with what it needs; see `unpacked`.

    Raises:
        ServerUnavailable: As `postgres_programs`.
    """
    # Root's own cache is hidden from the user as whom these programs run: see `user`.
    shared = _SHARED_CACHE if os.geteuid() == 0 else None
    return unpacked(package, lambda at: _plan(package, at, install), check, install, cache=shared)


def libraries(root: Path) -> tuple[Path, ...]:
    """Directories of the libraries that were unpacked below `root`."""
    return tuple(sorted(path for path in root.glob("**/*-linux-gnu*") if path.is_dir()))


def _plan(package: str, at: Path, install: str) -> list[str]:
    """What an installation would bring; libraries that the machine has are not among it."""
    plan = run(
        "apt-get", "-s", "--no-install-recommends", "install", package, at=at, install=install
    )
    return [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
