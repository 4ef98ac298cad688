"""The offline bundle: wheels for every Python, `install.sh`, and hashes of everything."""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
from pathlib import Path

from scripts.packages.release import LINUX, LOCK, Release
from scripts.packages.tree import normalise
from scripts.packages.wheelhouse import Wheelhouse


def build(
    work: Path, out: Path, release: Release, wheels: Wheelhouse, *, own: Path, pip: Path
) -> Path:
    """Write it to `out`; `own` is Backhaul's wheel, `pip` the one that installs on the machine."""
    name = f"backhaul-{release.version}-linux-{release.machine}"
    place = work / name
    (place / "wheels").mkdir(parents=True)
    for path in [own, pip, *(one for each in wheels.values() for one in each.values())]:
        shutil.copyfile(path, place / "wheels" / path.name)
    shutil.copytree(work / "share", place / "share")
    text = (LINUX / "install.sh").read_text("utf-8").replace("@VERSION@", release.version)
    (place / "install.sh").write_text(text, "utf-8")
    (place / "install.sh").chmod(0o755)
    pinned = f"backhaul=={release.version} --hash=sha256:{_sha256(own)}\n"
    (place / "requirements.txt").write_text(LOCK.read_text("utf-8") + pinned, "utf-8")
    files = sorted(path for path in place.rglob("*") if path.is_file())
    sums = "".join(f"{_sha256(path)}  {path.relative_to(place)}\n" for path in files)
    (place / "SHA256SUMS").write_text(sums, "utf-8")
    normalise(place, release.epoch_s)
    made = out / f"{name}.tar.gz"
    _pack(place, made, release.epoch_s)
    return made


def _pack(place: Path, made: Path, epoch_s: int) -> None:
    # Wheels are compressed already, so that the quickest level serves as well as the best.
    with (
        made.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=epoch_s) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        for path in [place, *sorted(place.rglob("*"))]:
            archive.add(path, path.relative_to(place.parent), recursive=False, filter=_nobodys)


def _nobodys(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = "root"
    return entry


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
