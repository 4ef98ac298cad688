"""The wheels of requirements/runtime.txt for every Python of `PYTHONS`, by their hashes."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from scripts.packages.release import GLIBC_NEWEST, LOCK, PYTHONS, RELEASE_LOCK

Wheelhouse = dict[str, dict[str, Path]]


def fetch(cache: Path, machine: str) -> Wheelhouse:
    """The wheels by Python version and file name; downloaded once for each lock.

    Raises:
        SystemExit: The lock chooses packages by the Python version, which pip would decide by the
            Python that it runs on.
        subprocess.CalledProcessError: pip failed, and has printed why.
    """
    lock = LOCK.read_text("utf-8")
    if found := re.search(r"^\S+ ; .*python_(full_)?version.*$", lock, re.MULTILINE):
        raise SystemExit(f"one wheelhouse cannot serve all Pythons: {found[0]}")
    platforms = _platforms(machine)

    def download(new: Path) -> None:
        for python in PYTHONS:
            _download(
                LOCK,
                new / python,
                *("--implementation", "cp", "--python-version", python),
                *(part for one in platforms for part in ("--platform", one)),
            )

    place = _kept(cache, f"{lock}{PYTHONS}{platforms}", download)
    return {python: {one.name: one for one in (place / python).iterdir()} for python in PYTHONS}


def fetch_pip(cache: Path) -> Path:
    """Pip's own wheel, at the version of requirements/release.txt."""
    pinned = re.search(r"^pip==(?:.*\\\n)*.*\n", RELEASE_LOCK.read_text("utf-8"), re.MULTILINE)
    if pinned is None:
        raise SystemExit(f"{RELEASE_LOCK.name} has no pip: ./dev lock")

    def download(new: Path) -> None:
        (new / "requirements.txt").write_text(pinned[0], "utf-8")
        _download(new / "requirements.txt", new)

    (wheel,) = _kept(cache, pinned[0], download).glob("pip-*.whl")
    return wheel


def shared_names(wheels: Wheelhouse) -> set[str]:
    """Those that serve every Python: pure ones, and those for its stable interface."""
    return set.intersection(*(set(names) for names in wheels.values()))


def _platforms(machine: str) -> list[str]:
    # pip takes each name as it is; only 2014 and older ones stand for those before them.
    newer = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC_NEWEST, 16, -1)]
    return [*newer, f"manylinux2014_{machine}"]


def _kept(cache: Path, made_from: str, make: Callable[[Path], None]) -> Path:
    """A directory below `cache`; made again when a word of `made_from` has changed."""
    place = cache / hashlib.sha256(made_from.encode()).hexdigest()[:16]
    if not place.is_dir():
        shutil.rmtree(cache, ignore_errors=True)
        new = cache / "new"
        new.mkdir(parents=True)
        make(new)
        new.rename(place)
    return place


def _download(lock: Path, into: Path, *arguments: str) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"),
            *("--only-binary", ":all:", *arguments, "-d", str(into), "-r", str(lock)),
        ],
        check=True,
        stdin=subprocess.DEVNULL,
    )
