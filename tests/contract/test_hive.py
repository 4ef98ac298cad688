"""The reply target `hive` through a real beeline on a real HiveServer2."""

from __future__ import annotations

import random
import re
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.hive import answers
from backhaul.adapters.hive.shell import WarehouseShell
from backhaul.adapters.hive.target import HiveTarget
from backhaul.core.errors import BackhaulError
from backhaul.core.replies.hiveql import HiveDialect, add_partitions, describe_partitions
from backhaul.core.replies.partitions import (
    HivePartition,
    HiveTable,
    PartitionColumn,
    PartitionedTable,
    is_same_place,
)
from testbed import Hive
from tests.fuzz.hiveql import TOKENS
from tests.unit.test_hive_target import REPLY

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

NASTY = 200
_UNENCODED = re.compile(r"%([0-9A-F]{2})")


def _target(
    hive: Hive, table: str, *directories: str, database: str = "lake", more: tuple[str, ...] = ()
) -> HiveTarget:
    shell = WarehouseShell(
        command=(str(hive.beeline), "-u", hive.endpoint, *more),
        dialect=HiveDialect.HIVE,
        limit_s=120,
    )
    wanted = HiveTable(database=database, table=table)
    return HiveTarget(shell, {"sales": wanted}, lambda reply: directories)


def _refusal(target: HiveTarget) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        target.deliver(REPLY)
    assert caught.value.hint
    return caught.value


def _create(hive: Hive, name: str, home: Path, columns: str) -> str:
    hive.execute(
        f"CREATE EXTERNAL TABLE lake.{name} (line STRING) PARTITIONED BY ({columns})"
        f" LOCATION 'file:{home}';"
    )
    return f"file://{home}"


def test_partitions_are_registered_once_and_what_is_elsewhere_is_found(
    hive: Hive, tmp_path: Path
) -> None:
    home = _create(hive, "walk", tmp_path, "dt STRING, hour INT")
    first = tmp_path / "dt=2026-12-01" / "hour=07"
    first.mkdir(parents=True)
    (first / "part-0").write_text("one\ntwo\n")
    target = _target(hive, "walk", f"{home}/dt=2026-12-01/hour=07", f"{home}/dt=a%3Ab/hour=8")
    target.deliver(REPLY)
    target.deliver(replace(REPLY, key="again"))
    # `07` and `7` of an int are one partition; IF NOT EXISTS says nothing of the other directory.
    error = _refusal(_target(hive, "walk", f"{home}/dt=2026-12-01/hour=7"))
    assert error.code == "E_HIVE_LOCATION"
    assert "hour=07" in error.message
    rows = hive.execute(
        "SHOW PARTITIONS lake.walk; SELECT line, dt, hour FROM lake.walk WHERE hour = 7;"
    )
    assert rows.splitlines() == [
        *("dt=2026-12-01/hour=7", "dt=a%3Ab/hour=8"),
        *("one\t2026-12-01\t7", "two\t2026-12-01\t7"),
    ]


def test_what_the_server_refuses_has_a_code_and_a_fix(hive: Hive, tmp_path: Path) -> None:
    hive.execute("CREATE EXTERNAL TABLE lake.flat (line STRING);")
    home = f"file://{tmp_path}"
    assert _refusal(_target(hive, "nothing", home)).code == "E_HIVE_TABLE"
    assert _refusal(_target(hive, "x", home, database="nowhere")).code == "E_HIVE_DATABASE"
    assert _refusal(_target(hive, "flat", home)).code == "E_HIVE_UNPARTITIONED"


def test_no_server_and_a_password_that_nobody_types(hive: Hive) -> None:
    shell = WarehouseShell(
        command=(str(hive.beeline), "-u", "jdbc:hive2://127.0.0.1:1/;auth=noSasl"),
        dialect=HiveDialect.HIVE,
        limit_s=60,
    )
    gone = HiveTarget(shell, {"sales": HiveTable(database="lake", table="x")}, lambda reply: ())
    assert _refusal(gone).code == "E_HIVE_CONNECT"
    # This server lets everyone in, so it is the statement that fails; what matters: it ends.
    asks = _refusal(_target(hive, "nothing", more=("-n", "me", "-p")))
    assert asks.code in {"E_HIVE_LOGIN", "E_HIVE_TABLE"}


def _nasty(source: random.Random) -> list[str]:
    found = {token for token in TOKENS if "/" not in token}
    while len(found) < NASTY:
        found.add("".join(source.choice(TOKENS) for _ in range(source.randint(1, 6))))
    return sorted(
        value.replace("/", "|")
        for value in found
        if not value.startswith("__HIVE_DEFAULT_") and not value.endswith(" ")
    )


@pytest.mark.parametrize(
    "looked_at", [10, pytest.param(NASTY, marks=[pytest.mark.long, pytest.mark.slow])]
)
def test_no_value_becomes_anything_else(hive: Hive, tmp_path: Path, looked_at: int) -> None:
    name = f"nasty{looked_at}"
    home = _create(hive, name, tmp_path, "v STRING")
    table = PartitionedTable(
        database="lake",
        name=name,
        columns=(PartitionColumn(name="v", type="string"),),
        location=home,
    )
    source = random.Random(looked_at)
    values = _nasty(source)
    partitions = [
        HivePartition(values=(value,), location=f"{home}/{number}-{value}")
        for number, value in enumerate(values)
    ]
    looked = source.sample(partitions, min(looked_at, len(partitions)))
    adds = [
        add_partitions(table, partitions[at : at + 50], HiveDialect.HIVE)
        for at in range(0, len(partitions), 50)
    ]
    looks = describe_partitions(table, looked, HiveDialect.HIVE)
    lines = hive.execute(
        "\n".join(["SHOW TABLES IN lake;", *adds, *looks, f"SHOW PARTITIONS lake.{name};"])
        + "\nSHOW TABLES IN lake;\n"
    ).split("\n")  # and at no other character that ends a line somewhere
    names = [line.removeprefix("v=") for line in lines if line.startswith("v=")]
    decoded = [_UNENCODED.sub(lambda match: chr(int(match[1], 16)), each) for each in names]
    assert sorted(decoded) == sorted(values)
    places = answers.partition_locations(lines)
    assert len(places) == len(looked)
    for partition, place in zip(looked, places, strict=True):
        assert is_same_place(partition.location, place), ascii((partition, place))
