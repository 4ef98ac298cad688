"""Compares what was sent, what readers see, what is deleted and what is dead; by message id.

Pure: it is given what was found and says what is wrong with it. The names are those of the
guarantees: S1 nothing lost, S2 nothing half, S3 the ledger tells the truth, S4 nothing older over
something newer, E1 nothing healthy is dead, L1 everything ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

DONE = frozenset({"done", "superseded"})


@dataclass(frozen=True, kw_only=True)
class Sent:
    """One message that was sent.

    Attributes:
        finals: Relative path to the contents that may stand there in the end; empty for a message
            that nobody can do, which must end dead.
    """

    message_id: str
    what: str
    finals: Mapping[str, tuple[bytes, ...]] = field(default_factory=dict)

    @property
    def is_healthy(self) -> bool:
        return bool(self.finals)


@dataclass(frozen=True, kw_only=True)
class Found:
    """What there is after everything was let go and the queue was drained.

    Attributes:
        rows: Message id, state and code of each row; of all ledgers of the round.
        dead: Message ids on the dead-letter queue, one for each letter.
        visible: What readers see, by relative path; without staging.
        queued: Messages that are still on the queue, visible or not.
        seen: What the witness saw that no reader may ever see.
        has_one_ledger: All agents of the round shared one.
        has_lost_commits: The ledger forgot its last commits: it may say what was so before them.
    """

    rows: Sequence[tuple[str, str, str | None]]
    dead: Sequence[str]
    visible: Mapping[str, bytes]
    queued: int
    seen: Sequence[str] = ()
    has_one_ledger: bool = True
    has_lost_commits: bool = False


def violations(sent: Sequence[Sent], found: Found) -> list[str]:
    """What contradicts the guarantees; empty when all is well."""
    wrong = [f"S2 {what}" for what in found.seen]
    if found.queued:
        wrong.append(f"L1 {found.queued} messages are still on the queue")
    states: dict[str, list[str]] = {}
    for message_id, state, _ in found.rows:
        states.setdefault(message_id, []).append(state)
    letters = Counter(found.dead)
    for one in sent:
        wrong += _of_message(one, states.get(one.message_id, []), letters[one.message_id], found)
    known = {one.message_id for one in sent}
    wrong += [f"S3 a row of a message that was never sent: {i}" for i in states if i not in known]
    wrong += [f"S1 a dead letter of a message never sent: {i}" for i in letters if i not in known]
    wanted = {path for one in sent for path in one.finals}
    wrong += [f"S2 {path}: nobody asked for it" for path in found.visible if path not in wanted]
    return wrong


def _of_message(one: Sent, states: Sequence[str], letters: int, found: Found) -> list[str]:
    wrong = []
    is_done = any(state in DONE for state in states)
    if found.has_one_ledger and len(states) > 1:
        wrong.append(f"S3 {one.what}: {len(states)} rows of one message")
    unfinished = [state for state in states if state not in DONE | {"dead"}]
    # Deleted from the queue and not ended in the ledger, unless another ledger ended it.
    may_be_behind = found.has_lost_commits or (
        not found.has_one_ledger and bool(is_done or letters)
    )
    if unfinished and not may_be_behind:
        wrong.append(f"S1 {one.what}: gone from the queue, and the ledger says {unfinished}")
    if one.is_healthy:
        if letters or "dead" in states:
            wrong.append(f"E1 {one.what}: healthy, and dead {states} with {letters} letters")
        elif not is_done and not found.has_lost_commits:
            wrong.append(f"S1 {one.what}: lost; the ledger says {states or 'nothing'}")
    elif not letters:
        wrong.append(f"S1 {one.what}: cannot be done, and there is no dead letter; {states}")
    elif is_done:
        wrong.append(f"S3 {one.what}: cannot be done, and the ledger says {states}")
    for path, stored_checksums in one.finals.items():
        data = found.visible.get(path)
        if data is None:
            wrong.append(f"S1 {one.what}: {path} is not there")
        elif data not in stored_checksums:
            wrong.append(f"S4 {one.what}: {path} has {len(data)} bytes that are not the last state")
    return wrong
