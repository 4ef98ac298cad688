"""Reports of S3 Inventory in Parquet, as its columns and types are documented."""

from __future__ import annotations

import io
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from backhaul.adapters.inventory import parquet_files
from backhaul.core.errors import BadArgument
from tests.inventories import AT, Report
from tests.unit.test_inventory import keys, pins, refused

CHANGED = datetime(2026, 11, 29, 10, 11, 12, 345000)  # noqa: DTZ001 - as the file has it, in UTC


def data(*found: str, group: int = 3, **changed: list[Any]) -> bytes:
    """A data file of these keys."""
    number = len(found)
    columns: dict[str, list[Any]] = {
        "bucket": ["raw"] * number,
        "key": list(found),
        "version_id": [None] * number,
        "is_latest": [True] * number,
        "is_delete_marker": [False] * number,
        "size": list(range(number)),
        "last_modified_date": [CHANGED] * number,
        "e_tag": ["e"] * number,
        "tags": [["a"]] * number,
        **changed,
    }
    types = {"last_modified_date": pa.timestamp("ms"), "size": pa.int64()}
    table = pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})
    written = io.BytesIO()
    parquet.write_table(table, written, row_group_size=group)
    return written.getvalue()


def in_parquet(*files: bytes) -> Report:
    return Report(
        files={f"{AT}/data/{n}.parquet": one for n, one in enumerate(files)},
        fields={"fileFormat": "Parquet", "fileSchema": "message s3.inventory {...}"},
    )


def test_keys_are_read_as_they_are_and_sorted(tmp_path: Path) -> None:
    path = in_parquet(data("b", "a+b%20c", "é", "d"), data("a")).write(tmp_path)
    assert keys(path) == ["a", "a+b%20c", "b", "d", "é"]


def test_facts_are_those_of_a_listing(tmp_path: Path) -> None:
    (_, found) = pins(in_parquet(data("a", "b", size=[0, 77])).write(tmp_path))
    assert (found.size_bytes, found.etag) == (77, "e")
    assert found.last_modified == datetime(2026, 11, 29, 10, 11, 12, 345000, UTC)


def test_older_versions_are_not_there(tmp_path: Path) -> None:
    made = data("a", "b", "c", is_latest=[True, False, True], is_delete_marker=[False, False, True])
    assert keys(in_parquet(made).write(tmp_path)) == ["a"]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    written = io.BytesIO()
    parquet.write_table(pa.table({"bucket": ["raw"], "key": ["a"]}), written)
    error = refused(in_parquet(written.getvalue()).write(tmp_path))
    assert error.code == "E_INVENTORY_COLUMNS"
    assert "Size, LastModifiedDate, ETag" in error.message


@pytest.mark.parametrize("cut", [0, 4, 40])
def test_what_is_no_parquet_is_refused(tmp_path: Path, cut: int) -> None:
    error = refused(in_parquet(data("a")[: -cut or 3]).write(tmp_path))
    assert (error.code, "no Parquet" in error.message) == ("E_INVENTORY_DATA", True)


def test_damaged_pages_are_refused(tmp_path: Path) -> None:
    made = bytearray(data(*(f"key-{n}" for n in range(5000)), group=5000))
    made[10:200] = bytes(190)
    error = refused(in_parquet(bytes(made)).write(tmp_path))
    assert error.code == "E_INVENTORY_DATA"


def test_a_group_that_would_fill_the_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parquet_files, "GROUP_MAX_BYTES", 100)
    error = refused(in_parquet(data("a", "b", "c")).write(tmp_path))
    assert (error.code, "one group of rows" in error.message) == ("E_INVENTORY_DATA", True)


def test_without_pyarrow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(BadArgument) as caught:
        parquet_files.parquet_rows(io.BytesIO(), "it")
    assert caught.value.code == "E_INVENTORY_FORMAT"
    assert "backhaul[parquet]" in caught.value.hint
