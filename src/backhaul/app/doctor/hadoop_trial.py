"""What a transfer does on a target, done once in staging with a file of some bytes, and undone.

The root is named by this machine, its ledger and the route, so a later run removes what a killed
one left. Where there is a ledger it knows the root as well, and the agent's sweep removes it. All
of it happens in a worker process: a file system that hangs costs that process alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field

from backhaul.adapters.digests import new_digest
from backhaul.core.errors import BackhaulError, TargetMissing, TransientError
from backhaul.core.model import STAGING_NAME, Location
from backhaul.core.ports import Inherited, Rename, StoredChecksum, TargetPool, TargetSession
from backhaul.core.transfer.write_access import cannot_write

EPOCH = 1
CONTENT = b"backhaul doctor"
# Long enough for a busy NameNode, short enough for a person who waits.
STALL_TIMEOUT_S = 20.0

Noted = Callable[[Location], AbstractContextManager[None]]


@dataclass(kw_only=True)
class Trial:
    """How far it came.

    Attributes:
        existing: The destination, or the nearest directory above it; None: that was not found out.
        step: What was being done last, in words that follow "could not".
        error: Why it ended there; None: all steps were done.
        given: What the directory gives to its files.
        stored: The checksum that the target keeps of the file.
        file: The file that was being written, as long as it may be there.
        ahead_s: By how much the target's clock is ahead of this machine's, at least; 0: it is not.
        diagnosis: What `examine` made of the failure, before anything was removed.
    """

    existing: Location | None = None
    step: str = "reach it"
    error: BackhaulError | None = None
    given: Inherited | None = None
    stored: StoredChecksum | None = None
    file: Location | None = None
    ahead_s: float = 0.0
    diagnosis: tuple[str, ...] = field(default=())


def root_name(*parts: str) -> str:
    """The name of a staging root of the doctor's own: never that of a transfer, which is hex."""
    text = "\0".join(parts).encode("utf-8", "surrogateescape")
    return f"doctor-{hashlib.sha256(text).hexdigest()[:12]}"


@contextmanager
def not_noted(_root: Location) -> Iterator[None]:
    """Where no ledger can remember the root."""
    yield


def try_place(
    pool: TargetPool,
    place: Location,
    user: str | None,
    name: str,
    *,
    noted: Noted = not_noted,
    examine: Callable[[Trial], tuple[str, ...]] = lambda _trial: (),
    now_s: Callable[[], float] = time.time,
) -> Trial:
    """Make, write, close, compare, rename and remove; nothing is left, whatever fails.

    Args:
        user: `run_as` of the route.
        name: Of the staging root.
        noted: Has the ledger remember the root meanwhile.
        examine: Called after a failure while the file may still be there.
    """
    trial = Trial()
    for _ in range(2):  # a sweep or another doctor may remove the root under the first one
        trial = Trial()
        try:
            _steps(pool, place, user, name, trial, noted, examine, now_s)
        except BackhaulError as error:
            trial.error = error
        if not isinstance(trial.error, TargetMissing):
            break
    return trial


def _steps(
    pool: TargetPool,
    place: Location,
    user: str | None,
    name: str,
    trial: Trial,
    noted: Noted,
    examine: Callable[[Trial], tuple[str, ...]],
    now_s: Callable[[], float],
) -> None:
    with pool.session(place.filesystem, user) as session:
        existing, refused = session.write_access(place)
        trial.existing = existing
        trial.step = "make names in it"
        if (denied := cannot_write(place, existing, refused)) is not None:
            raise denied
        (trial.given,) = session.inherited([existing])
    root = existing.join(f"{STAGING_NAME}/{name}")
    with noted(root):
        try:
            with pool.session(place.filesystem, user) as session:
                session.remove_staging(root)  # of a doctor that was killed
                _write(session, root, trial, now_s)
                trial.step = "remove it again"
                session.remove_staging(root)
                (left,) = session.status([root])
                if left is not None:
                    text = f"{root.uri} is still there after its removal"
                    raise TransientError("E_DST_IO", text)
                trial.step = ""
        except BackhaulError as error:
            trial.error = error
            trial.diagnosis = examine(trial)
            # In a session of its own: the first one's worker may hang.
            with contextlib.suppress(BackhaulError), pool.session(place.filesystem, user) as again:
                again.remove_staging(root)
            raise


def _write(
    session: TargetSession, root: Location, trial: Trial, now_s: Callable[[], float]
) -> None:
    trial.step = "make a directory"
    session.fence(root, EPOCH)
    trial.step = "write and close a file"
    directory = root.join(str(EPOCH))
    trial.file = directory.join("written.part")  # the name under which `write_whole` writes
    began_s = now_s()
    session.write_whole(directory.join("written"), CONTENT)
    ended_s = now_s()
    trial.step = "get its stored checksum"
    (trial.stored,) = session.stored_checksums([directory.join("written")])
    if trial.stored is None or trial.stored.size_bytes not in {None, len(CONTENT)}:
        raise TransientError("E_DST_IO", f"{directory.uri}: the file is not as it was written")
    _check_sum(directory, trial.stored)
    trial.step = "rename it"
    final = directory.join("renamed")
    session.publish_files([Rename(source=directory.join("written"), target=final)], replace=False)
    (status,) = session.status([final])
    if status is None:
        raise TransientError("E_DST_IO", f"{final.uri} is not there after the rename to it")
    modified_s = status.modified_ms / 1000
    trial.ahead_s = min(0.0, modified_s - began_s) or max(0.0, modified_s - ended_s)


def _check_sum(directory: Location, stored: StoredChecksum) -> None:
    if stored.checksum is None:
        return
    digest = new_digest(stored.checksum.algorithm)
    digest.update(CONTENT)
    if digest.digest().hex() != stored.checksum.hex:
        text = f"{directory.uri}: the stored checksum is not that of what was written"
        raise TransientError("E_DST_IO", text)
