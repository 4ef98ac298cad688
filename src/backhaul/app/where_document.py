"""What is known of a place as one JSON document, for programs: `backhaul where --json`.

Its form is these classes; `docs/schema/where.schema.json` is made of them. A field may be added;
what is taken away or changes its meaning makes `v` another number.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any, Literal

from pydantic import TypeAdapter

from backhaul.app.places import SourcePlace
from backhaul.app.whereabouts import FileNow, Passage, Whereabouts
from backhaul.core.transfer.evidence import object_line


@dataclass(frozen=True, kw_only=True)
class PassagePart:
    """A transfer and what of it concerns the place; null: not known, or there is none.

    Attributes:
        relation: `file`: one of its objects is exactly the place; `part`: some are below it;
            `whole`: all of it is the place or below it; `unlisted`: its request covers the place,
            and its objects are not known, or not all of them.
        presence: `now`, `partly`, `replaced`, `newer-there` (something newer was there),
            `unknown` (it was brought, and what is there now is not known), `pending` (the transfer
            has not ended) or `dead`.
        target: URI of the file or directory there.
        objects: How many of its objects are there; likewise `size_bytes`.
        checked: So many of those were looked at, the first ones. `there_now` of them were published
            last at their paths, `replaced` of them were not.
        evidence: Of the one object, for `file`: a line of the manifest.
        publish: How it was published.
    """

    transfer: str
    state: str
    relation: Literal["file", "part", "whole", "unlisted"]
    presence: Literal["now", "partly", "replaced", "newer-there", "unknown", "pending", "dead"]
    source: str
    destination: str
    target: str | None
    route: str | None
    objects: int | None
    size_bytes: int | None
    checked: int | None
    there_now: int | None
    replaced: int | None
    evidence: dict[str, Any] | None
    publish: str | None
    code: str | None
    reason: str | None
    held_by: str | None
    message_id: str | None
    queue: str | None
    sender: str | None
    sent_at: datetime | None
    first_seen_at: datetime
    finished_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class FilePart:
    """The file that the ledger published last at the path, and what it was made of.

    Attributes:
        transfer: Its id; `passage` is null where the ledger has its row no longer.
    """

    target: str
    transfer: str
    bucket: str
    key: str
    version_id: str | None
    etag: str
    size_bytes: int
    last_modified: datetime
    checksum_algorithm: str
    checksum: str
    passage: PassagePart | None


@dataclass(frozen=True, kw_only=True)
class MarkerPart:
    """An empty file that the transfer published after all others."""

    target: str
    transfer: str
    published_at: datetime


@dataclass(frozen=True, kw_only=True)
class WhereDocument:
    """What the ledger knows of a place.

    Attributes:
        place: As it was looked for.
        now: Of a path: the file there, for each file system that has one.
        markers: Of a path: the completion marker there, likewise.
        transfers: Newest first, by the time when they were first seen.
        has_more: There are older ones.
        searched_to: Null, unless the time was used up there.
        elsewhere: File systems that have the path, where those that were meant have not.
        nearest: The nearest place above that is known, where this one is not.
    """

    v: Literal[1]
    place: str
    kind: Literal["path", "source"]
    now: list[FilePart]
    markers: list[MarkerPart]
    transfers: list[PassagePart]
    has_more: bool
    searched_to: datetime | None
    elsewhere: list[str]
    nearest: str | None


@cache
def where_documents() -> TypeAdapter[WhereDocument]:
    """What writes the document, and its schema."""
    return TypeAdapter(WhereDocument)


def where_as_text(found: Whereabouts) -> str:
    """One line of JSON."""
    return where_documents().dump_json(where_document(found)).decode()


def where_document(found: Whereabouts) -> WhereDocument:
    """Of what was found, also where that is nothing."""
    return WhereDocument(
        v=1,
        place=found.place.text,
        kind="source" if isinstance(found.place, SourcePlace) else "path",
        now=[_file(one) for one in found.now],
        markers=[
            MarkerPart(target=one.uri, transfer=one.transfer_id, published_at=one.published_at)
            for one in found.markers
        ],
        transfers=[_passage(one) for one in found.passages],
        has_more=found.has_more,
        searched_to=found.searched_to,
        elsewhere=list(found.elsewhere),
        nearest=found.nearest,
    )


def _file(one: FileNow) -> FilePart:
    pin, content = one.published.pin, one.published.content
    return FilePart(
        target=one.published.location.uri,
        transfer=one.published.transfer_id,
        bucket=pin.bucket,
        key=pin.key,
        version_id=pin.version_id,
        etag=pin.etag,
        size_bytes=pin.size_bytes,
        last_modified=pin.last_modified,
        checksum_algorithm=content.algorithm,
        checksum=content.hex,
        passage=None if one.passage is None else _passage(one.passage),
    )


def _passage(one: Passage) -> PassagePart:
    row, evidence = one.transfer, one.evidence
    return PassagePart(
        transfer=row.id,
        state=row.state.value,
        relation=one.relation.value,
        presence=one.presence.value,
        source=row.source,
        destination=row.canonical.uri if row.canonical is not None else row.destination,
        target=one.target,
        route=row.route,
        objects=None if one.span is None else one.span.objects,
        size_bytes=None if one.span is None else one.span.size_bytes,
        checked=None if one.files is None else one.files.checked,
        there_now=None if one.files is None else one.files.there,
        replaced=None if one.files is None else one.files.replaced,
        evidence=None
        if evidence is None
        else object_line(row.id, evidence.planned, evidence.staged, evidence.target),
        publish=row.publish_mode,
        code=row.code,
        reason=row.reason,
        held_by=row.held_by,
        message_id=row.message_id,
        queue=row.queue,
        sender=row.sender,
        sent_at=row.sent_at,
        first_seen_at=row.first_seen_at,
        finished_at=row.finished_at,
    )
