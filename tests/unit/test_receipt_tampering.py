"""No byte of a receipt may differ: each position, and a hundred seeds of larger damage."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.core.checksums import S3Checksum
from backhaul.core.errors import PermanentError
from backhaul.core.receipts.comparing import ObjectState, ReceiptVerdict, compare
from backhaul.core.receipts.reading import check_receipt, read_objects, read_receipt
from tests.unit.receipts import KEY, NOW, OTHER_KEY, PIN, SIGNED, lines, opened, receipt

pytestmark = pytest.mark.slow  # each byte of a receipt

GOOD = receipt()
CODES = {"E_RECEIPT_FORM", "E_RECEIPT_VERSION", "E_RECEIPT_SIGNATURE", "E_RECEIPT_DIGEST"}
CODES |= {"E_RECEIPT_KEY_UNKNOWN"}


def code_of(content: bytes) -> str:
    """Why it is refused by those who trust two keys; empty: it is not."""
    trusted = {one.public.id: one.public for one in (KEY, OTHER_KEY)}
    try:
        found = read_receipt(opened(content))
        if found.key not in trusted:
            return "E_RECEIPT_KEY_UNKNOWN"
        check_receipt(found, trusted[found.key].verify, now=NOW)
        list(read_objects(opened(content), found))
    except PermanentError as error:
        return error.code
    return ""


def test_it_is_accepted_as_it_is() -> None:
    assert code_of(GOOD) == ""


def test_every_byte_counts() -> None:
    chance = random.Random(19)
    for at in range(len(GOOD)):
        byte = GOOD[at]
        for other in {byte ^ 1, byte ^ 0x20, byte ^ 0x80, 0x20, 0x0A, chance.randrange(256)}:
            if other != byte:
                changed = GOOD[:at] + bytes([other]) + GOOD[at + 1 :]
                assert code_of(changed) in CODES, (at, other)


def test_every_byte_must_be_there_and_none_more() -> None:
    for at in range(len(GOOD)):
        assert code_of(GOOD[:at] + GOOD[at + 1 :]) in CODES, at
        for more in (b" ", b"\n", b"\r", b"\t", b"0", b'"'):
            assert code_of(GOOD[:at] + more + GOOD[at:]) in CODES, (at, more)
    for more in (b" ", b"\n", b"\r", b"\0", GOOD):
        assert code_of(GOOD + more) in CODES


def test_every_end_is_noticed() -> None:
    assert {code_of(GOOD[:end]) for end in range(len(GOOD))} == {"E_RECEIPT_FORM"}


@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_kinds_of_damage_are_found(seed: int) -> None:
    chance = random.Random(seed)
    content = receipt(lines(chance.randrange(1, 6)))
    parts = content.splitlines(keepends=True)
    match seed % 5:
        case 0:  # lines in another order
            first, second = chance.sample(range(len(parts)), 2)
            parts[first], parts[second] = parts[second], parts[first]
        case 1:  # a line of another receipt
            other = receipt(lines(7), key=OTHER_KEY).splitlines(keepends=True)
            parts[chance.randrange(len(parts))] = chance.choice(other)
        case 2:  # a line twice
            at = chance.randrange(len(parts))
            parts.insert(at, parts[at])
        case 3:  # a line is left out
            del parts[chance.randrange(len(parts))]
        case _:  # a piece is overwritten
            at = chance.randrange(len(content) - 8)
            piece = bytes(byte ^ chance.randrange(1, 256) for byte in content[at : at + 8])
            parts = [content[:at], piece, content[at + 8 :]]
    changed = b"".join(parts)
    if changed != content:
        assert code_of(changed) in CODES


CRC = S3Checksum(algorithm="CRC32C", value="Nks/tw==", is_full_object=True)
STATE = ObjectState(
    etag=PIN.etag,
    size_bytes=PIN.size_bytes,
    last_modified=PIN.last_modified,
    version_id="v1",
    checksums=(CRC,),
)


@pytest.mark.parametrize("seed", range(100))
def test_a_hundred_changes_of_what_s3_has_are_found(seed: int) -> None:
    """Of a version everything counts; of an object without one all but the time it was written."""
    chance = random.Random(seed)
    is_version = chance.random() < 0.5
    signed = SIGNED if is_version else replace(SIGNED, pin=replace(PIN, version_id=None))

    def other(text: str) -> str:
        at = chance.randrange(len(text))
        digit = chance.choice([one for one in "0123456789abcdefXY" if one != text[at]])
        return text[:at] + digit + text[at + 1 :]

    match chance.randrange(5 if is_version else 4):
        case 0:
            state: ObjectState | None = replace(STATE, etag=other(STATE.etag))
        case 1:
            state = replace(STATE, size_bytes=STATE.size_bytes + chance.choice([-1, 1, 99]))
        case 2:
            state = replace(STATE, checksums=(replace(CRC, value=other(CRC.value)),))
        case 3:
            state = None
        case _:
            moved = PIN.last_modified + timedelta(seconds=chance.choice([-1, 1, 5000]))
            state = replace(STATE, last_modified=moved)
    assert compare(signed, STATE).verdict is ReceiptVerdict.SAME
    assert compare(signed, state).verdict.is_finding


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(GOOD)), st.integers(0, len(GOOD)))
def test_no_other_content_is_accepted(piece: bytes, start: int, end: int) -> None:
    changed = GOOD[:start] + piece + GOOD[end:]
    assert (code_of(changed) == "") == (changed == GOOD)
