"""The rows of a data file in Parquet, by pyarrow, which is installed with `backhaul[parquet]`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, BinaryIO

from backhaul.core.errors import BadArgument
from backhaul.core.inventory.rows import bad_data

BATCH = 10_000  # rows
GROUP_MAX_BYTES = 2 << 30  # of one group of rows, decompressed


def parquet_rows(file: BinaryIO, name: str) -> tuple[Sequence[str], Iterator[Sequence[str]]]:
    """The names of the columns that a row has, and the rows in order, as text.

    Only the columns of plain values are read; those of lists and records are not.

    Raises:
        BadArgument: E_INVENTORY_FORMAT: pyarrow is not installed; E_INVENTORY_DATA, while the rows
            are read, too.
    """
    try:
        import pyarrow as pa  # noqa: PLC0415 - of an extra, and 170 MB
        from pyarrow import parquet  # noqa: PLC0415
    except ImportError:
        raise BadArgument(
            "E_INVENTORY_FORMAT",
            f"{name}: is Parquet, and pyarrow is not installed",
            hint="pip install 'backhaul[parquet]', or set up an inventory with the format CSV",
        ) from None
    faults = (pa.ArrowException, OSError, ValueError)
    try:
        source = parquet.ParquetFile(file)
        columns = [
            field.name for field in source.schema_arrow if not pa.types.is_nested(field.type)
        ]
        _check_sizes(source.metadata, name)
    except faults as exc:
        raise bad_data(name, f"is no Parquet that can be read: {exc}") from exc

    def rows() -> Iterator[Sequence[str]]:
        try:
            for batch in source.iter_batches(BATCH, columns=columns):
                yield from zip(*(map(_text, one.to_pylist()) for one in batch.columns), strict=True)
        except faults as exc:
            raise bad_data(name, f"is no Parquet that can be read: {exc}") from exc

    return columns, rows()


def _check_sizes(metadata: Any, name: str) -> None:
    for number in range(metadata.num_row_groups):
        size = metadata.row_group(number).total_byte_size
        if size > GROUP_MAX_BYTES:
            raise bad_data(name, f"has {size:,} B in one group of rows")


def _text(value: object) -> str:
    """As CSV has it."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.decode("utf-8")
        case datetime():
            moment = value if value.tzinfo else value.replace(tzinfo=UTC)
            return moment.astimezone(UTC).isoformat(timespec="milliseconds")
        case _:
            return str(value)
