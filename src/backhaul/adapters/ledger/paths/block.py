"""Published files in order of their paths, as one short text of bytes: a block.

Nothing is lost: `unpack` returns what `pack` got. A file takes 30 to 70 bytes instead of 400, most
of them its ETag and CRC, which nothing makes shorter: they are kept as bytes instead of digits.

A block is a byte with its format, the lengths of its columns, and the columns, each compressed for
itself. A column of numbers has the lowest bytes of all of them first, then the next ones. A column
of texts is JSON; or, where all are hexadecimal and of one length, their bytes, with what stands
before and behind all of them.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise, starmap
from typing import Any, NamedTuple

from backhaul.adapters.ledger.schema import WrongValue

_FORMAT = 1
_LEVEL = 6
_LARGEST = 2**62  # differences of two numbers fit into 64 bits, too
_TEXTS, _DIGITS = b"t", b"x"


class PublishedRow(NamedTuple):
    """A row of `published`; its columns in their order.

    Attributes:
        last_modified: Microseconds since 1970.
    """

    uri: str
    transfer_id: str
    bucket: str
    key: str
    version_id: str | None
    etag: str
    size_bytes: int
    last_modified: int
    crc32c: str
    modified_ms: int

    @property
    def is_well_formed(self) -> bool:
        """As Backhaul writes it: what an editor put there stays where it is, to be found."""
        texts: tuple[Any, ...]
        texts = (self.uri, self.transfer_id, self.bucket, self.key, self.etag, self.crc32c)
        texts += () if self.version_id is None else (self.version_id,)
        numbers: tuple[Any, ...] = (self.size_bytes, self.last_modified, self.modified_ms)
        return all(isinstance(one, str) for one in texts) and all(
            isinstance(one, int) and abs(one) < _LARGEST for one in numbers
        )


def pack(files: Sequence[PublishedRow]) -> bytes:
    """At least one, in the order of their URIs, each of them `is_well_formed`."""
    uris, transfers, buckets, keys, versions, etags, sizes, modified, crcs, modified_ms = zip(
        *files, strict=True
    )
    kept, before = _without_names(uris, keys)
    columns = (
        _texts(uris),
        _numbers(kept),
        _texts(before),
        *map(_texts, (transfers, buckets, versions, etags, crcs)),
        _numbers(sizes),
        _numbers([modified[0], *(later - one for one, later in pairwise(modified))]),
        _numbers([ms - us // 1000 for ms, us in zip(modified_ms, modified, strict=True)]),
    )
    packed = [zlib.compress(one, _LEVEL) for one in columns]
    lengths = struct.pack(f"<{len(packed)}I", *map(len, packed))
    return b"".join((bytes((_FORMAT, len(packed))), lengths, *packed))


def unpack(block: bytes) -> list[PublishedRow]:
    """What was packed.

    Raises:
        WrongValue: It is no block, or a damaged one.
    """
    try:
        return list(_unpacked(block))
    except (ValueError, TypeError, IndexError, struct.error, zlib.error) as error:
        raise WrongValue(f"a block of published files is damaged: {error}") from error


def _unpacked(block: bytes) -> Iterator[PublishedRow]:
    if block[0] != _FORMAT:
        raise WrongValue(f"a block of published files has the format {block[0]}")
    count = block[1]
    columns = []
    start = 2 + 4 * count
    for length in struct.unpack_from(f"<{count}I", block, 2):
        columns.append(zlib.decompress(block[start : start + length]))
        start += length
    uri_texts, kept, before, *texts, sizes, modified, modified_ms = columns
    uris = _texts_of(uri_texts)
    names = zip(uris, _numbers_of(kept), _texts_of(before), strict=True)
    keys = [first + uri[length:] for uri, length, first in names]
    transfers, buckets, versions, etags, crcs = map(_texts_of, texts)
    changed_us = list(_summed(_numbers_of(modified)))
    changed_ms = [
        ms + us // 1000 for ms, us in zip(_numbers_of(modified_ms), changed_us, strict=True)
    ]
    found = (uris, transfers, buckets, keys, versions, etags, _numbers_of(sizes), changed_us, crcs)
    return starmap(PublishedRow, zip(*found, changed_ms, strict=True))


def _without_names(uris: Sequence[str], keys: Sequence[str]) -> tuple[list[int], list[str]]:
    """A key ends as its path does: how much of the path does not count, and what is before."""
    lengths: list[int] = []
    before: list[str] = []
    length, first = 0, ""
    for uri, key in zip(uris, keys, strict=True):
        if first + uri[length:] != key:
            same = len(_common(uri[::-1], key[::-1]))
            length, first = len(uri) - same, key[: len(key) - same]
        lengths.append(length)
        before.append(first)
    return lengths, before


def _common(one: str, other: str) -> str:
    """How both begin. Of the first and the last in order: how all of them do."""
    pairs = enumerate(zip(one, other, strict=False))
    differ = (at for at, (left, right) in pairs if left != right)
    return one[: next(differ, min(len(one), len(other)))]


def _texts(values: Sequence[str | None]) -> bytes:
    texts = [one for one in values if one is not None]
    first = _common(min(texts, default=""), max(texts, default=""))
    ends = [one[len(first) :][::-1] for one in texts]
    last = _common(min(ends, default=""), max(ends, default=""))[::-1]
    middle = [one[len(first) : len(one) - len(last)] for one in texts]
    digits = "".join(middle)
    frame = json.dumps([len(values), first, last]).encode()
    if len(texts) == len(values) and _are_digits(digits) and len({*map(len, middle)}) == 1:
        length = len(middle[0])
        # Common digits may be an odd number of them.
        if length % 2 == 0:
            return _DIGITS + frame + b"\n" + bytes.fromhex(digits)
    every = json.dumps([None if one is None else one[len(first) :] for one in values])
    return _TEXTS + json.dumps(first).encode() + b"\n" + every.encode()


def _are_digits(text: str) -> bool:
    return bool(text) and not text.strip("0123456789abcdef")


def _texts_of(column: bytes) -> list[Any]:
    head, _, rest = column[1:].partition(b"\n")
    if column[:1] == _DIGITS:
        count, first, last = json.loads(head)
        size = len(rest) // count
        parts = (rest[start : start + size].hex() for start in range(0, len(rest), size))
        return [first + one + last for one in parts]
    first = json.loads(head)
    return [None if one is None else first + one for one in json.loads(rest)]


def _numbers(values: Sequence[int]) -> bytes:
    plain = struct.pack(f"<{len(values)}q", *values)
    return b"".join(plain[at::8] for at in range(8))


def _numbers_of(column: bytes) -> tuple[int, ...]:
    count = len(column) // 8
    plain = bytearray(len(column))
    for at in range(8):
        plain[at::8] = column[at * count : (at + 1) * count]
    return struct.unpack(f"<{count}q", plain)


def _summed(differences: Iterable[int]) -> Iterator[int]:
    total = 0
    for one in differences:
        total += one
        yield total
