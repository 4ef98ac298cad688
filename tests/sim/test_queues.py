"""Agents that work two queues, one of which refuses every call for a while."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from backhaul.core.agent.polling.poller import QueuePoller
from tests.sim.crash_points import SCENARIOS
from tests.sim.ghost import Violation
from tests.sim.queues import BothAreFull, OneIsDenied, of_two
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


@pytest.mark.parametrize("since_s", [0.0, 2.0])
def test_a_queue_that_is_denied_holds_up_no_other(since_s: float) -> None:
    """Its own messages wait for most of an hour, and those of the other one end within minutes."""
    for seed in range(6):
        OneIsDenied(seed=seed, since_s=since_s).run()


def test_queues_that_both_have_messages_take_turns() -> None:
    for seed in range(10):
        BothAreFull(seed=seed).run()


def test_the_crash_points_of_two_queues_have_a_message_on_each() -> None:
    sim = Sim(1, SCENARIOS["one agent, two queues"])
    for _ in range(2):
        sim.send()
    assert [len(one.remaining) for one in sim.queues] == [1, 1]


def test_a_message_that_waits_for_a_slot_is_handed_back_at_a_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else it stays hidden for a whole timeout; and there are such messages in these schedules."""
    waited: list[str] = []
    received = QueuePoller._received

    def noted(self: QueuePoller, *what: Any, **how: Any) -> None:
        received(self, *what, **how)
        waited.extend(one.message_id for one in self._hand.waiting)

    monkeypatch.setattr(QueuePoller, "_received", noted)
    for seed in range(30):
        Sim(seed, of_two(6, kinds=frozenset({"stop"}), at_once=6)).run()
    assert waited
