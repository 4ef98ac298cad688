"""A receipt of very many objects is written and checked in the memory of a small one."""

from __future__ import annotations

import io
import tracemalloc
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backhaul.app import receipt_verify
from backhaul.app.receipt_verify import ReceiptTotals, TrustedKeys, verify_receipt
from backhaul.core.objects import Pin
from backhaul.core.receipts.comparing import ObjectState, ReceiptVerdict
from backhaul.core.receipts.issuing import receipt_lines
from backhaul.core.transfer.evidence import Manifest, Sealed, seal, sealing_line
from tests.unit.receipts import DESTINATION, ENDED, KEY, NOW, SOURCE, T0, lines, statement

pytestmark = pytest.mark.slow

ONE = lines(1)[0]


def object_lines(count: int) -> Iterator[dict[str, Any]]:
    """Made one by one."""
    for seq in range(count):
        yield ONE | {"seq": seq, "key": f"click/day=01/{seq}"}


def sealed_of(count: int) -> Sealed:
    manifest = Manifest()
    for one in object_lines(count):
        manifest.add(one)
    line = sealing_line(
        "t1",
        manifest.sum,
        source=SOURCE,
        destination=DESTINATION,
        state="done",
        publish="tree",
        finished_at=T0,
        previous="",
    )
    return Sealed(transfer_id="t1", line=line, seal=seal(line), ended=ENDED)


class EverythingIsThere:
    """S3, without a store."""

    def open(self, bucket: str) -> None:
        """Nothing to do."""

    def state(self, pin: Pin) -> ObjectState:
        return ObjectState(
            etag=pin.etag,
            size_bytes=pin.size_bytes,
            last_modified=pin.last_modified,
            version_id=pin.version_id,
        )


def peak_bytes(call: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def peaks(count: int, directory: Path) -> tuple[int, int]:
    """Of writing, and of verifying."""
    file, key = directory / f"{count}.jsonl", directory / "key.pem"
    key.write_bytes(KEY.public.pem)
    key.chmod(0o644)
    seal_line = sealed_of(count)
    made = replace(statement(seal_line), issued_at=NOW)
    totals: list[ReceiptTotals] = []

    def write() -> None:
        parts = receipt_lines(made, object_lines(count), seal_line.line, KEY.sign)
        with file.open("wb") as opened:
            deque(map(opened.write, parts), maxlen=0)

    def verify() -> None:
        totals.append(
            verify_receipt(
                file,
                TrustedKeys(files=(key,)),
                stdin=io.BytesIO(),
                reader=EverythingIsThere(),
                signed=lambda _: None,
                found=lambda _: None,
            )
        )

    found = peak_bytes(write), peak_bytes(verify)
    assert totals[0].verdicts == {ReceiptVerdict.SAME: count}
    return found


def test_memory_does_not_grow_with_the_objects(tmp_path: Path) -> None:
    peaks(10, tmp_path)  # imports and caches
    few, many = peaks(1_000, tmp_path), peaks(20_000, tmp_path)
    assert many[0] < few[0] + 500_000
    assert many[1] < few[1] + 2_000_000
    assert receipt_verify.WINDOW < 1_000, "else the first of the two would not fill it"
