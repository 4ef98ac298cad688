"""Who gets a slot of one agent: queues by turns, senders fairly, routes what they keep."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import groupby

from backhaul.core import facts as events
from backhaul.core.model import Location
from backhaul.core.requests.policy import Policy
from tests.sim.ghost import Violation
from tests.sim.shape import Shape
from tests.sim.world import Sim

BACKLOG = 12
IN_MINUTES_S = 600.0
DENIED_UNTIL_S = 3600.0
UNFAIR = 2  # messages of a flood for each of another sender
RECEIVED_MOST = 6  # of the others begin until a message behind them is received
AHEAD_MOST = 2  # messages of one queue in a row while the other one has some, too


def of_two(messages: int, **more: object) -> Shape:
    """Of one agent with one slot, where nothing fails but what `more` has."""
    bodies = tuple(f"raw/p/a, /land/{number}" for number in range(messages))
    return Shape(messages=bodies, slots=1, queues=2, **more)  # type: ignore[arg-type]


def noting(sim: Sim, note: Callable[[object], None]) -> None:
    """Call `note` with each fact, too."""
    emit = sim._emit

    def noted(fact: object) -> None:
        note(fact)
        emit(fact)

    sim._emit = noted  # type: ignore[method-assign]


@dataclass(frozen=True, kw_only=True)
class OneIsDenied:
    """The last queue refuses every call for most of an hour: the other one ends within minutes.

    Attributes:
        since_s: From then on, in seconds from the start.
    """

    seed: int
    since_s: float = 0.0

    def run(self) -> None:
        """Raises what is violated."""
        sim = Sim(
            self.seed, of_two(BACKLOG, denied_s=(self.since_s, DENIED_UNTIL_S), at_once=BACKLOG)
        )
        ended_s: dict[str, float] = {}

        def note(fact: object) -> None:
            if isinstance(fact, events.DeliveryEnded):
                ended_s[fact.message_id] = sim.clock.now_s - sim.began_s

        noting(sim, note)
        for _ in range(BACKLOG):
            sim.send()
        sim.run()
        late = [
            f"{one} at {at_s:.0f} s"
            for one, at_s in ended_s.items()
            if one.startswith("m-") and at_s > IN_MINUTES_S
        ]
        if late:
            raise Violation(f"a queue that is denied held up the other one: {late}")


@dataclass(frozen=True, kw_only=True)
class BothAreFull:
    """Both queues have messages from the start: none is worked while the other one waits long."""

    seed: int

    def run(self) -> None:
        """Raises what is violated."""
        sim = Sim(self.seed, of_two(BACKLOG, at_once=BACKLOG))
        received: list[str] = []

        def note(fact: object) -> None:
            if isinstance(fact, events.MessageReceived):
                received.append(fact.queue)

        noting(sim, note)
        for _ in range(BACKLOG):
            sim.send()
        sim.run()
        runs = [len(list(each)) for _, each in groupby(received)]
        if any(one > AHEAD_MOST for one in runs[:-1]):  # behind the last change one was empty
            raise Violation(f"slots do not go by turns: {received}")


FLOOD = 20
FEW = 5


@dataclass(frozen=True, kw_only=True)
class OneFloods:
    """One sender leaves very many messages, between the first and the others of another sender."""

    seed: int
    slots: int = 2

    def run(self) -> None:
        """Raises what is violated."""
        bodies = tuple(f"raw/p/a, /land/{number}" for number in range(FLOOD + FEW))
        sim = Sim(self.seed, Shape(messages=bodies, slots=self.slots, at_once=len(bodies)))
        order: list[str] = []

        def note(fact: object) -> None:
            if isinstance(fact, events.MessageReceived):
                order.append(fact.message_id)

        noting(sim, note)
        few: set[str] = set()
        for sender, messages in (("AROAFEW:1", 1), ("AROAFLOOD:2", FLOOD), ("AROAFEW:3", FEW - 1)):
            sim.sender = sender
            before = set(sim.queue.remaining)
            for _ in range(messages):
                sim.send()
            if sender.startswith("AROAFEW"):
                few |= set(sim.queue.remaining) - before
        sim.run()
        ahead = max(number for number, one in enumerate(order) if one in few) - FEW + 1
        if ahead > UNFAIR * FEW + self.slots:
            raise Violation(f"{ahead} messages of a flood begin before {FEW} of another sender")


@dataclass(frozen=True, kw_only=True)
class OneKeepsASlot:
    """A route floods the queue, and another one, which keeps a slot, has a message now and then."""

    seed: int

    def run(self) -> None:
        """Raises what is violated."""
        bodies = tuple(f"raw/p/a, /land/{number}" for number in range(FLOOD))
        sim = Sim(self.seed, Shape(messages=bodies, slots=2, at_once=FLOOD))
        kept = replace(
            sim.routes[0],
            name="kept",
            min_slots=1,
            destinations=(Location(scheme="hdfs", authority="ns1", path="/kept"),),
        )
        sim.target.put("/kept/.keep", b"")
        sim.routes += (kept,)
        sim._policy = Policy(routes=sim.routes)
        order: list[str] = []

        def note(fact: object) -> None:
            if isinstance(fact, events.MessageReceived):
                order.append(fact.body_excerpt)

        noting(sim, note)
        for _ in range(FLOOD):
            sim.send()
        sent_after: dict[str, int] = {}
        for number in range(FEW):
            while len(order) < 3 * number + 1:
                sim._step()
            body = f"raw/p/a, /kept/{number}"
            sent_after[body] = len(order)
            sim.leave(body, "p/a", f"/kept/{number}")
        sim.run()
        late = {
            body: order.index(body) - after
            for body, after in sent_after.items()
            if order.index(body) - after > RECEIVED_MOST
        }
        if late:
            raise Violation(f"a slot that is kept is not free for its route: {late}")
