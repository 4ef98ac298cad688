"""Finds transfers in a ledger of any size, for as long as a page may take.

Each piece is one short transaction; when the time is used up, the search says how far back it came
and where it goes on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from backhaul.adapters.ledger.reading.searching import (
    HIGHEST_ID,
    LOWEST_ID,
    FoundTransfer,
    SearchReader,
    TransferFilter,
)
from backhaul.core.errors import BadArgument
from backhaul.core.text import printable
from backhaul.core.transfer_ids import ALPHABET, RANDOM_DIGITS, TIME_DIGITS, time_part

BUDGET_S = 0.35
PIECE_S = 0.008  # so long a commit may have to wait; SQLite looks again after 2, 5, 10, 15 ms
FIRST_SCAN, LEAST_SCAN, MOST_SCAN = 1000, 100, 20_000
PAGE = 50
# The clock may have been set back between the making of an id and the first commit.
CLOCK_SLACK = timedelta(hours=1)
_CURSOR = re.compile(r"([0-9a-z]{1,64})(?:~([0-9]{1,12}))?")
_URI = re.compile(r"((?:hdfs|file)://[^/]*)?(/.*)", re.DOTALL)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{1,22}(?:[#!].*)?", re.IGNORECASE)
_DIGEST = re.compile(r"[0-9a-f]{16,64}")
_ID = re.compile(rf"0[{ALPHABET}]{{3,{TIME_DIGITS + RANDOM_DIGITS - 1}}}")


class SearchedFor(StrEnum):
    """What a search text is."""

    ID = "id"
    MESSAGE = "message"
    SOURCE = "source"
    PATH = "path"
    DIGEST = "digest"
    TEXT = "text"


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is looked for.

    Attributes:
        text: An id, a URI, a path, ...; empty: everything that the filter lets through.
        kind: What the text is; None: decided by its form.
    """

    text: str = ""
    kind: SearchedFor | None = None
    filters: TransferFilter = field(default_factory=TransferFilter)


@dataclass(frozen=True, kw_only=True)
class SearchResult:
    """One page of what was found, newest first.

    Attributes:
        kind: What the text was taken for; None without a text.
        published: Of a path: URIs that hold a file now, each with the transfer that published it.
        searched_to: How far back in time; None: all of the ledger.
        go_on: Where the next page begins; None: there is none.
    """

    found: tuple[FoundTransfer, ...]
    kind: SearchedFor | None
    published: tuple[tuple[str, FoundTransfer], ...] = ()
    searched_to: datetime | None = None
    go_on: str | None = None


def kind_of_text(text: str) -> SearchedFor:
    """By its form: what it is most likely to be."""
    if text.startswith(("s3://", "s3a://")):
        return SearchedFor.SOURCE
    if text.startswith(("/", "hdfs://", "file://")):
        return SearchedFor.PATH
    if _UUID.fullmatch(text):
        return SearchedFor.MESSAGE
    if _ID.fullmatch(text):
        return SearchedFor.ID
    if _DIGEST.fullmatch(text):
        return SearchedFor.DIGEST
    return SearchedFor.TEXT


def search(
    reader: SearchReader,
    wanted: Search,
    *,
    go_on: str | None = None,
    monotonic: Callable[[], float] = time.monotonic,
) -> SearchResult:
    """The next page.

    Args:
        go_on: As the page before has it.

    Raises:
        BadArgument: E_SEARCH: `go_on` is none.
    """
    kind = None
    if wanted.text:
        kind = wanted.kind or kind_of_text(wanted.text)
    match kind:
        case SearchedFor.ID:
            return _whole(reader.with_id(wanted.text, most=PAGE), wanted, kind)
        case SearchedFor.MESSAGE:
            return _whole(reader.of_message(wanted.text, most=PAGE), wanted, kind)
        case SearchedFor.PATH if go_on is None:
            found = _Walk(reader, wanted, kind, monotonic).page(None)
            return replace(found, published=_published(reader, wanted.text))
        case _:
            return _Walk(reader, wanted, kind, monotonic).page(go_on)


def _published(reader: SearchReader, text: str) -> tuple[tuple[str, FoundTransfer], ...]:
    filesystem, path = split_path(text)
    every = [filesystem] if filesystem else reader.filesystems()
    found = ((f"{one}{path}", reader.publisher_of(f"{one}{path}")) for one in every)
    return tuple((uri, transfer) for uri, transfer in found if transfer is not None)


def _whole(found: list[FoundTransfer], wanted: Search, kind: SearchedFor) -> SearchResult:
    kept = tuple(one for one in found if _passes(one, wanted.filters))
    return SearchResult(found=kept, kind=kind)


def _passes(one: FoundTransfer, filters: TransferFilter) -> bool:
    return (
        (not filters.states or one.state in filters.states)
        and filters.route in {None, one.route}
        and filters.code in {None, one.code}
        and (filters.since is None or one.first_seen_at >= filters.since)
        and (filters.until is None or one.first_seen_at < filters.until)
        and (filters.sender is None or filters.sender.lower() in (one.sender or "").lower())
    )


class _Walk:
    """Back in time, piece by piece, each about as long as a commit may wait."""

    def __init__(
        self,
        reader: SearchReader,
        wanted: Search,
        kind: SearchedFor | None,
        monotonic: Callable[[], float],
    ) -> None:
        self._reader = reader
        self._monotonic = monotonic
        self._ends_at = monotonic() + BUDGET_S
        self._scan = FIRST_SCAN
        self._kind = kind
        self._key = self._path = self._filesystem = ""
        filters, text = wanted.filters, wanted.text
        match kind:
            case SearchedFor.SOURCE:
                self._key = re.sub(r"^s3a?://", "", text)
                filters = replace(filters, source=self._key)
            case SearchedFor.PATH:
                self._filesystem, self._path = split_path(text)
                filters = replace(filters, path=self._path)
            case SearchedFor.DIGEST:
                filters = replace(filters, digest=text)
            case SearchedFor.TEXT:
                filters = replace(filters, text=text)
            case _:
                pass
        self._filters = filters

    def page(self, go_on: str | None) -> SearchResult:
        since, until = self._filters.since, self._filters.until
        low = LOWEST_ID if since is None else time_part(_shifted(since, -CLOCK_SLACK))
        before = HIGHEST_ID if until is None else time_part(_shifted(until, CLOCK_SLACK))
        resumed, after = "", -1
        if go_on is not None:
            before, after = _cursor(go_on)
            if after >= 0:  # the objects of this one were being looked at
                resumed, before = before, before + " "
        found: list[FoundTransfer] = []
        while True:
            most = PAGE - len(found)
            with self._timed():
                part = self._reader.search_back(
                    self._filters, low=low, before=before, scan=self._scan, most=most
                )
            for one in part.found:
                is_match, stop = self._matches(one, after if one.id == resumed else -1)
                if is_match:
                    found.append(one)
                if stop is not None:
                    return self._result(found, one.first_seen_at, f"{one.id}~{stop}")
                if self._is_over():
                    return self._result(found, one.first_seen_at, one.id)
            if part.last is None:
                return self._result(found, None, None)
            before, reached = part.last
            if len(found) >= PAGE or self._is_over():
                return self._result(found, reached, before)

    def _result(
        self, found: list[FoundTransfer], reached: datetime | None, go_on: str | None
    ) -> SearchResult:
        return SearchResult(found=tuple(found), kind=self._kind, searched_to=reached, go_on=go_on)

    def _matches(self, one: FoundTransfer, after: int) -> tuple[bool, int | None]:
        """Whether it has what is looked for, and the object at which the time was over."""
        if self._key:
            source = re.sub(r"^s3a?://", "", one.source)
            if source.startswith(self._key) or not one.objects_planned:
                return True, None
            return self._has_object(one, after, key=self._key.partition("/")[2])
        if self._path:
            place = one.directory or one.canonical or one.destination
            filesystem, directory = split_path(place)
            if self._filesystem and self._filesystem != filesystem:
                return False, None
            if is_within(directory, self._path):
                return True, None
            if not is_within(self._path, directory):
                return False, None
            if not one.objects_planned:
                return True, None
            relative = self._path[len(directory.rstrip("/")) + 1 :]
            return self._has_object(one, after, relative=relative)
        return True, None

    def _has_object(
        self, one: FoundTransfer, after: int, *, key: str | None = None, relative: str | None = None
    ) -> tuple[bool, int | None]:
        """Likewise, from the plan."""
        while True:
            with self._timed():
                is_there, last = self._reader.has_object(
                    one.id, after=after, scan=self._scan, key=key, relative=relative
                )
            if is_there or last is None:
                return is_there, None
            after = last
            if self._is_over():
                return False, after

    def _is_over(self) -> bool:
        return self._monotonic() > self._ends_at

    @contextmanager
    def _timed(self) -> Iterator[None]:
        """One piece; the next one is longer or shorter by what it took."""
        began = self._monotonic()
        yield
        took = self._monotonic() - began
        factor = min(2.0, max(0.25, PIECE_S / took)) if took > 0 else 2.0
        self._scan = min(MOST_SCAN, max(LEAST_SCAN, int(self._scan * factor)))


def _shifted(at: datetime, by: timedelta) -> datetime:
    """As far as the calendar goes."""
    try:
        return at + by
    except OverflowError:
        return at


def split_path(text: str) -> tuple[str, str]:
    """`hdfs://host:port` or empty, and the absolute path without a slash at its end."""
    match = _URI.fullmatch(text)
    if match is None:
        return "", text
    return match[1] or "", match[2].rstrip("/") or "/"


def is_within(path: str, directory: str) -> bool:
    """True when it is the directory or below it."""
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _cursor(text: str) -> tuple[str, int]:
    match = _CURSOR.fullmatch(text)
    if match is None:
        raise BadArgument(
            "E_SEARCH",
            f"{printable(text)!r} is no place at which a search goes on",
            hint="begin the search again",
        )
    return match[1], -1 if match[2] is None else int(match[2])
