"""The private tree: a virtual environment for several Pythons, made of unpacked wheels.

    pyvenv.cfg                         home = /usr/bin
    bin/python3.11 -> /usr/bin/python3.11, and so on; those that the machine lacks lead nowhere
    lib/shared                         what serves every Python
    lib/python3.11/site-packages       what serves this one, and `shared.pth`, which adds lib/shared

So nothing is installed where it is used, and a distribution that changes its Python from one of
them to another needs no new package.
"""

from __future__ import annotations

import hashlib
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path

from scripts.packages.release import PYTHONS
from scripts.packages.wheelhouse import Wheelhouse, shared_names


def build(tree: Path, wheels: Wheelhouse, own: Path) -> None:
    """Make it at `tree`, which must not exist; `own` is Backhaul's wheel.

    Raises:
        SystemExit: A wheel that wants more than to be unpacked.
    """
    shared = shared_names(wheels)
    everywhere = next(iter(wheels.values()))
    _unpack([own, *(everywhere[name] for name in shared)], tree / "lib" / "shared")
    for python in PYTHONS:
        site = tree / "lib" / f"python{python}" / "site-packages"
        _unpack([path for name, path in wheels[python].items() if name not in shared], site)
        (site / "shared.pth").write_text("../../shared\n", "utf-8")
        program = tree / "bin" / f"python{python}"
        program.parent.mkdir(exist_ok=True)
        program.symlink_to(f"/usr/bin/python{python}")
    configuration = "home = /usr/bin\ninclude-system-site-packages = false\n"
    (tree / "pyvenv.cfg").write_text(configuration, "utf-8")


def _unpack(wheels: Iterable[Path], into: Path) -> None:
    into.mkdir(parents=True)
    for path in sorted(wheels):
        with zipfile.ZipFile(path) as wheel:
            for name in wheel.namelist():
                _, data, rest = name.partition(".data/")
                if not data:
                    wheel.extract(name, into)
                elif not rest.startswith("scripts/"):  # commands of libraries, which nobody runs
                    raise SystemExit(f"{path.name} has {name}, which only an installer can place")


def normalise(place: Path, epoch_s: int) -> None:
    """Give every file one time, and modes that do not depend on the builder's umask."""
    for path in [place, *place.rglob("*")]:
        if not path.is_symlink():
            is_program = path.is_dir() or path.stat().st_mode & 0o100
            path.chmod(0o755 if is_program else 0o644)
        os.utime(path, (epoch_s, epoch_s), follow_symlinks=False)


def digest(tree: Path) -> str:
    """Eight hexadecimal digits over names, modes and contents of all files."""
    total = hashlib.sha256()
    for path in sorted(tree.rglob("*")):
        kind = path.lstat().st_mode
        content = b""
        if path.is_symlink():
            content = os.fsencode(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).digest()
        total.update(f"{path.relative_to(tree)}\0{kind:o}\0".encode() + content)
    return total.hexdigest()[:8]
