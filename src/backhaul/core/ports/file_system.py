"""One file system as the worker process sees it; `target` has what the agent calls."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from backhaul.core.objects import FileStatus
from backhaul.core.ports.target import Inherited, StoredChecksum, WriteRefusal


class ContentChecker(Protocol):
    """Reads the checksums that a file system keeps, for many files at a time."""

    name: str

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """One per path, in order; None where no file is. Never reads content."""

    def close(self) -> None:
        """Let go of connections; safe to repeat."""


class TargetWriter(Protocol):
    """One open file in staging. There is no abort: what is not closed is deleted by its path."""

    def write(self, data: bytes) -> None: ...

    def close(self) -> None:
        """Make the content durable; the file counts only after this returned."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One name in a directory."""

    name: str
    is_directory: bool


class TargetFs(Protocol):
    """One file system as a worker sees it; paths are absolute strings of that file system.

    Raises (any method):
        TargetMissing, TargetExists, CannotWrite, PermanentError, TransientError, OutageError.
    """

    keeps_checksums: bool
    """Whether `stored_checksums` can find any; a batch is then worth its call."""

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        """The checksum that the file system keeps of each file; None where no file is.

        Never reads content. A checksum that is not known is a result (`StoredChecksum.why`), not an
        error.
        """

    def check_reachable(self) -> None:
        """Return at once when the file system answers.

        Raises:
            OutageError: It does not, known within seconds.
        """

    def check_place(self, path: str) -> None:
        """Refuse what is there and leads elsewhere: then the policy's prefix is no promise.

        Raises:
            CannotWrite: E_DST_MOUNT.
        """

    def write_refusal(self, path: str) -> WriteRefusal | None:
        """Why no name can be made in an existing directory; changes nothing.

        None where it can be, or where that cannot be found out.
        """

    def status(self, path: str) -> FileStatus | None: ...

    def names(self, path: str) -> list[str]:
        """Entries of a directory, by name; empty when it is not there."""

    def entries(self, path: str) -> list[Entry]:
        """What a directory holds; empty when it is not there."""

    def statuses(self, path: str) -> Iterator[tuple[str, FileStatus]]:
        """What a directory holds, with its status, as it is read; nothing when it is not there."""

    def create(self, path: str, size_bytes: int) -> TargetWriter:
        """A new file; its directory must exist. `size_bytes` is what will be written."""

    def correct_mode(self, path: str) -> None:
        """Give a file that another client wrote to staging the mode that `create` gives there."""

    def read(self, path: str) -> Iterator[bytes]:
        """The content in chunks."""

    def mkdir(self, path: str) -> None:
        """One directory below an existing one; no error when it is there.

        Raises:
            TargetMissing: The directory above is not there. It is never made here: a fenced
                process must not bring its staging back (S6).
        """

    def mkdirs(self, path: str) -> None:
        """A directory with all that is missing above it."""

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        """Atomic. Moves a file or a directory; never into a directory.

        Raises:
            OutcomeUnknown: The answer was lost.
        """

    def remove(self, path: str) -> None:
        """Delete recursively; nothing there is success."""

    def remove_empty(self, path: str) -> None:
        """Delete a directory if it is empty; else leave it."""

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        """What each directory gives to what is made in it; None where nothing is.

        Raises:
            CannotWrite: E_DST_PARENT_FILE: one of them is no directory.
        """

    def set_policies(self, path: str, wanted: Inherited) -> None:
        """Give an empty directory the erasure coding and storage policy that `wanted` names.

        What is not known of either is left as it is.
        """

    def sync_directory(self, path: str) -> None:
        """Make names created or renamed in this directory durable (fsync; HDFS needs nothing)."""
