"""The crash table: the agent stopped at every external call, in every way, ends in the same state.

A scenario is run once untouched; each call it made is then made to fail, to lose its answer and to
be the process's last, each in a world of its own. Afterwards a new process drains the queue.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.adapters.ledger.sqlite.engine import writing_engine
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import EngineName, OnExists, PublishMode
from backhaul.testing.fakes import Fault, Killed
from tests.world import World, route

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from sqlalchemy import Engine

OLD = {name: b"old " + name.encode() for name in ("a.parquet", "sub/b.parquet", "_SUCCESS")}
NEW = {name: b"the new content of " + name.encode() for name in OLD}
QUESTIONS = frozenset(
    {
        *("store.list", "store.current", "store.endpoint", "store.get", "pool.session"),
        *(
            "target.status",
            "target.names",
            "target.read",
            "target.entries",
            "target.stored_checksums",
        ),
        *("cluster.find", "cluster.progress", "ledger.jobs"),
        *("ledger.published", "ledger.staged", "ledger.planned_totals", "ledger.plan"),
    }
)
# What cannot fail in a way that matters: the clock of a queue poll that brings nothing.
UNTOUCHED = frozenset({"queue.extend"})


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One message.

    Attributes:
        before: Files at the final paths, from elsewhere.
        is_tree: The tree must appear at once; else each file for itself.
    """

    name: str
    body: str
    source: dict[str, bytes]
    final: str
    before: dict[str, bytes]
    publish: PublishMode = PublishMode.AUTO
    on_exists: OnExists = OnExists.REPLACE
    is_tree: bool = False
    engine: EngineName = EngineName.AUTO
    source_prefix: str = "p/"


ONE = {"a.parquet": NEW["a.parquet"]}
# Where nothing may be replaced, what an attempt has published itself must be recognised.
SCENARIOS = [
    Scenario(
        name="object",
        body="raw/p/a.parquet, /land/d",
        source=ONE,
        final="d",
        before={},
        on_exists=OnExists.FAIL,
    ),
    Scenario(
        name="object replaces",
        body="raw/p/a.parquet, /land/d",
        source=ONE,
        final="d",
        before={"a.parquet": OLD["a.parquet"]},
    ),
    Scenario(
        name="tree",
        body="raw/p/, /land/d",
        source=NEW,
        final="d",
        before={},
        publish=PublishMode.ATOMIC_DIR,
        on_exists=OnExists.FAIL,
        is_tree=True,
    ),
    Scenario(
        name="per file",
        body="raw/p/, /land/d",
        source=NEW,
        final="d",
        before={},
        publish=PublishMode.PER_FILE,
        on_exists=OnExists.FAIL,
    ),
    Scenario(name="prefix replaces", body="raw/p/, /land/d", source=NEW, final="d", before=OLD),
    Scenario(
        name="distcp",
        body="raw/p/, /land/d",
        source=NEW,
        final="d",
        before={},
        engine=EngineName.DISTCP,
        is_tree=True,
    ),
]


class Check:
    """Holds what must be true after every single effect."""

    def __init__(self, world: World, scenario: Scenario) -> None:
        self.world = world
        self.scenario = scenario
        self.deleted = 0

    def __call__(self, call: str) -> None:
        if call.startswith(("target.", "queue.")):
            self.nothing_is_half_there()
        if call == "queue.delete":
            assert self.is_complete(), "deleted before everything was published"
            assert self.world.states == ["done"], "deleted before the ledger said done"

    def finals(self) -> dict[str, bytes]:
        prefix = f"{self.scenario.final}/"
        landed = self.world.landed().items()
        return {path.removeprefix(prefix): data for path, data in landed}

    def nothing_is_half_there(self) -> None:
        scenario, found = self.scenario, self.finals()
        for name, data in found.items():
            assert data in {scenario.source[name], scenario.before.get(name)}, f"{name}: {data!r}"
        assert scenario.before.keys() <= found.keys(), "what was there is gone"
        if scenario.is_tree:
            assert len(found) in {0, len(scenario.source)}, "half a tree"
        if found.get("_SUCCESS") == scenario.source.get("_SUCCESS", b"none"):
            assert self.is_complete(), "_SUCCESS before the rest"

    def is_complete(self) -> bool:
        return self.finals() == self.scenario.source


@pytest.fixture(scope="module")
def shelf() -> Iterator[Engine]:
    """In memory where there is such a place: a thousand ledgers, each synced at every commit."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        path = Path(name) / "ledger.db"
        open_ledger(path, create=True).close()
        engine = writing_engine(path)
        yield engine
        engine.dispose()


def world_of(scenario: Scenario, shelf: Engine) -> World:
    world = World(Path("/nowhere"), engine=shelf, has_cluster=scenario.engine is EngineName.DISTCP)
    world.routes = (
        route(publish=scenario.publish, on_exists=scenario.on_exists, engine=scenario.engine),
    )
    for name, data in scenario.source.items():
        world.store.put(scenario.source_prefix + name, data)
    for name, data in scenario.before.items():
        world.target.put(f"/land/{scenario.final}/{name}", data)
    world.faults.after_effect = Check(world, scenario)
    world.queue.send(scenario.body)
    return world


def calls_of(scenario: Scenario, shelf: Engine) -> list[tuple[str, int]]:
    """Every external call of an undisturbed run."""
    world = world_of(scenario, shelf)
    world.drain()
    check_end(world, scenario)
    return [call for call in world.faults.log if call[0] not in UNTOUCHED]


def check_end(world: World, scenario: Scenario) -> None:
    check = Check(world, scenario)
    assert check.is_complete()
    assert world.queue.remaining == []
    assert world.queue.dead_letters == []
    assert world.states == ["done"]
    assert world.staging() == []
    assert world.cluster.running == [], "an application is left running"
    tags = [job.tags[1] for job in world.cluster.jobs]
    assert len(tags) == len(set(tags)), "a second application for one epoch"


def stop_and_restart(
    scenario: Scenario, shelf: Engine, call: tuple[str, int], arm: Callable[[World], None]
) -> None:
    world = world_of(scenario, shelf)
    try:
        with world.process() as ports:
            arm(world)
            world.agent(ports).run()
    except Killed:
        pass
    world.clock.advance(13 * 3600)  # whatever that process left invisible comes back
    world.drain()
    check_end(world, scenario)
    assert call in world.faults.log


def kill(call: tuple[str, int]) -> Callable[[World], None]:
    return lambda world: world.faults.at(*call, Fault.KILL)


def fault(
    call: tuple[str, int], how: Fault, error: BackhaulError | None = None
) -> Callable[[World], None]:
    return lambda world: world.faults.at(*call, how, error)


def down(call: tuple[str, int]) -> OutageError | None:
    """The dependency behind the call as down; None where that is the default already."""
    port = call[0].split(".")[0]
    name = {"target": "hdfs", "store": "s3", "pool": "target", "cluster": "yarn"}.get(port)
    return None if name is None else OutageError.of(name, "E_DOWN", f"{call} is down")


WAYS: dict[str, Callable[[tuple[str, int]], Callable[[World], None]]] = {
    "killed before": kill,
    "fails before": lambda call: fault(call, Fault.FAIL),
    "answer lost": lambda call: fault(call, Fault.LOST),
    "down before": lambda call: fault(call, Fault.FAIL, down(call)),
}


def is_different(name: str, way: str) -> bool:
    """A lost answer to a question is a failed question; ledger and queue fail by being down."""
    if way == "answer lost":
        # A lost COMMIT of `begin` leaves no working mark behind (`SqlLedger._working`), so the
        # fault, which is raised around the whole method, would be another one than SQLite's.
        return name not in QUESTIONS | {"ledger.begin"}
    return way != "down before" or not name.startswith(("ledger.", "queue."))


def test_no_sweep_uses_the_one_connection(shelf: Engine) -> None:
    world = world_of(SCENARIOS[0], shelf)
    world.drain()
    assert world.states == ["done"]
    assert world.faults.count("ledger.abandoned_staging") == 0


KILLED, *OTHERS = WAYS
IN_EACH_RUN = {"killed before": (KILLED,), "each call in one of the other ways": tuple(OTHERS)}
IN_FULL = {way: (way,) for way in OTHERS}


def in_turn(
    calls: list[tuple[str, int]], ways: tuple[str, ...]
) -> list[tuple[tuple[str, int], str]]:
    """Each call with one of the ways that make a difference there."""
    found = []
    for number, call in enumerate(calls):
        possible = [way for way in ways if is_different(call[0], way)]
        found += [(call, possible[number % len(possible)])] if possible else []
    return found


@pytest.mark.parametrize(
    "ways",
    [
        *(pytest.param(ways, id=name) for name, ways in IN_EACH_RUN.items()),
        *(pytest.param(ways, id=name, marks=pytest.mark.long) for name, ways in IN_FULL.items()),
    ],
)
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_stop_at_any_call_ends_in_the_same_state(
    scenario: Scenario, ways: tuple[str, ...], shelf: Engine
) -> None:
    stops = in_turn(calls_of(scenario, shelf), ways)
    assert len(stops) > 10
    assert {way for _, way in stops} == set(ways)
    wrong = []
    for call, way in stops:
        try:
            stop_and_restart(scenario, shelf, call, WAYS[way](call))
        except (AssertionError, BackhaulError) as error:
            wrong.append(f"{call}: {type(error).__name__}: {error}")
    assert not wrong, "\n".join(wrong)
