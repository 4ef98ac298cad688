"""Two agents on one PostgreSQL: one is killed with transfers under way, and the other one goes on.

The agents are processes of their own, as on two nodes: each has its own state directory and byte
rate. Queue, data and comparison are those of `main_job`. What happened is read from the ledger, and
how it ended from the ledger, the queue and the files.
"""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum, auto
from pathlib import Path

from backhaul.app.agents import read_agents
from backhaul.app.context import load_context
from backhaul.app.records import TransferRow, read_history, read_transfer, wanted_transfers
from backhaul.core.errors import OutageError
from backhaul.core.model import TransferState
from backhaul.demo.main_job import (
    BUCKET,
    KIB,
    QUEUE,
    REGION,
    SEED,
    Demo,
    compare,
    dead_letters,
    make_queue,
    upload,
)
from backhaul.testing.servers import Moto, PostgreSQL, ServerFailed, ServerUnavailable
from backhaul.testing.servers.clients import environment, s3_client, sqs_client
from backhaul.testing.servers.process import ServerProcess

OBJECTS = 8  # of each directory
OBJECT_BYTES = 1024 * KIB
# So slow that a person sees who works on what, and that a kill finds transfers under way.
RATE = "8MB/s"
SLOTS = 2
KILLED_AFTER = 2  # directories that have arrived
# A dead agent's messages come back within 45 s, and are worked then.
WITHIN_S = 150.0
_START_S = 60.0
_STOP_S = 20.0
_LOOK_S = 0.25


@dataclass(frozen=True, kw_only=True)
class FleetMember:
    """One agent: `owner` is its name in the ledger, which no other start of an agent has."""

    name: str
    owner: str
    process: ServerProcess


class FleetStepKind(Enum):
    """What may happen."""

    ARRIVED = auto()
    KILLED = auto()
    TAKEN_OVER = auto()


@dataclass(frozen=True, kw_only=True)
class FleetStep:
    """Something that happened.

    Attributes:
        at_s: Since the messages were sent.
        after_s: Since the kill; None before it, and for what has nothing to do with it.
    """

    kind: FleetStepKind
    at_s: float
    member: str
    directories: tuple[str, ...]
    after_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class FleetEnd:
    """What was found at the end.

    Attributes:
        files: How many there should be; `identical` are, byte by byte.
        different: Paths of files that are missing or not identical.
        surplus: Paths of files that nobody asked for, such as what is left of staging.
        transfers: How many there should be; `done` are, exactly once each.
        proven: How many objects have their proof in the ledger.
        queued: Messages on the queue, hidden or not; `dead` are on the dead-letter queue.
        taken_over: Directories that the killed agent had begun, to the seconds after which the
            other one had them; None: it never had.
    """

    files: int
    identical: int
    different: list[str]
    surplus: list[str]
    transfers: int
    done: int
    proven: int
    queued: int
    dead: int
    taken_over: dict[str, float | None]

    @property
    def is_complete(self) -> bool:
        """Everything arrived, once, and the killed agent's work was taken over."""
        return (
            not (self.different or self.surplus or self.queued or self.dead)
            and self.files == self.identical == self.proven
            and self.transfers == self.done
            and bool(self.taken_over)
            and None not in self.taken_over.values()
        )


@dataclass(kw_only=True)
class Fleet:
    """The agents at work.

    Attributes:
        watch: Called with each step.
        carrier: Transfer id to the agent that has it, or had it at its end.
    """

    demo: Demo
    members: tuple[FleetMember, FleetMember]
    watch: Callable[[FleetStep], None]
    began_s: float = 0.0
    killed_s: float | None = None
    carrier: dict[str, FleetMember] = field(default_factory=dict)
    arrived: set[str] = field(default_factory=set)
    taken_over: dict[str, float | None] = field(default_factory=dict)
    _epochs: dict[str, int] = field(default_factory=dict)

    def look(self) -> list[TransferRow]:
        """All transfers as the ledger has them now; what is new goes to `watch`."""
        place = self.demo.context.settings.ledger_place
        rows = read_history(place, limit=100, wanted=wanted_transfers(), sums_objects=False).rows
        for row in reversed(rows):
            owner = next((one for one in self.members if one.owner == row.owner), None)
            if owner is not None:
                self.carrier[row.id] = owner
            self._note(row)
        return rows

    def _note(self, row: TransferRow) -> None:
        name = directory_of(row)
        member = self.carrier.get(row.id)
        if member is None:
            return
        if name in self.taken_over and self.taken_over[name] is None:
            is_claimed = (row.epoch or 0) > self._epochs[name] and member is self.members[1]
            if is_claimed and self.killed_s is not None:
                self.taken_over[name] = time.monotonic() - self.killed_s
                self._show(FleetStepKind.TAKEN_OVER, member, (name,), self.taken_over[name])
        if row.state is TransferState.DONE and name not in self.arrived:
            self.arrived.add(name)
            self._show(FleetStepKind.ARRIVED, member, (name,))

    def brought_by(self, member: FleetMember) -> set[str]:
        """The directories that have arrived through this agent."""
        return {
            name
            for row in self.look()
            if (name := directory_of(row)) in self.arrived and self.carrier.get(row.id) is member
        }

    def kill_one(self) -> bool:
        """Kill the first agent, where it has transfers under way. False: it has none just now."""
        victim = self.members[0]
        # So that what the ledger shows is still true when it is killed.
        victim.process.suspend()
        found = [
            row
            for row in self.look()
            if row.state is TransferState.STAGING and self.carrier.get(row.id) is victim
        ]
        if not found:
            victim.process.resume()
            return False
        victim.process.kill()
        self.killed_s = time.monotonic()
        self.taken_over = {directory_of(row): None for row in found}
        self._epochs = {directory_of(row): row.epoch or 0 for row in found}
        self._show(FleetStepKind.KILLED, victim, tuple(sorted(self.taken_over)))
        return True

    def _show(
        self,
        kind: FleetStepKind,
        member: FleetMember,
        names: tuple[str, ...],
        after_s: float | None = None,
    ) -> None:
        self.watch(
            FleetStep(
                kind=kind,
                at_s=time.monotonic() - self.began_s,
                member=member.name,
                directories=names,
                after_s=after_s,
            )
        )


def directory_of(row: TransferRow) -> str:
    """The directory that a transfer brings, such as `day=01`."""
    return row.destination.rstrip("/").rpartition("/")[2]


@contextmanager
def started(directory: Path, watch: Callable[[FleetStep], None]) -> Iterator[Fleet]:
    """Start the servers and both agents; all of it ends with the block.

    Args:
        directory: For data, configuration, and the agents' logs. The database is elsewhere, and
            goes away: where this runs as root, it belongs to another user.

    Raises:
        OutageError: E_DEMO_SERVER: a server or an agent is not installed or did not start.
    """
    if importlib.util.find_spec("psycopg") is None:
        missing = "psycopg not found; install: pip install 'backhaul[demo,postgres]'"
        raise OutageError.of("demo", "E_DEMO_SERVER", missing)
    with ExitStack() as stack:
        try:
            database = stack.enter_context(PostgreSQL())
            moto = stack.enter_context(Moto())
            os.environ.update(environment(sqs=moto, s3=moto))
            os.environ.pop("AWS_PROFILE", None)
            os.environ["PGPASSFILE"] = str(database.pass_file)
            (directory / "landing").mkdir(exist_ok=True)
            demo = Demo(
                directory=directory,
                landing=f"file://{directory}/landing",
                s3=s3_client(moto),
                sqs=sqs_client(moto),
                context=load_context(config=_written(directory, database.url())),
                hdfs=None,
            )
            make_queue(demo)
            # The second one when the first is in the ledger: so it is known which is which.
            first = _start(demo, stack, "agent 1", ())
            second = _start(demo, stack, "agent 2", (first.owner,))
            yield Fleet(demo=demo, members=(first, second), watch=watch)
        except (ServerUnavailable, ServerFailed) as error:
            raise OutageError.of("demo", "E_DEMO_SERVER", str(error)) from error


def _written(directory: Path, ledger: str) -> Path:
    config = directory / "backhaul.toml"
    config.write_text(
        f"""# Written by `backhaul demo --fleet`.
ledger = "{ledger}"

[agent]
poll_wait_s = 1            # instead of 20, to end sooner
slots = {SLOTS}

[bandwidth]
limit = "{RATE}"           # of both agents together, so that there is something to see

[log]
format = "json"

[[route]]
name = "click"
source = ["s3://{BUCKET}/click/"]
destination = ["file://{directory}/landing/click/"]
""",
        encoding="utf-8",
    )
    return config


def _start(demo: Demo, stack: ExitStack, name: str, others: tuple[str, ...]) -> FleetMember:
    home = demo.directory / name.replace(" ", "-")
    process = ServerProcess(name, home / "agent.log")
    stack.callback(process.stop, _STOP_S)
    process.start(
        [
            *(sys.executable, "-m", "backhaul", "run", QUEUE, REGION),
            *("--config", str(demo.directory / "backhaul.toml")),
        ],
        # Its own node, as far as files go.
        {**os.environ, "STATE_DIRECTORY": str(home)},
    )
    deadline_s = time.monotonic() + _START_S
    while not (owners := _owners(demo) - set(others)):
        process.check()
        if time.monotonic() > deadline_s:
            raise ServerFailed(f"{name} is not in the ledger after {_START_S:.0f} s")
        time.sleep(_LOOK_S)
    (owner,) = owners
    return FleetMember(name=name, owner=owner, process=process)


def _owners(demo: Demo) -> set[str]:
    """Names that the ledger has for agents that have ever begun."""
    found = read_agents(demo.context.settings.ledger_place, datetime.now(UTC))
    return {f"{one.host}:{one.id}" for one in found or ()}


def make_data(demo: Demo, *, is_quick: bool) -> list[str]:
    """Upload the objects; returns the names of their directories."""
    chance = random.Random(SEED)  # noqa: S311 - the same data each time
    demo.s3.create_bucket(Bucket=BUCKET)
    names = [f"day={number:02}" for number in range(1, 7 if is_quick else 11)]
    for name in names:
        for number in range(OBJECTS):
            upload(demo, f"click/{name}/part-{number:05}", chance.randbytes(OBJECT_BYTES))
    return names


def play(fleet: Fleet, names: list[str], *, within_s: float = WITHIN_S) -> FleetEnd:
    """Send a message for each directory, kill one agent at work, and wait until all has arrived.

    Args:
        within_s: How long is waited after the kill.

    Raises:
        OutageError: E_DEMO_SERVER: an agent ended by itself.
    """
    demo = fleet.demo
    url = demo.sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
    fleet.began_s = time.monotonic()
    for name in names:
        body = f"{BUCKET}/click/{name}/, {demo.landing}/click/{name}"
        demo.sqs.send_message(QueueUrl=url, MessageBody=body)
    is_over = False
    while not is_over:
        time.sleep(_LOOK_S)
        rows = fleet.look()
        if fleet.killed_s is None and len(fleet.arrived) >= KILLED_AFTER:
            fleet.kill_one()
        is_over = len(rows) == len(names) and all(row.state.is_final for row in rows)
        is_over = is_over and not _queued(demo, url)
        is_over = is_over or _waited_enough(fleet, within_s)
        is_over = is_over or not fleet.members[1].process.is_alive
    return _end(fleet, names, url)


def _waited_enough(fleet: Fleet, within_s: float) -> bool:
    now_s = time.monotonic()
    if fleet.killed_s is None:
        return now_s - fleet.began_s > WITHIN_S
    return now_s - fleet.killed_s > within_s


def _queued(demo: Demo, url: str) -> int:
    counts = demo.sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return sum(map(int, counts.values()))


def _end(fleet: Fleet, names: list[str], url: str) -> FleetEnd:
    demo, rows = fleet.demo, fleet.look()
    identical, different = compare(demo)
    landing = demo.directory / "landing"
    there = {str(path.relative_to(landing)) for path in landing.rglob("*") if path.is_file()}
    place = demo.context.settings.ledger_place
    details = [read_transfer(place, row.id) for row in rows]
    ends = [[step.state for step in one.journal].count(TransferState.DONE) for one in details]
    return FleetEnd(
        files=len(demo.digests),
        identical=identical,
        different=different,
        surplus=sorted(there - set(demo.digests)),
        transfers=len(names),
        # A directory that two transfers brought would count as none too many here.
        done=sum(count == 1 for count in ends) if len(rows) == len(names) else 0,
        proven=sum(one.objects for each in details for one in each.proofs if one.proof is not None),
        queued=_queued(demo, url),
        dead=dead_letters(demo),
        taken_over=fleet.taken_over,
    )
