"""One text for what a file holds, whichever of two sums is kept of it."""

import pytest

from backhaul.core.ports import StoredChecksum
from backhaul.core.transfer.content_sum import algorithm_of, content_sum, digits_of, holds


def held(algorithm: str | None, checksum: str | None) -> StoredChecksum:
    return StoredChecksum(size_bytes=1, modified_ms=0, algorithm=algorithm, checksum=checksum)


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C"])
def test_it_comes_apart_as_it_was_put_together(algorithm: str) -> None:
    content = content_sum(algorithm, "e3069283")
    assert (algorithm_of(content), digits_of(content)) == (algorithm, "e3069283")


@pytest.mark.parametrize(
    ("told", "content", "expected"),
    [
        (held("CRC32C", "e3069283"), "e3069283", True),
        (held("CRC32", "e3069283"), "crc32:e3069283", True),
        (held("CRC32", "e3069283"), "e3069283", False),
        (held("CRC32C", "e3069283"), "crc32:e3069283", False),
        (held("CRC32C", "e3069284"), "e3069283", False),
        (held(None, None), "e3069283", False),
        (None, "e3069283", False),
    ],
)
def test_equal_digits_of_another_sum_are_not_the_same_content(
    told: StoredChecksum | None, content: str, *, expected: bool
) -> None:
    assert holds(told, content) is expected


def test_crc_of_a_ciphertext_is_never_told() -> None:
    """Of a file in an encryption zone HDFS would tell it, and it is of other bytes."""
    found = StoredChecksum.of_ciphertext(3, 5)
    assert (found.size_bytes, found.checksum) == (3, None)
    assert "ciphertext" in found.why
    assert not holds(found, "00000000")
