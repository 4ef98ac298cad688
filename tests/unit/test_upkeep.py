"""What the agent does with every report: the expectations in force, and the prune."""

from __future__ import annotations

from datetime import timedelta
from threading import Lock
from types import SimpleNamespace
from typing import Any

import pytest

from backhaul.app import upkeep
from backhaul.app.upkeep import Upkeep


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    """The expectations of each turn's watch."""
    turns: list[tuple[str, ...]] = []

    def make_watch(context: Any, **_: object) -> Any:
        return SimpleNamespace(turn=lambda: turns.append(context.expectations))

    monkeypatch.setattr(upkeep, "make_watch", make_watch)
    return turns


@pytest.fixture(autouse=True)
def prunes(monkeypatch: pytest.MonkeyPatch) -> list[timedelta]:
    """How long objects are kept, at each turn of the pruner."""
    turns: list[timedelta] = []

    def make_pruner(_ledger: object, _clock: object, kept: timedelta) -> Any:
        return SimpleNamespace(turn=lambda: turns.append(kept))

    monkeypatch.setattr(upkeep, "Pruner", make_pruner)
    return turns


def _context(*expectations: str) -> Any:
    kept = SimpleNamespace(objects_kept=timedelta(days=1))
    return SimpleNamespace(expectations=expectations, settings=SimpleNamespace(retention=kept))


def _upkeep(context: Any, *, leads: bool = True) -> Upkeep:
    ledger: Any = SimpleNamespace(standing=SimpleNamespace(is_leader=leads))
    return Upkeep(context, ledger, Lock(), lambda _fact: None)


def test_a_turn_judges_what_is_in_force_after_a_reload_and_prunes(
    watches: list[tuple[str, ...]], prunes: list[timedelta]
) -> None:
    it = _upkeep(_context("at six"))
    it.turn()
    it.adopt(_context("at seven"))
    it.turn()
    assert watches == [("at six",), ("at seven",)]
    assert prunes == [timedelta(days=1)] * 2


def test_who_does_not_lead_leaves_both_to_the_leader(
    watches: list[tuple[str, ...]], prunes: list[timedelta]
) -> None:
    _upkeep(_context("at six"), leads=False).turn()
    assert (watches, prunes) == ([], [])


def test_a_reload_without_other_expectations_keeps_the_watch_and_what_it_has_announced() -> None:
    made = []

    def make_watch(_context: Any, **_: object) -> Any:
        made.append(1)
        return SimpleNamespace(turn=lambda: None)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "make_watch", make_watch)
        it = _upkeep(_context("at six"))
        it.adopt(_context("at six"))
    assert made == [1]
