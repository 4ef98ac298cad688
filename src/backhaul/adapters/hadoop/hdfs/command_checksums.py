"""Checksums of files by the node's `hdfs dfs -checksum`.

It prints one line per file, in order, among warnings. Lines are matched by path, never by position,
and a path that has no line, or two different ones, has no checksum.

In an encryption zone it prints the CRC of the ciphertext without a word about it, so it is not
called for such files. A zone is whole directories: one file of each shows it for all.

Source: Apache Hadoop, FileSystem Shell (`checksum`); HDFS-13056 for the mode.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence

from backhaul.adapters.hadoop.hdfs.shell import FsShell
from backhaul.core.checksums import Checksum
from backhaul.core.objects import FileStatus
from backhaul.core.ports import StoredChecksum

NAME = "command"
# Linux takes 128 KiB in one argument and 2 MiB, environment included, in all of them.
BATCH_BYTES = 512 * 1024
BATCH_PATHS = 2000
_OPTIONS = ("-Ddfs.checksum.combine.mode=COMPOSITE_CRC", "-checksum")
_LINE = re.compile(r"^(?P<path>.+)\t(?P<kind>[A-Z0-9-]+)\t(?P<hex>[0-9a-f]+)$")
_KINDS = {"COMPOSITE-CRC32C": "CRC32C", "COMPOSITE-CRC32": "CRC32"}
_CRC_HEX = 8
_EMPTY = Checksum("CRC32C", "00000000")  # either CRC of nothing is 0; the command prints an MD5


class CommandChecker:
    """Implements `ports.ContentChecker`.

    Args:
        status: Length and time of a file, which the command does not print.
        is_encrypted: Whether a file is in an encryption zone.
    """

    name = NAME

    def __init__(
        self,
        shell: FsShell,
        status: Callable[[str], FileStatus | None],
        is_encrypted: Callable[[str], bool],
    ) -> None:
        self._shell = shell
        self._status = status
        self._is_encrypted = is_encrypted

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """Length, time and CRC of each file; None where there is no file."""
        found: list[StoredChecksum | None] = []
        for batch in _batches(paths):
            # Before the CRCs: if a file is replaced in between, its time is too old.
            files = {path: self._file(path) for path in batch}
            zones = self._zones(files)
            wanted = [
                path
                for path, status in files.items()
                # A line break in a name would make two lines of one, and one of them wrong.
                if not (status is None or "\n" in path or "\r" in path)
                and status.size_bytes
                and _parent(path) not in zones
            ]
            crcs, complaint = self._crcs(wanted) if wanted else ({}, "")
            for path in batch:
                status = files[path]
                if status is not None and status.size_bytes and _parent(path) in zones:
                    checksum = StoredChecksum.of_ciphertext(status.size_bytes, status.modified_ms)
                    found.append(checksum)
                else:
                    found.append(self._checksum(status, crcs.get(path), complaint))
        return found

    def close(self) -> None:
        """Nothing is kept between calls."""

    def _file(self, path: str) -> FileStatus | None:
        status = self._status(path)
        return None if status is None or status.is_directory else status

    def _zones(self, files: Mapping[str, FileStatus | None]) -> set[str]:
        """Directories of these files that are in encryption zones."""
        one_each = {_parent(path): path for path, status in files.items() if status is not None}
        return {directory for directory, path in one_each.items() if self._is_encrypted(path)}

    def _checksum(
        self, status: FileStatus | None, crc: Checksum | None, complaint: str
    ) -> StoredChecksum | None:
        if status is None:
            return None
        if status.size_bytes == 0:
            crc = _EMPTY
        if crc is None:
            return StoredChecksum(
                size_bytes=status.size_bytes,
                modified_ms=status.modified_ms,
                why=f"{self._shell.name} printed no CRC of it{complaint}",
            )
        return StoredChecksum(
            size_bytes=status.size_bytes,
            modified_ms=status.modified_ms,
            checksum=crc,
            checksum_source=NAME,
        )

    def _crcs(self, paths: Sequence[str]) -> tuple[dict[str, Checksum], str]:
        """CRCs by path, and the first complaint, ready to be appended to a sentence."""
        try:
            lines, status = self._shell.run(_OPTIONS, paths)
        except (OSError, subprocess.SubprocessError) as error:
            return {}, f": {getattr(error, 'strerror', None) or error}"
        return parsed(lines, {self._shell.uri(path): path for path in paths}), _complaint(
            lines, status
        )


def parsed(lines: Sequence[str], uris: Mapping[str, str]) -> dict[str, Checksum]:
    """CRCs by path, from an output that has other lines, too.

    Args:
        uris: The files, as the command names them, to their paths.
    """
    found: dict[str, Checksum] = {}
    doubted: set[str] = set()
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        path = uris.get(match["path"])
        algorithm = _KINDS.get(match["kind"])
        if path is None or algorithm is None or len(match["hex"]) != _CRC_HEX:
            continue
        crc = Checksum(algorithm, match["hex"])
        if found.setdefault(path, crc) != crc:
            doubted.add(path)
    return {path: crc for path, crc in found.items() if path not in doubted}


def _complaint(lines: Sequence[str], status: int) -> str:
    line = next((line for line in lines if line.startswith("checksum: ")), "")
    if line:
        return f": {line.removeprefix('checksum: ')[:200]}"
    return f": it ended with {status}" if status else ""


def _batches(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    batch: list[str] = []
    size = 0
    for path in paths:
        more = len(path.encode("utf-8", "surrogateescape")) * 2 + 100  # escapes and file system
        if batch and (len(batch) == BATCH_PATHS or size + more > BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(path)
        size += more
    if batch:
        yield batch


def _parent(path: str) -> str:
    return path.rsplit("/", 1)[0]
