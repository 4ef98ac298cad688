"""The three streams of an area, each sorted by path, each with one page or a few in memory.

Where the objects come from is one class, an `ObjectSource`; a listing of S3 is `S3Listing`.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TypeVar

from backhaul.adapters.ledger import LedgerReader
from backhaul.app.reconcile.ahead import ReadAhead
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Location
from backhaul.core.ports import FoundFile, ListedObject, ObjectStore, TargetPool
from backhaul.core.reconciliation.merge import AFTER_ALL
from backhaul.core.reconciliation.places import Area, Place, placed
from backhaul.core.reconciliation.values import ObjectSource, ProvenFile, SourceObject, TargetFile
from backhaul.core.transfer.listing import list_objects
from backhaul.engines.sorting import in_order

WALK_PAGE = 2000  # files in one answer of a worker

Item = TypeVar("Item")


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
        pages = list_objects(self.store, bucket, prefix, owner=self.owner)
        with closing(ReadAhead(pages, "list")) as ahead:
            yield from ahead


def objects_from(source: ObjectSource, area: Area, default_fs: DefaultFs) -> Iterator[SourceObject]:
    """The objects of an area in the order of their paths."""
    streams = [_objects_of(source, place, default_fs) for place in area.places]
    if len(streams) == 1:
        return streams[0]
    return heapq.merge(*streams, key=lambda one: one.path)


def _objects_of(
    source: ObjectSource, place: Place, default_fs: DefaultFs
) -> Iterator[SourceObject]:
    found = placed(source.objects(place.bucket, place.prefix), place, default_fs)
    # Escaped names and directories of a template come in another order than their keys.
    return found if place.keeps_order else in_order(found, lambda one: one.path)


def proofs_from(reader: LedgerReader | None, root: Location) -> Iterator[ProvenFile]:
    """What was published below a directory."""
    if reader is None:
        return iter(())
    return _all(_proofs(reader, root))


def _proofs(reader: LedgerReader, root: Location) -> Iterator[list[ProvenFile]]:
    after = "/" if root.path == "/" else f"{root.path}/"
    until = after + AFTER_ALL
    while page := reader.proven_between(root.filesystem, after, until):
        yield page
        after = page[-1].path


def files_from(pool: TargetPool, root: Location, user: str | None) -> Iterator[TargetFile]:
    """The files below a directory."""
    return _all(_files(pool, root, user))


def _files(pool: TargetPool, root: Location, user: str | None) -> Iterator[list[TargetFile]]:
    base = "" if root.path == "/" else root.path
    after = ""
    with pool.session(root.filesystem, user) as session:
        while True:
            page: list[FoundFile] = session.walk(root, after=after, most=WALK_PAGE)
            yield [TargetFile(f"{base}/{one[0]}", *one[1:]) for one in page]
            if len(page) < WALK_PAGE:
                return
            after = page[-1].relative


def _all(pages: Iterator[list[Item]]) -> Iterator[Item]:
    with closing(ReadAhead(pages, "stream")) as ahead:
        yield from ahead
