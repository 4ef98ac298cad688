"""The servers of a simulated ledger: a primary that dies, a standby without its last commits.

A standby that is not synchronous lags from some moment on. What is committed after that is
confirmed to the agents, and gone when the primary dies and the standby is promoted. The old primary
may answer for a while afterwards, as if nothing had happened. Only the servers are stand-ins: the
epochs of a timeline, what a node remembers of the newest primary, and the question what became of a
COMMIT without an answer are the product's own. What must hold besides:

    G1  no epoch is given twice at a destination
    G2  who has seen the newer primary is served by no older one
    G3  a COMMIT without an answer counts as made only if it was
    G4  no server gives an epoch of a timeline that came after its own
    D5  who is not in the ledger that answers changes nothing there
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from backhaul.adapters.ledger.postgres import outcome
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.moment import COUNTER_BITS, ServerMoment, remember
from backhaul.adapters.ledger.postgres.primary import Primary, PrimaryMemory
from backhaul.core.agent_report import REPORT_EVERY_S
from backhaul.core.errors import OutageError
from backhaul.core.model import Location, TransferState
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.testing.fakes import MemoryFile
from backhaul.testing.fakes.memory_file import MemoryTransfer, outage
from tests.sim.fleet import Members

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

    from tests.sim.world import Running, Sim

SYSTEM = 7_000_000_000
DATABASE = PostgresDatabase(PostgresUrl("postgresql://ledger"))
DISK = Path("/var/lib/backhaul/of-no-machine/ledger")
LAGS_S = (0.0, 0.0, 0.05, 0.3, 2.0, 8.0)  # from the first commit that is lost to the end
PROMOTED_S = (0.0, 2.0, 6.0, 12.0, 40.0)  # from there to the promotion
OLD_ANSWERS_S = (0.0, 0.0, 2.0, 20.0, 60.0)
STRANDED_S = REPORT_EVERY_S  # after a promotion
OLD_SHARE = 0.5  # of connections, while the old primary answers
_OWN = {"clock", "after_change", "least_epoch", "require_newest"}  # of a file, and not its rows


@dataclass(kw_only=True)
class Server:
    """One primary, or a standby that will be.

    Attributes:
        number: Of its last transaction.
        journal: What it has committed: the timeline, the number and the name of each.
        idle: Transactions whose COMMIT never arrived.
        aborted: Those of them that were ended.
        epochs: The highest of the claims that had a directory as the root of their staging.
    """

    file: MemoryFile
    members: Members
    timeline: int = 1
    number: int = 0
    journal: list[tuple[int, int, str]] = field(default_factory=list)
    idle: set[int] = field(default_factory=set)
    aborted: set[int] = field(default_factory=set)
    epochs: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.file.least_epoch = self._least_epoch
        self.file.require_newest = self._require_newest

    def copied(self) -> Server:
        return Server(
            file=copy_of(self.file),
            members=self.members.copied(),
            timeline=self.timeline,
            number=self.number,
            journal=[*self.journal],
            aborted={*self.idle, *self.aborted},
            epochs={**self.epochs},
        )

    def moment(self) -> ServerMoment:
        """As it says of the transaction that was begun last."""
        return ServerMoment(
            system=SYSTEM, timeline=self.timeline, number=self.number, process=self.number
        )

    def has(self, moment: ServerMoment) -> bool:
        of = (moment.timeline, moment.number)
        return any(of == (timeline, number) for timeline, number, _ in self.journal)

    def _least_epoch(self) -> int:
        return DATABASE.least_epoch(_connection(self))

    def _require_newest(self, epoch: int, root: Location) -> None:
        DATABASE.require_newest(_connection(self), epoch, root)


def copy_of(file: MemoryFile) -> MemoryFile:
    """Its rows, with nothing in common."""
    rows = {one.name: getattr(file, one.name) for one in fields(file) if one.name not in _OWN}
    return replace(file, **deepcopy(rows))


@dataclass
class _Value:
    value: object

    def scalar(self) -> object:
        return self.value

    scalar_one = scalar


class _Connection:
    """One transaction on a server, and the statements that the rules under test have."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.info: dict[str, object] = {}
        remember(cast("Connection", self), server.moment())

    def execute(self, statement: object, values: dict[str, Any] | None = None) -> _Value:
        server = self._server
        number = (values or {}).get("number", 0)
        if statement is outcome._STATUS:
            return _Value(self._status(number))
        if statement is outcome._WAITS:
            return _Value(value=False)
        if statement is outcome._NO_CHECKPOINT_SINCE:
            return _Value(
                value=True
            )  # no server restarts here, and a promotion does not wait for one
        if statement is outcome._END_IDLE:
            server.idle.discard(number)
            server.aborted.add(number)
            return _Value(None)
        return _Value(max((one.epoch for one in server.file.destinations.values()), default=0))

    def _status(self, number: int) -> str | None:
        server = self._server
        if number > server.number:
            return None
        if number in server.idle or number == server.number:
            return "in progress"
        return "aborted" if number in server.aborted else "committed"


def _connection(server: Server) -> Connection:
    return cast("Connection", _Connection(server))


class NodeMemory(PrimaryMemory):
    """What a node keeps on its disk, which outlives its processes; compared as the product does."""

    def __init__(self, disk: dict[str, Primary]) -> None:
        super().__init__("the ledger", DISK, is_agent=True)
        self._disk = disk

    def _look(self, path: Path) -> None:
        self._seen = self._disk.get(path.name, self._seen)

    def _write(self, path: Path, found: Primary) -> None:
        self._disk[path.name] = found


def _is_at_or_below(path: str, directory: str) -> bool:
    return f"{path}/".startswith(f"{directory}/")


def _may_be_published(row: MemoryTransfer) -> bool:
    return row.renames_possible or row.state in {TransferState.DONE, TransferState.SUPERSEDED}


class Servers:
    """Of one schedule.

    Attributes:
        primary: The newest.
        old: The one before it.
        former: All before the newest, by their timelines, with what was written there afterwards.
        lost: Names of the calls whose commits were confirmed and are gone.
        ends_lost: Transfers whose end was one of them.
        proofs_lost: Transfers of which the ledger lost proofs.
        intents_lost: Messages whose transfer may have published, which the ledger lost.
        refused: So often an old primary was.
    """

    def __init__(self, sim: Sim, file: MemoryFile) -> None:
        self._sim = sim
        self.primary = Server(file=file, members=Members())
        self.old: Server | None = None
        self.former: dict[int, Server] = {}
        self.lost: Counter[str] = Counter()
        self.ends_lost: set[str] = set()
        self.proofs_lost: set[str] = set()
        self.intents_lost: set[str] = set()
        self.refused = 0
        self.promotions = 0
        self._standby: Server | None = None
        self._dies_s = 0.0
        self._promoted_s: float | None = None
        self._old_until_s = self._promoted_last_s = 0.0
        self._disks: dict[int, dict[str, Primary]] = {}
        self._seen: dict[int, int] = {}  # by seat: the highest timeline, as the checker knows

    # ------------------------------------------------------------ what befalls them

    def lag(self) -> None:
        """From now on the standby gets nothing; the primary dies soon."""
        if self._standby is not None:
            return
        sim = self._sim
        self._standby = self.primary.copied()
        self._dies_s = sim.clock.now_s + sim.random.choice(LAGS_S)
        sim.tell("the standby lags")

    @property
    def is_away(self) -> bool:
        return self._promoted_s is not None

    def due_s(self) -> list[float]:
        """When something happens next."""
        if self._standby is None:
            return []
        return [self._dies_s if self._promoted_s is None else self._promoted_s]

    def step(self) -> None:
        sim, now_s = self._sim, self._sim.clock.now_s
        if self._standby is None:
            return
        if self._promoted_s is None and now_s >= self._dies_s:
            self._promoted_s = now_s + sim.random.choice(PROMOTED_S)
            sim.members.away_s.append((now_s, self._promoted_s))
            sim.tell(f"the primary dies; another one will be there at {self._promoted_s:.0f}")
        if self._promoted_s is not None and now_s >= self._promoted_s:
            self._promote(self._standby)

    def _promote(self, new: Server) -> None:
        sim, old = self._sim, self.primary
        self._standby = self._promoted_s = None
        new.timeline += 1
        gone = old.journal[len(new.journal) :]
        self.lost.update(name for _, _, name in gone)
        for row in old.file.transfers.values():
            self._note_lost(row, new.file.transfers.get(row.id))
        self.old, self.primary = old, new
        self.former[old.timeline] = old
        self.promotions += 1
        self._promoted_last_s = sim.clock.now_s
        self._old_until_s = sim.clock.now_s + sim.random.choice(OLD_ANSWERS_S)
        sim.members = new.members
        sim.files[:] = [new.file] * len(sim.files)
        sim.tell(f"promoted to timeline {new.timeline}, without {[name for _, _, name in gone]}")

    def _note_lost(self, row: MemoryTransfer, left: MemoryTransfer | None) -> None:
        if row.state.is_final and (left is None or not left.state.is_final):
            self.ends_lost.add(row.id)
        if any(left is None or left.proven(seq) != row.proven(seq) for seq in row.proofs):
            self.proofs_lost.add(row.id)
        if not _may_be_published(row) or (left is not None and _may_be_published(left)):
            return
        if row.key is not None:
            self.intents_lost.add(row.key.message_id)
        # What is there is nothing that the ledger knows: an older state may replace it
        # (docs/postgresql.md).
        if row.directory is not None:
            paths = {row.directory.join(planned.relative).path for planned in row.plan}
            self._sim.ghost.forgotten |= paths

    def stranded(self) -> Iterator[str]:
        """Who owns a destination for a transfer whose end was lost, and works on it no more.

        The others wait for it, until the owner's next report.
        """
        if self._standby is not None or self._sim.clock.now_s < self._promoted_last_s + STRANDED_S:
            return
        for there in self.primary.file.destinations.values():
            if there.owner_transfer in self.ends_lost and there.owner is not None:
                yield there.owner

    # ------------------------------------------------------------ what a node can know

    def known_to(self, process: Running) -> Server:
        """The server by which this process can know what became of it.

        Where an old primary takes connections, a node that never reached the newer one works on it
        without knowing (docs/postgresql.md).
        """
        known = self.former.get(self._seen.get(process.seat, 0))
        return known if known is not None and self._sim.shape.is_split else self.primary

    def has_lost_end(self, transfer_id: str) -> bool:
        """Whether its end was on a server that is the primary no more, whenever it was made."""
        rows = [one.file.transfers.get(transfer_id) for one in self.former.values()]
        is_old = any(row is not None and row.state.is_final for row in rows)
        return is_old or transfer_id in self.ends_lost

    def without_forgotten(self, staging: list[str]) -> list[str]:
        """But for what only claims used that the ledger has lost, and none after them.

        The manual says what to do (docs/postgresql.md).

        Args:
            staging: All paths in staging.
        """
        lost = []
        for path in staging:
            root, _, epoch = path.rpartition("/")
            above, most = self._lost_epochs(root)
            if epoch.isdigit() and above < int(epoch) <= most:
                lost.append(path)
            # The directory of the roots is made before them, and removed after them.
            is_empty = not any(other.startswith(f"{path}/") for other in staging)
            if is_empty and self._had_lost_below(path):
                lost.append(path)
        return [
            path
            for path in staging
            if not any(_is_at_or_below(one, path) or _is_at_or_below(path, one) for one in lost)
        ]

    def _had_lost_below(self, path: str) -> bool:
        """Whether lost claims staged below this."""
        roots = {root for one in self.former.values() for root in one.epochs}
        below = (self._lost_epochs(root) for root in roots if root.startswith(f"{path}/"))
        return any(above < most for above, most in below)

    def _lost_epochs(self, root: str) -> tuple[int, int]:
        """Above the first and up to the second: only claims that are lost had them there."""
        most = max((one.epochs.get(root, 0) for one in self.former.values()), default=0)
        return self.primary.epochs.get(root, 0), most

    # ------------------------------------------------------------ transactions

    def disk(self, seat: int) -> dict[str, Primary]:
        return self._disks.setdefault(seat, {})

    def begin(self, process: Running) -> Server:
        """The server that this connection leads to, with a transaction begun on it."""
        found = self._answering(process.seat)
        found.number += 1
        return found

    def _answering(self, seat: int) -> Server:
        old = self.old
        if old is None or self._sim.clock.now_s >= self._old_until_s:
            return self.primary
        is_known = self._seen.get(seat, 0) > old.timeline
        if (is_known or self._sim.shape.is_split) and self._sim.random.random() < OLD_SHARE:
            return old
        return self.primary

    def check(self, process: Running, server: Server) -> None:
        """As each transaction of a node has its server checked.

        Raises:
            OutageError: `ledger`: an old primary.
        """
        memory = process.memory
        assert memory is not None
        try:
            memory.check(server.moment())
        except OutageError:
            self.refused += 1
            raise
        if server.timeline < self._seen.get(process.seat, 0):
            self._sim.ghost.broken(f"G2 {process.name} takes timeline {server.timeline} again")
        self._seen[process.seat] = server.timeline

    def claimed(self, row: MemoryTransfer) -> None:
        """G4, as a claim is made; it may be lost later."""
        old = self.old
        is_old = old is not None and old.file.transfers.get(row.id) is row
        server = old if old is not None and is_old else self.primary
        timeline = (row.epoch or 0) >> COUNTER_BITS
        if timeline > server.timeline:
            self._sim.ghost.broken(f"G4 timeline {server.timeline} gives an epoch of {timeline}")
        there = None if row.canonical is None else server.file.destinations.get(row.canonical)
        if there is not None and there.staging_root is not None:
            server.epochs[there.staging_root.path] = there.epoch

    def commit(self, server: Server, name: str) -> None:
        server.journal.append((server.timeline, server.number, name))

    @contextmanager
    def alone(self, process: Running, name: str) -> Iterator[Server]:
        """A transaction of `Pulse`, which checks its server only after it."""
        with self._sim.faults.call(name, outage):
            server = self.begin(process)
            yield server
            self.commit(server, name)
            self.check(process, server)

    def was_committed(self, process: Running, moment: ServerMoment) -> bool:
        """The product's question, by the simulated clock.

        Raises:
            OutageError: `ledger`: nothing could be learnt.
        """
        clock = SimpleNamespace(
            monotonic=lambda: self._sim.clock.now_s, sleep=self._sim.scheduler.sleep
        )
        ask = cast(
            "Callable[[Engine, ServerMoment, str], bool]",
            FunctionType(outcome.was_committed.__code__, {**vars(outcome), "time": clock}),
        )
        engine = _Asking(self, process)
        found = ask(cast("Engine", engine), moment, "the ledger")
        if found and not engine.server.has(moment):
            self._sim.ghost.broken(f"G3 {process.name} believes a COMMIT that was not made")
        return found


class _Asking:
    """Stands for the engine: each connection is a transaction on whichever server answers."""

    def __init__(self, servers: Servers, process: Running) -> None:
        self._servers = servers
        self._process = process
        self.server = servers.primary

    @contextmanager
    def connect(self) -> Iterator[_Asking]:
        sim, task = self._servers._sim, self._servers._sim.scheduler.current
        if task is not None:
            sim.allow(task)
        if sim.is_down("ledger.") or sim.is_cut(self._process, "ledger."):
            raise outage("a connection")
        self.server = self._servers.begin(self._process)
        self._servers.check(self._process, self.server)
        self._connection = _Connection(self.server)
        yield self

    @contextmanager
    def begin(self) -> Iterator[None]:
        yield

    @property
    def info(self) -> dict[str, object]:
        return self._connection.info

    def execute(self, statement: object, values: dict[str, Any] | None = None) -> _Value:
        return self._connection.execute(statement, values)
