"""A checksum is compared with its algorithm, and the ledger's column keeps both."""

import pytest

from backhaul.adapters.ledger.rows import content_of, content_text
from backhaul.core.checksums import Checksum
from backhaul.core.ports import StoredChecksum


@pytest.mark.parametrize(
    ("algorithm", "text"), [("CRC32C", "e3069283"), ("CRC32", "crc32:e3069283")]
)
def test_the_column_holds_algorithm_and_digits(algorithm: str, text: str) -> None:
    content = Checksum(algorithm, "e3069283")
    assert content_text(content) == text
    assert content_of(text) == content


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (Checksum("CRC32C", "e3069283"), Checksum("CRC32C", "e3069283"), True),
        (Checksum("CRC32", "e3069283"), Checksum("CRC32", "e3069283"), True),
        (Checksum("CRC32", "e3069283"), Checksum("CRC32C", "e3069283"), False),
        (Checksum("CRC32C", "e3069284"), Checksum("CRC32C", "e3069283"), False),
        (None, Checksum("CRC32C", "e3069283"), False),
    ],
)
def test_equal_digits_of_another_algorithm_are_not_the_same_content(
    one: Checksum | None, other: Checksum, *, expected: bool
) -> None:
    assert (one == other) is expected


def test_crc_of_a_ciphertext_is_never_given() -> None:
    """HDFS has one for a file in an encryption zone, and it is of other bytes."""
    found = StoredChecksum.of_ciphertext(3, 5)
    assert (found.size_bytes, found.checksum) == (3, None)
    assert "ciphertext" in found.why
