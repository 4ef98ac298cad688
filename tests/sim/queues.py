"""What two queues of one agent owe each other: none holds up the other, and slots go by turns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby

from backhaul.core import facts as events
from tests.sim.ghost import Violation
from tests.sim.shape import Shape
from tests.sim.world import Sim

BACKLOG = 12
IN_MINUTES_S = 600.0
DENIED_UNTIL_S = 3600.0
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
