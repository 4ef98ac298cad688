"""One byte rate over several agents: its split, in every order of beats, deaths and limits."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.core.fleet import rate_shares
from backhaul.core.fleet.liveness import DEAD_S
from backhaul.core.fleet.rate_shares import (
    IDLE_PART,
    NO_LIMIT,
    RESERVED_S,
    STEADY_PART,
    RateLeader,
    RateShare,
    SeenRates,
    fair_shares,
)

NOW = datetime(2026, 12, 2, tzinfo=UTC)
LIMIT = 1_000_000
MOST_AGENTS = 4
ROUNDS = 12  # in which shares settle, once nothing else happens

wants = st.dictionaries(
    st.sampled_from("abcdef"),
    st.tuples(st.integers(0, 2000), st.integers(0, 2000)).map(lambda two: (min(two), max(two))),
    min_size=1,
)


@given(total=st.integers(0, 5000), wants=wants)
def test_a_split_is_max_min_fair(total: int, wants: dict[str, tuple[int, int]]) -> None:
    found = fair_shares(total, wants)
    if sum(least for least, _ in wants.values()) > total:
        wants = {one: (0, least) for one, (least, _) in wants.items()}
    assert sum(found.values()) <= total
    assert all(least <= found[one] <= most for one, (least, most) in wants.items())
    left = min(total, sum(most for _, most in wants.values())) - sum(found.values())
    assert 0 <= left < len(wants)
    for one, (_, most) in wants.items():
        if found[one] < most:
            for other, (least, _) in wants.items():
                assert found[other] <= max(least, found[one] + 1), "it could use what this one has"


@dataclass
class Node:
    """An agent, and what its workers read under whatever the ledger says."""

    uses: int = 0
    held: int = 0
    demand: int = NO_LIMIT
    died_s: float | None = None


@dataclass
class Model:
    """The ledger's rows, as the statements of `postgres.members.rates` change them."""

    configured: int = LIMIT
    limit: int | None = None
    rows: dict[str, RateShare] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    leader: RateLeader = field(default_factory=RateLeader)
    now_s: float = 0.0
    ceiling: int = 0

    def enter(self) -> None:
        if sum(one.died_s is None for one in self.nodes.values()) >= MOST_AGENTS:
            return
        name = f"n{len(self.nodes)}"
        share = NO_LIMIT if self.limit == NO_LIMIT else 0
        self.nodes[name] = Node(uses=share, held=share)
        self.rows[name] = RateShare(configured=self.configured, granted=share, bound=share)
        self.check()

    def beat(self, name: str) -> None:
        """Acknowledge what was read by the beat before, then read."""
        node, row = self.nodes[name], self.rows[name]
        bound = row.granted if node.held == row.granted else row.bound
        self.rows[name] = replace(
            row, configured=self.configured, demand=min(node.demand, NO_LIMIT), bound=bound
        )
        node.held = node.uses = row.granted
        self.check()

    def split(self) -> None:
        rates = SeenRates(shares=self.rows, limit=self.limit)
        plan = self.leader.plan(rates, self.now_s, NOW)
        if plan is not None:
            for name in plan.released:
                del self.rows[name]
            self.limit = plan.limit
            for name, granted in plan.granted.items():
                bound = max(self.rows[name].bound, granted)
                self.rows[name] = replace(self.rows[name], granted=granted, bound=bound)
        self.check()

    def judge(self, name: str) -> None:
        if len(self.alive) > 1:
            self.nodes[name].died_s = self.now_s
            self.rows[name] = replace(self.rows[name], is_gone=True)

    def go_on(self, seconds: float) -> None:
        """Whatever the program does, workers of the dead read on for so long."""
        self.now_s += seconds
        for node in self.nodes.values():
            if node.died_s is not None and self.now_s - node.died_s >= 2 * DEAD_S:
                node.uses = 0
        self.check()

    @property
    def alive(self) -> list[str]:
        return [name for name, node in self.nodes.items() if node.died_s is None]

    def check(self) -> None:
        """A limit that is lowered holds once all have heard of it; until then the one before."""
        limit = NO_LIMIT if self.limit is None else self.limit
        granted = sum(row.granted for row in self.rows.values())
        assert granted <= limit or limit == NO_LIMIT, "granted and reserved"
        is_known = sum(row.bound for row in self.rows.values()) <= limit
        self.ceiling = limit if is_known else max(self.ceiling, limit)
        used = sum(node.uses for node in self.nodes.values())
        assert used <= self.ceiling or self.ceiling == NO_LIMIT, "read"


Step = tuple[str, int]
STEPS = ("enter", "beat", "beat", "split", "split", "judge", "demand", "limit", "pass")
steps = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 99)), max_size=80)


def run(steps: list[Step]) -> Model:
    model = Model()
    model.enter()
    for what, number in steps:
        name = model.alive[number % len(model.alive)]
        match what:
            case "enter":
                model.enter()
            case "beat":
                model.beat(name)
            case "split":
                model.split()
            case "judge":
                model.judge(name)
            case "demand":
                model.nodes[name].demand = number * LIMIT // 40 if number < 80 else NO_LIMIT
            case "limit":
                model.configured = (LIMIT, LIMIT // 3, 2 * LIMIT, NO_LIMIT)[number % 4]
            case _:
                model.go_on(RESERVED_S / 4)
    return model


@settings(max_examples=400, deadline=None)
@given(steps=steps)
def test_no_order_of_events_grants_more_than_the_limit(steps: list[Step]) -> None:
    run(steps)


@settings(max_examples=200, deadline=None)
@given(steps=steps)
def test_when_nothing_else_happens_the_shares_settle_on_what_is_fair(steps: list[Step]) -> None:
    model = run(steps)
    model.split()
    model.go_on(RESERVED_S)
    for _ in range(ROUNDS):
        for name in model.alive:
            model.beat(name)
        model.split()
    live = {name: model.rows[name] for name in model.alive}
    assert set(model.rows) == set(live), "no reservation is left"
    assert model.limit == model.configured
    if model.limit == NO_LIMIT:
        assert all(row.granted == NO_LIMIT for row in live.values())
        return
    part = model.limit // len(live)
    least = model.limit // (IDLE_PART * len(live))
    asked = {n: (least, max(least, min(model.limit, row.demand))) for n, row in live.items()}
    fair = fair_shares(model.limit, asked)
    spare = (model.limit - sum(fair.values())) // len(live)
    assert all(abs(row.granted - fair[n] - spare) <= part // STEADY_PART for n, row in live.items())
    assert all(row.granted >= least for row in live.values()), "nobody has nothing"
    assert sum(row.granted for row in live.values()) > model.limit - 2 * len(live)


# Two agents; one wants nothing and then all, and the other has not heard of that yet.
RAISE = [("split", 0), ("beat", 0), ("enter", 0), ("beat", 0), ("beat", 1), ("split", 0)]
RAISE += [("beat", 1), ("split", 0), ("beat", 1)]
DEATH = [*RAISE, ("beat", 0), ("split", 0), ("beat", 1), ("judge", 0), ("split", 0), ("beat", 0)]


def before_the_acknowledgement(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rate_shares, "used_at_most", lambda _share, granted: granted)


def without_a_reservation(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(rate_shares, "RESERVED_S", 0.0)


def without_a_look_at_the_dead(patch: pytest.MonkeyPatch) -> None:
    split = rate_shares.split_rate

    def of_the_living(limit: int, rates: SeenRates) -> dict[str, int]:
        shares = {name: share for name, share in rates.shares.items() if not share.is_gone}
        return split(limit, replace(rates, shares=shares))

    patch.setattr(rate_shares, "split_rate", of_the_living)


@pytest.mark.parametrize(
    ("remove", "steps"),
    [
        (before_the_acknowledgement, RAISE),
        (without_a_reservation, DEATH),
        (without_a_look_at_the_dead, DEATH),
    ],
)
def test_each_rule_is_missed(
    remove: Any, steps: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(steps)
    remove(monkeypatch)
    with pytest.raises(AssertionError):
        run(steps)
