"""Probes of a mounted file system beside the trial: whether it is mounted, and its room.

In this process, and only after a worker has written there: a mount that hangs would hold it up.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from backhaul.app.doctor.finding import Finding, State
from backhaul.app.start import not_there as start_not_there
from backhaul.core.model import Location
from backhaul.core.text import printable
from backhaul.core.units import human_bytes

FSTAB = Path("/etc/fstab")
LEAST_SHARE = 0.05  # of the space, or of the inodes
LEAST_BYTES = 1 << 30


def missing_mount(place: Location, route: str) -> Iterator[Finding]:
    """A mount point of fstab at or above the destination, without its mount.

    By the kernel's own list: nothing is touched that could hang.
    """
    mounted = _mounted()
    for point in _wanted():
        at = point.rstrip("/") or "/"
        if at != "/" and f"{place.path}/".startswith(f"{at}/") and at not in mounted:
            text = f"{FSTAB} has a mount at {printable(at)}, and nothing is mounted there"
            fix = (
                f"mount {quote(at)}",
                f"RequiresMountsFor={quote(at)} by `systemctl edit backhaul`",
            )
            yield Finding(
                "target.mount", _shown(place), State.FAILED, text, "E_DST_AWAY", fix, route
            )


def not_there(place: Location, existing: Location, route: str) -> Iterator[Finding]:
    """The destination does not exist yet: a missing mount looks like this."""
    if existing == place:
        return
    warned = start_not_there(route, place, existing)
    text = warned.reason.removeprefix(f"route {route}: ")
    path = quote(printable(place.path, 4096))
    fix = (
        "findmnt    # if it belongs on a mount, that one is missing: mount it, and write",
        f"RequiresMountsFor={path} by `systemctl edit backhaul`",
        f"mkdir -p {path}    # otherwise, once: then this line is gone",
    )
    yield Finding("target.mount", _shown(place), State.WARNING, text, warned.code, fix, route)


def room(existing: Location, route: str) -> Iterator[Finding]:
    """Free space and free inodes, where they are nearly used up."""
    found = os.statvfs(existing.path)
    path, shown = quote(printable(existing.path, 4096)), _shown(existing)
    free, total = found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize
    if total and (free < LEAST_SHARE * total or free < LEAST_BYTES):
        text = f"{human_bytes(free)} of {human_bytes(total)} are free"
        fix = (f"df -h {path}", f"du -xsh {path}/* | sort -h    # what fills it")
        yield Finding("target.space", shown, State.WARNING, text, "E_DST_FULL", fix, route)
    if found.f_files and found.f_favail < LEAST_SHARE * found.f_files:
        text = f"{found.f_favail:,} of {found.f_files:,} inodes are free: each file needs one"
        yield Finding(
            "target.inodes", shown, State.WARNING, text, "E_DST_FULL", inodes(path), route
        )


def full(existing: Location) -> tuple[str, tuple[str, ...]]:
    """The check and the fix of a write that found no room."""
    path = quote(printable(existing.path, 4096))
    found = os.statvfs(existing.path)
    if found.f_files and not found.f_favail:
        return "target.inodes", inodes(path)
    fix = (
        f"df -h {path}",
        f"du -xsh {path}/* | sort -h    # what fills it",
        f"quota -s; df -i {path}",
    )
    return "target.space", fix


def inodes(path: str) -> tuple[str, ...]:
    """What to do where no file can be made although there is space."""
    return (
        f"df -i {path}",
        f"du --inodes -xs {path}/* | sort -n    # where the many small files are",
    )


def _wanted() -> list[str]:
    """The mount points of fstab that are mounted at boot."""
    try:
        lines = FSTAB.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    rows = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return [
        row[1].replace("\\040", " ")
        for row in rows
        if len(row) >= 4 and row[2] != "swap" and "noauto" not in row[3].split(",")  # noqa: PLR2004 - fields of fstab
    ]


def _mounted() -> set[str]:
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return set(_wanted())  # not known: then nothing is missing
    return {line.split()[1].replace("\\040", " ") for line in lines if " " in line}


def _shown(place: Location) -> str:
    return printable(place.uri, 1000)
