"""A route compared with an inventory: what changed since it was taken is never a finding."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.app.inventory import open_inventory
from backhaul.app.reconcile.run import Comparison
from backhaul.app.reconcile.streams import S3Listing
from backhaul.core.reconciliation.values import ObjectClass
from tests.inventories import Report, report, row
from tests.unit.test_reconcile_run import FS, HOUR, World

MINUTE = timedelta(minutes=1)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, create=True)
    yield World(ledger, path)
    ledger.close()


class Inventoried:
    """A world and a report of its bucket as it was."""

    def __init__(self, world: World, directory: Path) -> None:
        self.world = world
        self._directory = directory
        self._report: Report | None = None
        self.taken_at = world.clock.now()

    def take(self) -> None:
        """The report is of now."""
        world = self.world
        self.taken_at = world.clock.now()
        rows = []
        for key in world.store.below("raw", ""):
            pin = world.pin(key)
            changed = pin.last_modified.isoformat()
            rows.append(row(key, pin.size_bytes, pin.etag, LastModifiedDate=changed))
        millis = str(int(self.taken_at.timestamp() * 1000))
        self._report = report(rows, creationTimestamp=millis)
        world.clock.advance(HOUR.total_seconds())

    def classes(self) -> dict[str, ObjectClass]:
        """By path below the landing directory."""
        found: dict[str, ObjectClass] = {}
        with self.comparison() as comparison:
            comparison.run(
                lambda one, root: found.update({one.row.path.removeprefix("/landing/"): one.found})
            )
        return found

    @contextmanager
    def comparison(self) -> Iterator[Comparison]:
        world = self.world
        assert self._report is not None
        path = self._report.write(self._directory)
        reader = open_reader(world.path)
        with open_inventory(
            str(path),
            AwsSession("us-east-1"),
            world.store,
            sources=world.route.sources or (),
            now=world.clock.now(),
        ) as inventory:
            yield Comparison(
                route=world.route,
                options=world.options,
                inventory=inventory,
                objects=S3Listing(store=inventory.store),
                store=world.store,
                reader=reader,
                pool=world.pool(),
                default_fs=FS,
                now=world.clock.now,
                warn=world.warnings.append,
            )
        reader.close()


@pytest.fixture
def inventoried(world: World, tmp_path: Path) -> Inventoried:
    """One object was brought before the report was taken."""
    world.store.put("in/a", b"A")
    world.bring("in/", "", ["a"])
    world.clock.advance(HOUR.total_seconds())
    return Inventoried(world, tmp_path / "report")


def lists(world: World) -> int:
    return world.store._faults.count("store.list")


def test_what_is_the_same_costs_no_request(inventoried: Inventoried) -> None:
    inventoried.take()
    before = lists(inventoried.world)
    assert inventoried.classes() == {"a": ObjectClass.SAME}
    assert lists(inventoried.world) == before


def test_findings_are_found(inventoried: Inventoried) -> None:
    world = inventoried.world
    world.store.put("in/b", b"B")
    world.store.put("in/c", b"C")
    world.store.put("in/d", b"D")
    world.target.put("/landing/c", b"other")
    world.target.put("/landing/d", b"d")
    world.target.put("/landing/e", b"E")
    world.clock.advance(HOUR.total_seconds())
    inventoried.take()
    assert inventoried.classes() == {
        "a": ObjectClass.SAME,
        "b": ObjectClass.MISSING,
        "c": ObjectClass.DIFFERS,
        "d": ObjectClass.UNPROVED,
        "e": ObjectClass.EXTRA,
    }


def test_what_came_since_is_too_young(inventoried: Inventoried) -> None:
    inventoried.take()
    world = inventoried.world
    world.store.put("in/b", b"B")
    world.bring("in/b", "", ["b"])
    world.target.put("/landing/c", b"C")
    before = lists(world)
    assert inventoried.classes() == {
        "a": ObjectClass.SAME,
        "b": ObjectClass.TOO_YOUNG,
        "c": ObjectClass.TOO_YOUNG,
    }
    assert lists(world) == before


def test_what_was_written_anew_since_is_too_young(inventoried: Inventoried) -> None:
    inventoried.take()
    world = inventoried.world
    world.store.put("in/a", b"AA")
    world.bring("in/a", "", ["a"])
    assert inventoried.classes() == {"a": ObjectClass.TOO_YOUNG}


def test_what_is_gone_since_is_not_missing(inventoried: Inventoried) -> None:
    world = inventoried.world
    world.store.put("in/b", b"B")
    inventoried.take()
    world.store.remove("in/b")
    assert inventoried.classes() == {"a": ObjectClass.SAME}


@pytest.mark.parametrize(
    "late", [timedelta(0), -MINUTE], ids=["right before", "a minute before, and not in it"]
)
def test_an_inventory_that_lags_makes_nothing_extra(
    inventoried: Inventoried, late: timedelta
) -> None:
    """S3 may leave out what was written shortly before it was taken."""
    inventoried.take()
    world = inventoried.world
    moved = inventoried.taken_at + late - world.clock.now()
    world.clock.advance(moved.total_seconds())
    world.store.put("in/b", b"B")
    world.bring("in/b", "", ["b"])
    world.clock.advance(HOUR.total_seconds())
    found = inventoried.classes()
    assert found["b"] in {ObjectClass.SAME, ObjectClass.TOO_YOUNG}


def test_a_state_that_the_inventory_has_not_yet_is_no_step_back(inventoried: Inventoried) -> None:
    inventoried.take()
    world = inventoried.world
    world.clock.advance((inventoried.taken_at - MINUTE - world.clock.now()).total_seconds())
    world.store.put("in/a", b"AA")
    world.bring("in/a", "", ["a"])
    world.clock.advance(2 * HOUR.total_seconds())
    assert inventoried.classes() == {"a": ObjectClass.SAME}


def test_the_report_is_named(inventoried: Inventoried) -> None:
    inventoried.take()
    with inventoried.comparison() as comparison:
        found = comparison.run(lambda _one, _root: None)
    assert "manifest.json of " in found.inventory
