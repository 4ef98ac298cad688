"""Which files run in the same process of xdist, and in which order."""

from __future__ import annotations

import re
from collections import OrderedDict
from pathlib import Path

import pytest

from tests.together import COSTLY, GROUPS, TogetherScheduling

ROOT = Path(__file__).parents[2]
ASKS = r'^(?:def \w+\(|    ).*\b{name}: "?[A-Z]|usefixtures\(.*"{name}"|getfixturevalue\("{name}"\)'


@pytest.mark.parametrize("name", COSTLY)
def test_all_that_ask_for_it_are_in_one_group(name: str) -> None:
    asks = re.compile(ASKS.format(name=name), re.MULTILINE)
    found = {
        str(path.relative_to(ROOT))
        for folder in ("acceptance", "contract", "servers")
        for path in (ROOT / "tests" / folder).glob("test_*.py")
        if asks.search(path.read_text("utf-8"))
    }
    assert found
    assert any(found <= set(paths) for paths in GROUPS.values()), found


def test_each_file_of_a_group_is_there() -> None:
    for paths in GROUPS.values():
        assert [path for path in paths if not (ROOT / path).is_file()] == []


class Process:
    """Notes the tests that it is to run."""

    def __init__(self) -> None:
        self.given: list[int] = []

    def send_runtest_some(self, numbers: list[int]) -> None:
        self.given += numbers


@pytest.mark.parametrize(
    ("processes", "wanted"),
    [(1, [[0, 1, 2, 3, 4, 5]]), (2, [[0, 1, 2], [5, 4, 3]]), (3, [[0, 2], [1, 3], [5, 4]])],
)
def test_the_last_of_several_processes_begins_at_the_end(
    processes: int, wanted: list[list[int]]
) -> None:
    files = [f"tests/test_{number}.py::test" for number in range(6)]
    made = [Process() for _ in range(processes)]
    scheduling = TogetherScheduling.__new__(TogetherScheduling)
    scheduling.workqueue = OrderedDict((one, {one: False}) for one in files)
    scheduling.assigned_work = OrderedDict((one, {}) for one in made)
    scheduling.registered_collections = dict.fromkeys(made, files)
    while scheduling.workqueue:
        for one in made:
            scheduling._assign_work_unit(one)
    assert [one.given for one in made] == wanted
