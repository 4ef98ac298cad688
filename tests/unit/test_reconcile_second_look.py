"""The second look: names that are no text, and objects that are overwritten under way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.app.reconcile.report import as_json, combined
from backhaul.app.reconcile.run import ReconcileOptions
from backhaul.app.reconcile.second_look import SecondLook
from backhaul.app.reconcile.unfinished import since_epoch_us
from backhaul.core.ports import ListedPage
from backhaul.core.reconciliation.classes import Judge
from backhaul.core.reconciliation.places import areas_of
from backhaul.core.reconciliation.values import (
    ComparedPath,
    ObjectClass,
    ProvenFile,
    Row,
    SourceObject,
    TargetFile,
)
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


# ---------------------------------------------------------------- what is overwritten under way


def as_listed(world: World) -> Callable[[], None]:
    """Once it is called, the first page that is listed is the bucket's state of before."""
    pages, listed = iter([world.store.list_page("raw", "in/")]), world.store.list_page

    def page(*arguments: Any, **named: Any) -> ListedPage:
        return next(pages, None) or listed(*arguments, **named)

    return lambda: setattr(world.store, "list_page", page)


@pytest.mark.parametrize("newer", [b"newer", b"DATA"])
def test_an_object_that_is_overwritten_and_brought_under_way_is_the_same(
    world: World, newer: bytes
) -> None:
    world.put("in/d/a", data=b"data")
    world.bring("in/d/", "d", ["a"])
    world.later()
    goes_back = as_listed(world)
    world.put("in/d/a", data=newer)
    world.bring("in/d/", "d", ["a"])
    world.later()
    goes_back()
    assert world.classes() == {"d/a": "same"}


def test_an_object_that_is_superseded_and_removed_under_way_is_extra(world: World) -> None:
    world.put("in/d/a")
    world.bring("in/d/", "d", ["a"])
    world.later()
    world.put("in/d/a", data=b"newer")
    goes_back = as_listed(world)
    world.store.remove("in/d/a")
    world.later()
    goes_back()
    assert world.classes() == {"d/a": "extra"}


class Looks:
    """A second look at what `raw/in/d/a` and its file were, with what happens at each."""

    def __init__(self, world: World, *happens: Callable[[], None]) -> None:
        self.world = world
        self.happens = [*happens]
        self.looks = 0

    def judge(self) -> Judge:
        self.looks += 1
        now = self.world.clock.now()
        return Judge(
            now_us=lambda: since_epoch_us(now), settle_us=0, cover=lambda _: None, route="r"
        )

    def class_of(self, one: ComparedPath) -> str:
        world = self.world
        (area,) = areas_of(
            replace(world.route, event_destination="/landing/{rel_dir}/"), (), default_fs=FS
        )
        reader = open_reader(world.path)
        asked = reader.proven_at

        def proven_at(filesystem: str, paths: Sequence[str]) -> dict[str, ProvenFile]:
            found = asked(filesystem, paths)
            if self.happens:
                self.happens.pop(0)()
            return found

        reader.proven_at = proven_at  # type: ignore[method-assign]
        look_again = SecondLook(
            route=world.route,
            area=area,
            store=world.store,
            reader=reader,
            pool=world.pool(),
            default_fs=FS,
            judge=self.judge,
        )
        with closing(reader):
            (found,) = look_again([one])
        assert found is not None
        return found.found.value


def a_finding(world: World, found: ObjectClass) -> ComparedPath:
    """Of the object as it is, and the file as it is."""
    path = "/landing/d/a"
    pin, status = world.pin("in/d/a"), world.target.status(path)
    source = SourceObject(
        path, "raw", pin.key, pin.size_bytes, pin.etag, since_epoch_us(pin.last_modified)
    )
    target = None
    if status is not None:
        target = TargetFile(path, status.size_bytes, status.modified_ms)
    return ComparedPath(Row(path, source, None, target), found)


def brings(world: World, data: bytes) -> Callable[[], None]:
    def happens() -> None:
        world.later()
        world.put("in/d/a", data=data)
        world.bring("in/d/", "d", ["a"])

    return happens


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_brought_during_the_look_is_looked_at_once_more(world: World, times: int) -> None:
    world.put("in/d/a", data=b"1234")
    missing = a_finding(world, ObjectClass.MISSING)
    world.bring("in/d/", "d", ["a"])
    looks = Looks(world, *(brings(world, data) for data in (b"12345", b"123456")[:times]))
    assert looks.class_of(missing) == "same"
    assert looks.looks == times + 1


def test_what_never_rests_is_reported_after_some_looks(world: World) -> None:
    world.put("in/d/a")
    missing = a_finding(world, ObjectClass.MISSING)
    world.bring("in/d/", "d", ["a"])
    looks = Looks(world, *(brings(world, bytes(size)) for size in range(5, 15)))
    assert looks.class_of(missing) in {"differs", "unproved"}
    assert looks.looks == 3


def test_an_unproved_file_that_was_brought_since_in_a_newer_state_is_the_same(world: World) -> None:
    world.put("in/d/a", data=b"1234")
    world.target.mkdirs("/landing/d")
    world.target.put("/landing/d/a", b"from")
    unproved = a_finding(world, ObjectClass.UNPROVED)
    brings(world, b"newer")()
    assert Looks(world).class_of(unproved) == "same"


def test_what_did_not_change_is_looked_at_once(world: World) -> None:
    world.put("in/d/a", data=b"1234")
    missing = a_finding(world, ObjectClass.MISSING)
    looks = Looks(world)
    assert (looks.class_of(missing), looks.looks) == ("missing", 1)
