"""The rows of a data file in CSV, compressed with gzip; every row and the whole are bounded."""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

from backhaul.core.inventory.rows import bad_data

LINE_MAX = 64 << 10  # characters; a key of 1,024 bytes has 3,072 when every one is encoded
# An inventory in CSV becomes some ten times smaller: what grows by far more was made for that.
GROWTH_MAX = 200
GROWTH_FREE_BYTES = 64 << 20


def csv_rows(file: BinaryIO, size_bytes: int, name: str) -> Iterator[Sequence[str]]:
    """The rows in order; there is no header.

    Args:
        size_bytes: Of the compressed file.
        name: Of the file, for errors.

    Raises:
        BadArgument: E_INVENTORY_DATA: truncated, no gzip, no UTF-8, no CSV, or it grows too much.
    """
    most = GROWTH_FREE_BYTES + GROWTH_MAX * size_bytes
    try:
        with (
            gzip.GzipFile(fileobj=file, mode="rb") as plain,
            io.TextIOWrapper(io.BufferedReader(plain, 1 << 20), "utf-8", newline="") as text,
        ):
            yield from csv.reader(_lines(text, most, name), strict=True)
    except (EOFError, gzip.BadGzipFile, zlib.error) as exc:
        raise bad_data(name, f"does not decompress: {exc}") from exc
    except UnicodeDecodeError as exc:
        raise bad_data(name, f"is not UTF-8: {exc.reason}") from exc
    except csv.Error as exc:
        raise bad_data(name, f"is no CSV: {exc}") from exc


def _lines(text: io.TextIOWrapper, most: int, name: str) -> Iterator[str]:
    size = 0
    while line := text.readline(LINE_MAX):
        size += len(line)
        if len(line) == LINE_MAX:
            raise bad_data(name, f"has a line of more than {LINE_MAX:,} characters")
        if size > most:
            raise bad_data(name, f"grows to more than {most:,} characters when decompressed")
        yield line
