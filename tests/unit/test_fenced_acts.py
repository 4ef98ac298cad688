"""What a process that others took for gone does not do any more, wherever it was suspended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.core.agent.dead_lettering import DEAD_LETTER_RETRY_S, DEAD_LETTER_TRIES
from backhaul.core.agent.stopping import Stop
from backhaul.core.errors import FencedOff, OutageError
from backhaul.core.fleet.standing import Alone
from backhaul.core.ports.cluster import AppState
from tests.unit.test_distcp import Submitting, engine, job
from tests.world import World, eventually


class Judged(Alone):
    """Others take this process for gone as soon as a call of the outside has had its effect."""

    def __init__(self, world: World, call: str) -> None:
        self._call = call
        self.is_judged = False
        world.faults.after_effect = self._note

    def _note(self, call: str) -> None:
        self.is_judged = self.is_judged or call == self._call

    def require(self) -> None:
        if self.is_judged:
            raise FencedOff("E_LEDGER_FENCED", "others took over")


def work_until_judged(world: World, call: str) -> None:
    with world.process() as ports:
        agent = world.agent(replace(ports, standing=Judged(world, call)))
        with pytest.raises(FencedOff):
            agent.run()
    world.faults.after_effect = lambda _call: None


def test_no_dead_letter_is_sent_for_a_message_that_others_have(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.queue.send("no request")
    work_until_judged(world, "ledger.begin")
    assert world.queue.dead_letters == []
    world.clock.advance(3600)
    world.drain()
    assert len(world.queue.dead_letters) == 1


def test_no_missing_dead_letter_is_sent_either(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.faults.always("queue.send_dead_letter", OutageError.of("sqs", "E_X", "down"))
    world.queue.send("no request")
    with world.running() as agent:
        eventually(lambda: world.faults.count("queue.send_dead_letter") >= DEAD_LETTER_TRIES)
        agent.request_stop(Stop.DRAIN)
    assert world.states == ["dead"]
    world.faults.never("queue.send_dead_letter")
    world.clock.advance(DEAD_LETTER_RETRY_S + 60)
    work_until_judged(world, "ledger.begin")
    assert world.queue.dead_letters == []
    world.clock.advance(3600)
    world.drain()
    assert len(world.queue.dead_letters) == 1


def test_no_application_is_submitted_or_killed(tmp_path: Path) -> None:
    hadoop = Submitting()
    cluster = engine(tmp_path, hadoop, AppState.RUNNING)

    def require() -> None:
        raise FencedOff("E_LEDGER_FENCED", "others took over")

    cluster.require = require
    with pytest.raises(FencedOff):
        cluster.submit(job(), lambda: None)
    assert hadoop.argv == ()
    with pytest.raises(FencedOff):
        cluster.kill("application_1_1")
