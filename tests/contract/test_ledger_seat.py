"""The seat of a ledger's one agent on PostgreSQL, directly and behind a pooler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import Owner, SqlLedger, agent_lock, open_ledger
from backhaul.adapters.ledger.opening.servers import open_server
from backhaul.adapters.ledger.postgres.engine import writing_engine
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.seat import AgentSeat
from backhaul.adapters.ledger.postgres.watch import BEAT_S, DEAD_S
from backhaul.core.errors import LedgerLocked
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from tests.contract.test_ledger import DAY, KEY, T0, begin, claim, planned
from tests.ledger_places import SERVERS, ledger_place

pytestmark = pytest.mark.integration
ME = Owner.current("edge1")
ELSEWHERE = replace(ME, host="edge2", boot_id="another")
KILLED = replace(ME, start=ME.start - 1)


class Hand:
    """A clock that the waits of a seat move, and what else happens in a wait."""

    def __init__(self) -> None:
        self.at_s = 1000.0
        self.during: Callable[[], object] = lambda: None

    def clock(self) -> float:
        return self.at_s

    def sleep(self, seconds: float) -> None:
        self.at_s += seconds
        self.during()


@pytest.fixture(params=SERVERS)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> PostgresUrl:
    found = ledger_place(request.param, request, tmp_path)
    assert isinstance(found, PostgresUrl)
    return found


@pytest.fixture
def seats(url: PostgresUrl) -> Iterator[Callable[[Owner, Hand], AgentSeat]]:
    made: list[AgentSeat] = []

    def make(owner: Owner, hand: Hand) -> AgentSeat:
        database = PostgresDatabase(url)
        seat = AgentSeat(writing_engine(url), database, owner, clock=hand.clock, sleep=hand.sleep)
        made.append(seat)
        return seat

    open_ledger(url, create=True).close()
    yield make
    for one in made:
        one.give_back()


Seats = Callable[[Owner, Hand], AgentSeat]


def ledger_of(url: PostgresUrl, owner: Owner, seat: AgentSeat) -> SqlLedger:
    return open_server(url, create=True, owner=owner, seat=seat)


def test_a_second_agent_of_this_node_is_refused_at_once(url: PostgresUrl) -> None:
    with (
        agent_lock(url, "edge1"),
        pytest.raises(LedgerLocked, match=r"E_LEDGER_IN_USE.*on edge1"),
        agent_lock(url),
    ):
        pass
    with agent_lock(url, "edge1"):
        pass  # it was given back


def test_an_agent_that_beats_elsewhere_is_not_followed(seats: Seats) -> None:
    there = seats(ELSEWHERE, Hand())
    there.take()
    hand = Hand()
    hand.during = there._beat
    with pytest.raises(LedgerLocked, match=r"E_LEDGER_IN_USE.*on edge2"):
        seats(ME, hand).take()
    assert hand.at_s == 1000 + BEAT_S


def test_one_that_was_killed_on_this_node_is_followed_at_once(seats: Seats) -> None:
    seats(KILLED, Hand()).take()
    hand = Hand()
    seats(ME, hand).take()
    assert hand.at_s == 1000


def test_one_that_no_longer_beats_elsewhere_is_followed_after_a_whole_watch(
    seats: Seats, url: PostgresUrl
) -> None:
    gone = seats(ELSEWHERE, Hand())
    gone.take()
    theirs = ledger_of(url, ELSEWHERE, gone)
    begin(theirs, "t1", KEY)
    first = claim(theirs, "t1", first=[planned(0)], is_complete=True)
    assert first is not None
    hand = Hand()
    seat = seats(ME, hand)
    seat.take()
    assert hand.at_s == 1000 + DEAD_S
    mine = ledger_of(url, ME, seat)
    again = begin(mine, "new", KEY)
    assert (again.transfer_id, again.is_live, again.is_takeover) == ("t1", False, True)
    second = claim(mine, "t1")
    assert second is not None
    assert second.epoch == first.epoch + 1
    with pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE"):
        theirs.intend("t1", first.epoch, [], T0)
    with pytest.raises(LedgerLocked, match="E_LEDGER_IN_USE"):
        begin(theirs, "t2", MessageKey(queue="work", message_id="m-2"))
    assert not gone._beat()
    theirs.close()
    mine.close()


def test_a_clean_stop_is_not_waited_for(seats: Seats) -> None:
    there = seats(ELSEWHERE, Hand())
    there.take()
    there.give_back()
    hand = Hand()
    seats(ME, hand).take()
    assert hand.at_s == 1000


def test_commands_write_beside_the_agent(seats: Seats, url: PostgresUrl) -> None:
    seat = seats(ME, Hand())
    seat.take()
    agent, command = ledger_of(url, ME, seat), open_ledger(url, create=False)
    begin(agent, "t1", KEY)
    assert command.holder("t1").owner == ME.text
    command.close()
    assert begin(agent, "t2", MessageKey(queue="work", message_id="m-2")).transfer_id == "t2"
    assert agent.begin(KEY, "x", "s3://a/b", DAY.path, T0).state is TransferState.RECEIVED
    agent.close()
