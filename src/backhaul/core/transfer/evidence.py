"""The manifest of a transfer: one line of JSON per object, and one that seals them.

Pure. The object lines are made from the ledger whenever they are needed; stored is the sealing line
alone, with their digest and the digest of the sealing line before it. So a proof that was changed
afterwards, and a transfer that was removed, are both found (`broken_links`).
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from backhaul.core.checksums import Checksum, Digest
from backhaul.core.model import Location
from backhaul.core.objects import ManifestSum, PlannedObject, Proof, StagedObject

VERSION = 1
FILE_LINES = 20_000  # about 15 MB; a file is written from memory


def object_line(
    transfer_id: str, planned: PlannedObject, staged: StagedObject | None, target: Location | None
) -> dict[str, Any]:
    """Source pin, target, and what proves that they are equal; names are the schema's."""
    pin = planned.pin
    line: dict[str, Any] = {
        "v": VERSION,
        "kind": "object",
        "transfer": transfer_id,
        "seq": planned.seq,
        "bucket": pin.bucket,
        "key": pin.key,
        "version_id": pin.version_id or (staged.version_id if staged else None),
        "etag": pin.etag,
        "size": pin.size_bytes,
        "last_modified": pin.last_modified.isoformat(),
        "target": target.uri if target else None,
        "proof": None,
    }
    if staged is not None:
        target_checksum = staged.target_checksum
        line |= {
            "proof": staged.proof.value,
            "checksum_algorithm": staged.algorithm,
            "checksum": staged.checksum,
            "checksum_type": staged.checksum_type,
            "crc32c": staged.content.hex if staged.content.algorithm == "CRC32C" else None,
            "target_size": staged.size_bytes,
            "target_algorithm": target_checksum.algorithm if target_checksum else None,
            "target_checksum": target_checksum.hex if target_checksum else None,
            "asked": staged.checksum_source,
            "note": staged.note,
            "bytes_read": staged.bytes_read,
            "proven_at": staged.proven_at.isoformat() if staged.proven_at else None,
        }
    return line


@dataclass(kw_only=True)
class Manifest:
    """Adds object lines up, in the order of the plan."""

    _digest: Any = field(default_factory=hashlib.sha256)
    _objects: int = 0
    _size_bytes: int = 0
    _bytes_read: int = 0
    _copied_bytes: int = 0
    _proof_levels: Counter[str] = field(default_factory=Counter)
    _checksum_sources: Counter[str] = field(default_factory=Counter)

    def add(self, line: dict[str, Any]) -> None:
        """The next object line."""
        self._digest.update(text(line).encode("utf-8", "surrogatepass") + b"\n")
        self._objects += 1
        self._size_bytes += line["size"]
        self._bytes_read += line.get("bytes_read", 0)
        self._copied_bytes += 0 if line["proof"] == Proof.ADOPTED else line["size"]
        self._proof_levels[line["proof"] or "none"] += 1
        if line.get("asked"):
            self._checksum_sources[line["asked"]] += 1

    @property
    def sum(self) -> ManifestSum:
        """Of the lines so far."""
        return ManifestSum(
            manifest=self._digest.hexdigest(),
            objects=self._objects,
            size_bytes=self._size_bytes,
            bytes_read=self._bytes_read,
            copied_bytes=self._copied_bytes,
            proof_levels=tuple(self._proof_levels.most_common()),
            checksum_sources=tuple(self._checksum_sources.most_common()),
        )


def file_names(transfer_id: str) -> Iterator[str]:
    """How the manifest's files beside the data are called, in order; hidden by their dot."""
    yield f".backhaul-{transfer_id}.jsonl"
    yield from (f".backhaul-{transfer_id}-{number}.jsonl" for number in itertools.count(2))


def files(transfer_id: str, lines: Iterable[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the files; more than one where the manifest is long.

    One after the other they are what `manifest` of the sealing line is the SHA-256 of.
    """
    names = file_names(transfer_id)
    rest = iter(lines)
    while batch := list(itertools.islice(rest, FILE_LINES)):
        content = "".join(text(line) + "\n" for line in batch)
        yield next(names), content.encode("utf-8", "surrogatepass")


@dataclass(frozen=True, kw_only=True)
class FileSum:
    """What one of the files beside the data holds, if it is as it was written."""

    name: str
    size_bytes: int
    content: Checksum


class FileSums:
    """Of the files that `files` makes of the same lines; they need not be made for it."""

    def __init__(self, transfer_id: str, new_digest: Callable[[str], Digest]) -> None:
        self._names = file_names(transfer_id)
        self._new_digest = new_digest
        self._lines = 0
        self._size_bytes = 0
        self._digest = new_digest("CRC32C")
        self._full: list[FileSum] = []

    def add(self, line: dict[str, Any]) -> None:
        """The next object line."""
        if self._lines == FILE_LINES:
            self._full.append(self._file())
            self._lines = self._size_bytes = 0
            self._digest = self._new_digest("CRC32C")
        content = text(line).encode("utf-8", "surrogatepass") + b"\n"
        self._digest.update(content)
        self._size_bytes += len(content)
        self._lines += 1

    def all(self) -> list[FileSum]:
        """Of all lines; to be called once."""
        return [*self._full, self._file()] if self._lines else []

    def _file(self) -> FileSum:
        content = Checksum("CRC32C", self._digest.digest().hex())
        return FileSum(name=next(self._names), size_bytes=self._size_bytes, content=content)


def sealing_line(
    transfer_id: str,
    summed: ManifestSum,
    *,
    source: str,
    destination: str,
    state: str,
    publish: str,
    finished_at: datetime,
    previous: str,
) -> str:
    """The last line of a manifest, as it is kept.

    Args:
        previous: `seal` of the sealing line before it in this ledger; empty for the first.
    """
    return text(
        {
            "v": VERSION,
            "kind": "transfer",
            "transfer": transfer_id,
            "source": source,
            "destination": destination,
            "state": state,
            "publish": publish,
            "objects": summed.objects,
            "size": summed.size_bytes,
            "bytes_read": summed.bytes_read,
            "finished_at": finished_at.isoformat(),
            "manifest": summed.manifest,
            "previous": previous,
        }
    )


def pruned_line(transfer_id: str, at: datetime, by: str) -> dict[str, Any]:
    """In place of object lines that were dropped; no manifest's digest is over it."""
    return {
        "v": VERSION,
        "kind": "pruned",
        "transfer": transfer_id,
        "pruned_at": at.isoformat(),
        "pruned_by": by,
    }


def seal(line: str) -> str:
    """SHA-256 of a sealing line, hex: what the next one carries."""
    return hashlib.sha256(line.encode("utf-8", "surrogatepass")).hexdigest()


def sealed_manifest(line: str) -> str | None:
    """The digest of the object lines that a sealing line has; None: it is malformed."""
    try:
        return str(json.loads(line)["manifest"])
    except (ValueError, KeyError, TypeError):
        return None


def text(line: dict[str, Any]) -> str:
    """One line of the manifest, always the same text for the same content."""
    return json.dumps(line, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, kw_only=True)
class Ended:
    """What the transfer's row and its sealing line both hold.

    Attributes:
        is_pruned: Its object lines were dropped; what is sealed is their digest.
    """

    state: str
    publish: str | None
    source: str
    destination: str
    finished_at: datetime | None
    is_pruned: bool = False

    def differs_in(self, content: Mapping[str, Any]) -> list[str]:
        """Names of the fields in which the sealing line differs."""
        own = {
            "state": self.state,
            "publish": self.publish,
            "source": self.source,
            "destination": self.destination,
        }
        found = [name for name, value in own.items() if content.get(name) != value]
        try:
            sealed_at = datetime.fromisoformat(content["finished_at"])
        except (ValueError, KeyError, TypeError):
            sealed_at = None
        return found if sealed_at == self.finished_at else [*found, "finished_at"]


@dataclass(frozen=True, kw_only=True)
class Sealed:
    """A sealing line as the ledger has it.

    Attributes:
        seal: As the ledger noted it beside the line.
        ended: None where the transfer's row is gone.
    """

    transfer_id: str
    line: str
    seal: str
    ended: Ended | None


def broken_links(chain: Iterable[Sealed]) -> list[str]:
    """What is wrong with the chain of sealing lines, for people; empty: nothing.

    A line that is missing at the end of it is found by its transfer alone.

    Args:
        chain: Every sealing line, oldest first.
    """
    found: list[str] = []
    previous = ""
    for one in chain:
        try:
            content = json.loads(one.line)
            carried, named = content["previous"], content["transfer"]
        except (ValueError, KeyError, TypeError):
            found.append(f"{one.transfer_id}: the sealing line is malformed")
            carried, named = previous, one.transfer_id
        else:
            found += _row_conflicts(one, content)
        if seal(one.line) != one.seal:
            found.append(f"{one.transfer_id}: the sealing line was changed")
        if carried != previous:
            found.append(f"{one.transfer_id}: a sealing line before it was changed or is missing")
        if named != one.transfer_id:
            found.append(f"{one.transfer_id}: the sealing line belongs to {named}")
        previous = seal(one.line)
    return found


def _row_conflicts(one: Sealed, content: Mapping[str, Any]) -> list[str]:
    """Where the transfer's row differs from its sealing line."""
    if one.ended is None:
        return [f"{one.transfer_id}: was sealed, and its row is gone from the ledger"]
    if names := one.ended.differs_in(content):
        return [f"{one.transfer_id}: sealed with another {', '.join(names)} than its row has"]
    return []
