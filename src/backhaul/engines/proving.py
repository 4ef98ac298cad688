"""The second half of every proof: what the target holds is what was received.

Closed files come in batches. The target is asked for the checksums it keeps; what it cannot tell
is read back. Which rung that makes is decided in `core.verification`.

A checksum that says no is believed, and the bytes are not asked: with a bit flipped in a DataNode's
meta file some files still read well.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

from backhaul.core.checksums import (
    MD5,
    Digest,
    NotComparable,
    S3Checksum,
    matches,
    rung,
)
from backhaul.core.errors import BackhaulError, IntegrityError, TargetMissing
from backhaul.core.model import Proof, StagedObject, VerifyLevel
from backhaul.core.ports import SourceReader, StageTask, StoredChecksum, TargetFs
from backhaul.core.transfer.content_sum import content_sum

READERS = 8  # files read back at once


class Counter:
    """Bytes and calls done by this worker; what the pool watches to tell slow from stuck."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.size_bytes = 0
        self.calls = 0

    def add(self, size_bytes: int) -> None:
        with self._lock:
            self.size_bytes += size_bytes
            self.calls += 1


@dataclass(frozen=True, kw_only=True)
class Closed:
    """One object whose bytes matched S3's checksum on the way and whose file is closed.

    Attributes:
        crc32c: Of the bytes received, hex; None where another engine received them, and S3's own
            sum can be compared with the one that the target keeps.
        expected: S3's checksum that they matched; None where S3 gave none that compares.
        bytes_read: From S3, earlier tries included.
        turn: How often it had been tried before.
        was_there: Another engine wrote the file.
    """

    task: StageTask
    path: str
    crc32c: str | None
    expected: S3Checksum | None
    version_id: str | None
    bytes_read: int
    turn: int
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
        self._new_digest = new_digest
        self._counter = counter
        self._verify = verify
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read-back")

    def close(self) -> None:
        """Wait for files that are being read back."""
        self._readers.shutdown(wait=True, cancel_futures=True)

    @property
    def is_batched(self) -> bool:
        """Whether the target is asked about many files together."""
        return self._verify is VerifyLevel.STORED and self._target.keeps_checksums

    def prove(self, batch: Sequence[Closed]) -> list[StagedObject | BackhaulError]:
        """One answer per file, in order; an error concerns that file alone.

        Raises:
            BackhaulError: The target failed as a whole.
        """
        asked = [one for one in batch if self._wants_target(one)]
        told: dict[str, StoredChecksum | None] = {}
        if asked and self._verify is not VerifyLevel.REREAD and self._target.keeps_checksums:
            told = dict(
                zip(
                    [one.path for one in asked],
                    self._target.held([one.path for one in asked]),
                    strict=True,
                )
            )
            self._counter.add(0)
        results: dict[str, StagedObject | BackhaulError] = {}
        rest: list[Closed] = []
        for one in batch:
            held = told.get(one.path)
            if one.path in told and (held is None or held.size_bytes is not None):
                settled = self._settled(one, held)
                if settled is not None:
                    results[one.path] = settled
                    continue
            rest.append(one)
        for one, result in zip(
            rest, self._map(lambda one: self._looked_at(one, told.get(one.path)), rest), strict=True
        ):
            results[one.path] = result
        return [results[one.path] for one in batch]

    def _map(
        self,
        work: Callable[[Closed], StagedObject | BackhaulError],
        items: Sequence[Closed],
    ) -> list[StagedObject | BackhaulError]:
        if len(items) <= 1:
            return [work(one) for one in items]
        return list(self._readers.map(work, items))

    def _wants_target(self, closed: Closed) -> bool:
        """Whether more than the length is to be compared with the target."""
        match self._verify:
            case VerifyLevel.STORED | VerifyLevel.REREAD:
                return True
            case VerifyLevel.STREAM:
                return closed.expected is None
            case VerifyLevel.SIZE:
                return False

    def _settled(
        self, closed: Closed, held: StoredChecksum | None
    ) -> StagedObject | BackhaulError | None:
        """From what the target told; None where that is no answer and the file has to be read."""
        if held is None:
            return _missing(closed)
        if held.size_bytes != closed.task.planned.pin.size_bytes:
            return _short(closed, held.size_bytes)
        if held.algorithm is None or held.checksum is None:
            return None
        try:
            proof = rung(
                closed.expected,
                closed.crc32c,
                algorithm=held.algorithm,
                checksum=held.checksum,
            )
        except NotComparable:
            return None
        if proof is None:
            return _differs(closed, held.algorithm, held.checksum)
        return _staged(
            closed,
            proof,
            modified_ms=held.modified_ms,
            target=(held.algorithm, held.checksum),
            asked=held.asked,
        )

    def _looked_at(
        self, closed: Closed, held: StoredChecksum | None
    ) -> StagedObject | BackhaulError:
        """By the file's status, and by its bytes where they are wanted."""
        try:
            status = self._target.status(closed.path)
            self._counter.add(0)
            if status is None:
                return _missing(closed)
            if status.size_bytes != closed.task.planned.pin.size_bytes:
                return _short(closed, status.size_bytes)
            if not self._wants_target(closed):
                proof = Proof.SIZE if closed.expected is None else Proof.STREAM
                return _staged(closed, proof, modified_ms=status.modified_ms)
            if closed.crc32c is None:
                return self._read_for_s3s(closed, held)
            found = read_back(self._target, closed.path, self._new_digest("CRC32C"), self._counter)
        except BackhaulError as error:
            return error
        proven = rung(
            closed.expected, closed.crc32c, algorithm="CRC32C", checksum=found, is_read=True
        )
        if proven is None:
            return _differs(closed, "CRC32C", found)
        return _staged(
            closed,
            proven,
            modified_ms=status.modified_ms,
            target=("CRC32C", found),
            asked="read",
            note=held.why if held is not None else "",
        )

    def _read_for_s3s(
        self, closed: Closed, held: StoredChecksum | None
    ) -> StagedObject | BackhaulError:
        """The target keeps another sum than S3: its bytes are read for both."""
        if closed.expected is None:
            message = "without a sum of S3's the bytes are read before this"
            raise AssertionError(message)
        found = _read_for(
            closed.expected, self._target, self._new_digest, self._counter, closed.path
        )
        if found is None or found.checksum is None:
            return IntegrityError(
                "E_STORED",
                f"{closed.path}: the file's {closed.expected.algorithm} is not S3's,"
                f" {closed.expected.value}",
                hint="it is copied again",
            )
        return _staged(
            replace(closed, crc32c=found.checksum),
            Proof.REREAD,
            modified_ms=found.modified_ms,
            target=("CRC32C", found.checksum),
            asked="read",
            note=held.why if held is not None else "",
        )


def standing(
    reader: SourceReader,
    target: TargetFs,
    new_digest: Callable[[str], Digest],
    counter: Counter,
    task: StageTask,
    path: str,
    told: StoredChecksum | None,
) -> StagedObject | None:
    """A proof that a file holds the pinned object although nothing was copied; None: no proof.

    S3 tells its checksum without the body. The file is read where the target's own does not
    compare with it.
    """
    pin = task.planned.pin
    facts = reader.head(task.endpoint, pin)
    expected = facts.best(pin.size_bytes)
    if expected is None:
        return None
    if told is None or told.algorithm != expected.algorithm:
        told = _read_for(expected, target, new_digest, counter, path)
    elif told.checksum is None or not matches(expected, bytes.fromhex(told.checksum)):
        return None
    if told is None or told.size_bytes != pin.size_bytes:
        return None
    if told.algorithm != "CRC32C":
        told = _read_for(expected, target, new_digest, counter, path)
    if told is None or told.checksum is None:
        return None
    return StagedObject(
        seq=task.planned.seq,
        size_bytes=pin.size_bytes,
        crc32c=told.checksum,
        proof=Proof.ADOPTED,
        algorithm=expected.algorithm,
        checksum=expected.value,
        checksum_type=checksum_type(expected),
        version_id=facts.version_id,
        modified_ms=told.modified_ms,
        target_algorithm="CRC32C",
        target_checksum=told.checksum,
        asked=told.asked,
        note="stood there already with the bytes that S3 vouches for",
    )


def _read_for(
    expected: S3Checksum,
    target: TargetFs,
    new_digest: Callable[[str], Digest],
    counter: Counter,
    path: str,
) -> StoredChecksum | None:
    """The file's CRC32C, where its bytes match S3's checksum; one pass for both."""
    status = target.status(path)
    if status is None or not status.is_file:
        return None
    crc, own = new_digest("CRC32C"), new_digest(expected.algorithm)
    for data in target.read(path):
        crc.update(data)
        own.update(data)
        counter.add(len(data))
    if not matches(expected, own.digest()):
        return None
    return StoredChecksum(
        size_bytes=status.size_bytes,
        modified_ms=status.modified_ms,
        algorithm="CRC32C",
        checksum=crc.digest().hex(),
        asked="read",
    )


def read_back(target: TargetFs, path: str, digest: Digest, counter: Counter) -> str:
    """A digest of a target file's bytes, hex."""
    for data in target.read(path):
        digest.update(data)
        counter.add(len(data))
    return digest.digest().hex()


def checksum_type(expected: S3Checksum | None) -> str | None:
    """What kind of value S3's is."""
    if expected is None:
        return None
    return "ETAG" if expected.algorithm == MD5 else expected.kind


def _staged(
    closed: Closed,
    proof: Proof,
    *,
    modified_ms: int,
    target: tuple[str, str] | None = None,
    asked: str = "",
    note: str = "",
) -> StagedObject:
    expected = closed.expected
    return StagedObject(
        seq=closed.task.planned.seq,
        size_bytes=closed.task.planned.pin.size_bytes,
        crc32c=closed.crc32c if closed.crc32c is not None else content_sum(*(target or ("", ""))),
        proof=proof,
        algorithm=expected.algorithm if expected else None,
        checksum=(expected.as_given or expected.value) if expected else None,
        checksum_type=checksum_type(expected),
        version_id=closed.version_id,
        modified_ms=modified_ms,
        target_algorithm=target[0] if target else None,
        target_checksum=target[1] if target else None,
        asked=asked,
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


def _differs(closed: Closed, algorithm: str, found: str) -> IntegrityError:
    return IntegrityError(
        "E_STORED",
        f"{closed.path}: {algorithm} of what the target holds is {found}, "
        + (
            f"CRC32C of what was written {closed.crc32c}"
            if closed.crc32c is not None
            else f"S3 says {closed.expected.value if closed.expected else ''}"
        ),
        hint="the target's disk or network changes bytes; nothing was published",
    )
