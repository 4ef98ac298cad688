"""An agent and all that is around it, made of fakes and a real ledger on a temporary file."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, text

from backhaul.adapters.digests import new_digest
from backhaul.adapters.ledger import Owner, SqlLedger, TransferRow, open_ledger, open_reader
from backhaul.adapters.ledger.sqlite.faults import SqliteDatabase
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.pausing.budgets import BudgetGate
from backhaul.core.agent.reporting import Reporter
from backhaul.core.agent.settings import AgentSettings, WorkedQueue
from backhaul.core.agent.stopping import Stop
from backhaul.core.agent.visibility import VisibilityKeeper
from backhaul.core.backoff import RetryPolicy
from backhaul.core.cost.budget import EgressBudget
from backhaul.core.cost.prices import INTERNET
from backhaul.core.errors import OutageError
from backhaul.core.model import Location, Route
from backhaul.core.ports import Emit, Ports
from backhaul.core.requests.policy import Policy
from backhaul.engines.tuning import Tuning
from backhaul.testing.fakes import (
    FakeClock,
    FakeCluster,
    FakeContent,
    FakeEvent,
    FakeQueue,
    FakeRandomness,
    FakeStore,
    FakeTarget,
    Faults,
    InlinePool,
    faulty,
)

ME = Owner.current("edge1")
FS = "hdfs://ns1"
TUNING = Tuning(small_bytes=10, large_bytes=100, range_bytes=32, ranges=2, tries=2)
Fact = TypeVar("Fact")

TABLES = (
    *("litter", "objects", "journal", "jobs", "published", "seals", "destinations"),
    *("completion_markers", "sequencers", "nonces", "transfers"),
)


def location(path: str) -> Location:
    return Location(scheme="hdfs", authority="ns1", path=path)


def route(**other: Any) -> Route:
    given: dict[str, Any] = {
        "name": "r",
        "sources": (("raw", ""),),
        "destinations": (location("/land"),),
    }
    return Route(**given | other)


def eventually(is_so: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for another thread; real time, but no fixed sleep."""
    deadline_s = time.monotonic() + timeout_s
    while not is_so():
        assert time.monotonic() < deadline_s, "did not happen in time"
        time.sleep(0.001)


class World:
    """Everything outside the agent's process; agents come and go in it.

    Args:
        directory: Holds the ledger's file.
        has_cluster: There is a YARN, `cluster`.
        engine: An open ledger file that is used again, emptied; opening it costs most of a run.
    """

    def __init__(
        self,
        directory: Path,
        *,
        has_dead_letters: bool = True,
        max_receive_count: int | None = 1000,
        tuning: Tuning = TUNING,
        engine: Engine | None = None,
        has_cluster: bool = False,
    ) -> None:
        self.clock = FakeClock()
        self.faults = Faults()
        self.queue = FakeQueue(
            self.clock,
            faults=self.faults,
            has_dead_letters=has_dead_letters,
            max_receive_count=max_receive_count,
        )
        self.more_queues: list[WorkedQueue] = []  # of the same agent
        self.store = FakeStore(self.clock, new_digest, faults=self.faults)
        self.target = FakeTarget(
            self.clock, faults=self.faults, content=FakeContent(new_digest=new_digest)
        )
        self.target.put("/land/.keep", b"")
        self.cluster = FakeCluster(self.clock, self.store, self.target, faults=self.faults)
        self.has_cluster = has_cluster
        self.routes: tuple[Route, ...] = (route(),)
        self.budgets: tuple[EgressBudget, ...] = ()
        self.jumping: tuple[str, ...] = ("slot", "poll")  # threads whose waits take no time
        self.facts: list[object] = []
        self.watcher: Emit | None = None
        self.down: list[OutageError] = []  # what a probe finds
        self.still_s = 0.0
        self.randomness = FakeRandomness()
        self.path = directory / "ledger.db"
        self._tuning = tuning
        self._incarnations = 0
        self._engine = engine
        if engine is not None:
            with engine.begin() as connection:
                for table in TABLES:
                    connection.execute(text(f"DELETE FROM {table}"))  # noqa: S608 - our own names

    def emit(self, fact: object) -> None:
        self.facts.append(fact)
        if self.watcher is not None:
            self.watcher(fact)

    # ------------------------------------------------------------ agents

    @contextmanager
    def process(self) -> Iterator[Ports]:
        """A new process on the same ledger file; the ones before it are dead."""
        self._incarnations += 1
        self.faults.revive()
        owner = replace(ME, start=ME.start + self._incarnations)
        if self._engine is not None:
            yield self.ports(SqlLedger(self._engine, SqliteDatabase(self.path), owner))
            return
        ledger = open_ledger(self.path, create=True, owner=owner)
        try:
            yield self.ports(ledger)
        finally:
            ledger.close()

    def ports(self, ledger: SqlLedger) -> Ports:
        pool = InlinePool(
            targets={FS: self.target},
            reader=self.store,
            new_digest=new_digest,
            faults=self.faults,
            tuning=self._tuning,
            new_event=lambda: FakeEvent(self.clock),
            down=lambda: self.down,
            still_s=self.still_s,
        )
        watched = faulty(ledger, self.faults)
        gate = BudgetGate(watched, self.clock, self.emit, INTERNET)
        gate.follow(self.budgets)
        return Ports(
            store=self.store,
            ledger=watched,
            budgets=gate if self.budgets else None,
            pool=pool,
            clock=self.clock,
            emit=self.emit,
            cluster=self.cluster if self.has_cluster else None,
        )

    def agent(self, ports: Ports, *, reporter: Reporter | None = None, **settings: Any) -> Agent:
        given: dict[str, Any] = {
            "host": "edge1",
            "slots": 1,
            "drain": True,
            "default_fs": FS,
            "retry": RetryPolicy(max_attempts=3, base_s=10),
        }
        pool = ports.pool
        assert isinstance(pool, InlinePool)
        agent = Agent(
            queues=[
                WorkedQueue(queue=self.queue, name=self.queue.facts.name),
                *self.more_queues,
            ],
            ports=ports,
            policy=lambda: Policy(routes=self.routes),
            settings=AgentSettings(**given | settings),
            randomness=self.randomness,
            abort_transfers=pool.abort,
            reporter=reporter,
        )
        if self._engine is not None:
            # One connection is shared with the checks: nobody else may be in a transaction then.
            # The thread itself is replaced: it holds its function from the agent's beginning.
            agent._sweeper = threading.Thread(target=lambda: None, name="no sweep", daemon=True)
            agent._pausing = [threading.Thread(target=lambda: None, name="no park", daemon=True)]
        # What the agent waits for costs no time; its keeper looks whenever the clock moves.
        agent._stopper.changed = self.clock.jumping(*self.jumping)
        for one in agent.pollers:
            one.keeper._changed = self.clock.waking()
        return agent

    def drain(self, **settings: Any) -> Agent:
        """One process that works until nothing is left to do."""
        with self.process() as ports:
            agent = self.agent(ports, **settings)
            agent.run()
            return agent

    @contextmanager
    def running(self, **settings: Any) -> Iterator[Agent]:
        """An agent in a thread of its own; stopped at the end of the block if it still runs."""
        failures: list[BaseException] = []
        with self.process() as ports:
            agent = self.agent(ports, **{"drain": False, "poll_wait_s": 0} | settings)

            def run() -> None:
                try:
                    agent.run()
                except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
                    failures.append(error)

            thread = threading.Thread(target=run, name="agent")
            thread.start()
            try:
                yield agent
            finally:
                agent.request_stop(Stop.DRAIN)
                thread.join(30)
            assert not thread.is_alive()
        if failures:
            raise failures[0]

    # ------------------------------------------------------------ what came of it

    def rows(self) -> list[TransferRow]:
        reader = open_reader(self.path)
        try:
            return list(reader.history(limit=1000))
        finally:
            reader.close()

    @property
    def states(self) -> list[str]:
        if self._engine is not None:
            with self._engine.begin() as connection:
                return list(connection.execute(text("SELECT state FROM transfers")).scalars())
        return [row.state.value for row in self.rows()]

    def landed(self) -> dict[str, bytes]:
        """Files below /land that a reader looks at, by relative path."""
        files = self.target.files("/land")
        return {
            path.removeprefix("/land/"): data
            for path, data in files.items()
            if "/.backhaul/" not in path and path != "/land/.keep"
        }

    def staging(self) -> list[str]:
        return [path for path in self.target.paths() if "/.backhaul" in path]

    def all_of(self, kind: type[Fact]) -> list[Fact]:
        return [fact for fact in self.facts if isinstance(fact, kind)]


def keeper_of(world: World, *, timeout_s: int = 120, total_s: int = 43_200) -> VisibilityKeeper:
    keeper = VisibilityKeeper(
        queue=world.queue,
        clock=world.clock,
        emit=world.emit,
        visibility_timeout_s=timeout_s,
        total_s=total_s,
    )
    keeper._changed = world.clock.waking()
    return keeper
