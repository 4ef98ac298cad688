"""Routes with a marker: what is in a directory without one is not missing yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.core.reconciliation.values import ObjectClass
from tests.unit.test_reconcile_run import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, create=True, host="h")
    world = World(ledger, path)
    world.route = replace(world.route, event_destination="/landing/{rel_dir}/", marker="_SUCCESS")
    yield world
    ledger.close()


def test_only_what_is_complete_is_missing(world: World) -> None:
    world.put("in/a/x", "in/a/_SUCCESS")
    world.put("in/up/e/f/g", "in/up/_SUCCESS", "in/up2/g")
    world.put("in/c/y", "in/c/_SUCCESS_not")
    world.put("_SUCCESS", "inner/_SUCCESS")  # above the route's prefix, and beside it
    world.later()
    _, found = world.reconcile()
    assert {name: one.found.value for name, one in found.items()} == {
        "a/_SUCCESS": "missing",
        "a/x": "missing",
        "c/_SUCCESS_not": "too young",
        "c/y": "too young",
        "up/_SUCCESS": "missing",
        "up/e/f/g": "missing",
        "up2/g": "too young",
    }
    assert found["c/y"].why == "no _SUCCESS in its directory or above: it is not complete yet"


def test_a_marker_in_the_routes_own_directory_is_for_everything(world: World) -> None:
    world.put("in/a/x", "in/_SUCCESS", "in/b")
    world.later()
    assert set(world.classes().values()) == {"missing"}


def test_a_route_for_a_whole_bucket_has_markers_at_the_top(world: World) -> None:
    world.route = replace(world.route, sources=(("raw", ""),))
    world.put("a/x", "_SUCCESS")
    world.later()
    assert set(world.classes().values()) == {"missing"}


def test_a_marker_may_be_too_young_as_an_object_may(world: World) -> None:
    world.put("in/a/x", "in/a/y")
    world.later()
    world.put("in/a/_SUCCESS")
    _, found = world.reconcile()
    assert {one.found for one in found.values()} == {ObjectClass.TOO_YOUNG}
    assert found["a/x"].why == "its _SUCCESS was written 0 s ago"
    world.later()
    assert set(world.classes().values()) == {"missing"}


def test_one_old_marker_is_enough(world: World) -> None:
    world.put("in/a/x", "in/_SUCCESS")
    world.later()
    world.put("in/a/_SUCCESS")
    assert world.classes()["a/x"] == "missing"


def test_what_was_brought_in_this_state_is_missing_without_a_marker(world: World) -> None:
    world.put("in/a/x", "in/a/y")
    world.bring("in/a/", "a", ["x", "y"])
    world.target.remove("/landing/a/x")
    world.later()
    world.put("in/a/y", data=b"newer")
    world.later()
    # The second is of the next run, which is not complete.
    assert world.classes() == {"a/x": "missing", "a/y": "too young"}


def test_what_differs_or_died_stays_a_finding(world: World) -> None:
    world.put("in/a/x", "in/a/_SUCCESS", "in/b/y")
    world.bring("in/a/", "a", ["x", "_SUCCESS"])
    dead = world.claim("in/b/", "b", ["y"])
    world.later()
    world.die(dead)
    world.target.put("/landing/a/x", b"changed by someone")
    world.target.put("/landing/a/stray", b"?")
    assert world.classes() == {
        "a/_SUCCESS": "same",
        "a/stray": "extra",
        "a/x": "differs",
        "b/y": "dead",
    }


def test_a_directory_that_went_elsewhere_by_its_marker_is_compared_there(world: World) -> None:
    world.route = replace(world.route, event_destination="/landing/x/")
    world.put("in/c/y", "in/_SUCCESS")
    world.bring("in/", "x", ["_SUCCESS", "c/y"])
    world.later()
    assert world.classes() == {"x/_SUCCESS": "same", "x/c/y": "same"}


def test_a_marker_without_a_destination_for_events_triggers_nothing(world: World) -> None:
    world.route = replace(world.route, event_destination=None)
    world.put("in/a/x", "in/b/y")
    world.bring("in/a/", "a", ["x"])
    world.later()
    assert world.classes() == {"a/x": "same", "b/y": "missing"}
