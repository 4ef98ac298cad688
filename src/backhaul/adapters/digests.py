"""The concrete digests: CRCs from awscrt (5 GiB/s a core, GIL released), the rest from hashlib.

Which one is used, and whether it matches, is decided in `core.checksums`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from awscrt import checksums

from backhaul.core.checksums import Digest

_CRCS: dict[str, tuple[Callable[[bytes, int], int], Callable[[int, int, int], int], int]] = {
    "CRC32C": (checksums.crc32c, checksums.combine_crc32c, 4),
    "CRC64NVME": (checksums.crc64nvme, checksums.combine_crc64nvme, 8),
    "CRC32": (checksums.crc32, checksums.combine_crc32, 4),
}
_HASHES = {"SHA256": "sha256", "SHA1": "sha1", "MD5": "md5"}


class _Crc:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        self._function, self._combine, self._size_bytes = _CRCS[algorithm]
        self._value = 0

    def update(self, data: bytes) -> None:
        self._value = self._function(data, self._value)

    def digest(self) -> bytes:
        return self._value.to_bytes(self._size_bytes, "big")

    def append(self, checksum: bytes, size_bytes: int) -> bool:
        self._value = self._combine(self._value, int.from_bytes(checksum, "big"), size_bytes)
        return True


class _Hash:
    def __init__(self, algorithm: str) -> None:
        self.algorithm = algorithm
        # Against accidents, not for security: FIPS machines refuse MD5 without this argument.
        self._hash = hashlib.new(_HASHES[algorithm], usedforsecurity=False)

    def update(self, data: bytes) -> None:
        self._hash.update(data)

    def digest(self) -> bytes:
        return self._hash.digest()

    def append(self, checksum: bytes, size_bytes: int) -> bool:
        del checksum, size_bytes
        return False


def new_digest(algorithm: str) -> Digest:
    """An empty digest of one of `core.checksums.PREFERENCE`.

    Raises:
        ValueError: Any other algorithm; `choose` never returns one, so this is a bug.
    """
    if algorithm in _CRCS:
        return _Crc(algorithm)
    if algorithm in _HASHES:
        return _Hash(algorithm)
    raise ValueError(f"no digest for checksum algorithm {algorithm!r}")


def crc32c(data: bytes, previous: int = 0) -> int:
    """CRC32C (Castagnoli) of `data`, going on from `previous`; 0 starts anew."""
    value: int = checksums.crc32c(data, previous)
    return value
