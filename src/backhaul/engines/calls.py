"""The calls of a `ports.TargetSession`, each carried out by one method of `TargetOperations`.

Written once for every kind of session: a subclass brings an operation to its worker.
Locations become paths here: a `Location` takes some 15 times as long to pickle as its path.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Concatenate, ParamSpec, TypeVar

from backhaul.core.model import Location
from backhaul.core.objects import FileStatus, StagedObject
from backhaul.core.ports import (
    FoundFile,
    Inherited,
    Rename,
    StageTask,
    StoredChecksum,
    WriteRefusal,
)
from backhaul.engines.operations import TargetOperations

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


class TargetCalls(ABC):
    """The half of `ports.TargetSession` that is calls."""

    @abstractmethod
    def _call(
        self,
        operation: Callable[Concatenate[TargetOperations, Arguments], Result],
        /,
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Result:
        """Have the operation carried out where the target is."""

    def status(self, locations: Sequence[Location]) -> list[FileStatus | None]:
        return self._call(TargetOperations.status, _paths(locations))

    def existing_ancestor(self, location: Location) -> Location:
        path = self._call(TargetOperations.existing_ancestor, location.path)
        return replace(location, path=path)

    def write_access(self, location: Location) -> tuple[Location, WriteRefusal | None]:
        path, refusal = self._call(TargetOperations.write_access, location.path)
        return replace(location, path=path), refusal

    def fence(self, staging_root: Location, epoch: int) -> int:
        return self._call(TargetOperations.fence, staging_root.path, epoch)

    def fence_keeping(
        self, staging_root: Location, kept: int, epoch: int
    ) -> tuple[int, int | None]:
        return self._call(TargetOperations.fence_keeping, staging_root.path, kept, epoch)

    def take_over(self, staging_root: Location, kept: int, epoch: int) -> None:
        self._call(TargetOperations.take_over, staging_root.path, kept, epoch)

    def inherited(self, directories: Sequence[Location]) -> list[Inherited | None]:
        return self._call(TargetOperations.inherited, _paths(directories))

    def make_alike(
        self,
        staged: Location,
        relative: str,
        wanted: Inherited,
        *,
        made_in: Location | None,
        epoch: int,
    ) -> None:
        root = None if made_in is None else made_in.path
        self._call(TargetOperations.make_alike, staged.path, relative, wanted, root, epoch)

    def count_files(self, directory: Location) -> tuple[int, int]:
        return self._call(TargetOperations.count_files, directory.path)

    def walk(self, directory: Location, *, after: str, most: int) -> list[FoundFile]:
        return self._call(TargetOperations.walk, directory.path, after, most)

    def prune(self, directory: Location, planned: Sequence[str]) -> int:
        return self._call(TargetOperations.prune, directory.path, list(planned))

    def write_whole(self, location: Location, content: bytes) -> None:
        self._call(TargetOperations.write_whole, location.path, content)

    def publish_tree(self, staged: Location, target: Location) -> bool:
        return self._call(TargetOperations.publish_tree, staged.path, target.path)

    def publish_files(
        self, renames: Sequence[Rename], *, replace: bool, in_order: bool = False
    ) -> None:
        pairs = [(one.source.path, one.target.path) for one in renames]
        self._call(TargetOperations.publish_files, pairs, replace=replace, in_order=in_order)

    def stored_checksums(
        self,
        locations: Sequence[Location],
        *,
        algorithms: Sequence[str] = (),
        is_read: bool = False,
        passes_over: bool = False,
    ) -> list[StoredChecksum | None]:
        return self._call(
            TargetOperations.stored_checksums,
            _paths(locations),
            algorithms=tuple(algorithms),
            is_read=is_read,
            passes_over=passes_over,
        )

    def match_existing(
        self, tasks: Sequence[StageTask], finals: Sequence[Location]
    ) -> list[StagedObject | None]:
        return self._call(TargetOperations.match_existing, tuple(tasks), _paths(finals))

    def remove_staging(self, staging_root: Location, *, up_to: int | None = None) -> None:
        self._call(TargetOperations.remove_staging, staging_root.path, up_to)


def _paths(locations: Sequence[Location]) -> list[str]:
    return [location.path for location in locations]
