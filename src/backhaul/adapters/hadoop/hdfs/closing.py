"""Closing an HDFS file without the client's half second.

hdfs-native reports to the NameNode that a file is complete, nearly always some milliseconds before
a DataNode has reported the last block. The answer is "not yet", and the client repeats the call
after 500 ms. Here the NameNode is polled in between: as soon as all bytes are in blocks that it
counts as complete, the file's lease is ended (`recoverLease`). That closes the file, and the
client's second call succeeds: the file is closed with its last block.

Ended too early, a lease would cut a file short. So nothing here goes by time: a last block counts
as complete only after the client has completed the file and a DataNode has reported the block.
Whatever is not clear is left to the client, which closes the file by itself a little later.

Source: `FSNamesystem.recoverLease` and `FSDirWriteFileOp.completeFile` of Hadoop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.file_status import files_with_blocks
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    LocatedBlocksProto,
    RecoverLeaseRequestProto,
    RecoverLeaseResponseProto,
)
from backhaul.adapters.hadoop.rpc import ActiveNameNode, NoActiveNameNode, RemoteError

# For a smaller file among many, a thread that costs nothing waits the half second; two more calls
# to the NameNode for each would cost more. One that comes alone is closed early.
LEAST_BYTES = (1 << 20) + 1
FEW = 4
AT_ONCE = 32  # more are closed by the client alone
FIRST_LOOK_S, LONGEST_PAUSE_S = 0.015, 0.25
TIMEOUT_S = 5.0
_HOLDER = "backhaul"


def closer(cluster: HdfsCluster) -> Closer | None:
    """For this file system; None where `rpc` cannot call its NameNodes."""
    namenodes = cluster.direct_namenodes
    return Closer(namenodes) if namenodes else None


class Closer:
    """Closes files; used from many threads.

    Args:
        namenodes: Addresses of the NameNodes of the file system; one of them is active.
    """

    def __init__(self, namenodes: Sequence[tuple[str, int]]) -> None:
        self._namenode = ActiveNameNode(namenodes, TIMEOUT_S)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="close")
        self._free = threading.BoundedSemaphore(AT_ONCE)
        self._counting = threading.Lock()
        self._closing = 0  # files, both ways

    def stop(self) -> None:
        """Forget the connection; waits for calls of the client that still run."""
        self._threads.shutdown(wait=True)
        self._namenode.close()

    def close(self, path: str, size_bytes: int, close: Callable[[], None]) -> None:
        """Return when the NameNode has closed the file.

        Args:
            size_bytes: All that was written to it.
            close: The client's own way. It may still run for half a second afterwards.

        Raises:
            BaseException: What `close` raises before the file is known to be closed.
        """
        with self._counting:
            self._closing += 1
            is_worth_it = size_bytes >= LEAST_BYTES or self._closing <= FEW
        try:
            if size_bytes and is_worth_it and self._free.acquire(blocking=False):
                self._close_early(path, size_bytes, close)
            else:
                close()
        finally:
            with self._counting:
                self._closing -= 1

    def _close_early(self, path: str, size_bytes: int, close: Callable[[], None]) -> None:
        closing = self._threads.submit(close)
        closing.add_done_callback(lambda _: self._free.release())
        if not self._is_closed_early(closing, path, size_bytes):
            closing.result()

    def _is_closed_early(self, closing: Future[None], path: str, size_bytes: int) -> bool:
        pause_s = FIRST_LOOK_S
        while not wait([closing], pause_s).done:
            pause_s = min(LONGEST_PAUSE_S, 1.5 * pause_s)
            try:
                located = self._located(path)
                if located is None or located.fileLength != size_bytes:
                    continue
                if not located.underConstruction:
                    return True
                if located.isLastBlockComplete:
                    return self._end_lease(path)
            except (NoActiveNameNode, RemoteError):
                return False
        return False

    def _located(self, path: str) -> LocatedBlocksProto | None:
        """The file's blocks; None where there is no such file."""
        (status,) = files_with_blocks(self._namenode, [path])
        if isinstance(status, RemoteError):
            raise status
        return None if status is None else status.locations

    def _end_lease(self, path: str) -> bool:
        request = RecoverLeaseRequestProto(src=path, clientName=_HOLDER)
        return self._namenode.call_one("recoverLease", request, RecoverLeaseResponseProto).result
