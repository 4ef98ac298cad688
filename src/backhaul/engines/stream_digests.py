"""Digests over the bytes of one object as they are received, and S3's checksum to compare with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from backhaul.core.checksums import (
    Checksum,
    Digest,
    S3Checksum,
    S3Checksums,
    composite_in,
    of_parts,
)
from backhaul.core.ports import SourceReader, StageTask

NewDigest = Callable[[str], Digest]


def comparable(
    reader: SourceReader, task: StageTask, facts: S3Checksums, new_digest: NewDigest
) -> S3Checksum | None:
    """S3's checksum that compares with the bytes; of the parts where there is no better one."""
    size_bytes = task.planned.pin.size_bytes
    best = facts.best(size_bytes)
    composite = composite_in(facts.checksums) if best is None else None
    if composite is None:
        return best
    parts = reader.parts(task.endpoint, task.planned.pin)
    return of_parts(composite, parts, size_bytes, new_digest) if parts else None


class StreamDigests:
    """CRC32C always, and S3's algorithm where it is another.

    Args:
        expected: S3's checksum; None where it has none that compares.
    """

    def __init__(self, expected: S3Checksum | None, new_digest: NewDigest) -> None:
        self.expected = expected
        self._crc32c = new_digest("CRC32C")
        self._other: Digest | None = None
        if expected is not None and expected.part_sizes:
            self._other = PartsDigest(new_digest, expected.algorithm, expected.part_sizes)
        elif expected is not None and expected.algorithm != "CRC32C":
            self._other = new_digest(expected.algorithm)

    def update(self, data: bytes) -> None:
        """Add the next bytes."""
        self._crc32c.update(data)
        if self._other is not None:
            self._other.update(data)

    @property
    def crc32c(self) -> Checksum:
        """Of the bytes so far."""
        return Checksum("CRC32C", self._crc32c.digest().hex())

    @property
    def in_s3s_algorithm(self) -> bytes:
        """Of the bytes so far."""
        return (self._other or self._crc32c).digest()


class PartsDigest:
    """The checksum of the parts' checksums over a stream, as S3 makes COMPOSITE ones."""

    def __init__(self, new_digest: NewDigest, algorithm: str, sizes: Sequence[int]) -> None:
        self.algorithm = algorithm
        self._new_digest = new_digest
        self._over = new_digest(algorithm)
        self._part = new_digest(algorithm)
        self._sizes = iter(sizes)
        self._left = next(self._sizes, 0)

    def update(self, data: bytes) -> None:
        while len(data) >= self._left > 0:
            self._part.update(data[: self._left])
            data = data[self._left :]
            self._over.update(self._part.digest())
            self._part = self._new_digest(self.algorithm)
            self._left = next(self._sizes, 0)
        if data:
            self._part.update(data)
            self._left -= len(data)

    def digest(self) -> bytes:
        return self._over.digest()

    def append(self, checksum: bytes, size_bytes: int) -> bool:
        del checksum, size_bytes
        return False
