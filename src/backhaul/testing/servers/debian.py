"""Programs of Debian's packages, unpacked into the cache of the test bed (see `jars`).

Not installed: that would start services and exchange libraries of the machine. Needs no root, only
apt's lists.
"""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from backhaul.testing.servers.errors import ServerUnavailable
from backhaul.testing.servers.jars import cache_root

_TIMEOUT_S = 300
Names = Callable[[Path], Sequence[str]]


def unpacked(
    name: str,
    packages: Names,
    check: Callable[[Path], object],
    install: str,
    *,
    cache: Path | None = None,
) -> Path:
    """The directory below which they are; fetched once.

    Safe to call from several processes at once: one fetches, the others wait.

    Args:
        name: Of the directory in the cache.
        packages: Called with a directory to work in; the names of the packages to fetch.
        check: Called with the directory before it is kept; raises where something is missing.
        install: For the error: how to get them otherwise.
        cache: Where the directory is made; None: in the testbed's own cache.

    Raises:
        ServerUnavailable: They cannot be fetched.
    """
    ready = (cache or cache_root()) / name
    if ready.is_dir():
        return ready
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise ServerUnavailable(f"no {name} on this machine; {install}")
    ready.parent.mkdir(parents=True, exist_ok=True)
    with ready.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not ready.is_dir():
            _fetch(ready, packages, check, install)
    return ready


def _fetch(ready: Path, packages: Names, check: Callable[[Path], object], install: str) -> None:
    # Next to its final place, so that the rename is one step.
    with tempfile.TemporaryDirectory(prefix=f".{ready.name}-", dir=ready.parent) as scratch:
        fetched, root = Path(scratch, "packages"), Path(scratch, "root")
        fetched.mkdir()
        root.mkdir()
        run("apt-get", "-q", "download", *packages(fetched), at=fetched, install=install)
        for package in sorted(fetched.glob("*.deb")):
            run("dpkg", "-x", str(package), str(root), at=fetched, install=install)
        check(root)
        root.rename(ready)


def run(*command: str, at: Path, install: str) -> str:
    """Its output.

    Raises:
        ServerUnavailable: It failed, or took too long.
    """
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
        raise ServerUnavailable(f"{command[0]} took over {_TIMEOUT_S} s; {install}") from exc
    if done.returncode != 0:
        raise ServerUnavailable(
            f"{' '.join(command[:2])}: status {done.returncode}; {install}\n{done.stderr[-500:]}"
        )
    return done.stdout
