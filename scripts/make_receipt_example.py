"""Writes the example of docs/reference/receipt.md: a receipt, and the public key that verifies it.

    python scripts/make_receipt_example.py

The private key is that of RFC 8032, 7.1, test 1: everybody knows it.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from backhaul.adapters.system.ed25519 import SigningKey
from backhaul.core.checksums import Checksum
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.receipts.issuing import Receivable, make_statement, receipt_lines
from backhaul.core.transfer.evidence import (
    Ended,
    Manifest,
    Sealed,
    object_line,
    seal,
    sealing_line,
)

DIRECTORY = Path(__file__).parent.parent / "docs" / "reference"
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
DONE_AT = datetime(2026, 11, 1, 3, 0, 12, 345678, tzinfo=UTC)
TRANSFER = "0mh3k2v1x7q4b9"
SOURCE, DESTINATION = "s3://acme-raw/click/day=01/", "/landing/click/day=01"
TARGET = Location(scheme="hdfs", authority="nn1:8020", path=DESTINATION)
# Key, content's size, CRC32C in hex and base64, ETag, version: real ones of b"abc" and b"".
OBJECTS = (
    ("a.csv", 3, "364b3fb7", "Nks/tw==", "900150983cd24fb0d6963f7d28e17f72", "3HL4kqtJlcpXroDTDmJ"),
    ("é b.csv", 0, "00000000", "AAAAAA==", "d41d8cd98f00b204e9800998ecf8427e", None),
)


def texts() -> dict[str, bytes]:
    """File name to content."""
    key = SigningKey.from_seed(SEED)
    manifest = Manifest()
    lines = []
    for seq, (name, size, crc, checksum, etag, version) in enumerate(OBJECTS):
        pin = Pin(
            bucket="acme-raw",
            key=f"click/day=01/{name}",
            size_bytes=size,
            etag=etag,
            last_modified=DONE_AT.replace(microsecond=0) - timedelta(minutes=4),
            version_id=version,
        )
        proof = StagedObject(
            seq=seq,
            size_bytes=size,
            content=Checksum("CRC32C", crc),
            proof=Proof.DIRECT,
            algorithm="CRC32C",
            checksum=checksum,
            checksum_type="FULL_OBJECT",
            version_id=version,
            target_checksum=Checksum("CRC32C", crc),
            checksum_source="datanode",
            bytes_read=size,
            proven_at=DONE_AT - timedelta(seconds=1),
        )
        planned = PlannedObject(seq=seq, pin=pin, relative=name)
        lines.append(object_line(TRANSFER, planned, proof, TARGET.join(name)))
        manifest.add(lines[-1])
    line = sealing_line(
        TRANSFER,
        manifest.sum,
        source=SOURCE,
        destination=DESTINATION,
        state="done",
        publish="tree",
        finished_at=DONE_AT,
        previous="",
    )
    ended = Ended(
        state="done",
        publish="tree",
        source=SOURCE,
        destination=DESTINATION,
        finished_at=DONE_AT,
    )
    statement = make_statement(
        Receivable(
            transfer=TRANSFER,
            state=TransferState.DONE,
            code=None,
            route="clickstream",
            queue="arn:aws:sqs:us-west-2:123456789012:my-queue",
            message="5fb1a0f2-1111-4222-8333-444455556666",
            sender="AROAEXAMPLEID:session",
            sent_at=DONE_AT - timedelta(seconds=9),
            started_at=DONE_AT - timedelta(seconds=7),
        ),
        Sealed(transfer_id=TRANSFER, line=line, seal=seal(line), ended=ended),
        ledger="7d3f0c2a9b1e4856",
        issued_at=DONE_AT.replace(microsecond=0) + timedelta(hours=1),
        issued_by="backhaul 0.1.0",
        key=key.public.id,
    )
    return {
        "receipt-example.jsonl": b"".join(receipt_lines(statement, lines, line, key.sign)),
        "receipt-example.pem": key.public.pem,
    }


if __name__ == "__main__":
    for file_name, content in texts().items():
        (DIRECTORY / file_name).write_bytes(content)
