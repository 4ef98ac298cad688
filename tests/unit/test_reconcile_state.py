"""`--state`: whatever an ended comparison left there, the same command goes on or begins anew."""

from __future__ import annotations

import fcntl
import json
import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from zlib import crc32

import pytest

from backhaul import spool
from backhaul.app.reconcile.parts import PartFiles, ends, part_files
from backhaul.app.reconcile.run import ReconcileOptions
from backhaul.core.errors import BadArgument
from tests.unit.test_reconcile_run import HOUR, World
from tests.unit.test_reconcile_run import world as world  # noqa: PLC0414 - a fixture

pytestmark = pytest.mark.slow  # a world of S3, ledger and target each

DAY = 24 * HOUR


@pytest.fixture
def state(world: World, tmp_path: Path) -> Path:
    """An ended comparison of three parts, all of them complete."""
    for number in range(3):
        world.put(f"in/d{number}/a")
    world.bring("in/d0/", "d0", ["a"])
    world.later()
    path = tmp_path / "state"
    world.options = ReconcileOptions(state=path)
    end(world)
    return path


def end(world: World) -> None:
    """A comparison that is killed before its report is complete."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PartFiles, "remove", _killed)
        with pytest.raises(KeyboardInterrupt):
            world.reconcile()


def said(world: World) -> list[str]:
    return [str(one).partition(": ")[2].rpartition(": ")[2] for one in world.warnings]


def sealed(text: str) -> bytes:
    line = f"{text}\n".encode()
    return line + b'{"crc32": "%08x"}\n' % crc32(line)


def test_it_goes_on_with_the_parts_that_are_there(world: World, state: Path) -> None:
    world.put("in/d1/new")
    world.later()
    assert world.classes() == {"d0/a": "same", "d1/a": "missing", "d2/a": "missing"}
    assert world.warnings == []
    assert list(state.iterdir()) == []
    assert "d1/new" in world.classes()


def test_since_of_a_span_goes_on_the_day_after(world: World, tmp_path: Path) -> None:
    """The same command line: `--since 1d` was another moment, and the state was refused."""
    world.put("in/a")
    world.bring("in/", "", ["a"])
    world.later()
    world.put("in/b")
    world.later()

    def typed() -> ReconcileOptions:
        since = world.clock.now() - DAY
        return ReconcileOptions(since=since, since_text="1d", state=tmp_path / "state")

    world.options = typed()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(PartFiles, "run", _killed)
        with pytest.raises(KeyboardInterrupt):
            world.reconcile()
    world.later(DAY)
    world.options = typed()
    assert world.classes() == {"a": "same", "b": "missing"}
    assert world.warnings == []


def _killed(*_any: object) -> None:
    raise KeyboardInterrupt


def test_a_transfer_to_elsewhere_does_not_end_it(world: World, state: Path) -> None:
    """The places are those of the plan, whatever the ledger has now."""
    world.bring("in/d1/", "elsewhere", ["a"])
    assert world.classes() == {"d0/a": "same", "d1/a": "missing", "d2/a": "missing"}
    assert world.warnings == []
    assert list(state.iterdir()) == []
    assert "elsewhere/a" in world.classes()


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"settle": timedelta(0)}, "--settle"),
        ({"since_text": "2d"}, "--since"),
        ({"deep": 0.5}, "--deep"),
        ({"is_adopting": True}, "--adopt"),
    ],
)
def test_other_options_begin_anew_and_name_what_is_other(
    world: World, state: Path, changed: dict[str, Any], what: str
) -> None:
    world.put("in/d1/new")
    world.later()
    world.options = replace(world.options, **changed)
    assert "d1/new" in world.classes()
    assert said(world) == [f"it was begun with another {what}, so the comparison begins anew"]
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(("age", "is_kept"), [(7 * DAY, True), (7 * DAY + HOUR, False)])
def test_a_comparison_of_last_week_begins_anew(
    world: World, state: Path, age: timedelta, *, is_kept: bool
) -> None:
    world.put("in/d1/new")
    world.later(age)
    assert ("d1/new" not in world.classes()) is is_kept
    why = "it was begun more than 7 days ago, so the comparison begins anew"
    assert said(world) == ([] if is_kept else [why])
    assert list(state.iterdir()) == []


def test_places_that_do_not_agree_are_found_again(world: World, tmp_path: Path) -> None:
    """`areas_of` reads them twice then."""
    world.put("in/d/a", "in/e/b", "in/f/c")
    world.bring("in/d/", "one", ["a"])
    world.bring("in/e/", "two", ["b"])
    world.later()
    world.options = ReconcileOptions(state=tmp_path / "state")
    end(world)
    kept = {one.name: one.stat().st_mtime_ns for one in tmp_path.glob("state/part-*")}
    end(world)
    assert {one.name: one.stat().st_mtime_ns for one in tmp_path.glob("state/part-*")} == kept
    assert world.classes() == {"one/a": "same", "two/b": "same"}
    assert world.warnings == []


def test_another_configuration_of_the_route_begins_anew(world: World, state: Path) -> None:
    world.route = replace(world.route, event_destination="/landing/x/{rel_dir}/")
    assert "x/d1/a" in world.classes()
    (why,) = said(world)
    assert why.startswith("it was begun with another configuration of the route")
    assert list(state.iterdir()) == []


def test_another_route_is_refused(world: World, state: Path) -> None:
    before = {one: one.read_bytes() for one in state.iterdir()}
    world.route = replace(world.route, name="other", event_destination="/landing/{rel_dir}/")
    with pytest.raises(BadArgument, match="a comparison of another route") as caught:
        world.reconcile()
    assert caught.value.code == "E_RECONCILE_STATE"
    assert {one: one.read_bytes() for one in state.iterdir()} == before


@pytest.mark.parametrize("is_empty", [False, True])
def test_places_that_cannot_be_found_again_begin_anew(
    world: World, state: Path, *, is_empty: bool
) -> None:
    plan = state / "plan.json"
    kept = json.loads(plan.read_bytes().splitlines()[0])
    if is_empty:
        kept["places"] = []
    else:
        kept["places"][0]["prefix"] = "other/"
    plan.write_bytes(sealed(json.dumps(kept)))
    world.put("in/d1/new")
    world.later()
    assert "d1/new" in world.classes()
    (why,) = said(world)
    assert why == "where its objects belong cannot be found again, so the comparison begins anew"


# ---------------------------------------------------------------- damage


@pytest.mark.parametrize("size", [0, 1, 5, 100, -1, -25])
def test_a_plan_that_is_cut_begins_anew(world: World, state: Path, size: int) -> None:
    plan = state / "plan.json"
    plan.write_bytes(plan.read_bytes()[:size])
    world.put("in/d1/new")
    world.later()
    assert "d1/new" in world.classes()
    assert said(world) == ["its plan is damaged, so the comparison begins anew"]
    assert list(state.iterdir()) == []


@pytest.mark.parametrize(
    ("old", "new"), [('"started_us": ', '"started_us": "x'), ('"area": 0', '"area": 9')]
)
def test_a_plan_that_was_changed_begins_anew(world: World, state: Path, old: str, new: str) -> None:
    plan = state / "plan.json"
    text = plan.read_text()
    assert old in text
    plan.write_text(text.replace(old, new, 1))
    assert "d1/a" in world.classes()
    assert said(world) == ["its plan is damaged, so the comparison begins anew"]


def test_a_plan_of_another_shape_begins_anew(world: World, state: Path) -> None:
    text = (state / "plan.json").read_text().splitlines()[0]
    (state / "plan.json").write_bytes(sealed(text.replace("started_us", "begun_us")))
    assert "d1/a" in world.classes()
    assert said(world) == [
        "its plan is of another version of Backhaul, so the comparison begins anew"
    ]


@pytest.mark.parametrize("size", [0, 1, 100, -1, -25, -26])
def test_a_part_that_is_cut_is_compared_again(world: World, state: Path, size: int) -> None:
    part = max(state.glob("part-*.jsonl"), key=lambda one: one.stat().st_size)
    part.write_bytes(part.read_bytes()[:size])
    assert world.classes() == {"d0/a": "same", "d1/a": "missing", "d2/a": "missing"}
    assert said(world) == [f"{part.name} is damaged and is compared again"]


def test_a_part_with_one_other_byte_is_compared_again(world: World, state: Path) -> None:
    part = max(state.glob("part-*.jsonl"), key=lambda one: one.stat().st_size)
    text = part.read_bytes()
    assert b"missing" in text
    part.write_bytes(text.replace(b"missing", b"excluded"))
    assert world.classes() == {"d0/a": "same", "d1/a": "missing", "d2/a": "missing"}
    assert said(world) == [f"{part.name} is damaged and is compared again"]


@pytest.mark.parametrize("left", ["plan.partial", "part-000000.jsonl", "part-000001.partial"])
def test_what_a_kill_leaves_without_a_plan_is_removed(world: World, state: Path, left: str) -> None:
    """While the plan was written, or while the directory was emptied."""
    for one in state.iterdir():
        one.unlink()
    (state / left).write_bytes(b"[half a li")
    assert world.classes() == {"d0/a": "same", "d1/a": "missing", "d2/a": "missing"}
    assert world.warnings == []
    assert list(state.iterdir()) == []


def test_emptying_begins_with_the_plan(state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unlink, removed = Path.unlink, []

    def noted(path: Path, **named: bool) -> None:
        removed.append(path.name)
        unlink(path, **named)

    monkeypatch.setattr(Path, "unlink", noted)
    with part_files(state, ends) as files:
        files.remove()
    assert removed[0] == "plan.json"
    assert len(removed) > 1
    assert list(state.iterdir()) == []


# ---------------------------------------------------------------- two commands


def test_two_commands_do_not_use_one_directory_at_once(world: World, state: Path) -> None:
    before = {one: one.read_bytes() for one in state.iterdir()}
    with part_files(state, ends):
        with pytest.raises(BadArgument, match="another command is using it") as caught:
            world.reconcile()
        assert caught.value.code == "E_RECONCILE_STATE"
        assert {one: one.read_bytes() for one in state.iterdir()} == before
    assert "d1/a" in world.classes()


def test_a_directory_that_cannot_be_locked_is_refused(
    state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def flock(_descriptor: int, _operation: int) -> None:
        raise OSError(9, os.strerror(9))

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(BadArgument, match="it cannot be locked: Bad file descriptor") as caught,
        part_files(state, ends),
    ):
        pytest.fail("it is not locked")
    assert caught.value.hint == "name a directory on a local disk"


# ---------------------------------------------------------------- without a directory


def test_parts_without_state_are_on_disk_and_not_in_memory(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.put("in/a")
    world.bring("in/", "", ["a"])
    disk = tmp_path / "disk"
    disk.mkdir()
    monkeypatch.delenv("TMPDIR", raising=False)
    monkeypatch.setattr(spool, "ON_DISK", disk)
    world.options = ReconcileOptions(jobs=2)
    run = PartFiles.run
    seen: list[str] = []

    def noted(files: PartFiles, *arguments: Any) -> None:
        seen.extend(one.name for one in disk.glob("backhaul-*/plan.json"))
        run(files, *arguments)

    monkeypatch.setattr(PartFiles, "run", noted)
    assert world.classes() == {"a": "same"}
    assert seen == ["plan.json"]
    assert list(disk.iterdir()) == []
