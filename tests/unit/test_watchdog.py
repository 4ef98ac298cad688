"""A thread without a sign of life is noticed; one that rests, or a machine that slept, is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from backhaul.core.agent.settings import AgentSettings
from backhaul.core.agent.thread_watchdog import Heartbeat, HeartbeatMonitor
from backhaul.core.errors import BackhaulError, ExitCode, LedgerDamaged
from backhaul.core.facts import ThreadHung
from backhaul.core.fleet.standing import Alone
from backhaul.core.ports import Ports
from backhaul.settings.model import Settings
from backhaul.testing.fakes import FakeClock
from tests.world import World, eventually

LIMIT_S = 10.0


class Watched:
    """One heartbeat and the time between looks."""

    def __init__(self) -> None:
        self.clock, self.heartbeat = FakeClock(), Heartbeat()
        self.monitor = HeartbeatMonitor(self.clock, LIMIT_S)

    def look(self, *, times: int = 1, every_s: float = 1.0) -> list[str | None]:
        found = []
        for _ in range(times):
            self.clock.advance(every_s)
            found.append(self.monitor.check({"one": self.heartbeat}))
        return found


def test_a_silence_longer_than_the_limit_is_noticed_and_no_shorter_one() -> None:
    it = Watched()
    it.heartbeat.beat()
    assert it.look(times=11) == [None] * 11  # the first look hears the beat
    assert it.look() == ["one"]


def test_one_beat_begins_the_silence_anew() -> None:
    it = Watched()
    it.heartbeat.beat()
    it.look(times=11)
    it.heartbeat.beat()
    assert it.look(times=11) == [None] * 11


def test_who_rests_may_be_silent_for_ever() -> None:
    it = Watched()
    it.heartbeat.beat()
    it.look(times=8)
    it.heartbeat.rest()
    assert it.look(times=100) == [None] * 100


def test_a_machine_that_slept_for_a_day_hangs_nowhere() -> None:
    it = Watched()
    it.heartbeat.beat()
    it.look()
    assert it.look(every_s=86_400) == [None]
    assert it.look(times=4) == [None] * 4


def test_the_agent_is_watched_with_the_setting_that_operators_have() -> None:
    assert AgentSettings(host="h").watchdog_s == Settings().agent.watchdog_s


# ---------------------------------------------------------------- in the agent


class Hanging:
    """A method that never returns, until the test is over."""

    def __init__(self) -> None:
        self.is_reached, self.let_go = threading.Event(), threading.Event()

    def __call__(self, *_: Any, **__: Any) -> Any:
        self.is_reached.set()
        self.let_go.wait(60)
        return []


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def pass_time(world: World, agent_is_over: threading.Event) -> None:
    """The clock goes on for as long as the agent runs."""
    while not agent_is_over.wait(0.01):
        world.clock.advance(2.0)


def ended_with(world: World, **settings: Any) -> BackhaulError:
    over = threading.Event()
    with world.process() as ports:
        agent = world.agent(ports, drain=False, poll_wait_s=0, watchdog_s=6, **settings)
        passing = threading.Thread(target=pass_time, args=(world, over))
        passing.start()
        try:
            with pytest.raises(BackhaulError) as caught:
                agent.run()
        finally:
            over.set()
            passing.join()
    return caught.value


@pytest.mark.slow
def test_a_poll_that_never_returns_ends_the_process_with_its_code(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging = Hanging()
    monkeypatch.setattr(world.queue, "receive", hanging)
    try:
        error = ended_with(world)
    finally:
        hanging.let_go.set()
    assert error.code == "E_POLL_STUCK"
    assert error.exit_code == ExitCode.BUG
    (fact,) = world.all_of(ThreadHung)
    assert (fact.thread, fact.code) == ("poll", "E_POLL_STUCK")


def test_a_heartbeat_that_dies_ends_the_process_with_its_code(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    extend, hanging = world.queue.extend, Hanging()

    def broken_once(*given: Any) -> None:
        if threading.current_thread().name == "visibility":
            hanging.let_go.set()
            raise ArithmeticError("a defect")
        extend(*given)

    monkeypatch.setattr(world.queue, "extend", broken_once)
    monkeypatch.setattr(world.store, "list_page", hanging)  # a transfer that lasts
    world.queue.send("s3://raw/a, /land")
    error = ended_with(world)
    assert error.code == "E_HEARTBEAT_STUCK"
    assert isinstance(error.__cause__, ArithmeticError)
    eventually(lambda: world.all_of(ThreadHung))


@dataclass
class Thread:
    """Of a member's beats."""

    beats: int = 0
    is_resting: bool = False
    failure: BaseException | None = None


@dataclass
class Among(Alone):
    """A member of a ledger that several share."""

    beating: Thread  # type: ignore[assignment]


@pytest.mark.parametrize(
    ("failure", "code", "exit_code"),
    [
        (None, "E_LEDGER_BEAT_STUCK", ExitCode.BUG),
        (ArithmeticError("a defect"), "E_LEDGER_BEAT_STUCK", ExitCode.BUG),
        (LedgerDamaged("E_LEDGER_CORRUPT", "no lock"), "E_LEDGER_CORRUPT", ExitCode.CONFIGURATION),
    ],
)
def test_beats_that_hang_or_die_end_the_process(
    world: World, failure: Exception | None, code: str, exit_code: ExitCode
) -> None:
    among = Among(Thread(is_resting=failure is not None, failure=failure))
    process = world.process

    @contextmanager
    def in_a_fleet() -> Iterator[Ports]:
        with process() as ports:
            yield replace(ports, standing=among)

    world.process = in_a_fleet  # type: ignore[method-assign]
    error = ended_with(world)
    assert (error.code, error.exit_code) == (code, exit_code)
    assert failure in {error, error.__cause__}
    assert [(one.thread, one.code) for one in world.all_of(ThreadHung)] == [("member", code)]
    assert world.all_of(Exception) == [failure] * (failure is not None)
