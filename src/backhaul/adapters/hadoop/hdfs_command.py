"""What HDFS holds, told by the node's `hdfs` command: one JVM for many paths, Kerberos or not.

FsShell takes its arguments as globs, so every path is escaped; it prints one line per file, in
order, on a standard output that warnings may share. Lines are matched by path, never by position,
and a path that has no line, or two different ones, is not told.

In an encryption zone it prints the CRC of the ciphertext and says nothing of that, so no such file
is asked about. A zone is whole directories: one file of each tells for all.

Source: Apache Hadoop, FileSystem Shell (`checksum`), GlobPattern; HDFS-13056 for the mode.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from backhaul.core.checksums import Checksum
from backhaul.core.model import FileStatus
from backhaul.core.ports import StoredChecksum

NAME = "command"
# Linux takes 128 KiB in one argument and 2 MiB, environment included, in all of them.
BATCH_BYTES = 512 * 1024
BATCH_PATHS = 2000
SILENCE_S = 60.0  # a JVM that prints nothing for this long is given up
_GLOB = re.compile(r"([\\*?\[\]{}^,])")
_LINE = re.compile(r"^(?P<path>.+)\t(?P<kind>[A-Z0-9-]+)\t(?P<hex>[0-9a-f]+)$")
_KINDS = {"COMPOSITE-CRC32C": "CRC32C", "COMPOSITE-CRC32": "CRC32"}
_CRC_HEX = 8


class CommandChecker:
    """Implements `ports.ContentChecker`.

    Args:
        program: `hdfs`, or `hadoop`.
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.
        status: Length and time of a file, which the command does not print.
        is_encrypted: Whether a file is in an encryption zone.
        ticket: Where it finds its Kerberos ticket, as variables; entered for each question.
    """

    name = NAME

    def __init__(
        self,
        program: Path,
        filesystem: str,
        status: Callable[[str], FileStatus | None],
        is_encrypted: Callable[[str], bool],
        *,
        conf_dir: str | None = None,
        ticket: Callable[[], AbstractContextManager[Mapping[str, str]]] | None = None,
    ) -> None:
        self._ticket = ticket or no_ticket
        self._program = program
        self._filesystem = filesystem
        self._status = status
        self._is_encrypted = is_encrypted
        self._conf_dir = conf_dir

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """Length, time and CRC of each file; None where there is no file."""
        found: list[StoredChecksum | None] = []
        for batch in _batches(paths):
            files = {path: self._file(path) for path in batch}
            zones = self._zones(files)
            asked = [
                path
                for path, status in files.items()
                # A line break in a name would make two lines of one, and one of them a lie.
                if not (status is None or "\n" in path or "\r" in path)
                and status.size_bytes
                and _above(path) not in zones
            ]
            told, complaint = self._run(asked) if asked else ({}, "")
            for path in batch:
                status = files[path]
                if status is not None and status.size_bytes and _above(path) in zones:
                    found.append(
                        StoredChecksum.of_ciphertext(status.size_bytes, status.modified_ms)
                    )
                else:
                    found.append(self._held(status, told.get(path), complaint))
        return found

    def close(self) -> None:
        """Nothing is kept between questions."""

    def _file(self, path: str) -> FileStatus | None:
        """Before its CRC is told: if the file is replaced in between, its time is too old."""
        status = self._status(path)
        return None if status is None or status.is_directory else status

    def _zones(self, files: Mapping[str, FileStatus | None]) -> set[str]:
        """Directories of these files that are in encryption zones."""
        one_each = {_above(path): path for path, status in files.items() if status is not None}
        return {directory for directory, path in one_each.items() if self._is_encrypted(path)}

    def _held(
        self, status: FileStatus | None, told: tuple[str, str] | None, complaint: str
    ) -> StoredChecksum | None:
        if status is None:
            return None
        if status.size_bytes == 0:
            # The command prints an MD5 of nothing; either CRC of nothing is 0.
            told = ("CRC32C", "00000000")
        if told is None:
            return StoredChecksum(
                size_bytes=status.size_bytes,
                modified_ms=status.modified_ms,
                why=f"{self._program.name} told no CRC of it{complaint}",
            )
        return StoredChecksum(
            size_bytes=status.size_bytes,
            modified_ms=status.modified_ms,
            checksum=Checksum(*told),
            checksum_source=NAME,
        )

    def _run(self, paths: Sequence[str]) -> tuple[dict[str, tuple[str, str]], str]:
        """What was told by path, and the first complaint, ready to be appended to a sentence."""
        uris = {f"{self._filesystem}{path}": path for path in paths}
        word = "dfs" if self._program.name == "hdfs" else "fs"
        command = [
            str(self._program),
            word,
            "-Ddfs.checksum.combine.mode=COMPOSITE_CRC",
            "-checksum",
            *(f"{self._filesystem}{escaped(path)}" for path in paths),
        ]
        # Java takes file names from its arguments by the locale; a daemon often has none.
        environment = {**os.environ, "LC_ALL": "C.UTF-8"}
        if self._conf_dir:
            environment["HADOOP_CONF_DIR"] = self._conf_dir
        try:
            with self._ticket() as variables:
                return self._told(command, {**environment, **variables}, uris)
        except (OSError, subprocess.SubprocessError) as error:
            return {}, f": {getattr(error, 'strerror', None) or error}"

    @staticmethod
    def _told(
        command: Sequence[str], environment: Mapping[str, str], uris: Mapping[str, str]
    ) -> tuple[dict[str, tuple[str, str]], str]:
        process = subprocess.Popen(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # so that the JVM below the shell script ends with it
        )
        lines: list[str] = []
        try:
            lines += _lines(process)
            process.wait(SILENCE_S)
        finally:
            _end(process)
        return parsed(lines, uris), _complaint(lines, process.returncode)


def _above(path: str) -> str:
    return path.rsplit("/", 1)[0]


def no_ticket() -> AbstractContextManager[Mapping[str, str]]:
    """The command finds its own, or needs none."""
    return nullcontext({})


def escaped(path: str) -> str:
    """A path that FsShell's globbing leaves as it is."""
    return _GLOB.sub(r"\\\1", path)


def parsed(lines: Sequence[str], uris: Mapping[str, str]) -> dict[str, tuple[str, str]]:
    """Path to (algorithm, hex), from an output that has other lines, too.

    Args:
        uris: What was asked for, as the command names it, to its path.
    """
    found: dict[str, tuple[str, str]] = {}
    doubted: set[str] = set()
    for line in lines:
        match = _LINE.match(line)
        if match is None:
            continue
        path = uris.get(match["path"])
        algorithm = _KINDS.get(match["kind"])
        if path is None or algorithm is None or len(match["hex"]) != _CRC_HEX:
            continue
        told = (algorithm, match["hex"])
        if found.setdefault(path, told) != told:
            doubted.add(path)
    return {path: told for path, told in found.items() if path not in doubted}


def _complaint(lines: Sequence[str], status: int | None) -> str:
    said = next((line for line in lines if line.startswith("checksum: ")), "")
    if said:
        return f": {said.removeprefix('checksum: ')[:200]}"
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


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Lines as they come.

    Raises:
        TimeoutError: Nothing came for `SILENCE_S`.
    """
    stream = process.stdout
    assert stream is not None  # noqa: S101 - asked for above
    rest = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        deadline_s = time.monotonic() + SILENCE_S
        while True:
            if not selector.select(max(0.0, deadline_s - time.monotonic())):
                raise TimeoutError(f"it said nothing for {SILENCE_S:.0f} s")
            data = os.read(stream.fileno(), 1 << 16)
            deadline_s = time.monotonic() + SILENCE_S
            *whole, rest = (rest + data).split(b"\n")
            yield from (line.decode("utf-8", "replace") for line in whole)
            if not data:
                if rest:
                    yield rest.decode("utf-8", "replace")
                return


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


def find_program(environment: Mapping[str, str]) -> Path | None:
    """The node's `hdfs`, else `hadoop`: in HADOOP_HOME/bin, else on PATH; None: not installed."""
    home = environment.get("HADOOP_HOME")
    where = [f"{home}/bin"] if home else []
    where.append(environment.get("PATH", os.defpath))
    for name in ("hdfs", "hadoop"):
        for path in where:
            if found := shutil.which(name, path=path):
                return Path(found)
    return None
