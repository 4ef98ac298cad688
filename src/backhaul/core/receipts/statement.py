"""What a receipt states, as the bytes that are signed, and the line that signs them.

Pure. A receipt is a file of JSON lines, each with its line end:

    1           the statement: which transfer, its sums, the digests of the lines below
    2 … N+1     one line for each object, as in the evidence
    N+2         the sealing line, as the ledger has it
    N+3         the signature of the first line

Signed are the bytes of the first line as they are, without the line end, behind the
pre-authentication encoding of DSSE. No canonical form of JSON is needed: the first line has the
SHA-256 of the others. The last line is accepted only as `signature_line` writes it, so that no
byte of a receipt may differ. The algorithm is that of the key, and no field can choose another.

Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md; RFC 8032.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn

from backhaul.core.errors import BadMessage, PermanentError
from backhaul.core.requests import strict_json
from backhaul.core.text import printable
from backhaul.core.transfer.evidence import text

VERSION = 1
PAYLOAD_TYPE = "application/vnd.backhaul.receipt+json"
KEY_ID = re.compile(r"[0-9a-f]{32}")
SIGNATURE_BYTES = 64
LINES_BESIDE_OBJECTS = 3  # statement, sealing line, signature
CLOCKS_DIFFER = timedelta(minutes=10)  # of two machines, at most

_DIGEST = re.compile(r"[0-9a-f]{64}")
_DIGEST_OR_NONE = re.compile(r"([0-9a-f]{64})?")
_ANY = re.compile(r".*", re.DOTALL)
_HINT = "use the file as `backhaul receipt` wrote it, copied byte for byte"


@dataclass(frozen=True, kw_only=True)
class Statement:
    """The first line of a receipt.

    Attributes:
        message: SQS's id; None: of `backhaul copy`. Likewise `queue`, `sender` and `sent_at`.
        manifest: SHA-256 of the object lines, each with its line end, hex.
        seal: SHA-256 of the sealing line, hex; `previous` is that of the sealing line before it in
            this ledger, empty for the first.
        ledger: 16 hex digits drawn when the ledger was made: whose chain the seal belongs to.
        issued_by: The program and its version.
        key: Id of the key that signs.
    """

    transfer: str
    route: str | None
    queue: str | None
    message: str | None
    sender: str | None
    source: str
    destination: str
    publish: str
    objects: int
    size_bytes: int
    manifest: str
    seal: str
    previous: str
    ledger: str
    sent_at: datetime | None
    started_at: datetime | None
    finished_at: datetime
    issued_at: datetime
    issued_by: str
    key: str

    @property
    def lines(self) -> int:
        """Of the whole receipt."""
        return self.objects + LINES_BESIDE_OBJECTS


def statement_line(statement: Statement) -> bytes:
    """The first line, without its line end."""
    content = {
        "v": VERSION,
        "kind": "receipt",
        "transfer": statement.transfer,
        "state": "done",
        "route": statement.route,
        "queue": statement.queue,
        "message": statement.message,
        "sender": statement.sender,
        "source": statement.source,
        "destination": statement.destination,
        "publish": statement.publish,
        "objects": statement.objects,
        "size": statement.size_bytes,
        "manifest": statement.manifest,
        "seal": statement.seal,
        "previous": statement.previous,
        "ledger": statement.ledger,
        "sent_at": _iso(statement.sent_at),
        "started_at": _iso(statement.started_at),
        "finished_at": _iso(statement.finished_at),
        "issued_at": _iso(statement.issued_at),
        "issued_by": statement.issued_by,
        "key": statement.key,
    }
    return text(content).encode("utf-8")


def parse_statement(line: bytes) -> Statement:
    """The reverse of `statement_line`.

    Raises:
        PermanentError: E_RECEIPT_FORM: it is none. E_RECEIPT_VERSION: of a newer format.
    """
    document = parse_line(line, 1)
    if document.get("kind") != "receipt":
        refuse_form(1, "is no receipt's first line")
    refuse_newer(document)
    fields = Fields(document, 1)
    fields.const("v", VERSION)
    fields.const("kind", "receipt")
    fields.const("state", "done")
    found = Statement(
        transfer=fields.text("transfer"),
        route=fields.optional("route"),
        queue=fields.optional("queue"),
        message=fields.optional("message"),
        sender=fields.optional("sender"),
        source=fields.text("source"),
        destination=fields.text("destination"),
        publish=fields.text("publish"),
        objects=fields.count("objects"),
        size_bytes=fields.count("size"),
        manifest=fields.text("manifest", _DIGEST),
        seal=fields.text("seal", _DIGEST),
        previous=fields.text("previous", _DIGEST_OR_NONE),
        ledger=fields.text("ledger"),
        sent_at=fields.optional_time("sent_at"),
        started_at=fields.optional_time("started_at"),
        finished_at=fields.time("finished_at"),
        issued_at=fields.time("issued_at"),
        issued_by=fields.text("issued_by"),
        key=fields.text("key", KEY_ID),
    )
    fields.refuse_others()
    return found


def signed_bytes(line: bytes) -> bytes:
    """What Ed25519 signs for a first line: DSSE's pre-authentication encoding of it."""
    kind = PAYLOAD_TYPE.encode("ascii")
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(line), line)


def signature_line(key: str, signature: bytes) -> bytes:
    """The last line, without its line end.

    Args:
        key: Its id.
    """
    content = {
        "v": VERSION,
        "kind": "signature",
        "payload_type": PAYLOAD_TYPE,
        "key": key,
        "signature": base64.b64encode(signature).decode("ascii"),
    }
    return text(content).encode("utf-8")


def parse_signature(line: bytes, number: int) -> tuple[str, bytes]:
    """The id of the key, and the signature.

    Args:
        number: Of the line, for the error.

    Raises:
        PermanentError: E_RECEIPT_FORM.
    """
    document = parse_line(line, number)
    if document.get("kind") != "signature":
        refuse_form(number, "is not the signature, which belongs there")
    fields = Fields(document, number)
    fields.const("v", VERSION)
    fields.const("kind", "signature")
    fields.const("payload_type", PAYLOAD_TYPE)
    key, encoded = fields.text("key", KEY_ID), fields.text("signature")
    fields.refuse_others()
    try:
        signature = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        signature = b""
    if len(signature) != SIGNATURE_BYTES:
        refuse_form(number, f"has a signature that is not base64 of {SIGNATURE_BYTES} bytes")
    if signature_line(key, signature) != line:
        refuse_form(number, "is not written as a signature is: other blanks, order or padding")
    return key, signature


# ---------------------------------------------------------------- any line


def parse_line(line: bytes, number: int) -> Mapping[str, Any]:
    """The object that a line is.

    Raises:
        PermanentError: E_RECEIPT_FORM.
    """
    try:
        document = strict_json.load(line.decode("utf-8"), hint=_HINT)
    except UnicodeDecodeError:
        refuse_form(number, "is not UTF-8")
    except BadMessage as error:
        refuse_form(number, error.message.removeprefix("body "))
    if not isinstance(document, dict):
        refuse_form(number, f"is {strict_json.kind(document)}, not an object")
    return document


def refuse_newer(document: Mapping[str, Any]) -> None:
    """Refuse a format that a later version writes.

    Raises:
        PermanentError: E_RECEIPT_VERSION.
    """
    version = document.get("v")
    if type(version) is int and version > VERSION:
        raise PermanentError(
            "E_RECEIPT_VERSION",
            f"the receipt has format {version}, and this Backhaul reads format {VERSION}",
            hint="verify it with a newer Backhaul; `issued_by` in its first line has the version",
        )


def refuse_form(number: int, reason: str) -> NoReturn:
    """The line is none of a receipt.

    Raises:
        PermanentError: E_RECEIPT_FORM.
    """
    raise PermanentError("E_RECEIPT_FORM", f"line {number:,} of the receipt: {reason}", hint=_HINT)


class Fields:
    """The fields of a line, each read once, with the type that it must have.

    Raises (any method):
        PermanentError: E_RECEIPT_FORM.
    """

    def __init__(self, document: Mapping[str, Any], number: int) -> None:
        self._rest = dict(document)
        self._number = number

    def const(self, name: str, wanted: object) -> None:
        """The field has this very value."""
        value = self._take(name)
        if type(value) is not type(wanted) or value != wanted:
            self._refuse(name, f"is not {wanted}")

    def text(self, name: str, pattern: re.Pattern[str] = _ANY) -> str:
        """A text of this form."""
        value = self._take(name)
        if not isinstance(value, str):
            self._refuse(name, f"is {strict_json.kind(value)}, not text")
        if pattern.fullmatch(value) is None:
            self._refuse(name, "does not have its form")
        return value

    def optional(self, name: str, pattern: re.Pattern[str] = _ANY) -> str | None:
        """A text of this form, or null."""
        return None if self._is_null(name) else self.text(name, pattern)

    def count(self, name: str) -> int:
        """A whole number from 0."""
        value = self._take(name)
        if type(value) is not int or value < 0:
            self._refuse(name, "is not a whole number from 0")
        return value

    def time(self, name: str) -> datetime:
        """A time with its zone, in UTC."""
        value = self.text(name)
        try:
            found = datetime.fromisoformat(value)
            if found.tzinfo is not None:
                return found.astimezone(UTC)
        except (ValueError, OverflowError):
            pass
        return self._refuse(name, "is no time with a zone")

    def optional_time(self, name: str) -> datetime | None:
        """A time, or null."""
        return None if self._is_null(name) else self.time(name)

    def refuse_others(self) -> None:
        """No field is left."""
        for name in self._rest:
            refuse_form(self._number, f"unknown field {printable(name, 40)}")

    def _is_null(self, name: str) -> bool:
        """Whether it is null; then it is read."""
        is_null = self._rest.get(name, "") is None
        if is_null:
            del self._rest[name]
        return is_null

    def _take(self, name: str) -> Any:
        if name not in self._rest:
            refuse_form(self._number, f"field {name} is missing")
        return self._rest.pop(name)

    def _refuse(self, name: str, reason: str) -> NoReturn:
        refuse_form(self._number, f"field {name} {reason}")


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
