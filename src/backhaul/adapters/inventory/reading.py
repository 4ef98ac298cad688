"""A report's data files, one after the other: fetched, compared with their MD5, and read."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from typing import BinaryIO, cast

from backhaul.adapters.inventory.csv_files import csv_rows
from backhaul.adapters.inventory.parquet_files import parquet_rows
from backhaul.adapters.inventory.sorted_objects import SortedObjects, room_needed
from backhaul.core.errors import BadArgument
from backhaul.core.inventory.manifest import (
    InventoryFile,
    InventoryFiles,
    InventoryFormat,
    InventoryManifest,
)
from backhaul.core.inventory.rows import InventoryRow, current_rows, layout_of
from backhaul.spool import spool_directory

CHUNK_BYTES = 1 << 20


def read_into(
    objects: SortedObjects, files: InventoryFiles, manifest: InventoryManifest, prefix: str
) -> None:
    """Keep every object of the report whose key begins with `prefix`, sorted.

    Raises:
        BadArgument: E_INVENTORY_* .
        BackhaulError: As `files`.
    """
    if manifest.format is InventoryFormat.CSV:
        layout_of(manifest.columns, files.name)  # before the first file is fetched
    for one in manifest.files:
        with _copy() as copy:
            _fetch(files, one, copy)
            objects.add(_rows(copy, one, manifest, prefix, files.name))
    objects.sort()


def _copy() -> BinaryIO:
    with room_needed():
        return cast("BinaryIO", tempfile.TemporaryFile(dir=spool_directory()))


def _fetch(files: InventoryFiles, one: InventoryFile, into: BinaryIO) -> None:
    """A copy with the MD5 of the manifest, so that what is read is what was compared.

    Raises:
        BadArgument: E_INVENTORY_CHECKSUM.
    """
    digest, size = hashlib.md5(usedforsecurity=False), 0
    with files.data(one.key) as stream:
        while size <= one.size_bytes and (data := stream.read(CHUNK_BYTES)):
            digest.update(data)
            size += len(data)
            with room_needed():
                into.write(data)
    with room_needed():
        into.seek(0)
    name = one.key.rsplit("/", 1)[-1]
    if size != one.size_bytes:
        more = "more than " if size > one.size_bytes else ""
        flaw = f"has {more}{min(size, one.size_bytes):,} B, the manifest has {one.size_bytes:,} B"
    elif digest.hexdigest() != one.md5:
        flaw = f"its MD5 is {digest.hexdigest()}, the manifest has {one.md5}"
    else:
        return
    raise BadArgument(
        "E_INVENTORY_CHECKSUM",
        f"{files.name}: data file {name} {flaw}",
        hint="it is incomplete or was changed: fetch the report again",
    )


def _rows(
    copy: BinaryIO, one: InventoryFile, manifest: InventoryManifest, prefix: str, where: str
) -> Iterator[InventoryRow]:
    name = f"{where}: {one.key.rsplit('/', 1)[-1]}"
    columns: Sequence[str] = manifest.columns
    rows: Iterable[Sequence[str]]
    if manifest.format is InventoryFormat.CSV:
        rows = csv_rows(copy, one.size_bytes, name)
    else:
        columns, rows = parquet_rows(copy, name)
    return current_rows(
        layout_of(columns, name),
        rows,
        bucket=manifest.bucket,
        prefix=prefix,
        name=name,
        is_encoded=manifest.format is InventoryFormat.CSV,
    )
