"""Messages that were received and not begun go back together when the agent stops."""

from __future__ import annotations

from pathlib import Path

import pytest

from backhaul.core import facts as events
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.returning import hand_back_all
from backhaul.core.agent.stopping import Stop
from backhaul.core.errors import OutageError, VisibilityLost
from backhaul.core.ports import Message
from backhaul.testing.fakes.faults import Fault
from tests.world import World

HIDDEN_S = 120


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def received(world: World, number: int) -> list[Message]:
    for one in range(number):
        world.queue.send(f"raw/a/{one}, /land/{one}")
    return [
        message
        for first in range(0, number, 10)
        for message in world.queue.receive(
            max_messages=min(10, number - first), wait_s=0, visibility_timeout_s=HIDDEN_S
        )
    ]


def handed_back(world: World, messages: list[Message]) -> Agent:
    with world.process() as ports:
        agent = world.agent(ports)
        for one in messages:
            agent.pollers[0].keeper.keep(one)
        agent.request_stop(Stop.DRAIN)
        hand_back_all(agent.pollers[0].context, messages)
    return agent


def hidden_s(world: World, messages: list[Message]) -> list[float]:
    return [world.queue.invisible_s(one.message_id) for one in messages]


def noted(world: World) -> list[str]:
    return [one.message_id for one in world.all_of(events.MessageReturned)]


def test_ten_go_back_by_one_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    messages, batches = received(world, 23), []
    extend_batch = world.queue.extend_batch

    def counted(changes: list[tuple[Message, int]]) -> object:
        batches.append(len(changes))
        return extend_batch(changes)

    monkeypatch.setattr(world.queue, "extend_batch", counted)
    agent = handed_back(world, messages)
    assert batches == [10, 10, 3]
    assert hidden_s(world, messages) == [0] * 23
    assert agent.totals.returned == 23
    assert noted(world) == [one.message_id for one in messages]


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST])
def test_one_of_them_that_fails_goes_back_by_a_call_of_its_own(world: World, fault: Fault) -> None:
    messages = received(world, 12)
    world.faults.at("queue.extend", 4, fault)
    handed_back(world, messages)
    assert hidden_s(world, messages) == [0] * 12
    assert world.faults.count("queue.extend") == 13
    assert len(noted(world)) == 12


def test_one_that_is_visible_already_keeps_none_of_the_others(world: World) -> None:
    messages = received(world, 3)
    world.faults.at("queue.extend", 2, Fault.FAIL, VisibilityLost("E_SQS_HANDLE", "expired"))
    handed_back(world, messages)
    assert hidden_s(world, messages) == [0, HIDDEN_S, 0]
    (lost,) = world.all_of(events.VisibilityWasLost)
    assert lost.message_id == messages[1].message_id
    assert len(noted(world)) == 3


def test_a_call_that_fails_as_a_whole_is_repeated(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages, extend_batch = received(world, 3), world.queue.extend_batch

    def refused(changes: list[tuple[Message, int]]) -> object:
        monkeypatch.setattr(world.queue, "extend_batch", extend_batch)
        raise OutageError.of("sqs", "E_SQS_UNREACHABLE", f"{len(changes)} were not answered")

    monkeypatch.setattr(world.queue, "extend_batch", refused)
    handed_back(world, messages)
    assert hidden_s(world, messages) == [0, 0, 0]
    assert len(world.all_of(events.CallRetried)) == 1
