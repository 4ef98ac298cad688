"""What a worker does on a target besides copying: reading status, fencing, renaming, removing.

Each method is one `Call` of the agent (`wire`); their contract is `ports.TargetSession`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import TypeVar

from backhaul.core.checksums import Digest
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    OutcomeUnknown,
    TargetExists,
    TargetMissing,
)
from backhaul.core.objects import FileStatus, StagedObject
from backhaul.core.ports import (
    Endpoint,
    Entry,
    FoundFile,
    Inherited,
    SourceReader,
    StageTask,
    StoredChecksum,
    TargetFs,
    WriteRefusal,
)
from backhaul.engines.checksum_comparison import FileReader, match_existing
from backhaul.engines.counter import Counter
from backhaul.engines.native import staging_conflict
from backhaul.engines.probing import Side, check_target, outages
from backhaul.engines.tree_walk import TreeWalks

In = TypeVar("In")
Out = TypeVar("Out")

PARALLEL = 16
FENCE_TRIES = 3


class TargetOperations:
    """Paths are strings of one file system.

    Args:
        reader: S3, for the operations that need it.
        parallel: Threads for several paths at once; 1 keeps everything in the calling thread.
        walks: Of this target; outlives one call.
    """

    def __init__(
        self,
        target: TargetFs,
        new_digest: Callable[[str], Digest],
        counter: Counter,
        reader: Callable[[], SourceReader],
        *,
        parallel: int = PARALLEL,
        walks: TreeWalks | None = None,
    ) -> None:
        self._walks = walks or TreeWalks(parallel)
        self._reader = reader
        self._parallel = parallel
        self._target = target
        self._counter = counter
        self._files = FileReader(target=target, new_digest=new_digest, counter=counter)

    def status(self, paths: Sequence[str]) -> list[FileStatus | None]:
        return self._each(self._target.status, paths)

    def stored_checksums(
        self,
        paths: Sequence[str],
        *,
        algorithms: Sequence[str] = (),
        is_read: bool = False,
        passes_over: bool = False,
    ) -> list[StoredChecksum | None]:
        """See the port."""
        if not paths:
            return []
        wanted = algorithms or ["CRC32C"] * len(paths)
        kept: Sequence[StoredChecksum | None]
        if is_read or not self._target.keeps_checksums:
            kept = [StoredChecksum(size_bytes=None, modified_ms=0)] * len(paths)
        else:
            kept = self._kept(paths)
        read = self._read_if_it_can if passes_over else self._read

        def each(item: tuple[str, StoredChecksum | None, str]) -> StoredChecksum | None:
            path, stored, algorithm = item
            if stored is None or (stored.checksum and stored.checksum.algorithm == algorithm):
                return stored
            return read(path, stored.why, algorithm)

        return self._each(each, list(zip(paths, kept, wanted, strict=True)))

    def _kept(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        found = self._target.stored_checksums(paths)
        self._counter.add(0)
        return found

    def _read_if_it_can(self, path: str, why: str, algorithm: str) -> StoredChecksum | None:
        try:
            return self._read(path, why, algorithm)
        except OutageError:
            raise  # not of this file alone
        except BackhaulError as error:
            reasons = [each for each in (why, str(error)) if each]
            return StoredChecksum(size_bytes=None, modified_ms=0, why="; ".join(reasons))

    def _read(self, path: str, why: str, algorithm: str) -> StoredChecksum | None:
        found = self._files.read(path, algorithm)
        return None if found is None else replace(found, why=why)

    def match_existing(
        self, tasks: Sequence[StageTask], paths: Sequence[str]
    ) -> list[StagedObject | None]:
        """See the port."""
        reader = self._reader()
        kept: Sequence[StoredChecksum | None] = [None] * len(paths)
        if self._target.keeps_checksums:
            kept = self._kept(paths)
        return self._each(
            lambda one: match_existing(reader, self._files, *one),
            list(zip(tasks, paths, kept, strict=True)),
        )

    def probe(
        self, root: str | None, endpoint: Endpoint | None, dependency: str
    ) -> list[OutageError]:
        """Which side is down now; see `probing`."""
        sides = [
            Side(
                dependency=dependency,
                code="E_TARGET_STALLED",
                where=dependency,
                check=lambda: check_target(self._target, root, dependency),
            )
        ]
        if endpoint is not None:
            sides.append(
                Side(
                    dependency="s3",
                    code="E_S3_UNREACHABLE",
                    where=endpoint.base_url,
                    check=lambda: self._reader().check_reachable(endpoint),
                )
            )
        return outages(*sides)

    def existing_ancestor(self, path: str) -> str:
        """`path` or the nearest existing directory above it."""
        self._target.check_reachable()
        above = path
        while True:
            status = self._target.status(above)
            if status is not None:
                break
            if above == "/":
                return above
            above = above.rsplit("/", 1)[0] or "/"
        self._target.check_place(above)
        if status.is_directory:
            return above
        if above == path:
            raise TargetExists(
                "E_DST_EXISTS",
                f"{path} is a file, and a destination is always a directory",
                hint="name the directory that the file should go to",
            )
        raise CannotWrite(
            "E_DST_PARENT_FILE",
            f"{above} is a file, so {path} cannot be a directory below it",
            hint="remove the file or choose another destination",
        )

    def write_access(self, path: str) -> tuple[str, WriteRefusal | None]:
        """The nearest existing directory, and why it takes no new names."""
        above = self.existing_ancestor(path)
        return above, self._target.write_refusal(above)

    def fence(self, root: str, epoch: int) -> int:
        """Remove lower epochs, then make this one; the highest epoch seen."""
        seen = [int(name) for name in self._target.names(root) if name.isdigit()]
        highest = max(seen, default=0)
        if highest >= epoch:
            return highest
        for lower in seen:
            self._target.remove(f"{root}/{lower}")
        self._make_epoch(root, epoch)
        return highest

    def _make_epoch(self, root: str, epoch: int) -> None:
        for attempt in range(FENCE_TRIES):
            self._target.mkdirs(root)
            try:
                self._target.mkdir(f"{root}/{epoch}")
            except TargetMissing:
                # Another transfer that ends removes the root while it is empty.
                if attempt + 1 == FENCE_TRIES:
                    raise
            else:
                return

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        found = self._target.inherited(paths)
        self._counter.add(0)
        return found

    def make_alike(
        self, staged: str, relative: str, wanted: Inherited, root: str | None, epoch: int
    ) -> None:
        """A directory of staging that gives its files what the final one of its name would."""
        *above, name = relative.split("/")
        for each in above:
            staged = f"{staged}/{each}"
            self._target.mkdir(staged)
        path = f"{staged}/{name}"
        (there,) = self._target.inherited([path])
        if there is not None and there != wanted:
            self._target.remove(path)  # what it holds got the wrong things; it is copied again
        if there != wanted:
            if root is None:
                self._target.mkdir(path)
            else:
                self._make_in(root, epoch, path)
            self._target.set_policies(path, wanted)
        self._counter.add(0)

    def _make_in(self, root: str, epoch: int, path: str) -> None:
        """Make a directory at `path` by way of a staging root whose place gives it its group."""
        with contextlib.ExitStack() as undo:
            # Perhaps fenced meanwhile, by a process that does not know this directory.
            undo.callback(self._discard, root, epoch)
            self._make_epoch(root, epoch)
            self._rename(f"{root}/{epoch}", path, replace=False)
            undo.pop_all()
        self._remove_if_empty(root)

    def _discard(self, root: str, epoch: int) -> None:
        with contextlib.suppress(BackhaulError):
            self._target.remove(f"{root}/{epoch}")
            self._remove_if_empty(root)

    def _remove_if_empty(self, root: str) -> None:
        """The root, and `.backhaul` above it."""
        self._target.remove_empty(root)
        self._target.remove_empty(_above(root))

    def fence_keeping(self, root: str, kept: int, epoch: int) -> tuple[int, int | None]:
        """Remove epochs below `kept`; the highest seen, and the kept one's present number."""
        seen = [int(name) for name in self._target.names(root) if name.isdigit()]
        highest = max(seen, default=0)
        if highest >= epoch:
            return highest, None
        for lower in seen:
            if lower < kept:
                self._target.remove(f"{root}/{lower}")
        return highest, min((one for one in seen if one >= kept), default=None)

    def take_over(self, root: str, kept: int, epoch: int) -> None:
        """After it the owner of the old epoch finds no source for a rename (S6)."""
        if kept == epoch or self._target.status(f"{root}/{kept}") is None:
            return
        try:
            self._rename(f"{root}/{kept}", f"{root}/{epoch}", replace=False)
        except TargetExists as error:
            raise staging_conflict(f"{root}/{epoch}") from error

    def count_files(self, directory: str) -> tuple[int, int]:
        """Files below it, and directories without an entry other than itself."""
        files = empty = 0
        for level in self._levels(directory):
            for path, entries in level:
                files += sum(not one.is_directory for one in entries)
                empty += not entries and path != directory
        return files, empty

    def walk(self, directory: str, after: str, most: int) -> list[FoundFile]:
        page = self._walks.page(self._target, directory, after, most)
        self._counter.add(0)
        return page

    def prune(self, directory: str, planned: Sequence[str]) -> int:
        """Remove files that are not planned, then directories that hold nothing, deepest first."""
        keep = {f"{directory}/{relative}" for relative in planned}
        removed = 0
        directories: list[str] = []
        for level in self._levels(directory):
            for path, entries in level:
                directories.append(path)
                extra = [
                    f"{path}/{one.name}"
                    for one in entries
                    if not one.is_directory and f"{path}/{one.name}" not in keep
                ]
                self._each(self._target.remove, extra)
                removed += len(extra)
        for path in reversed(directories[1:]):
            self._target.remove_empty(path)
        return removed

    def _levels(self, directory: str) -> Iterator[list[tuple[str, list[Entry]]]]:
        """The tree from its root down, one depth at a time."""
        level = [directory]
        while level:
            found = list(zip(level, self._each(self._target.entries, level), strict=True))
            level = [
                f"{path}/{one.name}"
                for path, entries in found
                for one in entries
                if one.is_directory
            ]
            yield found

    def write_whole(self, path: str, content: bytes) -> None:
        """Written under another name, then renamed."""
        partial = f"{path}.part"
        self._target.remove(partial)  # of an attempt that died here
        writer = self._target.create(partial, len(content))
        writer.write(content)
        writer.close()
        self._rename(partial, path, replace=True)
        self._target.sync_directory(_above(path))

    def publish_tree(self, staged: str, target: str) -> bool:
        """One rename; False when something is at `target`."""
        if self._target.status(target) is not None:
            return False
        self._mkdirs_above([target])
        try:
            self._rename(staged, target, replace=False)
        except TargetExists:
            return False
        self._target.sync_directory(_above(target))
        return True

    def publish_files(
        self, renames: Sequence[tuple[str, str]], *, replace: bool, in_order: bool = False
    ) -> None:
        """See the port."""
        targets = [target for _, target in renames]
        self._mkdirs_above(targets)
        if in_order:
            for source, target in renames:
                self._rename(source, target, replace=replace)
                self._counter.add(0)  # alive, however many they are
        else:
            self._each(lambda pair: self._rename(*pair, replace=replace), renames)
        self._each(self._target.sync_directory, {_above(target) for target in targets})

    def _mkdirs_above(self, targets: Iterable[str]) -> None:
        for directory in sorted({_above(target) for target in targets}):
            if self._target.status(directory) is None:
                self._target.mkdirs(directory)

    def _rename(self, source: str, target: str, *, replace: bool) -> None:
        """A rename whose lost answer is settled by the status of both paths.

        A missing source is no lost answer: it was fenced or removed, and the file at the target is
        then another transfer's. The next attempt compares its bytes.
        """
        try:
            self._target.rename(source, target, replace=replace)
        except OutcomeUnknown:
            if self._target.status(source) is not None or self._target.status(target) is None:
                raise

    def remove_staging(self, root: str, up_to: int | None = None) -> None:
        """Remove the transfer's staging, and `.backhaul` above it unless another uses it."""
        if up_to is None:
            self._target.remove(root)
        else:
            for name in self._target.names(root):
                if name.isdigit() and int(name) <= up_to:
                    self._target.remove(f"{root}/{name}")
            # A higher epoch keeps it: the next owner may be staging there already.
            self._target.remove_empty(root)
        self._target.remove_empty(_above(root))

    def _each(self, work: Callable[[In], Out], items: Iterable[In]) -> list[Out]:
        """In parallel where there are several; the first error wins."""
        todo = list(items)

        def counted(item: In) -> Out:
            result = work(item)
            self._counter.add(0)
            return result

        if min(self._parallel, len(todo)) <= 1:
            return [counted(item) for item in todo]
        with ThreadPoolExecutor(min(self._parallel, len(todo))) as threads:
            return list(threads.map(counted, todo))


def _above(path: str) -> str:
    return path.rsplit("/", 1)[0] or "/"
