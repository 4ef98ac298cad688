"""The second look: names that are no text, and objects that are overwritten under way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.app.reconcile.report import as_json, combined
from backhaul.app.reconcile.run import ReconcileOptions
from tests.unit.test_reconcile_run import FS, LANDING, World

NO_TEXT = "\udcff"  # how Python has the byte FF of a name on a mount


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, create=True, host="h")
    yield World(ledger, path)
    ledger.close()


# ---------------------------------------------------------------- names that are not UTF-8


def test_a_name_on_a_mount_that_is_not_utf_8_is_extra(world: World) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    world.later()
    world.target.put(f"/landing/d/{NO_TEXT}", b"1")
    world.target.put(f"/landing/{NO_TEXT}/b", b"1")
    _, found = world.reconcile()
    assert {name: one.found.value for name, one in found.items()} == {
        "d/a": "same",
        f"d/{NO_TEXT}": "extra",
        f"{NO_TEXT}/b": "extra",
    }
    line = as_json(found[f"d/{NO_TEXT}"], FS)
    assert json.loads(line.encode("utf-8"))["target"] == f"{FS}/landing/d/{NO_TEXT}"
    assert combined(found[f"d/{NO_TEXT}"], LANDING) == "- d/\\udcff"


def test_a_directory_whose_name_is_not_utf_8_is_compared_in_parts(world: World) -> None:
    world.route = replace(world.route, event_destination="/landing/{rel_dir}/")
    world.put("in/a/x")
    for name in ("a/x", f"b{NO_TEXT}/x", "c/x"):
        world.target.mkdirs(f"/landing/{name}".rpartition("/")[0])
        world.target.put(f"/landing/{name}", b"data")
    world.later()
    world.options = ReconcileOptions(jobs=2)
    assert world.classes() == {"a/x": "unproved", f"b{NO_TEXT}/x": "extra", "c/x": "extra"}
