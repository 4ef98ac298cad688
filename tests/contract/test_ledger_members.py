"""Several processes on one PostgreSQL ledger: liveness, takeover, fence, limits, leader."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from backhaul.adapters.ledger import Owner, SqlLedger, open_ledger
from backhaul.adapters.ledger.destinations import SqlDestinations
from backhaul.adapters.ledger.dialects.database import LedgerTurn
from backhaul.adapters.ledger.opening.servers import open_server
from backhaul.adapters.ledger.postgres.engine import _DEFAULTS, writing_engine
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.members import member
from backhaul.adapters.ledger.postgres.members.member import AGENT, Member
from backhaul.adapters.ledger.postgres.members.pulse import Pulse
from backhaul.adapters.ledger.postgres.spans import span_of, spans_overlap
from backhaul.adapters.ledger.postgres.upgrade import wait_for_nobody
from backhaul.adapters.ledger.postgres.waits import BeatConnection
from backhaul.core.errors import (
    FencedOff,
    LedgerDamaged,
    LedgerLocked,
    OutageError,
)
from backhaul.core.fleet.liveness import BEAT_S, DEAD_S, TRUST_S
from backhaul.core.fleet.rate_shares import RateSeat
from backhaul.core.model import Limits
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from testbed import PostgreSQL
from tests.contract.test_ledger import DAY, JOB, KEY, LANDING, T0, begin, claim, planned
from tests.ledger_places import DATABASE, SERVERS, ledger_place, statement
from tests.torture.tcp import TcpProxy
from tests.world import eventually

pytestmark = pytest.mark.integration
ME = Owner.current("edge1")
ELSEWHERE = replace(ME, host="edge2", boot_id="another")
THIRD = replace(ME, host="edge3", boot_id="a third")
KEY2 = MessageKey(queue="work", message_id="m-2")


@dataclass
class Agent:
    """A member whose clock the test moves, and its ledger."""

    member: Member
    ledger: SqlLedger


class Forgetful(TcpProxy):
    """A firewall that forgets what is open: nothing comes through, and no side hears of it.

    Attributes:
        forgotten: Connections that carried something since.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._gone: set[socket.socket] = set()
        self._used: set[socket.socket] = set()

    @property
    def forgotten(self) -> int:
        return len(self._used)

    def forget(self) -> None:
        """Those that are open now."""
        with self._lock:
            self._gone |= self._open

    def _pass(self, source: socket.socket, sink: socket.socket, data: bytes) -> None:
        if source in self._gone:
            self._used.add(source)
        else:
            super()._pass(source, sink, data)


class Fleet:
    """Agents of several nodes on one ledger; no thread beats for them."""

    def __init__(self, url: PostgresUrl) -> None:
        self.url = url
        self.at_s = 1000.0
        self.agents: list[Agent] = []

    def agent(self, process: Owner, seat: RateSeat | None = None, *, kind: str = AGENT) -> Agent:
        database = PostgresDatabase(self.url)
        joined = Member(self.url, database, kind, process, clock=lambda: self.at_s, seat=seat)
        joined.join()
        made = Agent(joined, open_server(self.url, create=True, member=joined))
        self.agents.append(made)
        return made

    def go_on(self, *beating: Agent, seconds: float = DEAD_S + 2 * BEAT_S) -> None:
        """These beat for so long, all others do not."""
        until_s = self.at_s + seconds
        while self.at_s < until_s:
            self.at_s += BEAT_S
            for one in beating:
                one.member.turn()

    def close(self) -> None:
        for one in self.agents:
            one.ledger.close()
            one.member.leave()


@pytest.fixture(params=SERVERS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    url = ledger_place(request.param, request, tmp_path)
    assert isinstance(url, PostgresUrl)
    open_ledger(url, create=True).close()  # with the rows that each test needs
    made = Fleet(url)
    yield made
    made.close()


def test_two_agents_work_and_neither_is_judged(fleet: Fleet) -> None:
    one, two = fleet.agent(ME), fleet.agent(ELSEWHERE)
    begin(one.ledger, "t1", KEY)
    assert claim(one.ledger, "t1", first=[planned(0)], is_complete=True)
    fleet.go_on(one, two)
    seen = begin(two.ledger, "new", KEY)
    assert (seen.transfer_id, seen.is_live, seen.owner) == ("t1", True, one.member.text)
    assert begin(two.ledger, "t2", KEY2).transfer_id == "t2"
    assert claim(two.ledger, "t2") is None  # its destination is the other's


def test_one_that_is_silent_is_followed_after_a_whole_watch_and_writes_nothing_more(
    fleet: Fleet,
) -> None:
    gone, mine = fleet.agent(ELSEWHERE), fleet.agent(ME)
    begin(gone.ledger, "t1", KEY)
    first = claim(gone.ledger, "t1", first=[planned(0)], is_complete=True)
    assert first is not None
    fleet.go_on(mine, seconds=DEAD_S - BEAT_S)
    assert begin(mine.ledger, "new", KEY).is_live
    assert mine.member.elsewhere_s(gone.member.text) <= DEAD_S
    fleet.go_on(mine, seconds=2 * BEAT_S)
    again = begin(mine.ledger, "new", KEY)
    assert (again.transfer_id, again.is_live, again.is_takeover) == ("t1", False, True)
    second = claim(mine.ledger, "t1")
    assert second is not None
    assert second.epoch == first.epoch + 1
    told: list[bool] = []
    gone.member.when_fenced(lambda: told.append(True))
    gone.member._clock = lambda: 0.0  # it was suspended: no time has passed for it
    gone.member._liveness.beat(0.0, 0.0, {})
    with pytest.raises(FencedOff, match="E_LEDGER_FENCED"):
        gone.ledger.intend("t1", first.epoch, [], T0)
    with pytest.raises(FencedOff):
        begin(gone.ledger, "t2", KEY2)
    with pytest.raises(FencedOff):
        gone.member.require()
    gone.member.turn()
    assert told == [True]
    assert gone.member.is_fenced
    gone.member.when_fenced(lambda: told.append(False))  # who comes too late
    assert told == [True, False]


def test_nobody_is_judged_over_an_outage_and_nothing_is_done_in_it(fleet: Fleet) -> None:
    agents = [fleet.agent(one) for one in (ME, ELSEWHERE, THIRD)]
    begin(agents[0].ledger, "t1", KEY)
    fleet.go_on(*agents)
    fleet.at_s += TRUST_S + 1
    for one in agents:
        with pytest.raises(OutageError, match="E_LEDGER_SILENT"):
            begin(one.ledger, "t2", KEY2)
        with pytest.raises(OutageError):
            one.member.require()
        assert not one.member.is_leader
    fleet.at_s += 60
    fleet.go_on(agents[1], seconds=DEAD_S - BEAT_S)  # the first to come back judges nobody
    fleet.go_on(*agents)
    assert begin(agents[1].ledger, "new", KEY).is_live
    assert not any(one.member.is_fenced for one in agents)


def test_a_clean_stop_and_a_process_that_is_gone_are_not_waited_for(fleet: Fleet) -> None:
    stopped, killed = fleet.agent(ELSEWHERE), fleet.agent(replace(ME, start=ME.start - 1))
    begin(stopped.ledger, "t1", KEY)
    begin(killed.ledger, "t2", KEY2)
    mine = fleet.agent(ME)
    stopped.member.leave()
    assert begin(mine.ledger, "new", KEY).is_takeover
    assert begin(mine.ledger, "new", KEY2).is_takeover


def test_a_process_that_is_gone_has_what_it_had_until_it_is_judged_which_is_at_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may still have a transaction of it to commit."""
    monkeypatch.setattr(member, "BEAT_S", 1e6)
    mine = fleet.agent(ME)
    killed = fleet.agent(replace(ME, start=ME.start - 1))
    begin(killed.ledger, "t1", KEY)
    assert begin(mine.ledger, "new", KEY).is_live
    is_judged = "SELECT count(*) FROM members WHERE judged_at IS NOT NULL"
    assert statement(fleet.url, is_judged) == [(0,)]
    mine.member.keep()
    eventually(lambda: statement(fleet.url, is_judged) == [(1,)])
    assert begin(mine.ledger, "new", KEY).is_takeover


def test_one_leads_and_another_follows_when_it_is_gone(fleet: Fleet) -> None:
    first, second = fleet.agent(ELSEWHERE), fleet.agent(ME)
    assert (first.member.is_leader, second.member.is_leader) == (True, False)
    fleet.go_on(second, seconds=DEAD_S - BEAT_S)
    assert not any(one.member.is_leader for one in fleet.agents)
    fleet.go_on(second, seconds=2 * BEAT_S)
    assert second.member.is_leader
    second.member.leave()
    third = fleet.agent(THIRD)
    assert third.member.is_leader
    (row,) = statement(fleet.url, "SELECT value FROM meta WHERE name = 'leader'")
    assert row[0] == f"3:{third.member.id}"


def test_a_peer_that_moved_on_since_it_was_seen_is_not_judged(fleet: Fleet) -> None:
    one, two = fleet.agent(ME), fleet.agent(ELSEWHERE)
    beats = dict(statement(fleet.url, "SELECT id, beats FROM members"))
    two.member.turn()
    pulse = Pulse(fleet.url, PostgresDatabase(fleet.url))
    pulse.judge(one.member.id, two.member.id, beats[two.member.id])
    two.member.turn()
    assert not two.member.is_fenced
    pulse.judge("nobody in force", two.member.id, beats[two.member.id] + 2)
    two.member.turn()
    pulse.close()
    assert not two.member.is_fenced


def test_the_limit_of_a_route_is_that_of_all_agents(fleet: Fleet) -> None:
    agents = [fleet.agent(one) for one in (ME, ELSEWHERE, THIRD)]
    job = replace(JOB, limits=Limits(in_flight=2))
    claims = []
    for number in range(6):
        ledger = agents[number % 3].ledger
        name, place = f"t{number}", LANDING.join(f"day={number:02}")
        begin(ledger, name, MessageKey(queue="work", message_id=name))
        claims.append(claim(ledger, name, destination=place, assignment=job))
    assert [one is not None for one in claims] == [True, True, False, False, False, False]
    assert [agents[2].ledger.is_full(f"t{n}", job) for n in range(3)] == [False, False, True]
    assert not agents[2].ledger.is_full("t2", JOB)
    fleet.go_on(*agents[1:])  # the first is gone, and what it had counts no more
    assert not agents[1].ledger.is_full("t4", job)
    assert claim(agents[1].ledger, "t4", destination=LANDING.join("day=04"), assignment=job)
    assert claim(agents[2].ledger, "t5", destination=LANDING.join("day=05"), assignment=job) is None


@pytest.mark.parametrize(
    ("first", "second", "is_refused"),
    [
        ("/a/b", "/a", True),
        ("/a/b", "/a/b/c", True),
        ("/a/b", "/a/bc", False),
        ("/a/b", "/a/b-x", False),
        ("/", "/a", True),
        ("/" + "x" * 500, "/" + "x" * 500 + "/y", True),
        ("/" + "x" * 100, "/" + "x" * 100 + "/" + "y" * 500, True),
        ("/a/" + "\u00e9" * 140, "/a/" + "\u00e9" * 139, False),
    ],
)
def test_overlapping_destinations_are_refused_by_the_database_itself(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    first: str,
    second: str,
    is_refused: bool,  # noqa: FBT001 - by position alone
) -> None:
    monkeypatch.setattr(SqlDestinations, "_look", lambda *_: (False, None, []))
    one, two = fleet.agent(ME), fleet.agent(ELSEWHERE)
    begin(one.ledger, "t1", KEY)
    begin(two.ledger, "t2", KEY2)
    claimed = claim(one.ledger, "t1", destination=replace(DAY, path=first))
    assert claimed is not None
    if is_refused:
        assert claim(two.ledger, "t2", destination=replace(DAY, path=second)) is None
        assert begin(two.ledger, "new", KEY2).failures == 0
        assert one.ledger.intend("t1", claimed.epoch, [], T0)
    else:
        assert claim(two.ledger, "t2", destination=replace(DAY, path=second))


def test_long_siblings_wait_for_one_that_works_and_not_for_one_that_is_gone(fleet: Fleet) -> None:
    """The database takes them for one place: their paths begin with the same 240 characters."""
    one, two = fleet.agent(ME), fleet.agent(ELSEWHERE)
    places = [LANDING.join(f"{'x' * 300}/hour={hour:02}") for hour in range(3)]
    begin(one.ledger, "t0", KEY)
    begin(two.ledger, "t1", KEY2)
    begin(one.ledger, "t2", MessageKey(queue="work", message_id="m-3"))
    assert claim(one.ledger, "t0", destination=places[0])
    assert claim(two.ledger, "t1", destination=places[1]) is None
    assert claim(one.ledger, "t2", destination=places[2]) is None
    fleet.go_on(two)  # the first is gone, and its message never comes back
    assert claim(two.ledger, "t1", destination=places[1])


def test_the_look_judges_by_the_spans_of_the_database(fleet: Fleet) -> None:
    begin(fleet.agent(ME).ledger, "t1", KEY)
    texts = ["", "a", "a/b", "a/b/c", "a/bc", "\u00e9" * 250, "\u00e9" * 251, "\U0001f600/x"]
    texts += ["x" * size for size in range(150, 260)]
    texts += [f"{'x' * size}/y" for size in range(150, 260)]
    uris = [replace(DAY, path=f"/{text}").uri for text in texts] + ["file:///", "file:///x"]
    with psycopg.connect(fleet.url.text) as connection, connection.cursor() as cursor:
        cursor.executemany(
            "INSERT INTO destinations (uri, epoch) VALUES (%s, 1)", [(uri,) for uri in uris]
        )
        found = cursor.execute("SELECT uri, lower(span), upper(span) FROM destinations").fetchall()
    assert {uri: (lower, upper) for uri, lower, upper in found} == {
        uri: span_of(uri) for uri in uris
    }
    assert not spans_overlap(uris[0], "file:///x")
    assert spans_overlap(uris[0], uris[1])
    assert not spans_overlap(uris[2], uris[4])


def test_commands_are_members_while_they_write(fleet: Fleet) -> None:
    agent = fleet.agent(ME)
    command = open_ledger(fleet.url, create=False)
    begin(command, "t1", KEY)
    assert begin(agent.ledger, "new", KEY).is_live
    assert not agent.member.elsewhere_s(None) < DEAD_S
    command.close()
    assert begin(agent.ledger, "new", KEY).is_takeover


@pytest.mark.parametrize("turn", list(LedgerTurn))
def test_without_a_row_to_take_turns_by_nothing_is_written(fleet: Fleet, turn: LedgerTurn) -> None:
    agent = fleet.agent(ME)
    begin(agent.ledger, "t1", KEY)
    statement(fleet.url, f"DELETE FROM meta WHERE name = '{turn}'")  # noqa: S608 - a constant
    for write in (
        lambda: begin(agent.ledger, "t2", KEY2),
        lambda: claim(agent.ledger, "t1", first=[planned(0)], is_complete=True),
    ):
        with pytest.raises(LedgerDamaged, match=rf"E_LEDGER_CORRUPT.*{turn}"):
            write()
    assert statement(fleet.url, "SELECT id FROM transfers") == [("t1",)]
    open_ledger(fleet.url, create=False).close()  # whoever starts makes it anew
    assert begin(agent.ledger, "t2", KEY2).transfer_id == "t2"


def test_without_the_row_of_the_leader_a_beat_fails(fleet: Fleet) -> None:
    agent = fleet.agent(ME)
    statement(fleet.url, "DELETE FROM meta WHERE name = 'leader'")
    with pytest.raises(LedgerDamaged, match=r"E_LEDGER_CORRUPT.*leader"):
        agent.member.turn()


@pytest.mark.parametrize("fleet", ["postgres"], indirect=True)
def test_what_ends_the_thread_of_beats_is_kept_and_said(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(member, "BEAT_S", 0.01)
    agent = fleet.agent(ME)
    tries: list[float] = []

    def away_then_broken(_me: str) -> None:
        tries.append(time.monotonic())
        if len(tries) < 3:
            raise OutageError.of("ledger", "E_LEDGER_AWAY", "away")
        raise ArithmeticError("a defect")

    monkeypatch.setattr(agent.member._pulse, "beat", away_then_broken)
    agent.member.keep()
    eventually(lambda: agent.member.beating.failure)
    assert isinstance(agent.member.beating.failure, ArithmeticError)
    assert agent.member.beating.is_resting
    first, second, third = tries
    assert second - first < member.AGAIN_S <= third - second
    fleet.at_s += TRUST_S + 1
    with pytest.raises(OutageError, match=r"E_LEDGER_SILENT.*ArithmeticError: a defect"):
        agent.member.require()


@pytest.mark.parametrize("fleet", ["postgres"], indirect=True)
def test_a_lost_connection_costs_a_beat_and_no_trust(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, postgresql: PostgreSQL
) -> None:
    assert BEAT_S + BeatConnection.answer_s + _DEFAULTS["connect_timeout"] < TRUST_S  # type: ignore[operator]
    monkeypatch.setattr(member, "BEAT_S", 0.5)
    with Forgetful(postgresql.ports[0]) as proxy:
        url = PostgresUrl(f"postgresql://backhaul@127.0.0.1:{proxy.port}/{DATABASE}")
        one = Member(url, PostgresDatabase(url), AGENT, ME)
        one.join()
        proxy.forget()
        beats = "SELECT beats FROM members WHERE ended_at IS NULL"
        ((before,),) = statement(fleet.url, beats)
        began_s = time.monotonic()
        one.keep()
        try:
            eventually(
                lambda: statement(fleet.url, beats)[0][0] > before,
                timeout_s=BeatConnection.answer_s + 10,
            )
            assert time.monotonic() - began_s > BeatConnection.answer_s
            one.require()
        finally:
            one.leave()
    assert proxy.forgotten == 1


def test_a_process_that_has_watched_since_it_came_claims_what_a_dead_one_had(
    fleet: Fleet,
) -> None:
    """As `copy` does, which is told of a busy destination before it can know better."""
    gone = fleet.agent(ELSEWHERE)
    begin(gone.ledger, "t1", KEY)
    assert claim(gone.ledger, "t1")
    new = fleet.agent(ME)
    begin(new.ledger, "t2", KEY2)
    assert claim(new.ledger, "t2") is None
    fleet.go_on(new, seconds=new.member.watch_left_s)
    assert new.member.watch_left_s == 0
    assert claim(new.ledger, "t2")


BEFORE_MEMBERS = "0022"  # a schema that this version does not work on


def test_a_schema_is_not_changed_under_those_who_write(fleet: Fleet) -> None:
    there = fleet.agent(ELSEWHERE)
    engine = writing_engine(fleet.url)
    at_s = [0.0]

    def sleep(seconds: float, beat: Callable[[], object]) -> None:
        at_s[0] += seconds
        beat()

    with pytest.raises(LedgerLocked, match=r"E_LEDGER_IN_USE.*edge2"):
        wait_for_nobody(
            engine,
            "it",
            BEFORE_MEMBERS,
            clock=lambda: at_s[0],
            sleep=lambda s: sleep(s, there.member.turn),
        )
    began_s = at_s[0]
    wait_for_nobody(
        engine,
        "it",
        BEFORE_MEMBERS,
        clock=lambda: at_s[0],
        sleep=lambda s: sleep(s, lambda: None),
    )
    assert at_s[0] - began_s == DEAD_S
    engine.dispose()
