"""Who may have a free slot: the slots of one agent, shared fairly by its queues. Pure bookkeeping.

A queue that has messages gets the next free slot before another one that has more slots already;
among equals, the one that waited longest. What a queue does not use, the others have. A slot is
never taken from a message that has it: a queue with `min_slots` has so many that no other may take.

Two kinds of poll:

    promised    Its last poll brought all it requested: there are more. The slots are kept for this
                poll, which therefore waits for a moment only.
    a look      Nothing is known of it. No slot is kept, and the long poll goes on while other
                queues use what is free; so the message that it brings may have to wait for a slot,
                hidden. Then it is the next. A queue below its share looks even while no slot is
                free: otherwise one queue with long transfers could starve it.

With one queue there is nothing to share: it may request what is free, and nothing waits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count


@dataclass(kw_only=True, eq=False)
class SlotShare:
    """The slots of one queue; all of it is guarded by the agent's lock.

    Attributes:
        min_slots: So many are kept for this queue.
        busy: Slots in which its messages are.
        promised: Slots that are kept for the poll under way.
        waiting: Its messages that were received and have no slot yet.
        wants: How many slots it could use now; 0: nothing is known to be there.
        served: When it got its last slot, in the order of all slots taken.
    """

    min_slots: int = 0
    busy: int = 0
    promised: int = 0
    waiting: int = 0
    wants: int = 0
    served: int = 0

    @property
    def taken(self) -> int:
        """Slots that no other queue can have now."""
        return self.busy + self.promised

    @property
    def reserved(self) -> int:
        """Slots that no other queue may have, although they are free."""
        return max(0, self.min_slots - self.taken)


@dataclass(frozen=True, kw_only=True)
class Room:
    """What a queue may do now.

    Attributes:
        slots: It may take so many.
        most: It may request so many messages.
    """

    slots: int = 0
    most: int = 0


class SlotShares:
    """The slots of an agent; safe to share only under its owner's lock.

    Args:
        min_slots: Of each queue, in their order.
    """

    def __init__(self, slots: int, min_slots: Sequence[int] = (0,)) -> None:
        self.slots = slots
        self.shares = [SlotShare(min_slots=one) for one in min_slots]
        self._order = count(1)

    @property
    def is_shared(self) -> bool:
        """Among several queues."""
        return len(self.shares) > 1

    @property
    def busy(self) -> int:
        """Slots with a message in them."""
        return sum(one.busy for one in self.shares)

    def take(self, share: SlotShare) -> None:
        """One slot for a message: of those promised, where there are any."""
        share.busy += 1
        share.promised = max(0, share.promised - 1)
        share.served = next(self._order)

    def room(self, share: SlotShare) -> Room:
        """What this queue may take and request."""
        slots = self._slots_for(share)
        if not self.is_shared or share.wants:
            return Room(slots=slots, most=slots)
        fair = max(1, self.slots // len(self.shares))
        if share.waiting or (slots == 0 and share.taken >= fair):
            return Room(slots=slots)
        return Room(slots=slots, most=max(1, min(slots, fair)))

    def _slots_for(self, share: SlotShare) -> int:
        """How many of the free slots are this queue's, given one after the other."""
        free = self.slots - sum(one.taken for one in self.shares)
        if not self.is_shared:
            return free
        free -= sum(one.reserved for one in self.shares if one is not share)
        given = dict.fromkeys(self.shares, 0)
        for _ in range(free):
            hungry = [one for one, more in given.items() if one is share or more < one.wants]
            given[min(hungry, key=lambda one: (one.taken + given[one], one.served))] += 1
        return given[share]
