"""One agent per ledger: locks on its file and beside it, which the kernel drops with a process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from backhaul.adapters.ledger.sqlite.trust import (
    check_trust,
    make_ledger_file,
    opened,
    os_errors,
    real_path,
)
from backhaul.core.errors import LedgerLocked


@contextmanager
def agent_lock(path: Path) -> Iterator[None]:
    """Hold the ledger for the block; the kernel releases it when the process dies.

    Two locks: on `<ledger>.lock`, which names the holder, and on the ledger's own file, which is
    the same one under each of its names. SQLite's locks are of another kind (fcntl), and closing
    the file would drop those of this process: close the ledger before the block ends.

    Raises:
        ConfigurationError: E_CFG_PERMISSIONS, others may change a file that is relied on.
        LedgerLocked: E_LEDGER_IN_USE, another process holds it.
    """
    with ExitStack() as held:
        with os_errors(path, "written"):
            check_trust(path, is_agent=True)
            real = real_path(path)
            real.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            named = held.enter_context(opened(Path(f"{real}.lock"), os.O_RDWR | os.O_CREAT))
            if not _is_locked(named):
                holder = os.read(named, 32).decode("ascii", "replace").strip() or "unknown"
                raise _in_use(path, f"the agent with pid {holder}")
            os.ftruncate(named, 0)
            os.pwrite(named, b"%d\n" % os.getpid(), 0)
            is_new = not real.exists()
            make_ledger_file(real)
            file = held.enter_context(opened(real, os.O_RDONLY))
            if not _is_locked(file):
                raise _in_use(
                    path, f"another agent under another name of the same file ({_holder(file)})"
                )
        try:
            yield
        finally:
            if is_new and os.fstat(file).st_size == 0:
                real.unlink()  # the start failed before there was a ledger


def _is_locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _in_use(path: Path, by: str) -> LedgerLocked:
    return LedgerLocked(
        "E_LEDGER_IN_USE",
        f"{path} is in use by {by}",
        hint="stop that agent; or use another queue and other destinations as well: two ledgers "
        "must not share them",
    )


def _holder(descriptor: int) -> str:
    """`pid 4711`, from the kernel's list of locks (proc_locks(5)); for people."""
    found = os.fstat(descriptor)
    device = f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text("ascii", "replace").splitlines():
            fields = line.split()
            if fields[1:2] == ["FLOCK"] and device in fields:
                return f"pid {fields[4]}"
    return "pid unknown"
