"""The protocol as a small machine whose every state is visited: claim, fence, intent, publish, ack.

Two agents, two messages, one destination. Message 1 asks for version 1 of an object, message 2 for
version 2, which is newer. Agents crash, are paused until another takes over, and messages are
delivered twice; a rename that a crashed agent's worker was about to make may still happen, at any
later time. Nothing here is the program: it is what the program must be a refinement of.

`explore` visits all states and names what breaks: S1 to S4, S6, and L1 (from every state the end
can still be reached). Each rule can be left out, which shows what it is for.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

RULES = frozenset(
    {"lease", "epoch", "fence", "verify", "intent", "recheck", "newest", "rivals", "record", "own"}
)
IDLE, RECEIVED, CLAIMED, FENCED, STAGED, INTENDED, LOOKED, RENAMED, RECORDED = range(9)
NEW, PUBLISHING, DONE = range(3)
VISIBLE, IN_FLIGHT, DELETED = range(3)
TORN = -1


class Agent(NamedTuple):
    """Where one agent stands; `version` is its message, 1 or 2."""

    at: int = IDLE
    version: int = 0
    epoch: int = 0


class State(NamedTuple):
    """Everything: agents, queue, ledger, target, and how much may still go wrong.

    Attributes:
        staging: (epoch, content); content 0 is an empty directory.
        zombies: (epoch, content) of renames that may still happen.
        suspected: Agents that others take for dead although they live.
    """

    agents: tuple[Agent, Agent] = (Agent(), Agent())
    queue: tuple[int, int] = (VISIBLE, VISIBLE)
    rows: tuple[int, int] = (NEW, NEW)
    owner: tuple[int, int, int] | None = None  # agent, version, epoch
    epoch: int = 0
    published: int = 0
    final: int = 0
    staging: frozenset[tuple[int, int]] = frozenset()
    zombies: frozenset[tuple[int, int]] = frozenset()
    suspected: frozenset[int] = frozenset()
    fenced: int = 0
    crashes: int = 1
    pauses: int = 1
    duplicates: int = 1
    faults: int = 0  # stagings that end torn
    broken: str = ""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a visit of all states came to.

    Attributes:
        broken: Names of the properties that some state or step violates.
        path: The steps to the first violation.
    """

    states: int
    broken: frozenset[str]
    path: tuple[str, ...]


def explore(rules: frozenset[str] = RULES, start: State | None = None) -> Found:
    """Visit every state that can be reached."""
    first = start or State()
    before: dict[State, tuple[State, str] | None] = {first: None}
    reverse: dict[State, list[State]] = {}
    todo = deque([first])
    broken: set[str] = set()
    culprit: State | None = None
    while todo:
        state = todo.popleft()
        name = state.broken or _violated(state)
        if name:
            broken.add(name)
            culprit = culprit or state
            continue
        for what, new in steps(state, rules):
            after = _ranked(new)
            reverse.setdefault(after, []).append(state)
            if after not in before:
                before[after] = (state, what)
                todo.append(after)
    if not broken and len(_can_end(before, reverse)) < len(before):
        broken.add("L1")
    return Found(states=len(before), broken=frozenset(broken), path=_path(before, culprit))


def _ranked(state: State) -> State:
    """The same with epochs counted from 1: only their order matters, so they are finitely many."""
    used = {epoch for epoch, _ in state.staging | state.zombies}
    used |= {one.epoch for one in state.agents if one.epoch} | {state.fenced, state.epoch}
    if state.owner is not None:
        used.add(state.owner[2])
    used.discard(0)
    rank = {epoch: number for number, epoch in enumerate(sorted(used), 1)} | {0: 0}
    owner = state.owner
    return state._replace(
        agents=(
            state.agents[0]._replace(epoch=rank[state.agents[0].epoch]),
            state.agents[1]._replace(epoch=rank[state.agents[1].epoch]),
        ),
        owner=None if owner is None else (owner[0], owner[1], rank[owner[2]]),
        epoch=rank[state.epoch],
        staging=frozenset((rank[epoch], content) for epoch, content in state.staging),
        zombies=frozenset((rank[epoch], content) for epoch, content in state.zombies),
        fenced=rank[state.fenced],
    )


def _can_end(before: Mapping[State, object], reverse: dict[State, list[State]]) -> set[State]:
    """States from which both messages can still come to their end."""
    ended = [one for one in before if one.queue == (DELETED, DELETED)]
    reached = set(ended)
    while ended:
        for earlier in reverse.get(ended.pop(), ()):
            if earlier not in reached:
                reached.add(earlier)
                ended.append(earlier)
    return reached


def _path(before: dict[State, tuple[State, str] | None], state: State | None) -> tuple[str, ...]:
    names: list[str] = []
    while state is not None and (link := before[state]) is not None:
        state, what = link
        names.append(what)
    return tuple(reversed(names))


def _violated(state: State) -> str:
    """S1, S2 and S3, of a state."""
    if state.final == TORN:
        return "S2"
    for version in (1, 2):
        if state.rows[version - 1] == DONE and state.final < version:
            return "S3"
        if state.queue[version - 1] == DELETED and state.final < version:
            return "S1"
    return ""


def steps(state: State, rules: frozenset[str]) -> Iterator[tuple[str, State]]:
    """Every next state and what leads there."""
    for number in (0, 1):
        yield from _agent_steps(state, number, rules)
    for epoch, content in state.zombies:
        left = state._replace(zombies=state.zombies - {(epoch, content)})
        if (epoch, content) in state.staging:
            yield f"forgotten rename of epoch {epoch}", _renamed(left, epoch, content)
        yield f"epoch {epoch} is over", left
    for version in (1, 2):
        if state.duplicates and state.queue[version - 1] == IN_FLIGHT:
            again = _queue(state, version, VISIBLE)
            yield f"message {version} again", again._replace(duplicates=state.duplicates - 1)


def _agent_steps(state: State, number: int, rules: frozenset[str]) -> Iterator[tuple[str, State]]:
    one = state.agents[number]
    name = f"agent {number}"
    if one.at == IDLE:
        for version in (1, 2):
            if state.queue[version - 1] == VISIBLE:
                taken = _queue(state, version, IN_FLIGHT)
                yield (
                    f"{name} receives {version}",
                    _at(taken, number, Agent(at=RECEIVED, version=version)),
                )
        return
    if state.crashes:
        yield f"{name} crashes", _crashed(state, number)
    if state.pauses and number not in state.suspected:
        paused = state._replace(pauses=state.pauses - 1, suspected=state.suspected | {number})
        yield f"{name} is paused", _queue(paused, one.version, VISIBLE)
    for after in _works(state, number, rules):
        yield f"{name} goes on from {one.at}", after


def _works(state: State, number: int, rules: frozenset[str]) -> Iterator[State]:
    one = state.agents[number]
    match one.at:
        case x if x == RECEIVED:
            yield from _claim(state, number, rules)
        case x if x == CLAIMED:
            kept = frozenset(pair for pair in state.staging if pair[0] >= one.epoch)
            staging = (kept if "fence" in rules else state.staging) | {(one.epoch, 0)}
            fenced = max(state.fenced, one.epoch) if "fence" in rules else state.fenced
            moved = state._replace(staging=staging, fenced=fenced)
            yield _at(moved, number, one._replace(at=FENCED))
        case x if x == FENCED:
            yield from _stage(state, number, rules)
        case x if x == STAGED:
            yield from _intend(state, number, rules)
        case x if x == INTENDED:
            yield _at(state, number, one._replace(at=_look(state, one, rules)))
        case x if x == LOOKED:
            if (one.epoch, one.version) in state.staging or (one.epoch, TORN) in state.staging:
                content = one.version if (one.epoch, one.version) in state.staging else TORN
                moved = _renamed(state, one.epoch, content)
                yield _at(moved, number, one._replace(at=RENAMED))
            else:
                yield _gives_up(state, number)
        case x if x == RENAMED:
            yield from _record(state, number, rules)
        case _:
            yield _at(_queue(state, one.version, DELETED), number, Agent())


def _claim(state: State, number: int, rules: frozenset[str]) -> Iterator[State]:
    one = state.agents[number]
    if state.rows[one.version - 1] == DONE:
        yield _at(_queue(state, one.version, DELETED), number, Agent())  # recognised
        return
    is_held = state.owner is not None and state.owner[0] not in state.suspected
    if "lease" in rules and is_held and state.owner is not None and state.owner[0] != number:
        yield _gives_up(state, number)
        return
    epoch = state.epoch + 1 if "epoch" in rules else max(1, state.epoch)
    claimed = state._replace(owner=(number, one.version, epoch), epoch=epoch)
    yield _at(claimed, number, one._replace(at=CLAIMED, epoch=epoch))


def _stage(state: State, number: int, rules: frozenset[str]) -> Iterator[State]:
    one = state.agents[number]
    if not any(epoch == one.epoch for epoch, _ in state.staging):
        yield _gives_up(state, number)  # fenced: its directory is gone
        return
    rest = frozenset(pair for pair in state.staging if pair[0] != one.epoch)
    whole = state._replace(staging=rest | {(one.epoch, one.version)})
    yield _at(whole, number, one._replace(at=STAGED))
    if state.faults:
        torn = state._replace(staging=rest | {(one.epoch, TORN)}, faults=state.faults - 1)
        if "verify" in rules:
            yield _gives_up(torn, number)
        else:
            yield _at(torn, number, one._replace(at=STAGED))


def _intend(state: State, number: int, rules: frozenset[str]) -> Iterator[State]:
    one = state.agents[number]
    if "recheck" in rules and state.owner != (number, one.version, one.epoch):
        yield _gives_up(state, number)
        return
    rows = list(state.rows)
    if "intent" in rules and rows[one.version - 1] == NEW:
        rows[one.version - 1] = PUBLISHING
    moved = state._replace(rows=(rows[0], rows[1]))
    yield _at(moved, number, one._replace(at=INTENDED))


def _look(state: State, one: Agent, rules: frozenset[str]) -> int:
    """Go on to the rename, or past it where something newer stands."""
    if "newest" in rules and state.published > one.version:
        return RENAMED
    newer = [v for v in (1, 2) if v > one.version and state.rows[v - 1] == PUBLISHING]
    if "rivals" in rules and state.final in newer:
        return RENAMED
    return LOOKED


def _record(state: State, number: int, rules: frozenset[str]) -> Iterator[State]:
    one = state.agents[number]
    if "record" not in rules:
        yield _at(state, number, one._replace(at=RECORDED))
        return
    if "own" in rules and state.owner != (number, one.version, one.epoch):
        yield _gives_up(state, number)
        return
    rows = list(state.rows)
    rows[one.version - 1] = DONE
    moved = state._replace(
        rows=(rows[0], rows[1]), owner=None, published=max(state.published, one.version)
    )
    yield _at(moved, number, one._replace(at=RECORDED))


def _renamed(state: State, epoch: int, content: int) -> State:
    broken = ""
    if TORN < content < state.final:
        broken = "S4"
    elif epoch < state.fenced:
        broken = "S6"
    staging = state.staging - {(epoch, content)}
    return state._replace(final=content, staging=staging, broken=broken)


def _crashed(state: State, number: int) -> State:
    one = state.agents[number]
    gone = state._replace(crashes=state.crashes - 1)
    if one.at == LOOKED:
        content = [c for e, c in state.staging if e == one.epoch]
        gone = gone._replace(zombies=gone.zombies | {(one.epoch, c) for c in content})
    if gone.owner is not None and gone.owner[0] == number:
        gone = gone._replace(owner=None)  # the ledger sees that the process is gone
    return _gives_up(gone, number)


def _gives_up(state: State, number: int) -> State:
    """The message comes back, by its visibility timeout or at once; the claim ends."""
    one = state.agents[number]
    if state.queue[one.version - 1] == IN_FLIGHT:
        state = _queue(state, one.version, VISIBLE)
    if state.owner == (number, one.version, one.epoch):
        state = state._replace(owner=None)
    return _at(state, number, Agent())


def _at(state: State, number: int, agent: Agent) -> State:
    agents = (agent, state.agents[1]) if number == 0 else (state.agents[0], agent)
    suspected = state.suspected if agent.at != IDLE else state.suspected - {number}
    return state._replace(agents=agents, suspected=suspected)


def _queue(state: State, version: int, where: int) -> State:
    if state.queue[version - 1] == DELETED:
        return state
    queue = (where, state.queue[1]) if version == 1 else (state.queue[0], where)
    return state._replace(queue=queue)
