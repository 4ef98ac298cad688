"""A ledger that fails over and loses what it had confirmed, at moments that a scheduler picks."""

from __future__ import annotations

from collections import Counter

import pytest

from backhaul.testing.fakes import MemoryLedger
from tests.sim.__main__ import first_words
from tests.sim.failover import Servers
from tests.sim.ghost import Violation
from tests.sim.shape import failover_of
from tests.sim.world import Sim

SCHEDULES = 80
# Of each of these some commit is confirmed and lost in `SCHEDULES`.
LOST = (
    *("ledger.begin", "ledger.claim", "ledger.intend", "ledger.finish", "ledger.fail"),
    *("member.beat", "member.judge", "member.join"),
)
# In each a lost beat is made again, so that a counter shows the same number twice.
SET_BACK = (718, 874, 1177)
# In each an agent that has never reached the newer primary works on the old one: the others judge
# it, and it goes on; it ends what the newer ledger has as begun.
ON_THE_OLD = (3069, 1875)
# In each a claim is lost, and nothing claims the same directory for its staging again.
LEFT_IN_STAGING = (1900, 5815, 6484)

# In each a claim or a page of a plan is lost, and its attempt goes on.
LOST_WRITES = (2683, 3238, 3383, 4765, 5648, 6124)
LOST_BEGINNING = (2926,)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_schedule_of_a_ledger_that_loses_commits_violates_anything() -> None:
    bad: list[str] = []
    lost: Counter[str] = Counter()
    promotions = refused = 0
    for seed in range(SCHEDULES):
        sim = Sim(seed, failover_of(seed))
        try:
            sim.run()
        except Violation as violation:
            bad.append(f"./dev prove --failover --seed {seed}: {violation}")
        lost.update(sim.servers.lost)
        promotions += sim.servers.promotions
        refused += sim.servers.refused
    assert not bad, "\n".join(bad)
    assert promotions > SCHEDULES / 2
    assert refused > SCHEDULES
    assert not [name for name in LOST if not lost[name]], lost


def test_schedule_of_a_failover_replays_exactly() -> None:
    stories = []
    for _ in range(2):
        sim = Sim(15, failover_of(15))
        sim.run()
        stories.append((sim.story, sim.scheduler.steps, sim.clock.now_s))
    assert stories[0] == stories[1]


@pytest.mark.parametrize("seed", SET_BACK)
def test_nobody_is_judged_by_a_counter_that_a_failover_has_set_back(seed: int) -> None:
    assert first_words(seed, failover_of) is None


@pytest.mark.parametrize("seed", [*LOST_WRITES, *LOST_BEGINNING])
def test_an_attempt_ends_unspent_where_a_failover_lost_what_it_wrote(seed: int) -> None:
    assert first_words(seed, failover_of) is None


@pytest.mark.parametrize("seed", [*ON_THE_OLD, *LEFT_IN_STAGING])
def test_what_a_failover_costs_by_the_manual_violates_nothing(seed: int) -> None:
    assert first_words(seed, failover_of) is None


@pytest.mark.parametrize("seed", LEFT_IN_STAGING)
def test_only_staging_of_lost_claims_is_left(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Servers, "without_forgotten", lambda self, staging: staging)
    assert (first_words(seed, failover_of) or "").startswith("L3 staging is left")


def test_no_agent_has_to_be_restarted_as_others_wait_for_what_it_has_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sim = Sim(24, failover_of(24))
    sim.run()
    assert sim.servers.ends_lost
    monkeypatch.setattr(MemoryLedger, "repeat_lost_ends", lambda *_: 0)
    assert (first_words(24, failover_of) or "").startswith("L1")
