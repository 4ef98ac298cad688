"""Which message in hand gets the next slot: the slots of one queue, shared fairly by its senders.

Pure bookkeeping. In hand is what was received and has no slot yet. The next slot goes to the sender
with the fewest slots; among equals, to the one that waited longest; of one sender, to its oldest.
So no message in hand waits for ever, whatever the others send. A slot that is kept for a route goes
to a message of that route alone (`kept`).

What SQS gives is in no proportion to that: where one sender floods the queue, nearly all that is
received is its own. So where one sender has more than twice the slots of another one that sent
lately, or will have once a slot ends, a poll requests more messages than there are slots, until it
has one of the other's. What it brings is kept hidden, and nothing goes back, which would cost each
message one of its receives. The slots can be shared fairly for as long as the hand takes in what
the flood sends beyond its share. A message in hand here cannot be worked by another agent: so the
hand holds what the slots work off within minutes, and less (`Hand.reach`) where the other one has
sent none of as many messages.

A sender is known to send once a message of it came. Where only one sender is known, nothing more
than the free slots is requested.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from itertools import count

from backhaul.core.agent.polling.kept import KeptSlots
from backhaul.core.ports import Message

LOOK_PER_SLOT = 8  # messages in hand, where nothing of others is found
LOOK_LEAST, LOOK_REACH = 10, 100  # of these; 10: one receive
LOOK_FOR_S = 300.0  # of work
LOOK_MOST = 500  # ten cost a call of SQS for every third of the visibility timeout
LOOK_MOST_CHARS = 16 * 2**20  # of their bodies together
LATELY = 1 / 8  # how much the last message counts in the mean time of one
KNOWN_S = 600.0  # since the last message of a sender
UNFAIR = 2  # times the slots of another sender


def sender_of(message: Message, *, is_fifo: bool) -> str:
    """Who counts as one sender: a tenant of a fair queue, or the principal that sent the message.

    Args:
        is_fifo: There a group is an order that SQS keeps; nobody is preferred.

    Returns:
        Of a role its id alone: it has a session for each machine or call. Never compared with
        anything but another result.
    """
    if is_fifo:
        return ""
    if message.group is not None:
        return f"group {message.group}"
    principal, _, _ = message.sender_id.partition(":")
    return f"sender {principal}"


@dataclass(frozen=True, kw_only=True, eq=False)
class HeldMessage:
    """A message in hand, or in a slot.

    Attributes:
        sender: As `sender_of` has it.
        route: As `kept.route_of` has it.
    """

    message: Message
    sender: str
    route: str


@dataclass(frozen=True, kw_only=True)
class _LastMessage:
    """The last message of a sender.

    Attributes:
        at_s: When it was received.
        number: In the order of all that were received.
    """

    at_s: float
    number: int


class Hand:
    """Messages in hand, and the slots of each sender; safe to share only under its owner's lock.

    Args:
        slots: Of the agent.
        kept: Of the agent, whose queues share them; default: none are kept.
        is_fifo: As `sender_of`.
    """

    def __init__(self, slots: int, kept: KeptSlots | None = None, *, is_fifo: bool = False) -> None:
        self._slots = slots
        self._mean_s: float | None = None  # of a message in its slot
        self._is_fifo = is_fifo
        self._kept = kept or KeptSlots(slots)
        self._waiting: list[HeldMessage] = []
        # By the object: a message that came again may have a slot before its older delivery left.
        self._in_slots: dict[int, HeldMessage] = {}
        self._busy: Counter[str] = Counter()
        self._served: dict[str, int] = {}  # when it got its last slot, in the order of all slots
        self._added = 0
        self._last: dict[str, _LastMessage] = {}  # of each sender
        self._order = count(1)

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def reach(self) -> int:
        """How many may be in hand while nothing of others is found."""
        return min(LOOK_REACH, max(LOOK_LEAST, LOOK_PER_SLOT * self._slots))

    @property
    def most(self) -> int:
        """How many may be in hand while others' are found, unless their bodies are long."""
        if self._mean_s is None:
            return self.reach
        worked_off = self._slots * LOOK_FOR_S / self._mean_s if self._mean_s else math.inf
        return int(min(LOOK_MOST, max(self.reach, worked_off)))

    @property
    def left(self) -> int:
        """How many more may be received, for whom a free slot is kept, while those in hand wait."""
        return self._room(self.reach)

    @property
    def waiting(self) -> list[Message]:
        """Those in hand, in the order of their receipt."""
        return [one.message for one in self._waiting]

    @property
    def may_start(self) -> bool:
        """One of those in hand may have a free slot, as far as slots are kept for routes."""
        admits = self._kept.admits()
        return any(admits(one.route) for one in self._waiting)

    def add(self, message: Message, now_s: float, route: str = "") -> None:
        """It was received, and its visibility is kept."""
        held = self._held(message, route)
        self._waiting.append(held)
        self._added += 1
        self._last[held.sender] = _LastMessage(at_s=now_s, number=self._added)

    def next(self) -> HeldMessage | None:
        """Take out of the hand what is to have the next slot; None: none of them may have one."""
        admits = self._kept.admits()
        able = [one for one in self._waiting if admits(one.route)]
        found = min(able, key=self._turn, default=None)
        if found is not None:
            self._waiting.remove(found)
        return found

    def take_back(self) -> list[Message]:
        """Take all out: they are not to be worked."""
        back, self._waiting = self.waiting, []
        return back

    def admits(self, route: str) -> bool:
        """A message of this route that is not in hand may have a free slot."""
        return self._kept.admits()(route)

    def take(self, held: HeldMessage) -> None:
        """It has a slot now."""
        self._in_slots[id(held.message)] = held
        self._kept.take(held.route)
        self._busy[held.sender] += 1
        self._served[held.sender] = next(self._order)

    def take_parked(self, message: Message, route: str) -> None:
        """A message that was not in hand has a slot."""
        self.take(self._held(message, route))

    def leave(self, message: Message) -> None:
        """Its slot is free again."""
        held = self._in_slots.pop(id(message))
        self._kept.leave(held.route)
        self._busy[held.sender] -= 1

    def note_time(self, seconds: float) -> None:
        """A message was worked in its slot for so long, until it was over for now."""
        before_s = seconds if self._mean_s is None else self._mean_s
        self._mean_s = before_s + LATELY * (seconds - before_s)

    def look_for(self, now_s: float) -> int:
        """How many messages to request beyond the free slots, to find those of other senders."""
        self._forget(now_s)
        if len(self._last) < 2:  # noqa: PLR2004 - nobody to be fair to
            return 0
        waiting = {one.sender for one in self._waiting}
        missing = [one for one in self._last if one not in waiting]
        if not missing:
            return 0
        # Where no slot is free, look before one is: it may be the only one of who is not in hand.
        is_full = self._busy.total() >= self._slots
        least = max(0, min(self._busy[one] for one in missing) - is_full)
        if any(self._busy[one] <= least for one in waiting):
            return 0  # the next slot is theirs, and that is fair
        if is_full and waiting:
            slots = min(self._busy[one] for one in waiting) + 1  # of who has the next one
        else:
            slots = max(self._busy.values(), default=0)
        if slots <= UNFAIR * least:
            return 0
        is_finding = any(self._added - self._last[one].number < self.reach for one in missing)
        return self._room(self.most if is_finding else self.reach)

    def _room(self, most: int) -> int:
        if sum(len(one.message.body) for one in self._waiting) >= LOOK_MOST_CHARS:
            return 0
        return max(0, most - len(self._waiting))

    def _turn(self, held: HeldMessage) -> tuple[int, int]:
        return self._busy[held.sender], self._served.get(held.sender, 0)

    def _held(self, message: Message, route: str) -> HeldMessage:
        sender = sender_of(message, is_fifo=self._is_fifo)
        return HeldMessage(message=message, sender=sender, route=route)

    def _forget(self, now_s: float) -> None:
        """Who has sent nothing for long and has nothing here."""
        present = {one.sender for one in self._waiting} | set(+self._busy)
        for sender in [one for one, last in self._last.items() if now_s - last.at_s > KNOWN_S]:
            if sender not in present:
                del self._last[sender], self._busy[sender]
                self._served.pop(sender, None)
