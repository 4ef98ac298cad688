"""Markers: the triggers that a route waits for in S3, and the files that it leaves at the target.

Of a route with a `marker`, an object whose directory is not complete yet is not missing.

Of such a route an event of the marker alone brings anything: its whole directory. Until it is
written the directory is unfinished, however old its objects are.

A completion marker belongs to no object of S3, and is not foreign either: a transfer left it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from backhaul.adapters.ledger import LedgerReader
from backhaul.app.reconcile.unfinished import since_epoch_us
from backhaul.core.model import Route, Source
from backhaul.core.ports import ObjectStore
from backhaul.core.reconciliation.classes import SECOND_US, Judge, was_there
from backhaul.core.reconciliation.values import ComparedPath, ObjectClass
from backhaul.core.requests.policy import covering_prefix
from backhaul.core.text import printable
from backhaul.core.transfer.listing import current_object

_THREADS = 16
_WAITS = frozenset({ObjectClass.MISSING, ObjectClass.SUPERSEDED, ObjectClass.DIFFERS})


class Markers:
    """Looks for the marker of each object that was not brought; nothing is kept between calls.

    Args:
        store: None: nothing is looked up.
    """

    def __init__(self, route: Route, store: ObjectStore | None) -> None:
        self._route = route
        self._store = store
        self._marker = route.marker if route.event_destination else None

    def __call__(
        self, found: Sequence[ComparedPath | None], judge: Judge
    ) -> list[ComparedPath | None]:
        """The same; TOO_YOUNG where no marker has been there for long enough."""
        results = [*found]
        if self._marker is None or self._store is None:
            return results
        store = self._store
        wanted = [*_waiting(found)]
        directories = [*dict.fromkeys(directory for _, _, directory in wanted)]
        with ThreadPoolExecutor(_THREADS) as threads:
            written = threads.map(lambda one: self._written_us(store, one, judge), directories)
            by_directory = dict(zip(directories, written, strict=True))
        for number, one, directory in wanted:
            why = self._why(by_directory[directory], judge)
            if why:
                results[number] = one._replace(found=ObjectClass.TOO_YOUNG, why=why)
        return results

    def _why(self, written_us: int | None, judge: Judge) -> str:
        """Why the object is not missing yet; empty: its directory is complete."""
        marker = printable(self._marker or "", 80)
        if written_us is None:
            return f"no {marker} in its directory or above: it is not complete yet"
        age_us = judge.now_us() - written_us
        if age_us < judge.settle_us:
            return f"its {marker} was written {max(age_us, 0) // SECOND_US} s ago"
        return ""

    def _written_us(self, store: ObjectStore, directory: Source, judge: Judge) -> int | None:
        """When the first of its markers was written; None: it has none."""
        first: int | None = None
        for one in self._places(directory):
            pin = current_object(store, one.bucket, one.key, owner=self._route.source_owner)
            if pin is None:
                continue
            written_us = since_epoch_us(pin.last_modified)
            first = written_us if first is None else min(first, written_us)
            if not self._why(first, judge):
                break
        return first

    def _places(self, directory: Source) -> Iterator[Source]:
        """Where the marker may be: in the directory and above, as far as the route goes."""
        key = directory.key
        while True:
            one = Source(bucket=directory.bucket, key=f"{key}{self._marker}")
            if covering_prefix(self._route, one) is not None:
                yield one
            if not key:
                return
            key = key[: key[:-1].rfind("/") + 1]


def _waiting(
    found: Sequence[ComparedPath | None],
) -> Iterator[tuple[int, ComparedPath, Source]]:
    """What a marker is to bring, and its directory; what was brought in this state was complete."""
    for number, one in enumerate(found):
        if one is None or one.found not in _WAITS:
            continue
        source = one.row.source
        if source is not None and not was_there(source, one.row.proven):
            key = source.key[: source.key.rfind("/") + 1]
            yield number, one, Source(bucket=source.bucket, key=key)


def completion_markers(reader: LedgerReader | None, route: Route) -> Callable[[str], bool]:
    """Whether a transfer left its completion marker at a path: a query for each likely name."""

    def is_one(path: str) -> bool:
        if reader is None or not path.rpartition("/")[2].startswith("_"):
            return False
        uris = {f"{one.filesystem}{path}" for one in route.destinations or ()}
        return any(reader.marker_at(uri) is not None for uri in uris)

    return is_one
