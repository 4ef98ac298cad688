"""The cluster's engine where the world has moved on meanwhile, and plans too long for memory."""

from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.core import facts as events
from backhaul.core.errors import OutageError, TransientError
from backhaul.core.model import EngineName, Location, Source
from backhaul.core.ports import StageTask
from backhaul.core.ports.cluster import Application, AppState, JobCounters, JobProgress
from backhaul.core.transfer.cluster import attempt as cluster_attempt
from backhaul.core.transfer.cluster import engine_choice as cluster
from backhaul.core.transfer.cluster.attempt import ClusterAttempt, Pages
from backhaul.core.transfer.cluster.engine_choice import (
    Load,
    always_native,
    cannot_carry,
    engine_for,
)
from backhaul.testing.fakes import Fault
from tests.contract.test_ledger import JOB, planned
from tests.unit.test_cluster_attempt import (
    FILES,
    die_while_following,
    engine_of,
    fill,
    landed,
    run,
)
from tests.world import World, route


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, has_cluster=True)
    world.routes = (route(engine=EngineName.DISTCP),)
    fill(world, FILES)
    return world


def left_behind(world: World) -> str:
    """Where the application of an agent writes that is gone."""
    die_while_following(world, looks=5)
    world.clock.advance(13 * 3600)
    world.faults.revive()
    (staging,) = [path for path in world.target.paths() if path.endswith("/1")]
    return staging


# ---------------------------------------------------------------- which engine


def test_distcp_is_for_hdfs_alone() -> None:
    mounted = Location(scheme="file", authority="", path="/mnt/land/d")
    job = replace(JOB, engine=EngineName.DISTCP)
    job = replace(job, request=replace(job.request, destination=mounted))
    assert always_native(job, None, None) == "the target is not HDFS"


def test_auto_on_a_node_without_yarn_is_native() -> None:
    """As `backhaul explain` says it; an agent without YARN does not even ask."""
    load = Load(objects=1, size_bytes=1 << 50, largest_bytes=1 << 40)
    chosen = engine_for(replace(JOB, engine=EngineName.AUTO), None, load, None)
    assert (chosen.engine, chosen.reason) == (EngineName.NATIVE, "no ResourceManager configured")


def test_a_prefix_sent_without_its_slash_is_given_to_the_cluster_with_it(world: World) -> None:
    world.queue.send("raw/p, /land/d")
    world.drain()
    assert landed(world) == FILES
    assert [job.source.key for job in world.cluster.jobs] == ["p/"]


# ---------------------------------------------------------------- plans that are long


@pytest.mark.parametrize("look", [4, 100], ids=["looked at in part", "looked at to the end"])
def test_a_plan_too_long_for_memory_is_read_again_from_the_ledger(
    world: World, monkeypatch: pytest.MonkeyPatch, look: int
) -> None:
    list_page = world.store.list_page
    monkeypatch.setattr(
        world.store,
        "list_page",
        lambda *args, **more: list_page(*args, **(more | {"page_size": 2})),
    )
    monkeypatch.setattr(cluster, "LOOK_OBJECTS", look)
    monkeypatch.setattr(cluster_attempt, "MAX_BUFFERED", 1)
    world.routes = (route(engine=EngineName.AUTO),)
    more = {f"n{number}": b"%d" % number for number in range(8)}
    fill(world, more)
    run(world)
    assert landed(world) == {**FILES, **more}
    assert engine_of(world)[0] == "native"


def test_what_is_read_again_ends_where_the_look_ended(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Proofs came in meanwhile, so the ledger's pages are others now; nothing comes twice."""
    tasks = [
        StageTask(planned=planned(seq), endpoint=world.store.endpoint("raw")) for seq in range(5)
    ]

    def unstaged(_attempt: ClusterAttempt) -> Pages:
        return iter([tasks[:2], tasks[2:]])

    monkeypatch.setattr(ClusterAttempt, "_unstaged", unstaged)
    attempt = object.__new__(ClusterAttempt)
    assert [len(page) for page in attempt._until(2)] == [2, 1]


@pytest.mark.parametrize(
    ("key", "relative", "is_object", "word"),
    [
        ("p/a:b", "a:b", False, "colon"),
        ("p/a b", "a%20b", False, "mapped"),
        ("p/sub/a", "a", False, "mapped"),
        ("p/sub/a", "sub/a", False, None),
        ("p/sub/a", "a", True, None),
    ],
)
def test_distcp_keeps_names_as_they_are(
    key: str, relative: str, word: str | None, *, is_object: bool
) -> None:
    one = planned(0)
    one = replace(one, pin=replace(one.pin, key=key), relative=relative)
    told = cannot_carry(one, Source(bucket="raw", key="p/"), is_object=is_object)
    assert (told is None) if word is None else (told is not None and word in told)


def test_a_rest_with_too_many_names_to_list_is_copied_by_its_prefix(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_attempt, "MAX_LISTED", 1)
    world.store.put("p/a.parquet", b"A" * 50)
    run(world)
    more = {"y.parquet": b"Y" * 50, "z.parquet": b"Z" * 50}
    fill(world, more)
    run(world)
    assert world.cluster.jobs[1].keys is None
    assert landed(world) == {**FILES, **more}
    assert world.states == ["done", "done"]


# ---------------------------------------------------------------- what an earlier attempt left


def test_staging_that_counts_higher_than_the_ledger_is_not_entered(world: World) -> None:
    """A ledger was lost: its epochs begin below what staging remembers."""
    root = left_behind(world).rpartition("/")[0]
    world.target.mkdirs(f"{root}/9")
    world.drain()
    assert landed(world) == FILES
    assert [row.epoch for row in world.rows()] == [10]
    assert world.staging() == []


def test_an_application_whose_staging_was_removed_is_ended_and_submitted_anew(
    world: World,
) -> None:
    world.target.remove(left_behind(world))
    world.drain()
    assert world.cluster.applications[0].state is AppState.KILLED
    assert len(world.cluster.jobs) == 2
    assert landed(world) == FILES


def test_an_application_that_is_gone_when_the_agent_returns_is_submitted_anew(
    world: World,
) -> None:
    left_behind(world)
    world.cluster.forget()
    world.drain()
    assert len(world.cluster.jobs) == 2
    assert landed(world) == FILES


def test_without_yarn_an_application_cannot_be_looked_for_and_the_transfer_is_held(
    world: World,
) -> None:
    left_behind(world)
    world.has_cluster = False
    world.drain(drain_patience_s=10)
    assert {fact.code for fact in world.all_of(events.TransferHeld)} == {"E_YARN_NONE"}
    assert landed(world) == {}
    world.has_cluster = True
    world.drain()
    assert landed(world) == FILES
    assert len(world.cluster.jobs) == 1


def test_a_message_that_dies_without_yarn_says_that_its_application_may_run(world: World) -> None:
    left_behind(world)
    world.has_cluster = False
    world.routes = (route(name="other", sources=(("else", ""),)),)
    world.drain()
    assert world.states == ["dead"]
    assert [fact.code for fact in world.all_of(events.StagingNotRemoved)] == ["E_YARN_NONE"]


# ---------------------------------------------------------------- the submission


def test_a_submission_whose_answer_is_lost_in_an_outage_is_looked_for(world: World) -> None:
    error = OutageError.of("yarn", "E_YARN_UNREACHABLE", "no answer")
    world.faults.at("cluster.submit", 1, Fault.LOST, error)
    run(world)
    assert {fact.code for fact in world.all_of(events.TransferHeld)} == {"E_YARN_UNREACHABLE"}
    assert landed(world) == FILES
    assert len(world.cluster.jobs) == 1


def test_a_client_that_is_stopped_after_submitting_is_looked_for(world: World) -> None:
    world.faults.at("cluster.submit", 1, Fault.LOST, TransientError("E_STOPPED", "asked to stop"))
    run(world)
    assert landed(world) == FILES
    assert len(world.cluster.jobs) == 1


# ---------------------------------------------------------------- what the master counted


def test_the_master_s_own_counts_are_taken_where_the_history_is_silent(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = JobCounters(copied=2, skipped=0, failed=0, size_bytes=1)

    def progress(application: Application) -> JobProgress:
        return JobProgress(maps_done=1, maps=1, size_bytes=1, counters=counted)

    world.cluster.has_history = False
    world.cluster.looks = 3
    monkeypatch.setattr(world.cluster, "progress", progress)
    run(world)
    (told,) = world.all_of(events.CountersDiffer)
    assert told.counted == str(counted)
    assert landed(world) == FILES
