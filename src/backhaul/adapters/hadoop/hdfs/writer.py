"""An open HDFS file, and the erasure coding that hdfs-native must not write."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from backhaul.adapters.hadoop.hdfs.closing import Closer
from backhaul.adapters.hadoop.hdfs.errors import of_open_file, parity_refused

if TYPE_CHECKING:
    from hdfs_native import FileWriter

_CODEC = "rs"  # the only one whose parity hdfs-native writes as Hadoop does


class ParityGuard:
    """Refuses files whose parity hdfs-native would write wrong.

    hdfs-native 0.14.7 writes Reed-Solomon parity whatever the policy's codec is. Such a file is
    right as long as all its DataNodes are up, and wrong when HDFS has to make up a block. A policy
    is a directory's, so each directory is looked up once.

    Attributes:
        codec: A file's erasure codec; empty: it has none; None: unknown.
    """

    def __init__(self) -> None:
        self.codec: Callable[[str], str | None] | None = None
        self._known_directories: set[str] = set()

    def doubts(
        self, path: str, where: str, writer: FileWriter, remove: Callable[[str], None]
    ) -> bool:
        """Whether a new file may have a codec that the client does not write.

        Raises:
            CannotWrite: E_DST_EC; the file is removed.
        """
        if path.rpartition("/")[0] in self._known_directories:
            return False
        codec = self.codec(path) if self.codec is not None else None
        if codec is None:
            return True
        if codec not in {"", _CODEC}:
            with contextlib.suppress(Exception):  # the file goes in any case
                writer.close()
            remove(path)
            raise parity_refused(where, f"by {codec}")
        self.accept(path)
        return False

    def accept(self, path: str) -> None:
        """Files in this one's directory need no check from now on."""
        self._known_directories.add(path.rpartition("/")[0])


class HdfsWriter:
    """An open HDFS file; implements `ports.TargetWriter`.

    The client closes a writer when it is collected, failed or not, which leaves a short file that
    looks complete. That is why bytes only ever go to staging names.

    Args:
        where: URI of the path.
        unproven_parity: Whether the file is erasure-coded is not known yet.
    """

    def __init__(
        self,
        path: str,
        where: str,
        writer: FileWriter,
        *,
        unproven_parity: ParityGuard | None = None,
        closer: Closer | None = None,
    ) -> None:
        self._path = path
        self._where = where
        self._writer = writer
        self._unproven_parity = unproven_parity
        self._closer = closer
        self._written_bytes = 0

    def write(self, data: bytes) -> None:
        try:
            # Only `bytes` is quick here: a memoryview takes eight times as long.
            self._writer.write(data)
            self._written_bytes += len(data)
            if self._unproven_parity is not None:
                # An erasure-coded file refuses hsync, which shows that there is a policy.
                self._writer.hsync()
                self._unproven_parity.accept(self._path)
                self._unproven_parity = None
        except BaseException as error:
            if self._unproven_parity is not None and "erasure-coded" in str(error):
                raise parity_refused(self._where, "by an unknown policy") from error
            raise of_open_file(error, self._where) from error

    def close(self) -> None:
        try:
            if self._closer is None:
                self._writer.close()
            else:
                self._closer.close(self._path, self._written_bytes, self._writer.close)
        except BaseException as error:
            raise of_open_file(error, self._where) from error
