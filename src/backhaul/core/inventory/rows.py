"""The rows of an inventory's data files: which of them is an object as it is now, and its facts.

Pure. A report may have every version of an object and its delete markers; only the current version
of an object that is there counts, which is what a listing would show. A row that cannot be read
ends the reading: an object that is left out would be called extra, or missing.

Source: Amazon S3 user guide, "Cataloging and analyzing your data with S3 Inventory".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from backhaul.core.errors import BadArgument
from backhaul.core.text import printable

InventoryRow = tuple[str, str, str, str, str]
"""Key, size, ETag, time of the last change and storage class, as the report has them."""

_NEEDED = ("Bucket", "Key", "Size", "LastModifiedDate", "ETag")
# The names of Parquet files.
_NAMES = {
    "bucket": "Bucket",
    "key": "Key",
    "size": "Size",
    "last_modified_date": "LastModifiedDate",
    "e_tag": "ETag",
    "storage_class": "StorageClass",
    "is_latest": "IsLatest",
    "is_delete_marker": "IsDeleteMarker",
}
_BAD_PERCENT = re.compile("%(?![0-9A-Fa-f]{2})")


@dataclass(frozen=True, kw_only=True, slots=True)
class RowLayout:
    """Where in a row each fact is, counted from 0; None: the report has no such column.

    Attributes:
        width: Columns of a row.
    """

    width: int
    bucket: int
    key: int
    size: int
    modified: int
    etag: int
    storage_class: int | None
    is_latest: int | None
    is_delete_marker: int | None


def layout_of(columns: Sequence[str], name: str) -> RowLayout:
    """The layout of rows with these columns, by the names of CSV or of Parquet.

    Columns that are not needed may have any name: AWS adds some from time to time.

    Raises:
        BadArgument: E_INVENTORY_COLUMNS: one that is needed is not there, or is there twice.
    """
    known = [_NAMES.get(column, column) for column in columns]
    absent = [column for column in _NEEDED if column not in known]
    twice = [column for column in _NAMES.values() if known.count(column) > 1]
    if absent or twice:
        flaw = f"has no column {', '.join(absent)}" if absent else f"has {twice[0]} twice"
        raise BadArgument(
            "E_INVENTORY_COLUMNS",
            f"{name}: {flaw}; its columns are {printable(', '.join(columns), 200)}",
            hint="add the fields Size, LastModifiedDate and ETag to the inventory's configuration",
        )
    places = {column: place for place, column in enumerate(known)}
    return RowLayout(
        width=len(known),
        bucket=places["Bucket"],
        key=places["Key"],
        size=places["Size"],
        modified=places["LastModifiedDate"],
        etag=places["ETag"],
        storage_class=places.get("StorageClass"),
        is_latest=places.get("IsLatest"),
        is_delete_marker=places.get("IsDeleteMarker"),
    )


def current_rows(
    layout: RowLayout,
    rows: Iterable[Sequence[str]],
    *,
    bucket: str,
    prefix: str,
    name: str,
    is_encoded: bool,
) -> Iterator[InventoryRow]:
    """The objects of these rows whose key begins with `prefix`, in the rows' own order.

    Args:
        name: Of the data file, for errors.
        is_encoded: Keys are percent-encoded, with a blank as `+`: so in CSV.

    Raises:
        BadArgument: E_INVENTORY_DATA, E_INVENTORY_BUCKET.
    """
    for number, row in enumerate(rows, 1):
        if len(row) != layout.width:
            raise bad_data(name, f"row {number:,} has {len(row)} columns, not {layout.width}")
        if row[layout.bucket] != bucket:
            raise BadArgument(
                "E_INVENTORY_BUCKET",
                f"{name}: row {number:,} is of bucket {printable(row[layout.bucket], 80)}, and its"
                f" manifest is of {bucket}",
                hint="fetch the report again: its files are of several reports",
            )
        is_current = _flag(row, layout.is_latest, name, number, default=True)
        if not is_current or _flag(row, layout.is_delete_marker, name, number, default=False):
            continue
        key = row[layout.key]
        if is_encoded and ("%" in key or "+" in key):
            key = _decoded(key, name, number)
        if not key:
            raise bad_data(name, f"row {number:,} has no key")
        if key.startswith(prefix):
            storage_class = "" if layout.storage_class is None else row[layout.storage_class]
            yield key, row[layout.size], row[layout.etag], row[layout.modified], storage_class


def _flag(row: Sequence[str], place: int | None, name: str, number: int, *, default: bool) -> bool:
    if place is None:
        return default
    text = row[place]
    if text == "true":
        return True
    if text == "false":
        return False
    raise bad_data(name, f"row {number:,} has {printable(text, 40)!r} where true or false belongs")


def _decoded(key: str, name: str, number: int) -> str:
    try:
        if not _BAD_PERCENT.search(key):
            return unquote_to_bytes(key.replace("+", " ")).decode("utf-8")
    except UnicodeDecodeError:
        pass
    raise bad_data(name, f"row {number:,} has the key {printable(key)!r}, which does not decode")


def bad_data(name: str, flaw: str) -> BadArgument:
    """A data file that cannot be read, though its MD5 is that of the manifest."""
    return BadArgument(
        "E_INVENTORY_DATA",
        f"{name}: {flaw}",
        hint="nothing of this report was used: take the one before or after it",
    )
