"""Which of S3's checksums can prove an object, and whether a digest agrees with it.

Pure. The digests themselves are `adapters.digests`; the headers are read by `aws.s3_get`. The bytes
received and the target's file are compared with S3's checksum in `engines.checksum_comparison`.

S3 keeps a checksum of the whole object (FULL_OBJECT) or one made of its parts' checksums
(COMPOSITE, its value ends in `-N`). Only the first compares with the object's bytes. Algorithms
that are unknown here prove nothing, and that is no error: the caller has other proofs.

Source: Amazon S3 user guide, "Checking object integrity".
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

# Best first. CRC32C is what HDFS keeps, too; the CRCs are some 10 times cheaper than the SHAs.
_DIGEST_SIZES_BYTES = {"CRC32C": 4, "CRC64NVME": 8, "CRC32": 4, "SHA256": 32, "SHA1": 20}
MD5 = "MD5"
PREFERENCE = (*_DIGEST_SIZES_BYTES, MD5)

# An object beyond this was not uploaded in one PUT, so its ETag is no MD5.
SINGLE_PUT_MAX_BYTES = 5 * 1024**3

_MD5_HEX = re.compile(r"[0-9a-fA-F]{32}")


@dataclass(frozen=True)
class Checksum:
    """A checksum of all bytes of a file; equal only to one of the same algorithm.

    Attributes:
        algorithm: `CRC32C` or `CRC32`, the two that HDFS keeps.
        hex: Big-endian, 8 lower-case digits.
    """

    algorithm: str
    hex: str

    def __str__(self) -> str:
        return f"{self.algorithm} {self.hex}"


@dataclass(frozen=True, kw_only=True)
class S3Checksum:
    """One checksum as S3 gives it.

    Attributes:
        algorithm: `CRC32C`, `CRC64NVME`, `CRC32`, `SHA256`, `SHA1`, or `MD5` (from the ETag).
        value: Base64 of the big-endian bytes, such as `yZRlqg==`; hex for MD5; `…-N` if composite.
        is_full_object: Made of the object's bytes, not of its parts' checksums.
        kind: As S3 keeps it, `FULL_OBJECT` or `COMPOSITE`: the latter compares with the object's
            bytes only with the help of its parts (`of_parts`).
        as_given: S3's own value where `value` was made of it; else the same.
        part_sizes: Bytes of each part where `value` is the checksum of the parts' checksums; empty
            where it is of the object's bytes.
    """

    algorithm: str
    value: str
    is_full_object: bool
    kind: str = "FULL_OBJECT"
    as_given: str = ""
    part_sizes: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a multipart upload, as `GetObjectAttributes` describes it.

    Attributes:
        checksums: Algorithm to base64; empty where S3 withholds them.
    """

    size_bytes: int
    checksums: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class S3Checksums:
    """The headers of one GET or HEAD that describe the object.

    Attributes:
        checksums: Empty where S3 has none, or did not show it (it shows none for a range).
        etag: Without its quotes.
        version_id: None in a bucket without versions.
        content_length: Bytes of this answer's body: of the range where one was requested.
        sse: `AES256`, `aws:kms`, `aws:kms:dsse`, `SSE-C`; None where S3 gives none.
    """

    checksums: tuple[S3Checksum, ...]
    etag: str
    version_id: str | None
    content_length: int
    sse: str | None

    def best(self, size_bytes: int) -> S3Checksum | None:
        """`choose` among these, for an object of this size."""
        return choose(self.checksums, self.etag, self.sse, size_bytes)


class Digest(Protocol):
    """A checksum of a stream under way."""

    algorithm: str

    def update(self, data: bytes) -> None:
        """Add the next bytes."""

    def digest(self) -> bytes:
        """The checksum so far, big-endian; more may be added afterwards."""

    def append(self, checksum: bytes, size_bytes: int) -> bool:
        """Go on as after bytes of this checksum and number; False for an algorithm that cannot."""


def choose(
    checksums: Sequence[S3Checksum], etag: str, sse: str | None, size: int
) -> S3Checksum | None:
    """The best checksum that compares with the object's bytes; None when nothing does.

    Order: CRC32C, CRC64NVME, CRC32, SHA256, SHA1, then the ETag where it is an MD5: 32 hex digits,
    not encrypted by KMS or a customer's key, and small enough for a single PUT.

    Args:
        size: Of the object, in bytes.

    Source: Amazon S3 API reference, "Object" (ETag).
    """
    usable = {c.algorithm: c for c in checksums if c.is_full_object and _is_well_formed(c)}
    for algorithm in PREFERENCE:
        if algorithm in usable:
            return usable[algorithm]
    if sse in {None, "AES256"} and size <= SINGLE_PUT_MAX_BYTES and _MD5_HEX.fullmatch(etag):
        return S3Checksum(algorithm=MD5, value=etag, is_full_object=True)
    return None


def composite_in(checksums: Sequence[S3Checksum]) -> S3Checksum | None:
    """The best checksum made of parts' checksums; None when there is none of a known algorithm."""
    known = {
        c.algorithm: c
        for c in checksums
        if not c.is_full_object and c.algorithm in _DIGEST_SIZES_BYTES and "-" in c.value
    }
    return next((known[each] for each in PREFERENCE if each in known), None)


def of_parts(
    composite: S3Checksum, parts: Sequence[Part], size: int, new_digest: Callable[[str], Digest]
) -> S3Checksum | None:
    """A composite checksum as one that compares; None where the parts do not make it up.

    A CRC becomes that of the whole object, where S3 gives the parts' CRCs and they are the ones
    that the composite was made of. Else it stays one over the parts' checksums, to be computed on
    the way with the parts' sizes.

    Args:
        size: Of the object, in bytes.
    """
    value, _, count = composite.value.rpartition("-")
    expected = _decoded(value)
    sizes = tuple(part.size_bytes for part in parts)
    if expected is None or len(expected) != _DIGEST_SIZES_BYTES[composite.algorithm]:
        return None
    if not sizes or count != str(len(sizes)) or sum(sizes) != size:
        return None
    by_parts = S3Checksum(
        algorithm=composite.algorithm,
        value=value,
        is_full_object=True,
        kind="COMPOSITE",
        as_given=composite.value,
        part_sizes=sizes,
    )
    given = [_decoded(part.checksums.get(composite.algorithm, "?")) for part in parts]
    whole, over = new_digest(composite.algorithm), new_digest(composite.algorithm)
    for size_bytes, each in zip(sizes, given, strict=True):
        if each is None or len(each) != len(expected) or not whole.append(each, size_bytes):
            return by_parts
        over.update(each)
    if over.digest() != expected:
        return by_parts
    full = base64.b64encode(whole.digest()).decode("ascii")
    return replace(by_parts, value=full, part_sizes=())


def matches(expected: S3Checksum, digest: bytes) -> bool:
    """True when `digest`, big-endian bytes, is S3's checksum.

    A composite or malformed value matches nothing: `choose` never returns one.
    """
    if not expected.is_full_object:
        return False
    if expected.algorithm == MD5:
        return expected.value.lower() == digest.hex()
    return _decoded(expected.value) == digest


def _is_well_formed(checksum: S3Checksum) -> bool:
    """False for `…-N` whatever its type claims, for a wrong length, and for what is unknown."""
    decoded = _decoded(checksum.value)
    return decoded is not None and len(decoded) == _DIGEST_SIZES_BYTES.get(checksum.algorithm)


def _decoded(value: str) -> bytes | None:
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
