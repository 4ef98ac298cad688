"""The completion marker on request: never before the data, there after every crash."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from backhaul.core.backoff import RetryPolicy
from backhaul.core.model import EvidencePlace, OnExists, PublishMode, TransferState
from backhaul.core.ports import AttemptStart, MessageKey, Ports
from backhaul.core.requests.body import parse_message
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.outcome import DONE, Budget, Verdict
from backhaul.testing.fakes import Fault, Killed
from tests.world import FS, World, location

MARKER = "/land/d/_SUCCESS"


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.store.put("p/a", b"A")
    world.store.put("p/z", b"Z")
    use(world, completion_marker="_SUCCESS")
    return world


@pytest.fixture
def ports(world: World) -> Iterator[Ports]:
    with world.process() as ports:
        yield ports


def use(world: World, **rules: Any) -> None:
    world.routes = tuple(replace(one, **rules) for one in world.routes)


def begin(ports: Ports, message: str) -> AttemptStart:
    key = MessageKey(queue="q", message_id=message)
    return ports.ledger.begin(key, f"t-{message}", "source", "target", ports.clock.now())


def attempt(
    world: World, ports: Ports, text: str = "raw/p/, /land/d", message: str = "m1", **job: Any
) -> Verdict:
    policy = Policy(routes=world.routes)
    world.faults.log.clear()
    decided = policy.decide(parse_message(text, default_fs=FS), sender_id=None)
    return Attempt(
        ports=ports,
        policy=lambda: policy,
        begun=begin(ports, message),
        job=replace(decided, **job),
        budget=Budget(retry=RetryPolicy(max_attempts=3)),
        message_id=message,
    ).run()


def renamed(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Final paths in the order of their renames; a tree's is its directory."""
    order: list[str] = []
    target = world.target
    original = target.rename

    def rename(source: str, path: str, *, replace: bool) -> None:
        original(source, path, replace=replace)
        if ".backhaul" not in path:
            order.append(path)

    monkeypatch.setattr(target, "rename", rename)
    return order


def die_at(world: World, name: str, occurrence: int = 1, **rules: Any) -> None:
    world.faults.at(name, occurrence, Fault.KILL)
    with world.process() as ports, pytest.raises(Killed):
        attempt(world, ports, **rules)
    world.faults.revive()
    world.clock.advance(13 * 3600)


def test_it_is_in_the_tree_before_its_one_rename(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = renamed(world, monkeypatch)
    assert attempt(world, ports) == DONE
    assert order == ["/land/d"]
    assert world.landed() == {"d/a": b"A", "d/z": b"Z", "d/_SUCCESS": b""}
    assert world.staging() == []


def test_file_by_file_it_is_last(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.store.put("p/_committed", b"C")
    order = renamed(world, monkeypatch)
    assert attempt(world, ports, publish=PublishMode.PER_FILE) == DONE
    assert order == [f"/land/d/{name}" for name in ("a", "z", "_committed", "_SUCCESS")]


def test_single_object_has_it_beside_the_file(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    order = renamed(world, monkeypatch)
    assert attempt(world, ports, "raw/p/a, /land/d") == DONE
    assert order == ["/land/d/a", MARKER]


def test_no_marker_without_the_wish(world: World, ports: Ports) -> None:
    use(world, completion_marker=None)
    assert attempt(world, ports) == DONE
    assert "d/_SUCCESS" not in world.landed()


def test_message_wants_one_of_another_name(world: World, ports: Ports) -> None:
    text = '{"v":1,"source":"s3://raw/p/","destination":"/land/d","marker":"_DONE"}'
    assert attempt(world, ports, text) == DONE
    assert world.landed().keys() == {"d/a", "d/z", "d/_DONE"}


@pytest.mark.parametrize("publish", [PublishMode.AUTO, PublishMode.PER_FILE])
def test_source_has_it_itself(world: World, ports: Ports, publish: PublishMode) -> None:
    world.store.put("p/_SUCCESS", b"mine")
    assert attempt(world, ports, publish=publish) == DONE
    assert world.landed()["d/_SUCCESS"] == b"mine"


@pytest.mark.parametrize("rule", list(OnExists))
@pytest.mark.parametrize("name", ["target.create", "target.rename", "ledger.intend"])
def test_death_at_any_call_leaves_no_marker_without_data(
    world: World, name: str, rule: OnExists
) -> None:
    use(world, publish=PublishMode.PER_FILE, on_exists=rule)
    for occurrence in range(1, 6):
        world.faults.at(name, occurrence, Fault.KILL)
        try:
            with world.process() as ports:
                attempt(world, ports)
        except Killed:
            landed = world.landed()
            assert "d/_SUCCESS" not in landed or {"d/a", "d/z"} <= landed.keys()
        world.faults.revive()
        world.clock.advance(13 * 3600)
    with world.process() as ports:
        attempt(world, ports)
    assert world.landed() == {"d/a": b"A", "d/z": b"Z", "d/_SUCCESS": b""}
    assert [row.state for row in world.rows()] == [TransferState.DONE]


def test_death_between_the_last_file_and_the_marker(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(world, publish=PublishMode.PER_FILE)
    # Of its own staging, then the two files: the fourth rename is the marker's.
    die_at(world, "target.rename", 4)
    assert world.landed() == {"d/a": b"A", "d/z": b"Z"}
    with world.process() as ports:
        order = renamed(world, monkeypatch)
        assert attempt(world, ports) == DONE
        assert ports.ledger.marker_at(location(MARKER)) == "t-m1"
    assert order == [MARKER]
    assert "store.get" not in [name for name, _ in world.faults.log]


def test_death_after_the_marker_adopts_it(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    use(world, publish=PublishMode.PER_FILE)
    die_at(world, "ledger.finish")
    with world.process() as ports:
        order = renamed(world, monkeypatch)
        assert attempt(world, ports) == DONE
    assert order == []


def test_older_marker_is_replaced_after_the_files(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.target.put(MARKER, b"old")
    order = renamed(world, monkeypatch)
    assert attempt(world, ports) == DONE
    assert order[-1] == MARKER
    assert world.landed()["d/_SUCCESS"] == b""


@pytest.mark.parametrize("rule", [OnExists.FAIL, OnExists.SAME_OK])
def test_what_is_there_is_not_replaced(world: World, ports: Ports, rule: OnExists) -> None:
    use(world, on_exists=rule)
    world.target.put(MARKER, b"old")
    verdict = attempt(world, ports)
    assert verdict.error is not None
    assert verdict.error.code == "E_DST_EXISTS"
    assert world.landed() == {"d/_SUCCESS": b"old"}


def test_empty_one_is_as_good_where_the_same_is(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(world, on_exists=OnExists.SAME_OK)
    world.target.put(MARKER, b"")
    assert attempt(world, ports) == DONE
    assert MARKER not in renamed(world, monkeypatch)


def test_second_object_of_a_directory_keeps_the_marker_of_the_first(
    world: World, ports: Ports
) -> None:
    use(world, on_exists=OnExists.FAIL)
    assert attempt(world, ports, "raw/p/a, /land/d", "m1") == DONE
    assert attempt(world, ports, "raw/p/z, /land/d", "m2") == DONE
    assert ports.ledger.marker_at(location(MARKER)) == "t-m2"


def test_directory_of_that_name_refuses(world: World, ports: Ports) -> None:
    world.target.put(f"{MARKER}/x", b"")
    verdict = attempt(world, ports)
    assert verdict.error is not None
    assert verdict.error.code == "E_DST_EXISTS"
    assert "d/a" not in world.landed()


def test_nothing_is_left_where_everything_has_to_be_there(world: World, ports: Ports) -> None:
    use(world, completion_marker=None)
    attempt(world, ports)
    use(world, completion_marker="_SUCCESS")
    assert attempt(world, ports, message="m2", adopts_only=True) == DONE
    assert "d/_SUCCESS" not in world.landed()


def test_death_before_the_manifest_beside_the_data_leaves_it_to_the_next_attempt(
    world: World,
) -> None:
    use(
        world,
        completion_marker=None,
        evidence=EvidencePlace.BESIDE,
        publish=PublishMode.PER_FILE,
    )
    # Two files, then the manifest, which is written beside them and renamed.
    die_at(world, "target.rename", 3)
    assert "d/.backhaul-t-m1.jsonl" not in world.landed()
    with world.process() as ports:
        assert attempt(world, ports) == DONE
    assert world.landed().keys() == {"d/a", "d/z", "d/.backhaul-t-m1.jsonl"}
    assert "store.get" not in [name for name, _ in world.faults.log]
