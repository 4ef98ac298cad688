"""Agents that judge each other by clocks of their own, under a scheduler that picks bad moments."""

from __future__ import annotations

from collections import Counter

import pytest

from backhaul.core import facts as events
from tests.sim.__main__ import first_words, run_seeds
from tests.sim.shape import FLEET_KINDS, Shape, fleet_of
from tests.sim.world import Sim

SCHEDULES = 80
MANY = 5_000


@pytest.mark.timeout(300)
def test_no_schedule_of_agents_that_judge_each_other_violates_anything() -> None:
    bad = run_seeds(0, SCHEDULES, fleet_of)
    assert not bad, "\n".join(f"./dev prove --fleet --seed {seed}: {what}" for seed, what in bad)


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.timeout(3600)
def test_no_schedule_of_very_many_violates_anything() -> None:
    bad = run_seeds(SCHEDULES, MANY, fleet_of)
    assert not bad, "\n".join(f"./dev prove --fleet --seed {seed}: {what}" for seed, what in bad)


def test_schedules_have_clocks_of_their_own_and_every_kind_of_silence() -> None:
    shapes = [fleet_of(seed) for seed in range(SCHEDULES)]
    kinds = Counter(kind for shape in shapes for kind in shape.kinds)
    assert min(kinds[kind] for kind in FLEET_KINDS) > SCHEDULES / 4
    assert {shape.agents for shape in shapes} == {2, 3, 4, 5}
    for shape in shapes:
        assert len({rate for _, rate in shape.clocks}) == shape.agents


def test_agents_are_judged_woken_and_fenced_and_their_work_goes_on() -> None:
    judged = woken = takeovers = 0
    for seed in range(24):
        sim = Sim(seed, fleet_of(seed))
        sim.run()
        for member in sim.members.judgements:
            process = sim.members.rows[member].process
            judged += 1
            woken += process.member is not None and process.member.is_fenced
        takeovers += sum(
            isinstance(fact, events.AttemptStarted) and fact.is_takeover for fact in sim.facts
        )
    assert judged > 12
    assert woken > 2
    assert takeovers > 0


def test_an_outage_of_a_minute_makes_nobody_judge_five_agents() -> None:
    clocks = tuple((40.0 * seat - 80.0, 0.9 + 0.06 * seat) for seat in range(5))
    for seed in range(2):
        shape = Shape(
            agents=5, clocks=clocks, kinds=frozenset({"away"}), messages=("raw/p/a, /land/d",) * 3
        )
        sim = Sim(seed, shape)
        for _ in range(200):
            sim._step()
        began_s = sim.clock.now_s
        sim.down_until_s["ledger"] = began_s + 60.0
        sim.members.away_s.append((began_s, began_s + 60.0))
        sim.run()
        while sim.clock.now_s < began_s + 300.0:
            sim._step()
        assert sim.members.judgements == []
        assert [letter for one in sim.queues for letter in one.dead_letters] == []
        assert all(row.beats > 20 for row in sim.members.rows.values())


def test_schedule_of_a_fleet_replays_exactly() -> None:
    stories = []
    for _ in range(2):
        sim = Sim(2, fleet_of(2))
        sim.run()
        stories.append((sim.story, sim.scheduler.steps, sim.clock.now_s))
    assert stories[0] == stories[1]
    assert first_words(2, fleet_of) is None
