"""From a listing to a plan: which objects, under which names, within which limits.

Pure and with bounded memory: pages go in, planned objects come out. `plan` freezes them in the
ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from backhaul.core.errors import NotAllowed, PermanentError
from backhaul.core.model import EventFacts, Limits, Location, NameMap, Source
from backhaul.core.objects import Pin, PlannedObject, Totals
from backhaul.core.ports import ListPage, ObjectStore
from backhaul.core.requests.paths import check_key, is_placeholder, target_relative
from backhaul.core.text import printable
from backhaul.core.transfer.listing import (
    UNORDERED_MAX,
    current_object,
    find_object,
    has_object,
    list_pages,
)
from backhaul.core.transfer.readers.tables import TableFormat, table_of


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What a source turned out to be.

    Attributes:
        source: With the slash added where the text had none and a prefix was found.
        pages: The listing from its start; lazily continued.
    """

    source: Source
    is_object: bool
    pages: Iterator[ListPage]


def resolve(
    store: ObjectStore,
    source: Source,
    *,
    owner: str | None = None,
    event: EventFacts | None = None,
) -> Resolution:
    """Decide between object and prefix: `day=1` never matches `day=10`.

    Args:
        owner: Account that must own the bucket; None: any.
        event: The event behind the request. It is about one object, and may name its version.

    Raises:
        PermanentError: E_SRC_AMBIGUOUS when both exist, E_SRC_EMPTY when an event's object is
            gone. (An empty listing is found by `Planner`.)
    """
    if source.is_prefix:
        pages = list_pages(store, source.bucket, source.key, owner=owner)
        return Resolution(source=source, is_object=False, pages=pages)
    if event is not None:
        pin = _of_event(store, source, event, owner)
        return Resolution(source=source, is_object=True, pages=iter([ListPage(pins=(pin,))]))
    below = Source(bucket=source.bucket, key=source.key + "/")
    found, first = find_object(store, source.bucket, source.key, owner=owner)
    if found is None:
        pages = list_pages(store, below.bucket, below.key, owner=owner)
        return Resolution(source=below, is_object=False, pages=pages)
    if _has_below(store, below, first, owner):
        raise PermanentError(
            "E_SRC_AMBIGUOUS",
            f"{source.uri} is an object and also a prefix of other objects",
            hint=f"write {below.uri} for everything below it",
        )
    return Resolution(source=source, is_object=True, pages=iter([ListPage(pins=(found,))]))


def _of_event(store: ObjectStore, source: Source, event: EventFacts, owner: str | None) -> Pin:
    """What the event is about, as S3 shows it now; its own word on size and ETag is not enough.

    Raises:
        PermanentError: E_SRC_EMPTY: it is gone.
    """
    if event.version_id is None:
        pin, what = current_object(store, source.bucket, source.key, owner=owner), source.uri
    else:
        pin = store.find_version(source.bucket, source.key, event.version_id, owner=owner)
        what = f"{source.uri} version {event.version_id}"
    if pin is None:
        raise _gone(what)
    return pin


def _gone(what: str) -> PermanentError:
    return PermanentError(
        "E_SRC_EMPTY",
        f"{printable(what)} does not exist, though an event reported it",
        hint="it was removed since; nothing is left to bring",
    )


def _has_below(store: ObjectStore, below: Source, first: ListPage, owner: str | None) -> bool:
    if any(pin.key.startswith(below.key) for pin in first.pins):
        return True
    # Names such as `part-0` sort before `part/`: a page may end before the question is answered.
    is_whole = first.is_last and first.is_ordered
    return not is_whole and has_object(store, below.bucket, below.key, owner=owner)


@dataclass(kw_only=True)
class Planner:
    """Turns pages into planned objects and keeps the totals.

    Memory: a few keys that could still turn out to be directories of later ones; in UTF-8 byte
    order they are at most as many as a key has characters. In a listing without order a clash may
    go unnoticed here; then it is the target that cannot hold both. There, the hashes of up to
    1,000,000 directories are kept too, and `directories` is a lower bound: those before the first
    key out of order are not counted again, nor those beyond that number.

    Attributes:
        tables: Which kinds of tables the names so far are of.
    """

    source: Source
    is_object: bool
    directory: Location
    name_map: NameMap
    limits: Limits
    objects: int = 0
    size_bytes: int = 0
    markers: int = 0
    directories: int = 0
    tables: set[TableFormat] = field(default_factory=set)
    _last_directory: tuple[str, ...] = ()
    _last_key: str = ""
    _seen: set[int] | None = None  # directories since the first key out of order
    _open_files: list[str] = field(default_factory=list)

    @property
    def totals(self) -> Totals:
        return Totals(objects=self.objects, size_bytes=self.size_bytes, markers=self.markers)

    def add(self, pins: Iterable[Pin]) -> list[PlannedObject]:
        """Plan one page.

        Raises:
            PermanentError: a key that cannot become a file name, a file that is also a directory.
            NotAllowed: E_POLICY_SIZE.
        """
        planned = []
        for pin in pins:
            if is_placeholder(pin.key, pin.size_bytes):
                self.markers += 1
                continue
            check_key(pin.key)
            self._refuse_clash(pin)
            relative = target_relative(self.directory, self._relative_key(pin), self.name_map)
            planned.append(PlannedObject(seq=self.objects, pin=pin, relative=relative))
            self.objects += 1
            self.size_bytes += pin.size_bytes
            self._count_directories(pin.key, relative)
            if (table := table_of(relative)) is not None and not self.is_object:
                self.tables.add(table)
            self._refuse_excess()
        return planned

    def finish(self) -> Totals:
        """The totals of the complete plan.

        Raises:
            PermanentError: E_SRC_EMPTY: nothing to copy is an error, never success.
        """
        if self.objects == 0:
            markers = f" ({self.markers} directory markers only)" if self.markers else ""
            raise PermanentError(
                "E_SRC_EMPTY",
                f"no object at or below {self.source.uri}{markers}",
                hint="check bucket and path, and that the writer finished before sending",
            )
        return self.totals

    def _relative_key(self, pin: Pin) -> str:
        if self.is_object:
            return pin.key.rsplit("/", 1)[-1]
        return pin.key[len(self.source.key) :]

    def _count_directories(self, key: str, relative: str) -> None:
        """Count the directories of this name that no earlier one had.

        In order, these are the ones that the name before did not have.
        """
        directory = tuple(relative.split("/")[:-1])
        if key < self._last_key and self._seen is None:
            self._seen = set()
        common = 0
        for one, other in zip(directory, self._last_directory, strict=False):
            if one != other:
                break
            common += 1
        if self._seen is None:
            self.directories += len(directory) - common
        else:
            self._remember(directory)
            self.directories = max(self.directories, len(self._seen))
        self._last_key, self._last_directory = key, directory

    def _remember(self, directory: tuple[str, ...]) -> None:
        assert self._seen is not None  # noqa: S101 - the caller made it
        above = 0
        for name in directory:
            above = hash((above, name))
            if len(self._seen) < UNORDERED_MAX:
                self._seen.add(above)

    def _refuse_clash(self, pin: Pin) -> None:
        while self._open_files and not pin.key.startswith(self._open_files[-1]):
            self._open_files.pop()
        for file_key in self._open_files:
            if pin.key.startswith(file_key + "/"):
                raise PermanentError(
                    "E_SRC_FILE_DIR_CLASH",
                    f"key {file_key!r} is an object and also the directory of {pin.key!r}",
                    hint="a file system cannot hold both; copy them by separate messages",
                )
        self._open_files.append(pin.key)

    def _refuse_excess(self) -> None:
        limit = self.limits
        names = max(self.objects, self.directories)
        over_objects = limit.objects is not None and names > limit.objects
        over_bytes = limit.size_bytes is not None and self.size_bytes > limit.size_bytes
        if over_objects or over_bytes:
            allowed = limit.objects if over_objects else limit.size_bytes
            unit = "bytes"
            if over_objects:
                unit = "objects" if self.objects >= self.directories else "directories"
            raise NotAllowed(
                "E_POLICY_SIZE",
                f"{self.source.uri} holds more than the {allowed:,} {unit} its route allows "
                f"(counted {self.objects:,} objects in {self.directories:,} directories,"
                f" {self.size_bytes:,} B so far)",
                hint="raise the route's limits or send smaller prefixes",
            )
