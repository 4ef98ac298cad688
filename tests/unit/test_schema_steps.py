"""Which steps of the schema are taken beside older agents, and which schemas a program takes."""

from __future__ import annotations

import pytest

from backhaul.adapters.ledger.dialects import migrate
from backhaul.adapters.ledger.dialects.migrate import needed_by, require_current, steps_after
from backhaul.core.errors import ConfigurationError


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "REVISIONS", ("1", "2", "3", "4", "5"))
    monkeypatch.setattr(migrate, "HEAD", "5")
    monkeypatch.setattr(migrate, "EXPANDING", frozenset({"3", "4"}))
    monkeypatch.setattr(migrate, "OLDEST", "3")


def test_a_schema_needs_the_newest_step_that_more_than_adds() -> None:
    assert [needed_by(one) for one in "12345"] == ["1", "2", "2", "2", "5"]


def test_steps_that_only_add_come_first_and_those_after_another_one_do_not() -> None:
    assert steps_after("1") == ((), ("2", "3", "4", "5"))
    assert steps_after("2") == (("3", "4"), ("5",))
    assert steps_after("4") == ((), ("5",))
    assert steps_after("5") == steps_after("9") == ((), ())


@pytest.mark.parametrize("schema", ["3", "4", "5", "9"])
def test_schemas_of_the_range_are_taken_and_a_newer_one_that_was_found_usable(schema: str) -> None:
    require_current(schema, "it")


@pytest.mark.parametrize("schema", ["1", "2", None])
def test_an_older_one_is_refused(schema: str | None) -> None:
    with pytest.raises(ConfigurationError, match=r"E_LEDGER_OLDER.*reads 3 to 5"):
        require_current(schema, "it")
