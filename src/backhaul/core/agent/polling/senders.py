"""Which message in hand gets the next slot: the slots of one queue, shared fairly by its senders.

Pure bookkeeping. In hand is what was received and has no slot yet. The next slot goes to the sender
with the fewest slots; among equals, to the one that waited longest; of one sender, to its oldest.
So no message in hand waits for ever, whatever the others send.

What SQS gives is in no proportion to that: where one sender floods the queue, nearly all that is
received is its own. So while one sender has more than twice the slots of another one that sent
lately, a poll requests more messages than there are slots. What it brings is kept hidden, and
nothing goes back, which would cost each message one of its receives. How many may be in hand is
bounded: a message in hand here cannot be worked by another agent.

A sender is known to send once a message of it came. Where only one sender is known, nothing more
than the free slots is requested.
"""

from __future__ import annotations

from collections import Counter
from itertools import count

from backhaul.core.ports import Message

LOOK_PER_SLOT = 8
LOOK_LEAST = 10  # one receive
LOOK_MOST = 100  # each costs a call of SQS for every third of the visibility timeout
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


class Hand:
    """Messages in hand, and the slots of each sender; safe to share only under its owner's lock.

    Args:
        slots: Of the agent.
        is_fifo: As `sender_of`.
    """

    def __init__(self, slots: int, *, is_fifo: bool = False) -> None:
        self.most = min(LOOK_MOST, max(LOOK_LEAST, LOOK_PER_SLOT * slots))
        self._is_fifo = is_fifo
        self._waiting: list[Message] = []
        self._busy: Counter[str] = Counter()
        self._served: dict[str, int] = {}  # when it got its last slot, in the order of all slots
        self._seen_s: dict[str, float] = {}
        self._order = count(1)

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, message: Message, now_s: float) -> None:
        """It was received, and its visibility is kept."""
        self._waiting.append(message)
        self._seen_s[self._sender(message)] = now_s

    def next(self) -> Message | None:
        """Take the message that is to have the next slot out of the hand; None: it is empty."""
        found = min(self._waiting, key=self._turn, default=None)
        if found is not None:
            self._waiting.remove(found)
        return found

    def take(self, message: Message) -> None:
        """It has a slot now."""
        sender = self._sender(message)
        self._busy[sender] += 1
        self._served[sender] = next(self._order)

    def leave(self, message: Message) -> None:
        """Its slot is free again."""
        self._busy[self._sender(message)] -= 1

    def look_for(self, now_s: float) -> int:
        """How many messages to request beyond the free slots, to find those of other senders."""
        self._forget(now_s)
        if len(self._seen_s) < 2:  # noqa: PLR2004 - nobody to be fair to
            return 0
        least = min(self._busy[one] for one in self._seen_s)
        if max(self._busy.values(), default=0) <= UNFAIR * least:
            return 0
        if any(self._busy[self._sender(one)] == least for one in self._waiting):
            return 0  # the next slot is theirs
        return max(0, self.most - len(self._waiting))

    def _turn(self, message: Message) -> tuple[int, int]:
        sender = self._sender(message)
        return self._busy[sender], self._served.get(sender, 0)

    def _sender(self, message: Message) -> str:
        return sender_of(message, is_fifo=self._is_fifo)

    def _forget(self, now_s: float) -> None:
        """Who has sent nothing for long and has nothing here."""
        present = {self._sender(one) for one in self._waiting} | set(+self._busy)
        for sender in [one for one, at_s in self._seen_s.items() if now_s - at_s > KNOWN_S]:
            if sender not in present:
                del self._seen_s[sender], self._busy[sender]
                self._served.pop(sender, None)
