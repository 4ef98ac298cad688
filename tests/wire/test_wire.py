"""The pipe between agent and worker, in every order of calls, proofs, ends, faults and deaths.

Both real ends in one schedule (`world`), and each alone against a peer that does more than it
should (`strangers`). Rules are removed one by one (`mutants`), and each must be noticed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice

import pytest

from tests.wire.mutants import MUTANTS, Mutant
from tests.wire.schedule import Chooser, Seeded, Violation, every
from tests.wire.strangers import ORDERS, Orders, Script, play
from tests.wire.world import Program, Staging, World

Run = Callable[[Chooser], None]
ANY = 1000  # odd choices
BUDGET = {False: 200, True: 1000}  # schedules of both ends, and of scripts: those cost less
LEAST = 80
# Of the clean runs. In full by `./dev prove --long`, and when a removed rule is looked for.
SHARES = (pytest.param(3, id="each-run"), pytest.param(1, id="all", marks=pytest.mark.long))
SEEDS = 60

CHUNKS = (("ok", "ok"), ("slow",), ("ok",))
CALLS = ((), ("a",), ("b", "c"))
BUSY = Staging(chunks=CHUNKS, calls=CALLS)
NEXT = Staging(chunks=(("ok",),), calls=(("x",),))
BOTH = (BUSY, NEXT)


def _busy(**changes: object) -> tuple[Staging, ...]:
    return replace(BUSY, **changes), NEXT  # type: ignore[arg-type]


FAILING = (("ok", "fail"), ("slow",), ("ok",))
PROGRAMS: dict[str, Program] = {
    "calls during a staging call": Program(stagings=BOTH),
    "proofs in batches": Program(
        stagings=_busy(chunks=(("ok", "again"), ("slow",), ("ok",))), is_batched=True
    ),
    "a window of one object": Program(stagings=BOTH, window=1),
    "a failure during calls": Program(stagings=_busy(chunks=FAILING)),
    "a failure in a batch": Program(
        stagings=_busy(chunks=(("ok", "unproven"), ("ok",), ("ok",))), is_batched=True
    ),
    "a bug": Program(stagings=_busy(chunks=(("bug", "ok"), ("ok",), ("ok",))), is_batched=True),
    "a call fails": Program(stagings=_busy(calls=((), ("bad",)))),
    "the agent gives up": Program(stagings=_busy(gives_up_after=1)),
    "the agent gives up, at length": Program(
        stagings=_busy(chunks=(("ok", "endless"), ("ok",), ("ok",)), gives_up_after=1)
    ),
    "the listing fails": Program(stagings=_busy(listing_fails=True)),
    "an object hangs": Program(stagings=_busy(chunks=(("ok", "hang"), ("slow",), ("ok",)))),
    "a call hangs": Program(stagings=_busy(calls=((), ("hang",)))),
    "a call hangs while files move": Program(
        stagings=_busy(chunks=(("endless",), ("ok",)), calls=((), ("hang",)))
    ),
    "objects are read once more": Program(
        stagings=_busy(chunks=(("more", "ok"), ("slow", "more"), ("more",)))
    ),
    "read once more, and a failure": Program(
        stagings=_busy(chunks=(("more", "fail"), ("more",), ("more",)))
    ),
    "read once more, and the agent gives up": Program(
        stagings=_busy(chunks=(("ok", "more"), ("more",), ("more",)), gives_up_after=1)
    ),
    "one may not be read once more": Program(
        stagings=_busy(chunks=(("more", "refused"), ("slow",), ("more",)))
    ),
    "full buffers": Program(
        stagings=(
            replace(BUSY, chunks=(("ok",) * 4, ("slow",) * 3, ("ok",)), name_bytes=3000),
            NEXT,
        )
    ),
}
STRUCK = ("calls during a staging call", "proofs in batches", "the agent gives up", "full buffers")
SCRIPTS: dict[str, Script] = {
    "played, three chunks": Script(chunks=(1, 1, 1), calls_before=(0, 1, 1)),
    "a failure, played": Script(has_failure=True),
    "given up, played": Script(gives_up=True),
    "closed at any time": Script(may_die=True),
    "repeated messages": Script(may_repeat=True),
    "ticks in between": Script(may_tick=True),
}


def runs(name: str) -> Iterator[Run]:
    """The one of this name, in each of its forms."""
    if name in PROGRAMS:
        yield lambda chooser: World(PROGRAMS[name], chooser).run()
    elif name in SCRIPTS:
        yield lambda chooser: play(SCRIPTS[name], chooser)
    elif name == "Ctrl-C":
        for at in range(1, 20):
            struck = replace(PROGRAMS[STRUCK[0]], interrupted_at=at)
            yield lambda chooser, struck=struck: World(struck, chooser).run()  # type: ignore[misc]
    else:
        for is_batched in (False, True):
            yield lambda chooser, is_batched=is_batched: Orders(  # type: ignore[misc]
                ORDERS[name], chooser, is_batched=is_batched
            ).run()


@pytest.mark.parametrize("name", [*PROGRAMS, *ORDERS, *SCRIPTS])
@pytest.mark.parametrize("share", SHARES)
def test_schedules_with_few_odd_choices_are_right(name: str, share: int) -> None:
    """One odd choice at every place, where the budget allows it; two of them, and so on."""
    most = max(BUDGET[name in SCRIPTS] // share, LEAST)
    for run in runs(name):
        assert sum(1 for _ in islice(every(run, deviations=ANY), most)) >= LEAST


@pytest.mark.parametrize("name", [*PROGRAMS, *ORDERS, *SCRIPTS])
@pytest.mark.parametrize("share", SHARES)
def test_seeded_schedules_are_right(name: str, share: int) -> None:
    for run in runs(name):
        for seed in range(SEEDS // share):
            run(Seeded(seed))


@pytest.mark.parametrize("name", STRUCK)
@pytest.mark.parametrize("fault", ["worker_dies_at", "worker_stops_at", "interrupted_at"])
def test_a_fault_at_any_step_ends_with_its_reason(name: str, fault: str) -> None:
    for step in range(1, 40):
        struck = replace(PROGRAMS[name], **{fault: step})  # type: ignore[arg-type]
        for seed in range(3):
            World(struck, Seeded(seed)).run()


A_SLIP = re.compile(r"(TypeError|AttributeError|NameError|UnboundLocalError)\b")


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_removed_rule_is_noticed(mutant: Mutant) -> None:
    with mutant.applied():
        found = _first_violation(mutant.notices)
    assert found, f"{mutant.rule}: no run notices"
    assert not A_SLIP.search(found), f"{mutant.rule}: it died of its own patch: {found}"


def _first_violation(name: str) -> str:
    for run in runs(name):
        try:
            for seed in range(100):
                run(Seeded(seed))
            for _ in islice(every(run, deviations=ANY), BUDGET[name in SCRIPTS]):
                pass
        except Violation as violation:
            return str(violation) or "a violation"
    return ""


def test_there_are_enough_mutants() -> None:
    assert len({mutant.name for mutant in MUTANTS}) >= 20
