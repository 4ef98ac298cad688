"""Where a transfer's staging is, so that its files are what files written in place would be.

A file keeps what its directory gave it when it was created: group, ACL, erasure coding, and the
kind of disk of its blocks. A rename changes none of that. So staging is below the very directory
that the files go to, or below the one that this directory will be made in.

Directories further down that exist and give something else have a directory in staging that gives
the same (`Placing`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from itertools import islice

from backhaul.core.errors import CannotWrite, TransientError
from backhaul.core.model import STAGING_NAME, Location
from backhaul.core.ports import Inherited, Ledger, TargetSession
from backhaul.core.transfer.write_access import cannot_write

GIVEN_MOST = 100_000  # directories remembered, some 30 MB; after that they are looked up again
BATCH = 1000  # names


def staging_anchor(
    prefix: Location, directory: Location, existing: Location, *, is_tree: bool
) -> Location:
    """The directory to hold `.backhaul`: the nearest existing one on the way to the target.

    It is at or below the route's own directory. Only a tree that is to become that very directory
    cannot wait inside it for its one rename: it waits above.

    Args:
        prefix: The route's directory that covers the target.
        directory: The target directory.
        existing: It, or the nearest existing directory above it.
        is_tree: A directory is copied, not one file.
    """
    if existing.is_within(prefix):
        return existing
    return existing if is_tree and directory == prefix else prefix


def staging_root(anchor: Location, destination: Location) -> Location:
    """Where the epochs of a destination are, below an anchor."""
    return anchor.join(f"{STAGING_NAME}/{destination.digest}")


def other_roots(prefix: Location, anchor: Location, destination: Location) -> list[Location]:
    """Where else this destination's staging may have been: above `anchor`, up to the prefix.

    A tree that is the prefix itself waited above it while it was absent: there it is up to `/`.
    """
    found = []
    while _may_hold(anchor.parent, prefix, destination) and anchor != anchor.parent:
        anchor = anchor.parent
        found.append(staging_root(anchor, destination))
    return found


def _may_hold(anchor: Location, prefix: Location, destination: Location) -> bool:
    return destination == prefix or anchor.is_within(prefix)


def holds_files(root: Location, destination: Location) -> bool:
    """Whether files are ever renamed out of this staging root of the destination.

    Not out of those further down in it: there directories are made (`Placing`), and moved at once.
    A sweep finds what is left of them; nothing is to be fenced.
    """
    place = root.parent.parent
    return place == destination or not place.is_within(destination)


def other_zone(where: str) -> CannotWrite:
    """No file is renamed into an encryption zone or out of one."""
    return CannotWrite(
        "E_DST_EZ",
        f"{where} is an encryption zone of its own, and no file can be renamed into it",
        hint="let a message have this directory, or one in it, as its destination",
    )


def _other_mount(where: str) -> CannotWrite:
    """No file is renamed from one file system into another."""
    return CannotWrite(
        "E_DST_MOUNT",
        f"another file system is mounted at {where}, and no file can be renamed into it",
        hint="let a message have this directory, or one in it, as its destination",
    )


def _batches(names: Iterable[str]) -> Iterator[Sequence[str]]:
    rest = iter(names)
    while batch := list(islice(rest, BATCH)):
        yield batch


class Placing:
    """What the directories of one transfer give to their files, and that staging gives the same.

    Args:
        directory: The target directory; it exists.
        destination: What the transfer owns: it, or one file in it.
        staged: This epoch's directory of staging.
    """

    def __init__(
        self,
        *,
        session: TargetSession,
        ledger: Ledger,
        transfer_id: str,
        directory: Location,
        destination: Location,
        staged: Location,
        epoch: int,
        now: Callable[[], datetime],
    ) -> None:
        self._session = session
        self._ledger = ledger
        self._id = transfer_id
        self._directory = directory
        self._destination = destination
        self._staged = staged
        self._epoch = epoch
        self._now = now
        self._given: dict[str, Inherited | None] = {}

    def prepare(self, names: Iterable[str]) -> None:
        """Make directories in staging for files whose final directory differs from the one above.

        Nothing is looked up or made for files without a directory of their own. A directory is
        looked up again after `GIVEN_MOST` others; what was made for it stays as it is then.

        Args:
            names: Of files that are going to be staged, relative to the target directory.

        Raises:
            CannotWrite: What would end the renames half-way: on the way to a file is an encryption
                zone of its own (E_DST_EZ), a mount point (E_DST_MOUNT), a file
                (E_DST_PARENT_FILE), or a directory that does not take the name which is to be
                made in it (E_DST_DENIED, E_DST_READONLY).
        """
        differing = self._differing(names)
        moved = [each for each in differing if self._is_moved(each)]
        roots = {each: self._root_in(each) for each in moved}
        if roots:
            # Die after this line and a sweep removes what was made.
            self._ledger.note_staging(self._id, self._epoch, [*roots.values()], self._now())
        for relative in differing:
            wanted = self._given[relative]
            assert wanted is not None  # noqa: S101 - it differs, so it is there
            self._session.make_alike(
                self._staged, relative, wanted, made_in=roots.get(relative), epoch=self._epoch
            )

    def check(self, names: Iterable[str]) -> None:
        """Refuse to publish into directories that came into being since and give something else.

        Raises:
            CannotWrite: As `prepare`.
            TransientError: E_DST_MOVED; the next attempt stages in them.
        """
        here, there = self._session.inherited([self._staged, self._directory])
        if there is None:
            return
        differing = next(filter(None, map(self._differing, _batches(names))), [])
        if here != there or differing:
            where = self._directory.join(differing[0]) if here == there else self._directory
            raise TransientError(
                "E_DST_MOVED",
                f"{where.uri} was made while its files were copied, with another group, ACL or "
                "policy than the directory above it",
                hint="nothing: the next attempt stages in it",
            )

    def _differing(self, names: Iterable[str]) -> list[str]:
        """Directories, not seen before, that give something else than the one above; top down."""
        if len(self._given) >= GIVEN_MOST:
            self._given.clear()
        by_level: dict[int, set[str]] = {}
        wanted = dict.fromkeys(name.rpartition("/")[0] for name in names)
        for relative in wanted:
            above = relative
            while above and above not in self._given:
                self._given[above] = None
                by_level.setdefault(above.count("/"), set()).add(above)
                above = above.rpartition("/")[0]
        differing = []
        for _, level in sorted(by_level.items()):
            # Below a directory that is not there nothing is.
            there = [each for each in sorted(level) if self._above(each) is not None]
            for each, given in zip(there, self._inherited(there), strict=True):
                self._given[each] = given
                if given is not None:
                    self._refuse_border(each, given)
                    if given != self._above(each):
                        differing.append(each)
        self._refuse_closed(wanted)
        return differing

    def _above(self, relative: str) -> Inherited | None:
        above = relative.rpartition("/")[0]
        if not above and "" not in self._given:
            (self._given[""],) = self._session.inherited([self._directory])
        return self._given[above]

    def _inherited(self, relatives: Sequence[str]) -> list[Inherited | None]:
        if not relatives:
            return []
        return self._session.inherited([self._directory.join(each) for each in relatives])

    def _refuse_border(self, relative: str, given: Inherited) -> None:
        above = self._above(relative)
        if given.is_mount:
            raise _other_mount(self._directory.join(relative).uri)
        if above is not None and given.is_encrypted != above.is_encrypted:
            raise other_zone(self._directory.join(relative).uri)

    def _refuse_closed(self, wanted: Iterable[str]) -> None:
        """Only where a name is to be made: below a directory that takes none may be one that does.

        The target directory itself has taken the name of staging.
        """
        for relative in wanted:
            existing = relative
            while existing and self._given[existing] is None:
                existing = existing.rpartition("/")[0]
            given = self._given[existing] if existing else None
            if given is None:
                continue
            directory = self._directory.join
            if error := cannot_write(directory(relative), directory(existing), given.refused):
                raise error

    def _is_moved(self, relative: str) -> bool:
        given, above = self._given[relative], self._above(relative)
        assert given is not None  # noqa: S101 - both exist
        assert above is not None  # noqa: S101
        return given.carried != above.carried

    def _root_in(self, relative: str) -> Location:
        return staging_root(self._directory.join(relative), self._destination)
