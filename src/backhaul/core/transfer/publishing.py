"""Publishing file by file: which names are taken, by what, and what may be renamed over it.

A whole tree goes by one rename, and needs nothing of this. Here each file is judged by itself:
markers last, an older state of a key never over a newer one, and what the route says of the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from backhaul.core.errors import CannotWrite
from backhaul.core.model import Location, OnExists
from backhaul.core.objects import PlannedObject, Proof, StagedObject
from backhaul.core.ports import Ledger, Published, Rename, TargetSession
from backhaul.core.transfer.reuse import is_own


class Publisher:
    """One transfer's renames.

    Args:
        proven: The plan with its proofs, in order; asked anew for each turn.
        known: What the ledger published at the final paths; None: ask it, batch by batch.
        has_rivals: Another transfer may have renamed here and died before it said so.
    """

    def __init__(
        self,
        *,
        ledger: Ledger,
        session: TargetSession,
        transfer_id: str,
        directory: Location,
        on_exists: OnExists,
        proven: Callable[[], Iterator[Sequence[tuple[PlannedObject, StagedObject]]]],
        known: Mapping[Location, Published] | None,
        has_rivals: bool,
    ) -> None:
        self._ledger = ledger
        self._session = session
        self._id = transfer_id
        self._directory = directory
        self._on_exists = on_exists
        self._proven = proven
        self._known = known
        self._has_rivals = has_rivals

    def publish(self, staged_dir: Location) -> tuple[int, int]:
        """Rename file by file; names that mark completion come last (`_SUCCESS`).

        Returns:
            How many were renamed, and how many were not because something newer stands there.

        Raises:
            CannotWrite: E_DST_EXISTS, as the route says.
            OutcomeUnknown: An answer was lost.
        """
        moved = superseded = 0
        has_markers = False
        for is_marker_turn in (False, True):
            if is_marker_turn and not has_markers:
                break  # most transfers: no second reading
            for batch in self._proven():
                has_markers = has_markers or any(announces(planned) for planned, _ in batch)
                turn = [
                    (planned, proof)
                    for planned, proof in batch
                    if announces(planned) is is_marker_turn and proof.proof is not Proof.ADOPTED
                ]
                renames, older = self._renames(staged_dir, turn)
                superseded += older
                for replace_existing, some in self._by_rule(renames).items():
                    self._session.publish_files(some, replace=replace_existing)
                    moved += len(some)
        return moved, superseded

    def _renames(
        self, staged_dir: Location, turn: Sequence[tuple[PlannedObject, StagedObject]]
    ) -> tuple[list[Rename], int]:
        finals = [self._directory.join(planned.relative) for planned, _ in turn]
        known = self._published(finals)
        same = self._same_content(finals, turn)
        rivals = self._newer_rivals(finals, turn)
        renames, older = [], 0
        for final, (planned, _proof) in zip(finals, turn, strict=True):
            if final in rivals or is_newer(known.get(final), planned):
                older += 1  # S4: an older state of the same key never replaces a newer one
            elif final not in same:
                renames.append(Rename(source=staged_dir.join(planned.relative), target=final))
        return renames, older

    def _by_rule(self, renames: Sequence[Rename]) -> Mapping[bool, Sequence[Rename]]:
        """Renames by whether they may replace what stands there."""
        own = self._own([one.target for one in renames])
        rules: dict[bool, list[Rename]] = {}
        for one in renames:
            may_replace = self._on_exists is OnExists.REPLACE or one.target in own
            rules.setdefault(may_replace, []).append(one)
        return rules

    def _own(self, finals: Sequence[Location]) -> set[Location]:
        """Where this transfer's files stand, from an attempt before its source changed."""
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
        return self._ledger.published(finals) if self._known is None else self._known

    def _newer_rivals(
        self, finals: Sequence[Location], turn: Sequence[tuple[PlannedObject, StagedObject]]
    ) -> set[Location]:
        """Finals that hold a later state of the same key, renamed there by who never said so.

        Such a transfer died between its rename and its record. The fence has passed, so what
        stands there now is all that it will ever have done.
        """
        if not self._has_rivals or not finals:
            return set()
        mine = {final: planned for final, (planned, _) in zip(finals, turn, strict=True)}
        newer = [
            one
            for one in self._ledger.rivals(self._id, finals)
            if is_newer(one, mine[one.location])
        ]
        there = self._session.stored_checksums(
            [one.location for one in newer],
            algorithms=[one.content.algorithm for one in newer],
        )
        return {
            one.location
            for one, held in zip(newer, there, strict=True)
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
    """What stands there came from a later state of the same key."""
    if before is None:
        return False
    same_key = (before.pin.bucket, before.pin.key) == (planned.pin.bucket, planned.pin.key)
    return same_key and before.pin.is_later_than(planned.pin)


def announces(planned: PlannedObject) -> bool:
    """True for files that tell readers the rest is complete, such as `_SUCCESS`."""
    return planned.relative.rsplit("/", 1)[-1].startswith("_")


def exists(final: Location) -> CannotWrite:
    """The refusal of a name that is taken."""
    return CannotWrite(
        "E_DST_EXISTS",
        f"{final.uri} exists and its route does not replace files",
        hint="remove it, choose another directory, or set on_exists = replace on the route",
    )
