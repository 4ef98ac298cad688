"""Publishing: one rename of a whole tree, or file by file what may be renamed over what is there.

File by file each is judged by itself: a table's log after its data, names that mark completion
last, an older state of a key never over a newer one, and for the rest the route decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import groupby

from backhaul.core.errors import CannotWrite
from backhaul.core.model import Assignment, EvidencePlace, Location, OnExists, PublishMode
from backhaul.core.objects import PlannedObject, Proof, StagedObject
from backhaul.core.ports import Ledger, Published, Rename, TargetSession
from backhaul.core.transfer.evidence import files
from backhaul.core.transfer.plan import Plan
from backhaul.core.transfer.proof_records import Proofs
from backhaul.core.transfer.readers.completion_marker import CompletionMarker
from backhaul.core.transfer.readers.tables import Turn, turn_of
from backhaul.core.transfer.reuse import is_own
from backhaul.core.transfer.staging import Staging
from backhaul.core.transfer.write_access import exists


class PublishOutcome(StrEnum):
    """How the files came to their final paths; the ledger keeps it."""

    TREE = "tree"  # one rename
    FILE = "file"  # the one file of a single object
    PER_FILE = "per-file"
    ADOPTED = "adopted"  # all were there already
    SUPERSEDED = "superseded"  # something newer is there


class Publisher:
    """One transfer's renames."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        session: TargetSession,
        transfer_id: str,
        job: Assignment,
        plan: Plan,
        proofs: Proofs,
        staging: Staging,
        marker: CompletionMarker,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._id = transfer_id
        self._job = job
        self._on_exists = job.on_exists
        self._plan = plan
        self._directory = plan.directory
        self._proofs = proofs
        self._staging = staging
        self._marker = marker
        self._has_own_marker = False  # the source does

    def publish(self) -> PublishOutcome:
        """Rename everything that is staged.

        Raises:
            CannotWrite: E_DST_EXISTS, where the route does not replace; as `Placing.check`.
            TransientError: As `Placing.check`.
            OutcomeUnknown: An answer was lost.
        """
        by_tree = self._plan.is_tree and self._job.publish is not PublishMode.PER_FILE
        if by_tree and self._publish_tree():
            return PublishOutcome.TREE
        if not self._staging.may_hold_files:
            self._staging.placing.check(
                planned.relative for batch in self._proofs.with_plan() for planned, _ in batch
            )
        moved, superseded = self._publish_files()
        # Die here and the next attempt adopts the files and writes this again.
        self._publish_evidence()
        if (moved or not superseded) and not self._has_own_marker:
            # Die here and the next attempt finds no marker: it adopts the files and comes here.
            self._marker.publish(self._staging.directory, has_moved=moved > 0)
        if moved:
            return PublishOutcome.PER_FILE if self._plan.is_tree else PublishOutcome.FILE
        return PublishOutcome.SUPERSEDED if superseded else PublishOutcome.ADOPTED

    def _publish_tree(self) -> bool:
        """One rename; False where something is at the final path, or was adopted there."""
        staged, adopted = self._staging.directory, self._proofs.adopted
        if not adopted:
            self._stage_evidence()  # it appears with the tree
            if self._session.publish_tree(staged, self._directory):
                return True
        is_rest = adopted < self._plan.totals.objects
        if self._job.publish is PublishMode.ATOMIC_DIR and is_rest:
            raise CannotWrite(
                "E_DST_EXISTS",
                f"{self._directory.uri} exists, and publish = atomic-dir wants it absent",
                hint="choose a new directory per run, or publish = auto",
            )
        return False

    def _publish_evidence(self) -> None:
        """The manifest beside the data, out of staging: so an attempt that was fenced leaves none.

        Nobody else has files of this name, so what is there is an earlier attempt's.
        """
        staged = self._staging.directory
        renames = [
            Rename(source=staged.join(name), target=self._directory.join(name))
            for name in self._stage_evidence()
        ]
        if renames:
            self._session.publish_files(renames, replace=True)

    def _stage_evidence(self) -> Sequence[str]:
        """The manifest's files, where the route has `evidence = beside`; their names."""
        names = []
        if self._job.evidence is EvidencePlace.BESIDE:
            for name, content in files(self._id, self._proofs.lines()):
                self._session.write_whole(self._staging.directory.join(name), content)
                names.append(name)
        return names

    def _publish_files(self) -> tuple[int, int]:
        """Rename file by file: data, then a table's log, then what marks completion (`_SUCCESS`).

        Returns:
            How many were renamed, and how many were not because something newer is there.
        """
        moved = superseded = 0
        turns = {Turn.DATA}
        for turn in Turn:
            if turn not in turns:
                continue  # most transfers: no second reading
            for batch in self._proofs.with_plan():
                if turn is Turn.DATA:
                    turns.update(turn_of(planned.relative) for planned, _ in batch)
                    self._look_for_marker(batch)
                renames, older = self._renames(
                    [
                        (planned, proof)
                        for planned, proof in batch
                        if turn_of(planned.relative) is turn and proof.proof is not Proof.ADOPTED
                    ]
                )
                superseded += older
                is_log = turn is Turn.LOG
                for replace_existing, some in self._by_rule(renames, in_order=is_log):
                    self._session.publish_files(some, replace=replace_existing, in_order=is_log)
                    moved += len(some)
        return moved, superseded

    def _look_for_marker(self, batch: Sequence[tuple[PlannedObject, StagedObject]]) -> None:
        is_planned = self._marker.is_planned
        self._has_own_marker |= any(is_planned(planned.relative) for planned, _ in batch)

    def _renames(
        self, turn: Sequence[tuple[PlannedObject, StagedObject]]
    ) -> tuple[list[Rename], int]:
        staged = self._staging.directory
        finals = [self._directory.join(planned.relative) for planned, _ in turn]
        known = self._published(finals)
        same = self._same_content(finals, turn)
        rivals = self._newer_rivals(finals, turn)
        renames, older = [], 0
        for final, (planned, _proof) in zip(finals, turn, strict=True):
            if final in rivals or is_newer(known.get(final), planned):
                older += 1  # S4: an older state of the same key never replaces a newer one
            elif final not in same:
                renames.append(Rename(source=staged.join(planned.relative), target=final))
        return renames, older

    def _by_rule(
        self, renames: Sequence[Rename], *, in_order: bool
    ) -> Iterator[tuple[bool, Sequence[Rename]]]:
        """Renames by whether they may replace an existing file."""
        own = self._own([one.target for one in renames])

        def may_replace(one: Rename) -> bool:
            return self._on_exists is OnExists.REPLACE or one.target in own

        ordered = renames if in_order else sorted(renames, key=may_replace)
        for rule, some in groupby(ordered, key=may_replace):
            yield rule, [*some]

    def _own(self, finals: Sequence[Location]) -> set[Location]:
        """Final paths with files of this transfer, from an attempt before its source changed."""
        if self._on_exists is OnExists.REPLACE:
            return set()
        known = self._published(finals)
        mine = [one for one in finals if one in known and known[one].transfer_id == self._id]
        if not mine:
            return set()
        statuses = self._session.status(mine)
        return {
            one
            for one, status in zip(mine, statuses, strict=True)
            if is_own(self._id, known[one], status)
        }

    def _published(self, finals: Sequence[Location]) -> Mapping[Location, Published]:
        known = self._plan.published
        return self._ledger.published(finals) if known is None else known

    def _newer_rivals(
        self, finals: Sequence[Location], turn: Sequence[tuple[PlannedObject, StagedObject]]
    ) -> set[Location]:
        """Finals that hold a later state of the same key, renamed there without a record.

        Such a transfer died between its rename and its record. After the fence it can rename
        nothing more.
        """
        if not self._staging.has_rivals or not finals:
            return set()
        mine = {final: planned for final, (planned, _) in zip(finals, turn, strict=True)}
        newer = [
            one
            for one in self._ledger.rivals(self._id, finals)
            if is_newer(one, mine[one.location])
        ]
        found = self._session.stored_checksums(
            [one.location for one in newer],
            algorithms=[one.content.algorithm for one in newer],
        )
        return {
            one.location
            for one, held in zip(newer, found, strict=True)
            if held is not None and held.checksum == one.content
        }

    def _same_content(
        self, finals: Sequence[Location], turn: Sequence[tuple[PlannedObject, StagedObject]]
    ) -> set[Location]:
        """Under `same-ok`: finals that already hold these bytes; anything else there refuses."""
        if self._on_exists is not OnExists.SAME_OK or not finals:
            return set()
        statuses = self._session.status(finals)
        there = [
            (final, planned, proof)
            for final, status, (planned, proof) in zip(finals, statuses, turn, strict=True)
            if status is not None
        ]
        held = self._session.stored_checksums(
            [final for final, _, _ in there],
            algorithms=[proof.content.algorithm for _, _, proof in there],
        )
        same = {
            final
            for (final, _, proof), one in zip(there, held, strict=True)
            if one is not None and one.checksum == proof.content
        }
        others = [final for final, _, _ in there if final not in same]
        own = self._own(others)
        for final in others:
            if final not in own:
                raise exists(final)
        return same


def is_newer(before: Published | None, planned: PlannedObject) -> bool:
    """The published file came from a later state of the same key."""
    if before is None:
        return False
    same_key = (before.pin.bucket, before.pin.key) == (planned.pin.bucket, planned.pin.key)
    return same_key and before.pin.is_later_than(planned.pin)
