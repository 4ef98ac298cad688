"""A file system in memory with HDFS's rules; implements `ports.TargetFs`.

An open file can be seen with the length written so far; deleting it makes its writer fail.
A rename never moves into a directory, a directory is never made along the way by `mkdir`.
What is new gets the group of its directory, and a file the policy in force there; a rename changes
neither. A directory's policy is its own, or that of the nearest above it that has one.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from backhaul.core.checksums import Checksum, Digest
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutcomeUnknown,
    TargetExists,
    TargetMissing,
)
from backhaul.core.objects import FileStatus
from backhaul.core.ports import Clock, Entry, Inherited, StoredChecksum, WriteRefusal
from backhaul.core.transfer.write_access import file_in_the_way
from backhaul.testing.fakes.faults import Faults

READ_BYTES = 1 << 20


@dataclass(kw_only=True, eq=False)
class _Node:
    is_directory: bool
    data: bytearray = field(default_factory=bytearray)
    modified_ms: int = 0
    kept: str = ""
    is_gone: bool = False
    group: str = ""
    policy: str = ""
    is_zone: bool = False


@dataclass(kw_only=True)
class FakeContent:
    """The checksums that a fake HDFS keeps.

    Attributes:
        silent: Names of files of which it gives length and time only.
        wrong: Names of files of which it gives a checksum of other bytes.
    """

    new_digest: Callable[[str], Digest]
    algorithm: str = "CRC32C"
    silent: set[str] = field(default_factory=set)
    wrong: set[str] = field(default_factory=set)


class FakeTarget:
    """One file system; safe to use from several threads.

    Args:
        content: The checksums it keeps; None: none, as a mounted file system.

    Attributes:
        most_open: The most files that were open at once.
        closed: Directories that are reported as taking no new names.
        mounts: Directories with another file system, likewise.
        corrected: Paths whose mode was corrected.
    """

    def __init__(
        self, clock: Clock, *, faults: Faults | None = None, content: FakeContent | None = None
    ) -> None:
        self._clock = clock
        self._content = content
        self.keeps_checksums = content is not None
        self._faults = faults or Faults()
        self._nodes: dict[str, _Node] = {"/": _Node(is_directory=True)}
        self._lock = threading.RLock()
        self._open = 0
        self.most_open = 0
        self.closed: dict[str, WriteRefusal] = {}
        self.mounts: set[str] = set()
        self.corrected: list[str] = []

    # ------------------------------------------------------------ as a reader of the data sees it

    def files(self, below: str = "/") -> dict[str, bytes]:
        """Path to content of every file at or below a path; staging too."""
        with self._lock:
            return {
                path: bytes(node.data)
                for path, node in sorted(self._nodes.items())
                if not node.is_directory and _is_within(path, below)
            }

    def paths(self) -> list[str]:
        """Everything there is, directories too."""
        with self._lock:
            return sorted(self._nodes)

    def put(self, path: str, data: bytes, *, kept: str = "") -> None:
        """A file from elsewhere, with what is missing above it.

        Args:
            kept: The algorithm of the checksum that is kept of it; default the file system's.
        """
        with self._lock:
            self._make_all(_above(path))
            self._nodes[path] = _Node(
                is_directory=False, data=bytearray(data), modified_ms=self._now_ms(), kept=kept
            )

    def own(self, path: str, *, group: str = "", policy: str = "", is_zone: bool = False) -> None:
        """A directory of that group and policy, with what is missing above it."""
        with self._lock:
            self._make_all(path)
            self._nodes[path].group, self._nodes[path].policy = group, policy
            self._nodes[path].is_zone = is_zone

    def given(self, path: str) -> tuple[str, str]:
        """Group and policy of a file, or those that a directory gives."""
        with self._lock:
            node = self._nodes[path]
            return node.group, self._policy(path) if node.is_directory else node.policy

    def _policy(self, directory: str) -> str:
        while not self._nodes[directory].policy and directory != "/":
            directory = _above(directory)
        return self._nodes[directory].policy

    def _zone(self, path: str) -> str:
        """The nearest encryption zone at or above the path; empty where none is."""
        while path not in self._nodes or not self._nodes[path].is_zone:
            if path == "/":
                return ""
            path = _above(path)
        return path

    # ------------------------------------------------------------ core.ports.TargetFs

    def check_reachable(self) -> None:
        """It always answers, unless a fault is set."""
        with self._faults.call("target.check_reachable"):
            return

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        with self._faults.call("target.stored_checksums"), self._lock:
            return [self._stored_checksum(path) for path in paths]

    def _stored_checksum(self, path: str) -> StoredChecksum | None:
        node = self._nodes.get(path)
        if node is None or node.is_directory:
            return None
        size_bytes, modified_ms = len(node.data), node.modified_ms
        content = self._content
        if content is None or path.rsplit("/", 1)[-1] in content.silent:
            return StoredChecksum(
                size_bytes=size_bytes, modified_ms=modified_ms, why="the fake keeps none of it"
            )
        algorithm = node.kept or content.algorithm
        digest = content.new_digest(algorithm)
        digest.update(bytes(node.data))
        if path.rsplit("/", 1)[-1] in content.wrong:
            digest.update(b"?")
        return StoredChecksum(
            size_bytes=size_bytes,
            modified_ms=modified_ms,
            checksum=Checksum(algorithm, digest.digest().hex()),
            checksum_source="datanode",
        )

    def write_refusal(self, path: str) -> WriteRefusal | None:
        """Only `closed` directories refuse."""
        with self._faults.call("target.write_refusal"), self._lock:
            return self.closed.get(path)

    def check_place(self, path: str) -> None:
        """There are no links here."""

    def status(self, path: str) -> FileStatus | None:
        with self._faults.call("target.status"), self._lock:
            node = self._nodes.get(path)
            if node is None:
                return None
            return FileStatus(
                is_directory=node.is_directory,
                size_bytes=len(node.data),
                modified_ms=node.modified_ms,
            )

    def names(self, path: str) -> list[str]:
        with self._faults.call("target.names"), self._lock:
            prefix = path.rstrip("/") + "/"
            below = [one[len(prefix) :] for one in self._nodes if one.startswith(prefix)]
            return [name for name in below if name and "/" not in name]

    def entries(self, path: str) -> list[Entry]:
        with self._faults.call("target.entries"), self._lock:
            prefix = path.rstrip("/") + "/"
            return [
                Entry(name=one[len(prefix) :], is_directory=node.is_directory)
                for one, node in self._nodes.items()
                if one.startswith(prefix) and one != "/" and "/" not in one[len(prefix) :]
            ]

    def statuses(self, path: str) -> Iterator[tuple[str, FileStatus]]:
        for entry in self.entries(path):
            status = self.status(f"{path.rstrip('/')}/{entry.name}")
            if status is not None:
                yield entry.name, status

    def create(self, path: str, size_bytes: int) -> FakeWriter:
        with self._faults.call("target.create"), self._lock:
            self._need_directory(_above(path), path)
            if path in self._nodes:
                raise _exists(path)
            node = _Node(is_directory=False, modified_ms=self._now_ms())
            node.group, node.policy = self.given(_above(path))
            self._nodes[path] = node
            self._open += 1
            self.most_open = max(self.most_open, self._open)
            return FakeWriter(self, path, node)

    def correct_mode(self, path: str) -> None:
        with self._faults.call("target.correct_mode"), self._lock:
            if path not in self._nodes:
                raise _missing(path)
            self.corrected.append(path)

    def read(self, path: str) -> Iterator[bytes]:
        with self._faults.call("target.read"), self._lock:
            node = self._nodes.get(path)
            if node is None:
                raise _missing(path)
            data = bytes(node.data)
        for start in range(0, len(data), READ_BYTES):
            yield data[start : start + READ_BYTES]

    def mkdir(self, path: str) -> None:
        with self._faults.call("target.mkdir"), self._lock:
            self._need_directory(_above(path), path)
            self._make_one(path)

    def mkdirs(self, path: str) -> None:
        with self._faults.call("target.mkdirs"), self._lock:
            self._make_all(path)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        with self._faults.call("target.rename", _rename_unknown), self._lock:
            moved = self._nodes.get(source)
            if moved is None:
                raise _missing(source)
            self._need_directory(_above(target), target)
            if self._zone(source) != self._zone(target):
                raise CannotWrite("E_DST_EZ", f"{source}: can't be moved into {target}")
            there = self._nodes.get(target)
            if there is not None and (
                not replace
                or there.is_directory != moved.is_directory
                or (there.is_directory and len(self._below(target)) > 1)
            ):
                raise _exists(target)
            if there is not None:
                self._drop(target)
            for path in self._below(source):
                self._nodes[target + path[len(source) :]] = self._nodes.pop(path)

    def remove(self, path: str) -> None:
        with self._faults.call("target.remove"), self._lock:
            self._drop(path)

    def remove_empty(self, path: str) -> None:
        with self._faults.call("target.remove_empty"), self._lock:
            if self._below(path) == [path]:
                self._drop(path)

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        with self._faults.call("target.inherited"), self._lock:
            return [self._inherited(path) if path in self._nodes else None for path in paths]

    def _inherited(self, path: str) -> Inherited:
        if not self._nodes[path].is_directory:
            raise file_in_the_way(path)
        return Inherited(
            group=self._nodes[path].group,
            erasure_coding=self._policy(path),
            is_encrypted=bool(self._zone(path)),
            is_mount=path in self.mounts,
            refused=self.closed.get(path),
        )

    def set_policies(self, path: str, wanted: Inherited) -> None:
        with self._faults.call("target.set_policies"), self._lock:
            if path not in self._nodes:
                raise _missing(path)
            if self._policy(path) != wanted.erasure_coding:
                self._nodes[path].policy = wanted.erasure_coding or ""

    def sync_directory(self, path: str) -> None:
        with self._faults.call("target.sync_directory"):
            pass

    # ------------------------------------------------------------ inside

    def _now_ms(self) -> int:
        return int(self._clock.now().timestamp() * 1000)

    def _below(self, path: str) -> list[str]:
        """The path itself, where it is there, and everything under it."""
        return [one for one in sorted(self._nodes) if _is_within(one, path)]

    def _drop(self, path: str) -> None:
        for one in self._below(path):
            self._nodes.pop(one).is_gone = True

    def _need_directory(self, directory: str, path: str) -> None:
        if (node := self._nodes.get(directory)) is not None:
            if not node.is_directory:
                raise _parent_is_file(path)
            return
        if directory != "/":
            self._need_no_file_above(directory)
        raise _missing(directory)

    def _need_no_file_above(self, path: str) -> None:
        while path != "/":
            path = _above(path)
            node = self._nodes.get(path)
            if node is not None and not node.is_directory:
                raise _parent_is_file(path)

    def _make_one(self, path: str) -> None:
        made = _Node(is_directory=True, modified_ms=self._now_ms())
        made.group = self._nodes[_above(path)].group if path != "/" else ""
        node = self._nodes.setdefault(path, made)
        if not node.is_directory:
            raise _parent_is_file(path)

    def _make_all(self, path: str) -> None:
        self._need_no_file_above(path)
        parts = path.strip("/").split("/")
        for number in range(1, len(parts) + 1):
            self._make_one("/" + "/".join(parts[:number]))


class FakeWriter:
    """Implements `ports.TargetWriter`."""

    def __init__(self, target: FakeTarget, path: str, node: _Node) -> None:
        self._target = target
        self._path = path
        self._node = node

    def write(self, data: bytes) -> None:
        target = self._target
        with target._faults.call("target.write"), target._lock:  # noqa: SLF001 - one fake
            self._refuse_gone()
            self._node.data += data

    def close(self) -> None:
        target = self._target
        with target._faults.call("target.close"), target._lock:  # noqa: SLF001 - one fake
            target._open -= 1  # noqa: SLF001
            self._refuse_gone()
            self._node.modified_ms = target._now_ms()  # noqa: SLF001

    def _refuse_gone(self) -> None:
        if self._node.is_gone:
            raise TargetMissing("E_DST_MISSING", f"{self._path}: LeaseExpired: it was deleted")


def _is_within(path: str, above: str) -> bool:
    return path == above or path.startswith(above.rstrip("/") + "/")


def _above(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"


def _missing(path: str) -> TargetMissing:
    return TargetMissing("E_DST_MISSING", f"{path}: not there")


def _exists(path: str) -> TargetExists:
    return TargetExists("E_DST_EXISTS", f"{path} exists")


def _parent_is_file(path: str) -> CannotWrite:
    return CannotWrite("E_DST_PARENT_FILE", f"{path}: a file is where a directory is needed")


def _rename_unknown(name: str) -> BackhaulError:
    return OutcomeUnknown("E_HDFS_UNKNOWN", f"no answer to {name}")
