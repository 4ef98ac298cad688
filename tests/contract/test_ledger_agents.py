"""What `core.ports.AgentLedger` promises, checked on every implementation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from backhaul.adapters.ledger import SqlLedger, open_reader
from backhaul.adapters.ledger.postgres.members.member import Member
from backhaul.core.agent_report import (
    AgentIdentity,
    AgentRecord,
    AgentReport,
    DependencyHold,
    QueueDepth,
    RunningTransfer,
)
from backhaul.core.model import TransferState
from backhaul.core.ports import Ledger, MessageKey, PausedRoute
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.testing.fakes import MemoryLedger
from tests.contract.test_ledger import (
    DAY,
    SECOND,
    T0,
    Reopen,
    begin,
    claimed,
    fail,
    finished,
    kind,
    ledger,
    place,
    planned,
    proof,
    reopen,
)
from tests.ledger_places import statement

__all__ = ["kind", "ledger", "place", "reopen"]  # fixtures

HOUR = timedelta(hours=1)
FIVE_MINUTES = timedelta(minutes=5)
IDENTITY = AgentIdentity(
    id="a" * 32,
    host="edge1",
    owner="edge1:boot:1:1",
    version="1.2.3",
    queue="work",
    region="us-east-1",
    slots=4,
    started_at=T0,
)
REPORT = AgentReport(
    at=T0 + SECOND,
    last_poll_at=T0,
    failed_polls=1,
    failing_since=T0,
    poll_code="E_SQS",
    poll_reason="no route",
    in_hand=2,
    depth=QueueDepth(visible=3, in_flight=2, delayed=1, retention_s=None, at=T0),
    oldest_sent_at=T0,
    holds=(
        DependencyHold(
            dependency="hdfs", since=T0, code="E_X", reason="r\u202e", hint="h", transfers=1
        ),
    ),
    running=(
        RunningTransfer(
            transfer_id="t1",
            message_id="m1",
            route="clicks",
            source="s3://raw/Z\u00fcrich",
            destination="hdfs://ns1/land",
            attempt=2,
            started_at=T0,
            bytes_per_s=1.5,
        ),
    ),
    bytes_per_s=1.5,
)
Sums = Callable[..., dict[str, Mapping[str, int]]]


@pytest.fixture
def agents(reopen: Reopen, place: LedgerPlace) -> Callable[[], list[AgentRecord]]:
    def read() -> list[AgentRecord]:
        opened = reopen("me")
        if isinstance(opened, MemoryLedger):
            return list(opened._file.agents.values())
        with closing(open_reader(place)) as reader:
            return [one.record for one in reader.agents()]

    return read


@pytest.fixture
def sums(reopen: Reopen, place: LedgerPlace) -> Sums:
    """What ended by route, over all time."""

    def read(span: timedelta = HOUR) -> dict[str, Mapping[str, int]]:
        opened = reopen("me")
        bounds = (span, T0 - 1000 * HOUR, T0 + 1000 * HOUR)
        found: dict[str, dict[str, int]] = {}
        if isinstance(opened, MemoryLedger):
            rows = [(one.route, dict(one.counts)) for one in opened.activity(*bounds)]
        else:
            with closing(open_reader(place)) as reader:
                names = ("done", "dead", "failed", "objects", "bytes_done")
                rows = [
                    (one.route, {name: getattr(one, name) for name in names})
                    for one in reader.activity(*bounds)
                ]
        for route, counts in rows:
            into = found.setdefault(route, {})
            for name, count in counts.items():
                into[name] = into.get(name, 0) + count
        return {
            route: {name: count for name, count in counts.items() if count}
            for route, counts in found.items()
        }

    return read


def sum_up(ledger: Ledger, most: int = 100) -> int:
    steps = 1
    while sum_some(ledger, most):
        steps += 1
    return steps


def sum_some(ledger: Ledger, most: int) -> bool:
    """As who leads, until its next beat; among several agents nobody else sums."""
    if isinstance(ledger, SqlLedger) and isinstance(ledger.standing, Member):
        ledger.standing._leader = ledger.standing.id
    return ledger.sum_activity(most=most)


# ---------------------------------------------------------------- beat


def test_an_agents_report_comes_back_as_it_was(
    ledger: Ledger, agents: Callable[[], list[AgentRecord]]
) -> None:
    ledger.beat(IDENTITY, REPORT)
    assert agents() == [AgentRecord(identity=IDENTITY, report=REPORT, beats=1)]


def test_the_newest_report_replaces_the_one_before(
    ledger: Ledger, agents: Callable[[], list[AgentRecord]]
) -> None:
    ledger.beat(IDENTITY, REPORT)
    earlier = replace(REPORT, at=T0 - HOUR, running=())  # the clock was set back
    ledger.beat(IDENTITY, earlier)
    assert agents() == [AgentRecord(identity=IDENTITY, report=earlier, beats=2)]


def test_each_start_of_an_agent_is_one_of_its_own(
    ledger: Ledger, agents: Callable[[], list[AgentRecord]]
) -> None:
    ledger.beat(IDENTITY, REPORT)
    ledger.beat(replace(IDENTITY, id="b" * 32, started_at=T0 + HOUR), REPORT)
    assert {one.identity.id[0]: one.beats for one in agents()} == {"a": 1, "b": 1}


def test_the_last_report_stays_the_last(
    ledger: Ledger, agents: Callable[[], list[AgentRecord]]
) -> None:
    ledger.beat(IDENTITY, REPORT)
    ledger.beat(IDENTITY, replace(REPORT, failure="E_BUG"), has_ended=True)
    ledger.beat(IDENTITY, REPORT)  # was under way in another thread
    ledger.beat(IDENTITY, REPORT, has_ended=True)
    (found,) = agents()
    assert (found.ended_at, found.beats, found.report.failure) == (REPORT.at, 2, "E_BUG")


def test_only_the_last_hundred_starts_are_kept(
    ledger: Ledger, agents: Callable[[], list[AgentRecord]], place: LedgerPlace
) -> None:
    if isinstance(ledger, MemoryLedger):
        return  # no simulation starts so many
    for number in range(120):
        at = T0 + number * SECOND
        ledger.beat(replace(IDENTITY, id=f"{number:032}"), replace(REPORT, at=at))
    ids = [int(one) for (one,) in statement(place, "SELECT id FROM agents")]
    assert sorted(ids) == list(range(20, 120))
    assert len(agents()) == 50, "and a reader shows no more than the newest"


# ---------------------------------------------------------------- sum_activity


def test_nothing_is_summed_where_nothing_ended(ledger: Ledger, sums: Sums) -> None:
    begin(ledger)
    assert not sum_some(ledger, 100)
    assert sums() == {}


def test_what_ended_and_failed_is_summed_by_route(ledger: Ledger, sums: Sums) -> None:
    finished(ledger, "t1", planned(0), planned(1))
    begin(ledger, "t2")
    fail(ledger, "t2")  # before a route was known
    begin(ledger, "t2")
    fail(ledger, "t2", TransferState.DEAD)
    claimed(ledger, "t3")
    fail(ledger, "t3", TransferState.HELD)
    sum_up(ledger)
    expected = {
        "clickstream": {"done": 1, "objects": 2, "bytes_done": 201},
        "": {"failed": 1, "dead": 1},
    }
    assert sums() == expected
    assert sums(FIVE_MINUTES) == expected


@pytest.mark.parametrize("code", ["E_DST_BUSY", "E_ROUTE_PAUSED", "E_STOPPED"])
def test_a_wait_that_is_no_failure_is_not_summed(ledger: Ledger, sums: Sums, code: str) -> None:
    begin(ledger)
    ledger.fail("t1", TransferState.WAITING, code, "busy", T0, refund=True)
    sum_up(ledger)
    assert sums() == {}


@pytest.mark.parametrize("most", [1, 2, 3, 100])
def test_each_change_is_counted_once_whoever_sums_and_however_often(
    reopen: Reopen, sums: Sums, most: int
) -> None:
    one, other = reopen("me"), reopen("alive elsewhere")
    for number in range(6):
        key = MessageKey(queue="work", message_id=f"m{number}")
        begin(one, f"t{number}", key)
        fail(one, f"t{number}")
        sum_some(one, most)
        sum_some(other, most)
    sum_up(other, most)
    sum_up(one, most)
    assert not sum_some(one, most)
    assert sums() == {"": {"failed": 6}}


def test_a_late_end_is_added_to_the_sums_of_its_own_time(reopen: Reopen, sums: Sums) -> None:
    """The clock may be set back between two changes."""
    ledger = reopen("me")
    begin(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "", T0 + 3 * HOUR)
    sum_up(ledger)
    begin(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "", T0)
    sum_up(ledger)
    begin(ledger)
    ledger.fail("t1", TransferState.DEAD, "E_X", "", T0 + 3 * HOUR)
    sum_up(ledger)
    assert sums() == {"": {"failed": 2, "dead": 1}}


def test_a_transfer_that_ends_again_by_a_lost_answer_is_counted_once(
    ledger: Ledger, sums: Sums
) -> None:
    found = claimed(ledger)
    staged = [proof(seq) for seq in range(3)]
    assert ledger.intend("t1", found.epoch, staged, T0)
    for _ in range(2):
        assert ledger.finish("t1", found.epoch, TransferState.DONE, "tree", T0)
    sum_up(ledger)
    assert sums()["clickstream"]["done"] == 1


# ---------------------------------------------------------------- paused_routes


def test_no_route_is_paused_at_first(ledger: Ledger) -> None:
    assert ledger.paused_routes(T0) == []


def test_a_pause_ends_at_its_time(ledger: Ledger, place: LedgerPlace) -> None:
    """How pauses are made is tested with the command."""
    for_ever = PausedRoute(route="a", since=T0, until=None, operator="me@edge1", reason="r")
    for_an_hour = replace(for_ever, route="b", until=T0 + HOUR)
    if isinstance(ledger, MemoryLedger):
        ledger._file.paused = {"a": for_ever, "b": for_an_hour}
    else:
        for route, until in (("a", "NULL"), ("b", _us(3600))):
            statement(
                place,
                "INSERT INTO paused_routes (route, since, until, operator, reason)"  # noqa: S608
                f" VALUES ('{route}', {_us(0)}, {until}, 'me@edge1', 'r')",
            )
    assert ledger.paused_routes(T0) == [for_ever, for_an_hour]
    assert ledger.paused_routes(T0 + HOUR) == [for_ever]


def _us(seconds: int) -> int:
    return int(T0.timestamp()) * 1_000_000 + T0.microsecond + seconds * 1_000_000


def test_the_route_is_known_from_the_claim_on(ledger: Ledger, sums: Sums) -> None:
    claimed(ledger, "t1", DAY)
    fail(ledger, "t1", TransferState.DEAD)
    sum_up(ledger)
    assert sums() == {"clickstream": {"dead": 1}}


def test_what_ends_before_a_claim_counts_for_the_route_it_began_on(
    ledger: Ledger, sums: Sums
) -> None:
    for number, route in enumerate(("clicks", None)):
        key = MessageKey(queue="work", message_id=f"m{number}")
        ledger.begin(key, f"t{number}", "s", "d", T0, route=route)
        fail(ledger, f"t{number}")
        ledger.begin(key, "new", "s", "d", T0)  # with its route not known this time
        fail(ledger, f"t{number}", TransferState.DEAD)
    sum_up(ledger)
    assert sums() == {"clicks": {"failed": 1, "dead": 1}, "": {"failed": 1, "dead": 1}}


def test_a_claim_has_the_last_word_on_the_route(ledger: Ledger, sums: Sums) -> None:
    claimed(ledger)
    fail(ledger, "t1", TransferState.WAITING)
    key = MessageKey(queue="work", message_id="t1")
    ledger.begin(key, "new", "s", "d", T0, route="after")
    fail(ledger, "t1", TransferState.DEAD)
    sum_up(ledger)
    assert sums() == {"clickstream": {"failed": 1, "dead": 1}}
