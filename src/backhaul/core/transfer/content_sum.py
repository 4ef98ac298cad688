"""How the ledger writes down what a file holds: one text, compared with what the target tells.

Eight hex digits are the CRC32C of its bytes, which HDFS keeps unless it is told otherwise. DistCp's
files may be written to keep CRC32 instead, where that is S3's own: then nobody has seen the bytes
to make a CRC32C of them, and `crc32:` stands before the digits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from backhaul.core.ports import StoredChecksum

_CRC32 = "crc32:"


def content_sum(algorithm: str, checksum: str) -> str:
    """From an algorithm, `CRC32C` or `CRC32`, and its hex."""
    return f"{_CRC32}{checksum}" if algorithm == "CRC32" else checksum


def algorithm_of(content: str) -> str:
    """In which the target has to tell it."""
    return "CRC32" if content.startswith(_CRC32) else "CRC32C"


def digits_of(content: str) -> str:
    """The hex alone."""
    return content.removeprefix(_CRC32)


def holds(held: StoredChecksum | None, content: str) -> bool:
    """Whether that is what the target told."""
    if held is None or held.checksum is None or held.algorithm is None:
        return False
    return content_sum(held.algorithm, held.checksum) == content
