"""`backhaul demo --fleet`: when it counts as shown, and what it says where something is missing."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from backhaul.cli import demo
from backhaul.core.errors import OutageError
from backhaul.demo import fleet
from backhaul.testing.servers.postgres import programs

WHOLE = fleet.FleetEnd(
    files=4,
    identical=4,
    different=[],
    surplus=[],
    transfers=2,
    done=2,
    proven=4,
    queued=0,
    dead=0,
    taken_over={"day=01": 38.0},
)


def test_all_that_arrived_once_is_complete() -> None:
    assert WHOLE.is_complete


@pytest.mark.parametrize(
    "flaw",
    [
        {"identical": 3, "different": ["click/day=01/part-00000"]},
        {"surplus": ["click/.backhaul/part-00000"]},
        {"done": 1},
        {"proven": 3},
        {"queued": 1},
        {"dead": 1},
        {"taken_over": {}},
        {"taken_over": {"day=01": 38.0, "day=02": None}},
    ],
    ids=str,
)
def test_anything_less_is_not(flaw: dict[str, Any]) -> None:
    assert not replace(WHOLE, **flaw).is_complete


@pytest.mark.parametrize("other", ["--hdfs", "--dashboard"])
def test_it_is_a_demo_of_its_own(other: str) -> None:
    found = CliRunner().invoke(demo.command, ["--fleet", other])
    assert found.exit_code != 0
    assert "leave out --hdfs and --dashboard" in found.output


def begin(directory: Path) -> str:
    with (
        pytest.raises(OutageError) as caught,
        fleet.started(directory, lambda _step: None),
    ):
        pytest.fail("it began")
    assert caught.value.code == "E_DEMO_SERVER"
    return str(caught.value)


def test_without_the_driver_it_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    assert "pip install 'backhaul[demo,postgres]'" in begin(tmp_path)


def test_without_postgresql_and_root_it_names_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(programs, "_VERSIONS", "no-such-place/*/bin")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("BACKHAUL_TESTBED_CACHE", str(tmp_path / "cache"))
    assert "install: apt-get install postgresql" in begin(tmp_path)
