"""Probes of this machine: room on its disks, limits, versions, the systemd unit."""

from __future__ import annotations

import os
import platform
import re
import resource
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from backhaul import __version__
from backhaul.access import is_there, may_write, mount_point, refusal, user_name
from backhaul.app.doctor.context import DoctorContext
from backhaul.app.doctor.finding import Finding, State
from backhaul.app.doctor.fixes import place_of_its_own
from backhaul.core.errors import ExitCode
from backhaul.core.units import human_bytes
from backhaul.settings.model import in_home

FULL_BYTES, LOW_BYTES = 100 << 20, 1 << 30
FULL_INODES, LOW_INODES = 100, 10_000
OPEN_FILES = 4096  # a slot has up to 256 files open, and as many connections
GLIBC = (2, 28)
_UNITS = (
    Path("/etc/systemd/system/backhaul.service"),
    Path("/lib/systemd/system/backhaul.service"),
    Path("/usr/lib/systemd/system/backhaul.service"),
)
_USER = re.compile(r"^User=(\S+)", re.MULTILINE)


def room(context: DoctorContext) -> Iterator[Finding]:
    """Bytes and inodes where the ledger and the log are."""
    places = {"the ledger": context.settings.ledger_path}
    if context.settings.log.file is not None:
        places["the log"] = in_home(context.settings.log.file)
    seen: set[str] = set()
    for what, path in places.items():
        directory = _existing(path.absolute())
        where = mount_point(os.path.realpath(directory))
        if where not in seen:
            seen.add(where)
            yield from _room_on(where, what)


def _existing(path: Path) -> Path:
    while not path.is_dir() and path != path.parent:
        path = path.parent
    return path


def _room_on(where: str, what: str) -> Iterator[Finding]:
    found = os.statvfs(where)
    free_bytes = found.f_bavail * found.f_frsize
    text = f"{human_bytes(free_bytes)} are free for {what}"
    fix = (f"df -h {quote(where)}", f"du -xh --max-depth=1 {quote(where)} | sort -h | tail")
    yield _judged("disk.space", where, text, fix, free_bytes, FULL_BYTES, LOW_BYTES)
    if not found.f_files:
        return  # a file system without a fixed number of inodes
    text = f"{found.f_favail:,} inodes are free for {what}"
    fix = (f"df -i {quote(where)}", "remove files: each takes an inode, whatever its size")
    yield _judged("disk.inodes", where, text, fix, found.f_favail, FULL_INODES, LOW_INODES)


def _judged(
    check: str, where: str, text: str, fix: tuple[str, ...], free: int, full: int, low: int
) -> Finding:
    if free >= low:
        return Finding(check, where, State.OK, text)
    if free >= full:
        return Finding(check, where, State.WARNING, text, fix=fix)
    return Finding(check, where, State.FAILED, f"{text}: transfers will be held", fix=fix)


def log_file(context: DoctorContext) -> Iterator[Finding]:
    """Whether the log can be written."""
    if context.settings.log.file is None:
        return
    path = in_home(context.settings.log.file)
    target = path if is_there(path) else _existing(path.absolute())
    if may_write(target):
        yield Finding("log.file", str(path), State.OK, "the log can be written")
        return
    message, hint = refusal(path, "written")
    yield Finding(
        "log.file",
        str(path),
        State.FAILED,
        message,
        fix=(*_giving_log(path), *hint.splitlines()),
        exit_code=ExitCode.CONFIGURATION,
    )


def _giving_log(path: Path) -> tuple[str, ...]:
    """Lets this user write the log; a directory that may be others', such as /var/log, stays."""
    if is_there(path):
        return (f"sudo chown {user_name()} {quote(str(path))}",)
    return place_of_its_own(path, "log.file")


def open_files(_context: DoctorContext) -> Iterator[Finding]:
    """The limit of this process; that of a service is in its unit."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit >= OPEN_FILES:
        yield Finding("limits.open_files", "", State.OK, "enough files may be open")
        return
    yield Finding(
        "limits.open_files",
        "",
        State.WARNING,
        f"here {limit:,} files may be open, and a busy agent opens more",
        fix=("in a shell: ulimit -n 65536", "in the unit: LimitNOFILE=65536"),
    )


def versions(_context: DoctorContext) -> Iterator[Finding]:
    """Of what runs here."""
    library, number = platform.libc_ver()
    text = (
        f"Backhaul {__version__}, Python {platform.python_version()}, {library or 'C library'} "
        f"{number or 'unknown'}, SQLite {sqlite3.sqlite_version}, Linux {platform.release()}"
    )
    is_old = library == "glibc" and _as_numbers(number) < GLIBC
    if not is_old:
        yield Finding("system.versions", sys.executable, State.OK, text)
        return
    yield Finding(
        "system.versions",
        sys.executable,
        State.FAILED,
        f"{text}: glibc {GLIBC[0]}.{GLIBC[1]} or newer is needed",
        fix=("run the agent on Enterprise Linux 8, Debian 10, or newer",),
        exit_code=ExitCode.CONFIGURATION,
    )


def _as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def unit(context: DoctorContext) -> Iterator[Finding]:
    """Where there is a service, what is probed as another user may differ for it."""
    path = next((one for one in _UNITS if is_there(one)), None)
    if path is None:
        return
    try:
        found = _USER.search(path.read_text("utf-8", "replace"))
    except OSError:
        return
    user = found[1] if found else "root"
    if user == user_name():
        yield Finding("system.unit", str(path), State.OK, f"it runs as {user}, as this does")
        return
    yield Finding(
        "system.unit",
        str(path),
        State.WARNING,
        f"it runs as {user}, and this is {user_name()}: files, keys and Kerberos may differ",
        fix=(context.as_user(user),),
    )


PROBES = (versions, open_files, room, log_file, unit)
