"""Budgets as the agent treats them: what does not fit waits unspent, and goes on by itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.app.copy import run_transfer
from backhaul.core import facts as events
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.notifying.notifier import notice_of
from backhaul.core.backoff import RetryPolicy
from backhaul.core.cost.budget import (
    BudgetPer,
    BudgetRaise,
    BudgetUnit,
    EgressBudget,
    period_at,
)
from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.errors import BudgetUsedUp, ExitCode
from backhaul.core.model import Request, Source
from backhaul.core.ports import Act, Operator, OperatorEntry
from backhaul.core.requests.policy import Policy
from backhaul.testing.fakes import ReadFault
from tests.unit.test_agent import killed_at
from tests.world import World, eventually, location, route

pytestmark = pytest.mark.slow

ALICE = Operator(name="alice@edge1")
DAY = timedelta(days=1)


def of(route: str, amount: int, per: BudgetPer = BudgetPer.DAY) -> EgressBudget:
    return EgressBudget(route=route, unit=BudgetUnit.BYTES, amount=amount, per=per)


@pytest.fixture
def world(tmp_path: Path) -> World:
    made = World(tmp_path)
    made.routes = (
        route(name="a", sources=(("raw", "a/"),)),
        route(name="b", sources=(("raw", "b/"),)),
    )
    made.budgets = (of("a", 100),)
    made.jumping = ("slot", "poll", "park")
    open_ledger(made.path, create=True).close()
    return made


@contextmanager
def ledger_of(world: World) -> Iterator[SqlLedger]:
    with closing(open_ledger(world.path, create=False)) as ledger:
        yield ledger


def spent(world: World, route: str | None = None) -> int:
    with ledger_of(world) as ledger:
        return ledger.egress_since((world.clock.now() - 31 * DAY).date(), route).size_bytes


def spend(world: World, size_bytes: int, route: str = "a") -> None:
    """By another command."""
    with ledger_of(world) as ledger:
        ledger.note_command_egress(
            route, EgressCount(at=world.clock.now(), native=Egress(copy=size_bytes))
        )


def raise_by(world: World, amount: int) -> None:
    now, budget = world.clock.now(), world.budgets[0]
    more = BudgetRaise(
        route=budget.route,
        period=period_at(budget.per, now).begins_at,
        per=budget.per,
        unit=budget.unit,
        amount=amount,
        at=now,
        operator=ALICE.name,
        reason="",
    )
    with ledger_of(world) as ledger:
        ledger.raise_budget(more, OperatorEntry(at=now, by=ALICE, act=Act.BUDGET, subject="a"))


def put(world: World, **sizes: int) -> None:
    for name, size_bytes in sizes.items():
        world.store.put(name.replace("_", "/"), bytes([size_bytes % 251]) * size_bytes)


def parked(agent: Agent, count: int = 1) -> None:
    eventually(lambda: len(agent.pollers[0].parking) == count)


def held(world: World) -> None:
    eventually(lambda: world.all_of(events.TransferPaused))


def stop_the_clock(world: World) -> None:
    """Parked messages are looked at only when the test says so."""
    world.jumping = ("slot", "poll")


# ---------------------------------------------------------------- what does not fit


def test_what_does_not_fit_waits_unspent_and_goes_on_when_the_budget_is_raised(
    world: World,
) -> None:
    stop_the_clock(world)
    put(world, a_1=60, a_2=60)
    world.queue.send("raw/a/1, /land/a")
    sent = world.queue.send("raw/a/2, /land/a")
    with world.running() as agent:
        parked(agent)
        eventually(lambda: world.landed().keys() == {"a/1"})
        row = next(one for one in world.rows() if one.source.endswith("a/2"))
        assert (row.state, row.code, row.attempt, row.failures) == (
            "waiting",
            "E_BUDGET_USED",
            0,
            0,
        )
        assert "a transfer of 60 B does not fit into the budget of route a until" in (
            row.reason or ""
        )
        assert world.queue._stored[sent].receive_count == 1
        assert world.staging() == [], "it was not even claimed"
        assert spent(world, "a") == 60
        raise_by(world, 20)
        agent.pollers[0].parking.turn()
        eventually(lambda: world.queue.remaining == [])
    assert spent(world, "a") == 120
    assert [one.attempt for one in world.rows()] == [1, 1]
    assert world.queue.dead_letters == []


def test_a_budget_turns_with_its_period(world: World) -> None:
    put(world, a_1=60, a_2=60)
    began = world.clock.now()
    ends_at = period_at(BudgetPer.DAY, began).ends_at
    world.clock.advance((ends_at - began).total_seconds() - 100)
    for key in ("1", "2"):
        world.queue.send(f"raw/a/{key}, /land/a")
    with world.running():
        eventually(lambda: world.queue.remaining == [])
    assert world.clock.now() >= ends_at
    assert spent(world, "a") == 120


def test_a_used_up_budget_holds_the_route_before_anything_is_listed(world: World) -> None:
    stop_the_clock(world)
    put(world, a_1=10, b_1=500)
    spend(world, 100)
    world.queue.send("raw/a/1, /land/a")
    world.queue.send("raw/b/1, /land/b")
    with world.running() as agent:
        parked(agent)
        eventually(lambda: world.landed().keys() == {"b/1"})
        agent.pollers[0].parking.turn()
        (changed,) = world.all_of(events.BudgetHoldsChanged)
        (hold,) = changed.holds
        assert hold.route == "a"
        assert hold.sentence.endswith("100 B of 100 B are spent today")
        assert world.faults.count("store.head") + world.faults.count("store.find") <= 2
        spend(world, 1)
    assert len(agent.pollers[0].parking) == 0, "handed back at the stop"


def test_a_budget_over_all_routes_holds_each_of_them_and_polling_rests(world: World) -> None:
    stop_the_clock(world)
    world.budgets = (of("", 100),)
    put(world, a_1=10, b_1=10)
    spend(world, 100, "b")
    world.queue.send("raw/a/1, /land/a")
    world.queue.send("raw/b/1, /land/b")
    with world.running() as agent:
        eventually(lambda: agent.pollers[0].parking.is_everything_paused)
        raise_by(world, 20)
        agent.pollers[0].parking.turn()
        eventually(lambda: world.queue.remaining == [])
        agent.pollers[0].parking.turn()
    holds = [[one.route for one in fact.holds] for fact in world.all_of(events.BudgetHoldsChanged)]
    assert holds[:2] == [[""], []]
    assert holds[-1] == [""], "what was added is used up, too"
    assert spent(world) == 120


def test_smaller_transfers_go_on_past_one_that_does_not_fit(world: World) -> None:
    stop_the_clock(world)
    put(world, a_1=101, a_2=40, a_3=40)
    for key in "123":
        world.queue.send(f"raw/a/{key}, /land/a")
    with world.running(slots=1) as agent:
        parked(agent)
        eventually(lambda: world.landed().keys() == {"a/2", "a/3"})
        (paused,) = world.all_of(events.TransferPaused)
        assert "is larger than the budget of route a, 100 B a day" in paused.reason
    assert spent(world) == 80


# ---------------------------------------------------------------- whole plans


def test_a_prefix_of_many_pages_is_counted_before_its_first_byte(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_the_clock(world)
    monkeypatch.setattr(world.store, "list_page", partial(world.store.list_page, page_size=2))
    put(world, **{f"a_{n}": 30 for n in range(5)})
    world.queue.send("raw/a/, /land/a")
    with world.running() as agent:
        parked(agent)
        assert spent(world) == 0
        assert world.landed() == {}
        (row,) = world.rows()
        assert "a transfer of 150 B is larger than the budget" in (row.reason or "")
        assert world.staging() == [], "weeks may pass: nothing is left at the target"
        raise_by(world, 50)
        agent.pollers[0].parking.turn()
        eventually(lambda: world.queue.remaining == [])
    assert spent(world) == 150, "nothing was paid twice"


def test_what_is_published_in_part_is_finished_first(world: World) -> None:
    put(world, a_1=60)
    world.queue.send("raw/a/1, /land/a")
    killed_at(world, "target.rename")
    world.clock.advance(3600)
    spend(world, 100)
    world.drain()
    assert world.landed().keys() == {"a/1"}
    assert world.all_of(events.TransferPaused) == []


def test_a_copy_does_not_wait_for_its_budget(world: World) -> None:
    put(world, a_1=101)
    with world.process() as ports, pytest.raises(BudgetUsedUp) as refused:
        run_transfer(
            ports,
            Policy(routes=world.routes),
            Policy(routes=world.routes).decide(
                Request(source=Source(bucket="raw", key="a/1"), destination=location("/land/a")),
                sender_id=None,
            ),
            retry=RetryPolicy(),
        )
    assert refused.value.exit_code is ExitCode.LOCKED
    assert "is larger than the budget of route a" in refused.value.message
    (row,) = world.rows()
    assert (row.state, row.code) == ("dead", "E_BUDGET_USED")
    assert spent(world) == 0


def test_a_hold_that_outlives_the_message_is_warned_of_once(world: World) -> None:
    stop_the_clock(world)
    world.budgets = (of("a", 100, BudgetPer.MONTH),)
    put(world, a_1=101)
    for _ in range(2):
        world.queue.send("raw/a/1, /land/a")
    with world.running() as agent:
        parked(agent, 2)
    (warned,) = world.all_of(events.BudgetOutlivesQueue)
    retention_s = world.queue.facts.retention_s
    assert retention_s is not None
    assert (warned.route, warned.until) == (
        "a",
        period_at(BudgetPer.MONTH, world.clock.now()).ends_at,
    )
    assert warned.dies_at < warned.until
    assert "backhaul budget raise a" in warned.hint
    assert "more retention" in warned.hint


def test_what_a_budget_holds_is_a_notice_and_a_warning_once(world: World) -> None:
    stop_the_clock(world)
    spend(world, 80)
    with world.running() as agent:
        agent.pollers[0].parking.turn()
    (nearly,) = world.all_of(events.BudgetNearlyUsed)
    notice = notice_of(nearly, world.clock.now())
    assert notice is not None
    assert notice.code == "W_BUDGET_NEARLY_USED"
    assert "80 B of 100 B are spent today" in notice.sentence
    with world.running() as agent:
        agent.pollers[0].parking.turn()
    assert len(world.all_of(events.BudgetNearlyUsed)) == 1
    outlives = events.BudgetOutlivesQueue(
        route="a", message_id="m", until=nearly.ends_at, dies_at=nearly.ends_at - DAY, hint="h"
    )
    notice = notice_of(outlives, world.clock.now())
    assert notice is not None
    assert notice.code == "W_BUDGET_OUTLIVES_QUEUE"


def test_nothing_is_read_once_more_that_does_not_fit(world: World) -> None:
    stop_the_clock(world)
    put(world, a_1=30, a_2=30, a_3=30)
    world.store.spoil_read("a/1", ReadFault.FLIP, times=1)
    world.queue.send("raw/a/, /land/a")
    with world.running() as agent:
        parked(agent)
        assert world.landed() == {}
        assert world.staging() == []
        assert spent(world, "a") <= 100
        raise_by(world, 200)
        agent.pollers[0].parking.turn()
        eventually(lambda: world.queue.remaining == [])
    (row,) = world.rows()
    assert row.failures == 0
