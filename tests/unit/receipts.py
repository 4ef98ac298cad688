"""A small receipt for tests: with plain `cryptography`, and lines as the ledger makes them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from backhaul.adapters.system.ed25519 import SigningKey
from backhaul.core.checksums import Checksum
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.receipts.issuing import Receivable, make_statement, receipt_lines
from backhaul.core.receipts.reading import SignedObject
from backhaul.core.receipts.statement import Statement
from backhaul.core.transfer.evidence import (
    Ended,
    Manifest,
    Sealed,
    object_line,
    seal,
    sealing_line,
)

T0 = datetime(2026, 11, 1, 3, tzinfo=UTC)
NOW = T0 + timedelta(hours=1)
KEY = SigningKey.from_seed(b"s" * 32)
OTHER_KEY = SigningKey.from_seed(b"o" * 32)
SOURCE, DESTINATION = "s3://raw/click/day=01/", "hdfs://ns/landing/click/day=01"
TARGET = Location(scheme="hdfs", authority="ns", path="/landing/click/day=01")
ABC = "364b3fb7"  # CRC32C of b"abc"
PIN = Pin(
    bucket="raw",
    key="click/day=01/a",
    size_bytes=3,
    etag="900150983cd24fb0d6963f7d28e17f72",
    last_modified=T0 - timedelta(minutes=5),
    version_id="v1",
)
STAGED = StagedObject(
    seq=0,
    size_bytes=3,
    content=Checksum("CRC32C", ABC),
    proof=Proof.DIRECT,
    algorithm="CRC32C",
    checksum="Nks/tw==",
    checksum_type="FULL_OBJECT",
    version_id="v1",
    target_checksum=Checksum("CRC32C", ABC),
    checksum_source="datanode",
    bytes_read=3,
    proven_at=T0,
)
SIGNED = SignedObject(pin=PIN, proof="direct", algorithm="CRC32C", checksum="Nks/tw==", crc32c=ABC)
WANTED = Receivable(
    transfer="t1",
    state=TransferState.DONE,
    code=None,
    route="click",
    queue="arn:aws:sqs:us-west-2:123456789012:work",
    message="m1",
    sender="AROA:step",
    sent_at=T0 - timedelta(minutes=1),
    started_at=T0 - timedelta(seconds=30),
)
ENDED = Ended(state="done", publish="tree", source=SOURCE, destination=DESTINATION, finished_at=T0)


def lines(count: int = 2) -> list[dict[str, Any]]:
    """The object lines of a transfer."""
    return [
        object_line(
            "t1",
            PlannedObject(seq=seq, pin=replace(PIN, key=f"click/day=01/{seq}é"), relative=str(seq)),
            replace(STAGED, seq=seq),
            TARGET.join(str(seq)),
        )
        for seq in range(count)
    ]


def sealed(objects: Sequence[dict[str, Any]], **changes: Any) -> Sealed:
    """Their sealing line, as the ledger has it."""
    manifest = Manifest()
    for one in objects:
        manifest.add(one)
    values: dict[str, Any] = {
        "source": SOURCE,
        "destination": DESTINATION,
        "state": "done",
        "publish": "tree",
        "finished_at": T0,
        "previous": "",
    }
    line = sealing_line(changes.pop("transfer_id", "t1"), manifest.sum, **values | changes)
    return Sealed(transfer_id="t1", line=line, seal=seal(line), ended=ENDED)


def statement(of: Sealed, key: SigningKey = KEY, issued_at: datetime = NOW) -> Statement:
    return make_statement(
        WANTED,
        of,
        ledger="0011223344556677",
        issued_at=issued_at,
        issued_by="backhaul 0.1.0",
        key=key.public.id,
    )


def receipt(objects: Sequence[dict[str, Any]] | None = None, key: SigningKey = KEY) -> bytes:
    """The whole file."""
    objects = lines() if objects is None else objects
    seal_line = sealed(objects)
    parts = receipt_lines(statement(seal_line, key), objects, seal_line.line, key.sign)
    return b"".join(parts)


def signed_again(content: bytes, **changes: Any) -> bytes:
    """A receipt whose statement was changed by someone who has the key; None leaves a field out."""
    import json

    from backhaul.core.receipts.statement import signature_line, signed_bytes
    from backhaul.core.transfer.evidence import text

    first, *middle, _ = content.removesuffix(b"\n").split(b"\n")
    fields = json.loads(first) | changes
    line = text({k: v for k, v in fields.items() if v is not ...}).encode()
    return resigned(line, middle, signature_line(KEY.public.id, KEY.sign(signed_bytes(line))))


def resigned(first: bytes, middle: Sequence[bytes], last: bytes) -> bytes:
    return b"".join(line + b"\n" for line in (first, *middle, last))


def opened(content: bytes) -> io.BytesIO:
    return io.BytesIO(content)
