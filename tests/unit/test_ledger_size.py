"""How much of a disk the ledger takes: what docs/operate.md states is held here."""

from __future__ import annotations

import hashlib
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.adapters.ledger.upkeep.pruning import PruneRule
from backhaul.core.checksums import Checksum
from backhaul.core.model import TransferState
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.ports import MessageKey, MessageOrigin
from backhaul.core.transfer.evidence import Manifest, object_line
from backhaul.core.transfer_ids import time_part
from tests.contract.test_ledger import JOB, LANDING, T0
from tests.docs.manual import DOCS, table

TRANSFERS, OBJECTS = 4, 1000
DAY = timedelta(days=1)
AT = T0 + 3650 * DAY


def fill(
    path: Path,
    transfers: int,
    objects: int,
    *,
    first: int = 0,
    has_versions: bool = True,
    has_uuids: bool = False,
) -> None:
    """As an hourly job writes: keys of 95 characters, with versions and S3's own checksums.

    Args:
        has_uuids: 16 random bytes in each name instead of 4.
    """
    with closing(open_ledger(path, create=True)) as ledger:
        for number in range(first, first + transfers):
            begun = AT + number * timedelta(hours=1)
            transfer_id = f"{time_part(begun)}{number:07}"
            place = f"clickstream/events/day={begun:%Y-%m-%d}/hour={begun:%H}"
            directory = LANDING.join(place)
            digest = hashlib.sha256(transfer_id.encode()).hexdigest()
            key = MessageKey(
                queue="arn:aws:sqs:us-west-2:123456789012:landing",
                message_id=f"{digest[:8]}-1111-4222-8333-444455556666",
                body_digest=digest,
            )
            origin = MessageOrigin(
                sender="AROAEXAMPLEIDEXAMPLE:spark-job",
                sent_at=begun,
                traceparent=None,
                aws_trace_header=None,
            )
            source = f"s3://acme-raw-events/{place}/"
            ledger.begin(key, transfer_id, source, directory.path, begun, origin=origin)
            plan = [
                _planned(f"{place}/", seq, has_versions=has_versions, has_uuids=has_uuids)
                for seq in range(objects)
            ]
            claimed = ledger.claim(
                transfer_id,
                JOB,
                directory,
                LANDING,
                directory=directory,
                first=plan,
                is_complete=True,
                min_epoch=1,
                now=begun,
            )
            assert claimed is not None
            staged = [_staged(one) for one in plan]
            manifest = Manifest()
            for one, its in zip(plan, staged, strict=True):
                manifest.add(object_line(transfer_id, one, its, directory.join(one.relative)))
            assert ledger.intend(transfer_id, claimed.epoch, staged, begun)
            done = TransferState.DONE
            assert ledger.finish(
                transfer_id, claimed.epoch, done, "tree", begun, manifest=manifest.sum
            )


def _planned(prefix: str, seq: int, *, has_versions: bool, has_uuids: bool) -> PlannedObject:
    chance = hashlib.sha256(b"%d" % seq).hexdigest()
    dashed = f"{chance[:8]}-{chance[8:12]}-{chance[12:16]}-{chance[16:20]}-{chance[20:32]}"
    random_part = dashed if has_uuids else chance[:8]
    name = f"part-{seq:05}-{random_part}.c000.snappy.parquet"
    digits = hashlib.sha256(name.encode()).hexdigest()
    pin = Pin(
        bucket="acme-raw-events",
        key=prefix + name,
        version_id=digits[32:] if has_versions else None,
        etag=f'"{digits[:32]}"',
        size_bytes=134_217_728 + int(digits[:7], 16),
        last_modified=AT - timedelta(seconds=int(digits[7:10], 16)),
    )
    return PlannedObject(seq=seq, pin=pin, relative=name)


def _staged(one: PlannedObject) -> StagedObject:
    crc = Checksum("CRC32C", hashlib.sha256(one.relative.encode()).hexdigest()[:8])
    return StagedObject(
        seq=one.seq,
        size_bytes=one.pin.size_bytes,
        content=crc,
        proof=Proof.DIRECT,
        algorithm="CRC32C",
        checksum="C63K/g==",
        checksum_type="FULL_OBJECT",
        version_id=one.pin.version_id,
        modified_ms=1_700_000_000_000 + int(crc.hex[:6], 16),
        target_checksum=Checksum("COMPOSITE-CRC32C", crc.hex),
        checksum_source="datanode",
        bytes_read=one.pin.size_bytes,
        proven_at=AT,
    )


def sizes(path: Path) -> dict[str, int]:
    with closing(open_reader(path)) as reader:
        return {one.name: one.size_bytes for one in reader.sizes()}


def stated() -> dict[str, int]:
    """Bytes, from the table of the manual."""
    rows = table(DOCS / "operate.md", heading="Size and retention", first="for each").rows
    return {row[0]: int(row[1].removesuffix(" B").replace(",", "")) for row in rows}


def test_an_object_takes_no_more_than_the_manual_states(tmp_path: Path) -> None:
    fill(tmp_path / "ledger.db", TRANSFERS, OBJECTS)
    found = sizes(tmp_path / "ledger.db")
    count = TRANSFERS * OBJECTS
    lines, files = stated()["object: how it was proven"], stated()["path: what is there now"]
    assert 0.9 * lines < found["objects"] / count <= lines
    assert 0.9 * files < found["published"] / count <= files


@pytest.mark.parametrize(
    ("row", "about"),
    {
        "packed path": {"has_versions": False},
        "packed path, a UUID in its name": {"has_versions": False, "has_uuids": True},
        "packed path, of a bucket with versions": {"has_versions": True},
    }.items(),
)
def test_a_packed_path_takes_no_more_than_the_manual_states(
    tmp_path: Path, row: str, about: dict[str, bool]
) -> None:
    path, transfers = tmp_path / "ledger.db", 12
    fill(path, transfers, OBJECTS, **about)
    with closing(open_ledger(path, create=False)) as ledger:
        after: str | None = ""
        while after is not None:
            after = ledger.pack_paths(AT + DAY, after=after, most=500).after
    limit = stated()[row]
    assert 0.85 * limit < sizes(path)["packed_paths"] / (transfers * OBJECTS) <= limit


def test_a_transfer_takes_no_more_than_the_manual_states(tmp_path: Path) -> None:
    few, many = 10, 90
    fill(tmp_path / "few.db", few, 1)
    fill(tmp_path / "many.db", many, 1)
    grown = {
        name: size - sizes(tmp_path / "few.db")[name]
        for name, size in sizes(tmp_path / "many.db").items()
        if name not in {"objects", "published"}
    }
    limit = stated()["transfer"]
    assert 0.6 * limit < sum(grown.values()) / (many - few) <= limit


def test_what_was_pruned_is_used_again(tmp_path: Path) -> None:
    """So a ledger with retention comes to a steady size, without a VACUUM."""
    path = tmp_path / "ledger.db"
    fill(path, 2, OBJECTS)
    before = path.stat().st_size
    rule = PruneRule(before=AT + DAY, name="the test")
    with closing(open_ledger(path, create=False)) as ledger:
        assert ledger.prune(rule, AT + DAY, most=2 * OBJECTS).objects == 2 * OBJECTS
    with closing(open_reader(path)) as reader:
        free = reader.file_size().free_bytes
    assert free > 0.4 * before
    assert path.stat().st_size == before
    fill(path, 1, OBJECTS, first=2)
    assert path.stat().st_size < before + 0.5 * free
