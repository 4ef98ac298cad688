"""The protocol under a scheduler that picks its worst moments: schedules, crash points, mutants."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from backhaul.core import facts as events
from backhaul.testing.fakes.inline import InlineSession
from tests.sim.__main__ import first_words, run_seeds
from tests.sim.crash_points import SCENARIOS, WAYS, Point, points, points_of_each_run
from tests.sim.ghost import Violation
from tests.sim.mutants import MUTANTS, Mutant
from tests.sim.reports import Reports
from tests.sim.shape import ALL_KINDS, Shape, shape_of
from tests.sim.world import Sim

SCHEDULES = 2_000

# Beyond the first 2,000, each found something that is mended now.
FOUND = {
    10_564: "an attempt that was taken over told of a defect, and spent an attempt on it",
    22_096: "a process that had lost a transfer dropped the plan of the one that had it",
    87_678: "a plan that was dropped took with it what its transfer had renamed already",
    98_103: "an attempt that was taken over stayed under way, so that its message waited forever",
}


@pytest.mark.slow
@pytest.mark.timeout(300)  # for each part of them, as the machine may be busy
@pytest.mark.parametrize("start", range(0, SCHEDULES, SCHEDULES // 4))
def test_no_schedule_violates_anything(start: int) -> None:
    bad = run_seeds(start, start + SCHEDULES // 4)
    assert not bad, "\n".join(f"./dev prove --seed {seed}: {what}" for seed, what in bad[:10])


@pytest.mark.parametrize("seed", FOUND)
def test_schedule_that_found_something_is_clean(seed: int) -> None:
    assert first_words(seed) is None, FOUND[seed]


def test_seed_replays_exactly() -> None:
    stories = []
    for _ in range(2):
        sim = Sim(4031, shape_of(4031))
        sim.run()
        stories.append((sim.story, sim.scheduler.steps, sim.clock.now_s))
    assert stories[0] == stories[1]
    assert len(stories[0][0]) > 3


def test_schedules_use_every_kind_of_fault() -> None:
    kinds: Counter[str] = Counter()
    for seed in range(SCHEDULES):
        kinds.update(shape_of(seed).kinds)
    assert set(ALL_KINDS) <= kinds.keys()
    assert min(kinds[kind] for kind in ALL_KINDS) > 20


def test_schedules_use_fifo_queues_and_separate_ledgers() -> None:
    shapes = [shape_of(seed) for seed in range(SCHEDULES)]
    assert sum(shape.is_fifo for shape in shapes) > 50
    assert sum(not shape.has_one_ledger for shape in shapes) > 20


def test_reports_change_nothing_of_a_schedule_whatever_befalls_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The same steps at the same times, with reports and without."""
    befell: Counter[str | None] = Counter()
    draw = Reports.draw

    def noted(reports: Reports, name: str) -> str | None:
        kind = draw(reports, name)
        befell[kind] += 1
        return kind

    monkeypatch.setattr(Reports, "draw", noted)
    seeds = [seed for seed in range(SCHEDULES) if shape_of(seed).reports]
    assert len(seeds) > 200
    beats = 0
    for seed in seeds[:100]:
        stories = []
        for reports in (True, False):
            sim = Sim(seed, replace(shape_of(seed), reports=reports))
            sim.run()
            stories.append((sim.story, sim.scheduler.steps, sim.clock.now_s))
            beats += sum(one.beats for file in sim.files for one in file.agents.values())
        assert stories[0] == stories[1], seed
    assert beats > 1000
    assert min(befell[kind] for kind in ("fail", "lost", "down")) > 50


def test_schedules_send_replies_and_strike_that_too() -> None:
    seeds = [seed for seed in range(SCHEDULES) if shape_of(seed).replies]
    assert len(seeds) > 150
    struck: Counter[str] = Counter()
    again = 0
    for seed in seeds[:60]:
        sim = Sim(seed, shape_of(seed))
        sim.run()
        struck.update(sim.struck_replies)
        again += sum(count > 1 for count in sim.received.deliveries.values())
    assert min(struck[kind] for kind in ("fail", "lost")) > 50
    assert again > 10


def test_schedules_pause_routes_and_resume_them() -> None:
    shapes = [shape_of(seed) for seed in range(SCHEDULES)]
    paused = [shape for shape in shapes if shape.pauses]
    assert len(paused) > 100
    assert 20 < sum(shape.has_other_route for shape in paused) < len(paused) - 20
    seeds = [seed for seed, shape in enumerate(shapes) if shape.pauses]
    facts: Counter[type] = Counter()
    for seed in seeds[:40]:
        sim = Sim(seed, shapes[seed])
        sim.run()
        facts.update({type(fact) for fact in sim.facts})
    assert facts[events.TransferPaused] > 10
    assert facts[events.MessageUnparked] > 10


def test_schedules_have_pages_whose_proofs_arrive_during_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shapes = {seed: shape_of(seed) for seed in range(SCHEDULES)}
    seeds = [seed for seed, shape in shapes.items() if shape.page_size is not None]
    assert len(seeds) > 100
    arrived: list[int] = []
    arrive = InlineSession._arrive

    def count(session: InlineSession, *arguments: Any) -> None:
        arrived.append(1)
        arrive(session, *arguments)

    monkeypatch.setattr(InlineSession, "_arrive", count)
    for seed in seeds[:20]:
        assert first_words(seed) is None
    assert len(arrived) > 10


def test_there_are_enough_scenarios_and_ways() -> None:
    assert len(SCENARIOS) >= 12
    assert {
        "kill",
        "kill after",
        "zombie",
        "pause",
        "fail",
        "lost",
        "down",
        "silent",
        "hang",
    } == set(WAYS)


def test_each_run_strikes_every_call_of_every_scenario_and_each_in_every_way() -> None:
    everything, some = list(points()), list(points_of_each_run())
    assert len(some) < len(everything) / 3
    assert {(one.scenario, one.call, one.occurrence) for one in some} == {
        (one.scenario, one.call, one.occurrence) for one in everything
    }
    assert {(one.call, one.way) for one in some} == {(one.call, one.way) for one in everything}


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("struck", "least"),
    [(points_of_each_run, 3_000), pytest.param(points, 10_000, marks=pytest.mark.long)],
)
def test_every_call_struck_in_every_way_ends_the_same(
    struck: Callable[[], Iterator[Point]], least: int
) -> None:
    bad: list[tuple[Point, str]] = []
    number = 0
    for point in struck():
        number += 1
        try:
            point.run()
        except Violation as violation:
            bad.append((point, str(violation)))
    assert not bad, "\n".join(f"{point}: {what}" for point, what in bad[:10])
    assert number > least


def test_two_ledgers_that_stage_under_one_epoch_come_back_and_end_well() -> None:
    """Neither may die of the other's staging, whose file stands where it would create its own."""
    shape = Shape(
        agents=2,
        has_one_ledger=False,
        keys=("p/a", "p/b"),
        messages=("raw/p/, /land/d",) * 2,
        kinds=frozenset({"redeliver", "slow"}),
        rate=0.05,
    )
    met = 0
    for seed in range(100):
        sim = Sim(seed, shape)
        sim.run()
        failed = [fact for fact in sim.facts if isinstance(fact, events.AttemptFailed)]
        met += any(fact.code == "E_DST_SHARED" for fact in failed)
        assert sim.queue.dead_letters == []
    assert met > 0


A_SLIP = re.compile(r"BUG (TypeError|AttributeError|NameError|UnboundLocalError)\b")


def test_there_are_enough_mutants() -> None:
    assert len({mutant.name for mutant in MUTANTS}) >= 30


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_removed_rule_is_noticed(mutant: Mutant) -> None:
    with mutant.applied():
        if mutant.point is not None:
            with pytest.raises(Violation) as caught:
                mutant.point.run()
            words = str(caught.value)
        else:
            words = first_words(mutant.seed, mutant.shape_of) or ""
    assert words, f"{mutant.rule}: ./dev prove --mutants"
    assert not A_SLIP.match(words), f"{mutant.rule}: it died of its own patch: {words}"


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_schedule_that_kills_a_mutant_is_clean_with_the_rule(mutant: Mutant) -> None:
    if mutant.point is not None:
        mutant.point.run()
    else:
        assert first_words(mutant.seed, mutant.shape_of) is None
