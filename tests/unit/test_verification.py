"""Which checksum counts, and that every digest gives the value that S3 would."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backhaul.adapters.digests import crc32c, new_digest
from backhaul.core.checksums import (
    MD5,
    PREFERENCE,
    SINGLE_PUT_MAX_BYTES,
    Checksum,
    Part,
    S3Checksum,
    S3Checksums,
    choose,
    matches,
    of_parts,
)
from backhaul.core.objects import Proof
from backhaul.engines.checksum_comparison import NotComparable, proof_level

ETAG = "d41d8cd98f00b204e9800998ecf8427e"

# Of b"123456789": the "check" values of the CRC catalogue and of FIPS 180; of b"": by definition.
VECTORS = {
    "CRC32C": ("e3069283", "00000000"),
    "CRC64NVME": ("ae8b14860a799888", "0000000000000000"),
    "CRC32": ("cbf43926", "00000000"),
    "SHA256": (
        "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ),
    "SHA1": (
        "f7c3bc1d808e04732adf679965ccc34ca7ae3441",
        "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    ),
    "MD5": ("25f9e794323b453885f5181f1b624d0b", ETAG),
}
LENGTHS = {name: len(full) // 2 for name, (full, _) in VECTORS.items()}


def full(algorithm: str, value: str | None = None) -> S3Checksum:
    if value is None:
        value = base64.b64encode(bytes(LENGTHS.get(algorithm, 4))).decode()
    return S3Checksum(algorithm=algorithm, value=value, is_full_object=True)


@pytest.mark.parametrize("algorithm", PREFERENCE)
@pytest.mark.parametrize(("data", "which"), [(b"123456789", 0), (b"", 1)])
def test_digest_is_the_known_one(algorithm: str, data: bytes, which: int) -> None:
    expected = bytes.fromhex(VECTORS[algorithm][which])
    digest = new_digest(algorithm)
    for byte in data:
        digest.update(bytes([byte]))

    assert digest.algorithm == algorithm
    assert digest.digest() == expected
    value = expected.hex() if algorithm == MD5 else base64.b64encode(expected).decode()
    assert matches(full(algorithm, value), digest.digest())
    assert not matches(full(algorithm, value), expected[:-1] + bytes([expected[-1] ^ 1]))


def test_unknown_algorithm_has_no_digest() -> None:
    with pytest.raises(ValueError, match="XXHASH64"):
        new_digest("XXHASH64")


@given(st.binary(), st.binary())
def test_crc32c_goes_on_where_it_stopped(first: bytes, second: bytes) -> None:
    assert crc32c(second, crc32c(first)) == crc32c(first + second)


def test_best_algorithm_is_chosen() -> None:
    every = [full(name) for name in reversed(PREFERENCE[:-1])]
    for position in range(len(every)):
        left = [c for c in every if c.algorithm in PREFERENCE[position:]]
        chosen = choose(left, ETAG, None, 0)
        assert chosen is not None
        assert chosen.algorithm == PREFERENCE[position]


@pytest.mark.parametrize(
    "useless",
    [
        S3Checksum(algorithm="CRC32C", value="AAAAAA==", is_full_object=False),
        S3Checksum(algorithm="CRC32C", value="AAAAAA==-3", is_full_object=True),
        full("CRC32C", "AAAAAAAAAAA="),  # eight bytes
        full("CRC32C", "not base64!"),
        full("CRC32C", ""),
        full("XXHASH64"),
        full("SHA512"),
    ],
)
def test_what_cannot_be_compared_is_passed_over(useless: S3Checksum) -> None:
    assert choose([useless], "", None, 1) is None
    assert choose([useless, full("SHA1")], "", None, 1) == full("SHA1")


@pytest.mark.parametrize("sse", [None, "AES256"])
@pytest.mark.parametrize("etag", [ETAG, ETAG.upper()])
def test_plain_etag_is_an_md5(sse: str | None, etag: str) -> None:
    chosen = choose([], etag, sse, 1)

    assert chosen == full(MD5, etag)
    assert matches(chosen, bytes.fromhex(ETAG))


@pytest.mark.parametrize(
    ("etag", "sse", "size"),
    [
        (f"{ETAG}-2", None, 1),
        (ETAG[:-1], None, 1),
        (ETAG[:-1] + "g", None, 1),
        (ETAG + "\n", None, 1),
        (ETAG, "aws:kms", 1),
        (ETAG, "aws:kms:dsse", 1),
        (ETAG, "SSE-C", 1),
        (ETAG, None, SINGLE_PUT_MAX_BYTES + 1),
    ],
)
def test_other_etags_are_no_md5(etag: str, sse: str | None, size: int) -> None:
    assert choose([], etag, sse, size) is None


def test_composite_matches_nothing() -> None:
    composite = S3Checksum(algorithm="CRC32C", value="AAAAAA==", is_full_object=False)
    assert not matches(composite, bytes(4))
    assert not matches(full("CRC32C", "AAAAAA==-3"), bytes(4))


def test_answer_knows_its_best() -> None:
    answer = S3Checksums(
        checksums=(full("CRC32"),), etag=ETAG, version_id=None, content_length=0, sse=None
    )
    assert answer.best(0) == full("CRC32")


# ---------------------------------------------------------------- checksums made of parts


def of(algorithm: str, data: bytes) -> str:
    digest = new_digest(algorithm)
    digest.update(data)
    return base64.b64encode(digest.digest()).decode()


PIECES = (b"first part", b"second")
SUMS = [of("CRC32C", piece) for piece in PIECES]
OVER = of("CRC32C", b"".join(base64.b64decode(each) for each in SUMS))


def rebuilt(
    value: str, *, sums: list[str] = SUMS, size: int = 16, pieces: tuple[bytes, ...] = PIECES
) -> S3Checksum | None:
    composite = S3Checksum(algorithm="CRC32C", value=value, is_full_object=False)
    parts = [
        Part(size_bytes=len(piece), checksums={"CRC32C": each})
        for piece, each in zip(pieces, sums, strict=True)
    ]
    return of_parts(composite, parts, size, new_digest)


def test_parts_that_make_up_the_composite_give_the_object_s_own_checksum() -> None:
    found = rebuilt(f"{OVER}-2")
    assert found is not None
    assert (found.value, found.part_sizes) == (of("CRC32C", b"".join(PIECES)), ())
    assert found.as_given == f"{OVER}-2"


@pytest.mark.parametrize("value", ["-2", "no base64!-2", "AAAA-2", "AAAAAAAAAAA=-2"])
def test_composite_that_is_malformed_proves_nothing(value: str) -> None:
    assert rebuilt(value) is None


def test_parts_that_do_not_add_up_to_the_object_prove_nothing() -> None:
    assert rebuilt(f"{OVER}-3") is None
    assert rebuilt(f"{OVER}-2", size=17) is None
    assert rebuilt(f"{OVER}-0", sums=[], pieces=(), size=0) is None


@pytest.mark.parametrize("sums", [["AAAAAA==", SUMS[1]], [SUMS[0], "?"], ["AAAA", SUMS[1]]])
def test_parts_checksums_that_are_not_the_composite_s_leave_it_to_be_computed(
    sums: list[str],
) -> None:
    """Only their sizes are believed; a wrong one is found by the bytes."""
    found = rebuilt(f"{OVER}-2", sums=sums)
    assert found is not None
    assert (found.value, found.part_sizes) == (OVER, (10, 6))


# ---------------------------------------------------------------- the proof level


def test_a_target_that_holds_other_bytes_than_s3_proves_nothing() -> None:
    expected = full("CRC32C", of("CRC32C", b"right"))
    wrong, right = (
        Checksum("CRC32C", base64.b64decode(of("CRC32C", data)).hex())
        for data in (b"wrong", b"right")
    )
    assert proof_level(expected, None, wrong) is None
    assert proof_level(expected, right, wrong) is None
    assert proof_level(expected, None, right) is Proof.DIRECT
    assert proof_level(None, right, wrong) is None
    assert proof_level(None, right, right) is Proof.RECEIVED


def test_a_target_with_another_algorithm_cannot_be_compared() -> None:
    with pytest.raises(NotComparable, match="CRC32 only"):
        proof_level(full("CRC32C"), Checksum("CRC32C", "00000000"), Checksum("CRC32", "00000000"))
