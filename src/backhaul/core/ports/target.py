"""A file system, and the worker that holds it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from backhaul.core.checksums import Checksum
from backhaul.core.errors import OutageError
from backhaul.core.model import Location, VerifyLevel
from backhaul.core.objects import FileStatus, PlannedObject, StagedObject
from backhaul.core.ports.store import Endpoint


@dataclass(frozen=True, kw_only=True)
class StageTask:
    """What a worker needs to stage one object.

    Attributes:
        is_there: Another engine has written it already: prove it, and copy it only if that fails.
    """

    planned: PlannedObject
    endpoint: Endpoint
    is_there: bool = False


@dataclass(frozen=True, kw_only=True)
class Rename:
    """One file's way from staging to its final path."""

    source: Location
    target: Location


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How far one worker is within a staging call, and what it has read.

    Attributes:
        size_bytes: Of objects on their way into staging.
        objects: Finished.
        received_bytes: Of bodies from S3, useful or not, by all staging calls of the session.
        repeated_bytes: Of those, what came once more.
    """

    size_bytes: int
    objects: int
    received_bytes: int
    repeated_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class StoredChecksum:
    """The checksum of one file on a target.

    Attributes:
        size_bytes: None where not even that is known.
        checksum: None where it is not known.
        checksum_source: Closed set: `datanode`, `command`, `read`; empty likewise.
        why: Why the checksum is not known; empty when it is.
        is_final: No other source knows it either: nothing is kept that compares with the bytes.
    """

    size_bytes: int | None
    modified_ms: int
    checksum: Checksum | None = None
    checksum_source: str = ""
    why: str = ""
    is_final: bool = False

    @classmethod
    def of_ciphertext(cls, size_bytes: int, modified_ms: int) -> StoredChecksum:
        """For a file in an encryption zone of HDFS."""
        return cls(
            size_bytes=size_bytes,
            modified_ms=modified_ms,
            why="in an encryption zone: the CRCs there are of the ciphertext",
            is_final=True,
        )


class FoundFile(NamedTuple):
    """A file that a walk found; a tuple, as there may be millions.

    Attributes:
        relative: Path below the directory that is walked.
        is_special: As in `FileStatus`.
    """

    relative: str
    size_bytes: int
    modified_ms: int
    is_special: bool


class Watch(Protocol):
    """Looks after the dependencies while a session's worker is busy; may take some seconds."""

    @property
    def is_waiting(self) -> bool:
        """True while a dependency is down: a worker without progress is not stalled then."""

    def look(self, still_s: float, stall_timeout_s: float) -> OutageError | None:
        """To be called about once a second, and right before a worker is called stalled.

        Args:
            still_s: For how long no byte has moved and no call has ended; 0 right after that.
            stall_timeout_s: After how long of it the worker counts as stalled.

        Returns:
            The error with which the call ends now; its worker is replaced.
        """


@dataclass(frozen=True, kw_only=True)
class WriteRefusal:
    """Why a directory takes no new names.

    Attributes:
        user: Who is refused, by the name that the file system uses; empty where that is unknown.
        why: The file system's own words.
        is_readonly: The whole file system is mounted read-only.
    """

    user: str
    why: str
    is_readonly: bool = False


@dataclass(frozen=True, kw_only=True)
class Inherited:
    """What a directory gives to files and directories that are made in it.

    Attributes:
        group: Empty: it gives none, and the process's own counts.
        acl: The entries of its default ACL, as text, in a fixed order.
        erasure_coding: Name of the policy that is in force there; empty: none; None: not known.
        storage_policy: The same.
        is_encrypted: It is in an encryption zone; None: not known. No file is renamed into a zone
            or out of one.
        is_mount: Another file system is mounted there; no file is renamed into it from outside.
        refused: Why no name can be made in it; None: it can be, or that is not known.
    """

    group: str = ""
    acl: tuple[str, ...] = ()
    erasure_coding: str | None = None
    storage_policy: str | None = None
    is_encrypted: bool | None = None
    # Of the directory itself: one made like it has neither.
    is_mount: bool = field(default=False, compare=False)
    refused: WriteRefusal | None = field(default=None, compare=False)

    @property
    def carried(self) -> tuple[str, tuple[str, ...]]:
        """What a directory keeps when it is renamed; policies are those of its new place."""
        return self.group, self.acl


class TargetSession(Protocol):
    """One worker process, lent to one transfer: all target and S3 body I/O happens in it.

    Any method may raise TransientError E_WORKER_DIED or E_WORKER_STALLED; the session is then
    useless and the pool replaces the process.
    """

    def status(self, locations: Sequence[Location]) -> list[FileStatus | None]:
        """The status of each path; None where nothing exists."""

    def existing_ancestor(self, location: Location) -> Location:
        """`location` itself if it is a directory, else the nearest directory above it.

        Raises:
            CannotWrite: E_DST_PARENT_FILE when a file is in the way.
        """

    def write_access(self, location: Location) -> tuple[Location, WriteRefusal | None]:
        """The existing ancestor, and why no name can be made in it; changes nothing.

        None where it can be, or where that cannot be found out.

        Raises:
            CannotWrite: As `existing_ancestor`.
        """

    def fence(self, staging_root: Location, epoch: int) -> int:
        """Remove every epoch below `epoch` under `staging_root`, then create `epoch`'s directory.

        Returns:
            The highest epoch found. When it is not below `epoch` nothing was created and the
            caller claims again above it.
        """

    def fence_keeping(
        self, staging_root: Location, kept: int, epoch: int
    ) -> tuple[int, int | None]:
        """Remove every epoch below `kept`, which an application of this transfer still fills.

        Returns:
            The highest epoch found, and under which number, from `kept` to below `epoch`, the
            staging of that application is; None when it is gone.
        """

    def take_over(self, staging_root: Location, kept: int, epoch: int) -> None:
        """Rename the directory of epoch `kept` to that of `epoch`; safe to repeat."""

    def inherited(self, directories: Sequence[Location]) -> list[Inherited | None]:
        """What each directory gives to what is made in it; None where nothing is.

        Raises:
            CannotWrite: E_DST_PARENT_FILE: one of them is no directory.
        """

    def make_alike(
        self,
        staged: Location,
        relative: str,
        wanted: Inherited,
        *,
        made_in: Location | None,
        epoch: int,
    ) -> None:
        """Make a directory of staging that gives what the final one of its name gives.

        Directories between are made, too. One that is there already and gives something else is
        replaced, with what is in it.

        Args:
            staged: This epoch's directory.
            relative: Of the directory, below it.
            made_in: A staging root inside the final directory: made there, so that it gets the
                same group and ACL, and then moved; None: only the policies are to be set.
        """

    def count_files(self, directory: Location) -> tuple[int, int]:
        """Files below it at any depth, and directories that hold nothing."""

    def walk(self, directory: Location, *, after: str, most: int) -> list[FoundFile]:
        """Files below it behind the relative path `after`, in the order of their paths' bytes.

        No directory `.backhaul` is entered. Fewer than `most` are the last ones. A walk that goes
        on behind the last path of the one before costs no second listing.
        """

    def prune(self, directory: Location, planned: Sequence[str]) -> int:
        """Remove files below it that are not planned, and directories left without a file.

        Returns:
            How many files were removed.
        """

    def stage(
        self,
        tasks: Iterator[Sequence[StageTask]],
        directory: Location,
        verify: VerifyLevel,
        more: Callable[[int], None] | None = None,
    ) -> Iterator[Sequence[StagedObject]]:
        """Copy the tasks below `directory`, yielding proofs in batches as files are closed.

        Pulls from `tasks` only as far as its window allows, so memory stays constant.

        Args:
            more: Called in the caller's thread before an object is read beyond its size, with the
                bytes that come once more; what it raises ends the call, and they are not read.
                None: all may be read.

        Raises:
            SourceChanged, IntegrityError, PermanentError, TransientError, OutageError: the first
            failure; the rest is abandoned.
        """

    def write_whole(self, location: Location, content: bytes) -> None:
        """A file of Backhaul's own in an existing directory, whole or not at all; replaces it."""

    def publish_tree(self, staged: Location, target: Location) -> bool:
        """One rename of the whole directory; False when something exists at `target`."""

    def publish_files(
        self, renames: Sequence[Rename], *, replace: bool, in_order: bool = False
    ) -> None:
        """Rename each file, creating parent directories; not atomic as a whole.

        Args:
            in_order: One after the other, so that none is there before those ahead of it.

        Raises:
            CannotWrite: E_DST_EXISTS when `replace` is False and a file is in the way.
            OutcomeUnknown: an answer was lost.
        """

    def stored_checksums(
        self,
        locations: Sequence[Location],
        *,
        algorithms: Sequence[str] = (),
        is_read: bool = False,
        passes_over: bool = False,
    ) -> list[StoredChecksum | None]:
        """CRC32C of each file's bytes; None where no file is.

        The file system's own where it keeps checksums, else of the bytes read.

        Args:
            algorithms: For each file `CRC32C` or `CRC32`; empty: CRC32C for all.
            is_read: Read every file, whatever the file system keeps.
            passes_over: A file that cannot be read has no checksum and a reason, and is not the
                end of the others.
        """

    def match_existing(
        self, tasks: Sequence[StageTask], finals: Sequence[Location]
    ) -> list[StagedObject | None]:
        """Which files hold their pinned object already, by S3's own checksum; None: not proven.

        Of S3 only headers are read, and a file only where the checksum that the file system keeps
        does not compare with S3's.
        """

    def remove_staging(self, staging_root: Location, *, up_to: int | None = None) -> None:
        """Delete the transfer's staging and then `.backhaul` if it is empty; safe to repeat.

        Args:
            up_to: Leave higher epochs: they belong to a later claim of the destination.
        """

    @property
    def progress(self) -> Progress:
        """How far the current staging call has come."""

    def watched_by(self, watch: Watch) -> None:
        """From now on let this look while a call runs."""

    def probe(
        self, staging_root: Location | None, endpoint: Endpoint | None
    ) -> Sequence[OutageError]:
        """Which side, target or S3, is down, tried from a fresh process within some seconds.

        Usable after a fault of this session. Empty when both sides answer, and when the probe
        itself came to no result.

        Args:
            staging_root: Where a file of one byte is written, and removed; None: no write is
                tried. It is not made: what was fenced stays so.
            endpoint: The S3 side; None: not probed.
        """


class TargetPool(Protocol):
    """The worker processes."""

    def session(
        self, filesystem: str, user: str | None = None
    ) -> AbstractContextManager[TargetSession]:
        """Lend one process; it comes back clean, or is replaced when it misbehaved.

        Args:
            user: Whom it acts for on the file system (`run_as` of the route); None: the agent.
        """
