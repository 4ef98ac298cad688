"""The packages as files: built when they are missing or old, and read."""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OUT = ROOT / "build" / "packages"
SOURCES = ("src", "packaging", "scripts", "requirements", "pyproject.toml", "dev", "CHANGELOG.md")


@dataclass(frozen=True)
class Packages:
    """What `./dev package` made."""

    deb: Path
    rpm: Path
    bundle: Path

    @classmethod
    def below(cls, place: Path) -> Packages:
        """The three files of a directory."""
        (deb,), (rpm,), (bundle,) = (place.glob(one) for one in ("*.deb", "*.rpm", "*.tar.gz"))
        return cls(deb, rpm, bundle)


def need(*programs: str) -> None:
    """Skip where one of them is missing; in CI that is a failure."""
    missing = [one for one in programs if shutil.which(one) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")


def unavailable(why: str) -> None:
    if os.environ.get("CI"):
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def run(*command: str | Path, status: int = 0, environment: Mapping[str, str] | None = None) -> str:
    """Both outputs of a command that must end with this status; `environment` is added."""
    done = subprocess.run(
        [str(one) for one in command],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == status, f"{command}: {done.returncode}\n{done.stdout[-3000:]}"
    return done.stdout


def current() -> Packages:
    """Those of this source; one process builds, the others wait."""
    OUT.parent.mkdir(exist_ok=True)
    with (OUT.parent / ".packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_current():
            run(ROOT / "dev", "package")
    return Packages.below(OUT)


def _is_current() -> bool:
    sums = OUT / "SHA256SUMS"
    if not sums.is_file():
        return False
    files = [path for name in SOURCES for path in [ROOT / name, *(ROOT / name).rglob("*")]]
    newest = max(p.stat().st_mtime for p in files if p.is_file() and p.suffix != ".pyc")
    return newest < sums.stat().st_mtime


def wheel_of_version(version: str, work: Path) -> Path:
    """Backhaul's wheel as another version would have it."""
    source = work / "source"
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copyfile(ROOT / name, source / name)
    mine = (ROOT / "src/backhaul/__init__.py").read_text("utf-8").partition('__version__ = "')[2]
    mine = mine.partition('"')[0]
    for name in ("pyproject.toml", "src/backhaul/__init__.py"):
        text = (source / name).read_text("utf-8")
        (source / name).write_text(
            text.replace(f'version = "{mine}"', f'version = "{version}"').replace(
                f'__version__ = "{mine}"', f'__version__ = "{version}"'
            ),
            "utf-8",
        )
    home = ROOT / "build" / "packaging" / "bin"
    run(
        *(home / "python", "-m", "build", "--wheel", "--no-isolation"),
        *("--outdir", work / "wheel", source),
        environment={"PATH": f"{home}{os.pathsep}{os.environ['PATH']}"},
    )
    (wheel,) = (work / "wheel").glob("*.whl")
    return wheel


def build(wheel: Path, out: Path, umask: int = 0o022, **environment: str) -> Packages:
    """Packages of this wheel, by what `./dev package` calls."""
    python = ROOT / "build" / "release" / "bin" / "python"
    before = os.umask(umask)
    try:
        run(
            *(python, "-m", "scripts.packages", "--wheel", wheel),
            *("--sbom", ROOT / "build" / "sbom.json"),
            *("--cache", ROOT / "build" / "package-cache", "--out", out),
            environment={"PYTHONPATH": str(ROOT), **environment},
        )
    finally:
        os.umask(before)
    return Packages.below(out)


@dataclass(frozen=True)
class Entry:
    """One file of a package; `content` is a link's target for a link."""

    mode: int
    owner: str
    content: bytes
    time_s: float


def deb_entries(deb: Path) -> dict[str, Entry]:
    """By absolute path."""
    packed = subprocess.run(
        ["dpkg-deb", "--fsys-tarfile", str(deb)], check=True, capture_output=True
    ).stdout
    return _entries(io.BytesIO(packed))


def bundle_entries(bundle: Path) -> dict[str, Entry]:
    """By path below the bundle's directory, which is `/`."""
    found = _entries(io.BytesIO(subprocess.check_output(["gzip", "-dc", str(bundle)])))
    return {"/" + name[1:].partition("/")[2]: entry for name, entry in found.items()}


def _entries(packed: io.BytesIO) -> dict[str, Entry]:
    found = {}
    with tarfile.open(fileobj=packed) as archive:
        for one in archive:
            reader = archive.extractfile(one) if one.isreg() else None
            content = reader.read() if reader is not None else one.linkname.encode()
            name = "/" + one.name.removeprefix(".").strip("/")
            owner = f"{one.uname}:{one.gname}"
            found[name] = Entry(one.mode, owner, content, one.mtime)
    return found
