"""Every external call of every scenario, struck in every way: the end must be the same.

A scenario is run once untouched, which tells its calls. Each of the first three of a name is then
struck in a run of its own. At that very moment something newer is sent, so that another agent
overtakes whoever was struck; what was paused or outlived its agent goes on only long after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

from backhaul.core.model import OnExists, PublishMode, VerifyLevel
from tests.sim.shape import Shape
from tests.sim.world import WORKER_CALLS, Sim

MOST_OCCURRENCES = 3
TIMES_IN_EACH_RUN = 8
WAYS = ("kill", "kill after", "zombie", "pause", "fail", "lost", "down", "silent", "hang")
BOTH = ("p/a", "p/s/b")

_TWICE = Shape(agents=2, slots=1, keys=("p/a",), messages=("raw/p/a, /land/d",) * 2)
_FORGED = ("forged raw/p/a, /land/p", "event raw/p/a, /land/p")
_FOLDER = replace(_TWICE, keys=("p/a", "p/b"), messages=("raw/p/, /land/d",) * 2)
# Of 7 and 87 bytes: a budget for one of them, and then for both if each is read once.
_AT_ONCE = replace(
    _TWICE,
    agents=1,
    slots=2,
    keys=("p/a", "q/b"),
    messages=("raw/p/a, /land/d", "raw/q/b, /land/e", "raw/p/a, /land/f"),
    at_once=2,
    budget=90,
    turns_s=(60.0, 100.0),
)
SCENARIOS: dict[str, Shape] = {
    "object": replace(_TWICE, messages=_TWICE.messages[:1]),
    "object, and the agents report": replace(_TWICE, messages=_TWICE.messages[:1], reports=True),
    "object, and its replies": replace(_TWICE, messages=_TWICE.messages[:1], replies=True),
    "two objects, and the replies of one agent": replace(
        _TWICE,
        agents=1,
        keys=BOTH,
        messages=("raw/p/a, /land/a", "raw/p/s/b, /land/b"),
        replies=True,
    ),
    "never right, and its replies": replace(
        _TWICE, messages=_TWICE.messages[:1], poison="p/a", replies=True
    ),
    "object that may not exist": replace(
        _TWICE, messages=_TWICE.messages[:1], on_exists=OnExists.FAIL
    ),
    "object that may be the same": replace(
        _TWICE, messages=_TWICE.messages[:1], on_exists=OnExists.SAME_OK
    ),
    "what may only be adopted, then what is not there": replace(
        _TWICE,
        keys=("p/a", "p/b"),
        messages=("raw/p/a, /land/d", "raw/p/b, /land/d"),
        on_exists=OnExists.SAME_OK,
        adopts=True,
    ),
    "object, then newer": _TWICE,
    "versioned object, then newer": replace(_TWICE, is_versioned=True),
    "directory": replace(_FOLDER, messages=_FOLDER.messages[:1]),
    "directory at once or never": replace(
        _FOLDER, messages=_FOLDER.messages[:1], publish=PublishMode.ATOMIC_DIR
    ),
    "directory, then newer": replace(_FOLDER, is_versioned=True),
    "file by file, then newer": replace(_FOLDER, is_versioned=True, publish=PublishMode.PER_FILE),
    "with a marker": replace(
        _FOLDER, keys=("p/_SUCCESS", "p/a"), publish=PublishMode.PER_FILE, is_versioned=True
    ),
    "directory, then its marker": replace(_FOLDER, messages=_FOLDER.messages[:1], marker=True),
    "file by file, then the marker": replace(
        _FOLDER, publish=PublishMode.PER_FILE, is_versioned=True, marker=True
    ),
    "directory, and its evidence": replace(_FOLDER, messages=_FOLDER.messages[:1], evidence=True),
    "file by file, and their evidence": replace(
        _FOLDER, publish=PublishMode.PER_FILE, evidence=True
    ),
    "file by file, their evidence, then the marker": replace(
        _FOLDER,
        messages=_FOLDER.messages[:1],
        publish=PublishMode.PER_FILE,
        evidence=True,
        marker=True,
        owned=(("/land", "etl", ""), ("/land/d", "finance", "")),
    ),
    "object that may not exist, then its marker": replace(
        _TWICE, messages=_TWICE.messages[:1], on_exists=OnExists.FAIL, marker=True
    ),
    "part, then whole": replace(
        _TWICE, keys=BOTH, messages=("raw/p/s/, /land/d/s", "raw/p/, /land/d"), is_versioned=True
    ),
    "whole, then part": replace(
        _TWICE, keys=BOTH, messages=("raw/p/, /land/d", "raw/p/s/b, /land/d/s"), is_versioned=True
    ),
    "the route's own directory": replace(_FOLDER, messages=("raw/p/, /land",) * 2),
    "into directories of others": replace(
        _FOLDER,
        keys=BOTH,
        is_versioned=True,
        owned=(
            ("/land", "etl", ""),
            ("/land/d", "finance", ""),
            ("/land/d/s", "audit", "RS"),
        ),
    ),
    "read back": replace(_TWICE, verify=VerifyLevel.STORED, has_checksums=False),
    "event, then newer": replace(_TWICE, messages=("event raw/p/a, /land/p",) * 2),
    "forged event, then newer": replace(_TWICE, messages=_FORGED),
    "forged event of a version, then newer": replace(_TWICE, messages=_FORGED, is_versioned=True),
    "paused, then resumed": replace(
        _FOLDER, pauses=((0.0, 30.0), (35.0, 50.0)), has_other_route=True
    ),
    "everything paused, then resumed": replace(
        _TWICE, messages=_TWICE.messages[:1], pauses=((0.05, 30.0),)
    ),
    "budget for one of two, then more": replace(
        _FOLDER,
        agents=1,
        messages=("raw/p/, /land/d", "raw/p/, /land/e"),
        budget=100,
        turns_s=(60.0, 100.0),
    ),
    "two at once for one budget": _AT_ONCE,
    "two at once for one budget, one never right": replace(_AT_ONCE, budget=100, poison="p/a"),
    "never right": replace(_TWICE, messages=_TWICE.messages[:1], poison="p/a"),
    "hangs for ever": replace(_TWICE, messages=_TWICE.messages[:1], hanger="store.get"),
    "one agent, three at once": replace(
        _FOLDER, agents=1, slots=3, messages=("raw/p/, /land/d", "raw/p/a, /land/d") * 2
    ),
    "one agent, two queues": replace(
        _TWICE,
        agents=1,
        keys=BOTH,
        messages=("raw/p/a, /land/a", "raw/p/s/b, /land/b"),
        at_once=2,
        queues=2,
    ),
}


@dataclass(frozen=True, kw_only=True)
class Point:
    """One call of one scenario, struck in one way."""

    scenario: str
    call: str
    occurrence: int
    way: str

    def run(self) -> Sim:
        """The schedule; raises what it violates."""
        kinds = {self.way, "overwrite"} | ({"lease"} if self.way == "pause" else set())
        shape = replace(SCENARIOS[self.scenario], kinds=frozenset(kinds), is_overtaken=True)
        sim = _sim(shape)
        sim.plan[self.call, self.occurrence] = self.way
        for _ in range(shape.at_once):
            sim.send()
        sim.run()
        return sim


def points() -> Iterator[Point]:
    """All of them."""
    for scenario, shape in SCENARIOS.items():
        sim = _sim(replace(shape, kinds=frozenset(), messages=shape.messages[: shape.at_once]))
        for _ in range(shape.at_once):
            sim.send()
        sim.run()
        for call, made in sorted(sim.counts.items()):
            for occurrence in range(1, min(made, MOST_OCCURRENCES) + 1):
                for way in WAYS:
                    if is_possible(call, way):
                        yield Point(scenario=scenario, call=call, occurrence=occurrence, way=way)


def points_of_each_run() -> Iterator[Point]:
    """Each call of each scenario in one way at least, and each way of each call several times.

    The ways of a call take turns from one scenario to the next. What `points` has beyond these is
    the same call in the same way, in another scenario or once more.
    """
    times: Counter[tuple[str, str]] = Counter()
    calls: Counter[str] = Counter()
    ways: dict[str, list[str]] = {}
    for point in points():
        known = ways.setdefault(point.call, [way for way in WAYS if is_possible(point.call, way)])
        is_its_turn = point.way == known[calls[point.call] // len(known) % len(known)]
        calls[point.call] += 1
        if is_its_turn or times[point.call, point.way] < TIMES_IN_EACH_RUN:
            times[point.call, point.way] += 1
            yield point


def is_possible(call: str, way: str) -> bool:
    """Only a worker outlives its agent, and a queue or ledger that fails is one that is down."""
    if way in {"silent", "hang"}:
        return call.startswith(WORKER_CALLS)
    if way == "zombie":
        return call.startswith(("target.", "store.get"))
    return way != "down" or not call.startswith(("queue.", "ledger.", "reply."))


def _sim(shape: Shape) -> Sim:
    sim = Sim(1, shape)
    sim.is_counting = True
    sim.faults_left = 0
    return sim
