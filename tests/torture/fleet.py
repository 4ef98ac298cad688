"""A round of three agents on one PostgreSQL: each a node of its own, with its own way to it.

They are processes of this machine. What makes them nodes of a fleet is put in from outside (see
`points`): none can see by the kernel that another is gone, so only their counters in the ledger
count. With `LEASE` below 1 the times by which they judge each other are that much shorter.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from backhaul.core.fleet.liveness import BEAT_S, DEAD_S
from backhaul.testing.servers.errors import ServerFailed
from testbed import PostgreSQL
from testbed.postgres import PostgresStandby
from tests.acceptance.installation import Ended, Running, eventually
from tests.lost_commits import CommitProxy
from tests.torture.rounds import DRAIN_S, POINTS, Round, name_of
from tests.torture.servers import Servers

NODES = 3
LEASE = 0.2
SHOW_AGAIN_S = 10.0
FENCED, LEDGER_AWAY = 75, 69  # what an agent may end with here; systemd starts it again
HELD = "SELECT id, owner FROM transfers WHERE owner IS NOT NULL"
UNSYNCED = {"fsync": "off"}  # no test cuts the power


def hooks(lease: float) -> dict[str, str]:
    """The environment of a process from which agents may be forked, see `warm`."""
    inherited = os.environ.get("PYTHONPATH")
    path = os.pathsep.join(filter(None, (str(POINTS), inherited)))
    return {"PYTHONPATH": path, "TORTURE_LEASE": str(lease), "TORTURE_NODE": ""}


class FleetServers(Servers):
    """Those of every round, and a PostgreSQL behind one proxy for each node.

    Attributes:
        database: Which of two is the primary changes with each failover.
        pass_file: For PGPASSFILE, whichever is the primary.
        ways: By node.
    """

    database: PostgreSQL
    pass_file: Path
    ways: list[CommitProxy]

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self.database = self._stack.enter_context(PostgreSQL(settings=UNSYNCED))
            # Outlives the server; its standbys have the same password.
            self.pass_file = self.directory / "pgpass"
            shutil.copy(self.database.pass_file, self.pass_file)
            (port,) = self.database.ports
            self.ways = [self._stack.enter_context(CommitProxy(port)) for _ in range(NODES)]
        except BaseException:
            self._stack.close()
            raise
        return self

    def be_honest(self) -> None:
        super().be_honest()
        for way in self.ways:
            way.be_honest()

    def standby(self) -> PostgresStandby:
        """One more, that streams from the primary."""
        made = PostgresStandby(self.database, settings=UNSYNCED)
        return self._stack.enter_context(made)

    def fail_over_to(self, standby: PostgresStandby) -> None:
        """Promote it; every way leads to it then. The old primary is gone, and stays so."""
        standby.promote()
        self.database.stop()
        self.database = standby
        for way in self.ways:
            (way.behind,) = standby.ports


@dataclass(kw_only=True)
class Node:
    """One agent, and what is its own.

    Attributes:
        running: None before its first start.
        mark: Made by its point when that strikes.
        is_down: It was killed, and is not to be started yet.
    """

    number: int
    way: CommitProxy
    home: Path
    running: Running | None = None
    mark: Path | None = None
    is_down: bool = False
    ended: list[Running] = field(default_factory=list)

    @property
    def agent(self) -> Running:
        assert self.running is not None
        return self.running

    def stop(self) -> None:
        """SIGTERM, unless it ends by itself already: it would cut its last lines and its code."""
        if '"agent stopped"' not in self.agent.out:
            with contextlib.suppress(ProcessLookupError):
                self.agent.terminate()


def was_fenced(ended: Ended) -> bool:
    """It found that others had taken it for gone.

    A SIGTERM that meets it after that ends it at once: it handles none any more.
    """
    is_code = ended.code in {FENCED, -signal.SIGTERM}
    return is_code and "E_LEDGER_FENCED" in ended.err + ended.out


class FleetRound(Round):
    """See `Round`; its faults have three nodes to choose from.

    Args:
        lease: Factor for the times by which agents judge each other.
    """

    servers: FleetServers

    def __init__(self, servers: FleetServers, seed: int, fault: str, *, lease: float) -> None:
        super().__init__(servers, seed, fault, name=name_of(seed))
        self.verdict.lease = lease
        self.dead_s = lease * (DEAD_S + 2 * BEAT_S)  # until the others have judged
        self.database = self.it.name.replace("-", "_")
        servers.database.create_database(self.database)
        self.it.environment |= {
            "PGPASSFILE": str(servers.pass_file),
            **hooks(lease),
            "PYTHONPATH": self.python_path,
        }
        self.nodes: list[Node] = []
        for number, way in enumerate(servers.ways):
            home = self.it.home / f"node-{number}"
            home.mkdir()
            self.nodes.append(Node(number=number, way=way, home=home))
        self.homes += [node.home for node in self.nodes]

    # ------------------------------------------------------------ nodes

    def start_node(self, node: Node, point: str = "") -> None:
        """With a point, one that strikes itself there."""
        if node.running is not None:
            node.ended.append(node.running)
        node.is_down = False
        url = f"postgresql://backhaul@127.0.0.1:{node.way.port}/{self.database}"
        self.it.is_warm = not point  # a fork has imported already what a point wraps
        node.running = self.start(
            point, HOME=str(node.home), BACKHAUL_LEDGER=url, TORTURE_NODE=str(node.number)
        )
        node.mark = self.mark

    def start_all(self, **points: str) -> None:
        """All nodes, their bytes slow; until all have started and one has begun to work.

        Args:
            points: By `node_NUMBER`.
        """
        self.servers.s3.delay(self.chance.choice((0.0, 0.02, 0.05)))
        for node in self.nodes:
            self.start_node(node, points.get(f"node_{node.number}", ""))
        eventually(
            lambda: all(self.has_started(node) or not node.agent.is_alive for node in self.nodes),
            within_s=60,
            what=self._logs,
        )
        self.send_more()
        self.send_more()
        self.wait_for(self.is_any_at_work)

    def has_started(self, node: Node) -> bool:
        return '"agent started"' in node.agent.out

    def is_any_at_work(self) -> bool:
        return any('"message received"' in node.agent.out for node in self.nodes)

    def a_node(self) -> Node:
        """One at work, mostly."""
        busy = [node for node in self.nodes if '"message received"' in node.agent.out]
        return self.chance.choice(busy if busy and self.chance.random() < 0.8 else self.nodes)

    def kill_node(self, node: Node) -> None:
        """SIGKILL; its workers end by themselves."""
        self.verdict.crashes += node.agent.is_alive
        node.is_down = True
        node.agent.kill()

    def tend(self) -> None:
        """As systemd: who ended is started again, unless it is down; how it ended is judged."""
        for node in self.nodes:
            if node.is_down or node.agent.is_alive:
                continue
            self._judge_end(node)
            self.start_node(node)

    def _judge_end(self, node: Node) -> None:
        ended = node.agent.wait(1)
        if ended.code == -signal.SIGKILL:
            return  # by its point
        if was_fenced(ended):
            self.verdict.fenced += 1
            self.tell(f"node {node.number} was fenced")
        elif ended.code == LEDGER_AWAY and not self.has_started(node):
            if (away := f"node {node.number} found no ledger") not in self.verdict.told:
                self.tell(away)
        else:
            wrong = f"L1 node {node.number} ended with {ended.code}: {str(ended)[-2500:]}"
            self.verdict.wrong.append(wrong)

    def held(self) -> set[tuple[str, str]]:
        """Transfers that a process works on, or did when it died, and its name there."""
        lines = self.servers.database.sql(HELD, database=self.database).splitlines()
        return {(one, owner) for one, _, owner in (line.partition("|") for line in lines)}

    def wait_until_taken(self, held: set[tuple[str, str]], *, within_s: float) -> bool:
        """Until other processes have taken or ended these, whose messages are shown to them."""
        ends_s, shown_s = time.monotonic() + within_s, 0.0
        while held & self.held():
            if time.monotonic() > ends_s:
                return False
            if time.monotonic() - shown_s >= SHOW_AGAIN_S:
                self.servers.show_again(self.it, is_any_alive=True)
                shown_s = time.monotonic()
            self.let_pass(0.3)
        return True

    def let_pass(self, seconds: float) -> None:
        """While the nodes are tended."""
        ends_s = time.monotonic() + seconds
        while (left_s := ends_s - time.monotonic()) > 0:
            self.tend()
            time.sleep(min(0.2, left_s))

    # ------------------------------------------------------------ its end

    def drain(self) -> None:
        """All nodes run and all is honest: they work until nothing is left, and are stopped."""
        self.servers.be_honest()
        for node in self.nodes:
            node.is_down = False
        # Of the dead, whose visibility timeout nobody wants to wait for; and of the living.
        shown_s = time.monotonic() - (SHOW_AGAIN_S if self.verdict.crashes else 0.0)

        def is_over() -> bool:
            nonlocal shown_s
            self.tend()
            if self.nothing_left():
                return True
            if time.monotonic() - shown_s >= SHOW_AGAIN_S:
                self.servers.show_again(self.it, is_any_alive=True)
                shown_s = time.monotonic()
            return False

        eventually(is_over, within_s=DRAIN_S, every_s=0.2, what=self._logs)
        for node in self.nodes:
            # Before, it knows no SIGTERM.
            eventually(lambda node=node: self.has_started(node) or not node.agent.is_alive)  # type: ignore[misc]
            node.stop()
        for node in self.nodes:
            if node.agent.wait().code != 0:
                self._judge_end(node)
        self.gone()

    def _logs(self) -> str:
        return "".join(f"\nNODE {node.number} {node.agent.out[-3000:]}" for node in self.nodes)

    def rows(self) -> list[tuple[str, str, str | None]]:
        statement = "SELECT message_id, state, code FROM transfers"
        lines = self.servers.database.sql(statement, database=self.database).splitlines()
        found = [line.split("|") for line in lines]
        return [(message_id, state, code or None) for message_id, state, code in found]

    def judge(self) -> None:
        super().judge()
        self.verdict.wrong += [
            f"S3 {name} was written a second time" for name in sorted(set(self.applied_again))
        ]
        agents = [one for node in self.nodes for one in (*node.ended, node.agent)]
        done = Counter(line["transfer_id"] for one in agents for line in one.of("transfer done"))
        self.verdict.wrong += [f"S3 {one} ended {n} times" for one, n in done.items() if n > 1]
        checked = self.it.backhaul(
            "ledger", "check", BACKHAUL_LEDGER=self.servers.database.url(self.database)
        )
        if checked.code != 0:
            self.verdict.wrong.append(f"S3 ledger check: {checked}")

    def clean_up(self) -> None:
        for node in self.nodes:
            if node.running is not None and node.running.is_alive:
                node.running.send_signal(signal.SIGCONT)  # whatever was paused in it
        super().clean_up()
        with contextlib.suppress(ServerFailed):  # of a round that failed there may be no server
            self.servers.database.drop_database(self.database)
