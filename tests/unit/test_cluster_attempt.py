"""A transfer on the cluster's engine, on a fake YARN: chosen, followed, adopted, accepted."""

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from backhaul.adapters.ledger import open_reader
from backhaul.core import facts as events
from backhaul.core.agent.stopping import Stop
from backhaul.core.errors import OutageError
from backhaul.core.model import EngineName, NameMap, OnExists, QueuedTooLong
from backhaul.core.objects import Proof, StagedObject
from backhaul.core.ports.cluster import AppState, ClusterRules
from backhaul.core.transfer.cluster.jobs import ClusterJobs, OwnershipLost
from backhaul.core.transfer.egress.meter import EgressMeter
from backhaul.testing.fakes import FakeTarget, Fault, Killed
from tests.world import World, eventually, route

pytestmark = pytest.mark.slow  # each test runs an attempt with its jobs

FILES = {"a.parquet": b"A" * 50, "sub/b.parquet": b"B" * 60, "_SUCCESS": b""}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path, has_cluster=True)
    world.routes = (route(engine=EngineName.DISTCP),)
    fill(world, FILES)
    return world


def fill(world: World, files: dict[str, bytes], **how: Any) -> None:
    for name, data in files.items():
        world.store.put(f"p/{name}", data, **how)


def run(world: World, **settings: Any) -> None:
    world.queue.send("raw/p/, /land/d")
    world.drain(**settings)


def engine_of(world: World) -> tuple[str, str]:
    (chosen,) = world.all_of(events.EngineChosen)
    return chosen.engine, chosen.reason


def landed(world: World) -> dict[str, bytes]:
    return {name.removeprefix("d/"): data for name, data in world.landed().items()}


def test_the_cluster_brings_a_prefix_and_every_file_is_proven(world: World) -> None:
    run(world)
    assert landed(world) == FILES
    assert world.states == ["done"]
    assert len(world.cluster.jobs) == 1
    assert world.staging() == []
    (row,) = world.rows()
    assert (row.engine, row.engine_reason) == ("distcp", "engine = distcp")


def test_tags_are_of_the_transfer_and_of_its_epoch(world: World) -> None:
    run(world)
    (row,) = world.rows()
    assert world.cluster.jobs[0].tags == (f"bh-{row.id}", f"bh-{row.id}-{row.epoch}")


def test_the_tag_is_in_the_ledger_before_anything_is_submitted(world: World) -> None:
    run(world)
    calls = [name for name, _ in world.faults.log]
    assert calls.index("ledger.open_job") < calls.index("cluster.submit")


# ---------------------------------------------------------------- acceptance


def left_out(target: FakeTarget, path: str) -> None:
    target.remove(f"{path}/a.parquet")


def cut(target: FakeTarget, path: str) -> None:
    target.put(f"{path}/a.parquet", b"A" * 49)


def flipped(target: FakeTarget, path: str) -> None:
    target.put(f"{path}/a.parquet", b"A" * 49 + b"a")


@pytest.mark.parametrize("spoil", [left_out, cut, flipped])
def test_what_a_successful_job_left_wrong_is_copied_natively(world: World, spoil: Any) -> None:
    world.cluster.spoil = spoil
    run(world)
    assert landed(world) == FILES
    (mended,) = world.all_of(events.StagingRepaired)
    assert mended.objects == 1


def test_what_was_not_planned_is_not_published(world: World) -> None:
    def add(target: FakeTarget, path: str) -> None:
        target.put(f"{path}/later.parquet", b"later")
        target.mkdirs(f"{path}/marker")

    world.cluster.spoil = add
    run(world)
    assert landed(world) == FILES
    assert not any("marker" in path for path in world.target.paths())
    assert [fact.removed for fact in world.all_of(events.StagingRepaired)] == [1]


def test_an_object_without_a_comparable_checksum_is_copied_from_its_pin(world: World) -> None:
    world.store.put("p/x", b"bytes", algorithm=None, etag="0123-2")
    run(world)
    assert landed(world)["x"] == b"bytes"
    assert [fact.objects for fact in world.all_of(events.StagingRepaired)] == [1]


def test_s3_s_own_sum_is_held_against_what_hdfs_keeps_and_no_byte_is_read(world: World) -> None:
    run(world)
    with world.process() as ports:
        (row,) = world.rows()
        proofs = [proof for page in ports.ledger.staged(row.id) for _, proof in page]
    assert {proof.proof for proof in proofs} == {Proof.DIRECT}


def proofs_of(world: World) -> list[StagedObject]:
    with world.process() as ports:
        newest = max(world.rows(), key=lambda row: row.first_seen_at)
        return [proof for page in ports.ledger.staged(newest.id) for _, proof in page]


@pytest.mark.parametrize(
    ("algorithm", "asked"), [("CRC32", "CRC32"), ("CRC32C", "CRC32C"), ("CRC64NVME", "CRC32C")]
)
def test_files_keep_the_kind_of_sum_that_s3_keeps(world: World, algorithm: str, asked: str) -> None:
    fill(world, FILES, algorithm=algorithm)
    run(world)
    assert landed(world) == FILES
    assert [job.checksum_type for job in world.cluster.jobs] == [asked]
    large = {proof.proof for proof in proofs_of(world) if proof.size_bytes}
    assert large == {Proof.DIRECT if asked == algorithm else Proof.BRIDGED}
    is_read = any(name == "target.read" for name, _ in world.faults.log)
    assert is_read is (algorithm != asked)


def test_most_bytes_decide_and_the_others_are_read_for_their_proof(world: World) -> None:
    fill(world, {"a.parquet": b"A" * 50}, algorithm="CRC32")
    run(world)
    assert [job.checksum_type for job in world.cluster.jobs] == ["CRC32C"]
    assert landed(world) == FILES
    proofs = {proof.size_bytes: proof.proof for proof in proofs_of(world)}
    assert proofs == {50: Proof.REREAD, 60: Proof.DIRECT, 0: Proof.DIRECT}
    assert world.all_of(events.StagingRepaired) == []


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C"])
def test_a_wrong_byte_is_seen_without_reading_it(world: World, algorithm: str) -> None:
    fill(world, FILES, algorithm=algorithm)

    def spoil(target: FakeTarget, path: str) -> None:
        target.put(f"{path}/a.parquet", b"A" * 49 + b"a", kept=algorithm)

    world.cluster.spoil = spoil
    run(world)
    assert landed(world) == FILES
    assert [fact.objects for fact in world.all_of(events.StagingRepaired)] == [1]


@pytest.mark.parametrize("change", [None, b"B" * 50])
def test_a_file_that_keeps_crc32_is_known_again_at_its_final_path(
    world: World, change: bytes | None
) -> None:
    """Under `same-ok` the second message finds it: by its own kind of sum, without S3's bytes."""
    world.routes = (route(engine=EngineName.DISTCP, on_exists=OnExists.SAME_OK),)
    fill(world, FILES, algorithm="CRC32")
    run(world)
    if change is not None:
        world.target.put("/land/d/a.parquet", change)
    run(world)
    states = sorted(world.states)
    assert states == (["done", "done"] if change is None else ["dead", "done"])


def test_renames_of_crc32_files_whose_record_was_lost_are_adopted(world: World) -> None:
    fill(world, FILES, algorithm="CRC32")
    world.queue.send("raw/p/, /land/d")
    world.faults.at("ledger.finish", 1, Fault.KILL)
    with pytest.raises(Killed), world.process() as ports:
        world.agent(ports).run()
    assert landed(world) == FILES
    world.clock.advance(13 * 3600)
    world.drain()
    assert world.states == ["done"]
    assert len(world.cluster.jobs) == 1, "what stands there was known again"


def test_an_object_that_changed_under_the_job_is_planned_anew(world: World) -> None:
    def change(_target: FakeTarget, _path: str) -> None:
        world.store.put("p/a.parquet", b"new" * 20)
        world.cluster.spoil = lambda _target, _path: None

    world.cluster.spoil = change
    run(world)
    assert landed(world)["a.parquet"] == b"new" * 20
    assert world.states == ["done"]


def counters_of(world: World) -> list[str | None]:
    with closing(open_reader(world.path)) as reader:
        return [job.counters for row in world.rows() for job in reader.show(row.id).jobs]


def test_what_the_mappers_counted_is_kept(world: World) -> None:
    run(world)
    told = "COPY 3, SKIP 0, FAIL 0, BYTESCOPIED 110"
    assert counters_of(world) == [told]
    assert [fact.counters for fact in world.all_of(events.ApplicationEnded)] == [told]
    assert world.all_of(events.CountersDiffer) == []


def test_without_a_history_server_they_are_unknown_and_every_file_is_proven(world: World) -> None:
    world.cluster.has_history = False
    run(world)
    assert landed(world) == FILES
    assert counters_of(world) == [None]
    assert [fact.counters for fact in world.all_of(events.ApplicationEnded)] == ["unknown"]


def test_a_success_that_counted_otherwise_is_told_and_mended(world: World) -> None:
    """An object that came after the listing: DistCp copied it, and the plan has none of it."""

    def come_late(name: str) -> None:
        if name == "cluster.submit":
            world.store.put("p/late", b"late")

    world.faults.after_effect = come_late
    run(world)
    assert landed(world) == FILES
    (told,) = world.all_of(events.CountersDiffer)
    assert (told.counted, told.objects, told.size_bytes) == (
        "COPY 4, SKIP 0, FAIL 0, BYTESCOPIED 114",
        3,
        110,
    )


# ---------------------------------------------------------------- failures


@pytest.mark.parametrize("outcome", [AppState.FAILED, AppState.KILLED])
def test_a_job_that_ends_badly_spends_an_attempt_and_publishes_nothing(
    world: World, outcome: AppState
) -> None:
    world.cluster.outcome = outcome
    run(world)
    assert landed(world) == {}
    assert world.states == ["dead"]
    assert world.staging() == []
    tags = [job.tags[1] for job in world.cluster.jobs]
    assert len(tags) == len(set(tags)) == 3
    assert [row.code for row in world.rows()] == ["E_DISTCP_FAILED"]


def test_a_client_that_fails_without_submitting_is_tried_again_in_a_new_epoch(world: World) -> None:
    world.faults.at("cluster.submit", 1, Fault.FAIL)
    run(world)
    assert landed(world) == FILES
    assert len(world.cluster.jobs) == 1


def test_a_client_that_fails_after_submitting_counts_as_submitted(world: World) -> None:
    world.faults.at("cluster.submit", 1, Fault.LOST)
    run(world)
    assert landed(world) == FILES
    assert len(world.cluster.jobs) == 1
    assert world.all_of(events.AttemptFailed) == []


def test_an_application_that_yarn_forgot_is_submitted_again(world: World) -> None:
    world.cluster.looks = 100
    world.faults.after_effect = lambda name: (
        world.cluster.forget()
        if (name, len(world.cluster.jobs)) == ("cluster.progress", 1)
        else None
    )
    run(world)
    assert world.states == ["done"]
    assert len(world.cluster.jobs) == 2
    (failed,) = world.all_of(events.AttemptFailed)
    assert failed.code == "E_YARN_FORGOTTEN"


def test_an_application_that_yarn_remembers_again_is_ended(world: World) -> None:
    world.cluster.looks = 100
    gone: list[Any] = []

    def forget(name: str) -> None:
        if name == "cluster.progress" and not gone:
            gone.extend(world.cluster._submitted)
            world.cluster.forget()
            world.cluster.looks = 1
        elif name == "cluster.submit" and gone:
            gone[0].looks = -1000
            world.cluster._submitted[:0] = gone

    world.faults.after_effect = forget
    run(world)
    assert world.states == ["done"]
    assert [one.state for one in world.cluster.applications] == [
        AppState.KILLED,
        AppState.SUCCEEDED,
    ]


def test_a_manager_that_is_down_holds_and_nothing_is_submitted_twice(world: World) -> None:
    down = OutageError.of("yarn", "E_YARN_UNREACHABLE", "down")
    for turn in range(3, 140):
        world.faults.at("cluster.find", turn, Fault.FAIL, down)
    world.cluster.looks = 5
    run(world, drain_patience_s=100_000)
    assert world.states == ["done"]
    assert len(world.cluster.jobs) == 1
    assert {fact.dependency for fact in world.all_of(events.TransferHeld)} == {"yarn"}


def test_a_manager_that_is_down_is_noticed_before_the_client_starts(world: World) -> None:
    world.faults.at("cluster.check_reachable", 1, Fault.FAIL)
    run(world)
    assert landed(world) == FILES
    assert [fact.code for fact in world.all_of(events.TransferHeld)] == ["E_YARN_UNREACHABLE"]
    calls = [name for name, _ in world.faults.log]
    assert calls.index("cluster.check_reachable") < calls.index("ledger.open_job")
    assert calls.count("ledger.open_job") == calls.count("cluster.submit") == 1


def test_a_missing_hadoop_holds_the_transfer(world: World) -> None:
    world.cluster.missing = OutageError.of("yarn", "E_HADOOP_MISSING", "no program hadoop")
    run(world, drain_patience_s=10)
    assert landed(world) == {}
    assert {fact.code for fact in world.all_of(events.TransferHeld)} == {"E_HADOOP_MISSING"}


# ---------------------------------------------------------------- queue time


def test_no_room_in_time_and_this_node_carries_the_bytes(world: World) -> None:
    world.cluster.room = None
    run(world)
    assert landed(world) == FILES
    assert [one.state for one in world.cluster.applications] == [AppState.KILLED]
    (row,) = world.rows()
    assert row.engine == "native"
    assert "waited" in (row.engine_reason or "")


def test_no_room_for_a_long_plan_with_a_published_file_spends_no_attempt(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(world)
    list_page = world.store.list_page
    monkeypatch.setattr(
        world.store,
        "list_page",
        lambda *args, **more: list_page(*args, **(more | {"page_size": 2})),
    )
    more = {f"n{number}": b"%d" % number for number in range(5)}
    fill(world, more)
    world.cluster.room = None
    run(world)
    assert landed(world) == {**FILES, **more}
    assert world.all_of(events.AttemptFailed) == []
    assert [done.adopted for done in world.all_of(events.TransferDone)] == [0, 3]


def test_how_long_it_waits_is_counted_where_yarn_does_not_tell(world: World) -> None:
    world.cluster.room = None
    world.cluster.reports_wait = False
    run(world)
    assert landed(world) == FILES
    assert [one.state for one in world.cluster.applications] == [AppState.KILLED]
    assert world.rows()[0].engine == "native"


def test_no_room_in_time_and_the_route_wants_yarn_asked_again(world: World) -> None:
    world.routes = (route(engine=EngineName.DISTCP, when_queued=QueuedTooLong.RETRY),)
    world.cluster.room = None
    run(world)
    assert {one.state for one in world.cluster.applications} == {AppState.KILLED}
    assert len(world.cluster.applications) == 3
    assert {fact.code for fact in world.all_of(events.AttemptFailed)} == {"E_YARN_QUEUE"}


# ---------------------------------------------------------------- adoption


def die_while_following(world: World, *, looks: int) -> None:
    """The agent is gone and its application, which takes so many looks, runs on."""
    world.cluster.looks = looks
    world.queue.send("raw/p/, /land/d")
    world.faults.at("cluster.progress", 2, Fault.KILL)
    with pytest.raises(Killed), world.process() as ports:
        world.agent(ports).run()


def test_a_killed_agent_s_application_is_adopted_and_not_repeated(world: World) -> None:
    die_while_following(world, looks=5)
    world.clock.advance(13 * 3600)
    world.drain()
    assert landed(world) == FILES
    assert len(world.cluster.jobs) == 1
    assert world.staging() == []
    assert len(world.all_of(events.ApplicationFollowed)) == 2


def test_the_completion_marker_comes_after_what_the_cluster_brought(world: World) -> None:
    world.routes = (route(engine=EngineName.DISTCP, completion_marker="_DONE"),)
    run(world)
    assert landed(world) == {**FILES, "_DONE": b""}
    assert len(world.cluster.jobs) == 1
    assert world.all_of(events.StagingRepaired) == []
    assert [row.completion_marker for row in world.rows()] == ["hdfs://ns1/land/d/_DONE"]


def test_a_killed_agent_s_marker_is_staged_again_beside_what_the_cluster_brought(
    world: World,
) -> None:
    world.routes = (route(engine=EngineName.DISTCP, completion_marker="_DONE"),)
    world.queue.send("raw/p/, /land/d")
    world.faults.at("ledger.intend", 1, Fault.KILL)
    with pytest.raises(Killed), world.process() as ports:
        world.agent(ports).run()
    assert any(path.endswith("/_DONE") for path in world.staging())
    world.clock.advance(13 * 3600)
    world.drain()
    assert landed(world) == {**FILES, "_DONE": b""}
    assert len(world.cluster.jobs) == 1
    assert world.staging() == []


def test_a_stop_leaves_the_application_running_and_hands_the_message_back(world: World) -> None:
    world.cluster.looks = 5
    world.queue.send("raw/p/, /land/d")
    with world.process() as ports:
        agent = world.agent(ports)

        def stop(name: str) -> None:
            if name == "cluster.progress":
                agent.request_stop(Stop.NOW)
                world.cluster.stop.set()

        world.faults.after_effect = stop
        agent.run()
    assert len(world.cluster.running) == 1
    world.cluster.stop.clear()
    world.faults.after_effect = lambda _name: None
    world.drain()
    assert landed(world) == FILES
    assert len(world.cluster.jobs) == 1
    assert [row.failures for row in world.rows()] == [0]


def test_whoever_claims_the_destination_next_ends_the_other_s_application(world: World) -> None:
    die_while_following(world, looks=50)
    world.store.put("q/c", b"C")
    world.routes = (route(engine=EngineName.NATIVE),)
    world.queue.send("raw/q/, /land/d")
    world.drain()
    assert world.cluster.applications[0].state is AppState.KILLED
    assert landed(world) == {"c": b"C"}


def test_a_dead_message_s_application_is_ended(world: World) -> None:
    die_while_following(world, looks=50)
    world.routes = (route(name="other", sources=(("else", ""),)),)
    world.clock.advance(13 * 3600)
    world.drain()
    assert world.states == ["dead"]
    assert world.cluster.running == []
    assert world.staging() == []


def test_an_application_is_ended_when_its_destination_is_lost(world: World) -> None:
    world.cluster.looks = 20
    thieves: list[str] = []

    def steal(name: str) -> None:
        if name == "cluster.progress" and not thieves:
            thieves.append("somebody")
            with sqlite3.connect(world.path) as ledger:
                ledger.execute("UPDATE destinations SET epoch = epoch + 1")

    world.faults.after_effect = steal
    run(world)
    states = [one.state for one in world.cluster.applications]
    assert states == [AppState.KILLED, AppState.SUCCEEDED]
    assert landed(world) == FILES
    assert world.all_of(events.AttemptFailed) == []


def test_nothing_is_submitted_for_a_destination_that_was_lost(world: World) -> None:
    run(world)
    job = world.cluster.jobs[0]
    with world.process() as ports:
        staging = ClusterJobs(
            cluster=world.cluster,
            ledger=ports.ledger,
            clock=world.clock,
            emit=world.emit,
            transfer_id=world.rows()[0].id,
            when_queued=QueuedTooLong.NATIVE,
            meter=cast("EgressMeter", None),  # nothing is followed
            report=lambda _progress: None,
        )
        with pytest.raises(OwnershipLost) as caught:
            staging.submit(7, job)
    assert caught.value.code == "E_OWNER_LOST"
    assert len(world.cluster.jobs) == 1


def test_an_application_that_does_not_end_holds_whoever_wants_its_place(world: World) -> None:
    die_while_following(world, looks=100_000)
    world.cluster.ignores_kill = True
    world.store.put("q/c", b"C")
    world.queue.send("raw/q/, /land/d")
    world.drain(drain_patience_s=100)
    assert {fact.code for fact in world.all_of(events.TransferHeld)} == {"E_YARN_KILL"}
    assert landed(world) == {}


def test_a_transfer_longer_than_sqs_hides_a_message_goes_on_and_is_not_repeated(
    world: World,
) -> None:
    world.cluster.looks = 400
    world.cluster.rules = replace(world.cluster.rules, poll_s=10.0)
    world.queue.send("raw/p/, /land/d")
    with world.running(slots=2, visibility_total_s=600) as agent:
        eventually(lambda: world.states == ["done"], timeout_s=60)
        eventually(lambda: world.queue.remaining == [])
        assert agent.totals.failed == 0
    assert world.clock.monotonic() > 4000
    assert world.all_of(events.VisibilityWasLost)
    assert world.all_of(events.MessageRecognised), "the redelivery was recognised"
    assert len(world.cluster.jobs) == 1
    assert landed(world) == FILES


# ---------------------------------------------------------------- the choice


def small(**other: Any) -> ClusterRules:
    given: dict[str, Any] = {
        "auto_min_bytes": 100,
        "auto_min_mean_bytes": 1,
        "bytes_per_map": 100,
        "max_maps": 2,
    }
    return ClusterRules(**given | {"poll_s": 1.0, "queue_timeout_s": 60.0} | other)


@pytest.mark.parametrize(
    ("rules", "expected", "word"),
    [
        (small(), "distcp", "at least"),
        (small(auto_min_bytes=111), "native", "auto_min_bytes"),
        (small(auto_min_mean_bytes=37), "native", "auto_min_mean_bytes"),
    ],
)
def test_auto_weighs_bytes_mean_and_largest(
    world: World, rules: ClusterRules, expected: str, word: str
) -> None:
    world.routes = (route(engine=EngineName.AUTO),)
    world.cluster.rules = rules
    run(world)
    assert landed(world) == FILES
    engine, reason = engine_of(world)
    assert engine == expected
    assert word in reason


def test_one_object_that_outlasts_all_mappers_stays_native(world: World) -> None:
    world.routes = (route(engine=EngineName.AUTO),)
    world.cluster.rules = small(bytes_per_map=1, max_maps=4)
    world.store.put("p/large", b"L" * 300)
    run(world)
    engine, reason = engine_of(world)
    assert engine == "native"
    assert "one mapper" in reason


def test_a_route_for_another_user_stays_native(world: World) -> None:
    world.routes = (route(engine=EngineName.DISTCP, run_as="etl"),)
    run(world)
    assert engine_of(world)[0] == "native"
    assert world.cluster.jobs == []


def test_a_key_with_a_colon_stays_native_and_drags_its_plan_along(world: World) -> None:
    world.routes = (route(engine=EngineName.DISTCP, name_map=NameMap.PERCENT),)
    world.store.put("p/a:b", b"colon")
    run(world)
    assert landed(world) == {**FILES, "a%3Ab": b"colon"}
    assert engine_of(world)[0] == "native"
    assert world.cluster.jobs == []


def test_a_command_that_never_ran_leaves_nothing_to_look_for(world: World) -> None:
    broken = OutageError.of("yarn", "E_HADOOP_COMMAND", "no command distcp")
    world.faults.at("cluster.submit", 1, Fault.FAIL, broken)
    run(world)
    assert landed(world) == FILES
    calls = [name for name, _ in world.faults.log]
    first = calls.index("cluster.submit")
    again = calls.index("cluster.submit", first + 1)
    assert "cluster.find" not in calls[first:again]


def test_auto_without_hadoop_is_native(world: World) -> None:
    world.routes = (route(engine=EngineName.AUTO),)
    world.cluster.missing = OutageError.of("yarn", "E_HADOOP_MISSING", "no program hadoop")
    run(world)
    assert landed(world) == FILES
    assert engine_of(world) == ("native", "no program hadoop")


def test_distcp_without_any_yarn_is_held_with_its_reason(world: World) -> None:
    world.has_cluster = False
    run(world, drain_patience_s=10)
    assert {fact.code for fact in world.all_of(events.TransferHeld)} == {"E_YARN_NONE"}


def test_what_is_published_already_is_left_out_of_the_job(world: World) -> None:
    world.store.put("p/a.parquet", b"A" * 50)
    run(world)
    world.store.put("p/z.parquet", b"Z" * 50)
    world.store.put("p/y.parquet", b"Y" * 50)
    run(world)
    assert world.cluster.jobs[1].keys == ("p/y.parquet", "p/z.parquet")
    assert landed(world) == {**FILES, "z.parquet": b"Z" * 50, "y.parquet": b"Y" * 50}


def test_a_plan_of_many_pages_is_listed_whole_before_it_is_submitted(world: World) -> None:
    many = {f"n{number:05}": b"%d" % number for number in range(2500)}
    fill(world, many)
    run(world)
    assert len(world.cluster.jobs) == 1
    assert landed(world) == {**FILES, **many}


@pytest.mark.slow
def test_many_small_objects_are_not_listed_to_the_end_before_copying(world: World) -> None:
    world.routes = (route(engine=EngineName.AUTO),)
    fill(world, {f"n{number:05}": b"x" for number in range(12_500)})
    run(world)
    calls = [name for name, _ in world.faults.log]
    assert calls.index("target.create") < len(calls) - 1 - calls[::-1].index("ledger.freeze")
    assert len(landed(world)) == 12_503
