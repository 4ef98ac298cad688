"""Reading a receipt, in constant memory, and checking all that needs no S3.

Pure. A receipt is read twice: `read_receipt` takes the digests and the signature, which
`check_receipt` judges; only then `read_objects` believes what the object lines have, and takes
their digest once more.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import NoReturn, Protocol

from backhaul.core.errors import PermanentError
from backhaul.core.objects import Pin
from backhaul.core.receipts.statement import (
    CLOCKS_DIFFER,
    Fields,
    Statement,
    parse_line,
    parse_signature,
    parse_statement,
    refuse_form,
    signed_bytes,
)

LINE_MAX_BYTES = 1 << 20  # a key of 1,024 bytes twice, escaped, is 12 KiB
_PROOF = re.compile(r"[a-z]{1,20}")
_CRC = re.compile(r"[0-9a-f]{8}")


class LineSource(Protocol):
    """A file that is open for reading bytes."""

    def readline(self, limit: int, /) -> bytes:
        """The next line with its end; at most `limit` bytes of it; empty at the end."""


@dataclass(frozen=True, kw_only=True)
class ReceiptContent:
    """What one pass through a receipt found; nothing of it is proven before `check_receipt`.

    Attributes:
        line: The first line as it is, without its end.
        key: Of the last line; `signature` likewise.
        manifest: SHA-256 of the object lines as they are, hex; `seal` that of the sealing line.
    """

    statement: Statement
    line: bytes
    sealing_line: bytes
    key: str
    signature: bytes
    manifest: str
    seal: str


@dataclass(frozen=True, kw_only=True)
class SignedObject:
    """One object line of a receipt, as far as S3 can confirm it.

    Attributes:
        proof: Proof level; None: it had none.
        algorithm: Of S3's checksum that was compared; None: none was. Likewise `checksum`, as S3
            gives it.
        crc32c: Of the bytes that were received, hex; None: another one was compared.
    """

    pin: Pin
    proof: str | None
    algorithm: str | None
    checksum: str | None
    crc32c: str | None


def read_receipt(file: LineSource) -> ReceiptContent:
    """The whole file once, without a look into the object lines.

    Raises:
        PermanentError: E_RECEIPT_FORM, E_RECEIPT_VERSION.
    """
    lines = _Lines(file)
    first = lines.next()
    statement = parse_statement(first)
    lines.total = statement.lines
    manifest = hashlib.sha256()
    for _ in range(statement.objects):
        manifest.update(lines.next() + b"\n")
    sealing_line = lines.next()
    key, signature = parse_signature(lines.next(), lines.number)
    lines.end()
    return ReceiptContent(
        statement=statement,
        line=first,
        sealing_line=sealing_line,
        key=key,
        signature=signature,
        manifest=manifest.hexdigest(),
        seal=hashlib.sha256(sealing_line).hexdigest(),
    )


def check_receipt(
    found: ReceiptContent, verify: Callable[[bytes, bytes], bool], *, now: datetime
) -> None:
    """Signature, digests, seal and times.

    Args:
        verify: Whether this is the key's Ed25519 signature of these bytes; of the key `found.key`.

    Raises:
        PermanentError: E_RECEIPT_SIGNATURE, E_RECEIPT_DIGEST, E_RECEIPT_TIME.
    """
    statement = found.statement
    if statement.key != found.key:
        message = f"signed by key {found.key}, and its first line names {statement.key}"
        _refuse("E_RECEIPT_SIGNATURE", message)
    if not verify(found.signature, signed_bytes(found.line)):
        message = f"the signature is not that of key {found.key} over the first line"
        _refuse("E_RECEIPT_SIGNATURE", message)
    if found.manifest != statement.manifest:
        _refuse("E_RECEIPT_DIGEST", "an object line is not the one that was signed")
    if found.seal != statement.seal:
        _refuse("E_RECEIPT_DIGEST", "the sealing line is not the one that was signed")
    content = parse_line(found.sealing_line, statement.lines - 1)
    for name, wanted in (
        ("transfer", statement.transfer),
        ("manifest", statement.manifest),
        ("objects", statement.objects),
        ("state", "done"),
    ):
        if content.get(name) != wanted:
            _refuse("E_RECEIPT_DIGEST", f"the sealing line has another {name} than the first line")
    for name, moment in (("ended", statement.finished_at), ("was issued", statement.issued_at)):
        if moment > now + CLOCKS_DIFFER:
            raise PermanentError(
                "E_RECEIPT_TIME",
                f"transfer {statement.transfer} {name} at {moment:%Y-%m-%d %H:%M:%S} UTC, and this"
                f" machine's clock shows {now:%Y-%m-%d %H:%M:%S}: that is in the future",
                hint="fix this machine's clock; if it is right, the clock that signed was wrong",
            )


def read_objects(file: LineSource, receipt: ReceiptContent) -> Iterator[SignedObject]:
    """The object lines of a receipt that was checked, from the beginning of its file.

    Raises:
        PermanentError: E_RECEIPT_FORM; E_RECEIPT_DIGEST: the file has changed since.
    """
    lines, statement = _Lines(file), receipt.statement
    lines.total = statement.lines
    manifest, size_bytes = hashlib.sha256(), 0
    if lines.next() != receipt.line:
        _refuse("E_RECEIPT_DIGEST", "the file was changed while it was read")
    for _ in range(statement.objects):
        line = lines.next()
        manifest.update(line + b"\n")
        one = _object(line, lines.number, statement.transfer)
        size_bytes += one.pin.size_bytes
        yield one
    if manifest.hexdigest() != statement.manifest:
        _refuse("E_RECEIPT_DIGEST", "the file was changed while it was read")
    if size_bytes != statement.size_bytes:
        _refuse(
            "E_RECEIPT_DIGEST",
            f"its objects are {size_bytes:,} B, and its first line has {statement.size_bytes:,} B",
        )


def _object(line: bytes, number: int, transfer: str) -> SignedObject:
    fields = Fields(parse_line(line, number), number)
    fields.const("kind", "object")
    fields.const("transfer", transfer)
    pin = Pin(
        bucket=fields.text("bucket"),
        key=fields.text("key"),
        version_id=fields.optional("version_id"),
        etag=fields.text("etag"),
        size_bytes=fields.count("size"),
        last_modified=fields.time("last_modified"),
    )
    proof = fields.optional("proof", _PROOF)
    if proof is None:
        return SignedObject(pin=pin, proof=None, algorithm=None, checksum=None, crc32c=None)
    return SignedObject(
        pin=pin,
        proof=proof,
        algorithm=fields.optional("checksum_algorithm"),
        checksum=fields.optional("checksum"),
        crc32c=fields.optional("crc32c", _CRC),
    )


class _Lines:
    """The lines of a receipt, with their numbers.

    Attributes:
        total: How many there must be; 0: not known yet.
    """

    def __init__(self, file: LineSource) -> None:
        self._file = file
        self.number = 0
        self.total = 0

    def next(self) -> bytes:
        """Without its end.

        Raises:
            PermanentError: E_RECEIPT_FORM.
        """
        line = self._file.readline(LINE_MAX_BYTES)
        self.number += 1
        if line.endswith(b"\n"):
            return line[:-1]
        if len(line) == LINE_MAX_BYTES:
            refuse_form(self.number, f"is longer than {LINE_MAX_BYTES:,} B")
        reason = "has no line end" if line else "is missing"
        wanted = f" of {self.total:,} lines" if self.total else ""
        return refuse_form(self.number, f"{reason}: the file{wanted} is cut short")

    def end(self) -> None:
        """Nothing follows.

        Raises:
            PermanentError: E_RECEIPT_FORM.
        """
        if self._file.readline(1):
            refuse_form(
                self.number + 1, "is behind the end: two receipts in one file, or a changed one"
            )


def _refuse(code: str, message: str) -> NoReturn:
    raise PermanentError(
        code,
        message,
        hint="the receipt was changed after it was signed, or was never signed so: it proves"
        " nothing; get it again from who issued it",
    )
