"""The sources of HDFS's own checksums: the DataNodes where they can be reached, else `hdfs dfs`.

The choice is made file by file: what one source does not have comes from the next, and what none
has is read back by the caller. The evidence records the source.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from backhaul.adapters.hadoop.hdfs.cluster import HdfsCluster
from backhaul.adapters.hadoop.hdfs.command_checksums import CommandChecker
from backhaul.adapters.hadoop.hdfs.datanode_checksums import ChecksumUnavailable, DataNodeChecker
from backhaul.adapters.hadoop.hdfs.shell import FsShell
from backhaul.core.objects import FileStatus
from backhaul.core.ports import ContentChecker, StoredChecksum

# A source without a checksum of any file, this often in a row, is skipped for a while: behind a
# firewall every call would wait for its timeout.
SILENT_BATCHES = 2
PAUSE_S = 300.0


def content_checker(
    cluster: HdfsCluster,
    status: Callable[[str], FileStatus | None],
    is_encrypted: Callable[[str], bool],
) -> ChecksumFallback | None:
    """The sources that this node has; None when there is none.

    Args:
        status: Length and time of a file.
        is_encrypted: Whether a file is in an encryption zone.
    """
    checkers: list[ContentChecker] = []
    if cluster.has_direct_datanodes:
        by_hostname = cluster.reaches_datanodes_by_name
        checkers.append(DataNodeChecker(cluster.namenodes, by_hostname=by_hostname))
    if (shell := FsShell.installed(cluster)) is not None:
        checkers.append(CommandChecker(shell, status, is_encrypted))
    return ChecksumFallback(checkers) if checkers else None


@dataclass(kw_only=True)
class _Source:
    checker: ContentChecker
    silent_batches: int = 0
    paused_until_s: float = 0.0


class ChecksumFallback:
    """Implements `ports.ContentChecker` over several, in order of preference."""

    name = "first"

    def __init__(self, checkers: Sequence[ContentChecker]) -> None:
        self._sources = [_Source(checker=each) for each in checkers]

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """Each path from the first source that has it."""
        nothing = StoredChecksum(
            size_bytes=None, modified_ms=0, why="this node has no source of HDFS checksums"
        )
        answers: list[StoredChecksum | None] = [nothing] * len(paths)
        missing = list(range(len(paths)))
        for source in self._sources:
            if not missing:
                break
            if source.paused_until_s > time.monotonic():
                continue
            checksums = self._checksums(source, [paths[number] for number in missing])
            for number, checksum in zip(missing, checksums, strict=True):
                before = answers[number]
                if checksum and checksum.why and before is not None and before is not nothing:
                    checksum = replace(checksum, why=f"{before.why}; {checksum.why}")  # noqa: PLW2901
                answers[number] = checksum
            missing = [
                number
                for number in missing
                if (checksum := answers[number]) is not None and not _is_settled(checksum)
            ]
        return answers

    def codec(self, path: str) -> str | None:
        """A file's erasure codec; empty: it has none; None: no source knows."""
        for source in self._sources:
            if isinstance(source.checker, DataNodeChecker):
                return source.checker.codec(path)
        return None

    def close(self) -> None:
        for source in self._sources:
            source.checker.close()

    @staticmethod
    def _checksums(source: _Source, paths: Sequence[str]) -> list[StoredChecksum | None]:
        try:
            checksums = source.checker.stored_checksums(paths)
        except ChecksumUnavailable as error:
            why = f"{source.checker.name}: {error}"
            checksums = [StoredChecksum(size_bytes=None, modified_ms=0, why=why)] * len(paths)
        if any(each is None or _is_settled(each) for each in checksums):
            source.silent_batches = 0
        else:
            source.silent_batches += 1
            if source.silent_batches >= SILENT_BATCHES:
                source.paused_until_s = time.monotonic() + PAUSE_S
        return checksums


def _is_settled(checksum: StoredChecksum) -> bool:
    """No other source would add anything."""
    return checksum.checksum is not None or checksum.is_final
