"""Manifests and their chain: what is found when a line is changed, missing or moved."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.core.checksums import Checksum
from backhaul.core.model import Location
from backhaul.core.objects import Pin, PlannedObject, Proof, StagedObject
from backhaul.core.transfer import evidence
from backhaul.core.transfer.evidence import (
    Ended,
    FileSums,
    Manifest,
    Sealed,
    broken_links,
    files,
    object_line,
    seal,
    sealing_line,
)

NOW = datetime(2026, 11, 1, 3, tzinfo=UTC)
IDS = ["t1", "t2", "t3"]
ENDED = Ended(state="done", publish="tree", source="s3://b/p/", destination="/d", finished_at=NOW)


def line(seq: int, proof: Proof = Proof.DIRECT, asked: str = "datanode") -> dict[str, object]:
    pin = Pin(bucket="b", key=f"k{seq}", size_bytes=seq, etag="e", last_modified=NOW)
    staged = StagedObject(
        seq=seq,
        size_bytes=seq,
        content=Checksum("CRC32C", "00000000"),
        proof=proof,
        checksum_source=asked,
        bytes_read=2 * seq,
    )
    target = Location(scheme="file", authority="", path=f"/d/{seq}")
    return object_line("t1", PlannedObject(seq=seq, pin=pin, relative=str(seq)), staged, target)


def chain() -> list[Sealed]:
    found: list[Sealed] = []
    previous = ""
    for name in IDS:
        text = sealing_line(
            name,
            Manifest().sum,
            source="s3://b/p/",
            destination="/d",
            state="done",
            publish="tree",
            finished_at=NOW,
            previous=previous,
        )
        previous = seal(text)
        found.append(Sealed(transfer_id=name, line=text, seal=previous, ended=ENDED))
    return found


def test_manifest_adds_up_what_its_lines_say() -> None:
    manifest = Manifest()
    for seq, (proof, asked) in enumerate(
        [(Proof.BRIDGED, "datanode"), (Proof.DIRECT, "datanode"), (Proof.DIRECT, "read")]
    ):
        manifest.add(line(seq, proof, asked))
    manifest.add(line(3, Proof.SIZE, ""))

    found = manifest.sum
    assert (found.objects, found.size_bytes, found.bytes_read) == (4, 6, 12)
    assert found.proof_levels == (("direct", 2), ("bridged", 1), ("size", 1))
    assert found.checksum_sources == (("datanode", 2), ("read", 1))


def test_digest_depends_on_every_field_and_on_the_order() -> None:
    def digest(*lines: dict[str, object]) -> str:
        manifest = Manifest()
        for one in lines:
            manifest.add(one)
        return manifest.sum.manifest

    honest = digest(line(1), line(2))
    assert digest(line(2), line(1)) != honest
    assert digest(line(1)) != honest
    for name in line(1):
        changed = {**line(1), name: 7}
        assert digest(changed, line(2)) != honest, name


def test_honest_chain_is_whole() -> None:
    assert broken_links(chain()) == []
    assert broken_links([]) == []


def _reseal(found: list[Sealed], at: int) -> None:
    """What a careful editor would do: the seal beside the line fits again."""
    found[at] = replace(found[at], seal=seal(found[at].line))


def _changed(found: list[Sealed]) -> None:
    found[1] = replace(found[1], line=found[1].line.replace("done", "dead"))


def _changed_and_resealed(found: list[Sealed]) -> None:
    _changed(found)
    _reseal(found, 1)


def _no_json(found: list[Sealed]) -> None:
    found[1] = replace(found[1], line="{")
    _reseal(found, 1)


def _no_object(found: list[Sealed]) -> None:
    found[1] = replace(found[1], line=json.dumps("text"))


def _row(**changes: Any) -> Callable[[list[Sealed]], object]:
    """The transfer's own row, edited; its sealing line is as it was."""

    def edit(found: list[Sealed]) -> None:
        found[1] = replace(found[1], ended=replace(ENDED, **changes))

    return edit


def _row_gone(found: list[Sealed]) -> None:
    found[1] = replace(found[1], ended=None)


def _renamed(found: list[Sealed]) -> None:
    found[2] = replace(found[2], transfer_id="t9")


EDITS: dict[str, Callable[[list[Sealed]], object]] = {
    "changed": _changed,
    "changed and resealed": _changed_and_resealed,
    "no JSON": _no_json,
    "no object": _no_object,
    "of another transfer": _renamed,
    "first taken out": lambda found: found.pop(0),
    "middle taken out": lambda found: found.pop(1),
    "swapped": lambda found: found.insert(0, found.pop(1)),
    "row gone": _row_gone,
    "row's state": _row(state="staging"),
    "row's publish": _row(publish=None),
    "row's source": _row(source="s3://b/q/"),
    "row's destination": _row(destination="/e"),
    "row's time": _row(finished_at=NOW + timedelta(microseconds=1)),
    "row without a time": _row(finished_at=None),
    "twice": lambda found: found.append(found[2]),
}


@pytest.mark.parametrize("edit", EDITS.values(), ids=EDITS)
def test_edited_chain_is_found(edit: Callable[[list[Sealed]], object]) -> None:
    found = chain()
    edit(found)
    assert broken_links(found)


# ---------------------------------------------------------------- the lines, and the files


def test_object_without_a_proof_says_so_and_claims_nothing() -> None:
    pin = Pin(bucket="b", key="k", size_bytes=3, etag="e", last_modified=NOW, version_id="v1")
    found = object_line("t1", PlannedObject(seq=0, pin=pin, relative="k"), None, None)

    assert (found["proof"], found["target"], found["version_id"]) == (None, None, "v1")
    assert "checksum" not in found
    manifest = Manifest()
    manifest.add(found)
    assert manifest.sum.proof_levels == (("none", 1),)


def test_long_manifest_is_several_files_that_are_together_what_was_sealed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(evidence, "FILE_LINES", 2)
    manifest = Manifest()
    lines = [line(seq) for seq in range(5)]
    for one in lines:
        manifest.add(one)

    found = list(files("t1", lines))
    names = [name for name, _ in found]
    assert names == [".backhaul-t1.jsonl", ".backhaul-t1-2.jsonl", ".backhaul-t1-3.jsonl"]
    sums = FileSums("t1", new_digest)
    for one in lines:
        sums.add(one)
    for one_sum, (name, content) in zip(sums.all(), found, strict=True):
        digest = new_digest("CRC32C")
        digest.update(content)
        told = (one_sum.name, one_sum.size_bytes, one_sum.content.hex)
        assert told == (name, len(content), digest.digest().hex())
    whole = b"".join(content for _, content in found)
    assert hashlib.sha256(whole).hexdigest() == manifest.sum.manifest


def test_manifest_of_nothing_is_no_file() -> None:
    assert list(files("t1", [])) == []
    assert FileSums("t1", new_digest).all() == []
