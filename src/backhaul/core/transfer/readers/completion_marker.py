"""The completion marker that a route or a message wants: an empty file, published after all others.

It is staged like them: after everything is proven, before the intent. With a tree it appears in the
tree's one rename; otherwise it is renamed after the last file. Die before that and the next attempt
finds it missing at its final path, adopts the files and publishes it.

What the source itself has under this name is copied as any file, and stands for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from backhaul.core.errors import CannotWrite, IntegrityError
from backhaul.core.model import Assignment, Location, OnExists
from backhaul.core.objects import FileStatus
from backhaul.core.ports import Ledger, Rename, TargetSession
from backhaul.core.transfer.write_access import exists


class CompletionMarker:
    """Of one attempt; without a name it does nothing, nor where nothing may be copied.

    Args:
        directory: That the files go to.
        names: Of the whole frozen plan, relative to it.
        may_be_published: An earlier attempt recorded its intent: it may have published the marker.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        session: TargetSession,
        job: Assignment,
        directory: Location,
        names: Callable[[], Iterable[str]],
        may_be_published: bool,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._job = job
        self._directory = directory
        self._names = names
        self._may_be_published = may_be_published
        self._name = None if job.adopts_only else job.completion_marker

    @property
    def location(self) -> Location | None:
        """Its final path: in the directory that the files go to. None: none is wanted."""
        return None if self._name is None else self._directory.join(self._name)

    def is_there(self) -> bool:
        """Whether nothing is left to do: none is wanted, or its final path has an empty file."""
        return self.location is None or _is_empty(self._status(self.location))

    def stage(self, staged: Location) -> None:
        """Put it into this epoch's directory of staging, which holds everything else.

        Raises:
            CannotWrite: E_DST_EXISTS: something is at its final path that may not be replaced.
            IntegrityError: E_LENGTH: what was written is not empty.
        """
        if self._name is None or self._is_kept():
            return
        here = staged.join(self._name)
        if self._status(here) is not None:
            return  # the source's own
        self._session.write_whole(here, b"")
        if not _is_empty(self._status(here)):
            raise IntegrityError("E_LENGTH", f"{here.uri} should be empty, and is not")

    def publish(self, staged: Location, *, has_moved: bool) -> None:
        """Rename it; every file is at its final path.

        Args:
            has_moved: This attempt renamed files, so that an older marker is replaced.

        Raises:
            CannotWrite: E_DST_EXISTS: something came to its final path that may not be replaced.
            OutcomeUnknown: The answer was lost.
        """
        if self._name is None or self.location is None or self._is_kept():
            return
        if not has_moved and self.is_there():
            return
        one = Rename(source=staged.join(self._name), target=self.location)
        may_replace = self._job.on_exists is OnExists.REPLACE
        self._session.publish_files([one], replace=may_replace)

    def is_planned(self, relative: str) -> bool:
        """Whether the source has it."""
        return relative == self._name

    def _is_kept(self) -> bool:
        """Whether what is at its final path stays: the route does not replace, and it is as good.

        The same rules as for a file: `fail` leaves what this ledger published there, `same-ok` what
        has the same content.
        """
        final = self.location
        if final is None:
            return False
        status = self._status(final)
        if status is None or self._job.on_exists is OnExists.REPLACE:
            return False
        if _is_empty(status) and (
            self._job.on_exists is OnExists.SAME_OK
            or self._may_be_published
            or self._ledger.marker_at(final) is not None
        ):
            return True
        if any(map(self.is_planned, self._names())):
            return True  # the source's own, judged as any file
        raise exists(final)

    def _status(self, location: Location) -> FileStatus | None:
        (status,) = self._session.status([location])
        if status is not None and status.is_directory:
            raise CannotWrite(
                "E_DST_EXISTS",
                f"{location.uri} is a directory, and a completion marker of this name is wanted",
                hint="choose another name for the marker, or remove the directory",
            )
        return status


def _is_empty(status: FileStatus | None) -> bool:
    """An empty file is there."""
    return status is not None and status.is_file and status.size_bytes == 0
