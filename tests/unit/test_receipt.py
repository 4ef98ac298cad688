"""Receipts: what is written, what is refused, and what S3 must show."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from backhaul.core.checksums import S3Checksum
from backhaul.core.errors import PermanentError
from backhaul.core.model import TransferState
from backhaul.core.receipts.comparing import (
    ComparedObject,
    ObjectState,
    ReceiptVerdict,
    compare,
    unknown,
)
from backhaul.core.receipts.issuing import make_statement, receipt_lines
from backhaul.core.receipts.reading import (
    LINE_MAX_BYTES,
    check_receipt,
    read_objects,
    read_receipt,
)
from backhaul.core.receipts.statement import (
    parse_statement,
    signature_line,
    signed_bytes,
    statement_line,
)
from backhaul.core.transfer.evidence import seal
from tests.unit.receipts import (
    ENDED,
    KEY,
    NOW,
    OTHER_KEY,
    PIN,
    SIGNED,
    T0,
    WANTED,
    lines,
    opened,
    receipt,
    resigned,
    sealed,
    signed_again,
    statement,
)


def refusal(content: bytes, now: datetime = NOW) -> PermanentError:
    """Why a reader who trusts KEY refuses it."""
    with pytest.raises(PermanentError) as caught:
        accept(content, now)
    assert caught.value.exit_code == 65
    assert caught.value.hint
    return caught.value


def accept(content: bytes, now: datetime = NOW) -> list[Any]:
    found = read_receipt(opened(content))
    check_receipt(found, KEY.public.verify, now=now)
    return list(read_objects(opened(content), found))


# ---------------------------------------------------------------- what is written


def test_a_receipt_is_what_it_was_made_of() -> None:
    found = read_receipt(opened(receipt()))
    assert found.statement == statement(sealed(lines()))
    assert found.statement.lines == 5
    first, second = accept(receipt())
    assert first.pin == replace(PIN, key="click/day=01/0é")
    assert second == replace(SIGNED, pin=replace(PIN, key="click/day=01/1é"))


def test_it_has_the_lines_of_the_evidence_between_statement_and_signature() -> None:
    objects = lines()
    _, *between, _ = receipt().decode().splitlines()
    wanted = [json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in objects]
    assert between == [*wanted, sealed(objects).line]


def test_another_program_finds_the_signature_good() -> None:
    first, *objects, sealing, last = receipt().removesuffix(b"\n").split(b"\n")
    encoded = b"DSSEv1 37 application/vnd.backhaul.receipt+json %d %s" % (len(first), first)
    signature = base64.b64decode(json.loads(last)["signature"])
    load_pem_public_key(KEY.public.pem).verify(signature, encoded)  # type: ignore[union-attr,call-arg]
    content = json.loads(first)
    assert content["manifest"] == hashlib.sha256(b"".join(o + b"\n" for o in objects)).hexdigest()
    assert content["seal"] == hashlib.sha256(sealing).hexdigest()
    assert (content["v"], content["objects"], content["size"]) == (1, 2, 6)
    assert content["message"] == "m1"


def test_a_transfer_without_objects_has_one_too() -> None:
    assert accept(receipt([])) == []


def test_a_copy_has_no_message() -> None:
    copied = replace(WANTED, queue=None, message=None, sender=None, sent_at=None, started_at=None)
    made = make_statement(
        copied,
        sealed([]),
        ledger="0",
        issued_at=NOW,
        issued_by="backhaul",
        key=KEY.public.id,
    )
    assert parse_statement(statement_line(made)) == made


def test_an_object_without_proof_is_read() -> None:
    bare = lines(1)[0]
    names = ["v", "kind", "transfer", "seq", "bucket", "key", "version_id", "etag", "size"]
    names += ["last_modified", "target"]
    (one,) = accept(receipt([{name: bare[name] for name in names} | {"proof": None}]))
    assert (one.proof, one.algorithm, one.checksum, one.crc32c) == (None, None, None, None)


@pytest.mark.parametrize(
    ("state", "code", "reason"),
    [
        (TransferState.DEAD, "E_SRC_EMPTY", "t1 is dead (E_SRC_EMPTY)"),
        (TransferState.DEAD, None, "t1 is dead (without a code)"),
        (TransferState.SUPERSEDED, None, "t1 is superseded"),
        (TransferState.STAGING, None, "t1 has not ended: it is staging"),
        (TransferState.HELD, None, "t1 has not ended: it is held"),
    ],
)
def test_only_a_transfer_that_is_done_has_a_receipt(
    state: TransferState, code: str | None, reason: str
) -> None:
    wanted = replace(WANTED, state=state, code=code)
    with pytest.raises(PermanentError, match="E_RECEIPT_NOT_DONE") as caught:
        make_statement(
            wanted, sealed([]), ledger="0", issued_at=NOW, issued_by="b", key=KEY.public.id
        )
    assert reason in caught.value.message
    assert caught.value.hint


def test_evidence_that_is_gone_or_was_changed_is_not_signed() -> None:
    good = sealed(lines())
    other = json.dumps(json.loads(good.line) | {"source": "s3://x/"}, separators=(",", ":"))
    cases = {
        "has no sealing line": None,
        "its sealing line was changed": replace(good, line=good.line + " "),
        "its sealing line is malformed": replace(good, line="[]", seal=seal("[]")),
        "its sealing line belongs to t2": sealed(lines(), transfer_id="t2"),
        "sealed with another source than": replace(good, line=other, seal=seal(other)),
        "sealed with another row than": replace(good, ended=None),
        "sealed with another finished_at": replace(
            good, ended=replace(ENDED, finished_at=T0 + timedelta(seconds=1))
        ),
    }
    for reason, found in cases.items():
        with pytest.raises(PermanentError, match="E_RECEIPT_EVIDENCE") as caught:
            make_statement(WANTED, found, ledger="0", issued_at=NOW, issued_by="b", key="k")
        assert reason in caught.value.message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda found: found[:-1], "the ledger has 1 of 2 object lines"),
        (lambda found: [*found, found[0]], "the ledger has 3 of 2 object lines"),
        (lambda found: [found[0], found[1] | {"etag": "x"}], "one was changed"),
        (lambda found: [], "the ledger has 0 of 2 object lines"),
    ],
)
def test_object_lines_that_are_not_the_sealed_ones_are_never_signed(
    change: Callable[[list[Any]], list[Any]], reason: str
) -> None:
    good = lines()
    seal_line = sealed(good)
    written: list[bytes] = []
    made = receipt_lines(statement(seal_line), change(good), seal_line.line, KEY.sign)
    with pytest.raises(PermanentError, match="E_RECEIPT_EVIDENCE") as caught:
        written.extend(made)
    assert reason in caught.value.message
    assert b'"kind":"signature"' not in b"".join(written)
    assert refusal(b"".join(written)).code == "E_RECEIPT_FORM"


def test_a_clock_that_was_ahead_is_noticed_before_signing() -> None:
    with pytest.raises(PermanentError, match="E_RECEIPT_TIME"):
        statement(sealed([]), issued_at=T0 - timedelta(minutes=11))
    assert statement(sealed([]), issued_at=T0 - timedelta(minutes=9)).finished_at == T0


# ---------------------------------------------------------------- what is refused


def test_another_key_is_not_the_trusted_one() -> None:
    found = read_receipt(opened(receipt(key=OTHER_KEY)))
    with pytest.raises(PermanentError, match="E_RECEIPT_SIGNATURE"):
        check_receipt(found, KEY.public.verify, now=NOW)
    check_receipt(found, OTHER_KEY.public.verify, now=NOW)


def test_a_statement_names_the_key_that_signs_it() -> None:
    """Else a receipt could be laid under another's name, where both are trusted."""
    error = refusal(signed_again(receipt(), key="0" * 32))
    assert error.code == "E_RECEIPT_SIGNATURE"
    assert "names 000" in error.message


def test_a_receipt_from_the_future_is_refused() -> None:
    for now in (NOW - timedelta(minutes=11), T0 - timedelta(days=1)):
        error = refusal(receipt(), now)
        assert error.code == "E_RECEIPT_TIME"
        assert "clock" in error.hint
    accept(receipt(), NOW - timedelta(minutes=9))


def form(content: bytes) -> str:
    error = refusal(content)
    assert error.code == "E_RECEIPT_FORM", error
    return error.message


FIRST = receipt().split(b"\n")[0]
MIDDLE = receipt().removesuffix(b"\n").split(b"\n")[1:-1]
LAST = receipt().removesuffix(b"\n").split(b"\n")[-1]


def test_a_file_that_is_cut_short_is_refused_with_the_line() -> None:
    parts = receipt().splitlines(keepends=True)
    assert "line 1 of the receipt: is missing" in form(b"")
    assert "line 1 of the receipt: has no line end: the file is cut" in form(FIRST)
    for kept in range(1, 5):
        message = form(b"".join(parts[:kept]))
        assert message.startswith(f"line {kept + 1} of the receipt: is missing")
        assert "the file of 5 lines is cut short" in message
    assert "line 5 of the receipt: has no line end" in form(receipt()[:-1])
    assert "line 3 of the receipt: has no line end" in form(b"".join(parts[:3])[:-5])


def test_two_receipts_in_one_file_are_refused() -> None:
    assert "line 6 of the receipt: is behind the end" in form(receipt() + receipt())
    assert "line 6" in form(receipt() + b"\n")


def test_a_newer_format_is_named() -> None:
    error = refusal(signed_again(receipt(), v=2, more="fields"))
    assert error.code == "E_RECEIPT_VERSION"
    assert "format 2" in error.message


@pytest.mark.parametrize(
    ("first", "reason"),
    [
        (b"hello", "is not valid JSON"),
        (b"[]", "is an array, not an object"),
        (b'"receipt"', "is text, not an object"),
        (b"{}", "is no receipt's first line"),
        (b"\xff" + FIRST, "is not UTF-8"),
        (b"\xef\xbb\xbf" + FIRST, "is not valid JSON"),
        (b"[" * 40 + b"]" * 40, "nested deeper than 32"),
        (b'{"a":' * 500_000, "is longer than" if LINE_MAX_BYTES < 2_500_000 else "nested"),
        (b'{"v":1,"v":1}', "duplicate key"),
        (b'{"v":' + b"9" * 5000 + b"}", "not a number that JSON can carry"),
        (FIRST + b"\r", ""),
        (FIRST.replace(b'"v":1,', b'"v":true,'), "field v is not 1"),
        (FIRST.replace(b'"v":1,', b'"v":0,'), "field v is not 1"),
        (FIRST.replace(b'"v":1,', b""), "field v is missing"),
    ],
)
def test_a_first_line_that_is_none_is_refused(first: bytes, reason: str) -> None:
    assert reason in refusal(resigned(first, MIDDLE, LAST)).message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"state": "dead"}, "field state is not done"),
        ({"transfer": 5}, "field transfer is a number, not text"),
        ({"route": ["a"]}, "field route is an array, not text"),
        ({"objects": -1}, "field objects is not a whole number"),
        ({"objects": True}, "field objects is not a whole number"),
        ({"size": 1.5}, "field size is not a whole number"),
        ({"manifest": "ABC"}, "field manifest does not have its form"),
        ({"previous": "abc"}, "field previous does not have its form"),
        ({"key": KEY.public.id.upper()}, "field key does not have its form"),
        ({"issued_at": "yesterday"}, "field issued_at is no time with a zone"),
        ({"issued_at": "2026-11-01T03:00:00"}, "field issued_at is no time with a zone"),
        ({"finished_at": "0001-01-01T00:00:00+23:00"}, "field finished_at is no time"),
        ({"finished_at": None}, "field finished_at is null, not text"),
        ({"sent_at": "x"}, "field sent_at is no time"),
        ({"alg": "none"}, "unknown field alg"),
        ({"ledger": ...}, "field ledger is missing"),
    ],
)
def test_a_statement_with_a_wrong_field_is_refused_although_it_is_signed(
    changes: dict[str, Any], reason: str
) -> None:
    assert reason in form(signed_again(receipt(), **changes))


def last_line(**changes: Any) -> bytes:
    return json.dumps(json.loads(LAST) | changes, separators=(",", ":")).encode()


@pytest.mark.parametrize(
    ("last", "reason"),
    [
        (b"{}", "is not the signature"),
        (last_line(alg="none"), "unknown field alg"),
        (last_line(alg="ed25519"), "unknown field alg"),
        (last_line(payload_type="application/json"), "field payload_type is not"),
        (last_line(v=2), "field v is not 1"),
        (last_line(signature="!"), "not base64 of 64 bytes"),
        (last_line(signature="AAAA"), "not base64 of 64 bytes"),
        (last_line(signature=base64.b64encode(b"s" * 65).decode()), "not base64 of 64 bytes"),
        (last_line(key="k"), "field key does not have its form"),
        (json.dumps(json.loads(LAST)).encode(), "other blanks, order or padding"),
        (b" " + LAST, "other blanks"),
        (LAST + b" ", "other blanks"),
        (LAST + b"\r", "other blanks"),
    ],
)
def test_a_last_line_in_another_spelling_is_refused(last: bytes, reason: str) -> None:
    assert reason in form(resigned(FIRST, MIDDLE, last))


def test_the_unused_bits_of_base64_are_refused() -> None:
    """64 bytes leave four bits of the last digit over."""
    signature = json.loads(LAST)["signature"]
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    digit = signature[-3]
    other = digits[
        digits.index(digit) | 1 if not digits.index(digit) & 1 else digits.index(digit) - 1
    ]
    changed = f"{signature[:-3]}{other}=="
    assert base64.b64decode(changed) == base64.b64decode(signature)
    assert "padding" in form(resigned(FIRST, MIDDLE, last_line(signature=changed)))


def test_a_signature_of_another_length_or_of_zeros_is_none() -> None:
    zeros = signature_line(KEY.public.id, b"\0" * 64)
    assert refusal(resigned(FIRST, MIDDLE, zeros)).code == "E_RECEIPT_SIGNATURE"


def test_an_object_line_that_was_changed_added_or_moved_is_found() -> None:
    a, b, sealing = MIDDLE
    for middle in ([b, a, sealing], [a, a, sealing], [a.replace(b"raw", b"row"), b, sealing]):
        assert refusal(resigned(FIRST, middle, LAST)).code == "E_RECEIPT_DIGEST"
    assert "sealing line" in refusal(resigned(FIRST, [a, b, sealing + b" "], LAST)).message


def test_a_statement_that_does_not_fit_its_sealing_line_is_refused() -> None:
    assert "another transfer" in refusal(signed_again(receipt(), transfer="t2")).message
    for field, value in (("manifest", "0" * 64), ("objects", 3), ("state", "superseded")):
        sealing = json.dumps(json.loads(MIDDLE[-1]) | {field: value}, separators=(",", ":"))
        first = json.loads(FIRST) | {"seal": seal(sealing)}
        line = json.dumps(first, separators=(",", ":"), ensure_ascii=False).encode()
        last = signature_line(KEY.public.id, KEY.sign(signed_bytes(line)))
        error = refusal(resigned(line, [*MIDDLE[:-1], sealing.encode()], last))
        assert error.code == "E_RECEIPT_DIGEST"
        assert f"another {field}" in error.message


def objects_of(*changed: dict[str, Any]) -> bytes:
    """A receipt, rightly signed, of such object lines."""
    return receipt([line | change for line, change in zip(lines(), changed, strict=True)])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "transfer"}, "line 2 of the receipt: field kind is not object"),
        ({"transfer": "t9"}, "field transfer is not t1"),
        ({"bucket": None}, "field bucket is null, not text"),
        ({"size": 3.0}, "field size is not a whole number"),
        ({"proof": "Direct"}, "field proof does not have its form"),
        ({"crc32c": "xyz"}, "field crc32c does not have its form"),
        ({"last_modified": "x"}, "field last_modified is no time"),
    ],
)
def test_object_lines_of_a_signer_with_a_defect_are_refused(
    change: dict[str, Any], reason: str
) -> None:
    assert reason in form(objects_of(change, {}))


def test_sizes_must_add_up() -> None:
    error = refusal(signed_again(receipt(), size=7))
    assert error.code == "E_RECEIPT_DIGEST"
    assert "6 B" in error.message


def test_a_file_that_changes_between_the_two_passes_is_noticed() -> None:
    found = read_receipt(opened(receipt()))
    a, b, sealing = MIDDLE
    for changed in (
        resigned(FIRST.replace(b"click", b"clack"), MIDDLE, LAST),
        resigned(FIRST, [a, b.replace(b"raw", b"row"), sealing], LAST),
    ):
        with pytest.raises(PermanentError, match="changed while it was read"):
            list(read_objects(opened(changed), found))


def test_a_long_line_is_refused_without_being_read_whole() -> None:
    wanted = []

    class Endless:
        def readline(self, limit: int, /) -> bytes:
            wanted.append(limit)
            return b"x" * limit

    with pytest.raises(PermanentError, match="longer than 1,048,576 B"):
        read_receipt(Endless())
    assert wanted == [LINE_MAX_BYTES]


# ---------------------------------------------------------------- what S3 must show


CRC = S3Checksum(algorithm="CRC32C", value="Nks/tw==", is_full_object=True)
STATE = ObjectState(
    etag=PIN.etag,
    size_bytes=3,
    last_modified=PIN.last_modified,
    version_id="v1",
    checksums=(CRC,),
)
BARE = replace(SIGNED, pin=replace(PIN, version_id=None))
LATER = PIN.last_modified + timedelta(hours=2)


def judged(
    found: ObjectState | None, signed: Any = SIGNED
) -> tuple[ReceiptVerdict, ComparedObject]:
    one = compare(signed, found)
    return one.verdict, one


def test_the_version_that_was_signed_is_the_same() -> None:
    assert compare(SIGNED, STATE) == ComparedObject(
        signed=SIGNED, verdict=ReceiptVerdict.SAME, has_checksum=True
    )
    fractions = replace(STATE, last_modified=PIN.last_modified.replace(microsecond=5))
    assert judged(fractions)[0] is ReceiptVerdict.SAME
    assert judged(replace(STATE, last_modified=None))[0] is ReceiptVerdict.SAME


def test_without_a_checksum_of_s3_etag_and_size_count() -> None:
    verdict, one = judged(replace(STATE, checksums=()))
    assert verdict is ReceiptVerdict.SAME
    assert not one.has_checksum


def test_what_was_deleted_is_gone() -> None:
    assert judged(None)[1].reason == "this version was deleted since"
    assert judged(None, BARE)[1].reason == "deleted since"
    assert judged(None, BARE)[0].is_finding


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"etag": "other"}, f"ETag other, signed {PIN.etag}"),
        ({"size_bytes": 4}, "4 B, signed 3 B"),
        ({"last_modified": LATER}, "last modified 2026-11-01 04:55:00+00:00, signed"),
        ({"checksums": (replace(CRC, value="AAAAAA=="),)}, "CRC32C AAAAAA==, signed Nks/tw=="),
    ],
)
def test_a_version_that_is_not_as_signed_differs(change: dict[str, Any], reason: str) -> None:
    verdict, one = judged(replace(STATE, **change))
    assert verdict is ReceiptVerdict.DIFFERS
    assert verdict.is_finding
    assert reason in one.reason


@pytest.mark.parametrize("version", [None, "null"])
def test_other_content_without_a_version_is_overwritten(version: str | None) -> None:
    signed = replace(SIGNED, pin=replace(PIN, version_id=version))
    found = replace(STATE, etag="new", size_bytes=9, last_modified=LATER, version_id=version)
    verdict, one = judged(found, signed)
    assert verdict is ReceiptVerdict.OVERWRITTEN
    assert "ETag new" in one.reason
    assert "9 B, signed 3 B" in one.reason
    assert "04:55" in one.reason


def test_the_same_content_written_again_is_true() -> None:
    verdict, one = judged(replace(STATE, last_modified=LATER, version_id=None), BARE)
    assert verdict is ReceiptVerdict.REWRITTEN
    assert not verdict.is_finding
    assert "written again" in one.reason
    assert one.has_checksum


def test_the_bytes_that_were_received_are_compared_where_the_proof_was_an_etag() -> None:
    signed = replace(SIGNED, algorithm="MD5", checksum=PIN.etag)
    assert judged(STATE, signed)[1].has_checksum
    other = replace(CRC, value="AAAAAA==")
    assert judged(replace(STATE, checksums=(other,)), signed)[0] is ReceiptVerdict.DIFFERS
    composite = replace(other, is_full_object=False)
    assert judged(replace(STATE, checksums=(composite,)), signed)[0] is ReceiptVerdict.SAME
    sha = S3Checksum(algorithm="SHA256", value="x", is_full_object=True)
    assert not judged(replace(STATE, checksums=(sha,)), signed)[1].has_checksum
    assert not judged(STATE, replace(signed, crc32c=None))[1].has_checksum
    assert not judged(STATE, replace(SIGNED, checksum=None, crc32c=None))[1].has_checksum


def test_what_s3_does_not_show_is_unknown_and_no_finding() -> None:
    one = unknown(SIGNED, "E_SRC_DENIED: no")
    assert one.verdict is ReceiptVerdict.UNKNOWN
    assert not one.verdict.is_finding


def test_times_are_in_utc() -> None:
    found = read_receipt(opened(signed_again(receipt(), issued_at="2026-11-01T05:00:00+01:00")))
    assert found.statement.issued_at == datetime(2026, 11, 1, 4, tzinfo=UTC)
    assert found.statement.issued_at.tzinfo is UTC
