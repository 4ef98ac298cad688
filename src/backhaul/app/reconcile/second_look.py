"""What S3, the ledger and the target have now at paths where something was found.

The ledger is read first: a transfer that ends after that has its files on the target when the
target is looked at, and one that begins after it had not begun when the object was missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import NamedTuple

from backhaul.adapters.ledger import LedgerReader
from backhaul.app.reconcile.markers import Markers
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Location, Route
from backhaul.core.objects import FileStatus
from backhaul.core.ports import ListedObject, ObjectStore, TargetPool
from backhaul.core.reconciliation.classes import Judge
from backhaul.core.reconciliation.places import Area, Place, keys_at, placed
from backhaul.core.reconciliation.values import (
    FINDINGS,
    ComparedPath,
    ObjectClass,
    ProvenFile,
    Row,
    SourceObject,
    TargetFile,
)
from backhaul.core.text import is_text
from backhaul.core.transfer.listing import list_objects

THREADS = 16
NEAR_FROM = 32  # findings, from which on the keys around them are listed
NEAR_PAGES = 3
LOOKS_MOST = 3  # at one finding
_OF_THE_SOURCE = FINDINGS - {ObjectClass.UNPROVED}  # of which there may be millions


class Listed(NamedTuple):
    """All objects of S3 with keys behind `begin`, up to `end`."""

    objects: Mapping[str, ListedObject]
    begin: str
    end: str


class SecondLook:
    """Looks at findings again; `core.reconciliation.checks` calls it.

    Args:
        store: None: the objects are not looked up again.
        is_listed: They are from a listing of S3, which had them a moment ago; False: from an
            inventory.
        judge: Made anew for each look, with the transfers that are open then.
    """

    def __init__(
        self,
        *,
        route: Route,
        area: Area,
        store: ObjectStore | None,
        reader: LedgerReader | None,
        pool: TargetPool,
        default_fs: DefaultFs,
        judge: Callable[[], Judge],
        is_listed: bool = True,
    ) -> None:
        self._area = area
        self._store = store
        self._owner = route.source_owner
        self._reader = reader
        self._pool = pool
        self._user = route.run_as
        self._default_fs = default_fs
        self._judge = judge
        self._markers = Markers(route, store)
        self._looked_up = _OF_THE_SOURCE if is_listed else FINDINGS

    def __call__(self, findings: Sequence[ComparedPath]) -> list[ComparedPath | None]:
        """One result for each; None where nothing is left.

        What is a finding still, and changed since it was looked at, is looked at once more: a
        transfer may have ended in between.
        """
        results: list[ComparedPath | None] = list(findings)
        looked_at = [*enumerate(findings)]
        looked_up = self._looked_up
        for _ in range(LOOKS_MOST):
            again = self._look([one for _, one in looked_at], looked_up)
            changed: list[tuple[int, ComparedPath]] = []
            for (number, before), one in zip(looked_at, again, strict=True):
                results[number] = one
                if one is not None and one.found in FINDINGS and _state(one) != _state(before):
                    changed.append((number, one))
            if not changed:
                break
            looked_at, looked_up = changed, FINDINGS
        return results

    def _look(
        self, findings: Sequence[ComparedPath], looked_up: frozenset[ObjectClass]
    ) -> list[ComparedPath | None]:
        judge = self._judge()
        paths = [one.row.path for one in findings]
        filesystem = self._area.root.filesystem
        texts = [path for path in paths if is_text(path)]
        proven = {} if self._reader is None else self._reader.proven_at(filesystem, texts)
        locations = [self._location(path) for path in paths]
        with self._pool.session(filesystem, self._user) as session:
            statuses = session.status(locations)
        sources = self._sources(findings, proven, looked_up)
        results: list[ComparedPath | None] = []
        for path, source, status in zip(paths, sources, statuses, strict=True):
            row = Row(path, source, proven.get(path), _file(path, status))
            results.append(None if not any(row[1:]) else judge.compare(row))
        return self._markers(results, judge)

    def _location(self, path: str) -> Location:
        root = self._area.root
        return Location(scheme=root.scheme, authority=root.authority, path=path)

    def _sources(
        self,
        findings: Sequence[ComparedPath],
        proven: Mapping[str, ProvenFile],
        looked_up: frozenset[ObjectClass],
    ) -> list[SourceObject | None]:
        """The objects as S3 has them now; as they were listed where that is not in question."""
        found = [one.row.source for one in findings]
        if self._store is None:
            return found
        doubtful = [
            n
            for n, one in enumerate(findings)
            if (one.found in looked_up or _is_other(one.row.source, proven.get(one.row.path)))
            and is_text(one.row.path)
        ]
        near = self._listed([findings[n].row for n in doubtful])
        with ThreadPoolExecutor(THREADS) as threads:
            for n, source in zip(
                doubtful,
                threads.map(lambda n: self._source(findings[n].row, near), doubtful),
                strict=True,
            ):
                found[n] = source
        return found

    def _listed(self, rows: Sequence[Row]) -> Listed:
        """What S3 lists around them now: cheaper than a request for each, where they are near."""
        (place, *others) = self._area.places
        keys = [key for row in rows for key in keys_at(place, row)[:1]]
        if self._store is None or others or len(keys) < NEAR_FROM or not place.keeps_order:
            return Listed({}, begin="", end="")
        begin, last = min(keys)[:-1], max(keys)
        found: dict[str, ListedObject] = {}
        end, pages_read = "", 0
        pages = list_objects(
            self._store,
            place.bucket,
            place.prefix,
            start_after=begin,
            owner=self._owner,
        )
        with closing(pages):
            for page in islice(pages, NEAR_PAGES):
                pages_read += 1
                found.update((one.key, one) for one in page)
                end = page[-1].key if page else end
                if end >= last:
                    break
        is_whole = end >= last or pages_read < NEAR_PAGES
        return Listed(found, begin=begin, end=last if is_whole else end)

    def _source(self, row: Row, near: Listed) -> SourceObject | None:
        for place in self._area.places:
            for key in keys_at(place, row):
                found = self._placed(place, key, near)
                if found is not None and found.path == row.path:
                    return found
        return None

    def _placed(self, place: Place, key: str, near: Listed) -> SourceObject | None:
        """The object of that key, with the path at which it belongs."""
        if not near.begin < key <= near.end:
            return self._find(place, key)
        one = near.objects.get(key)
        return None if one is None else next(placed((one,), place, self._default_fs))

    def _find(self, place: Place, key: str) -> SourceObject | None:
        """The first key of all that begin with it, if it is there at all."""
        assert self._store is not None  # noqa: S101 - the caller looked
        pages = list_objects(self._store, place.bucket, key, page_size=1, owner=self._owner)
        for one in next(pages, ()):
            if one.key == key:
                return next(placed((one,), place, self._default_fs))
        return None


def _state(one: ComparedPath) -> tuple[object, ...]:
    """What its class depends on; a listing and an inventory agree in it."""
    _, source, proof, target = one.row
    its = None if source is None else (source.bucket, source.key, source.etag, source.size_bytes)
    return its, None if proof is None else proof.transfer_id, target


def _is_other(source: SourceObject | None, proof: ProvenFile | None) -> bool:
    """Whether the proof is of another state of the object than the one that was listed."""
    if source is None or proof is None:
        return False
    return (source.bucket, source.key) == (proof.bucket, proof.key) and source.etag != proof.etag


def _file(path: str, status: FileStatus | None) -> TargetFile | None:
    if status is None or status.is_directory:
        return None
    return TargetFile(path, status.size_bytes, status.modified_ms, status.is_special)
