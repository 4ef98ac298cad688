"""Files that ask for the same costly server run in the same process of xdist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.together import COSTLY, GROUPS

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
