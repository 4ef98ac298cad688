"""The programs of MIT Kerberos: the machine's own, else unpacked from Debian's packages.

Unpacked into the cache of the test bed (see `jars`), not installed: installing a KDC would start a
service and exchange the machine's own Kerberos libraries. Needs no root, only apt's lists.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from backhaul.testing.servers.errors import ServerUnavailable
from backhaul.testing.servers.jars import cache_root

PROGRAMS = ("krb5kdc", "kdb5_util", "kadmin.local", "kinit", "klist")
_PACKAGES = ("krb5-kdc", "krb5-admin-server", "krb5-user")
_INSTALL = "install: apt-get install krb5-kdc krb5-admin-server krb5-user"
_DIRECTORIES = ("usr/sbin", "usr/bin", "sbin", "bin")
_TIMEOUT_S = 300


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
    ready = cache_root() / "kerberos"
    if ready.is_dir():
        return ready
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ServerUnavailable(f"no Kerberos KDC on this machine; {_INSTALL}")
    ready.parent.mkdir(parents=True, exist_ok=True)
    with ready.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_dir():
            _fetch(ready)
    return ready


def _fetch(ready: Path) -> None:
    # Next to its final place, so that the rename is one step.
    with tempfile.TemporaryDirectory(prefix=".kerberos-", dir=ready.parent) as scratch:
        packages, root = Path(scratch, "packages"), Path(scratch, "root")
        packages.mkdir()
        root.mkdir()
        # What an installation would bring or exchange: the programs want libraries of their age.
        plan = _run("apt-get", "-s", "--no-install-recommends", "install", *_PACKAGES, at=packages)
        names = [line.split()[1] for line in plan.splitlines() if line.startswith("Inst ")]
        _run("apt-get", "-q", "download", *names, at=packages)
        for package in sorted(packages.glob("*.deb")):
            _run("dpkg", "-x", str(package), str(root), at=packages)
        Kerberos(root).program("krb5kdc")
        root.rename(ready)


def _run(*command: str, at: Path) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=at,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as exc:
        raise ServerUnavailable(f"{command[0]} took over {_TIMEOUT_S} s; {_INSTALL}") from exc
    if done.returncode != 0:
        raise ServerUnavailable(
            f"{' '.join(command[:2])}: status {done.returncode}; {_INSTALL}\n{done.stderr[-500:]}"
        )
    return done.stdout
