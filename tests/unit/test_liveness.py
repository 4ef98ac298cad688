"""Who is judged dead on a shared ledger: never one that may still act, and always one that died."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.core.fleet import liveness
from backhaul.core.fleet.liveness import BEAT_S, DEAD_S, GAP_S, TRUST_S, Liveness

STEP_S = 0.5
TIMEOUT_S = 5.0
AGAIN_S = 1.0
Span = tuple[float, float]  # its beginning, and how long it is, in seconds


@dataclass
class Agent:
    """One process, with a clock of its own that runs like all others and shows anything."""

    shows_s: float
    pauses: Sequence[Span] = ()
    dies_s: float = math.inf
    latency_s: float = 0.0
    due_s: float = 0.0
    liveness: Liveness = field(default_factory=Liveness)

    def clock(self, at_s: float) -> float:
        return self.shows_s + at_s

    def is_trusted(self, at_s: float) -> bool:
        return self.liveness.is_trusted(self.clock(at_s))

    def resumes_s(self, at_s: float) -> float:
        """When it next does something, at this time or later."""
        for begins_s, length_s in sorted(self.pauses):
            if begins_s <= at_s < begins_s + length_s:
                at_s = begins_s + length_s
        return at_s


@dataclass
class Ledger:
    """Counters of those in force, and when it is away."""

    outages: Sequence[Span] = ()
    beats: dict[int, int] = field(default_factory=dict)

    def is_away(self, from_s: float, to_s: float) -> bool:
        return any(begins < to_s and from_s < begins + length for begins, length in self.outages)


@dataclass(frozen=True)
class Judged:
    at_s: float
    peer: int
    was_trusted: bool


def run(agents: Sequence[Agent], ledger: Ledger, until_s: float) -> list[Judged]:
    """All beats and judgements in the order of time; each counter is raised in mid-flight."""
    ledger.beats.update(dict.fromkeys(range(len(agents)), 0))
    judged, answers, commits = [], dict[int, tuple[float, float, dict[str, int]]](), {}
    at_s = 0.0
    while at_s < until_s:
        for number, one in enumerate(agents):
            if number not in ledger.beats or at_s >= one.dies_s or one.resumes_s(at_s) > at_s:
                continue
            if number not in commits and number not in answers and one.due_s <= at_s:
                end_s = at_s + one.latency_s
                if ledger.is_away(at_s, end_s + STEP_S):
                    one.due_s = at_s + TIMEOUT_S + AGAIN_S
                else:
                    commits[number] = (at_s, at_s + one.latency_s / 2, end_s)
            if number in answers and answers[number][1] <= at_s:
                began_s, _, seen = answers.pop(number)
                one.due_s = at_s + BEAT_S
                silent = one.liveness.beat(one.clock(began_s), one.clock(at_s), seen)
                for dead in silent:
                    peer = int(dead.peer)
                    if ledger.beats.get(peer) == dead.beats:
                        del ledger.beats[peer]
                        judged.append(Judged(at_s, peer, agents[peer].is_trusted(at_s)))
        for number, (began_s, commit_s, end_s) in list(commits.items()):
            if commit_s <= at_s and number in ledger.beats:  # the server goes on without its client
                ledger.beats[number] += 1
                seen = {str(k): v for k, v in ledger.beats.items() if k != number}
                answers[number] = (began_s, end_s, seen)
                del commits[number]
        at_s += STEP_S
    return judged


spans = st.lists(
    st.tuples(st.integers(0, 300).map(float), st.integers(1, 120).map(float)), max_size=3
)
made = st.builds(
    Agent,
    shows_s=st.floats(-1e9, 1e9),
    pauses=spans,
    dies_s=st.one_of(st.just(math.inf), st.integers(0, 300).map(float)),
    latency_s=st.integers(0, 20).map(lambda n: n / 2),
    due_s=st.integers(0, 9).map(float),
)


@given(st.lists(made, min_size=2, max_size=5), spans)
@settings(deadline=None, max_examples=150)
def test_whoever_is_judged_has_stopped_acting_before(
    agents: list[Agent], outages: list[Span]
) -> None:
    assert not [one for one in run(agents, Ledger(outages), 500.0) if one.was_trusted]


@given(
    st.lists(st.tuples(st.floats(-1e9, 1e9), st.integers(0, 4)), min_size=2, max_size=5),
    st.integers(20, 200).map(float),
    st.integers(1, 120).map(float),
)
@settings(deadline=None, max_examples=60)
def test_nobody_is_judged_over_an_outage(
    clocks: list[tuple[float, int]], begins_s: float, length_s: float
) -> None:
    agents = [Agent(shows_s, due_s=float(late)) for shows_s, late in clocks]
    assert run(agents, Ledger([(begins_s, length_s)]), begins_s + length_s + 100.0) == []


def test_one_that_dies_is_judged_within_a_watch_and_two_beats() -> None:
    agents = [Agent(0.0), Agent(-77.0, due_s=3.0), Agent(1e6, dies_s=101.0)]
    (judged,) = run(agents, Ledger(), 300.0)
    assert judged.peer == 2
    assert judged.at_s - 101.0 <= DEAD_S + 2 * BEAT_S


@pytest.mark.parametrize(
    "rules",
    [
        {"GAP_S": math.inf, "BEATS_LEAST": 1},  # right after a reconnect
        {"DEAD_S": 2 * BEAT_S},
        {"TRUST_S": 2 * DEAD_S},
    ],
)
def test_each_rule_is_needed(monkeypatch: pytest.MonkeyPatch, rules: dict[str, float]) -> None:
    """Without it somebody is judged over an outage, or one that may still act."""
    for rule, value in rules.items():
        monkeypatch.setattr(liveness, rule, value)
    over_outage = any(
        run([Agent(0.0, due_s=4.0), Agent(0.0)], Ledger([(50.0 + begins_s, length_s)]), 200.0)
        for begins_s in range(6)
        for length_s in range(60, 66)
    )
    paused = [Agent(0.0), Agent(0.0, pauses=[(50.5, 300.0)])]
    assert over_outage or any(one.was_trusted for one in run(paused, Ledger(), 300.0))


def looked(one: Liveness, *looks: tuple[float, int]) -> bool:
    return any([bool(one.beat(at_s, at_s, {"peer": beats})) for at_s, beats in looks][-1:])


def standing(start_s: float, end_s: float) -> list[tuple[float, int]]:
    count = int((end_s - start_s) / BEAT_S) + 1
    return [(start_s + number * BEAT_S, 7) for number in range(count)]


def test_a_counter_must_stand_still_for_the_whole_time() -> None:
    assert not looked(Liveness(), *standing(0, DEAD_S - BEAT_S))
    assert looked(Liveness(), *standing(0, DEAD_S))
    assert not looked(Liveness(), *standing(0, DEAD_S - BEAT_S), (DEAD_S, 8))


def test_a_gap_between_two_beats_begins_the_watch_anew() -> None:
    before, back_s = standing(0, DEAD_S - BEAT_S), DEAD_S - BEAT_S + GAP_S + 1
    assert not looked(Liveness(), *before, *standing(back_s, back_s + DEAD_S - BEAT_S))
    assert looked(Liveness(), *before, *standing(back_s, back_s + DEAD_S))


def test_another_server_begins_the_watch_anew() -> None:
    """It has lost beats: the peer's counter was set back, and shows the same number again."""
    one = Liveness()
    for at_s, beats in standing(0, DEAD_S - BEAT_S):
        assert not one.beat(at_s, at_s, {"peer": beats}, server=1)
    for at_s, beats in standing(DEAD_S, 2 * DEAD_S - BEAT_S):
        assert not one.beat(at_s, at_s, {"peer": beats}, server=2)
    assert one.beat(2 * DEAD_S, 2 * DEAD_S, {"peer": 7}, server=2)


def test_time_in_which_a_beat_was_under_way_counts_for_the_peer() -> None:
    one = Liveness()
    one.beat(0.0, 6.0, {"peer": 7})
    for at_s in range(10, 36, 5):
        assert not one.beat(float(at_s), float(at_s), {"peer": 7})
    assert one.beat(36.0, 36.0, {"peer": 7})


def test_the_rest_of_a_watch() -> None:
    one = Liveness()
    assert one.left_s("peer", 0.0) == DEAD_S
    one.beat(100.0, 100.0, {"peer": 7})
    assert one.left_s("peer", 110.0) == DEAD_S - 10.0
    assert one.left_s("peer", 999.0) == 0.0


def test_trust_ends_a_while_after_the_beginning_of_the_last_good_beat() -> None:
    one = Liveness()
    assert not one.is_trusted(0.0)
    one.beat(100.0, 104.0, {})
    assert one.is_trusted(100.0 + TRUST_S)
    assert not one.is_trusted(100.5 + TRUST_S)
