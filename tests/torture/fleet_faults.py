"""What is done to a fleet, by name; see `faults` for those of one agent."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Callable, Sequence

import psutil

from tests.acceptance.installation import eventually
from tests.lost_commits import Loss, kill_backend
from tests.torture.faults import point_of
from tests.torture.fleet import FleetRound, Node
from tests.torture.points.sitecustomize import AGENT
from tests.torture.tcp import TcpProxy

FLEET_FAULTS: dict[str, Callable[[FleetRound], None]] = {}
FLEET_WEIGHTS = {"fleet-calm": 1}


def fault(name: str) -> Callable[[Callable[[FleetRound], None]], Callable[[FleetRound], None]]:
    def named(function: Callable[[FleetRound], None]) -> Callable[[FleetRound], None]:
        FLEET_FAULTS[name] = function
        return function

    return named


def _soon(it: FleetRound, most_s: float = 1.5) -> None:
    time.sleep(it.chance.random() * most_s)


def _beyond_the_lease(it: FleetRound) -> float:
    return it.dead_s * (1.0 + it.chance.random() * 0.5)


def _meanwhile(it: FleetRound, seconds: float) -> None:
    """The others go on: there is more to do, the object that changes does, and messages return."""
    it.send_more()
    it.move()
    if it.chance.random() < 0.5:
        it.servers.show_again(it.it, is_any_alive=True)
    it.let_pass(seconds)


@fault("fleet-calm")
def calm(it: FleetRound) -> None:
    it.start_all()
    it.tell("let alone")


# ---------------------------------------------------------------- kill -9


@fault("node-killed")
def node_killed(it: FleetRound) -> None:
    """One or two nodes, at any moment; they come back soon, or after the others judged them."""
    it.start_all()
    for _ in range(it.chance.randint(1, 2)):
        _soon(it)
        node = it.a_node()
        if node.is_down:
            continue
        it.kill_node(node)
        it.verdict.struck += 1
        down_s = it.chance.choice((0.0, 1.0, _beyond_the_lease(it)))
        it.tell(f"node {node.number} killed for {down_s:.0f} s")
        _meanwhile(it, down_s)
        if it.chance.random() < 0.7:
            it.start_node(node)


@fault("node-killed-at-point")
def node_killed_atpoint_of(it: FleetRound) -> None:
    """Each of two nodes kills itself before or after a call to queue, ledger or worker."""
    points = {f"node_{n}": point_of(it, AGENT, "kill") for n in it.chance.sample(range(3), 2)}
    it.start_all(**points)
    struck = [node for node in it.nodes if f"node_{node.number}" in points]
    it.send_more()
    it.wait_for(lambda: not any(node.agent.is_alive for node in struck))
    for node in struck:
        point = points[f"node_{node.number}"]
        if node.agent.is_alive:
            it.tell(f"({point} not reached)")
        else:
            it.verdict.struck += 1
            it.verdict.crashes += 1
            it.tell(point)
    _meanwhile(it, it.chance.choice((0.0, _beyond_the_lease(it))))


# ---------------------------------------------------------------- pauses beyond the lease


def _send(node: Node, number: signal.Signals, *, workers: bool) -> None:
    """To the agent, and to its workers if asked."""
    pids = [node.agent.pid, *(one.pid for one in node.agent.workers() if workers)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
            os.kill(pid, number)


def _paused(it: FleetRound, node: Node, what: str) -> None:
    """It is stopped until the others have judged it, and then goes on."""
    pause_s = _beyond_the_lease(it)
    is_whole = it.chance.random() < 0.5
    _send(node, signal.SIGSTOP, workers=is_whole)
    it.verdict.struck += 1
    it.tell(f"node {node.number} paused {what} {pause_s:.0f} s{'' if is_whole else ', alone'}")
    try:
        _meanwhile(it, pause_s)
    finally:
        _send(node, signal.SIGCONT, workers=True)
    it.let_pass(2.0)


@fault("node-paused")
def node_paused(it: FleetRound) -> None:
    it.start_all()
    _soon(it)
    _paused(it, it.a_node(), "anytime")


# By what was recorded and what readers see when it is stopped. Those of a worker are calls of HDFS:
# the rename itself is the first thing that a node does when it wakes.
PHASES = {
    "before-intent": ("ledger.claim:after", "session.fence:after", "ledger.intend:before"),
    "before-rename": (
        "ledger.intend:after",
        "session.publish_files:before",
        "session.publish_tree:before",
        "target.rename:before",
    ),
    "after-rename": (
        "target.rename:after",
        "session.publish_files:after",
        "session.publish_tree:after",
        "ledger.finish:before",
    ),
    "after-record": ("ledger.finish:after", "queue.delete:before", "queue.delete:after"),
}
TAKEOVER_S = 60.0


def _paused_at(it: FleetRound, place: str) -> None:
    """One node alone has the messages until it stops there; it wakes when others have its work."""
    nth = it.chance.choice((1, 1, 2)) if "tree" not in place else 1
    point = f"{place}:{nth}:stop"
    node, *others = it.nodes
    it.start_node(node, point)
    assert node.mark is not None
    it.send_more()
    has_struck = it.wait_for(node.mark.exists)
    if has_struck:
        # A worker that stopped itself is a call of the whole node that has not come back.
        _send(node, signal.SIGSTOP, workers=True)
    held = it.held()
    for other in others:
        it.start_node(other)
    if not has_struck:
        it.tell(f"({point} not reached)")
        return
    try:
        _meanwhile(it, _beyond_the_lease(it))
        is_taken = it.wait_until_taken(held, within_s=TAKEOVER_S)
    finally:
        _send(node, signal.SIGCONT, workers=True)
    it.verdict.struck += is_taken
    it.tell(f"{point}, {len(held)} under way{'' if is_taken else ' (NOT taken over)'}")
    it.let_pass(2.0)


def _phase(places: Sequence[str]) -> Callable[[FleetRound], None]:
    return lambda it: _paused_at(it, it.chance.choice(places))


for _name, _places in PHASES.items():
    fault(f"node-paused-{_name}")(_phase(_places))


# ---------------------------------------------------------------- between node and ledger


@fault("ledger-cut")
def ledger_cut(it: FleetRound) -> None:
    """Connections are reset, again and again; of any node."""
    it.start_all()
    times = it.chance.randint(3, 12)
    for _ in range(times):
        it.chance.choice(it.nodes).way.cut()
        _soon(it, 0.6)
        it.send_more()
    it.verdict.struck += 1
    it.tell(f"cut {times} times")


def _struck_way(it: FleetRound, strike: Callable[[TcpProxy], None], what: str) -> TcpProxy:
    """The way of one node, struck until the others have judged it."""
    it.start_all()
    _soon(it)
    node = it.a_node()
    strike(node.way)
    it.verdict.struck += 1
    it.tell(f"node {node.number} {what}")
    _meanwhile(it, _beyond_the_lease(it))
    return node.way


@fault("ledger-refused")
def ledger_refused(it: FleetRound) -> None:
    """One node does not reach the ledger until the others have judged it."""
    _struck_way(it, TcpProxy.refuse, "cut off").be_honest()


@fault("ledger-stalled")
def ledger_stalled(it: FleetRound) -> None:
    """Nothing passes between one node and the ledger beyond the lease; then all of it does."""
    _struck_way(it, TcpProxy.stall, "stalled").be_honest()


@fault("ledger-half-open")
def ledger_half_open(it: FleetRound) -> None:
    """The connections of one node are silent and never end; new ones pass."""
    way = _struck_way(it, TcpProxy.forget, "half open")
    if it.chance.random() < 0.5:
        way.cut()


@fault("commit-lost")
def commit_lost(it: FleetRound) -> None:
    """COMMITs, or the answers to them, are lost; of any node."""
    it.start_all()
    for _ in range(it.chance.randint(2, 5)):
        way, how = it.a_node().way, it.chance.choice(list(Loss))
        before = way.lost
        way.lose(how)
        it.send_more()
        if it.wait_for(lambda way=way, before=before: way.lost > before):  # type: ignore[misc]
            it.verdict.struck += 1
            it.tell(how.name.lower())
        _soon(it, 0.5)


# ---------------------------------------------------------------- the database


@fault("database-restart")
def database_restart(it: FleetRound) -> None:
    """It crashes, is shut down or killed, and comes back soon or after a while."""
    it.start_all()
    _soon(it)
    database = it.servers.database
    how = it.chance.choice(("shut down", "crashed", "killed"))
    away_s = it.chance.choice((0.0, 1.0, _beyond_the_lease(it)))
    if how == "killed":
        database.kill()
    else:
        database.shut_down(immediate=how == "crashed")
    it.verdict.struck += 1
    it.tell(f"database {how} for {away_s:.0f} s")
    try:
        it.send_more()
        it.move()
        it.let_pass(away_s)
    finally:
        database.start()


BACKENDS = """
SELECT pid FROM pg_stat_activity
WHERE datname = '{}' AND backend_type = 'client backend' ORDER BY pid"""


@fault("database-backend-killed")
def database_backend_killed(it: FleetRound) -> None:
    """SIGKILL to one process of PostgreSQL: it ends all others, and recovers without a restart."""
    it.start_all()
    for _ in range(it.chance.randint(1, 3)):
        _soon(it)
        database = it.servers.database
        backends = database.sql(BACKENDS.format(it.database)).split()  # those of its agents
        it.send_more()
        if backends:
            kill_backend(database, int(it.chance.choice(backends)))
            it.verdict.struck += 1
            it.tell("backend killed")
        it.let_pass(it.chance.choice((0.0, 1.0, 3.0)))
    it.move()


@fault("failover")
def failover(it: FleetRound) -> None:
    """The primary is killed, and a standby that has all its commits is promoted."""
    standby = it.servers.standby()
    primary = it.servers.database
    primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'")
    primary.sql("SELECT pg_reload_conf()")
    eventually(
        lambda: primary.sql("SELECT sync_state FROM pg_stat_replication") == "sync",
        within_s=30,
        what="the standby has all",
    )
    it.start_all()
    _soon(it)
    primary.kill()
    it.verdict.struck += 1
    it.tell("failover, nothing lost")
    it.send_more()
    it.let_pass(it.chance.choice((0.0, 1.0)))
    it.servers.fail_over_to(standby)
    it.move()


@fault("failover-behind")
def failover_behind(it: FleetRound) -> None:
    """The standby lacks the last commits when it is promoted."""
    it.has_lost_commits = True
    standby = it.servers.standby()
    it.start_all()
    _soon(it)
    standby.stop_receiving()
    lost_s = it.chance.random() * 2
    it.send_more()
    it.let_pass(lost_s)
    it.servers.database.kill()
    it.verdict.struck += 1
    it.tell(f"failover, commits of {lost_s:.1f} s lost")
    standby.forget_unreceived()
    it.servers.fail_over_to(standby)
    it.move()
