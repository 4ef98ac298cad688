"""Finds published files by their paths, in rows of `published` and in blocks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Connection, Select, bindparam, select, type_coerce

from backhaul.adapters.ledger.paths.block import PublishedRow, unpack
from backhaul.adapters.ledger.schema import WrongValue, packed_paths, published
from backhaul.adapters.ledger.statements import Query

LAST_CHARACTER = "\U0010ffff"
ROW_COLUMNS = tuple(
    type_coerce(published.c[name], BigInteger) if name == "last_modified" else published.c[name]
    for name in PublishedRow._fields
)
_ROWS = select(*ROW_COLUMNS)
_ROWS_AT = _ROWS.where(published.c.uri.in_(bindparam("of_uris", expanding=True)))
_ROWS_BETWEEN = (
    _ROWS.where(published.c.uri > bindparam("of_after"), published.c.uri < bindparam("of_until"))
    .order_by(published.c.uri)
    .limit(bindparam("of_most"))
)
_MARK = (
    select(published.c.uri)
    .where(published.c.uri > bindparam("of_after"), published.c.uri < bindparam("of_until"))
    .order_by(published.c.uri)
    .limit(1)
    .offset(bindparam("of_skipped"))
)
_first = packed_paths.c.first_uri
_BLOCK_BEFORE = (
    select(packed_paths).where(_first <= bindparam("of_uri")).order_by(_first.desc()).limit(1)
)
_BLOCK_BEHIND = select(packed_paths).where(_first > bindparam("of_uri")).order_by(_first).limit(1)
_BLOCKS_BETWEEN = (
    select(_first, packed_paths.c.files)
    .where(_first > bindparam("of_after"), _first < bindparam("of_until"))
    .order_by(_first)
)
_FIRST_BEHIND = select(_first).where(_first > bindparam("of_uri")).order_by(_first).limit(1)


@dataclass(frozen=True)
class PathBlock:
    """A row of `packed_paths`."""

    first_uri: str
    last_uri: str
    files: int
    content: bytes

    def unpacked(self) -> list[PublishedRow]:
        """Its files, in order.

        Raises:
            WrongValue: It is damaged, or is not what its row says.
        """
        found = unpack(self.content)
        uris = [one.uri for one in found]
        is_whole = uris and (uris[0], uris[-1]) == (self.first_uri, self.last_uri)
        if not is_whole or len(uris) != self.files:
            raise WrongValue(f"the block of {self.first_uri!r} holds other files than its row says")
        return found


def block_before_query(uri: str) -> Query:
    """The query of `block_before`."""
    return Query(_BLOCK_BEFORE, {"of_uri": uri})


def _next_block_query(uri: str) -> Query:
    return Query(_FIRST_BEHIND, {"of_uri": uri})


def queries_at(uris: Sequence[str]) -> list[Query]:
    """Those of `rows_at` where none of the paths is a row, and all lie around one block."""
    first = min(uris)
    return [Query(_ROWS_AT, {"of_uris": uris}), block_before_query(first), _next_block_query(first)]


def block_before(tx: Connection, uri: str) -> PathBlock | None:
    """The last one that begins at this path or before it."""
    row = tx.execute(*block_before_query(uri)).one_or_none()
    return None if row is None else _block(row)


def block_behind(tx: Connection, uri: str) -> PathBlock | None:
    """The first one that begins behind this path."""
    row = tx.execute(_BLOCK_BEHIND, {"of_uri": uri}).one_or_none()
    return None if row is None else _block(row)


def next_block_begins(tx: Connection, uri: str) -> str:
    """Where the first one behind this path begins; behind all paths where there is none."""
    found = tx.execute(*_next_block_query(uri)).scalar()
    return LAST_CHARACTER if found is None else str(found)


def has_packed(tx: Connection, after: str, until: str) -> bool:
    """Whether a block reaches to the first path or behind it, and begins before the second."""
    last = block_before(tx, until)
    return last is not None and last.last_uri >= after


def rows_at(tx: Connection, uris: Sequence[str]) -> list[PublishedRow]:
    """What was published last at these paths; at most some hundred of them."""
    found = {one.uri: one for one in _rows(tx, _ROWS_AT, {"of_uris": uris})}
    missing = sorted(uri for uri in set(uris) if uri not in found)
    return [*found.values(), *packed_at(tx, missing)]


def row_at(tx: Connection, uri: str) -> PublishedRow | None:
    """What was published last at this very path."""
    return next(iter(rows_at(tx, [uri])), None)


def packed_at(tx: Connection, uris: Iterable[str]) -> Iterator[PublishedRow]:
    """What blocks have at these paths, which are in order."""
    until = ""
    files: dict[str, PublishedRow] = {}
    for uri in uris:
        if uri >= until:
            block = block_before(tx, uri)
            until = next_block_begins(tx, uri)
            is_here = block is not None and block.last_uri >= uri
            files = {one.uri: one for one in block.unpacked()} if block and is_here else {}
        if uri in files:
            yield files[uri]


def rows_between(tx: Connection, after: str, until: str, most: int) -> list[PublishedRow]:
    """Published files behind the first path and before the second, in order; the first of them."""
    wanted = {"of_after": after, "of_until": until, "of_most": most}
    rows = _rows(tx, _ROWS_BETWEEN, wanted)
    end = rows[-1].uri if len(rows) == most else until
    found: dict[str, PublishedRow] = {}
    for block in _blocks(tx, after, end):
        found.update((one.uri, one) for one in block.unpacked() if after < one.uri < end)
        if len(found) >= most:
            break
    if not found:
        return rows
    found.update((one.uri, one) for one in rows)
    return [found[uri] for uri in sorted(found)[:most]]


def first_behind(tx: Connection, after: str) -> str | None:
    """The first path behind this one at which something was published."""
    found = rows_between(tx, after, LAST_CHARACTER, 1)
    return found[0].uri if found else None


def mark(tx: Connection, after: str, until: str, every: int) -> str | None:
    """A path behind about so many that follow the first one; None: there are fewer.

    Before it are less than so many rows, and less than so many files in blocks and one block more.
    """
    wanted = {"of_after": after, "of_until": until, "of_skipped": every - 1}
    marks = [str(uri) for uri in tx.execute(_MARK, wanted).scalars()]
    files = 0
    for uri, count in tx.execute(_BLOCKS_BETWEEN, wanted):
        files += count
        if files >= every:
            marks.append(str(uri))
            break
    return min(marks, default=None)


def _blocks(tx: Connection, after: str, until: str) -> Iterator[PathBlock]:
    """Those that reach into what is in between, in order."""
    block = block_before(tx, after)
    if block is not None and block.last_uri > after:
        yield block
    block = block_behind(tx, after)
    while block is not None and block.first_uri < until:
        yield block
        block = block_behind(tx, block.first_uri)


def _rows(tx: Connection, query: Select[Any], wanted: Mapping[str, Any]) -> list[PublishedRow]:
    return [PublishedRow._make(row) for row in tx.execute(query, wanted)]


def _block(row: Sequence[Any]) -> PathBlock:
    first, last, files, content = row
    if not (isinstance(first, str) and isinstance(last, str) and isinstance(content, bytes)):
        raise WrongValue(f"a row of packed_paths is {first!r} to {last!r}")
    return PathBlock(first, last, files, content)
