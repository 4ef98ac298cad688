"""One attempt through fakes: the order of its steps, and each way out of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from backhaul.core import facts as events
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import LedgerDamaged, PermanentError, TransientError
from backhaul.core.model import TransferState
from backhaul.core.ports import AttemptStart, MessageKey, Ports
from backhaul.core.requests.body import parse_message
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.outcome import DONE, WAIT, Budget, Disposition, Verdict
from backhaul.testing.fakes import Fault, Killed
from tests.world import FS, World

PERMANENT = PermanentError("E_X", "for good")
TRANSIENT = TransientError("E_X", "for now")
FILES = {"d/a": b"A", "d/b": b"B"}


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    world.store.put("p/a", b"A")
    world.store.put("p/b", b"B")
    return world


@pytest.fixture
def ports(world: World) -> Iterator[Ports]:
    with world.process() as ports:
        yield ports


def begin(ports: Ports, message: str = "m1") -> AttemptStart:
    key = MessageKey(queue="q", message_id=message)
    return ports.ledger.begin(key, f"t-{message}", "source", "target", ports.clock.now())


def attempt(
    world: World, ports: Ports, text: str = "raw/p/, /land/d", message: str = "m1"
) -> Verdict:
    """One attempt of a message; the calls before it are forgotten."""
    begun = begin(ports, message)
    policy = Policy(routes=world.routes)
    world.faults.log.clear()
    return Attempt(
        ports=ports,
        policy=lambda: policy,
        begun=begun,
        job=policy.decide(parse_message(text, default_fs=FS), sender_id=None),
        budget=Budget(retry=RetryPolicy(max_attempts=3)),
        message_id=message,
    ).run()


def calls(world: World, *names: str) -> list[str]:
    """Those of these names, in order, each once."""
    return list(dict.fromkeys(name for name, _ in world.faults.log if name in names))


def die_at(world: World, name: str, text: str = "raw/p/, /land/d") -> None:
    """A process that is killed there; the next one finds what it left."""
    world.faults.at(name, 1, Fault.KILL)
    with world.process() as ports, pytest.raises(Killed):
        attempt(world, ports, text)
    world.faults.revive()
    world.clock.advance(13 * 3600)


def refuse(monkeypatch: pytest.MonkeyPatch, ports: Ports, name: str) -> None:
    """The ledger says that the destination is not owned any more."""
    monkeypatch.setattr(ports.ledger, name, lambda *_args, **_named: False, raising=False)


# ---------------------------------------------------------------- the good way


def test_every_step_follows_the_one_before(world: World, ports: Ports) -> None:
    left: list[str] = []

    def look(name: str) -> None:
        if name == "ledger.finish":
            left.extend(world.staging())

    world.faults.after_effect = look
    assert attempt(world, ports) == DONE
    steps = (
        *("store.list", "ledger.claim", "target.mkdirs", "store.get", "ledger.intend"),
        *("target.rename", "ledger.finish"),
    )
    assert calls(world, *steps) == list(steps)
    assert left == [], "staging is removed before the record"
    assert world.landed() == FILES


def test_frozen_plan_is_claimed_without_listing_again(world: World) -> None:
    die_at(world, "store.get")
    with world.process() as ports:
        assert attempt(world, ports) == DONE
    assert calls(world, "store.list", "store.head", "ledger.claim") == ["ledger.claim"]


def test_plan_without_a_destination_is_listed_again(world: World) -> None:
    die_at(world, "ledger.claim")
    with world.process() as ports:
        assert attempt(world, ports) == DONE
    assert calls(world, "store.list", "ledger.claim") == ["store.list", "ledger.claim"]


def test_superseded_is_recorded_as_such(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.core.transfer.publishing.is_newer", lambda before, planned: True)
    assert attempt(world, ports, "raw/p/a, /land/d") == DONE
    assert [row.state for row in world.rows()] == [TransferState.SUPERSEDED]
    (done,) = world.all_of(events.TransferDone)
    assert (done.publish, done.is_superseded) == ("superseded", True)
    assert world.staging() == []


# ---------------------------------------------------------------- claims


def test_busy_destination_waits_unspent(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ports.ledger, "claim", lambda *_args, **_named: None, raising=False)
    assert attempt(world, ports) == WAIT
    assert calls(world, "target.mkdirs", "store.get") == []


@pytest.mark.parametrize(
    ("died_at", "is_looked_for"),
    [("ledger.finish", True), ("ledger.intend", False), ("ledger.claim", False)],
    ids=["after the intent", "before the intent", "without a plan"],
)
def test_only_an_interrupted_publish_is_looked_for(
    world: World, died_at: str, *, is_looked_for: bool
) -> None:
    die_at(world, died_at)
    with world.process() as ports:
        assert attempt(world, ports) == DONE
    assert ("ledger.earlier_proofs" in calls(world, "ledger.earlier_proofs")) is is_looked_for
    assert world.landed() == FILES


def test_interrupted_publish_of_a_forgotten_plan_is_not_looked_for(world: World) -> None:
    die_at(world, "ledger.finish")
    with world.process() as ports:
        begin(ports)
        ports.ledger.forget_plan("t-m1")
        assert attempt(world, ports) == DONE
    assert calls(world, "ledger.earlier_proofs") == []


def test_complete_recovery_copies_nothing(world: World) -> None:
    die_at(world, "ledger.finish")
    with world.process() as ports:
        assert attempt(world, ports) == DONE
    assert calls(world, "store.get", "target.mkdirs", "target.rename") == []
    (done,) = world.all_of(events.TransferDone)
    assert (done.publish, done.adopted) == ("adopted", 2)
    assert world.staging() == []


def test_partial_recovery_goes_on_with_the_fence(world: World) -> None:
    die_at(world, "ledger.finish")
    world.target.remove("/land/d/b")
    with world.process() as ports:
        assert attempt(world, ports) == DONE
    steps = ("ledger.earlier_proofs", "target.mkdirs", "store.get", "target.rename")
    assert calls(world, *steps) == list(steps)
    assert world.landed() == FILES
    assert [done.adopted for done in world.all_of(events.TransferDone)] == [1]
    assert world.all_of(events.ForeignStaging) == [], "what it left itself is no other ledger's"


@pytest.mark.parametrize(("highest", "epoch"), [(1, 2), (17, 18)])
def test_staging_from_a_lost_ledger_is_outbid(
    world: World, ports: Ports, highest: int, epoch: int
) -> None:
    claim, epochs = ports.ledger.claim, []

    def claimed(*args: Any, **named: Any) -> Any:
        found = claim(*args, **named)
        assert found is not None
        epochs.append(found.epoch)
        world.target.mkdirs(f"{found.staging_root.path}/{highest}")
        return found

    ports.ledger.claim = claimed  # type: ignore[method-assign]
    assert attempt(world, ports) == DONE
    assert epochs[:2] == [1, epoch]
    assert world.landed() == FILES
    # Each claim finds it anew here, below its own epoch from the second on.
    (warned,) = world.all_of(events.ForeignStaging)
    assert (warned.epoch, warned.own_epoch, warned.code) == (highest, 1, "W_DST_SHARED")
    assert warned.destination.endswith("/land/d")


@pytest.mark.parametrize("step", ["intend", "finish"])
def test_lost_ownership_settles_nothing(
    world: World, ports: Ports, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    refuse(monkeypatch, ports, step)
    assert attempt(world, ports) == WAIT
    assert world.all_of(events.TransferDone) == []
    assert bool(world.landed()) is (step == "finish")


# ---------------------------------------------------------------- failures


def test_dead_transfer_removes_its_staging_first(world: World, ports: Ports) -> None:
    world.faults.at("store.get", 1, Fault.FAIL, PERMANENT)
    verdict = attempt(world, ports)
    assert verdict == Verdict(disposition=Disposition.DEAD, error=PERMANENT)
    assert calls(world, "target.mkdirs") != []
    assert world.staging() == []


def test_dead_transfer_is_never_recorded_as_done(world: World, ports: Ports) -> None:
    world.faults.at("ledger.finish", 1, Fault.FAIL, PERMANENT)
    verdict = attempt(world, ports)
    assert verdict == Verdict(disposition=Disposition.DEAD, error=PERMANENT)
    assert world.faults.count("ledger.finish") == 1
    assert world.all_of(events.TransferDone) == []


def test_dead_before_a_claim_has_no_staging(world: World, ports: Ports) -> None:
    world.faults.at("store.list", 1, Fault.FAIL, PERMANENT)
    verdict = attempt(world, ports)
    assert verdict == Verdict(disposition=Disposition.DEAD, error=PERMANENT)
    assert [name for name, _ in world.faults.log if name.startswith("target.")] == []


def test_failed_attempt_leaves_staging_to_the_next_fence(world: World, ports: Ports) -> None:
    world.faults.at("ledger.intend", 1, Fault.FAIL, TRANSIENT)
    verdict = attempt(world, ports)
    assert verdict == Verdict(disposition=Disposition.RETRY, error=TRANSIENT)
    assert world.staging() != []


def test_changed_source_drops_the_plan(world: World, ports: Ports) -> None:
    def change(name: str) -> None:
        if name == "ledger.claim":
            world.store.put("p/a", b"new")

    world.faults.after_effect = change
    verdict = attempt(world, ports)
    assert verdict.error is not None
    assert verdict.error.code == "E_SRC_CHANGED"
    assert calls(world, "ledger.forget_plan") == ["ledger.forget_plan"]


def test_damaged_ledger_judges_no_message(world: World, ports: Ports) -> None:
    world.faults.at("ledger.claim", 1, Fault.FAIL, LedgerDamaged("E_X", "torn"))
    with pytest.raises(LedgerDamaged):
        attempt(world, ports)
