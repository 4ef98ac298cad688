"""Agents that work two queues, one of which refuses every call for a while."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.polling.poller import QueuePoller
from tests.sim.ghost import Violation
from tests.sim.shape import Shape, shape_of
from tests.sim.world import Sim

SCHEDULES = 120


def with_two_queues(seed: int) -> Shape:
    """The same mixture as of one queue; of the second, half are denied for up to ten minutes."""
    chance = random.Random(f"queues {seed}")
    begins_s = chance.choice((0.0, 0.0, 5.0, 60.0))
    denied_s = (begins_s, begins_s + chance.choice((0.0, 0.0, 30.0, 600.0)))
    return replace(shape_of(seed), queues=2, denied_s=denied_s)


@pytest.mark.timeout(300)
def test_no_schedule_of_two_queues_violates_anything() -> None:
    bad = []
    for seed in range(SCHEDULES):
        try:
            Sim(seed, with_two_queues(seed)).run()
        except Violation as violation:
            bad.append((seed, str(violation)))
    assert not bad, bad[:5]


def _two(**more: object) -> Shape:
    bodies = tuple(f"raw/p/a, /land/{number}" for number in range(6))
    return Shape(messages=bodies, slots=1, queues=2, **more)  # type: ignore[arg-type]


def test_a_queue_that_is_denied_holds_up_no_other() -> None:
    """Its own messages wait for an hour, and those of the other one end within minutes."""
    for seed in range(10):
        sim = Sim(seed, _two(denied_s=(0.0, 3600.0)))
        ended_s: dict[str, float] = {}
        emit = sim._emit

        def noted(
            fact: object,
            sim: Sim = sim,
            ended_s: dict[str, float] = ended_s,
            emit: object = emit,
        ) -> None:
            if isinstance(fact, events.DeliveryEnded):
                ended_s[fact.message_id] = sim.clock.now_s - sim.began_s
            emit(fact)  # type: ignore[operator]

        sim._emit = noted  # type: ignore[method-assign]
        sim.run()
        first = [at_s for one, at_s in ended_s.items() if one.startswith("m-")]
        second = [at_s for one, at_s in ended_s.items() if one.startswith("m1-")]
        assert len(first) + len(second) == 6
        assert max(first, default=0.0) < 600
        assert min(second, default=3600.0) >= 3600


def test_a_message_that_waits_for_a_slot_is_handed_back_at_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it stays hidden for a whole timeout; and there are such messages in these schedules."""
    waited: list[str] = []
    accept = QueuePoller._accept

    def noted(self: QueuePoller, message: object) -> None:
        accept(self, message)  # type: ignore[arg-type]
        waited.extend(one.message_id for one in self._waiting)

    monkeypatch.setattr(QueuePoller, "_accept", noted)
    for seed in range(30):
        Sim(seed, _two(kinds=frozenset({"stop"}), at_once=6)).run()
    assert waited
