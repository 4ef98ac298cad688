"""Agents of a simulation that send replies: what befalls these calls, and what must hold of them.

The calls fail with a chance of their own, and no other call depends on them. Death comes between
any two of them with the faults of the others, and at each of them in the crash points.

    R1  every end of a transfer that wants replies is sent, and marked as sent
    R2  nothing is sent that is not so: of no transfer that has not ended, or ended otherwise
    R3  every delivery of one end has one key, and the same content
    R4  nothing is marked as sent that was not
    R5  by one agent each is sent once, and once more for each death and each answer that was lost
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import count
from typing import TYPE_CHECKING

from backhaul.core.agent.replying.lane import ReplyLane
from backhaul.core.agent.replying.sender import CLOSE_S
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import TransferState
from backhaul.core.ports.replies import ReplyState, ReplyTarget
from backhaul.core.replies.delivery import RepliesUnknown
from backhaul.core.replies.patience import ReplyPatience
from backhaul.core.replies.reply import Reply, ReplyEvent, ReplyWish
from backhaul.testing.fakes import MemoryFile, MemoryLedger
from tests.sim.ghost import Violation

if TYPE_CHECKING:
    from tests.sim.world import Sim

WISHES = (
    ReplyWish(target="out", held_after_s=5.0, events=frozenset(ReplyEvent)),
    ReplyWish(target="ends"),
)
REPLY_FAULTS = ("fail", "lost")
RATE = 0.1
TURN_S = 2.0
READS_EVERY = 3  # turns
ENDS = {
    ReplyEvent.DONE: {TransferState.DONE, TransferState.SUPERSEDED},
    ReplyEvent.DEAD: {TransferState.DEAD},
}


class ReceivedReplies:
    """What the other side has, over all agents."""

    def __init__(self) -> None:
        self.deliveries: Counter[tuple[str, str]] = Counter()
        self.replies: dict[tuple[str, str], Reply] = {}
        self.lost_answers = 0
        self.deaths = 0


class SimReplyTarget:
    """Takes everything that reaches it, and looks whether it is so."""

    def __init__(self, sim: Sim, file: MemoryFile) -> None:
        self._sim = sim
        self._file = file

    def deliver(self, reply: Reply) -> None:
        before = self._sim.received.deliveries.total()
        try:
            self._deliver(reply)
        except OutageError:
            self._sim.received.lost_answers += self._sim.received.deliveries.total() - before
            raise

    def deliver_batch(self, replies: Sequence[Reply]) -> frozenset[str]:
        """All but one of the batch where the network is not calm: SQS may refuse any of them."""
        left_out = None if self._sim.is_calm else self._sim.scheduler.aside.choice(replies)
        taken = [one for one in replies if one is not left_out]
        before = self._sim.received.deliveries.total()
        try:
            with self._sim.faults.call("reply.deliver_batch", _unanswered):
                for one in taken:
                    self._take(one)
        except OutageError:
            self._sim.received.lost_answers += self._sim.received.deliveries.total() - before
            raise
        return frozenset(one.key for one in taken)

    def _deliver(self, reply: Reply) -> None:
        with self._sim.faults.call("reply.deliver", _unanswered):
            self._take(reply)

    def _take(self, reply: Reply) -> None:
        row = self._file.transfers.get(reply.transfer_id)
        wanted = ENDS.get(reply.event)
        if row is None or (wanted is not None and row.state not in wanted):
            state = None if row is None else row.state
            self._sim.ghost.broken(f"R2 {reply.key} is sent, and the transfer is {state}")
        received, which = self._sim.received, (reply.key, reply.target)
        first = received.replies.setdefault(which, reply)
        if first != reply:
            self._sim.ghost.broken(f"R3 {reply.key} is sent as {first}, then as {reply}")
        received.deliveries[which] += 1


def _unanswered(name: str) -> BackhaulError:
    return OutageError.of("target", "E_REPLY", f"{name} was not answered")


class Replies:
    """The sender of one agent, without its threads."""

    def __init__(self, sim: Sim, ledger: MemoryLedger, file: MemoryFile) -> None:
        self._sim = sim
        self.struck = sim.struck_replies
        self._ledger = ledger
        target = SimReplyTarget(sim, file)
        self._is_closing = self._is_refused = self.is_closed = False
        self._lanes = {one.target: self._lane(one.target, target) for one in WISHES}
        ledger.observe_replies(lambda due: self._lanes[due.reply.target].offer(due))

    def _lane(self, name: str, target: ReplyTarget) -> ReplyLane:
        return ReplyLane(
            name,
            ledger=self._ledger,
            find=lambda _name: target,
            clock=self._sim.clock,
            emit=self._emit,
            chance=self._sim.scheduler.aside.random,
            patience=ReplyPatience(),
        )

    def work(self) -> None:
        """Until the process dies, or closes it."""
        for turn in count():
            if self._is_closing:
                break
            with suppress(BackhaulError):  # else with the next turn
                self._ledger.report_holds(self._sim.clock.now())
            for lane in self._lanes.values():
                reads = turn % READS_EVERY == 0
                while not lane.rests and (reads or lane.has_news):
                    lane.turn(reads=reads)
                    reads = False
            self._sim.scheduler.sleep(TURN_S)
        self._is_refused = False
        for lane in self._lanes.values():
            lane.note()
        self.is_closed = not self._is_refused

    def close(self) -> None:
        """Wait for the sender, as an agent that ends does; what it has sent is noted then."""
        self._is_closing = True
        until_s = self._sim.clock.now_s + CLOSE_S
        while not self.is_closed and self._sim.clock.now_s < until_s:
            self._sim.scheduler.sleep(TURN_S / 2)

    def _emit(self, fact: object) -> None:
        self._is_refused |= isinstance(fact, RepliesUnknown)
        self._sim._emit(fact)

    def draw(self, name: str) -> str | None:
        """What happens to a call of the sender."""
        sim, chance = self._sim, self._sim.scheduler.aside
        if sim.is_down(name):
            return "down"
        if sim.is_calm or not sim.shape.kinds or chance.random() >= RATE:
            return None
        kind = chance.choice(REPLY_FAULTS)
        self.struck[kind] += 1
        return kind


def waits(file: MemoryFile) -> bool:
    """Something is still to be sent."""
    return any(one.state is ReplyState.WAITING for one in file.replies.values())


def check_replies(sim: Sim, file: MemoryFile) -> None:
    """R1, R3, R4 and R5, at the end."""
    received = sim.received.deliveries
    for (key, target), row in file.replies.items():
        if row.state is not ReplyState.SENT:
            raise Violation(f"R1 {key} for {target} ends as {row.state}")
        if not received[key, target]:
            raise Violation(f"R4 {key} for {target} is marked as sent, and was not")
    for transfer in file.transfers.values():
        if not transfer.state.is_final or not transfer.replies:
            continue
        event = next(one for one, states in ENDS.items() if transfer.state in states)
        for wish in transfer.replies:
            keys = {
                key
                for (key, target), reply in sim.received.replies.items()
                if (target, reply.transfer_id, reply.event) == (wish.target, transfer.id, event)
            }
            if not keys:
                raise Violation(f"R1 {transfer.id} is {transfer.state}, and {wish.target} has none")
            if len(keys) > 1:
                raise Violation(f"R3 the end of {transfer.id} has the keys {sorted(keys)}")
    most = 1 + sim.received.deaths + sim.received.lost_answers
    if sim.shape.agents == 1 and max(received.values(), default=0) > most:
        raise Violation(f"R5 sent more than {most} times: {received.most_common(1)}")
