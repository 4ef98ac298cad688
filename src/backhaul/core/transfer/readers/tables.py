"""Directories that are tables: which of their files tell readers of others, and which tables break.

A reader of a table reads what its log names, so nothing of a log may be there before the data that
it names. Sources: the protocol of Delta Lake (PROTOCOL.md of delta-io/delta), and the Iceberg table
spec (metadata files hold the full locations of manifests and data).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

DELTA_LOG = "_delta_log"
# Parts of a checkpoint, which the checkpoint names.
_SIDECARS = f"{DELTA_LOG}/_sidecars/"
_ICEBERG_SUFFIX = ".metadata.json"
_ICEBERG_HINT = "version-hint.text"


class Turn(StrEnum):
    """When a file is renamed, where files are renamed one by one: in this order."""

    DATA = "data"
    LOG = "log"  # one after another: a reader refuses a log with a gap
    MARKER = "marker"


class TableFormat(StrEnum):
    """A table that a plan was recognised to be."""

    DELTA = "delta"
    ICEBERG = "iceberg"


TABLE_NOTES: Mapping[str, str] = {
    TableFormat.DELTA: "delta: file by file, its log is published after its data, in order",
    TableFormat.ICEBERG: "iceberg: its metadata names files by their full paths in S3, so readers "
    "of the copy read S3; rewrite the paths (rewrite_table_path) or register its Parquet files",
}


def turn_of(relative: str) -> Turn:
    """Of a file, by its path below the directory that is published.

    A name that begins with `_` shows readers that the rest is complete: `_SUCCESS`,
    `_last_checkpoint`.
    """
    above, _, name = f"/{relative}".rpartition("/")
    is_of_log = f"/{DELTA_LOG}/" in f"{above}/"
    if is_of_log and f"/{_SIDECARS}" in f"{above}/":
        return Turn.DATA
    if name.startswith("_"):
        return Turn.MARKER
    return Turn.LOG if is_of_log else Turn.DATA


def table_of(relative: str) -> TableFormat | None:
    """The table that has a file of this name; None for all others."""
    above, _, name = f"/{relative}".rpartition("/")
    if f"/{DELTA_LOG}/" in f"{above}/":
        return TableFormat.DELTA
    is_metadata = above.endswith("/metadata")
    if is_metadata and (name == _ICEBERG_HINT or name.endswith(_ICEBERG_SUFFIX)):
        return TableFormat.ICEBERG
    return None
