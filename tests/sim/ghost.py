"""What must be true, judged by somebody who sees everything.

S1  a deleted message was published, superseded by something newer, or is a dead letter
S2  a reader sees the old file, or a whole proven one; nothing else
S3  what the ledger calls done was done; what has ended does not begin again
S4  the versions of one key at one path never go back
S5  no intent is recorded for a route that has been taken away
A1  a published file has the group and the policy that its directory gives
S6  nothing is renamed out of staging that a higher epoch has fenced
E1  without faults every object is read once and nothing dies
C1  what may only be adopted is never copied: none of its bytes is read
R1  to R5: what is sent to others about all this: `tests.sim.replies`
P1  no attempt of a paused route begins once that is known
B1  no more leaves S3 in a day than its budget, but to finish what was published in part
B2  what a budget holds spends no attempt
F1  on a FIFO queue nothing of a group is staged before what was sent earlier has ended
G1  no epoch is given twice at a destination, by agents that share a ledger
M1  what is done has the completion marker that its route wants
M2  what is done has beside its data the evidence that was sealed, where its route wants it
D1  to D5, G2 and G3: of agents that share a ledger: `tests.sim.fleet`, `tests.sim.failover`
L1  every message ends          L2  a dead letter has its code
L3  nothing of staging is left  L4  a held transfer asks again within a minute
"""

from __future__ import annotations

from dataclasses import dataclass, field

from backhaul.core.model import Location, TransferState
from backhaul.core.ports import DeadLetterReason
from backhaul.testing.fakes.memory_file import MemoryTransfer

STAGING = "/.backhaul/"


class Violation(BaseException):  # an attempt must not take it for a failure of its own
    """A promise was broken; the first word names it."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What one message asks for.

    Attributes:
        wanted: Final path to (key, the version that stood there when sent).
        marker: Final path of the empty file that comes after them.
    """

    wanted: dict[str, tuple[str, int]]
    marker: str | None = None


@dataclass(kw_only=True)
class Ghost:
    """Remembers more than any part of the system does.

    Attributes:
        finals: What stands at each final path: (key, version); version 0 was there before.
        evidence: The file that is beside the data, by path.
        contents: Every content that an object ever had, to its key and version.
        is_ordered: S4 is promised: all agents share one ledger. Where each has its own, S6 is not
            promised either, and what was published may be replaced by something older.
        published: The newest version of a key that ever stood at a path.
        forgotten: Paths of which a failover lost what was published there, or may have been.
        went_back: Those of them where something older was published afterwards.
        groups: FIFO: the messages of a group in the order of their sending.
    """

    is_ordered: bool = True
    finals: dict[str, tuple[str, int]] = field(default_factory=dict)
    stored_checksums: dict[bytes, tuple[str, int]] = field(default_factory=dict)
    evidence: dict[str, object] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    published: dict[tuple[str, str], int] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    asked: dict[str, Asked] = field(default_factory=dict)
    fenced: dict[str, int] = field(default_factory=dict)
    dead: dict[str, DeadLetterReason] = field(default_factory=dict)
    most_attempts: int = 5
    epochs: set[tuple[Location | None, int | None]] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    went_back: list[str] = field(default_factory=list)
    gets: int = 0
    violations: list[str] = field(default_factory=list)

    # ------------------------------------------------------------ the target

    def touches(self, what: str, path: str) -> None:
        """S2: only a rename changes what readers see."""
        if STAGING not in path:
            self.broken(f"S2 {what} at the final path {path}")

    def made_directory(self, path: str) -> None:
        root, _, name = path.rpartition("/")
        if STAGING in path and name.isdigit():
            of = root.rpartition("/")[2]
            self.fenced[of] = max(self.fenced.get(of, 0), int(name))

    def looked_at(self, path: str, data: bytes, source: str) -> None:
        """A final path after a rename to it, or above it."""
        found = self.stored_checksums.get(data, ("", -1))
        if found[1] < 0:
            self.broken(f"S2 {path} holds {data[:40]!r} ({len(data)} B), no pinned content")
        before = self.finals.get(path)
        if before == found:
            return
        same_key = before is not None and before[0] == found[0]
        if before is not None and same_key and found[1] < before[1] and self.is_ordered:
            if path not in self.forgotten:
                self.broken(f"S4 {path} went back from {before} to {found}")
            self.went_back.append(path)
        self.finals[path] = found
        newest = max(found[1], self.published.get((path, found[0]), 0))
        self.published[path, found[0]] = newest
        self.came_from(path, source)

    def came_from(self, path: str, source: str) -> None:
        """S2 and S6: out of staging that no higher epoch has fenced."""
        of, epoch = _epoch_of(source)
        if epoch < 0:
            self.broken(f"S2 {path} came from {source}, which is no staging")
        if self.fenced.get(of, 0) > epoch and self.is_ordered:
            self.broken(f"S6 {path} came from epoch {epoch}, fenced by {self.fenced[of]}")

    def given(self, path: str, has: tuple[str, str], wanted: tuple[str, str]) -> None:
        """A1: as if it had been written there."""
        if has != wanted:
            self.broken(f"A1 {path} has {has}, and its directory gives {wanted}")

    def announced(self, marker: str) -> None:
        """S2: `_SUCCESS` tells readers that the rest is there."""
        for asked in self.asked.values():
            missing = asked.wanted.keys() - self.finals.keys()
            if (marker in asked.wanted or marker == asked.marker) and missing:
                self.broken(f"S2 {marker} stands and {missing} do not")

    # ------------------------------------------------------------ the ledger

    def claimed(self, row: MemoryTransfer) -> None:
        """G1: whatever servers the ledger is on, one after the other."""
        of = (row.canonical, row.epoch)
        if of in self.epochs:
            self.broken(f"G1 epoch {row.epoch} of {row.canonical} is given twice")
        self.epochs.add(of)

    def moved(self, row: MemoryTransfer, before: TransferState, after: TransferState) -> None:
        if before.is_final and after is not before:
            self.broken(f"S3 {row.id} went from {before} to {after}")
        if row.key is None or row.key.message_id not in self.asked:
            return
        if after is TransferState.STAGING:
            self._is_next(row.key.message_id)
        if after in {TransferState.DONE, TransferState.SUPERSEDED} and before is not after:
            self._is_there(row.key.message_id, "S3 done in the ledger")
        if after is TransferState.DONE and before is not after:
            self._is_marked(row.key.message_id)

    def _is_marked(self, message_id: str) -> None:
        """M1: what is superseded has no marker of its own: the newer one leaves it."""
        marker = self.asked[message_id].marker
        if marker is not None and marker not in self.finals:
            self.broken(f"M1 {message_id} is done, and {marker} is not there")

    def _is_next(self, message_id: str) -> None:
        for group in self.groups.values():
            if message_id in group:
                earlier = set(group[: group.index(message_id)]) - self.ended
                if earlier:
                    self.broken(f"F1 {message_id} is worked on before {earlier} ended")

    def _is_there(self, message_id: str, what: str) -> None:
        for path, (key, version) in self.asked[message_id].wanted.items():
            found = self.finals.get(path)
            if not self.is_ordered and self.published.get((path, key), 0) >= version:
                continue  # it was there
            if found is None or found[0] != key or found[1] < version:
                self.broken(f"{what}, yet {path} holds {found} instead of {key} >= {version}")

    # ------------------------------------------------------------ the queue

    def buried(self, message_id: str, reason: DeadLetterReason) -> None:
        if reason.attempts > self.most_attempts:
            self.broken(f"L1 {message_id} had {reason.attempts} attempts")
        if not reason.code or not reason.sentence or reason.attempts < 1:
            self.broken(f"L2 {message_id} is dead without a reason: {reason}")
        self.dead[message_id] = reason

    def deleted(self, message_id: str) -> None:
        self.ended.add(message_id)
        if message_id not in self.dead:
            self._is_there(message_id, f"S1 {message_id} is deleted")

    def broken(self, what: str) -> None:
        """Said at once, and remembered: whoever breaks a promise may be past caring."""
        self.violations.append(what)
        raise Violation(what)


def _epoch_of(source: str) -> tuple[str, int]:
    """Destination, as staging names it, and epoch of a staged path; epoch -1 where it is none.

    Staging of one destination may be in several places: a higher epoch in any of them counts.
    """
    _, _, tail = source.partition(STAGING)
    parts = tail.split("/")
    if not parts[0] or len(parts) < 2 or not parts[1].isdigit():
        return source, -1
    return parts[0], int(parts[1])
