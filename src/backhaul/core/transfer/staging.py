"""A transfer's staging under one claim: fenced before it is filled, removed at the end."""

from __future__ import annotations

from collections.abc import Sequence

from backhaul.core.errors import BackhaulError, CannotWrite
from backhaul.core.facts import ForeignStaging
from backhaul.core.model import Assignment, Location
from backhaul.core.objects import FileStatus
from backhaul.core.ports import Claimed, Ports, TargetSession
from backhaul.core.transfer.placing import Placing, other_roots
from backhaul.core.transfer.plan import Plan

REMOVE_TRIES = 2


class Staging:
    """What a claim gives.

    Args:
        session: Of the worker that fences and removes.

    Attributes:
        root: Holds a directory for each epoch.
        directory: This epoch's.
        jobs: YARN applications of earlier epochs that may run.
        has_rivals: See `Claimed`.
        placing: Where in it files go.
        may_hold_files: The target directory existed when it was claimed.
    """

    def __init__(
        self,
        claimed: Claimed,
        *,
        ports: Ports,
        session: TargetSession,
        transfer_id: str,
        job: Assignment,
        plan: Plan,
        may_hold_files: bool,
    ) -> None:
        self._session = session
        self._emit = ports.emit
        self._transfer_id = transfer_id
        self._job = job
        self._plan = plan
        self._abandoned = claimed.stale
        self.epoch = claimed.epoch
        self.root = claimed.staging_root
        self.directory = self.root.join(str(self.epoch))
        self.jobs = claimed.jobs
        self.has_rivals = claimed.has_rivals
        self.may_hold_files = may_hold_files
        self.placing = Placing(
            session=session,
            ledger=ports.ledger,
            transfer_id=transfer_id,
            directory=plan.directory,
            destination=plan.destination,
            staged=self.directory,
            epoch=self.epoch,
            now=ports.clock.now,
        )

    def fence(self) -> int:
        """Remove the staging of all who owned this destination, or a part of it, before.

        None of them can rename anything after this. Then this epoch's directory is made.

        Returns:
            The highest epoch found. When it is not below this one, nothing was made and the
            destination must be claimed above it.
        """
        self.remove_abandoned()
        self._remove_unrecorded()
        highest = self._session.fence(self.root, self.epoch)
        if highest >= self.epoch:
            self._warn(highest)
        return highest

    def _warn(self, epoch: int) -> None:
        self._emit(
            ForeignStaging(
                transfer_id=self._transfer_id,
                destination=self._plan.destination.uri,
                epoch=epoch,
                own_epoch=self.epoch,
            )
        )

    def remove_abandoned(self) -> None:
        """Remove the staging that the claim found above, below or beside this one."""
        for left in self._abandoned:
            self._session.remove_staging(left.staging_root, up_to=left.epoch)
        self._abandoned = ()

    def _remove_unrecorded(self) -> None:
        """Remove staging of this destination, wherever it may be, that a lost ledger recorded.

        In this epoch's own root the fence finds it. At every fence: that an earlier one got past
        this is recorded nowhere, and its epoch does not show it.
        """
        anchor = self.root.parent.parent
        elsewhere = other_roots(self._job.anchor, anchor, self._plan.destination)
        if not elsewhere:
            return
        for root, status in zip(elsewhere, self._statuses(elsewhere), strict=True):
            if status is not None:
                self._session.remove_staging(root)

    def _statuses(self, roots: Sequence[Location]) -> Sequence[FileStatus | None]:
        """None, too, for a root that is closed to the route's user.

        A user who cannot enter a directory renames nothing out of it.
        """
        try:
            return self._session.status(roots)
        except CannotWrite:
            if len(roots) == 1:
                return [None]
            return [one for root in roots for one in self._statuses([root])]

    def remove(self) -> None:
        """Remove what this epoch and lower ones left; a failure here changes nothing."""
        for _ in range(REMOVE_TRIES):
            try:
                self._session.remove_staging(self.root, up_to=self.epoch)
                self.remove_abandoned()  # where nothing had to be fenced
            except BackhaulError:
                # The outcome is decided. What is left is hidden, and the next claim of this
                # destination fences it, or a sweep finds it.
                continue
            break
