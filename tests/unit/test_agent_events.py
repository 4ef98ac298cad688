"""What becomes of events: the whole agent on fakes, with a ledger of its own."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.stopping import Stop
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import OutageError
from backhaul.core.model import EventOther, Limits, SignatureRule, StepRule
from backhaul.core.requests.paths import parse_source
from backhaul.core.requests.signature import ATTRIBUTE, sign
from backhaul.testing.fakes import Fault, Killed, ReadFault
from tests.world import World, eventually, location, route

pytestmark = pytest.mark.slow  # each test runs an agent

EVENTS = {"event_destination": "/land/{key_dir}/"}
A, B, C = b"content of a", b"content of b", b"content of c"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.routes = (route(**EVENTS),)
    for name, data in (("a", A), ("b", B), ("c", C)):
        world.store.put(f"p/{name}", data)
    return world


def record(key: str, *, name: str = "ObjectCreated:Put", **about: Any) -> dict[str, Any]:
    """One record as S3 writes it; the key as it is in the event."""
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-11-22T12:00:00.000Z",
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "bucket": {"name": "raw", "arn": "arn:aws:s3:::raw"},
            "object": {"key": key, "size": 1} | about,
        },
    }


def notice(*records: str | dict[str, Any]) -> str:
    made = [record(one) if isinstance(one, str) else one for one in records]
    return json.dumps({"Records": made})


def states(world: World) -> dict[str, str]:
    """Message id (with its record) to state."""
    return {str(row.message_id): row.state.value for row in world.rows()}


# ---------------------------------------------------------------- one record


def test_event_brings_its_object_to_the_routes_directory(world: World) -> None:
    message_id = world.queue.send(notice("p/a"))
    agent = world.drain()

    assert world.landed() == {"p/a": A}
    assert world.queue.deleted == [message_id]
    assert agent.totals.done == 1


def test_event_of_an_object_that_is_also_a_prefix_is_no_question(world: World) -> None:
    world.store.put("p/a/below", b"another")
    world.queue.send(notice("p/a"))
    world.drain()

    assert world.landed() == {"p/a": A}


def test_event_of_an_object_that_is_gone_is_dead(world: World) -> None:
    world.store.put("gone/below", b"a prefix is not meant")
    world.queue.send(notice("gone"))
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_SRC_EMPTY"


def test_event_that_no_route_takes_is_dead_and_names_what_is_missing(world: World) -> None:
    world.routes = (route(),)
    world.queue.send(notice("p/a"))
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_POLICY_EVENT"
    assert "event_destination" in letter.reason.hint


def test_test_event_is_deleted_counted_and_logged(world: World) -> None:
    message_id = world.queue.send('{"Service":"Amazon S3","Event":"s3:TestEvent","Bucket":"raw"}')
    agent = world.drain()

    assert world.queue.deleted == [message_id]
    assert world.rows() == []
    assert (agent.totals.ignored, agent.totals.done, agent.totals.dead) == (1, 0, 0)
    (ignored,) = world.all_of(events.MessageIgnored)
    assert (ignored.message_id, ignored.reason) == (message_id, "S3_TEST_EVENT")


@pytest.mark.parametrize(("other", "dead"), [(EventOther.DEAD, 1), (EventOther.IGNORE, 0)])
def test_removal_is_dead_unless_the_route_ignores_it(
    world: World, other: EventOther, dead: int
) -> None:
    world.routes = (route(**EVENTS, event_other=other),)
    message_id = world.queue.send(notice(record("p/a", name="ObjectRemoved:Delete")))
    agent = world.drain()

    assert world.landed() == {}
    assert world.queue.deleted == [message_id]
    assert len(world.queue.dead_letters) == agent.totals.dead == dead
    assert agent.totals.ignored == 1 - dead


def test_marker_brings_its_directory_and_other_events_nothing(world: World) -> None:
    world.routes = (route(**EVENTS, marker="_SUCCESS"),)
    world.store.put("p/_SUCCESS", b"")
    world.queue.send(notice("p/a"))
    world.queue.send(notice("p/_SUCCESS"))
    agent = world.drain()

    assert world.landed() == {"p/a": A, "p/b": B, "p/c": C, "p/_SUCCESS": b""}
    assert (agent.totals.done, agent.totals.ignored) == (1, 1)
    (done,) = world.all_of(events.TransferDone)
    assert done.publish == "tree"


@pytest.mark.parametrize(
    ("about", "marker", "expected"),
    [({"size": 12}, None, 12), ({"size": None}, None, None), ({"size": 12}, "a", None)],
)
def test_the_size_of_an_event_is_known_before_its_object_is_listed(
    world: World, about: dict[str, Any], marker: str | None, expected: int | None
) -> None:
    """For the forecast of the backlog; the size of a trigger is not that of its directory."""
    world.routes = (route(**EVENTS, marker=marker),)
    world.queue.send(notice(record("p/a", **about)))
    world.drain()
    (started,) = world.all_of(events.AttemptStarted)
    assert started.event_bytes == expected


def test_completed_emr_step_brings_what_the_route_lists(world: World) -> None:
    rule = StepRule(
        step="Export", source=parse_source("raw/p/"), destination=location("/land/export")
    )
    world.routes = (route(steps=(rule,)),)
    detail = {"name": "Export", "clusterId": "j-1", "stepId": "s-1", "state": "COMPLETED"}
    world.queue.send(
        json.dumps({"detail-type": "EMR Step Status Change", "source": "aws.emr", "detail": detail})
    )
    world.drain()

    assert world.landed() == {"export/a": A, "export/b": B, "export/c": C}


def test_event_of_another_queue_is_not_for_this_route(world: World) -> None:
    world.routes = (route(**EVENTS, queues=frozenset({"other"})),)
    world.queue.send(notice("p/a"))
    world.queue.send("raw/p/, /land/d")
    world.drain()

    codes = [letter.reason and letter.reason.code for letter in world.queue.dead_letters]
    assert codes == ["E_POLICY_SOURCE"] * 2


@pytest.mark.parametrize("queue", ["work", "arn:aws:sqs:us-east-1:000000000000:work"])
def test_route_is_bound_by_name_or_arn(world: World, queue: str) -> None:
    world.routes = (route(**EVENTS, queues=frozenset({queue})),)
    world.queue.send(notice("p/a"))
    world.drain()

    assert world.landed() == {"p/a": A}


def test_transfer_remembers_which_policy_decided(world: World) -> None:
    world.queue.send(notice("p/a"))
    world.drain()
    world.routes = (route(**EVENTS, limits=Limits(objects=9)),)
    world.queue.send(notice("p/b"))
    world.drain()

    digests = {row.policy for row in world.rows()}
    assert len(digests) == 2
    assert all(digest and len(digest) == 16 for digest in digests)


# ---------------------------------------------------------------- several records


def test_each_record_is_a_transfer_and_the_message_goes_after_the_last(world: World) -> None:
    def check(call: str) -> None:
        if call == "queue.delete":
            assert world.landed() == {"p/a": A, "p/b": B, "p/c": C}

    world.faults.after_effect = check
    message_id = world.queue.send(notice("p/a", "p/b", "p/c"))
    agent = world.drain()

    assert world.queue.deleted == [message_id]
    assert states(world) == {
        message_id: "done",
        f"{message_id}#2": "done",
        f"{message_id}#3": "done",
    }
    assert agent.totals.done == 1


def test_dead_record_is_named_and_the_others_are_done(world: World) -> None:
    message_id = world.queue.send(notice("p/a", "p//x", "p/c"))
    agent = world.drain()

    assert world.landed() == {"p/a": A, "p/c": C}
    assert world.queue.deleted == [message_id]
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_SRC_KEY_EMPTY_SEG"
    assert letter.reason.sentence.startswith("record 2 of 3: ")
    assert (agent.totals.dead, agent.totals.done) == (1, 0)
    assert states(world) == {
        message_id: "done",
        f"{message_id}#2": "dead",
        f"{message_id}#3": "done",
    }


def test_failed_record_brings_the_message_back_and_only_it_is_done_again(world: World) -> None:
    world.store.spoil_read("p/b", ReadFault.FLIP, times=2)
    message_id = world.queue.send(notice("p/a", "p/b", "p/c"))
    agent = world.drain()

    assert world.landed() == {"p/a": A, "p/b": B, "p/c": C}
    assert world.queue.deleted == [message_id]
    attempts = {str(row.message_id): row.attempt for row in world.rows()}
    assert attempts == {message_id: 1, f"{message_id}#2": 2, f"{message_id}#3": 1}
    assert (agent.totals.failed, agent.totals.done) == (1, 1)


def test_record_that_never_succeeds_is_dead_by_its_own_attempts(world: World) -> None:
    world.store.spoil_read("p/b", ReadFault.FLIP, times=100)
    message_id = world.queue.send(notice("p/a", "p/b"))
    world.drain(retry=RetryPolicy(max_attempts=2, base_s=10))

    assert world.landed() == {"p/a": A}
    assert world.queue.deleted == [message_id]
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert (letter.reason.code, letter.reason.attempts) == ("E_CHECKSUM", 2)


def test_dead_letter_of_a_record_is_sent_once_however_often_the_message_comes(world: World) -> None:
    world.store.spoil_read("p/b", ReadFault.FLIP, times=6)  # three attempts, two readings each
    world.queue.send(notice("p//x", "p/b"))
    world.drain(retry=RetryPolicy(max_attempts=9, base_s=10))

    assert world.landed() == {"p/b": B}
    assert len(world.queue.dead_letters) == 1


def test_dead_record_without_a_dead_letter_queue_keeps_the_message(tmp_path: Path) -> None:
    world = World(tmp_path, has_dead_letters=False)
    world.routes = (route(**EVENTS),)
    world.store.put("p/a", A)
    message_id = world.queue.send(notice("p//x", "p/a"))
    with world.running() as agent:
        eventually(lambda: agent.totals.dead)
        eventually(lambda: world.queue.invisible_s(message_id) > 3600)

    assert world.landed() == {"p/a": A}
    assert world.queue.deleted == []


def test_ignored_records_do_not_block_the_others(world: World) -> None:
    world.routes = (route(**EVENTS, event_other=EventOther.IGNORE),)
    removed = record("p/b", name="ObjectRemoved:Delete")
    message_id = world.queue.send(notice(removed, "p/a"))
    agent = world.drain()

    assert world.landed() == {"p/a": A}
    assert states(world) == {f"{message_id}#2": "done"}
    assert (agent.totals.done, agent.totals.ignored) == (1, 0)


def test_outage_in_the_middle_holds_the_message_and_spends_nothing(world: World) -> None:
    down = OutageError.of("s3", "E_S3_UNREACHABLE", "no route to host")
    world.faults.at("store.current", 2, Fault.FAIL, down)
    world.faults.at("store.list", 1, Fault.FAIL, down)
    message_id = world.queue.send(notice("p/a", "p/b"))
    world.drain()

    assert world.landed() == {"p/a": A, "p/b": B}
    assert world.queue.deleted == [message_id]
    assert [row.failures for row in world.rows()] == [0, 0]
    assert len(world.all_of(events.TransferHeld)) == 1


@pytest.mark.parametrize(
    ("call", "occurrence"),
    [
        *[("ledger.begin", 1), ("ledger.begin", 2), ("target.rename", 1), ("target.rename", 2)],
        *[("ledger.finish", 1), ("ledger.finish", 2), ("queue.delete", 1)],
    ],
)
def test_killed_between_the_records_and_the_next_start_ends_it(
    world: World, call: str, occurrence: int
) -> None:
    message_id = world.queue.send(notice("p/a", "p/b"))
    world.faults.at(call, occurrence, Fault.KILL)
    with pytest.raises(Killed):
        world.drain()
    world.queue.redeliver(message_id)
    world.drain()

    assert world.landed() == {"p/a": A, "p/b": B}
    assert world.queue.deleted == [message_id]
    assert set(states(world).values()) == {"done"}
    assert world.queue.dead_letters == []


def test_stop_between_records_hands_the_rest_back(world: World) -> None:
    message_id = world.queue.send(notice("p/a", "p/b"))
    with world.running() as agent:

        def stop(call: str) -> None:
            if call == "ledger.finish":
                agent.request_stop(Stop.DRAIN)

        world.faults.after_effect = stop
        eventually(lambda: agent.totals.returned)
    assert world.landed() == {"p/a": A}
    assert world.queue.remaining == [message_id]

    world.faults.after_effect = lambda _call: None
    world.drain()
    assert world.landed() == {"p/a": A, "p/b": B}
    assert world.queue.deleted == [message_id]


def test_configuration_that_changed_meanwhile_does_not_move_a_begun_transfer(world: World) -> None:
    def change(call: str) -> None:
        if call == "ledger.claim" and world.faults.count("ledger.claim") == 1:
            world.store.put("p/a", b"newer")  # so that the next attempt plans anew
            world.routes = (route(event_destination="/land/new/{key_dir}/"),)

    world.faults.after_effect = change
    world.queue.send(notice("p/a"))
    world.drain()
    assert world.all_of(events.AttemptFailed)[0].code == "E_SRC_CHANGED"
    assert world.landed() == {"p/a": b"newer"}
    assert world.staging() == []


# ---------------------------------------------------------------- duplicates and stale events


def in_order(world: World, *sequencers: str | None) -> list[str]:
    """One message each, worked one after the other; the states."""
    found = []
    for sequencer in sequencers:
        message_id = world.queue.send(notice(record("p/a", sequencer=sequencer)))
        world.drain()
        found.append(states(world)[message_id])
    return found


def test_newer_events_are_copied_and_older_ones_are_not(world: World) -> None:
    assert in_order(world, "05", "06", "04", "06") == ["done", "done", "superseded", "superseded"]


def test_sequencers_compare_padded_on_the_right(world: World) -> None:
    # As numbers 0x1 < 0x05; padded on the right 1000 > 0500.
    assert in_order(world, "05", "1", "0A", "1000") == [
        *("done", "done"),
        *("superseded", "superseded"),
    ]


def test_event_without_a_sequencer_is_judged_by_its_object(world: World) -> None:
    assert in_order(world, "05", None) == ["done", "done"]
    (*_, last) = world.all_of(events.TransferDone)
    assert last.adopted == 1


def test_duplicate_copies_nothing(world: World) -> None:
    in_order(world, "05")
    gets = world.faults.count("store.get")
    assert in_order(world, "05") == ["superseded"]
    assert world.faults.count("store.get") == gets
    assert world.landed() == {"p/a": A}
    assert world.staging() == []


def test_old_event_of_an_object_that_is_gone_since_is_superseded(world: World) -> None:
    in_order(world, "05")
    world.store.remove("p/a")
    assert in_order(world, "05", "04") == ["superseded"] * 2
    assert world.landed() == {"p/a": A}
    assert world.queue.dead_letters == []


def change(world: World, data: bytes, version_id: str | None = None) -> None:
    world.clock.advance(1)
    world.store.put("p/a", data, version_id=version_id)


@pytest.mark.parametrize("forged", ["F" * 16, "f", "FFFFFFFFFFFFFFFFFF"])
def test_forged_sequencer_costs_later_events_nothing_but_a_look(world: World, forged: str) -> None:
    """S9: one forged event, and every genuine one after it is copied."""
    assert in_order(world, forged) == ["done"]
    for number, data in enumerate((b"second", b"third"), 1):
        change(world, data)
        assert in_order(world, f"0{number}") == ["done"]
        assert world.landed() == {"p/a": data}


def test_forged_sequencer_of_a_version_costs_no_later_version(world: World) -> None:
    world.store.put("p/a", b"first", version_id="v1")
    for version, sequencer, data in (("v1", "F" * 16, b"first"), ("v2", "02", b"second")):
        if version != "v1":
            change(world, data, version)
        message_id = world.queue.send(notice(record("p/a", versionId=version, sequencer=sequencer)))
        world.drain()
        assert states(world)[message_id] == "done"
        assert world.landed() == {"p/a": data}


def test_forged_marker_hides_no_later_marker(world: World) -> None:
    world.routes = (route(**EVENTS, marker="_SUCCESS"),)
    for sequencer, data in (("F" * 16, b""), ("01", b"second run")):
        world.clock.advance(1)
        world.store.put("p/_SUCCESS", data)
        world.store.put("p/a", data)
        message_id = world.queue.send(notice(record("p/_SUCCESS", sequencer=sequencer)))
        world.drain()
        assert states(world)[message_id] == "done"
        assert world.landed()["p/a"] == data


def test_version_replayed_with_a_forged_sequencer_brings_nothing_back(world: World) -> None:
    """S4: an old version that is sent again, as the newest event, changes nothing."""
    world.store.put("p/a", b"first", version_id="v1")
    change(world, b"second", "v2")
    for version, sequencer in (("v2", "02"), ("v1", "F" * 16)):
        world.queue.send(notice(record("p/a", versionId=version, sequencer=sequencer)))
        world.drain()
    assert world.landed() == {"p/a": b"second"}


def test_versions_of_one_second_are_distinguished_by_which_is_current(world: World) -> None:
    world.store.put("p/a", b"first", version_id="v1")
    world.store.put("p/a", b"second", version_id="v2")  # in the same second
    found = []
    for version, sequencer in (("v1", "F" * 16), ("v2", "02"), ("v1", "01")):
        message_id = world.queue.send(notice(record("p/a", versionId=version, sequencer=sequencer)))
        world.drain()
        found.append(states(world)[message_id])
    assert found == ["done", "done", "superseded"]
    assert world.landed() == {"p/a": b"second"}


def test_object_of_another_key_at_the_same_place_proves_nothing(world: World) -> None:
    in_order(world, "F" * 16)
    world.store.put("other/a", b"of another key")
    world.queue.send("raw/other/a, /land/p")
    world.drain()
    assert in_order(world, "01") == ["done"]
    assert world.landed() == {"p/a": A}


# ---------------------------------------------------------------- what an event claims of the size


def test_placeholder_is_ignored_once_s3_confirms_that_it_is_empty(world: World) -> None:
    world.store.put("p/sub/", b"")
    world.store.put("p/old_$folder$", b"")
    for key in ("p/sub/", "p/old_$folder$", "p/gone/"):
        world.queue.send(notice(record(key, size=0)))
    agent = world.drain()
    assert agent.totals.ignored == 3
    assert [one.reason for one in world.all_of(events.MessageIgnored)] == ["EVENT_DIRECTORY"] * 3


def test_forged_size_drops_no_object(world: World) -> None:
    world.store.put("p/x_$folder$", b"not empty at all")
    world.queue.send(notice(record("p/x_$folder$", size=0)))
    agent = world.drain()
    assert agent.totals.done == 1
    assert world.landed() == {"p/x_$folder$": b"not empty at all"}


def test_name_that_cannot_be_copied_dies_whatever_size_the_event_claims(world: World) -> None:
    world.store.put("p/sub/", b"not empty")
    world.queue.send(notice(record("p/sub/", size=0)))
    world.drain()
    assert codes_of(world) == ["E_SRC_KEY_TRAILING_SLASH"]


def test_placeholder_waits_for_s3_and_leaves_nothing_in_the_ledger(world: World) -> None:
    world.store.put("p/sub/", b"")
    down = OutageError.of("s3", "E_S3_UNREACHABLE", "no route to host")
    for call in ("store.current", "store.list"):
        world.faults.at(call, 1, Fault.FAIL, down)
    message_id = world.queue.send(notice(record("p/sub/", size=0)))
    agent = world.drain()
    assert (agent.totals.ignored, world.rows()) == (1, [])
    assert world.queue.deleted == [message_id]


def test_placeholder_of_a_bucket_that_is_refused_is_dead(world: World) -> None:
    world.routes = (route(**EVENTS, source_owner="1" * 12),)
    world.queue.send(notice(record("p/sub/", size=0)))
    world.drain()
    assert codes_of(world) == ["E_SRC_OWNER"]


def test_sequencers_of_other_keys_and_directories_do_not_count(world: World) -> None:
    in_order(world, "05")
    message_id = world.queue.send(notice(record("p/b", sequencer="04")))
    world.drain()
    world.routes = (route(event_destination="/land/other/"),)
    other_id = world.queue.send(notice(record("p/a", sequencer="04")))
    world.drain()
    assert states(world)[message_id] == states(world)[other_id] == "done"


def test_failed_transfer_does_not_make_its_event_the_newest(world: World) -> None:
    world.store.spoil_read("p/a", ReadFault.FLIP, times=2)
    assert in_order(world, "05") == ["done"]


def test_stale_marker_is_superseded_too(world: World) -> None:
    world.routes = (route(**EVENTS, marker="_SUCCESS"),)
    world.store.put("p/_SUCCESS", b"")
    for sequencer, state in (("06", "done"), ("05", "superseded"), ("07", "done")):
        message_id = world.queue.send(notice(record("p/_SUCCESS", sequencer=sequencer)))
        world.drain()
        assert states(world)[message_id] == state


# ---------------------------------------------------------------- versions and owners


def test_version_of_the_event_is_what_is_copied(world: World) -> None:
    world.store.put("p/v", b"first", version_id="v1")
    world.clock.advance(1)
    world.store.put("p/v", b"second", version_id="v2")
    world.queue.send(notice(record("p/v", versionId="v1", sequencer="01")))
    world.drain()
    assert world.landed() == {"p/v": b"first"}

    world.queue.send(notice(record("p/v", versionId="v2", sequencer="02")))
    world.drain()
    assert world.landed() == {"p/v": b"second"}


def test_older_version_that_comes_late_does_not_replace(world: World) -> None:
    world.store.put("p/v", b"first", version_id="v1")
    world.clock.advance(1)
    world.store.put("p/v", b"second", version_id="v2")
    for version in ("v2", "v1"):
        world.queue.send(notice(record("p/v", versionId=version)))  # without a sequencer
        world.drain()
    assert world.landed() == {"p/v": b"second"}


def test_version_that_is_gone_is_dead(world: World) -> None:
    world.queue.send(notice(record("p/a", versionId="never")))
    world.drain()
    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_SRC_EMPTY"


@pytest.mark.parametrize(("owner", "code"), [("000000000000", None), ("1" * 12, "E_SRC_OWNER")])
def test_bucket_of_another_account_is_refused(world: World, owner: str, code: str | None) -> None:
    world.routes = (route(**EVENTS, source_owner=owner),)
    world.queue.send(notice("p/a"))
    world.queue.send("raw/p/b, /land/d")
    world.drain()
    codes = [letter.reason and letter.reason.code for letter in world.queue.dead_letters]
    assert codes == ([code] * 2 if code else [])


# ---------------------------------------------------------------- limits


def test_only_so_many_begin_within_a_minute(world: World) -> None:
    world.routes = (route(limits=Limits(per_minute=2)),)
    for number in range(5):
        world.queue.send(f"raw/p/, /land/{number}")
    started: list[float] = []

    def note(call: str) -> None:
        if call == "ledger.finish":
            started.append(world.clock.monotonic())

    world.faults.after_effect = note
    world.drain()

    assert len(world.landed()) == 15
    assert started[2] - started[0] >= 60
    assert started[4] - started[2] >= 60
    assert {row.failures for row in world.rows()} == {0}


def test_transfer_that_waits_takes_its_turn_once(world: World) -> None:
    world.routes = (route(limits=Limits(per_minute=2)),)
    down = OutageError.of("s3", "E_S3_UNREACHABLE", "no route to host")
    for occurrence in range(1, 6):
        world.faults.at("store.list", occurrence, Fault.FAIL, down)
    world.queue.send("raw/p/, /land/1")
    world.queue.send("raw/p/, /land/2")
    began_s = world.clock.monotonic()
    world.drain()

    held_s = sum(fact.retry_in_s for fact in world.all_of(events.TransferHeld))
    assert len(world.landed()) == 6
    assert world.clock.monotonic() - began_s < held_s + 60


def test_newer_and_older_event_at_once_leave_the_newer_one(world: World) -> None:
    world.store.put("p/v", b"first", version_id="v1")
    world.store.put("p/v", b"second", version_id="v2")  # in the same moment
    for version, sequencer in (("v2", "06"), ("v1", "05"), ("v2", "06"), ("v1", "05")):
        world.queue.send(notice(record("p/v", versionId=version, sequencer=sequencer)))
    world.drain(slots=4, poll_wait_s=0)

    assert world.landed() == {"p/v": b"second"}
    assert set(states(world).values()) <= {"done", "superseded"}


def test_event_overtaken_between_its_look_and_its_claim_is_superseded(world: World) -> None:
    published: list[bool] = []

    def overtake(call: str) -> None:
        if call == "store.current" and not published:
            published.append(True)
            change(world, b"newer")
            world.queue.send(notice(record("p/a", sequencer="06")))
            world.drain()

    first = world.queue.send(notice(record("p/a", sequencer="05")))
    world.faults.after_effect = overtake
    world.drain()
    assert states(world)[first] == "superseded"
    assert world.all_of(events.AttemptFailed) == []
    assert world.landed() == {"p/a": b"newer"}
    assert world.staging() == []


def test_plan_is_counted_before_anything_is_copied(world: World) -> None:
    world.routes = (route(limits=Limits(objects=2500)),)
    for number in range(2501):
        world.store.put(f"many/{number:04}", b"x")
    world.queue.send("raw/many/, /land/d")
    world.drain()

    (letter,) = world.queue.dead_letters
    assert letter.reason is not None
    assert letter.reason.code == "E_POLICY_SIZE"
    assert "2,500 objects" in letter.reason.sentence
    assert world.faults.count("store.get") == 0


def test_plan_within_its_limits_is_copied(world: World) -> None:
    world.routes = (route(limits=Limits(objects=1100)),)
    for number in range(1100):
        world.store.put(f"many/{number:04}", b"x")
    world.queue.send("raw/many/, /land/d")
    world.drain()
    assert len(world.landed()) == 1100


# ---------------------------------------------------------------- signatures

KEY = b"k" * 32
BODY = "raw/p/a, /land/d"


def signed(world: World, *, nonce: str = "nonce-of-16-chars", body: str = BODY) -> dict[str, str]:
    expires = (world.clock.now() + timedelta(minutes=5)).isoformat()
    value = sign(KEY, body=body, queue=world.queue.facts.arn, expires=expires, nonce=nonce)
    return {ATTRIBUTE: value}


@pytest.fixture
def signing(world: World) -> World:
    world.routes = (route(signature=SignatureRule(keys=(b"old" * 11, KEY), max_age_s=3600)),)
    return world


def codes_of(world: World) -> list[str | None]:
    return [letter.reason.code if letter.reason else None for letter in world.queue.dead_letters]


def test_signed_message_is_carried_out(signing: World) -> None:
    signing.queue.send(BODY, signed(signing))
    signing.drain()
    assert signing.landed() == {"d/a": A}


def test_unsigned_message_and_one_for_another_body_are_dead(signing: World) -> None:
    signing.queue.send(BODY)
    signing.queue.send(BODY, signed(signing, body="raw/p/b, /land/d"))
    signing.drain()
    assert codes_of(signing) == ["E_SIG_MISSING", "E_SIG_BAD"]
    assert signing.landed() == {}


def test_copy_of_a_signed_message_is_a_replay(signing: World) -> None:
    attributes = signed(signing)
    signing.queue.send(BODY, attributes)
    signing.drain()
    signing.queue.send(BODY, attributes)
    signing.drain()
    assert codes_of(signing) == ["E_SIG_REPLAY"]


def test_redelivery_of_a_signed_message_is_no_replay_and_outlives_its_expiry(
    signing: World,
) -> None:
    signing.faults.at("store.list", 1, Fault.FAIL)
    signing.queue.send(BODY, signed(signing))
    signing.drain(retry=RetryPolicy(max_attempts=3, base_s=900))
    assert signing.landed() == {"d/a": A}
    assert codes_of(signing) == []


def test_one_nonce_is_for_all_records_of_a_message(signing: World) -> None:
    signing.routes = (route(**EVENTS, signature=signing.routes[0].signature),)
    body = notice("p/a", "p/b")
    signing.queue.send(body, signed(signing, body=body))
    signing.drain()
    assert signing.landed() == {"p/a": A, "p/b": B}


def test_replay_after_the_nonce_was_forgotten_is_late(signing: World) -> None:
    attributes = signed(signing)
    signing.queue.send(BODY, attributes)
    signing.drain()
    signing.clock.advance(15 * 24 * 3600)
    signing.queue.send(BODY, attributes)
    signing.drain()
    assert codes_of(signing) == ["E_SIG_EXPIRED"]
