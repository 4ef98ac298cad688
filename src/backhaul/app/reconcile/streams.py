"""The three streams of an area, each sorted by path, each with one page or a few in memory.

Where the objects come from is one class, an `ObjectSource`; a listing of S3 is `S3Listing`.
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from backhaul.adapters.ledger import LedgerReader
from backhaul.app.reconcile.ahead import ReadAhead
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Location
from backhaul.core.ports import FoundFile, ListedObject, ObjectStore, TargetPool
from backhaul.core.reconciliation.merge import AFTER_ALL
from backhaul.core.reconciliation.places import Area, Place, placed
from backhaul.core.reconciliation.values import (
    ObjectSource,
    ProvenFile,
    RangedSource,
    SourceObject,
    TargetFile,
)
from backhaul.core.text import is_text
from backhaul.core.transfer.listing import list_objects
from backhaul.engines.sorting import in_order

WALK_PAGE = 2000  # files in one answer of a worker
LEVELS_MOST = 200

Item = TypeVar("Item")
Pages: TypeAlias = Generator[list[Item], None, None]


@dataclass(frozen=True, kw_only=True)
class S3Listing:
    """`ObjectSource`: what S3 lists now.

    Attributes:
        owner: Account that must own the bucket; None: any.
    """

    store: ObjectStore
    owner: str | None = None

    def objects(self, bucket: str, prefix: str) -> Iterator[ListedObject]:
        """See `ObjectSource.objects`."""
        return self.objects_behind(bucket, prefix, "")

    def objects_behind(self, bucket: str, prefix: str, key: str) -> Iterator[ListedObject]:
        """See `RangedSource.objects_behind`."""
        pages = list_objects(self.store, bucket, prefix, start_after=key, owner=self.owner)
        with closing(ReadAhead(pages, "list")) as ahead:
            yield from ahead


def objects_from(
    source: ObjectSource, area: Area, default_fs: DefaultFs, after: str = ""
) -> Generator[SourceObject, None, None]:
    """The objects of an area in the order of their paths.

    Args:
        after: Only paths behind this one; empty: all.
    """
    streams = [_objects_of(source, place, default_fs, after) for place in area.places]
    with ExitStack() as opened:
        for one in streams:
            opened.callback(one.close)
        yield from streams[0] if len(streams) == 1 else heapq.merge(*streams, key=_path)


def _objects_of(
    source: ObjectSource, place: Place, default_fs: DefaultFs, after: str
) -> Generator[SourceObject, None, None]:
    base = "/" if place.root.path == "/" else f"{place.root.path}/"
    if isinstance(source, RangedSource) and place.keeps_order and after.startswith(base):
        key = place.prefix + after[len(base) :]
        objects = source.objects_behind(place.bucket, place.prefix, key)
    else:
        objects = source.objects(place.bucket, place.prefix)
    found = placed(objects, place, default_fs)
    if not place.keeps_order:
        # Escaped names and directories of a template come in another order than their keys.
        found = in_order(found, _path)
    yield from found if not after else (one for one in found if one.path > after)


def _path(one: SourceObject) -> str:
    return one.path


def proofs_from(
    reader: LedgerReader | None, root: Location, after: str = ""
) -> Generator[ProvenFile, None, None]:
    """What was published below a directory."""
    if reader is not None:
        yield from _all(_proofs(reader, root, after))


def _proofs(reader: LedgerReader, root: Location, after: str) -> Pages[ProvenFile]:
    base = "/" if root.path == "/" else f"{root.path}/"
    after = max(after, base)
    while page := reader.proven_between(root.filesystem, after, base + AFTER_ALL):
        yield page
        after = page[-1].path


def files_from(
    pool: TargetPool, root: Location, user: str | None, after: str = ""
) -> Generator[TargetFile, None, None]:
    """The files below a directory."""
    yield from _all(_files(pool, root, user, after))


def _files(pool: TargetPool, root: Location, user: str | None, after: str) -> Pages[TargetFile]:
    base = "/" if root.path == "/" else f"{root.path}/"
    last = after.removeprefix(base)
    with pool.session(root.filesystem, user) as session:
        while True:
            page: list[FoundFile] = session.walk(root, after=last, most=WALK_PAGE)
            yield [TargetFile(f"{base}{one[0]}", *one[1:]) for one in page]
            if len(page) < WALK_PAGE:
                return
            last = page[-1].relative


def boundaries(
    area: Area, reader: LedgerReader | None, pool: TargetPool, user: str | None
) -> list[str]:
    """Paths that part an area: of what was published, or else the target's first directories."""
    if not all(place.keeps_order for place in area.places):
        return []  # its objects are sorted as a whole
    root = area.root
    base = "/" if root.path == "/" else f"{root.path}/"
    marks: list[str] = []
    if reader is not None:
        marks += reader.proven_marks(root.filesystem, base, base + AFTER_ALL)
    return marks or first_levels(pool, root, user)


def first_levels(pool: TargetPool, root: Location, user: str | None) -> list[str]:
    """The first directories below `root`, as paths behind which the next one begins.

    Without those whose names are not UTF-8: S3 and the ledger cannot be read from there on.
    """
    base = "/" if root.path == "/" else f"{root.path}/"
    found: list[str] = []
    last = ""
    with pool.session(root.filesystem, user) as session:
        for _ in range(LEVELS_MOST):
            page = session.walk(root, after=last, most=1)
            if not page:
                break
            name, slash, _ = page[0].relative.partition("/")
            last = name + (f"/{AFTER_ALL}" if slash else "")
            if slash and is_text(name):
                found.append(f"{base}{last}")
    return found


def _all(pages: Pages[Item]) -> Generator[Item, None, None]:
    with closing(ReadAhead(pages, "stream")) as ahead:
        yield from ahead
