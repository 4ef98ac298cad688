"""Agents on one PostgreSQL write beside each other: what each waits for, and what it does not."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import pytest

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.adapters.ledger.agents import SUMMED_TO
from backhaul.adapters.ledger.dialects.commits import SharedCommits
from backhaul.adapters.ledger.dialects.database import LedgerTurn, TransactionBlock
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.core.model import Assignment, Limits, Location, TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import PostgresUrl
from tests.contract.test_ledger import DAY, JOB, KEY, LANDING, T0, begin, claim, planned, proof
from tests.contract.test_ledger_members import ELSEWHERE, ME, THIRD, Fleet
from tests.ledger_places import ledger_place, statement
from tests.world import eventually

pytestmark = pytest.mark.integration
Found = TypeVar("Found")
LOOK_S = 0.3  # what waits for a lock is seen to wait for so long


@pytest.fixture
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    url = ledger_place("postgres", request, tmp_path)
    assert isinstance(url, PostgresUrl)
    open_ledger(url, create=True).close()
    made = Fleet(url)
    yield made
    made.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(8) as pool:
        yield pool


@contextmanager
def held(
    monkeypatch: pytest.MonkeyPatch,
    threads: ThreadPoolExecutor,
    ledger: SqlLedger,
    act: Callable[[], Found],
    *,
    has_sent: bool = True,
) -> Iterator[Future[Found]]:
    """`act` has done all but its COMMIT while in the block.

    Args:
        has_sent: Its changes, too; else only what it reads.
    """
    commit, reached, go_on = SharedCommits._commit, threading.Event(), threading.Event()

    def late(self: SharedCommits, group: object) -> None:
        if self is ledger._commits and not reached.is_set():
            if has_sent:
                self._database.end_block(self._connection)
            reached.set()
            assert go_on.wait(30)
        commit(self, group)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(SharedCommits, "_commit", late)
        found = threads.submit(act)
        try:
            eventually(lambda: reached.is_set() or found.done())
            assert not found.done(), found
            yield found
        finally:
            go_on.set()
        found.result(30)


def waits(one: Future[Found]) -> bool:
    """Whether it has not ended after a moment."""
    try:
        one.result(LOOK_S)
    except TimeoutError:
        return True
    return False


def through(
    ledger: SqlLedger, name: str, directory: Location, assignment: Assignment = JOB
) -> bool:
    """A whole transfer; False: its destination or its route had no room."""
    begin(ledger, name, MessageKey(queue="work", message_id=name))
    claimed = claim(
        ledger, name, directory, first=[planned(0)], is_complete=True, assignment=assignment
    )
    if claimed is None:
        ledger.fail(name, TransferState.WAITING, "E_DST_BUSY", "taken", T0, refund=True)
        return False
    assert ledger.intend(name, claimed.epoch, [proof(0)], T0)
    manifest = ManifestSum(manifest="ab" * 32, objects=1, size_bytes=100, bytes_read=100)
    state = TransferState.DONE
    assert ledger.finish(name, claimed.epoch, state, "per-file", T0, manifest=manifest)
    return True


def test_nobody_waits_for_a_transfer_of_another_agent(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    one, two = fleet.agent(ME).ledger, fleet.agent(ELSEWHERE).ledger
    with held(monkeypatch, threads, one, lambda: begin(one, "t1", KEY)):
        assert threads.submit(through, two, "t2", DAY).result(30)
    assert claim(one, "t1", LANDING.join("day=02"), first=[planned(0)], is_complete=True)


def test_two_agents_that_receive_a_message_at_once_begin_it_once(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    one, two = fleet.agent(ME), fleet.agent(ELSEWHERE)
    with held(monkeypatch, threads, one.ledger, lambda: begin(one.ledger, "t1", KEY)):
        second = threads.submit(begin, two.ledger, "t2", KEY)
        assert waits(second)
    seen = second.result(30)
    assert (seen.transfer_id, seen.is_live, seen.owner) == ("t1", True, one.member.text)
    one.ledger.fail("t1", TransferState.WAITING, "E_S3_AWAY", "later", T0, refund=True)
    again = lambda: begin(two.ledger, "new", KEY)  # noqa: E731
    with held(monkeypatch, threads, two.ledger, again, has_sent=False):
        second = threads.submit(begin, one.ledger, "newer", KEY)
        assert waits(second)
    assert (second.result(30).is_live, second.result(30).owner) == (True, two.member.text)
    assert statement(fleet.url, "SELECT id, attempt FROM transfers") == [("t1", 1)]


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize("what", ["its destination", "its route's limit"])
def test_a_claim_waits_for_a_claim_and_sees_it(
    fleet: Fleet,
    monkeypatch: pytest.MonkeyPatch,
    threads: ThreadPoolExecutor,
    what: str,
    is_direct: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    one, two = fleet.agent(ME).ledger, fleet.agent(ELSEWHERE).ledger
    directly = PostgresDatabase.claim_directly

    def second_alone(self: PostgresDatabase, *args: Any) -> int | None:
        return directly(self, *args) if is_direct and self is two._database else None

    monkeypatch.setattr(PostgresDatabase, "claim_directly", second_alone)
    for ledger, name in ((one, "t1"), (two, "t2")):
        begin(ledger, name, MessageKey(queue="work", message_id=name))
    job = replace(JOB, limits=Limits(in_flight=1)) if what == "its route's limit" else JOB
    other = DAY.join("below") if what == "its destination" else LANDING.join("day=02")

    def claims(ledger: SqlLedger, name: str, directory: Location) -> bool:
        found = claim(ledger, name, directory, first=[planned(0)], is_complete=True, assignment=job)
        return found is not None

    with held(monkeypatch, threads, one, lambda: claims(one, "t1", DAY)) as first:
        second = threads.submit(claims, two, "t2", other)
        assert waits(second)
    assert (first.result(30), second.result(30)) == (True, False)


def test_who_judges_and_who_sums_are_alone(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    """A line of the journal that is not committed yet has a lower number than one that is."""
    leader, one, two = fleet.agent(ME), fleet.agent(ELSEWHERE), fleet.agent(THIRD)
    with held(monkeypatch, threads, one.ledger, lambda: begin(one.ledger, "t1", KEY)):
        assert through(two.ledger, "t2", DAY)
        leader.member.turn()  # a beat waits for nothing
        summing = threads.submit(leader.ledger.sum_activity, most=100)
        assert waits(summing)
        judge = leader.member._pulse.judge
        judging = threads.submit(judge, leader.member.id, one.member.id, 1)
        assert waits(judging)
    judging.result(30)
    summing.result(30)
    last = statement(fleet.url, "SELECT max(number) FROM journal")
    to = statement(fleet.url, f"SELECT value FROM meta WHERE name = '{SUMMED_TO}'")  # noqa: S608
    assert [(int(to[0][0]),)] == last


def test_who_is_alone_lets_all_others_wait(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch, threads: ThreadPoolExecutor
) -> None:
    one, two = fleet.agent(ME).ledger, fleet.agent(ELSEWHERE).ledger
    with held(monkeypatch, threads, one, lambda: one.claim_nonce("n", KEY, T0, T0)):
        second = threads.submit(begin, two, "t2", KEY)
        assert waits(second)
    assert second.result(30).transfer_id == "t2"


def test_two_turns_in_one_transaction_are_refused(fleet: Fleet) -> None:
    """Two agents could wait for each other, each with the turn that the other one wants."""
    commits = fleet.agent(ME).ledger._commits
    with commits.transaction(TransactionBlock(is_beside=True)):
        commits.take_turn(LedgerTurn.CLAIM)
        commits.take_turn(LedgerTurn.CLAIM)
        with pytest.raises(AssertionError, match="ring"):
            commits.take_turn(LedgerTurn.SUM)


def test_many_at_once_leave_one_chain_and_true_sums(
    fleet: Fleet, threads: ThreadPoolExecutor
) -> None:
    ledgers = [fleet.agent(place).ledger for place in (ME, ELSEWHERE, THIRD)]
    chance = random.Random(7)
    job = replace(JOB, limits=Limits(in_flight=2))
    names = [f"t{number}" for number in range(90)]

    def one(name: str, ledger: SqlLedger, day: int) -> bool:
        return through(ledger, name, LANDING.join(f"day={day:02}"), job)

    futures = [
        threads.submit(one, name, chance.choice(ledgers), chance.randrange(6)) for name in names
    ]
    done = sum(future.result(120) for future in futures)
    assert done > 0
    while ledgers[0].sum_activity(most=50):
        pass
    assert statement(fleet.url, "SELECT sum(done) FROM endings") == [(done,)]
    lines = statement(fleet.url, "SELECT line, seal FROM seals ORDER BY number")
    before = [json.loads(line)["previous"] for line, _ in lines]
    assert before == ["", *(seal for _, seal in lines)][:done]
    assert statement(fleet.url, "SELECT sum(done) FROM activity WHERE span_s = 300") == [(done,)]
    assert statement(fleet.url, "SELECT count(*) FROM destinations WHERE owner IS NOT NULL") == [
        (0,)
    ]


LIMIT = 4
WATCH_EACH_COMMIT = """
CREATE TABLE at_once (number bigint);
CREATE FUNCTION watch_owned() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO at_once SELECT count(*) FROM destinations WHERE owner IS NOT NULL;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER watch_owned AFTER INSERT OR UPDATE ON destinations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION watch_owned()
"""
WATCH_NO_MORE = """
DROP TRIGGER watch_owned ON destinations;
DROP FUNCTION watch_owned;
DROP TABLE at_once
"""


@pytest.fixture
def watched(fleet: Fleet) -> Iterator[Fleet]:
    """How many destinations are owned at once is noted with each commit."""
    statement(fleet.url, WATCH_EACH_COMMIT)
    yield fleet
    statement(fleet.url, WATCH_NO_MORE)


def test_a_route_of_three_agents_never_has_more_at_once_than_its_limit(
    watched: Fleet, threads: ThreadPoolExecutor
) -> None:
    ledgers = [watched.agent(place).ledger for place in (ME, ELSEWHERE, THIRD)]
    job = replace(JOB, limits=Limits(in_flight=LIMIT))

    def one(number: int) -> bool:
        name, directory = f"t{number}", LANDING.join(f"day={number:02}")
        return through(ledgers[number % 3], name, directory, job)

    done = sum(threads.map(one, range(90)))
    assert done > LIMIT
    ((most,),) = statement(watched.url, "SELECT max(number) FROM at_once")
    assert most == LIMIT, "it was reached"
