"""From a path to what brought it there, and from a source to where it went: `backhaul where`.

It reads the ledger and nothing else. What is at a path now is what the ledger published there last;
what others put there or took away since, it cannot know.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from heapq import merge
from urllib.parse import unquote

from backhaul.adapters.ledger import TransferRow, open_reader
from backhaul.adapters.ledger.paths.packed import LAST_CHARACTER
from backhaul.adapters.ledger.reading.locating import FilesNow, PlaceReader, TransferEnd
from backhaul.adapters.ledger.reading.plan_search import ObjectSpan, TextRange
from backhaul.app.places import SourcePlace, TargetPlace
from backhaul.app.search import split_path
from backhaul.app.whereabouts import FileNow, Passage, Presence, Relation, Whereabouts
from backhaul.core.model import Location, TransferState
from backhaul.core.ports.ledger_place import LedgerPlace

MOST = 20
BUDGET_S = 5.0  # then it reports how far back it came
OPEN_AT_ONCE, OPEN_PIECES = 500, 20  # transfers that have not ended
FILES_CHECKED = 200  # of one transfer
PIECE = 10_000  # transfers in an index; some milliseconds
WALKED = 5000  # transfers, newest first
PAGE = 20
_ALL = TextRange(low="", high=LAST_CHARACTER)


def read_where(
    ledger: LedgerPlace, place: TargetPlace | SourcePlace, *, most: int = MOST
) -> Whereabouts:
    """`find_where`, in this ledger; raises what `open_reader` does."""
    with closing(open_reader(ledger)) as reader:
        return find_where(reader, place, most=most)


def find_where(
    reader: PlaceReader,
    place: TargetPlace | SourcePlace,
    *,
    most: int = MOST,
    monotonic: Callable[[], float] = time.monotonic,
) -> Whereabouts:
    """In short transactions, beside an agent that writes.

    Args:
        most: So many transfers, the newest ones.

    Raises:
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """
    ends_at = monotonic() + BUDGET_S

    def is_over() -> bool:
        return monotonic() > ends_at

    if isinstance(place, SourcePlace):
        return _OfSource(reader, place, most, is_over).found()
    waiting = _waiting(reader)
    named = {split_path(text)[0] for _, text in waiting} - {""}
    for end in (TransferEnd.TARGET, TransferEnd.REFUSED):
        named.update(reader.filesystems_of(end))
    every = sorted(named)
    chosen = [one for one in every if place.is_on(one)]
    if not chosen and place.filesystem not in {"", "hdfs://"}:
        chosen = [place.filesystem]  # files whose transfers the ledger has no longer
    found = _OfTarget(reader, place, chosen, most, is_over).found(waiting)
    if found.is_known:
        return found
    elsewhere = [
        one
        for one in every
        if one not in chosen
        and _OfTarget(reader, replace(place, filesystem=one), [one], 1, is_over)
        .found(waiting)
        .is_known
    ]
    nearest = next(
        (
            f"{one}{path}"
            for path in place.above
            for one in chosen
            if reader.known(TransferEnd.TARGET, [f"{one}{path}"])
            or reader.has_below(TransferEnd.TARGET, f"{one}{path}/")
        ),
        None,
    )
    return Whereabouts(place=place, elsewhere=tuple(elsewhere), nearest=nearest)


def _waiting(reader: PlaceReader) -> list[tuple[str, str]]:
    """Id and destination of transfers that have not ended and have claimed nothing."""
    found: list[tuple[str, str]] = []
    before: datetime | None = None
    for _ in range(OPEN_PIECES):
        part = reader.open_unclaimed(before=before, scan=OPEN_AT_ONCE)
        found += part.destinations
        before = part.last
        if before is None:
            break
    return found


class _Look:
    """One search: which transfers may concern the place, newest first, and which of them do."""

    def __init__(self, reader: PlaceReader, most: int, is_over: Callable[[], bool]) -> None:
        self._reader = reader
        self._most = most
        self._is_over = is_over

    def collect(
        self, candidates: Iterator[TransferRow], passage: Callable[[TransferRow], Passage | None]
    ) -> tuple[tuple[Passage, ...], bool, datetime | None]:
        """The newest passages, whether there are more, and how far back it came in its time."""
        found: list[Passage] = []
        for row in candidates:
            one = passage(row)
            if one is not None and len(found) == self._most:
                return tuple(found), True, None
            found += [] if one is None else [one]
            if self._is_over():
                return tuple(found), False, row.first_seen_at
        return tuple(found), False, None

    def candidates(
        self, end: TransferEnd, texts: Sequence[str], prefixes: Sequence[str]
    ) -> Iterator[TransferRow]:
        """Transfers with one of the texts, or with a text that begins so."""
        streams = [self._at(end, text) for text in self._reader.known(end, texts)]
        ids: set[str] = set()
        for prefix in prefixes:
            ids.update(self._newest_below(end, prefix))
        streams.append(self.with_ids(sorted(ids, reverse=True)))
        yield from merged(streams)

    def _at(self, end: TransferEnd, text: str) -> Iterator[TransferRow]:
        before = LAST_CHARACTER
        while page := self._reader.at(end, text, before=before, most=PAGE):
            yield from page
            before = page[-1].id

    def with_ids(self, ids: Sequence[str]) -> Iterator[TransferRow]:
        for start in range(0, len(ids), PAGE):
            yield from self._reader.with_ids(ids[start : start + PAGE])

    def _newest_below(self, end: TransferEnd, prefix: str) -> list[str]:
        """Ids of the newest, one more than wanted."""
        most = self._most + 1
        found, after = self._piece(end, prefix, None, most)
        if after is not None:
            # Very many: the newest of all transfers have probably enough of them.
            newest, last = self._reader.newest_below(
                end, prefix, before=LAST_CHARACTER, scan=WALKED, most=most
            )
            if len(newest) == most or last is None:
                return newest
        while after is not None and not self._is_over():
            more, after = self._piece(end, prefix, after, most)
            found = sorted({*found, *more}, reverse=True)[:most]
        return found

    def _piece(
        self, end: TransferEnd, prefix: str, after: tuple[str, str] | None, most: int
    ) -> tuple[list[str], tuple[str, str] | None]:
        return self._reader.below(end, prefix, after=after, scan=PIECE, most=most)

    # ------------------------------------------------------------ one transfer

    def spans(
        self, row: TransferRow, ranges: Sequence[tuple[Relation, TextRange]]
    ) -> tuple[Relation, ObjectSpan, TextRange] | None:
        """The first range in which the plan has an object; one that is half dropped shows none."""
        relations = {wanted: relation for relation, wanted in ranges}
        is_whole = row.pruned_at is None
        found = is_whole and self._reader.objects_in(row.id, row.objects_planned, list(relations))
        return (relations[found[0]], found[1], found[0]) if found else None

    def passage(
        self,
        row: TransferRow,
        relation: Relation,
        span: ObjectSpan | None,
        wanted: TextRange,
        target: str | None,
    ) -> Passage:
        """With the file's evidence, and with what the target has of it now."""
        evidence, files = None, None
        if relation is Relation.FILE and span is not None:
            evidence = self._reader.object_at(row.id, span.first)
            target = evidence.target.uri if evidence and evidence.target else target
        has_ended_well = row.state in {TransferState.DONE, TransferState.SUPERSEDED}
        if has_ended_well and span is not None and row.directory is not None:
            below, most = row.directory.join("").uri, FILES_CHECKED
            if row.pruned_at is None:
                files = self._reader.files_now(row.id, below, wanted, first=span.first, most=most)
            else:
                file = row.canonical.uri if relation is Relation.FILE and row.canonical else None
                files = self._reader.files_left(row.id, file, below, span.objects, most=most)
        return Passage(
            transfer=row,
            relation=relation,
            presence=_presence(row.state, files),
            span=span,
            files=files,
            evidence=evidence,
            target=target,
        )

    def whole(self, row: TransferRow, target: str | None) -> Passage:
        """All of the transfer concerns the place."""
        if not row.objects_planned:
            return self.passage(row, Relation.UNLISTED, None, _ALL, target)
        span = ObjectSpan(first=0, objects=row.objects_planned, size_bytes=row.bytes_planned)
        return self.passage(row, Relation.WHOLE, span, _ALL, target)

    def single(self, row: TransferRow) -> Passage:
        """The place is the one object of the transfer."""
        span = ObjectSpan(first=0, objects=1, size_bytes=row.bytes_planned)
        return self.passage(row, Relation.FILE, span, _ALL, None)


def _presence(state: TransferState, files: FilesNow | None) -> Presence:
    if state is TransferState.DEAD:
        return Presence.DEAD
    if not state.is_final:
        return Presence.PENDING
    if files is not None and files.there:
        return Presence.NOW if files.there == files.checked else Presence.PARTLY
    if state is TransferState.SUPERSEDED:
        return Presence.NEWER_THERE
    return Presence.REPLACED if files is not None and files.replaced else Presence.UNKNOWN


def _is_single(row: TransferRow) -> bool:
    """It copies one object, not what is below a prefix."""
    return row.canonical is not None and row.canonical != row.directory


class _OfSource(_Look):
    """Where an object or a prefix went."""

    def __init__(
        self, reader: PlaceReader, place: SourcePlace, most: int, is_over: Callable[[], bool]
    ) -> None:
        super().__init__(reader, most, is_over)
        self._place = place

    def found(self) -> Whereabouts:
        place = self._place
        rows = self.candidates(TransferEnd.SOURCE, place.texts(), place.prefixes())
        passages, has_more, searched_to = self.collect(_unique(rows), self._passage)
        nearest = None if passages else self._nearest()
        return Whereabouts(
            place=place,
            passages=passages,
            has_more=has_more,
            searched_to=searched_to,
            nearest=nearest,
        )

    def _passage(self, row: TransferRow) -> Passage | None:
        place, target = self._place, row.canonical.uri if row.canonical else None
        key = row.source.partition("://")[2].partition("/")[2]
        is_object = not place.is_prefix and key == place.key
        is_unslashed = f"{key}/" == place.inside
        if place.is_prefix and is_unslashed and _is_single(row):
            return None  # the object `day=01`, not what is below `day=01/`
        if is_object and row.objects_planned and _is_single(row):
            return self.single(row)
        if is_object or is_unslashed or key.startswith(place.inside):
            return self.whole(row, target)
        ranges = [(Relation.PART, TextRange.beginning(place.inside))]
        if not place.is_prefix:
            ranges.insert(0, (Relation.FILE, TextRange.of(place.key)))
        found = self.spans(row, ranges)
        if found is not None:
            relation, span, wanted = found
            return self.passage(row, relation, span, wanted, self._directory(row, span))
        is_known = row.pruned_at is None
        if is_known and (row.plan_complete or row.state is TransferState.SUPERSEDED):
            return None
        return self.passage(row, Relation.UNLISTED, None, _ALL, target)

    def _directory(self, row: TransferRow, span: ObjectSpan) -> str | None:
        """Where the objects below the place are, as far as one name shows it."""
        first = self._reader.object_at(row.id, span.first)
        if first is None or first.target is None:
            return None
        below = first.planned.pin.key[len(self._place.inside) :].count("/") + 1
        location = first.target
        for _ in range(below):
            location = location.parent
        return location.uri

    def _nearest(self) -> str | None:
        place = self._place
        keys = [one[len(f"s3://{place.bucket}/") :] for one in place.texts() if one.endswith("/")]
        above = sorted({key for key in keys if len(key) < len(place.inside)}, key=len, reverse=True)
        return next(
            (
                f"s3://{place.bucket}/{key}"
                for key in above
                if self._reader.has_below(TransferEnd.SOURCE, f"s3://{place.bucket}/{key}")
            ),
            None,
        )


class _OfTarget(_Look):
    """What is, was and is to be at a path, on these file systems."""

    def __init__(
        self,
        reader: PlaceReader,
        place: TargetPlace,
        filesystems: Sequence[str],
        most: int,
        is_over: Callable[[], bool],
    ) -> None:
        super().__init__(reader, most, is_over)
        self._place = place
        self._filesystems = filesystems

    def found(self, waiting: Sequence[tuple[str, str]]) -> Whereabouts:
        """With those of these transfers, given by id and destination, that concern the place."""
        place = self._place
        paths = [place.path, *place.above]
        texts = [f"{one}{path}" for one in self._filesystems for path in paths]
        prefixes = [f"{one}{place.stem}/" for one in self._filesystems]
        # What a message that could not be read named is as it was written.
        written = [*texts, *paths], [*prefixes, f"{place.stem}/"]
        near = sorted((one for one, text in waiting if place.is_near(text)), reverse=True)
        rows = merged(
            [
                self.candidates(TransferEnd.TARGET, texts, prefixes),
                self.candidates(TransferEnd.REFUSED, *written),
                self.with_ids(near),
            ]
        )
        passages, has_more, searched_to = self.collect(_unique(rows), self._passage)
        return Whereabouts(
            place=place,
            now=tuple(self._now(passages)),
            markers=tuple(filter(None, map(self._reader.marker_at, texts[:: len(paths)]))),
            passages=passages,
            has_more=has_more,
            searched_to=searched_to,
        )

    def _now(self, passages: Sequence[Passage]) -> Iterator[FileNow]:
        known = {one.transfer.id: one for one in passages}
        for filesystem in self._filesystems:
            published = self._reader.published_at(f"{filesystem}{self._place.path}")
            if published is None:
                continue
            passage = known.get(published.transfer_id)
            if passage is None:
                rows = self._reader.with_ids([published.transfer_id])
                passage = next((one for one in map(self._passage, rows) if one is not None), None)
            yield FileNow(published=published, passage=passage)

    def _passage(self, row: TransferRow) -> Passage | None:
        if row.canonical is None:
            return self.passage(row, Relation.UNLISTED, None, _ALL, None)
        uri, path = row.canonical.uri, self._place.path
        is_place = row.canonical.path == path
        if is_place and row.objects_planned and _is_single(row):
            return self.single(row)
        if is_place or row.canonical.path.startswith(f"{self._place.stem}/"):
            return self.whole(row, uri)
        ranges = self._ranges(row, row.canonical)
        while (found := self.spans(row, ranges)) is not None:
            relation, span, wanted = found
            if self._is_of(row, row.canonical, relation, span):
                target = f"{row.canonical.filesystem}{path}"
                return self.passage(row, relation, span, wanted, target)
            ranges = [one for one in ranges if one[1] != wanted]  # a key of another name
        if row.pruned_at is not None:
            return self._pruned(row, f"{row.canonical.filesystem}{path}", uri)
        if row.plan_complete or row.state is TransferState.SUPERSEDED:
            return None
        return self.passage(row, Relation.UNLISTED, None, _ALL, uri)

    def _pruned(self, row: TransferRow, file_uri: str, uri: str) -> Passage:
        """Its objects were dropped, so what it published last is all that is known of them."""
        there = self._reader.published_at(file_uri)
        if there is None or there.transfer_id != row.id:
            return self.passage(row, Relation.UNLISTED, None, _ALL, uri)
        unlisted = self.passage(row, Relation.FILE, None, _ALL, file_uri)
        return replace(unlisted, presence=Presence.NOW)

    def _is_of(
        self, row: TransferRow, directory: Location, relation: Relation, span: ObjectSpan
    ) -> bool:
        """Whether the objects of this span are at the place: two keys may be its, one is not."""
        first, below = self._reader.object_at(row.id, span.first), self._below(directory)
        if first is None:
            return False
        relative = first.planned.relative
        return relative == below if relation is Relation.FILE else relative.startswith(f"{below}/")

    def _below(self, directory: Location) -> str:
        return self._place.path[len(directory.path.rstrip("/")) + 1 :]

    def _ranges(self, row: TransferRow, directory: Location) -> list[tuple[Relation, TextRange]]:
        """Keys that this plan would have for the path, and for what is below it.

        A plan has one prefix: what its first key has before its relative path.
        """
        first = self._reader.object_at(row.id, 0) if row.objects_planned else None
        if first is None:
            return []
        relative, key = first.planned.relative, first.planned.pin.key
        names = [relative, unquote(relative)]  # `name_map = "percent"`
        prefix = next((key[: -len(name)] for name in names if key.endswith(name)), None)
        if prefix is None:
            return []
        wanted = self._below(directory)
        keys = dict.fromkeys(f"{prefix}{name}" for name in (wanted, unquote(wanted)))
        return [
            *((Relation.FILE, TextRange.of(one)) for one in keys),
            *((Relation.PART, TextRange.beginning(f"{one}/")) for one in keys),
        ]


def merged(streams: Sequence[Iterator[TransferRow]]) -> Iterator[TransferRow]:
    """Newest first, as each of them is."""
    return merge(*streams, key=lambda row: row.id, reverse=True)


def _unique(rows: Iterator[TransferRow]) -> Iterator[TransferRow]:
    """A place may match by several of its forms."""
    last = ""
    for row in rows:
        if row.id != last:
            yield row
        last = row.id
