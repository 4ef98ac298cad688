"""A simulated installation: agents, queue, store, target and ledger, and what befalls them."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date, datetime
from functools import partial
from types import TracebackType
from typing import Any, cast

from backhaul.adapters.digests import new_digest
from backhaul.adapters.ledger.postgres.members.member import Member
from backhaul.adapters.ledger.postgres.moment import ServerMoment
from backhaul.app.facts import fan_out
from backhaul.core import facts as events
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.pausing.budgets import BudgetGate
from backhaul.core.agent.settings import AgentSettings, WorkedQueue
from backhaul.core.agent.stopping import Stop
from backhaul.core.agent_report import REPORT_EVERY_S
from backhaul.core.backoff import RetryPolicy
from backhaul.core.cost.budget import (
    BudgetPer,
    BudgetRaise,
    BudgetUnit,
    EgressBudget,
    period_at,
)
from backhaul.core.cost.prices import INTERNET
from backhaul.core.errors import BackhaulError, FencedOff, OutageError, TransientError
from backhaul.core.fleet.standing import Alone
from backhaul.core.model import (
    Assignment,
    EvidencePlace,
    Location,
    OnExists,
    PublishMode,
    Request,
    Route,
    TransferState,
    VerifyLevel,
)
from backhaul.core.objects import Pin, StagedObject
from backhaul.core.ports import (
    Clock,
    DeadLetterReason,
    Endpoint,
    ListedPage,
    Message,
    PausedRoute,
    Ports,
    Queue,
    StageTask,
    TargetFs,
)
from backhaul.core.requests.pauses import FRESH_S
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.evidence import files as evidence_files
from backhaul.core.transfer.evidence import object_line
from backhaul.core.transfer.outcome import MAX_SOURCE_CHANGES
from backhaul.engines.session import _SEEN_BY_OTHERS
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import (
    FakeQueue,
    FakeRandomness,
    FakeStore,
    FakeTarget,
    Faults,
    InlinePool,
    Killed,
    MemoryFile,
    MemoryLedger,
    ReadFault,
)
from backhaul.testing.fakes.inline import InlineSession
from backhaul.testing.fakes.listing_faults import FOREIGN_KEY, LISTING_FAULTS
from backhaul.testing.fakes.memory_file import MemoryTransfer
from backhaul.testing.fakes.store import FakeBody
from tests.sim import fleet
from tests.sim import replies as sim_replies
from tests.sim.failover import NodeMemory, Servers, copy_of
from tests.sim.ghost import STAGING, Asked, Ghost, Violation
from tests.sim.replies import ReceivedReplies, Replies, check_replies
from tests.sim.reports import Reports, check_sums
from tests.sim.scheduler import Process, Scheduler, SimCondition, SimEvent, SimExecutor, Task
from tests.sim.shape import (
    AWAY_S,
    CALL_KINDS,
    FAILOVER_KINDS,
    FLEET_KINDS,
    FROZEN_S,
    OUTSIDE_KINDS,
    Shape,
)

FS = "hdfs://ns1"
MARKER = "_SUCCESS"
EVIDENCE = "/.backhaul-"
TUNING = Tuning(small_bytes=1 << 10, large_bytes=1 << 20, ranges=1, tries=2)
MESSAGE_S = 120
LISTING_FAULTS_SHARE = 0.5  # of all lies
WORKER_CALLS = ("target.", "store.get", "store.head")
DOWN = {
    "target": "hdfs",
    "store": "s3",
    "ledger": "ledger",
    "member": "ledger",
    "queue": "sqs",
    "pool": "target",
    "reply": "reply",
}
MOST_STEPS, MOST_STEPS_OF_FLEET = 30_000, 15_000
OUTAGE_S = 3600.0
START_AGAIN_S = 5.0
STALL_S, SILENCE_S, LOOK_S = 120.0, 190.0, 10.0


@dataclass(kw_only=True, eq=False)
class Running(Process):
    """One incarnation of an agent."""

    seat: int
    agent: Agent | None = None
    pool: SimPool | None = None
    reports: Reports | None = None
    replies: Replies | None = None
    member: Member | None = None
    ledger: MemoryLedger | None = None
    memory: NodeMemory | None = None
    moment: ServerMoment | None = None  # of its last transaction
    beat_s: float = 0.0  # its last beat that was committed
    cut_until_s: float = 0.0  # from the ledger, which others reach


class SimPool(InlinePool):
    """Its sessions end with their agent; the call under way may not."""

    process: Running

    def __init__(self, process: Running, scheduler: Scheduler, **parts: Any) -> None:
        super().__init__(**parts)
        self.process = process
        self.scheduler = scheduler
        self.check_begin: Callable[[Running, str], None] = lambda _process, _name: None

    def lend(self, target: TargetFs) -> InlineSession:
        return _Session(self, target)


class _Session(InlineSession):
    def _refuse_aborted(self) -> None:
        pool = self._pool
        assert isinstance(pool, SimPool)
        if pool.process.is_dead:
            raise Killed("the pipe is closed")
        super()._refuse_aborted()

    def _call(self, operation: Any, /, *arguments: Any, **named: Any) -> Any:
        pool = self._pool
        assert isinstance(pool, SimPool)
        if operation in _SEEN_BY_OTHERS and pool.process.member is not None:
            pool.process.member.require()
            pool.check_begin(pool.process, operation.__name__)
        try:
            return super()._call(operation, *arguments, **named)
        except Stalled as stalled:
            raise OutageError.of("target", "E_TARGET_STALLED", str(stalled)) from stalled

    def stage(
        self,
        tasks: Iterator[Sequence[StageTask]],
        directory: Location,
        verify: VerifyLevel,
        more: Callable[[int], None] | None = None,
    ) -> Iterator[Sequence[StagedObject]]:
        try:
            yield from super().stage(tasks, directory, verify, more)
        except Stalled as stalled:
            raise self._after_silence(str(stalled)) from stalled

    def _stage_during_a_call(self) -> None:
        try:
            super()._stage_during_a_call()
        except Stalled as stalled:
            if self._staging is not None:
                self._staging.error = self._after_silence(str(stalled))

    def _after_silence(self, call: str) -> BackhaulError:
        """As the session of a real worker: it waits for as long as the watch wants to."""
        pool = self._pool
        assert isinstance(pool, SimPool)
        watch = self._watch
        assert watch is not None
        still_s = STALL_S
        while True:
            if error := watch.look(still_s, STALL_S):
                return error
            if not watch.is_waiting:
                return TransientError("E_WORKER_STALLED", f"{call} gave no answer")
            pool.scheduler.sleep(LOOK_S)
            self._refuse_aborted()
            still_s += LOOK_S


class _Gate(BudgetGate):
    """Counts what may be read whatever the budget."""

    def __init__(self, sim: Sim, ledger: MemoryLedger) -> None:
        super().__init__(ledger, sim.clock, sim._emit, INTERNET)
        self._sim = sim

    def reserve(self, transfer_id: str, route: str, size_bytes: int, *, is_forced: bool) -> None:
        super().reserve(transfer_id, route, size_bytes, is_forced=is_forced)
        self._sim.finished_bytes += size_bytes * is_forced

    def extend(self, transfer_id: str, size_bytes: int) -> None:
        super().extend(transfer_id, size_bytes)
        one = self._reserved.get(transfer_id)
        if one is not None:
            self._sim.finished_bytes += size_bytes * one.is_forced


class Stalled(BaseException):
    """A worker's call never returned; nothing in the worker notices."""


class SimFaults(Faults):
    """Lets the scheduler decide before each call, and after it."""

    def __init__(self, sim: Sim) -> None:
        super().__init__()
        self._sim = sim

    def call(  # type: ignore[override]
        self, name: str, lost: Callable[[str], BackhaulError] | None = None
    ) -> _Call:
        return _Call(self._sim, name, lost)


class _Call:
    __slots__ = ("_fault", "_lost", "_name", "_sim", "_task")

    def __init__(self, sim: Sim, name: str, lost: Callable[[str], BackhaulError] | None) -> None:
        self._sim = sim
        self._name = name
        self._lost = lost
        self._fault: str | None = None
        self._task: Task | None = None

    def __enter__(self) -> None:
        sim = self._sim
        task = sim.scheduler.current
        if task is None:
            return  # the test itself
        self._task = task
        task.call = self._name
        sim.allow(task)
        if self._name == "ledger.intend" and not sim.routes:
            sim.ghost.broken("S5 an intent for a route that has been taken away")
        sim.begins(task, self._name)
        sim.scheduler.switch()
        sim.allow(task)
        if task.is_zombie:
            return
        fault = sim.draw(task, self._name)
        if fault in {None, "lost", "kill after", "unsent"}:
            sim.lock(task, self._name, is_kept=fault != "unsent")
        if fault is None:
            return
        if fault == "kill":
            raise Killed(self._name)
        if fault == "fail":
            raise self._unanswered()
        if fault == "stall":
            raise Stalled(self._name)
        if fault == "down":
            dependency = DOWN[self._name.split(".")[0]]
            raise OutageError.of(dependency, "E_DOWN", f"{self._name} is down")
        self._fault = fault

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        task = self._task
        if task is not None:
            task.call = ""
        if kind is not None or task is None:
            return
        if self._fault in {"lost", "unsent"} and not self._sim.was_committed(task, self._name):
            raise self._unanswered()
        if self._fault == "kill after":
            raise Killed(self._name)

    def _unanswered(self) -> BackhaulError:
        if self._lost is not None:
            return self._lost(self._name)

        return TransientError("E_FAKE", f"{self._name} was not answered")


class SimQueue(FakeQueue):
    """Long polls wait in simulated time; the ghost sees what goes."""

    sim: Sim
    is_last = False

    def _poll(self, wait_s: int) -> None:
        self.sim.scheduler.sleep(self._wait_s(wait_s))

    def _refuse_denied(self) -> None:
        since_s, until_s = self.sim.shape.denied_s
        now_s = self.sim.clock.now_s - self.sim.began_s
        if self.is_last and since_s <= now_s < until_s:
            raise OutageError.of("credentials", "E_AWS_DENIED", f"{self.facts.name} is denied")

    def receive(self, **wanted: int) -> list[Message]:
        self._refuse_denied()
        return super().receive(**wanted)

    def extend(self, message: Message, visibility_timeout_s: int) -> None:
        self._refuse_denied()
        super().extend(message, visibility_timeout_s)

    def delete(self, message: Message) -> None:
        self._refuse_denied()
        before = len(self.deleted)
        try:
            super().delete(message)
        finally:
            for message_id in self.deleted[before:]:
                self.sim.ghost.deleted(message_id)

    def send_dead_letter(self, message: Message, reason: DeadLetterReason) -> bool:
        self._refuse_denied()
        before = len(self.dead_letters)
        try:
            return super().send_dead_letter(message, reason)
        finally:
            for letter in self.dead_letters[before:]:
                if letter.reason is not None:
                    self.sim.ghost.buried(letter.message_id, letter.reason)


class SimStore(FakeStore):
    """The ghost counts what is read."""

    sim: Sim

    def list_page(
        self,
        bucket: str,
        prefix: str,
        *,
        token: str | None = None,
        page_size: int = 1000,
        owner: str | None = None,
        start_after: str = "",
    ) -> ListedPage:
        size = min(page_size, self.sim.shape.page_size or page_size)
        return super().list_page(
            bucket, prefix, token=token, page_size=size, owner=owner, start_after=start_after
        )

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> FakeBody:
        if self.sim.shape.adopts:
            self.sim.ghost.broken(f"C1 {pin.key} is read, and may only be adopted")
        self.sim.ghost.gets += 1
        return super().get(endpoint, pin, byte_range=byte_range)


class SimTarget(FakeTarget):
    """The ghost looks after every change."""

    sim: Sim

    def create(self, path: str, size_bytes: int) -> Any:
        self.sim.ghost.touches("create", path)
        return super().create(path, size_bytes)

    def remove(self, path: str) -> None:
        self.sim.ghost.touches("remove", path)
        super().remove(path)

    def mkdir(self, path: str) -> None:
        super().mkdir(path)
        self.sim.ghost.made_directory(path)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        self.sim.ghost.touches("rename from", source)
        try:
            super().rename(source, target, replace=replace)
        finally:
            ghost = self.sim.ghost
            files = [
                path
                for path in self._below(target)
                if not self._nodes[path].is_directory and STAGING not in path
            ]
            for path in files:
                if EVIDENCE not in path:
                    ghost.looked_at(path, bytes(self._nodes[path].data), source)
                elif ghost.evidence.get(path) is not self._nodes[path]:
                    ghost.came_from(path, source)
                    ghost.evidence[path] = self._nodes[path]
                ghost.given(path, self.given(path), self.given(path.rpartition("/")[0]))
            for path in files:
                if path.endswith(f"/{MARKER}"):
                    ghost.announced(path)


class AdoptingPolicy(Policy):
    """As `reconcile --adopt` has its jobs."""

    def decide(
        self, request: Request, *, sender_id: str | None, queue: str | None = None
    ) -> Assignment:
        job = super().decide(request, sender_id=sender_id, queue=queue)
        return replace(job, adopts_only=True)


class Sim:
    """One schedule."""

    def __init__(self, seed: int, shape: Shape) -> None:
        self.seed = seed
        self.shape = shape
        self.scheduler = Scheduler(seed)
        self.random = self.scheduler.random
        self.clock = self.scheduler.clock
        self.ghost = Ghost(is_ordered=shape.has_one_ledger and not shape.is_split)
        self.faults = SimFaults(self)
        self.queues = [self._queue(number) for number in range(shape.queues)]
        self.store = SimStore(self.clock, new_digest, faults=self.faults)
        self.store.sim = self
        # Readable, and of no route: a listing may name it.
        self.store.put(FOREIGN_KEY, b"not for anyone here")
        self.target = SimTarget(self.clock, faults=self.faults)
        self.target.sim = self
        self.target.put("/land/.keep", b"")
        self.ghost.stored_checksums[b""] = ("", 0)
        for path, group, policy in shape.owned:
            self.target.own(path, group=group, policy=policy)
        self.received = ReceivedReplies()
        self.struck_replies: Counter[str] = Counter()
        self.files = [
            MemoryFile(after_change=self._moved, clock=self.clock.now if shape.is_fleet else None)
            for _ in range(shape.agents)
        ]
        if shape.has_one_ledger:
            self.files = self.files[:1] * shape.agents
        self.alive: dict[str, Running] = {}
        self.seats: list[Running | None] = [None] * shape.agents
        self.restart_s = [0.0] * shape.agents
        self.routes: tuple[Route, ...] = (self._route(),)
        if shape.has_other_route:
            self.routes += (replace(self._route(), name="other", sources=(("elsewhere", ""),)),)
        if shape.budget is not None:
            day = period_at(BudgetPer.DAY, self.clock.now())
            self.clock.now_s += (day.ends_at - self.clock.now()).total_seconds() - shape.turns_s[0]
        self.began_s = self.clock.now_s
        self.paused_at: datetime | None = None
        self.begun_at: dict[str, datetime] = {}  # the last attempt of each transfer
        self.facts: list[object] = []
        self.story: list[str] = []
        self.is_calm = False
        self.down_until_s: dict[str, float] = {}
        # What no server keeps gives epochs from 1, each file its own.
        self.servers = Servers(self, self.files[0] if shape.is_fleet else MemoryFile())
        self.members = self.servers.primary.members
        self.overwritten = 0
        self.finished_bytes = 0  # of what was published in part: it is finished in any case
        self.gone: set[str] = set()
        self.hopeless: set[str] = set()
        self.faults_left = shape.most_faults
        self.to_send = list(shape.messages)
        self.sender = "AIDAFAKE"
        self._incarnations = 0
        kind = AdoptingPolicy if shape.adopts else Policy
        self._policy = kind(routes=self.routes)
        self.plan: dict[tuple[str, int], str] = {}
        self.counts: dict[str, int] = {}
        self.is_counting = False
        for key in shape.keys:
            self.overwrite(key)
        if shape.adopts:
            self._put_at_final_path(shape.keys[0])

    def _queue(self, number: int) -> SimQueue:
        name, ids = ("work", "m") if number == 0 else (f"work{number}", f"m{number}")
        made = SimQueue(
            self.clock, faults=self.faults, is_fifo=self.shape.is_fifo, name=name, ids=ids
        )
        made.sim = self
        made.is_last = number > 0 and number == self.shape.queues - 1
        return made

    @property
    def queue(self) -> SimQueue:
        """The only one, or the first."""
        return self.queues[0]

    def _holding(self, message_ids: Callable[[SimQueue], Sequence[str]]) -> dict[str, SimQueue]:
        """By message, the queue that has it."""
        return {found: one for one in self.queues for found in message_ids(one)}

    def _put_at_final_path(self, key: str) -> None:
        """Something else has brought it, long ago."""
        path = f"/land/d/{key.rpartition('/')[2]}"
        version = self.ghost.newest[key]
        wanted = (key, version)
        data = next(one for one, of in self.ghost.stored_checksums.items() if of == wanted)
        self.target.put(path, data)
        self.ghost.finals[path] = wanted
        self.ghost.published[path, key] = version

    def _route(self) -> Route:
        return Route(
            name="r",
            sources=(("raw", ""),),
            destinations=(Location(scheme="hdfs", authority="ns1", path="/land"),),
            publish=self.shape.publish,
            on_exists=self.shape.on_exists,
            verify=self.shape.verify,
            event_destination="/land/{key_dir}/",
            completion_marker=MARKER if self.shape.marker else None,
            evidence=EvidencePlace.BESIDE if self.shape.evidence else EvidencePlace.LEDGER,
            reply_wishes=sim_replies.WISHES if self.shape.replies else (),
        )

    # ------------------------------------------------------------ pauses

    def _operate(self) -> None:
        """An operator pauses the route, or resumes it, when the time has come."""
        at_s = self.clock.now_s - self.began_s
        is_paused = any(begins <= at_s < ends for begins, ends in self.shape.pauses)
        if is_paused is (self.paused_at is not None):
            return
        self.paused_at = self.clock.now() if is_paused else None
        self.tell(f"the route is {'paused' if is_paused else 'resumed'}")
        paused = PausedRoute(
            route="r", since=self.clock.now(), until=None, operator="alice", reason=""
        )
        for file in self.files:
            file.paused = {"r": paused} if is_paused else {}

    def _next_act_s(self) -> list[float]:
        times = [self.began_s + time for pause in self.shape.pauses for time in pause]
        if self.shape.budget is not None:
            times += [self.began_s + time for time in self.shape.turns_s]
        return [time for time in times if time > self.clock.now_s]

    def _moved(self, row: MemoryTransfer, before: TransferState, after: TransferState) -> None:
        self.ghost.moved(row, before, after)
        if after is TransferState.STAGING and self.shape.is_fleet:
            self.ghost.claimed(row)
            self.servers.claimed(row)
        self._check_budget()
        if after is TransferState.RECEIVED:
            self.begun_at[row.id] = self.clock.now()
        paused_at = self.paused_at
        if after is not TransferState.STAGING or paused_at is None or row.renames_possible:
            return
        late_s = (self.begun_at.get(row.id, row.first_seen_at) - paused_at).total_seconds()
        if late_s > FRESH_S + 1:
            self.ghost.broken(f"P1 {row.id} began {late_s:.0f} s after the pause")

    # ------------------------------------------------------------ budgets

    def _gate(self, ledger: MemoryLedger) -> BudgetGate | None:
        if self.shape.budget is None:
            return None
        gate = _Gate(self, ledger)
        gate.follow([self._budget(self.shape.budget)])
        return gate

    def _budget(self, amount: int) -> EgressBudget:
        return EgressBudget(route="r", unit=BudgetUnit.BYTES, amount=amount, per=BudgetPer.DAY)

    def _raise_budget(self) -> None:
        """An operator allows all that is left, once the second day has begun."""
        file, at_s = self.files[0], self.clock.now_s - self.began_s
        if self.shape.budget is None or file.raises or at_s < self.shape.turns_s[1]:
            return
        now = self.clock.now()
        file.raises.append(
            BudgetRaise(
                route="r",
                period=period_at(BudgetPer.DAY, now).begins_at,
                per=BudgetPer.DAY,
                unit=BudgetUnit.BYTES,
                amount=1_000_000,
                at=now,
                operator="alice",
                reason="",
            )
        )
        self.tell("the budget is raised")

    def _check_budget(self) -> None:
        """B1, by the ledger: a process that is killed forgets some seconds of reading."""
        if self.shape.budget is None:
            return
        file, sums = self.files[0], Counter[date]()
        for (day, _, _), egress in file.egress.items():
            sums[day] += egress.size_bytes
        more = {one.period.date(): one.amount for one in file.raises}
        largest = max(len(data) for data in self.ghost.stored_checksums)
        over = self.finished_bytes
        if "lost" in self.shape.kinds:
            over += largest * len(self.shape.keys)  # recorded twice
        for day, size_bytes in sums.items():
            limit = self.shape.budget + more.get(day, 0)
            if size_bytes > limit + over:
                self.ghost.broken(f"B1 {size_bytes} bytes on {day}, and {limit} were allowed")

    # ------------------------------------------------------------ what the world does

    def overwrite(self, key: str) -> None:
        version = self.ghost.newest.get(key, 0) + 1
        self.overwritten += version > 1
        self.ghost.newest[key] = version
        self.gone.discard(key)
        data = f"{key}#{version}#".encode() + b"x" * (self.random.randrange(3) * 40) + b"."
        self.ghost.stored_checksums[data] = (key, version)
        self.clock.now_s += 1.0
        version_id = f"v{version}" if self.shape.is_versioned else None
        algorithm = "CRC32C" if self.shape.has_checksums else None
        self.store.put(key, data, version_id=version_id, algorithm=algorithm)
        if self.shape.poison == key:
            self.store.spoil_read(key, ReadFault.FLIP, times=10_000)
        self.tell(f"{key} is now version {version}")

    def remove(self, key: str) -> None:
        """The object goes; who asked for it may get it or not."""
        self.gone.add(key)
        self.store.remove(key)
        for asked in self.ghost.asked.values():
            for path in [path for path, (its, _) in asked.wanted.items() if its == key]:
                del asked.wanted[path]
        self.tell(f"{key} is deleted")

    def send(self) -> None:
        body = self.to_send.pop(0)
        if self.random.random() < self.shape.overwrites:
            self.overwrite(self.random.choice(self.shape.keys))
        source, _, destination = body.partition(", ")
        form, _, key = source.rpartition(" ")
        if form:
            self.leave_event(key.removeprefix("raw/"), destination, is_forged=form == "forged")
        else:
            self.leave(body, source.removeprefix("raw/"), destination)

    def leave_event(self, key: str, destination: str, *, is_forged: bool) -> None:
        """What S3 writes about the object as it is now; or a stranger, with a higher sequencer."""
        version = self.ghost.newest[key]
        about: dict[str, object] = {"key": key, "sequencer": f"{version:04X}"}
        if is_forged:
            about["sequencer"] = "F" * 16
        if self.shape.is_versioned:
            about["versionId"] = f"v{version}"
        record = {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "raw"}, "object": about},
        }
        self.leave(json.dumps({"Records": [record]}), key, destination)

    def leave(self, body: str, key: str, destination: str) -> None:
        """A message that asks for an object, or for all below a prefix."""
        there = [one for one in self.shape.keys if one not in self.gone]
        if key.endswith("/"):
            names = {one: one.removeprefix(key) for one in there if one.startswith(key)}
        else:
            names = {one: one.rsplit("/", 1)[-1] for one in there if one == key}
        wanted = {
            f"{destination}/{name}": (one, self.ghost.newest[one]) for one, name in names.items()
        }
        group = self.random.choice("gh") if self.shape.is_fifo else None
        queue = self.queue if len(self.queues) == 1 else self.random.choice(self.queues)
        message_id = queue.send(body, group=group, sender_id=self.sender)
        if group is not None:
            self.ghost.groups.setdefault(f"{queue.facts.name} {group}", []).append(message_id)
        marker = f"{destination}/{MARKER}" if self.shape.marker else None
        self.ghost.asked[message_id] = Asked(wanted=wanted, marker=marker)
        self.tell(f"{message_id} sent: {body}")

    def revoke(self) -> None:
        self.routes = ()
        self._policy = Policy(routes=())

    def tell(self, what: str) -> None:
        self.story.append(f"{self.scheduler.steps:5} {self.clock.now_s:9.2f}  {what}")

    # ------------------------------------------------------------ agents

    def start(self, seat: int) -> None:
        self._incarnations += 1
        rate = self.shape.clocks[seat][1] if self.shape.is_fleet else 1.0
        is_alive: Callable[[str], bool] = self._is_alive
        owner = f"edge{seat}:boot:{self._incarnations}:1"
        process = Running(name=owner, seat=seat)
        pool = SimPool(
            process,
            self.scheduler,
            targets={FS: self.target},
            reader=self.store,
            new_digest=new_digest,
            faults=self.faults,
            tuning=TUNING,
            parallel=1,
            new_event=lambda: SimEvent(self.scheduler, rate),
            down=self._found_down,
            interleave=self._interleave if self.shape.page_size else None,
        )
        clock: Clock = self.clock
        queues: list[Queue] = [*self.queues]
        if self.shape.is_fleet:
            clock = own = fleet.OwnClock(self.clock, *self.shape.clocks[seat])
            queues = [cast("Queue", fleet.OwnQueue(one, own)) for one in self.queues]
            process.memory = NodeMemory(self.servers.disk(seat))
            try:
                member = fleet.make_member(self, process, self._incarnations, own)
            except OutageError as error:  # an old primary: systemd starts it again
                self.tell(f"{owner} does not start: {error.code}")
                self.restart_s[seat] = self.clock.now_s + START_AGAIN_S
                return
            owner, is_alive = member.text, member.is_alive
            pool.check_begin = partial(fleet.check_begin, self)
        ledger = MemoryLedger(self.files[seat], owner, is_alive=is_alive, faults=self.faults)
        reports = Reports(self, process, ledger, self.files[seat]) if self.shape.reports else None
        emit = self._emit if reports is None else fan_out(self._emit, reports.observer)
        agent = Agent(
            queues=[WorkedQueue(queue=one, name=one.facts.name) for one in queues],
            ports=Ports(
                store=self.store,
                ledger=ledger,
                pool=pool,
                clock=clock,
                emit=emit,
                budgets=self._gate(ledger),
                standing=process.member or Alone(),
            ),
            policy=lambda: self._policy,
            settings=AgentSettings(
                host=f"edge{seat}",
                slots=self.shape.slots,
                visibility_timeout_s=MESSAGE_S,
                default_fs=FS,
                retry=RetryPolicy(max_attempts=5, max_starts=self.shape.max_starts),
            ),
            randomness=self.randomness(seat),
            abort_transfers=pool.abort,
            reporter=None if reports is None else reports.reporter,
        )
        agent._stopper.changed = SimCondition(self.scheduler, rate)  # type: ignore[assignment]
        for one in agent.pollers:
            one.keeper._changed = SimCondition(self.scheduler, rate)  # type: ignore[assignment]
            one.context.deletes._changed = SimCondition(self.scheduler, rate)  # type: ignore[assignment]
        agent._slots = SimExecutor(self.scheduler, process)  # type: ignore[assignment]
        process.agent, process.pool, process.reports = agent, pool, reports
        process.ledger = ledger
        self.seats[seat] = self.alive[owner] = process
        for one in agent.pollers:
            self.scheduler.spawn(process, "poll", partial(agent._poll_until_stopped, one))
            self.scheduler.spawn(process, "keep", one.keeper._work)
        self.scheduler.spawn(process, "sweep", agent._sweep_until_stopped)
        if process.member is not None:
            self.scheduler.spawn(process, "member", process.member._beat_until_over)
            process.member.when_fenced(lambda: self._end(process, Stop.NOW))
        if self.shape.replies:
            process.replies = Replies(self, ledger, self.files[seat])
            self.scheduler.spawn(process, "replies", process.replies.work, is_background=True)
        if reports is not None:
            self.scheduler.spawn(process, "report", agent._report_until_over, is_background=True)
        if self.shape.pauses or self.shape.budget is not None:
            for one in agent.pollers:
                self.scheduler.spawn(process, "park", partial(agent._park_until_stopped, one))
        else:
            # Nothing is paused, and no call is made to learn it: other seeds stay what they were.
            agent._context.pauses._read_s = math.inf
        self.tell(f"{owner} starts")

    def _interleave(self, count: int) -> int:
        """How many open objects a worker stages before, or during, the agent's next call."""
        return self.random.randint(0, count)

    def randomness(self, seat: int) -> FakeRandomness:
        chance = FakeRandomness(self.random.randrange(1 << 30))
        chance._ids = self._incarnations * 1000
        return chance

    def _is_alive(self, owner: str) -> bool:
        process = self.alive.get(owner)
        if process is None or process.is_dead:
            return False
        return process.paused_until_s <= self.clock.now_s or "lease" not in self.shape.kinds

    def _emit(self, fact: object) -> None:
        if isinstance(fact, Exception):
            self.ghost.broken(f"BUG {type(fact).__name__}: {fact}")
        if isinstance(fact, events.TransferHeld) and fact.retry_in_s > 60:
            self.ghost.broken(f"L4 a held transfer asks again only after {fact.retry_in_s} s")
        if isinstance(fact, events.ForeignStaging):
            may_be_so = not self.shape.has_one_ledger or self.shape.fails_over
            self.tell(f"{fact.transfer_id} {fact.code}: epoch {fact.epoch}")
            if not may_be_so:
                self.ghost.broken(f"W another ledger is blamed for epoch {fact.epoch}")
        if isinstance(fact, events.AttemptFailed | events.MessageDead):
            self.tell(f"{fact.message_id} {type(fact).__name__}: {fact.code} {fact.reason}")
            if fact.code == "E_BUDGET_USED":
                self.ghost.broken(f"B2 a budget spent an attempt: {fact.reason}")
            if fact.code in {"E_BUG", "E_LEDGER_ORDER"}:
                self.ghost.broken(f"BUG {fact.code} {fact.reason}")
        self.facts.append(fact)

    # ------------------------------------------------------------ faults

    def allow(self, task: Task) -> None:
        """A dead process makes no call, but for its worker's."""
        if task.process.is_dead and not (task.is_zombie and task.call.startswith(WORKER_CALLS)):
            raise Killed(task.call)

    def draw(self, task: Task, name: str) -> str | None:
        """What happens to this call."""
        if task.is_background and not self.is_counting:
            assert isinstance(task.process, Running)
            running = task.process
            aside = running.replies if task.name == "replies" else running.reports
            assert aside is not None
            return aside.draw(name)
        if self.is_counting:
            number = self.counts[name] = self.counts.get(name, 0) + 1
            planned = self.plan.get((name, number))
            if name == self.shape.hanger:
                return self._befall(task, name, "hang")
            if planned is None:
                return "down" if self.is_down(name) else None
            return self._aimed(task, name, planned)
        if name == self.shape.killer:
            return self._befall(task, name, "kill")
        if self.is_down(name) or self.is_cut(task.process, name):
            return "down"
        aim = self.shape.aim
        if aim is not None and name == aim[0]:
            number = self.counts[name] = self.counts.get(name, 0) + 1
            if number == aim[1]:
                return self._aimed(task, name, aim[2])
        if self.is_calm or self.random.random() >= self.shape.rate or self.faults_left <= 0:
            return None
        kinds = [one for one in (*CALL_KINDS, *FAILOVER_KINDS) if one in self.shape.kinds]
        if not kinds:
            return None
        self.faults_left -= 1
        return self._befall(task, name, kinds[int(self.random.random() * len(kinds))])

    def begins(self, task: Task, name: str) -> None:
        """A call is about to be made."""
        process = task.process
        if self.shape.is_fleet and name in fleet.SEEN_BY_OTHERS and not task.is_zombie:
            assert isinstance(process, Running)
            fleet.check_begin(self, process, name)

    def lock(self, task: Task, name: str, *, is_kept: bool = True) -> None:
        """Right before the effect of a call: a transaction of the ledger begins.

        Args:
            is_kept: False: its COMMIT never arrives at the server.
        """
        if not self.shape.is_fleet or not name.startswith("ledger."):
            return
        process = task.process
        assert isinstance(process, Running)
        server = fleet.lock(self, process, name)
        assert process.ledger is not None
        process.moment = server.moment()
        if is_kept:
            process.ledger._file = server.file
            self.servers.commit(server, name)
            return
        server.idle.add(server.number)
        process.ledger._file = copy_of(server.file)
        process.ledger._file.after_change = lambda _row, _before, _after: None

    def was_committed(self, task: Task, name: str) -> bool:
        """Whether a call has taken effect whose answer was lost, as far as its caller learns."""
        if not self.shape.fails_over or not name.startswith("ledger."):
            return False
        process = task.process
        assert isinstance(process, Running)
        assert process.moment is not None
        return self.servers.was_committed(process, process.moment)

    def answer_late(self, process: Running) -> None:
        """After a beat was committed."""
        if self.scheduler.current is None or self.is_calm or "slow" not in self.shape.kinds:
            return
        if self.faults_left > 0 and self.random.random() < self.shape.rate:
            self.faults_left -= 1
            self.tell(f"{process.name}: the answer to a beat is late")
            self.scheduler.sleep(fleet.late_s(self.random))
            self.allow(self.scheduler.current)

    def freeze_on_the_way(self, process: Running) -> None:
        """Between the last look at the own clock and the transaction that follows it."""
        if self.scheduler.current is None:
            return
        is_struck = not self.is_calm and "freeze" in self.shape.kinds and self.faults_left > 0
        if is_struck and self.random.random() < self.shape.rate:
            self.faults_left -= 1
            self._freeze(process)
        self.allow(self.scheduler.switch())

    def _freeze(self, process: Running) -> None:
        process.paused_until_s = self.clock.now_s + self.random.choice(FROZEN_S)
        self.tell(f"{process.name} is suspended until {process.paused_until_s:.0f}")

    def is_cut(self, process: Process, name: str) -> bool:
        """This agent alone does not reach what the call needs."""
        assert isinstance(process, Running)
        is_ledger = DOWN[name.split(".", maxsplit=1)[0]] == "ledger"
        return is_ledger and process.cut_until_s > self.clock.now_s

    def is_down(self, name: str) -> bool:
        """What this call needs has an outage."""
        if self.servers.is_away and DOWN[name.split(".", maxsplit=1)[0]] == "ledger":
            return True
        return self.down_until_s.get(DOWN[name.split(".", maxsplit=1)[0]], 0.0) > self.clock.now_s

    def _found_down(self) -> list[OutageError]:
        """What a worker's probe of both sides finds; it meets no fault of its own."""
        return [
            OutageError.of(DOWN[side], "E_DOWN", f"{side} is down")
            for side in ("target", "store")
            if self.is_down(f"{side}.probe")
        ]

    def _aimed(self, task: Task, name: str, kind: str) -> str | None:
        """The fault, and right then somebody sends something newer."""
        if self.to_send and self.shape.is_overtaken:
            self.overwrite(self.shape.keys[-1])
            self.send()
        return self._befall(task, name, kind)

    def _befall(self, task: Task, name: str, kind: str) -> str | None:
        process = task.process
        assert isinstance(process, Running)
        self.tell(f"{process.name} {task.name}: {name}: {kind}")
        if kind in {"failover", "failover lost"}:
            self.servers.lag()
            return None if kind == "failover" else "lost"
        if kind == "unsent" and not name.startswith("ledger."):
            return "fail"
        if kind == "pause":
            process.paused_until_s = self.clock.now_s + self.random.choice((30, 150, 400))
            self.scheduler.switch()
            self.allow(task)
            return None
        if kind == "slow":
            self.scheduler.sleep(self.random.choice((50, 130, 300)))
            self.allow(task)
            return None
        if kind in {"silent", "hang"}:
            if kind == "silent":
                self.down_until_s[DOWN[name.split(".", maxsplit=1)[0]]] = (
                    self.clock.now_s + SILENCE_S
                )
            self.scheduler.sleep(STALL_S)
            self.allow(task)
            return "stall"
        if kind in {"kill", "kill after", "zombie"}:
            is_worker = name.startswith(WORKER_CALLS)
            if kind == "zombie" and is_worker:
                task.is_zombie = True
            self.kill(process, but=task)
            if task.is_zombie:
                self.scheduler.sleep(self.random.choice((0, 5, 130, 400)))
                return None
            return "kill" if kind == "zombie" else kind
        return kind

    def kill(self, process: Running, but: Task | None = None) -> None:
        """Kill -9: from now on it makes no call."""
        if process.is_dead:
            return
        process.is_dead = True
        if process.replies is not None and not process.replies.is_closed:
            self.received.deaths += 1
        if "zombie" in self.shape.kinds and not self.is_counting:
            for task in process.tasks:
                if task is not but and task.call.startswith(WORKER_CALLS):
                    task.is_zombie = self.random.random() < 0.5
        self.restart_s[process.seat] = self.clock.now_s + self.random.choice((0, 20, 200))

    def _bury_the_dead(self) -> None:
        for seat, process in enumerate(self.seats):
            if process is not None and process.is_dead:
                self.scheduler.reap(process)
                self._check_bug(process)
                self.seats[seat] = None

    def _check_bug(self, process: Running) -> None:
        bug = process.agent._bug if process.agent else None
        if isinstance(bug, Violation):
            raise bug
        fleet.check_member(process)
        if bug is not None and not isinstance(bug, Killed | FencedOff):
            raise Violation(f"BUG {type(bug).__name__}: {bug}") from bug

    # ------------------------------------------------------------ the run

    def run(self) -> None:
        """The whole schedule: trouble, then calm, then the end is checked."""
        while self.to_send or (self.faults_left > 0 and self._is_busy()):
            self._step()
            self._maybe_something()
            if self.is_counting and not self._is_busy():
                self.to_send.clear()  # what was to be struck never came
        self.is_calm = True
        self._drain()
        self.check_end()

    def _is_busy(self) -> bool:
        return any(one.remaining for one in self.queues)

    def _step(self) -> None:
        self.servers.step()
        self._report_of_the_stranded()
        self._bury_the_dead()
        # Without its ledger no member starts.
        from_s = self.down_until_s.get("ledger", 0.0) if self.shape.is_fleet else 0.0
        if self.servers.is_away:
            from_s = max(from_s, *self.servers.due_s())
        for seat, process in enumerate(self.seats):
            if process is None and max(self.restart_s[seat], from_s) <= self.clock.now_s:
                self.start(seat)
        self._operate()
        self._raise_budget()
        starts_s = [due for seat, due in enumerate(self.restart_s) if self.seats[seat] is None]
        later = [max(due_s, from_s) for due_s in starts_s]
        later += self._next_act_s() + self.servers.due_s()
        self.scheduler.step(min(later, default=None))
        if self.ghost.violations:
            raise Violation(self.ghost.violations[0])
        for process in self.seats:
            if process is not None and process.agent is not None and process.agent._bug:
                self._check_bug(process)
            if process is not None:
                fleet.check_member(process)
            if process is not None and process.reports is not None and not process.is_dead:
                process.reports.check()
        if self.scheduler.steps > (MOST_STEPS_OF_FLEET if self.shape.is_fleet else MOST_STEPS):
            raise Violation("L1 it does not end")

    def _report_of_the_stranded(self) -> None:
        """That part of the next report which others wait for."""
        for owner in list(self.servers.stranded()):
            process = self.alive.get(owner)
            if process is None or process.is_dead or process.paused_until_s > self.clock.now_s:
                continue
            if any(task.name == "lost ends" and not task.body.dead for task in process.tasks):
                continue
            ledger = process.ledger
            assert ledger is not None

            def repeat(ledger: MemoryLedger = ledger) -> None:
                with suppress(BackhaulError):
                    ledger.repeat_lost_ends(self.clock.now())
                self.scheduler.sleep(REPORT_EVERY_S)  # and the next one comes

            self.scheduler.spawn(process, "lost ends", repeat)

    def _maybe_something(self) -> None:
        chance = self.random.random()
        if chance >= 0.04 or self.is_counting:
            return
        if self.to_send and chance < 0.02:
            self.send()
            return
        outside = (*OUTSIDE_KINDS, *FLEET_KINDS, *FAILOVER_KINDS[:1])
        kinds = [one for one in outside if one in self.shape.kinds]
        if not kinds or self.faults_left <= 0:
            return
        self.faults_left -= 1
        self.befall_outside(kinds[int(self.random.random() * len(kinds))])

    def befall_outside(self, kind: str) -> None:
        """Something that no call asked for."""
        running = [one for one in self.seats if one is not None and not one.is_dead]
        self._befall_members(kind, running)
        match kind:
            case "overwrite":
                self.overwrite(self.random.choice(self.shape.keys))
            case "lie":
                key = self.random.choice(self.shape.keys)
                lie = self.random.choice(tuple(ReadFault))
                times = self.random.randint(1, 3)
                # A chance of its own, so that schedules without lies stay what they were.
                chance = random.Random(f"listing {self.seed} {self.faults_left}")
                if chance.random() < LISTING_FAULTS_SHARE:
                    change = chance.choice(LISTING_FAULTS)
                    self.store.spoil_listing(change, times=times)
                    self.tell(f"a listing {change.__name__}")
                else:
                    self.store.spoil_read(key, lie, times=times)
                    self.tell(f"{key}: {lie.value}")
            case "redeliver" if found := self._holding(lambda one: one.remaining):
                again = self.random.choice([*found])
                found[again].redeliver(again)
                self.tell(f"{again} is delivered again")
            case "reappear" if not self.shape.is_fifo and (
                found := self._holding(lambda one: one.deleted)
            ):
                again = self.random.choice([*found])
                found[again].reappear(again)
                self.tell(f"{again} reappears")
            case "stop" if running:
                self._stop(self.random.choice(running))
            case "power":
                self.tell("power cut")
                for process in running:
                    self.kill(process)
                    for task in process.tasks:
                        task.is_zombie = False
            case "outage":
                dependency = self.random.choice(("s3", "hdfs", "sqs", "ledger"))
                self.down_until_s[dependency] = self.clock.now_s + OUTAGE_S
                self.tell(f"{dependency} is down for an hour")
            case "revoke":
                self.tell("the route is taken away")
                self.revoke()

    def _befall_members(self, kind: str, running: list[Running]) -> None:
        """What makes the others wonder whether an agent is there."""
        match kind:
            case "away" if not self.is_down("ledger."):
                until_s = self.clock.now_s + self.random.choice(AWAY_S)
                self.down_until_s["ledger"] = until_s
                self.members.away_s.append((self.clock.now_s, until_s))
                self.tell(f"the ledger is away until {until_s:.0f}")
            case "cut" if running:
                process = self.random.choice(running)
                process.cut_until_s = self.clock.now_s + self.random.choice(AWAY_S)
                self.tell(f"{process.name} alone does not reach the ledger")
            case "freeze" if running:
                self._freeze(self.random.choice(running))
            case "failover":
                self.servers.lag()

    def _stop(self, process: Running) -> None:
        """Systemctl stop, twice sometimes."""
        if any(task.name == "main" for task in process.tasks):
            return
        self.tell(f"{process.name} is asked to stop")
        self._end(process, Stop.DRAIN)

    def _end(self, process: Running, how: Stop) -> None:
        """As `app.agent` ends one: at a stop, or as others took it for gone."""
        agent = process.agent
        assert agent is not None
        agent.request_stop(how)
        if any(task.name == "main" for task in process.tasks):
            return

        def finish() -> None:
            agent._finish()
            if process.replies is not None:
                process.replies.close()
            if process.member is not None:
                process.member.leave()
            self.kill(process)

        self.scheduler.spawn(process, "main", finish)

    def _drain(self) -> None:
        started_s = self.clock.now_s
        while self._is_busy() or self._is_working():
            self._step()
            if self.clock.now_s - started_s > 48 * 3600:
                left = [*self._holding(lambda one: one.remaining)]
                raise Violation(f"L1 {left} did not end within two days")

        ended_s = max(self.clock.now_s, *self.down_until_s.values(), 0.0)  # after all faults
        while self._staging() and self.clock.now_s - ended_s < 3600:
            self._step()
        while any(map(sim_replies.waits, self.files)) and self.clock.now_s - ended_s < 7200:
            self._step()

    def _staging(self) -> list[str]:
        paths = [path for path in self.target.paths() if STAGING in f"{path}/"]
        return self.servers.without_forgotten(paths)

    def _is_working(self) -> bool:
        return any(task.name == "slot" for task in self.scheduler.tasks)

    # ------------------------------------------------------------ the end

    def check_end(self) -> None:
        letters = [letter for one in self.queues for letter in one.dead_letters]
        for letter in letters:
            if letter.reason is None:
                raise Violation(f"L2 {letter.message_id} was moved by SQS itself")
        ended = set(self._holding(lambda one: one.deleted))
        ended |= {letter.message_id for letter in letters}
        lost = self.ghost.asked.keys() - ended
        if lost:
            raise Violation(f"S1 {lost} are neither done nor dead")
        if self.shape.has_one_ledger:
            for row in self.files[0].transfers.values():
                if not row.state.is_final and not self.servers.has_lost_end(row.id):
                    raise Violation(f"L3 {row.id} ends as {row.state}")
        self._check_dead()
        if "silent" in self.shape.kinds and not self.shape.hanger:
            self._check_held()
        if self._staging():
            raise Violation(f"L3 staging is left: {self._staging()}")
        self._check_evidence()
        if self.shape.reports:
            self._check_reports()
        for file in {id(one): one for one in self.files}.values():
            check_replies(self, file)
        began_s, ended_s = self.shape.denied_s
        if not self.shape.kinds and began_s == ended_s:  # a queue that is denied is a fault, too
            self._check_economy()

    def _check_evidence(self) -> None:
        if not self.shape.evidence:
            return
        found = self.target.files()
        for row in self.files[0].transfers.values():
            if row.state is not TransferState.DONE or row.directory is None:
                continue
            if row.id in self.servers.proofs_lost:
                continue  # of the last moments before a failover
            lines = []
            for planned in row.plan:
                _, proof = row.proofs[planned.seq]
                target = row.directory.join(planned.relative)
                lines.append(object_line(row.id, planned, proof, target))
            for name, content in evidence_files(row.id, lines):
                path = row.directory.join(name).path
                if found.get(path) != content:
                    raise Violation(f"M2 {path} holds {found.get(path)!r} instead of {content!r}")

    def _check_reports(self) -> None:
        for process in self.seats:
            if process is not None and process.reports is not None and not process.is_dead:
                process.reports.check_end()
        for file in {id(one): one for one in self.files}.values():
            check_sums(file)

    def _check_dead(self) -> None:
        """What is wrong for ever dies with its reason; what is not, does not."""
        if self.hopeless - self.ghost.dead.keys():
            raise Violation(f"L1 {self.hopeless} can never succeed, and did not all die")
        codes = {
            one: reason.code for one, reason in self.ghost.dead.items() if one not in self.hopeless
        }
        if self.shape.on_exists is not OnExists.REPLACE:
            # Whose intent was lost does not know its own files any more (docs/postgresql.md).
            for one in self.servers.intents_lost & codes.keys():
                if codes[one] == "E_DST_EXISTS":
                    del codes[one]
        if self.shape.poison or self.shape.killer or self.shape.hanger:
            wanted = {
                message_id
                for message_id, asked in self.ghost.asked.items()
                if self.shape.killer
                or self.shape.hanger
                or any(key == self.shape.poison for key, _ in asked.wanted.values())
            }
            if codes.keys() != wanted:
                raise Violation(f"L1 {wanted} can never succeed, and {codes} died")
            return
        replaces = self.shape.on_exists is OnExists.REPLACE
        is_atomic = self.shape.publish is PublishMode.ATOMIC_DIR
        if replaces and not is_atomic and "E_DST_EXISTS" in codes.values():
            raise Violation(f"E1 refused although its route replaces: {codes}")
        is_alone = len(self.shape.messages) == 1 and self.shape.has_one_ledger
        if is_alone and "E_DST_EXISTS" in codes.values():
            raise Violation(f"E1 a message was refused because of its own files: {codes}")
        spending = SPENDING & self.shape.kinds
        if self.overwritten < MAX_SOURCE_CHANGES:
            spending -= {"overwrite"}
        if codes and not spending and not self.shape.may_refuse:
            raise Violation(f"E1 died although nothing was wrong with it: {codes}")

    def _check_held(self) -> None:
        """What a dependency that was down made fail was held."""
        for fact in self.facts:
            if isinstance(fact, events.AttemptFailed) and fact.code == "E_WORKER_STALLED":
                raise Violation(f"E1 an outage spent an attempt: {fact.reason}")

    def _check_economy(self) -> None:
        shape = self.shape
        is_hopeless = shape.poison or shape.killer or shape.hanger
        if is_hopeless or not shape.has_one_ledger:
            return
        failed = [fact for fact in self.facts if isinstance(fact, events.AttemptFailed)]
        if failed:
            raise Violation(f"E1 an attempt failed without a fault: {failed[0]}")
        gone = [message for one in self.queues for message in one._gone.values()]
        again = [one for one in gone if one.receive_count > 1]
        if again:
            raise Violation(f"E1 {again[0].message_id} was received {again[0].receive_count} times")
        most = sum(len(asked.wanted) for asked in self.ghost.asked.values())
        if self.ghost.gets > most:
            raise Violation(f"E1 {self.ghost.gets} reads for {most} objects")
        if any(isinstance(fact, events.AbandonedStagingRemoved) for fact in self.facts):
            raise Violation("E1 a transfer that met no fault left its staging to the sweep")


# What an attempt may be spent on; the others are held, or never recorded.
SPENDING = {"fail", "lost", "lie", "overwrite", "revoke", "lease", "remove", "cancel"}
SPENDING |= {"hang"}
