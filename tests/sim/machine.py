"""The simulated installation as rules that Hypothesis combines, and shrinks when a promise breaks.

A seed draws its troubles while it runs, so a long schedule that violates something stays long. Here
each trouble is a step of its own: what comes out of a violation is the shortest list of steps that
still shows it. Seeds go deeper in the same time; this is what one understands a finding by.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backhaul.core.model import PublishMode, VerifyLevel
from backhaul.testing.fakes import MemoryLedger, ReadFault
from tests.sim.ghost import STAGING, Violation
from tests.sim.scheduler import Task
from tests.sim.shape import CALL_KINDS, Shape
from tests.sim.world import OUTAGE_S, Running, Sim

KEYS = ("p/a", "p/s/b", "p/_SUCCESS")
ASKED = (
    ("p/a", "/land/d"),
    ("p/", "/land/d"),
    ("p/s/", "/land/d/s"),
    ("p/s/b", "/land/d/s"),
    ("p/", "/land"),
)
HOPELESS = ("rubbish", "raw/none/, /land/d", "raw/p/a, /elsewhere/d", "raw/p/a, /land/../d")
STRUCK = (
    *("ledger.begin", "ledger.claim", "ledger.intend", "ledger.finish", "ledger.fail"),
    "ledger.note_dead_letter",
    *("target.mkdir", "target.create", "target.write", "target.close", "target.rename"),
    *("target.remove", "store.list", "store.get", "queue.receive", "queue.extend"),
    *("queue.delete", "queue.send_dead_letter"),
)
FORMS = ("line", "uri", "json")
ORDERS = st.integers(0, 1 << 16)
SEATS = st.integers(0, 1)


class Stepped(Sim):
    """Nothing befalls it by chance: only what was struck, and what is down.

    Attributes:
        struck: The next call of a name, and what befalls it.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__(1, shape)
        self.struck: dict[str, str] = {}

    def draw(self, task: Task, name: str) -> str | None:
        kind = self.struck.pop(name, None)
        if kind is not None:
            return self._befall(task, name, kind)
        return "down" if self.is_down(name) else None

    def met(self, kind: str) -> None:
        """What has befallen it decides what is promised at the end."""
        self.shape = replace(self.shape, kinds=self.shape.kinds | {kind})

    def go_on(self, steps: int) -> None:
        for _ in range(steps):
            self._step()

    def wait(self, seconds: float) -> None:
        until_s = self.clock.now_s + seconds
        while self.clock.now_s < until_s:
            self._step()

    def settle(self) -> None:
        """No more trouble: everything must end, and end well."""
        self.is_calm = True
        self.struck.clear()
        self.down_until_s.clear()
        for process in self.seats:
            if process is not None:
                process.paused_until_s = 0.0
        self._drain()
        self.check_end()

    def end(self) -> None:
        """Or the greenlets of its agents would stay for ever."""
        for process in self.seats:
            if process is not None:
                self.scheduler.reap(process)


class Machine(RuleBasedStateMachine):
    """What may happen, in any order."""

    sim: Stepped
    is_broken = False

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A violation as Hypothesis takes it, with the story that led there."""
        try:
            yield
        except Violation as violation:
            self.is_broken = True
            story = "\n".join(self.sim.story)
            raise AssertionError(f"{violation}\n{story}") from violation

    @initialize(
        agents=st.integers(1, 2),
        slots=st.integers(1, 2),
        publish=st.sampled_from((PublishMode.AUTO, PublishMode.PER_FILE)),
        verify=st.sampled_from(tuple(VerifyLevel)),
        flags=st.tuples(st.booleans(), st.booleans(), st.booleans()),
    )
    def begin(
        self,
        agents: int,
        slots: int,
        publish: PublishMode,
        verify: VerifyLevel,
        flags: tuple[bool, bool, bool],
    ) -> None:
        is_versioned, has_checksums, is_fifo = flags
        self.sim = Stepped(
            Shape(
                agents=agents,
                slots=slots,
                publish=publish,
                verify=verify,
                keys=KEYS,
                messages=(),
                is_versioned=is_versioned,
                has_checksums=has_checksums,
                is_fifo=is_fifo,
            )
        )

    # ------------------------------------------------------------ who sends, and who writes to S3

    @rule(asked=st.sampled_from(ASKED), form=st.sampled_from(FORMS), is_newer=st.booleans())
    def send(self, asked: tuple[str, str], form: str, is_newer: bool) -> None:  # noqa: FBT001
        """Often about something that has just been written."""
        key, destination = asked
        if is_newer:
            self.put(next(one for one in KEYS if one.startswith(key)))
        body = _body(key, destination, form)
        self.sim.shape = replace(self.sim.shape, messages=(*self.sim.shape.messages, body))
        self.sim.leave(body, key, destination)

    @precondition(lambda self: not self.sim.hopeless)
    @rule(body=st.sampled_from(HOPELESS))
    def send_what_never_succeeds(self, body: str) -> None:
        self.sim.leave(body, "none", "/land")
        self.sim.hopeless.add(list(self.sim.ghost.asked)[-1])

    @rule(key=st.sampled_from(KEYS))
    def put(self, key: str) -> None:
        self.sim.met("overwrite")
        self.sim.overwrite(key)

    @rule(key=st.sampled_from(KEYS))
    def remove(self, key: str) -> None:
        if key not in self.sim.gone:
            self.sim.met("remove")
            self.sim.remove(key)

    @rule(key=st.sampled_from(KEYS), lie=st.sampled_from(tuple(ReadFault)))
    def lie(self, key: str, lie: ReadFault) -> None:
        self.sim.met("lie")
        self.sim.store.spoil_read(key, lie)

    @rule(again=st.integers(0, 9), kind=st.sampled_from(("redeliver", "reappear")))
    def deliver_again(self, again: int, kind: str) -> None:
        self.sim.met(kind)
        self.sim.random.seed(again)
        self.sim.befall_outside(kind)

    # ------------------------------------------------------------ time

    @rule(steps=st.integers(1, 60), order=ORDERS)
    def go_on(self, steps: int, order: int) -> None:
        self.sim.random.seed(order)
        with self._told():
            self.sim.go_on(steps)

    @rule(seconds=st.sampled_from((2, 30, 150, 400, 2000)), order=ORDERS)
    def wait(self, seconds: int, order: int) -> None:
        self.sim.random.seed(order)
        with self._told():
            self.sim.wait(seconds)

    # ------------------------------------------------------------ trouble

    @rule(call=st.sampled_from(STRUCK), kind=st.sampled_from(CALL_KINDS))
    def strike(self, call: str, kind: str) -> None:
        """The next call of this name."""
        self.sim.met(kind)
        self.sim.struck[call] = kind

    @rule(seat=SEATS)
    def kill(self, seat: int) -> None:
        if process := self._running(seat):
            self.sim.met("kill")
            self.sim.tell(f"{process.name} is killed")
            self.sim.kill(process)

    @rule(seat=SEATS)
    def stop(self, seat: int) -> None:
        if process := self._running(seat):
            self.sim.met("stop")
            self.sim._stop(process)

    @rule(seat=SEATS, is_beyond_ownership=st.booleans())
    def pause(self, seat: int, is_beyond_ownership: bool) -> None:  # noqa: FBT001 - drawn
        if process := self._running(seat):
            self.sim.met("lease" if is_beyond_ownership else "pause")
            self.sim.tell(f"{process.name} is paused")
            process.paused_until_s = self.sim.clock.now_s + 3000

    @rule(seat=SEATS)
    def resume(self, seat: int) -> None:
        if process := self._running(seat):
            process.paused_until_s = 0.0

    @rule(dependency=st.sampled_from(("s3", "hdfs", "sqs", "ledger")), is_down=st.booleans())
    def outage(self, dependency: str, is_down: bool) -> None:  # noqa: FBT001 - drawn
        self.sim.met("outage")
        self.sim.tell(f"{dependency} is {'down' if is_down else 'back'}")
        self.sim.down_until_s[dependency] = self.sim.clock.now_s + OUTAGE_S * is_down

    @precondition(lambda self: self.sim.files[0].transfers)
    @rule(number=st.integers(0, 9))
    def cancel(self, number: int) -> None:
        file = self.sim.files[0]
        ids = list(file.transfers)
        chosen = ids[number % len(ids)]
        if MemoryLedger(file, "operator").cancel(chosen):
            self.sim.met("cancel")
            self.sim.tell(f"{chosen} is cancelled")

    @precondition(lambda self: self.sim.routes and len(self.sim.ghost.asked) > 2)
    @rule()
    def take_the_route_away(self) -> None:
        self.sim.met("revoke")
        self.sim.tell("the route is taken away")
        self.sim.revoke()

    def _running(self, seat: int) -> Running | None:
        process = self.sim.seats[seat] if seat < len(self.sim.seats) else None
        return None if process is None or process.is_dead else process

    # ------------------------------------------------------------ what must hold in every state

    @invariant()
    def nothing_is_violated(self) -> None:
        """S3, S4, S5, S6, F1 and L4 are looked at with every call; here, that none was missed."""
        assert not self.sim.ghost.violations

    @invariant()
    def no_message_is_lost(self) -> None:
        """S1: sent is deleted, dead or still there, by id."""
        queue = self.sim.queue
        known = {*queue.deleted, *queue.remaining, *(one.message_id for one in queue.dead_letters)}
        assert self.sim.ghost.asked.keys() <= known
        for message_id in self.sim.ghost.ended:
            assert message_id in self.sim.ghost.dead or message_id in queue.deleted

    @invariant()
    def readers_see_whole_files(self) -> None:
        """S2: every final path holds a content that its object once had, renamed there."""
        ghost = self.sim.ghost
        for path, data in self.sim.target.files("/land").items():
            if STAGING not in path and not path.endswith("/.keep"):
                assert ghost.stored_checksums.get(data) == ghost.finals.get(path), path

    def teardown(self) -> None:
        """L1 to L3 and E1: once the trouble is over, everything ends, and ends well."""
        if not hasattr(self, "sim") or self.is_broken:
            return
        with self._told():
            self.sim.settle()
            self.sim.end()


def _body(key: str, destination: str, form: str) -> str:
    match form:
        case "line":
            return f"raw/{key}, {destination}"
        case "uri":
            return f"s3://raw/{key} ,{destination}"
        case _:
            source = f"s3://raw/{key}"
            return json.dumps({"v": 1, "source": source, "destination": destination})


def run_machine(examples: int, *, is_fixed: bool, shrinks: bool = True) -> None:
    """Many lists of steps; raises what the shortest bad one violates.

    Args:
        is_fixed: The same ones each time.
        shrinks: False: the first bad one will do.
    """
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            derandomize=is_fixed,
            database=None,
            deadline=None,
            phases=phases,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
