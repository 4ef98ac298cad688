"""Directories that are tables: the order in which their files appear, and what is said of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.core.backoff import RetryPolicy
from backhaul.core.facts import TableRecognised
from backhaul.core.model import OnExists, PublishMode
from backhaul.core.ports import MessageKey
from backhaul.core.requests.body import parse_message
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.outcome import DONE, Budget, Verdict
from backhaul.core.transfer.readers.tables import TableFormat, Turn, table_of, turn_of
from tests.world import FS, World, route

DELTA = (
    "_delta_log/00000000000000000000.json",
    "_delta_log/00000000000000000001.checkpoint.parquet",
    "_delta_log/00000000000000000001.json",
    "_delta_log/_last_checkpoint",
    "_delta_log/_sidecars/016ae953.parquet",
    "_change_data/cdc-0.parquet",
    "day=1/part-0.parquet",
    "zone/part-1.parquet",
)


@pytest.mark.parametrize(
    ("relative", "turn"),
    [
        ("part-0.parquet", Turn.DATA),
        ("day=1/_SUCCESS", Turn.MARKER),
        ("_change_data/cdc-0.parquet", Turn.DATA),
        ("_delta_log/00000000000000000000.json", Turn.LOG),
        ("db/table/_delta_log/00000000000000000000.json", Turn.LOG),
        ("_delta_log/_commits/00000000000000000002.uuid.json", Turn.LOG),
        ("_delta_log/_sidecars/a.parquet", Turn.DATA),
        ("_delta_log/_last_checkpoint", Turn.MARKER),
        ("not_delta_log/a.json", Turn.DATA),
        ("_delta_log", Turn.MARKER),
    ],
)
def test_turns(relative: str, turn: Turn) -> None:
    assert turn_of(relative) is turn


@pytest.mark.parametrize(
    ("relative", "table"),
    [
        ("_delta_log/00000000000000000000.json", TableFormat.DELTA),
        ("metadata/00001-b2.metadata.json", TableFormat.ICEBERG),
        ("db/t/metadata/v3.metadata.json", TableFormat.ICEBERG),
        ("db/t/metadata/version-hint.text", TableFormat.ICEBERG),
        ("metadata/snap-1.avro", None),
        ("data/metadata.json", None),
        ("version-hint.text", None),
        ("my_metadata/a.metadata.json", None),
    ],
)
def test_tables(relative: str, table: TableFormat | None) -> None:
    assert table_of(relative) is table


def attempt(world: World, **rules: object) -> Verdict:
    world.routes = (route(**rules),)
    policy = Policy(routes=world.routes)
    with world.process() as ports:
        begun = ports.ledger.begin(
            MessageKey(queue="q", message_id="m1"), "t1", "source", "target", ports.clock.now()
        )
        return Attempt(
            ports=ports,
            policy=lambda: policy,
            begun=begun,
            job=policy.decide(parse_message("raw/t/, /land/t", default_fs=FS), sender_id=None),
            budget=Budget(retry=RetryPolicy(max_attempts=3)),
            message_id="m1",
        ).run()


@pytest.mark.parametrize("rule", list(OnExists))
def test_log_of_delta_appears_after_its_data_and_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rule: OnExists
) -> None:
    world = World(tmp_path)
    for name in DELTA:
        world.store.put(f"t/{name}", name.encode())
    order: list[str] = []
    original = world.target.rename

    def rename(source: str, path: str, *, replace: bool) -> None:
        original(source, path, replace=replace)
        if ".backhaul" not in path:
            order.append(path.removeprefix("/land/t/"))

    monkeypatch.setattr(world.target, "rename", rename)
    verdict = attempt(
        world, publish=PublishMode.PER_FILE, on_exists=rule, completion_marker="_SUCCESS"
    )
    assert verdict == DONE
    data = {name for name in DELTA if turn_of(name) is Turn.DATA}
    log = [name for name in DELTA if turn_of(name) is Turn.LOG]
    assert set(order[: len(data)]) == data
    assert order[len(data) :] == [*log, "_delta_log/_last_checkpoint", "_SUCCESS"]


def test_tables_are_noted_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    for name in ("a/_delta_log/0.json", "a/_delta_log/1.json", "b/metadata/v1.metadata.json"):
        world.store.put(f"t/{name}", b"")
    assert attempt(world) == DONE
    assert [one.tables for one in world.all_of(TableRecognised)] == ["delta, iceberg"]
    assert [row.table_format for row in world.rows()] == ["delta, iceberg"]


def test_other_directories_are_no_tables(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.store.put("t/a", b"")
    assert attempt(world) == DONE
    assert world.all_of(TableRecognised) == []
    assert [row.table_format for row in world.rows()] == [None]
