"""Closing an HDFS file without the client's half second.

The client tells the NameNode that a file is complete, nearly always some milliseconds before a
DataNode has told it of the last block. The answer is "not yet", and the client asks again after
500 ms, whatever happens meanwhile. Here the NameNode is looked at in between: as soon as all bytes
are in blocks that it counts as complete, the file's lease is ended (`recoverLease`). That closes
the file, and the client's second question is answered yes: it finds it closed with its last block.

Ended too early, a lease would cut a file short. So nothing here goes by time: a last block counts
as complete only after the client has said that nothing more comes and a DataNode has reported it.
Whatever is not clear is left to the client, which closes the file by itself a little later.

For clusters without Kerberos, as all of `namenode_rpc`. Source: `FSNamesystem.recoverLease` and
`FSDirWriteFileOp.completeFile` of Hadoop.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait

from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos, namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.namenode_rpc import (
    ActiveNameNode,
    NoNameNode,
    RemoteError,
    file_question,
    file_status,
)
from backhaul.adapters.hadoop.protobuf_wire import (
    Fields,
    Malformed,
    fields_of,
    message,
    number,
    octets,
)

# Of a smaller file, among many, the half second is waited for by a thread that costs nothing; two
# more questions to the NameNode for each would cost more. One that comes alone is waited for.
LEAST_BYTES = (1 << 20) + 1
FEW = 4
AT_ONCE = 32  # more are closed by the client alone
FIRST_LOOK_S, LONGEST_PAUSE_S = 0.015, 0.25
TIMEOUT_S = 5.0
_HOLDER = "backhaul"
_LENGTH, _IS_OPEN, _IS_LAST_COMPLETE = 1, 3, 5  # fields of LocatedBlocksProto


def closer(filesystem: str, configuration: HadoopConfiguration | str | None) -> Closer | None:
    """For this file system; None where its NameNode cannot be asked from here."""
    configuration = HadoopConfiguration.of(configuration)
    if demands_kerberos(configuration):
        return None
    return Closer(namenodes(configuration, filesystem))


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
                if located is None or number(located, _LENGTH) != size_bytes:
                    continue
                if not number(located, _IS_OPEN):
                    return True
                if number(located, _IS_LAST_COMPLETE):
                    return self._end_lease(path)
            except (NoNameNode, RemoteError, Malformed):
                return False
        return False

    def _located(self, path: str) -> Fields | None:
        """The file's `LocatedBlocksProto`; None where there is no such file."""
        status = file_status(self._ask("getListing", file_question(path)))
        return None if status is None else fields_of(octets(status, 12))

    def _end_lease(self, path: str) -> bool:
        answer = self._ask("recoverLease", message((1, path), (2, _HOLDER)))
        return bool(number(fields_of(answer), 1))

    def _ask(self, method: str, question: bytes) -> bytes:
        (answer,) = self._namenode.ask(method, [question])
        if isinstance(answer, RemoteError):
            raise answer
        return answer
