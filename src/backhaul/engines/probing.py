"""Whether the target and S3 answer now: runs in a worker process that was started to find out.

The HDFS client has no time limit, and a mount that hangs has none either, so each side is tried in
a thread of its own and given up after `PROBE_S`; the process is killed afterwards. Reading a status
shows a NameNode alone, and a DataNode that is gone shows only in a write: so one byte is written,
below the transfer's own staging, where epoch 0 belongs to no transfer and every fence removes it.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.ports import TargetFs

PROBE_S = 8.0
# No DataNode took a block, or the one that did dropped the connection: `adapters.hdfs`.
NO_DATANODE = "E_HDFS_OVERLOADED"
NO_EPOCH = 0  # epochs of transfers begin at 1
# As large as a file whose block size is the cluster's own: a small one may still find room.
USUAL_BYTES = 128 << 20


@dataclass(frozen=True, kw_only=True)
class Side:
    """One dependency.

    Attributes:
        dependency: As `OutageError.dependency`.
        code: Of the outage when it gives no answer in time.
        where: For the text.
        check: Raises what is wrong with it.
    """

    dependency: str
    code: str
    where: str
    check: Callable[[], None]


def outages(*sides: Side, timeout_s: float = PROBE_S) -> list[OutageError]:
    """The sides that are down, in order; threads that still hang are left behind."""
    found: dict[int, OutageError] = {}

    def check(number: int, side: Side) -> None:
        with contextlib.suppress(BackhaulError):  # any other refusal is an answer
            try:
                side.check()
            except OutageError as error:
                found[number] = error

    threads = [
        threading.Thread(target=check, args=(number, side), name="probe", daemon=True)
        for number, side in enumerate(sides)
    ]
    for thread in threads:
        thread.start()
    ends_s = time.monotonic() + timeout_s
    for number, (thread, side) in enumerate(zip(threads, sides, strict=True)):
        thread.join(max(0.0, ends_s - time.monotonic()))
        if thread.is_alive():
            text = f"{side.where}: no answer to a probe within {timeout_s:g} s"
            found[number] = OutageError.of(side.dependency, side.code, text)
    return [found[number] for number in sorted(found)]


def check_target(target: TargetFs, root: str | None, dependency: str) -> None:
    """Read a status; then, where staging exists, write one byte.

    Raises:
        OutageError: As the target's; E_TARGET_NO_WRITE: no DataNode takes the byte.
        BackhaulError: The directory refuses files, with its DataNodes up, which is no outage. An
            erasure coding policy may need more DataNodes than the cluster has.
    """
    target.check_reachable()
    if root is None or target.status(root) is None:
        return
    directory = f"{root}/{NO_EPOCH}"
    try:
        _write(target, directory)
    except BackhaulError as error:
        if error.code != NO_DATANODE:
            raise
        raise OutageError.of(
            dependency,
            "E_TARGET_NO_WRITE",
            f"not even a file of one byte could be written: {error.message}",
            hint="check the DataNodes: hdfs dfsadmin -report",
        ) from error
    finally:
        # Left behind when even this fails: the next fence removes it.
        with contextlib.suppress(BackhaulError):
            target.remove(directory)


def _write(target: TargetFs, directory: str) -> None:
    target.mkdir(directory)
    path = f"{directory}/probe"
    target.remove(path)  # of a probe that was killed
    writer = target.create(path, USUAL_BYTES)
    writer.write(b"\0")
    writer.close()
