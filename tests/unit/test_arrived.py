"""`backhaul arrived`: all of it, or what is missing; told by the exit code."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner, Result

from backhaul.app import arrived
from backhaul.app.arrived import arrival
from backhaul.app.places import parse_place
from backhaul.app.where import read_where
from backhaul.cli import cli
from backhaul.core.model import TransferState
from backhaul.core.ports import Act, Operator, OperatorEntry
from tests.docs.test_schemas import Checker, _schema
from tests.unit.test_where import NS, World, world

if TYPE_CHECKING:
    import pytest

__all__ = ["world"]  # the fixture


def run(world: World, *arguments: str) -> Result:
    return CliRunner().invoke(
        cli, ["arrived", *arguments, "--ledger", str(world.path)], standalone_mode=False
    )


def document(world: World, place: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run(world, place, "--json").stdout)
    assert Checker(_schema("arrived")).accepts(found)
    return found


def test_all_of_it_ends_with_0(world: World) -> None:
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a", "b"])
    world.done("s3://raw/y/", f"{NS}/landing/y", ["c"])
    done = run(world, "/landing")
    assert done.return_value == 0
    assert done.stdout.startswith("arrived: 2 transfers done, the last at ")
    found = document(world, "/landing")
    assert (found["is_complete"], found["arrived"], found["objects"]) == (True, 2, 3)
    for place in (f"{NS}/landing/x", "/landing/x/a", "s3://raw/x/", "s3://raw/"):
        assert run(world, place).return_value == 0, place


def test_what_has_not_ended_and_what_died_is_missing(world: World) -> None:
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    begun = world.begin("s3://raw/y/", f"{NS}/landing/y")
    dead = world.failed(
        world.begin("s3://raw/z/", f"{NS}/landing/z"), TransferState.DEAD, "E_SRC_EMPTY"
    )
    done = run(world, "/landing")
    assert done.return_value == 65
    assert done.stdout.splitlines() == [
        f"{dead}  dead E_SRC_EMPTY  s3://raw/z/ → {NS}/landing/z",
        f"{begun}  received  s3://raw/y/ → {NS}/landing/y",
        done.stdout.splitlines()[-1],
    ]
    assert done.stdout.splitlines()[-1].startswith("not arrived: 2 transfers missing, 1 transfer d")
    found = document(world, "/landing")
    assert [one["transfer_id"] for one in found["missing"]] == [dead, begun]
    assert run(world, "/landing/x").return_value == 0, "the others are elsewhere"
    assert run(world, "s3://raw/y/part").return_value == 65


def test_what_died_and_is_settled_is_not_missed(world: World) -> None:
    dead = world.failed(
        world.begin("s3://raw/z/", f"{NS}/landing/z"), TransferState.DEAD, "E_SRC_EMPTY"
    )
    assert run(world, "/landing").return_value == 65
    by = Operator(name="operator@edge1")
    act = OperatorEntry(at=world.now, by=by, act=Act.DELETE, subject=dead, outcome="done")
    world.ledger.note_act(act, deleted=[dead])
    done = run(world, "/landing")
    assert done.return_value == 65, "nothing has come"
    assert "nothing is under way, and what died is settled" in done.stdout
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    assert run(world, "/landing").return_value == 0


def test_a_place_that_the_ledger_does_not_know_is_an_error(world: World) -> None:
    world.done("s3://raw/x/", f"{NS}/landing/x", ["a"])
    assert "E_WHERE_NOTHING" in str(run(world, "/landing/other").exception)
    assert "E_WHERE: " in str(run(world, "landing").exception)


def test_of_very_many_the_old_ones_are_missed_too(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arrived, "LOOKED_AT", 2)
    old = world.begin("s3://raw/y/", f"{NS}/landing/y")
    for number in range(4):
        world.done(f"s3://raw/{number}/", f"{NS}/landing/{number}", ["a"])
    for place in ("/landing", "s3://raw/"):
        found = read_where(world.path, parse_place(place), most=2)
        assert found.has_more
        assert [one.id for one in arrival(world.path, found).missing] == [old]
        assert run(world, place).return_value == 65


def test_a_request_for_all_that_died_in_the_middle_of_its_list_is_missing(world: World) -> None:
    """What of it was to come here is not known; that nothing was would be a guess."""
    world.done("s3://raw/x/day=01/", f"{NS}/landing/x/day=01", ["a"])
    assert run(world, "/landing/x/day=01").return_value == 0
    half = world.stage("s3://raw/x/", f"{NS}/landing/x", ["0"], is_complete=False)
    assert run(world, "/landing/x/day=01").return_value == 65
    world.failed(half, TransferState.DEAD, "E_SRC_DENIED")
    for place in ("/landing/x/day=01", "/landing/x/day=01/a", "s3://raw/x/day=01/"):
        assert run(world, place).return_value == 65, place
    whole = world.stage("s3://raw/x/", f"{NS}/landing/x", ["1"])
    world.failed(whole, TransferState.DEAD, "E_SRC_DENIED")
    found = document(world, "/landing/x/day=01")
    assert [one["transfer_id"] for one in found["missing"]] == [half]
