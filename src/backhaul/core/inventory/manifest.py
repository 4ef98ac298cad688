"""The manifest of an S3 Inventory report: whose bucket, when, and in which files its rows are.

Pure. The manifest comes with an MD5 of its own, `manifest.checksum`, and has the MD5 of each data
file, so that a report that was copied in part, or changed, is refused before a row of it is read.
What the rows are is in `rows`.

Source: Amazon S3 user guide, "Locating your inventory list".
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Protocol

from backhaul.core.errors import BadArgument
from backhaul.core.text import printable

MANIFEST_MAX_BYTES = 64 << 20  # some 300,000 data files
CHECKSUM_MAX_BYTES = 1 << 10
VERSION = "2016-11-30"  # the only one that AWS has published
_MD5 = re.compile("[0-9a-f]{32}")
_MILLISECONDS = re.compile("[0-9]{1,15}")
_HINT = "name the manifest.json that S3 Inventory wrote, with manifest.checksum beside it"


class InventoryFormat(StrEnum):
    """Formats of data files that are read."""

    CSV = "CSV"
    PARQUET = "Parquet"


@dataclass(frozen=True, kw_only=True)
class InventoryFile:
    """One data file.

    Attributes:
        key: In the bucket that the report was delivered to.
        md5: 32 lower-case hex digits.
    """

    key: str
    size_bytes: int
    md5: str


@dataclass(frozen=True, kw_only=True)
class InventoryManifest:
    """What a manifest says, checked.

    Attributes:
        bucket: Whose objects these are.
        taken_at: When S3 began to collect them: of what changed since, nothing is known.
        columns: Of CSV files, in order; Parquet files name their own.
    """

    bucket: str
    taken_at: datetime
    format: InventoryFormat
    columns: tuple[str, ...]
    files: tuple[InventoryFile, ...]


class ByteStream(Protocol):
    """Bytes to be read once, in order."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, `size` at most; empty at the end."""


class InventoryFiles(Protocol):
    """Where the files of one report are: a directory of this machine, or a bucket.

    Raises (any method, and while a stream is read):
        BadArgument: E_INVENTORY_FILE: it is not there, or nothing that can be read.
        TransientError: E_INVENTORY_DENIED.
        OutageError, TransientError: S3 does not answer.
    """

    name: str
    """Of the manifest, for errors."""
    received_bytes: int
    """Of bodies that came from S3 so far."""

    def manifest(self) -> AbstractContextManager[ByteStream]:
        """The manifest itself."""

    def checksum(self) -> AbstractContextManager[ByteStream]:
        """The file beside it with its MD5."""

    def data(self, key: str) -> AbstractContextManager[ByteStream]:
        """A data file, by the key that the manifest has."""


def load_manifest(files: InventoryFiles, bucket: str | None) -> InventoryManifest:
    """The manifest of a report on this bucket; None: on any.

    Raises:
        BadArgument: E_INVENTORY_MANIFEST, E_INVENTORY_CHECKSUM, E_INVENTORY_BUCKET,
            E_INVENTORY_FORMAT; and as `InventoryFiles`.
    """
    text = _limited(files.manifest(), MANIFEST_MAX_BYTES, files.name)
    own = _limited(files.checksum(), CHECKSUM_MAX_BYTES, f"the checksum of {files.name}")
    expected = own.decode("ascii", "replace").strip().lower()
    found = hashlib.md5(text, usedforsecurity=False).hexdigest()
    if found != expected:
        raise BadArgument(
            "E_INVENTORY_CHECKSUM",
            f"{files.name}: its MD5 is {found}, manifest.checksum has {printable(expected, 40)}",
            hint="it is incomplete or was changed: fetch both files again",
        )
    manifest = _parsed(text, files.name)
    if bucket not in {None, manifest.bucket}:
        raise BadArgument(
            "E_INVENTORY_BUCKET",
            f"{files.name}: is of bucket {printable(manifest.bucket, 80)}, and the route's is"
            f" {bucket}",
            hint="name the manifest of an inventory of the route's own bucket",
        )
    return manifest


def _limited(opened: AbstractContextManager[ByteStream], most: int, name: str) -> bytes:
    pieces, size = [], 0
    with opened as stream:
        while piece := stream.read(1 << 20):
            pieces.append(piece)
            size += len(piece)
            if size > most:
                raise BadArgument(
                    "E_INVENTORY_MANIFEST", f"{name}: is larger than {most:,} B", hint=_HINT
                )
    return b"".join(pieces)


def _parsed(text: bytes, name: str) -> InventoryManifest:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise _bad(name, f"is not JSON: {printable(str(exc), 100)}") from exc
    if not isinstance(found, dict):
        raise _bad(name, "is JSON, and no object")
    version = found.get("version")
    if version != VERSION:
        raise _bad(name, f"has the version {_shown(version)}; {VERSION} is read")
    columns = _text(found, "fileSchema", name)
    return InventoryManifest(
        bucket=_text(found, "sourceBucket", name),
        taken_at=_moment(_text(found, "creationTimestamp", name), name),
        format=_format(_text(found, "fileFormat", name), name),
        columns=tuple(column.strip() for column in columns.split(",")),
        files=_files(found.get("files"), name),
    )


def _text(found: Mapping[str, Any], field: str, name: str) -> str:
    value = found.get(field)
    if not isinstance(value, str) or not value:
        raise _bad(name, f"has no text in {field}")
    return value


def _moment(text: str, name: str) -> datetime:
    try:
        if _MILLISECONDS.fullmatch(text):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise _bad(name, f"has the creationTimestamp {_shown(text)}, and milliseconds are expected")


def _format(text: str, name: str) -> InventoryFormat:
    try:
        return InventoryFormat(text)
    except ValueError:
        raise BadArgument(
            "E_INVENTORY_FORMAT",
            f"{name}: its data files are {printable(text, 40)}, and CSV and Parquet are read",
            hint="set up an inventory with the format CSV",
        ) from None


def _files(found: object, name: str) -> tuple[InventoryFile, ...]:
    if not isinstance(found, list):
        raise _bad(name, "has no list of files")
    files = tuple(_file(one, name) for one in found)
    if len({one.key for one in files}) != len(files):
        raise _bad(name, "names a data file twice")
    return files


def _file(found: object, name: str) -> InventoryFile:
    if not isinstance(found, dict):
        raise _bad(name, "has a data file that is no object")
    key, size, md5 = found.get("key"), found.get("size"), found.get("MD5checksum")
    if not isinstance(key, str) or not _is_inside(key):
        raise _bad(name, f"has a data file with the key {_shown(key)}")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        raise _bad(name, f"has the size {_shown(size)} for {printable(key)}")
    if not isinstance(md5, str) or not _MD5.fullmatch(md5.lower()):
        raise _bad(name, f"has the MD5checksum {_shown(md5)} for {printable(key)}")
    return InventoryFile(key=key, size_bytes=size, md5=md5.lower())


def _is_inside(key: str) -> bool:
    """A key that, as a path, leads to nowhere else."""
    return all(part not in {"", ".", ".."} and "\0" not in part for part in key.split("/"))


def _shown(value: object) -> str:
    return printable(repr(value), 60)


def _bad(name: str, flaw: str) -> BadArgument:
    return BadArgument("E_INVENTORY_MANIFEST", f"{name}: {flaw}", hint=_HINT)
