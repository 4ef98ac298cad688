"""The programs of MIT Kerberos: the machine's own, else unpacked from Debian's packages.

Unpacked, not installed: installing a KDC would start a service and exchange the machine's own
Kerberos libraries.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backhaul.testing.servers.debian import run, unpacked
from backhaul.testing.servers.errors import ServerUnavailable

PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "klist")
_PACKAGES = ("krb5-kdc", "krb5-admin-server", "krb5-user")
_INSTALL = "install: apt-get install krb5-kdc krb5-admin-server krb5-user"
_DIRECTORIES = ("usr/sbin", "usr/bin", "sbin", "bin")


@dataclass(frozen=True)
class Kerberos:
    """Where the programs are.

    Attributes:
        root: Below which Debian's packages are unpacked; None when the machine has them itself.
    """

    root: Path | None

    def program(self, name: str) -> str:
        """Path of one of `PROGRAMS`."""
        found = shutil.which(name, path=self._path)
        if found is None:
            raise ServerUnavailable(f"{name} not found; {_INSTALL}")
        return found

    @property
    def environment(self) -> Mapping[str, str]:
        """What the unpacked programs need to find their libraries; only they."""
        if self.root is None:
            return {}
        return {"LD_LIBRARY_PATH": os.pathsep.join(map(str, self._libraries))}

    @property
    def plugins(self) -> Path | None:
        """The directory with `kdb/`, for kdc.conf and krb5.conf; None: the built-in one."""
        if self.root is None:
            return None
        return next(self.root.glob("usr/lib/*/krb5/plugins"), None)

    @property
    def _path(self) -> str:
        if self.root is None:
            return os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
        return os.pathsep.join(str(self.root / name) for name in _DIRECTORIES)

    @property
    def _libraries(self) -> list[Path]:
        if self.root is None:
            return []
        return sorted(path for path in self.root.glob("**/*-linux-gnu*") if path.is_dir())


def kerberos() -> Kerberos:
    """The programs; Debian's packages are fetched when the machine has them not.

    Safe to call from several processes at once: one fetches, the others wait.

    Raises:
        ServerUnavailable: Neither there nor to be fetched.
    """
    own = Kerberos(None)
    try:
        for name in PROGRAMS:
            own.program(name)
    except ServerUnavailable:
        return Kerberos(_unpacked())
    return own


def _unpacked() -> Path:
    return unpacked("kerberos", _packages, _check, _INSTALL)


def _packages(at: Path) -> list[str]:
    """What an installation would bring or exchange: the programs want libraries of their age."""
    plan = run(
        *("apt-get", "-s", "--no-install-recommends", "install", *_PACKAGES),
        at=at,
        install=_INSTALL,
    )
    return [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]


def _check(root: Path) -> None:
    Kerberos(root).program("krb5kdc")
