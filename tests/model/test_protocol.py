"""Every state of the protocol's small machine, with all rules and without each of them."""

from __future__ import annotations

import pytest

from tests.model.protocol import RULES, State, explore

# What breaks, in some state, when a rule is left out.
BREAKS = {"epoch": "S4", "fence": "S4", "intent": "S4", "newest": "S4", "rivals": "S4"}
TORN_ONCE = State(crashes=0, faults=1)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_no_state_breaks_a_promise() -> None:
    found = explore()
    assert not found.broken, found.path
    assert found.states > 10_000


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("rule", sorted(BREAKS))
def test_rule_left_out_is_noticed(rule: str) -> None:
    found = explore(RULES - {rule})
    assert BREAKS[rule] in found.broken


def test_without_verification_a_torn_file_is_seen() -> None:
    assert explore(start=TORN_ONCE).broken == frozenset()
    assert "S2" in explore(RULES - {"verify"}, TORN_ONCE).broken


def test_without_faults_nothing_breaks_either() -> None:
    found = explore(start=State(crashes=0, pauses=0, duplicates=0, faults=0))
    assert not found.broken, found.path
