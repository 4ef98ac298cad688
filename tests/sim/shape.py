"""What a schedule is made of, drawn from its seed: every seed has its own mixture (swarm)."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

from backhaul.core.model import OnExists, PublishMode, VerifyLevel


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a schedule is made of.

    Attributes:
        messages: Bodies, in the order in which they are sent; `event raw/p/a, /land/p` stands for
            S3's notification of that object, `forged …` for one with the highest sequencer.
        kinds: Fault classes switched on.
        rate: Chance of a fault at each call.
        most_faults: After so many nothing more befalls the installation.
        aim: (call, occurrence, kind): one fault that happens for certain, if the call does.
        has_checksums: S3 has a checksum of every object.
        poison: A key whose bytes never match its checksum.
        killer: A call that ends the process, every time.
        hanger: A call of a worker that never returns, while everything answers that is asked.
        overwrites: Chance that an object changes right before a message about it.
        is_overtaken: Something newer is sent at the very moment of the aimed fault.
        has_one_ledger: False: each agent has its own, which is not supported. What must hold even
            then is that nothing is lost and nothing is half visible.
        is_fifo: The queue keeps the order of message groups.
        page_size: Objects in a page of a listing; None: all. Where there are several, the worker
            goes on with one page while the agent looks at the next one's final paths.
        owned: Directories that are there before: path, group, policy.
        reports: Agents report what they do, and these calls meet faults of their own.
        replies: Transfers want replies, and agents send them.
        pauses: Times in which an operator has paused the route, in seconds from the start.
        adopts: Nothing may be copied (`reconcile --adopt`). The first key's bytes are at its final
            path, those of the others are not.
        has_other_route: There is one that is never paused, so that polling goes on.
        marker: The route wants a completion marker.
        evidence: The route wants its evidence beside the data.
        budget: Bytes that may leave S3 in a day; None: all. With one agent: gates are of a process.
        at_once: Messages that are there from the start, in scenarios with crash points.
        turns_s: When the day ends, and when an operator allows very much more; from the start.
        queues: Each agent works so many; a message is left on one of them.
        denied_s: Between these times, from the start, the last queue refuses every call.
        clocks: For each agent by how much its wall clock is ahead, in seconds, and its rate; then
            agents are members of their ledger and judge each other. Empty: they know who is alive.
        is_split: An old primary answers those, too, that have not seen the newer one. Then what is
            promised is what holds for agents with a ledger each.
    """

    agents: int = 1
    slots: int = 2
    has_one_ledger: bool = True
    messages: tuple[str, ...] = ("raw/p/a, /land/d",)
    keys: tuple[str, ...] = ("p/a",)
    publish: PublishMode = PublishMode.AUTO
    on_exists: OnExists = OnExists.REPLACE
    verify: VerifyLevel = VerifyLevel.STREAM
    is_versioned: bool = False
    has_checksums: bool = True
    poison: str | None = None
    killer: str | None = None
    hanger: str | None = None
    max_starts: int = 50
    kinds: frozenset[str] = frozenset()
    rate: float = 0.02
    most_faults: int = 8
    aim: tuple[str, int, str] | None = None
    overwrites: float = 0.0
    is_overtaken: bool = False
    is_fifo: bool = False
    page_size: int | None = None
    owned: tuple[tuple[str, str, str], ...] = ()
    reports: bool = False
    replies: bool = False
    pauses: tuple[tuple[float, float], ...] = ()
    adopts: bool = False
    has_other_route: bool = False
    marker: bool = False
    evidence: bool = False
    budget: int | None = None
    at_once: int = 1
    turns_s: tuple[float, float] = (0.0, 0.0)
    queues: int = 1
    denied_s: tuple[float, float] = (0.0, 0.0)
    clocks: tuple[tuple[float, float], ...] = ()
    is_split: bool = False

    @property
    def is_fleet(self) -> bool:
        return bool(self.clocks)

    @property
    def fails_over(self) -> bool:
        """Its ledger has a standby, which may lack commits when it is promoted."""
        return not self.kinds.isdisjoint(FAILOVER_KINDS)

    @property
    def may_refuse(self) -> bool:
        """A message may die of what another one published."""
        is_alone = len(self.messages) == 1 and not self.overwrites
        is_strict = self.on_exists is not OnExists.REPLACE
        is_atomic = self.publish is PublishMode.ATOMIC_DIR
        return (is_strict and not is_alone) or is_atomic or self.adopts or not self.has_one_ledger


CALL_KINDS = ("kill", "kill after", "zombie", "pause", "slow", "fail", "lost", "down")
OUTSIDE_KINDS = ("lie", "outage", "overwrite", "redeliver", "reappear", "stop", "power", "revoke")
ALL_KINDS = (*CALL_KINDS, *OUTSIDE_KINDS)
# Only of agents that judge each other: the ledger is away for everyone, one agent alone is cut off
# from it, or is suspended at any step; the answer to a beat comes late.
FLEET_KINDS = ("away", "cut", "freeze")
# From this call on all commits are lost, which its caller learns or does not; a COMMIT never
# arrives at the server.
FAILOVER_KINDS = ("failover", "failover lost", "unsent")


AIMED_KINDS = ("kill", "kill after", "zombie", "pause", "slow", "lost")
AIMED_CALLS = (
    *("ledger.begin", "ledger.claim", "ledger.intend", "ledger.finish", "ledger.fail"),
    *("ledger.published", "target.names", "target.remove", "target.mkdirs", "target.mkdir"),
    *("target.create", "target.close", "target.rename", "target.status", "store.list"),
    *("store.get", "queue.delete", "queue.extend", "queue.receive", "target.remove_empty"),
)


PAGES = (0.10, 0.20)
PAUSES_SHARE = 0.08
BUDGET_SHARE = 0.06
# For an object or two: one has up to 90 bytes.
BUDGETS = (100, 130, 200)
EVENTS_ABOVE = 0.94
REPORTING = 0.15
MARKED = 0.08
EVIDENCED = 0.08
REPLYING = 0.12
# Against the clock of the database: as far off as no machine with NTP is.
AHEAD_S = 3600.0
# No two clocks differ by half: 30 s of one are more than 20 s of any other.
RATES = (0.9, 1.15)
MEMBER_CALLS = ("member.beat", "member.judge", "member.judge", "member.stand")
LOST_CALLS = (
    *("ledger.begin", "ledger.claim", "ledger.claim", "ledger.record_staged", "ledger.intend"),
    *("ledger.intend", "ledger.note_published", "ledger.finish", "ledger.finish", "ledger.fail"),
    *("ledger.note_dead_letter", "member.join", "member.beat", "member.judge", "member.stand"),
    *("queue.delete", "target.rename"),
)
SPLIT_SHARE = 0.15
MEMBER_STRUCK = ("pause", "slow", "lost", "kill", "kill after")
AWAY_S = (10.0, 20.0, 60.0, 300.0)
FROZEN_S = (10.0, 28.0, 40.0, 60.0, 400.0)
LATE_S = (0.5, 3.0, 9.0, 14.0)


def shape_of(seed: int) -> Shape:
    """Swarm: every seed has its own mixture of messages, agents and faults."""
    import random

    shape = _mixed(random.Random(f"shape {seed}"))
    owned = random.Random(f"owned {seed}")
    if owned.random() < 0.25 and "outage" not in shape.kinds:
        shape = replace(shape, owned=owned.choice(OWNED))
    if random.Random(f"reports {seed}").random() < REPORTING:
        shape = replace(shape, reports=True)
    elif random.Random(f"replies {seed}").random() < REPLYING:
        shape = replace(shape, replies=True)
    pauses = random.Random(f"pauses {seed}")
    if pauses.random() < PAUSES_SHARE and "outage" not in shape.kinds:
        shape = _paused(pauses, shape)
    if random.Random(f"marker {seed}").random() < MARKED and _is_one_set(shape):
        shape = replace(shape, marker=True)
    if random.Random(f"evidence {seed}").random() < EVIDENCED:
        shape = replace(shape, evidence=True)
    budget = random.Random(f"budget {seed}")
    if budget.random() < BUDGET_SHARE and not shape.pauses and "outage" not in shape.kinds:
        shape = _budgeted(budget, shape)
    odd = random.Random(f"odd {seed}").random()
    if odd < 0.05:
        return replace(shape, is_fifo=True)
    if odd < 0.09 and shape.agents > 1:
        return replace(shape, has_one_ledger=False)
    if PAGES[0] < odd < PAGES[1]:
        return _in_pages(random.Random(f"pages {seed}"), shape)
    if odd > EVENTS_ABOVE:
        return _of_events(random.Random(f"events {seed}"), shape)
    return shape


def fleet_of(seed: int) -> Shape:
    """The same mixture, of two to five agents that judge each other by clocks of their own."""
    chance = random.Random(f"fleet {seed}")
    shape = shape_of(seed)
    kinds = shape.kinds - {"outage", "lease"}
    if kinds or chance.random() < 0.7:
        kinds |= {one for one in FLEET_KINDS if chance.random() < 0.6}
    aim = shape.aim
    if kinds and chance.random() < 0.4:
        aim = (chance.choice(MEMBER_CALLS), chance.randint(1, 4), chance.choice(MEMBER_STRUCK))
    agents = chance.choice((2, 2, 3, 3, 4, 5))
    clocks = [(chance.uniform(-AHEAD_S, AHEAD_S), chance.uniform(*RATES)) for _ in range(agents)]
    return replace(
        shape,
        agents=agents,
        clocks=tuple(clocks),
        kinds=kinds,
        aim=aim,
        has_one_ledger=True,
        # Of one process, or judged by the only clock of the simulation.
        reports=False,
        replies=False,
        pauses=(),
        budget=None,
    )


def failover_of(seed: int) -> Shape:
    """The same agents, whose ledger loses its last commits: those of one call for certain."""
    chance = random.Random(f"failover {seed}")
    shape = fleet_of(seed)
    kind = chance.choice(("failover", "failover", "failover lost"))
    kinds = {one for one in sorted(shape.kinds) if one not in CALL_KINDS or chance.random() < 0.7}
    kinds |= {kind} | {one for one in FAILOVER_KINDS if chance.random() < 0.4}
    return replace(
        shape,
        kinds=frozenset(kinds),
        aim=(chance.choice(LOST_CALLS), chance.choice((1, 1, 1, 2, 3)), kind),
        is_split=chance.random() < SPLIT_SHARE,
    )


def _is_one_set(shape: Shape) -> bool:
    """Every message brings the same to one directory, which is complete then."""
    return len(set(shape.messages)) == 1 and "p/_SUCCESS" not in shape.keys


def _paused(chance: random.Random, shape: Shape) -> Shape:
    """Paused once or twice, for seconds or minutes."""
    begins, pauses = 0.0, []
    for _ in range(chance.randint(1, 2)):
        begins += chance.choice((0, 0, 5, 40))
        ends = begins + chance.choice((3, 15, 60, 300))
        pauses.append((begins, ends))
        begins = ends
    return replace(shape, pauses=tuple(pauses), has_other_route=chance.random() < 0.6)


def _budgeted(chance: random.Random, shape: Shape) -> Shape:
    """For one or two plans a day; the day ends soon, and then an operator helps."""
    turns_s = chance.choice((20.0, 90.0, 400.0))
    return replace(
        shape,
        agents=1,
        budget=chance.choice(BUDGETS),
        turns_s=(turns_s, turns_s + chance.choice((30.0, 200.0))),
        has_other_route=chance.random() < 0.6,
    )


def _in_pages(chance: random.Random, shape: Shape) -> Shape:
    """A prefix of several pages, below a directory that exists, or will by the second message."""
    if shape.poison or shape.killer:
        return shape
    names = ("a", "b", "s/c", "s/d", "e", "_SUCCESS")[: chance.randint(3, 6)]
    body = chance.choice(("raw/p/, /land", "raw/p/, /land/d"))
    return replace(
        shape,
        keys=tuple(f"p/{name}" for name in names),
        messages=(body,) * len(shape.messages),
        page_size=chance.choice((1, 1, 2, 3)),
    )


def _of_events(chance: random.Random, shape: Shape) -> Shape:
    """Notifications of one object that changes, some of them forged."""
    if shape.poison or shape.killer:
        return shape
    forms = [chance.choice(("event", "event", "forged")) for _ in range(chance.randint(2, 4))]
    return replace(
        shape,
        keys=("p/a",),
        messages=tuple(f"{form} raw/p/a, /land/p" for form in forms),
        on_exists=OnExists.REPLACE,
        overwrites=chance.choice((0.5, 0.9)) if shape.kinds else 0.0,
    )


def _mixed(chance: random.Random) -> Shape:
    keys, bodies = chance.choice(SCRIPTS)
    messages = tuple(chance.choice(bodies) for _ in range(chance.randint(1, 4)))
    kinds = {one for one in ALL_KINDS if chance.random() < 0.4}
    if chance.random() < 0.7:
        kinds.discard("revoke")
    if chance.random() < 0.85:
        kinds.discard("outage")  # an hour is long
    if chance.random() < 0.3:
        kinds.add("lease")
    if chance.random() < 0.05:
        kinds = set()
    agents = chance.choice((1, 1, 2, 2, 2))
    on_exists = OnExists.REPLACE
    if len(messages) == 1 and chance.random() < 0.5:
        on_exists = chance.choice((OnExists.FAIL, OnExists.SAME_OK))
    if chance.random() < 0.02:
        return _hopeless(chance, keys, messages)
    aim = None
    if kinds and chance.random() < 0.7:
        kind = chance.choice(AIMED_KINDS)
        aim = (chance.choice(AIMED_CALLS), chance.randint(1, 3), kind)
        kinds.add(kind)
    return Shape(
        agents=agents,
        slots=chance.choice((1, 2, 3)),
        on_exists=on_exists,
        has_checksums=chance.random() < 0.8,
        messages=messages,
        keys=keys,
        publish=chance.choice((PublishMode.AUTO, PublishMode.AUTO, PublishMode.PER_FILE)),
        verify=chance.choice(tuple(VerifyLevel)),
        is_versioned=chance.random() < 0.5,
        kinds=frozenset(kinds),
        rate=chance.choice((0.003, 0.01, 0.03, 0.1)),
        most_faults=chance.choice((2, 4, 8)),
        aim=aim,
        is_overtaken=chance.random() < 0.7,
        overwrites=chance.choice((0.0, 0.5, 0.9)) if kinds else 0.0,
    )


def _hopeless(chance: random.Random, keys: tuple[str, ...], messages: tuple[str, ...]) -> Shape:
    """A message that can never succeed, or that ends whoever works on it."""
    if chance.random() < 0.6:
        aim = ("queue.send_dead_letter", 1, chance.choice(("fail", "lost", "kill", "kill after")))
        return Shape(keys=keys, messages=messages, poison=keys[0], aim=aim)
    return Shape(keys=keys, messages=messages[:1], killer="store.get", max_starts=6)


OWNED = (
    (("/land", "etl", ""), ("/land/d", "finance", "")),
    (("/land", "etl", "RS"), ("/land/d/s", "audit", "")),
    (("/land", "etl", ""), ("/land/d", "finance", "RS"), ("/land/d/s", "audit", "XOR")),
)

SCRIPTS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (("p/a",), ("raw/p/a, /land/d",)),
    (("p/a", "p/b"), ("raw/p/, /land/d",)),
    (("p/a", "p/b"), ("raw/p/, /land/d", "raw/p/a, /land/d")),
    (("p/a", "p/s/b"), ("raw/p/, /land/d", "raw/p/s/, /land/d/s", "raw/p/s/b, /land/d/s")),
    (("p/a", "p/_SUCCESS"), ("raw/p/, /land/d",)),
    (("p/a", "q/b"), ("raw/p/, /land/d", "raw/q/b, /land/e")),
    (("p/a", "p/b"), ("raw/p/, /land",)),
)
