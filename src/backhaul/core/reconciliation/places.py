"""Where objects belong: a prefix of S3 and the directory that its objects go to.

From the route's template for events; without one from what its transfers brought where. A route
with a marker has a template for the marker's directory: it says where each object belongs only if
it ends in the directory's own names. Where all
of them agree, the route's whole prefix belongs to one directory, so that a folder for which no
message was sent is missing, too: `in/day=1/` went to `/landing/in/day=1`, so `in/` goes to
`/landing/in`. Where they do not, only the prefixes that were brought have a known place.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache

from backhaul.core.errors import BadArgument, PermanentError
from backhaul.core.file_systems import DefaultFs
from backhaul.core.model import Location, NameMap, Route, Source
from backhaul.core.ports import ListedObject
from backhaul.core.reconciliation.values import Row, SourceObject
from backhaul.core.requests.event_routes import destination_of
from backhaul.core.requests.paths import (
    is_placeholder,
    map_name,
    parse_destination,
    target_relative,
    unmap_name,
)
from backhaul.core.requests.policy import covering_prefix
from backhaul.core.text import printable
from backhaul.core.transfer.listing import etag_of

PLACES_MOST = 10_000
_APART = 2  # different directories
_DIRECTORIES = frozenset({"{rel_dir}", "{key_dir}"})
# Names that need no closer look: their file has the same name. Most keys are of this kind.
_NAME = r"[A-Za-z0-9=][A-Za-z0-9=_.+@,-]{0,127}"
_PLAIN = re.compile(rf"{_NAME}(?:/{_NAME}){{0,12}}")
# Storage classes of which a GET is refused until someone restores the object.
_ARCHIVED = frozenset({"GLACIER", "DEEP_ARCHIVE"})
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Objects of a prefix and where they belong.

    Attributes:
        root: The directory; everything of `prefix` belongs below it.
        template: Set where the route's template decides for each object, below `root`.
        inner: Longer prefixes of the route inside this one: their objects belong elsewhere.
    """

    bucket: str
    prefix: str
    root: Location
    name_map: NameMap
    template: Route | None = None
    inner: tuple[str, ...] = ()

    def has(self, bucket: str, key: str) -> bool:
        """Whether an object is this place's."""
        is_below = bucket == self.bucket and key.startswith(self.prefix)
        return is_below and not key.startswith(self.inner)

    @property
    def source(self) -> Source:
        return Source(bucket=self.bucket, key=self.prefix)

    @property
    def keeps_order(self) -> bool:
        """Whether paths rise as keys do."""
        return self.template is None and self.name_map is NameMap.STRICT

    @property
    def text(self) -> str:
        """For people."""
        return f"{self.source.uri} → {self.root.uri}"


@dataclass(frozen=True, kw_only=True)
class Area:
    """A directory and the places in it; areas have no path in common.

    Attributes:
        root: Of all its places.
    """

    root: Location
    places: tuple[Place, ...]


@dataclass(frozen=True, kw_only=True)
class Brought:
    """Where a transfer brought what.

    Attributes:
        source: A prefix; of one object: the one that it is in.
        directory: Where the objects of that prefix went.
    """

    source: Source
    directory: Location


def areas_of(
    route: Route, brought: Iterable[Brought], *, default_fs: DefaultFs
) -> tuple[Area, ...]:
    """Where the objects of a route belong, in the order of the directories.

    Args:
        brought: Read a second time where it does not agree.

    Raises:
        BadArgument: E_RECONCILE_PLACE: it is not known.
    """
    places = _of_template(route, default_fs) if route.event_destination else ()
    if route.marker is not None and any(one.template is not None for one in places):
        places = ()  # it places the directory of a marker, and not each object below
    if not places:
        places = tuple(_of_transfers(route, brought))
    if not places:
        raise BadArgument(
            "E_RECONCILE_PLACE",
            f"where the objects of route {printable(route.name, 80)} belong is not known:"
            f" {_no_template(route)}, and no transfer of it in the ledger has reached its"
            " destination",
            hint="set event_destination on the route, or let a first message arrive",
        )
    return tuple(_joined(replace(one, inner=_inner(route, one)) for one in places))


def _no_template(route: Route) -> str:
    if not route.event_destination:
        return "it has no event_destination"
    return "its event_destination does not end in {rel_dir} or {key_dir}, so it is for the marker"


def _inner(route: Route, place: Place) -> tuple[str, ...]:
    """The longest prefix of a route that covers an object decides, as for a message."""
    return tuple(
        prefix
        for bucket, prefix in route.sources or ()
        if bucket == place.bucket and prefix != place.prefix and prefix.startswith(place.prefix)
    )


# ---------------------------------------------------------------- the route's template


def _of_template(route: Route, default_fs: DefaultFs) -> tuple[Place, ...]:
    return tuple(
        _templated(route, bucket, prefix, default_fs)
        for bucket, prefix in dict.fromkeys(route.sources or ())
    )


def _templated(route: Route, bucket: str, prefix: str, default_fs: DefaultFs) -> Place:
    """A prefix and its directory where the template ends in the object's own directory."""
    segments = [
        one.replace("{bucket}", bucket) if one not in _DIRECTORIES else one
        for one in (route.event_destination or "").rstrip("/").split("/")
    ]
    variables = [number for number, one in enumerate(segments) if one in _DIRECTORIES]
    fixed = "/".join(segments[: variables[0]] if variables else segments)
    root = parse_destination(fixed or "/", default_fs=default_fs)
    if variables != [len(segments) - 1]:
        return Place(
            bucket=bucket, prefix=prefix, root=root, name_map=route.name_map, template=route
        )
    if segments[-1] == "{key_dir}" and prefix:
        root = root.join(map_name(prefix.removesuffix("/"), route.name_map))
    return Place(bucket=bucket, prefix=prefix, root=root, name_map=route.name_map)


# ---------------------------------------------------------------- what transfers brought


def _of_transfers(route: Route, brought: Iterable[Brought]) -> Iterator[Place]:
    """Places of the route's prefixes that all transfers agree on, and else of each transfer.

    What a transfer brought under an earlier configuration, from or to elsewhere, does not count.
    There may be millions of transfers: what each brought is kept only where they do not agree.
    """
    roots: dict[tuple[str, str], set[Location | None]] = {}
    for at, one in _within(route, brought):
        kept = roots.setdefault(at, set())
        if len(kept) < _APART:
            kept.add(_lifted(route, one, at[1]))
    apart = {at for at, kept in roots.items() if len(kept) == _APART or None in kept}
    literal: dict[tuple[str, str], dict[Brought, None]] = {at: {} for at in apart}
    for at, one in _within(route, brought) if apart else ():
        if at in apart:
            literal[at][one] = None
    for (bucket, prefix), kept in roots.items():
        for one in _outermost(literal.get((bucket, prefix), ())):
            yield Place(
                bucket=bucket, prefix=one.source.key, root=one.directory, name_map=route.name_map
            )
        for root in kept if (bucket, prefix) not in apart else ():
            assert root is not None  # noqa: S101 - else it is among those apart
            yield Place(bucket=bucket, prefix=prefix, root=root, name_map=route.name_map)


def _within(route: Route, brought: Iterable[Brought]) -> Iterator[tuple[tuple[str, str], Brought]]:
    """Those that count, each with the bucket and prefix of the route that covers it."""
    for one in brought:
        prefix = covering_prefix(route, one.source)
        if prefix is not None and _is_inside(one.directory, route):
            yield (one.source.bucket, prefix), one


def _is_inside(directory: Location, route: Route) -> bool:
    """In one of the route's destinations."""
    if route.destinations is None:
        return True
    return any(directory.is_within(place) for place in route.destinations)


def _lifted(route: Route, one: Brought, prefix: str) -> Location | None:
    """The directory of the route's prefix, if both ends went down by the same names."""
    below = one.source.key[len(prefix) :].removesuffix("/")
    if route.sources is None:
        return None  # every bucket is its source, so nothing is known of what was not brought
    if not below:
        return one.directory
    suffix = f"/{map_name(below, route.name_map)}"
    if not one.directory.path.endswith(suffix):
        return None
    path = one.directory.path.removesuffix(suffix) or "/"
    root = Location(scheme=one.directory.scheme, authority=one.directory.authority, path=path)
    return root if _is_inside(root, route) else None


def _outermost(every: Iterable[Brought]) -> list[Brought]:
    """Without those that another one implies."""
    kept: dict[str, list[Brought]] = {}
    count = 0
    for one in sorted(every, key=lambda each: (each.source.key, each.directory)):
        above = (other for key in _prefixes(one.source.key) for other in kept.get(key, ()))
        if any(_implies(other, one) for other in above):
            continue
        kept.setdefault(one.source.key, []).append(one)
        count += 1
        if count > PLACES_MOST:
            raise BadArgument(
                "E_RECONCILE_PLACE",
                f"transfers of the route brought objects to more than {PLACES_MOST:,} places that"
                " have nothing in common",
                hint="set event_destination on the route",
            )
    return [one for each in kept.values() for one in each]


def _prefixes(key: str) -> Iterator[str]:
    """The prefix itself, and all that it is in."""
    while key:
        yield key
        key = key[: key[:-1].rfind("/") + 1]
    yield ""


def _implies(outer: Brought, inner: Brought) -> bool:
    """Whether the one above brings objects of the inner prefix to the same places."""
    below = inner.source.key[len(outer.source.key) :].removesuffix("/")
    return inner.directory == (outer.directory.join(below) if below else outer.directory)


def _joined(places: Iterable[Place]) -> Iterator[Area]:
    """Places, at least one, whose directories are inside each other are one area."""
    here: list[Place] = []
    for one in sorted(places, key=lambda each: (each.root.filesystem, f"{each.root.path}/")):
        if here and not one.root.is_within(here[0].root):
            yield Area(root=here[0].root, places=tuple(here))
            here = []
        here.append(one)
    yield Area(root=here[0].root, places=tuple(here))


# ---------------------------------------------------------------- objects


def placed(
    objects: Iterable[ListedObject], place: Place, default_fs: DefaultFs
) -> Iterator[SourceObject]:
    """Each object with its path.

    Raises:
        PermanentError: E_S3_LIST_ENTRY: an object without size, ETag or time.
    """
    start, bucket = len(place.prefix), place.bucket
    base = "" if place.root.path == "/" else place.root.path
    is_simple = place.template is None

    @lru_cache(maxsize=64)
    def directory_of(key_dir: str) -> Location:
        source = Source(bucket=bucket, key=f"{key_dir}/x" if key_dir else "x")
        return destination_of(place.template, source, place.prefix, default_fs)  # type: ignore[arg-type]

    inner = place.inner
    for one in objects:
        key = one.key
        if inner and key.startswith(inner):
            continue
        relative = key[start:]
        size_bytes, excluded = int(one.size or 0), ""
        path = f"{base}/{relative}"
        if one.storage_class in _ARCHIVED:
            excluded = f"archived in storage class {one.storage_class}"
        if not (is_simple and _PLAIN.fullmatch(relative)):
            try:
                if is_placeholder(key, size_bytes):
                    excluded = "a directory placeholder"
                elif is_simple:
                    path = f"{base}/{target_relative(place.root, relative, place.name_map)}"
                else:
                    key_dir, _, name = key.rpartition("/")
                    directory = directory_of(key_dir)
                    path = directory.join(target_relative(directory, name, place.name_map)).path
            except PermanentError as error:
                excluded = f"{error.code}: {error.message}"
        yield SourceObject(
            path, bucket, key, size_bytes, etag_of(one.etag or ""), _since_epoch_us(one), excluded
        )


def keys_at(place: Place, row: Row) -> list[str]:
    """Keys of objects that may belong at the row's path, the likeliest first.

    Whether the object of a key belongs there, `placed` decides: a proof may be of one that a
    message brought somewhere else.
    """
    found = [
        one.key
        for one in (row.source, row.proven)
        if one is not None and place.has(one.bucket, one.key)
    ]
    base = "/" if place.root.path == "/" else f"{place.root.path}/"
    if row.source is None and place.template is None and row.path.startswith(base):
        key = place.prefix + unmap_name(row.path[len(base) :], place.name_map)
        if place.has(place.bucket, key):
            found.append(key)
    return [*dict.fromkeys(found)]


def _since_epoch_us(one: ListedObject) -> int:
    try:
        found = datetime.fromisoformat(one.last_modified or "")
    except ValueError as error:
        raise PermanentError(
            "E_S3_LIST_ENTRY",
            f"key {printable(one.key)} has the LastModified {printable(one.last_modified or '')!r}",
            hint="check the S3 server, or the inventory",
        ) from error
    zoned = found if found.tzinfo else found.replace(tzinfo=UTC)
    since = zoned - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
