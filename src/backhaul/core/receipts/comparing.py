"""Compares an object of a receipt with what S3 has now.

Pure. A version of an object never changes, so one that S3 still has must be as it was signed. An
object without a version may have been overwritten, and is then known by ETag, size and checksum.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from backhaul.core.checksums import S3Checksum
from backhaul.core.receipts.reading import SignedObject
from backhaul.core.text import printable

# Without versions, or written while they were suspended: such an object can be overwritten.
_NO_VERSION = (None, "null")


class ReceiptVerdict(StrEnum):
    """What became of an object of a receipt."""

    SAME = "same"  # as signed
    REWRITTEN = "rewritten"  # written again since, with the same ETag, size and checksum
    GONE = "gone"  # S3 has neither this object nor its version
    OVERWRITTEN = "overwritten"  # no version was pinned, and there is other content now
    DIFFERS = "differs"  # S3 has the version, and not as it was signed
    UNKNOWN = "unknown"  # S3 did not show it

    @property
    def is_finding(self) -> bool:
        """The receipt is not true of it."""
        return self in {self.GONE, self.OVERWRITTEN, self.DIFFERS}


@dataclass(frozen=True, kw_only=True)
class ObjectState:
    """What S3 shows of an object, or of one of its versions.

    Attributes:
        version_id: None in a bucket without versions.
        checksums: Those that S3 keeps and shows.
    """

    etag: str
    size_bytes: int
    last_modified: datetime | None
    version_id: str | None
    checksums: tuple[S3Checksum, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ComparedObject:
    """The verdict on one object.

    Attributes:
        reason: For people; empty where it is the same.
        has_checksum: S3 showed a checksum that the receipt has, too, and they are equal.
    """

    signed: SignedObject
    verdict: ReceiptVerdict
    reason: str = ""
    has_checksum: bool = False


def compare(signed: SignedObject, found: ObjectState | None) -> ComparedObject:
    """What is true of the object.

    Args:
        found: None: S3 has no such object or version.
    """
    pin = signed.pin
    is_version = pin.version_id not in _NO_VERSION
    if found is None:
        reason = "this version was deleted since" if is_version else "deleted since"
        return ComparedObject(signed=signed, verdict=ReceiptVerdict.GONE, reason=reason)
    pairs = _checksum_pairs(signed, found)
    differences = _differences(signed, found, pairs)
    is_as_old = _is_same_second(pin.last_modified, found.last_modified)
    if not is_as_old and (differences or is_version):
        differences.append(f"last modified {found.last_modified}, signed {pin.last_modified}")
    if differences:
        verdict = ReceiptVerdict.DIFFERS if is_version else ReceiptVerdict.OVERWRITTEN
        return ComparedObject(signed=signed, verdict=verdict, reason="; ".join(differences))
    if is_as_old:
        return ComparedObject(signed=signed, verdict=ReceiptVerdict.SAME, has_checksum=bool(pairs))
    return ComparedObject(
        signed=signed,
        verdict=ReceiptVerdict.REWRITTEN,
        reason=f"written again at {found.last_modified}, with the same content",
        has_checksum=bool(pairs),
    )


def unknown(signed: SignedObject, reason: str) -> ComparedObject:
    """S3 did not show the object, for this reason."""
    return ComparedObject(signed=signed, verdict=ReceiptVerdict.UNKNOWN, reason=reason)


def _differences(
    signed: SignedObject, found: ObjectState, pairs: list[tuple[str, str, str]]
) -> list[str]:
    pin = signed.pin
    differences = []
    if found.etag != pin.etag:
        differences.append(f"ETag {printable(found.etag, 80)}, signed {printable(pin.etag, 80)}")
    if found.size_bytes != pin.size_bytes:
        differences.append(f"{found.size_bytes:,} B, signed {pin.size_bytes:,} B")
    differences += [
        f"{name} {printable(now, 100)}, signed {printable(then, 100)}"
        for name, now, then in pairs
        if now != then
    ]
    return differences


def _checksum_pairs(signed: SignedObject, found: ObjectState) -> list[tuple[str, str, str]]:
    """Name, value of S3's and value of the receipt's, of each checksum that both have."""
    pairs = []
    for one in found.checksums:
        if one.algorithm == signed.algorithm and signed.checksum is not None:
            pairs.append((one.algorithm, one.value, signed.checksum))
        elif one.algorithm == "CRC32C" and one.is_full_object and signed.crc32c is not None:
            crc = base64.b64encode(bytes.fromhex(signed.crc32c)).decode("ascii")
            pairs.append((one.algorithm, one.value, crc))
    return pairs


def _is_same_second(one: datetime, other: datetime | None) -> bool:
    """HEAD gives whole seconds, listings of some servers have fractions: as `Pin.is_later_than`."""
    return other is None or one.replace(microsecond=0) == other.replace(microsecond=0)
