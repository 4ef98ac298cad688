"""Objects on their way: pinned in S3, planned, staged and verified, and what they add up to.

Frozen data only. A request and the rules of its route are in `model`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backhaul.core.checksums import Checksum


class Proof(StrEnum):
    """What proves one published file; strongest first."""

    DIRECT = "direct"  # S3's own CRC equals the target's own CRC
    BRIDGED = "bridged"  # S3's checksum equals the stream, the stream's CRC equals the target's own
    REREAD = "reread"  # S3's checksum equals the stream, the file read back equals the stream
    RECEIVED = "received"  # S3 gave nothing comparable; what the target holds equals the stream
    STREAM = "stream"  # S3's checksum equals the stream; of the target only the length was checked
    SIZE = "size"  # lengths only, because the route is so configured
    ADOPTED = "adopted"  # was at its final path already; nothing was copied


@dataclass(frozen=True, kw_only=True)
class Pin:
    """Exactly one state of one object, fixed when it was listed.

    Every read names this version (`versionId`) or this ETag (`If-Match`), so an object that changes
    under way is noticed and never mixed.
    """

    bucket: str
    key: str
    size_bytes: int
    etag: str  # with its quotes removed
    last_modified: datetime  # aware UTC
    version_id: str | None = None

    @property
    def identity(self) -> tuple[str, str, str, int]:
        """Equal for two pins of the same content at the same key."""
        return (self.bucket, self.key, self.version_id or self.etag, self.size_bytes)

    def is_later_than(self, other: Pin) -> bool:
        """By LastModified, as far as that distinguishes two states of one key.

        HEAD gives whole seconds, and so do all answers of some servers; others list milliseconds.
        A whole second may be a moment of which the fraction is missing, so within one second
        only two fractions are compared.
        """
        one, two = self.last_modified, other.last_modified
        if one.microsecond and two.microsecond:
            return one > two
        return one.replace(microsecond=0) > two.replace(microsecond=0)


@dataclass(frozen=True, kw_only=True)
class PlannedObject:
    """One object of a plan and the name it gets below the target directory.

    Attributes:
        seq: Position in the plan, from 0; the ledger's key together with the transfer id.
        relative: Target path below the destination directory, `/` between components.
    """

    seq: int
    pin: Pin
    relative: str


@dataclass(frozen=True, kw_only=True)
class StagedObject:
    """What was verified of one object when its staged file was closed.

    Attributes:
        content: CRC32C of the bytes received; or CRC32, where DistCp received them and that is what
            S3 and the target both keep.
        algorithm: S3's own checksum that was compared (`CRC32C`, ..., `MD5`), None where none was.
        checksum: Its value as S3 gives it (base64, or hex for MD5 ETags), None likewise.
        checksum_type: `FULL_OBJECT`, `COMPOSITE` or `ETAG`; None likewise.
        modified_ms: The staged file's modification time; a rename keeps it.
        target_checksum: Of what the target holds; None where only the length was compared.
        checksum_source: Of `target_checksum`: `datanode`, `command` (both from checksums that HDFS
            keeps), `read` (every byte read from the target), `ledger` (an earlier proof), or empty.
        note: Why a stronger proof level was not reached, for people; empty where none was missed.
        bytes_read: From S3 for this object, repeated reads included.
        proven_at: When the proof was recorded.
        was_there: Another engine wrote the file; it was verified as found. Not in the ledger.
    """

    seq: int
    size_bytes: int
    content: Checksum
    proof: Proof
    algorithm: str | None = None
    checksum: str | None = None
    checksum_type: str | None = None
    version_id: str | None = None
    modified_ms: int = 0
    target_checksum: Checksum | None = None
    checksum_source: str = ""
    note: str = ""
    bytes_read: int = 0
    proven_at: datetime | None = None
    was_there: bool = False


@dataclass(frozen=True, kw_only=True)
class FileStatus:
    """Status of a path on a target file system.

    Attributes:
        is_special: A symbolic link, FIFO, socket or device: its content is never read.
    """

    is_directory: bool
    size_bytes: int
    modified_ms: int
    is_special: bool = False

    @property
    def is_file(self) -> bool:
        """A regular file."""
        return not self.is_directory and not self.is_special


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Objects and bytes; `markers` are the directory placeholders counted and skipped."""

    objects: int = 0
    size_bytes: int = 0
    markers: int = 0


@dataclass(frozen=True, kw_only=True)
class ManifestSum:
    """Totals of the object lines of one manifest.

    Attributes:
        manifest: SHA-256 of all object lines, each with its line end, hex.
        size_bytes: Of the objects; `bytes_read` from S3 for them, by this node.
        copied_bytes: Of the objects that were copied, by this node or on YARN: not adopted.
        proof_levels: (proof, objects) pairs, most first.
        checksum_sources: (`checksum_source`, objects) pairs, most first; not the empty one.
    """

    manifest: str
    objects: int
    size_bytes: int
    bytes_read: int
    copied_bytes: int = 0
    proof_levels: tuple[tuple[str, int], ...] = ()
    checksum_sources: tuple[tuple[str, int], ...] = ()
