"""Where staging is, and that it gives files what their final directories give."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.sweeping import sweep_abandoned
from backhaul.core.errors import CannotWrite, OutageError
from backhaul.core.model import Location, PublishMode
from backhaul.core.objects import FileStatus
from backhaul.core.ports import Inherited, WriteRefusal
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.listing import list_pages
from backhaul.core.transfer.placing import (
    Placing,
    holds_files,
    other_roots,
    staging_anchor,
    staging_root,
)
from backhaul.testing.fakes import Fault, Killed
from tests.world import World, location, route

LAND = location("/land")
D = location("/land/a/d")


@pytest.mark.parametrize(
    ("existing", "is_tree", "anchor"),
    [
        ("/land/a/d", True, "/land/a/d"),
        ("/land/a", True, "/land/a"),
        ("/land/a", False, "/land/a"),
        ("/land", True, "/land"),
        ("/", True, "/land"),
        ("/", False, "/land"),
    ],
)
def test_staging_is_in_the_nearest_directory_at_or_below_the_route_s(
    existing: str, anchor: str, *, is_tree: bool
) -> None:
    found = staging_anchor(LAND, D, location(existing), is_tree=is_tree)
    assert found == location(anchor)


def test_only_a_tree_that_becomes_the_route_s_directory_waits_above_it() -> None:
    root = location("/")
    assert staging_anchor(LAND, LAND, root, is_tree=True) == root
    assert staging_anchor(LAND, LAND, root, is_tree=False) == LAND
    assert staging_anchor(LAND, LAND, LAND, is_tree=True) == LAND


def test_a_name_that_only_begins_alike_is_another_directory() -> None:
    landing = location("/landing")
    assert staging_anchor(LAND, LAND.join("d"), landing, is_tree=True) == LAND


def test_other_roots_are_above_up_to_the_route_s_directory() -> None:
    assert other_roots(LAND, D, D) == [
        staging_root(location("/land/a"), D),
        staging_root(LAND, D),
    ]
    assert other_roots(LAND, LAND, D) == []


def test_other_roots_of_a_tree_that_is_the_route_s_directory_are_above_it() -> None:
    deep = location("/x/land")
    assert other_roots(deep, deep, deep) == [
        staging_root(location("/x"), deep),
        staging_root(location("/"), deep),
    ]
    assert other_roots(deep, location("/x"), deep) == [staging_root(location("/"), deep)]
    assert other_roots(LAND, location("/"), LAND) == []


@pytest.mark.parametrize(
    ("place", "holds"), [("/land", True), ("/land/a/d", True), ("/land/a/d/s", False)]
)
def test_files_are_in_the_target_directory_s_root_or_above(place: str, *, holds: bool) -> None:
    assert holds_files(staging_root(location(place), D), D) is holds


# ---------------------------------------------------------------- a whole agent


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.store.put("p/a", b"content of a")
    return world


def killed_at(world: World, call: str) -> None:
    world.faults.at(call, 1, Fault.KILL)
    with pytest.raises(Killed):
        world.drain()


def at(world: World, call: str, happen: Callable[[], None]) -> None:
    """Once, right after the effect of this call."""
    calls: list[str] = []

    def after(name: str) -> None:
        if name == call and not calls:
            calls.append(name)
            happen()

    world.faults.after_effect = after


@pytest.fixture
def owned(world: World) -> World:
    """`/land` is etl's, `/land/d` finance's and erasure-coded, `/land/d/s` audit's."""
    world.target.own("/land", group="etl")
    world.target.own("/land/d", group="finance", policy="RS")
    world.target.own("/land/d/s", group="audit", policy="RS")
    for key in ("p/a", "p/s/b", "p/s/t/c", "p/new/e"):
        world.store.put(key, key.encode())
    return world


def given(world: World, *paths: str) -> list[tuple[str, str]]:
    return [world.target.given(path) for path in paths]


def test_files_are_as_if_written_there(owned: World) -> None:
    owned.queue.send("raw/p/, /land/d")
    owned.drain()

    assert owned.states == ["done"]
    assert given(owned, "/land/d/a", "/land/d/new/e") == [("finance", "RS")] * 2
    assert given(owned, "/land/d/s/b", "/land/d/s/t/c") == [("audit", "RS")] * 2
    assert owned.staging() == []


def test_a_zone_further_down_is_refused_before_anything_is_visible(owned: World) -> None:
    owned.target.own("/land/d/t", group="finance", policy="RS", is_zone=True)
    owned.store.put("p/t/d", b"for the zone")
    owned.queue.send("raw/p/, /land/d")
    owned.drain()

    (letter,) = owned.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_DST_EZ"
    assert owned.landed() == {}
    assert owned.staging() == []


def put_in_the_way(world: World, how: str) -> None:
    match how:
        case "E_DST_PARENT_FILE":
            world.target.put("/land/d/t", b"of others")
            return
        case "E_DST_MOUNT":
            world.target.mounts.add("/land/d/t")
        case _:
            is_readonly = how == "E_DST_READONLY"
            refused = WriteRefusal(user="etl", why="not for you", is_readonly=is_readonly)
            world.target.closed["/land/d/t"] = refused
    world.target.own("/land/d/t")


IN_THE_WAY = ["E_DST_PARENT_FILE", "E_DST_MOUNT", "E_DST_DENIED", "E_DST_READONLY"]


@pytest.mark.parametrize("how", IN_THE_WAY)
@pytest.mark.parametrize("key", ["p/t/d", "p/t/new/d"])
def test_what_ends_the_renames_is_refused_before_anything_is_visible(
    owned: World, how: str, key: str
) -> None:
    put_in_the_way(owned, how)
    there = owned.landed()
    owned.store.put(key, b"cannot go there")
    owned.queue.send("raw/p/, /land/d")
    owned.drain()

    (letter,) = owned.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == how
    assert "/land/d/t" in letter.reason.sentence
    assert owned.landed() == there
    assert owned.staging() == []


@pytest.mark.parametrize("how", IN_THE_WAY)
def test_what_comes_in_the_way_meanwhile_is_refused_before_anything_is_visible(
    world: World, how: str
) -> None:
    world.target.own("/land")
    world.store.put("p/t/d", b"cannot go there")
    world.queue.send("raw/p/, /land/d")
    at(world, "target.close", lambda: put_in_the_way(world, how))
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == how
    assert set(world.landed()) <= {"d/t"}


def test_below_a_directory_that_takes_no_names_may_be_one_that_does(owned: World) -> None:
    owned.target.own("/land/d/t/open")
    owned.target.closed["/land/d/t"] = WriteRefusal(user="etl", why="not for you")
    owned.store.put("p/t/open/d", b"may go there")
    owned.queue.send("raw/p/, /land/d")
    owned.drain()

    assert owned.states == ["done"]
    assert owned.landed()["d/t/open/d"] == b"may go there"


def test_a_policy_alone_needs_no_directory_made_elsewhere(world: World) -> None:
    world.target.own("/land/d", group="etl")
    world.target.own("/land/d/p", group="etl", policy="RS")
    world.store.put("x/p/a", b"a")
    world.queue.send("raw/x/, /land/d")
    world.drain()

    assert given(world, "/land/d/p/a") == [("etl", "RS")]
    assert world.faults.count("ledger.note_staging") == 0


def test_nothing_is_asked_for_files_without_a_directory_of_their_own(world: World) -> None:
    world.target.own("/land/d", group="finance")
    world.store.put("x/a", b"a")
    world.queue.send("raw/x/, /land/d")
    world.drain()

    assert given(world, "/land/d/a") == [("finance", "")]
    assert world.faults.count("target.inherited") == 0


def test_one_question_for_all_directories_of_a_level(world: World) -> None:
    world.target.own("/land/d", group="finance")
    for number in range(50):
        world.store.put(f"x/day={number}/a", b"a")
    world.queue.send("raw/x/, /land/d")
    world.drain()

    assert world.faults.count("target.inherited") == 2  # of the target itself, and of its 50


def test_what_is_made_in_a_final_directory_and_left_is_swept(owned: World) -> None:
    owned.queue.send("raw/p/, /land/d")
    killed_at(owned, "target.rename")
    assert [path for path in owned.staging() if path.startswith("/land/d/s/")]
    owned.clock.advance(3600)
    with owned.process() as ports:
        sweep_abandoned(ports, Policy(routes=owned.routes))

    assert owned.staging() == []


def test_a_directory_that_appears_and_gives_the_same_is_used(world: World) -> None:
    world.target.own("/land", group="etl")
    world.queue.send("raw/p/, /land/d")
    at(world, "target.close", lambda: world.target.own("/land/d", group="etl"))
    world.drain()

    assert [fact.publish for fact in world.all_of(events.TransferDone)] == ["per-file"]
    assert given(world, "/land/d/a") == [("etl", "")]


@pytest.mark.parametrize("body", ["raw/p/, /land/d", "raw/p/a, /land/d"])
def test_a_directory_that_appears_and_gives_something_else_is_staged_in(
    world: World, body: str
) -> None:
    world.target.own("/land", group="etl")
    world.queue.send(body)
    at(world, "target.close", lambda: world.target.own("/land/d", group="finance", policy="RS"))
    world.drain()

    (failed,) = world.all_of(events.AttemptFailed)
    assert failed.code == "E_DST_MOVED"
    assert world.states == ["done"]
    assert given(world, "/land/d/a") == [("finance", "RS")]
    assert world.staging() == []


def test_a_directory_further_down_that_appears_counts_too(owned: World) -> None:
    owned.target.remove("/land/d")
    owned.queue.send("raw/p/, /land/d")

    def appear() -> None:
        owned.target.own("/land/d", group="etl")
        owned.target.own("/land/d/s", group="audit")

    at(owned, "target.close", appear)
    owned.drain()

    assert [fact.code for fact in owned.all_of(events.AttemptFailed)] == ["E_DST_MOVED"]
    assert given(owned, "/land/d/a", "/land/d/s/b") == [("etl", ""), ("audit", "")]


def test_a_target_directory_that_is_removed_costs_one_attempt(world: World) -> None:
    world.target.own("/land/d", group="finance")
    world.target.put("/land/d/old", b"old")
    world.queue.send("raw/p/, /land/d")
    at(world, "target.close", lambda: world.target.remove("/land/d"))
    world.drain()

    assert len(world.all_of(events.AttemptFailed)) == 1
    assert world.states == ["done"]
    assert world.staging() == []


def test_staging_that_an_earlier_version_left_below_the_route_is_fenced(world: World) -> None:
    """The claim before was anchored at the route's directory, as all were once."""
    world.routes = (route(publish=PublishMode.PER_FILE),)
    world.target.own("/land", group="etl")
    world.queue.send("raw/p/, /land/d")
    killed_at(world, "target.rename")
    (old,) = {path for path in world.staging() if path.endswith("/1")}
    assert old.startswith("/land/.backhaul/")
    world.target.own("/land/d", group="finance")
    world.clock.advance(3600)
    world.drain()

    assert given(world, "/land/d/a") == [("finance", "")]
    assert world.staging() == []


def test_staging_of_a_lost_ledger_is_removed_wherever_it_was(world: World) -> None:
    world.target.own("/land/d", group="finance")
    forgotten = staging_root(LAND, location("/land/d"))
    world.target.put(f"{forgotten.path}/7/a", b"forgotten")
    world.queue.send("raw/p/, /land/d")
    world.drain()

    assert world.staging() == []


def test_staging_of_a_lost_ledger_is_removed_above_the_route_s_directory_too(world: World) -> None:
    world.target.own("/land", group="etl")
    world.target.put(f"{staging_root(location('/'), LAND).path}/7/a", b"forgotten")
    world.queue.send("raw/p/, /land")
    world.drain()

    assert world.states == ["done"]
    assert world.staging() == []


def test_a_directory_above_that_is_closed_to_the_user_holds_nothing_of_its_own(
    world: World,
) -> None:
    """Who cannot enter it cannot rename out of it, and never staged there."""
    world.target.own("/land", group="etl")
    closed = staging_root(location("/"), LAND)
    status = world.target.status

    def refuse(path: str) -> FileStatus | None:
        if path == closed.path:
            raise CannotWrite("E_DST_DENIED", f"{path}: permission denied")
        return status(path)

    world.target.status = refuse  # type: ignore[method-assign]
    world.queue.send("raw/p/, /land")
    world.drain()

    assert world.states == ["done"]


OUTAGE = OutageError.of("hdfs", "E_HDFS_UNREACHABLE", "refused")


@pytest.mark.parametrize("fault", [Fault.KILL, Fault.FAIL])
@pytest.mark.parametrize(("call", "number"), [("target.status", 2), ("target.remove", 1)])
def test_staging_of_a_lost_ledger_is_removed_although_the_first_try_is_cut_short(
    world: World, call: str, number: int, fault: Fault
) -> None:
    world.target.own("/land/d", group="finance")
    forgotten = staging_root(LAND, location("/land/d"))
    world.target.put(f"{forgotten.path}/7/a", b"forgotten")
    world.queue.send("raw/p/, /land/d")
    world.faults.at(call, number, fault, OUTAGE)
    with suppress(Killed):
        world.drain()
    world.clock.advance(3600)
    world.drain()

    assert world.states == ["done"]
    assert world.staging() == []


ETL = Inherited(group="etl")


class Uniform:
    """A session whose directories all exist and give the same."""

    def __init__(self) -> None:
        self.asked = 0

    def inherited(self, locations: Sequence[Location]) -> list[Inherited]:
        self.asked += len(locations)
        return [ETL for _ in locations]


def test_the_directories_of_a_large_plan_are_not_all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backhaul.core.transfer.placing.GIVEN_MOST", 100)
    session = Uniform()
    placing = Placing(
        session=session,  # type: ignore[arg-type]
        ledger=object(),  # type: ignore[arg-type]
        transfer_id="t1",
        directory=D,
        destination=D,
        staged=staging_root(D, D).join("1"),
        epoch=1,
        now=lambda: pytest.fail("nothing is made"),
    )
    for page in range(50):
        placing.prepare(f"day={page}/hour={hour}/a" for hour in range(10))
        assert len(placing._given) < 200
    placing.check(f"day={number}/a" for number in range(20_000))
    assert len(placing._given) < 2000
    assert session.asked < 25_000


def test_what_is_forgotten_and_asked_for_again_is_made_once(
    owned: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.core.transfer.placing.GIVEN_MOST", 0)
    monkeypatch.setitem(list_pages.__kwdefaults__ or {}, "page_size", 1)
    owned.store.put("p/s/z", b"on a later page")
    owned.queue.send("raw/p/, /land/d")
    owned.drain()

    assert owned.states == ["done"]
    assert given(owned, "/land/d/a", "/land/d/new/e") == [("finance", "RS")] * 2
    assert given(owned, "/land/d/s/z") == [("audit", "RS")]
    assert given(owned, "/land/d/s/b", "/land/d/s/t/c") == [("audit", "RS")] * 2
    assert owned.staging() == []
