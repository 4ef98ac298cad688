"""The rules that Hypothesis combines: clean with all of the protocol, not clean without a part."""

from __future__ import annotations

import pytest

from tests.sim.machine import run_machine
from tests.sim.mutants import MUTANTS

EXAMPLES = 150
BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
KILLED = {
    "settle_without_record": "L1|L3",  # it never ends, or ends with a row that is open
    "record_before_publish": "S3",
    "remove_before_rename": "S2",
    "markers_first": "S2",
    "no_intent": "L1",  # nothing is done without it, so it never ends
    "no_tidying": "L3",
}


@pytest.mark.timeout(300)
def test_no_list_of_steps_violates_anything() -> None:
    run_machine(EXAMPLES, is_fixed=True)


@pytest.mark.parametrize(("name", "promise"), KILLED.items(), ids=KILLED)
def test_removed_rule_is_noticed_by_the_machine(name: str, promise: str) -> None:
    with BY_NAME[name].applied(), pytest.raises(AssertionError, match=promise):
        run_machine(EXAMPLES, is_fixed=True, shrinks=False)


def test_what_is_found_is_told_in_few_steps() -> None:
    """A `_SUCCESS` before the rest: leave one message, let the agents work.

    A step that changes nothing may stay where the order of the threads hangs on it.
    """
    with (
        BY_NAME["markers_first"].applied(),
        pytest.raises(AssertionError, match=r"^S2 ") as caught,
    ):
        run_machine(EXAMPLES, is_fixed=True)
    told = caught.value.__notes__
    steps = [line for line in told if line.startswith("state.") and not line.endswith("()")]
    assert any(line.startswith("state.send(") for line in steps)
    assert len(steps) <= 6, "\n".join(told)
