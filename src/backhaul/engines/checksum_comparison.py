"""Where S3's checksum is compared with the bytes received, and with what HDFS or a mount stores.

`check_received` compares S3's checksum with the bytes as they came from S3, before the file counts
as copied; `proof_level` compares S3's, or the CRC32C of those bytes, with the checksum that HDFS
keeps of the closed file, or with one computed over the file read back.

`Prover` does the second for closed files in batches. The checksums that the target keeps are
compared first (how HDFS gives them is `adapters.hadoop.hdfs.stored_checksums`); where they do not
compare, or the route has `verify = "reread"`, the file is read back. A checksum that differs is
final, and the bytes are not read then: with a bit flipped in a DataNode's meta file some files
still read well. Files that exist already have `match_existing`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from backhaul.core.checksums import MD5, Checksum, Digest, S3Checksum, matches
from backhaul.core.errors import BackhaulError, IntegrityError, TargetMissing
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import FileStatus, Pin, Proof, StagedObject
from backhaul.core.ports import SourceReader, StageTask, StoredChecksum, TargetFs
from backhaul.engines.counter import Counter
from backhaul.engines.stream_digests import PartsDigest, StreamDigests, comparable

READERS = 8  # files read back at once


def agrees_with_s3(digests: StreamDigests) -> bool:
    """Whether bytes have S3's checksum; True where S3 gave none that compares."""
    return digests.expected is None or matches(digests.expected, digests.in_s3s_algorithm)


def check_received(pin: Pin, digests: StreamDigests) -> None:
    """The first half of every proof: the bytes received have S3's checksum.

    Raises:
        IntegrityError: E_CHECKSUM.
    """
    expected = digests.expected
    if expected is not None and not agrees_with_s3(digests):
        raise IntegrityError(
            "E_CHECKSUM",
            f"s3://{pin.bucket}/{pin.key}: {expected.algorithm} of the bytes received"
            f" is {digests.in_s3s_algorithm.hex()}, S3's is {expected.value}",
            hint="a faulty network, proxy or disk changes bytes; nothing was published",
        )


class NotComparable(Exception):
    """Two checksums of different algorithms prove nothing about each other."""


def proof_level(
    expected: S3Checksum | None,
    received: Checksum | None,
    stored: Checksum,
    *,
    is_read: bool = False,
) -> Proof | None:
    """The second half: what the target's checksum proves of an object; None: it has other bytes.

    Args:
        expected: S3's, comparable with the bytes; the stream has matched it where there was one.
        received: CRC32C of the stream; None where nothing was received: S3's own checksum is then
            all that the target's can be compared with.
        stored: The target's.
        is_read: `stored` was computed over the file read back, not kept by the file system.

    Raises:
        NotComparable: The target's algorithm is neither S3's nor the stream's.
    """
    is_s3s = (
        expected is not None and expected.algorithm == stored.algorithm and not expected.part_sizes
    )
    if is_s3s and expected is not None and not matches(expected, bytes.fromhex(stored.hex)):
        return None
    if received is not None and received.algorithm == stored.algorithm:
        if received != stored:
            return None
    elif not is_s3s:
        raise NotComparable(f"the target keeps {stored.algorithm} only")
    if expected is None:
        return Proof.RECEIVED
    if is_read:
        return Proof.REREAD
    return Proof.DIRECT if is_s3s else Proof.BRIDGED


@dataclass(frozen=True, kw_only=True)
class FileReader:
    """Computes checksums of target files from their bytes."""

    target: TargetFs
    new_digest: Callable[[str], Digest]
    counter: Counter

    def read(
        self, path: str, algorithm: str = "CRC32C", *, expected: S3Checksum | None = None
    ) -> StoredChecksum | None:
        """One pass over the file; None where no file is, or where its bytes are not `expected`."""
        status = self.target.status(path)
        if status is None or not status.is_file:
            return None
        return self.read_file(path, status, algorithm, expected=expected)

    def read_file(
        self,
        path: str,
        status: FileStatus,
        algorithm: str = "CRC32C",
        *,
        expected: S3Checksum | None = None,
    ) -> StoredChecksum | None:
        """As `read`, of a file whose status is known."""
        own = self.new_digest(algorithm)
        s3s = self._digest_of(expected) if expected is not None else None
        for data in self.target.read(path):
            own.update(data)
            if s3s is not None:
                s3s.update(data)
            self.counter.add_read_back(len(data))
        if expected is not None and s3s is not None and not matches(expected, s3s.digest()):
            return None
        return StoredChecksum(
            size_bytes=status.size_bytes,
            modified_ms=status.modified_ms,
            checksum=Checksum(algorithm, own.digest().hex()),
            checksum_source="read",
        )

    def _digest_of(self, expected: S3Checksum) -> Digest:
        if expected.part_sizes:
            return PartsDigest(self.new_digest, expected.algorithm, expected.part_sizes)
        return self.new_digest(expected.algorithm)


@dataclass(frozen=True, kw_only=True)
class Closed:
    """One object whose bytes matched S3's checksum on the way and whose file is closed.

    Attributes:
        received: CRC32C of the bytes received; None where another engine received them and S3's
            own checksum is of an algorithm that the target keeps.
        expected: S3's checksum that they matched; None where S3 gave none that compares.
        bytes_read: From S3, earlier tries included.
        tried: How often it had been copied before.
        was_there: Another engine wrote the file.
    """

    task: StageTask
    path: str
    received: Checksum | None
    expected: S3Checksum | None
    version_id: str | None
    bytes_read: int
    tried: int
    was_there: bool = False


class Prover:
    """Proves closed files of one staging call; `prove` may be called from several threads."""

    def __init__(
        self,
        *,
        target: TargetFs,
        new_digest: Callable[[str], Digest],
        counter: Counter,
        verify: VerifyLevel,
    ) -> None:
        self._target = target
        self._counter = counter
        self._verify = verify
        self._files = FileReader(target=target, new_digest=new_digest, counter=counter)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read-back")

    def close(self) -> None:
        """Wait for files that are being read back."""
        self._readers.shutdown(wait=True, cancel_futures=True)

    @property
    def is_batched(self) -> bool:
        """Whether one call for the checksums of many files is worth waiting for."""
        return self._verify is VerifyLevel.STORED and self._target.keeps_checksums

    def prove(self, batch: Sequence[Closed]) -> list[StagedObject | BackhaulError]:
        """One result per file, in order; an error concerns that file alone.

        Raises:
            BackhaulError: The target failed as a whole.
        """
        stored = self._stored(batch)
        results: dict[str, StagedObject | BackhaulError] = {}
        for one in batch:
            if one.path in stored:
                compared = self._compared(one, stored[one.path])
                if compared is not None:
                    results[one.path] = compared
        rest = [one for one in batch if one.path not in results]
        whys = [found.why if (found := stored.get(one.path)) else "" for one in rest]
        run = map if len(rest) <= 1 else self._readers.map
        for one, result in zip(rest, run(self._from_status, rest, whys), strict=True):
            results[one.path] = result
        return [results[one.path] for one in batch]

    def _stored(self, batch: Sequence[Closed]) -> dict[str, StoredChecksum | None]:
        """What the target keeps, by path; empty where files are read back anyway."""
        paths = [one.path for one in batch if self._needs_checksum(one)]
        is_kept = self._verify is not VerifyLevel.REREAD and self._target.keeps_checksums
        if not paths or not is_kept:
            return {}
        found = self._target.stored_checksums(paths)
        self._counter.add(0)
        return dict(zip(paths, found, strict=True))

    def _needs_checksum(self, closed: Closed) -> bool:
        """Whether more than the length is to be compared with the target."""
        match self._verify:
            case VerifyLevel.STORED | VerifyLevel.REREAD:
                return True
            case VerifyLevel.STREAM:
                return closed.expected is None
            case VerifyLevel.SIZE:
                return False

    def _compared(
        self, closed: Closed, stored: StoredChecksum | None
    ) -> StagedObject | BackhaulError | None:
        """By the checksum that the target keeps; None where the file has to be read."""
        if stored is None:
            return _missing(closed)
        if stored.size_bytes is None:
            return None
        if stored.size_bytes != closed.task.planned.pin.size_bytes:
            return _short(closed, stored.size_bytes)
        if stored.checksum is None:
            return None
        try:
            return _judged(closed, stored, stored.checksum)
        except NotComparable:
            return None

    def _from_status(self, closed: Closed, why: str) -> StagedObject | BackhaulError:
        """By the file's status, and by its bytes where a checksum is needed.

        Args:
            why: Why the target's own checksum did not suffice.
        """
        try:
            status = self._target.status(closed.path)
            self._counter.add(0)
            if status is None:
                return _missing(closed)
            if status.size_bytes != closed.task.planned.pin.size_bytes:
                return _short(closed, status.size_bytes)
            if not self._needs_checksum(closed):
                proof = Proof.SIZE if closed.expected is None else Proof.STREAM
                return _staged(closed, proof, modified_ms=status.modified_ms)
            # Where no CRC32C of the stream is known, the bytes have to match S3's checksum, too.
            expected = closed.expected if closed.received is None else None
            found = self._files.read_file(closed.path, status, expected=expected)
        except BackhaulError as error:
            return error
        if found is None or found.checksum is None:
            return _not_s3s(closed)
        if closed.received is None:
            closed = replace(closed, received=found.checksum)
        return _judged(closed, found, found.checksum, note=why)


def _judged(
    closed: Closed, stored: StoredChecksum, checksum: Checksum, *, note: str = ""
) -> StagedObject | IntegrityError:
    is_read = stored.checksum_source == "read"
    proof = proof_level(closed.expected, closed.received, checksum, is_read=is_read)
    if proof is None:
        return _differs(closed, checksum)
    return _staged(closed, proof, modified_ms=stored.modified_ms, stored=stored, note=note)


def match_existing(
    reader: SourceReader,
    files: FileReader,
    task: StageTask,
    path: str,
    stored: StoredChecksum | None,
) -> StagedObject | None:
    """The proof that a file holds the pinned object although nothing was copied; None: no proof.

    S3 gives its checksum without the body. The file is read where the checksum that the target
    keeps, `stored`, does not compare with it.
    """
    pin = task.planned.pin
    facts = reader.head(task.endpoint, pin)
    expected = comparable(reader, task, facts, files.new_digest)
    if expected is None:
        return None
    kept = stored.checksum if stored is not None else None
    if kept is None or kept.algorithm != expected.algorithm or expected.part_sizes:
        stored = files.read(path, expected=expected)
    elif not matches(expected, bytes.fromhex(kept.hex)):
        return None
    elif kept.algorithm != "CRC32C" and stored is not None and stored.size_bytes == pin.size_bytes:
        stored = files.read(path, expected=expected)
    if stored is None or stored.checksum is None or stored.size_bytes != pin.size_bytes:
        return None
    return StagedObject(
        seq=task.planned.seq,
        size_bytes=pin.size_bytes,
        content=stored.checksum,
        proof=Proof.ADOPTED,
        algorithm=expected.algorithm,
        checksum=expected.as_given or expected.value,
        checksum_type=checksum_type(expected),
        version_id=facts.version_id,
        modified_ms=stored.modified_ms,
        target_checksum=stored.checksum,
        checksum_source=stored.checksum_source,
        note="the file existed already, with the bytes of S3's checksum",
    )


def checksum_type(expected: S3Checksum | None) -> str | None:
    """`FULL_OBJECT`, `COMPOSITE` or `ETAG`."""
    if expected is None:
        return None
    return "ETAG" if expected.algorithm == MD5 else expected.kind


def _staged(
    closed: Closed,
    proof: Proof,
    *,
    modified_ms: int,
    stored: StoredChecksum | None = None,
    note: str = "",
) -> StagedObject:
    expected = closed.expected
    target_checksum = stored.checksum if stored else None
    content = closed.received or target_checksum
    if content is None:
        message = "without a checksum of the stream the target's was compared"
        raise AssertionError(message)
    return StagedObject(
        seq=closed.task.planned.seq,
        size_bytes=closed.task.planned.pin.size_bytes,
        content=content,
        proof=proof,
        algorithm=expected.algorithm if expected else None,
        checksum=(expected.as_given or expected.value) if expected else None,
        checksum_type=checksum_type(expected),
        version_id=closed.version_id,
        modified_ms=modified_ms,
        target_checksum=target_checksum,
        checksum_source=stored.checksum_source if stored else "",
        note=note,
        bytes_read=closed.bytes_read,
        was_there=closed.was_there,
    )


def _missing(closed: Closed) -> TargetMissing:
    return TargetMissing("E_DST_MISSING", f"{closed.path}: gone right after it was written")


def _short(closed: Closed, found: int | None) -> IntegrityError:
    return IntegrityError(
        "E_LENGTH",
        f"{closed.path}: source {closed.task.planned.pin.size_bytes} B, staged {found} B",
    )


def _not_s3s(closed: Closed) -> IntegrityError:
    expected = closed.expected
    return IntegrityError(
        "E_STORED",
        f"{closed.path}: the file's {expected.algorithm if expected else 'checksum'} differs from"
        f" S3's, {expected.value if expected else ''}",
        hint="it is copied again",
    )


def _differs(closed: Closed, found: Checksum) -> IntegrityError:
    expected = closed.expected
    return IntegrityError(
        "E_STORED",
        f"{closed.path}: {found.algorithm} of what the target holds is {found.hex}, "
        + (
            f"{closed.received.algorithm} of what was written {closed.received.hex}"
            if closed.received is not None
            else f"S3's is {expected.value if expected else ''}"
        ),
        hint="the target's disk or network changes bytes; nothing was published",
    )
