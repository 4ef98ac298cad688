"""Limits that several agents on one PostgreSQL ledger keep together, at every commit."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.adapters.ledger.postgres.faults import PostgresDatabase
from backhaul.adapters.ledger.postgres.members.member import COMMAND
from backhaul.adapters.ledger.postgres.members.pulse import Pulse
from backhaul.core.fleet.liveness import BEAT_S, DEAD_S
from backhaul.core.fleet.rate_shares import IDLE_PART, RESERVED_S, RateSplit
from backhaul.core.model import Assignment, Limits
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.core.rate_limit import ManualLimit
from backhaul.core.requests.admission import MINUTE_S
from tests.contract.test_ledger import JOB, T0
from tests.contract.test_ledger_members import ELSEWHERE, ME, THIRD, Agent, Fleet
from tests.ledger_places import SERVERS, ledger_place, statement

pytestmark = pytest.mark.integration


@pytest.fixture(params=SERVERS)
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    url = ledger_place(request.param, request, tmp_path)
    assert isinstance(url, PostgresUrl)
    open_ledger(url, create=True).close()
    made = Fleet(url)
    yield made
    made.close()


def test_what_a_route_may_begin_in_a_minute_is_that_of_all_agents(fleet: Fleet) -> None:
    agents = [fleet.agent(one) for one in (ME, ELSEWHERE, THIRD)]
    job = replace(JOB, limits=Limits(per_minute=3))

    def admitted(number: int, assignment: Assignment = job) -> float:
        return agents[number % 3].ledger.admit(f"t{number}", assignment)

    def shift(seconds: float) -> None:
        us = int(seconds * 1e6)
        statement(fleet.url, f"UPDATE route_starts SET at = at + {us} WHERE route = '{job.route}'")  # noqa: S608

    with ThreadPoolExecutor(max_workers=6) as pool:
        found = list(pool.map(admitted, range(9)))
    assert found.count(0) == 3
    assert all(0 < left_s <= MINUTE_S for left_s in found if left_s)
    mine = found.index(0)
    assert agents[(mine + 1) % 3].ledger.admit(f"t{mine}", job) == 0, "it counts once"
    assert admitted(9, replace(job, route="other")) == 0, "another route's minute is its own"
    assert agents[0].ledger.admit("t9", JOB) == 0, "a route without a limit counts nothing"
    shift(-MINUTE_S)
    assert [admitted(number) > 0 for number in range(10, 14)] == [False] * 3 + [True]
    shift(2 * MINUTE_S)  # as after a clock that was set back by more than a minute
    assert admitted(14) == 0


# ---------------------------------------------------------------- bytes per second

LIMIT = 900_000
# Any commit that grants more than the limit, what is reserved for the dead included, fails.
CHECK_EACH_COMMIT = """
CREATE FUNCTION check_shares() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (SELECT sum(granted) FROM rate_shares)
        > (SELECT bytes_per_s FROM byte_rates WHERE name = 'shared')
    THEN RAISE EXCEPTION 'granted above the limit'; END IF;
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER check_shares AFTER INSERT OR UPDATE ON rate_shares
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_shares();
CREATE CONSTRAINT TRIGGER check_limit AFTER INSERT OR UPDATE ON byte_rates
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION check_shares()
"""
CHECK_NO_MORE = """
DROP TRIGGER check_shares ON rate_shares;
DROP TRIGGER check_limit ON byte_rates;
DROP FUNCTION check_shares
"""


class Seat:
    """Implements `RateSeat` for workers that read as fast as they may, or so much and no more."""

    def __init__(self, fleet: Fleet, wants: float = math.inf, limit: int | None = LIMIT) -> None:
        self._fleet = fleet
        self._since_s = fleet.at_s
        self._taken = 0.0
        self.wants = wants
        self.limit = limit
        self.share: int | None = 0

    def configured(self) -> int | None:
        return self.limit

    def apply(self, bytes_per_s: int | None) -> None:
        self._count()
        self.share = bytes_per_s

    def taken(self) -> int:
        self._count()
        return int(self._taken)

    def kept(self) -> int:
        return 0

    def _count(self) -> None:
        passed_s, self._since_s = self._fleet.at_s - self._since_s, self._fleet.at_s
        if self.share is not None:
            self._taken += passed_s * min(self.wants, self.share)


@pytest.fixture
def checked(fleet: Fleet) -> Iterator[Fleet]:
    statement(fleet.url, CHECK_EACH_COMMIT)
    yield fleet
    statement(fleet.url, CHECK_NO_MORE)


def shares(*seats: Seat) -> list[int | None]:
    return [seat.share for seat in seats]


def settle(fleet: Fleet, *agents: Agent, seats: Sequence[Seat]) -> None:
    """Beat by beat; together they never read more than the limit."""
    for _ in range(12):
        for one in agents:
            fleet.at_s += BEAT_S / len(agents)
            one.member.turn()
            assert sum(seat.share or 0 for seat in seats) <= LIMIT


def test_a_rate_is_shared_fairly_by_demand_and_that_of_the_dead_comes_back(checked: Fleet) -> None:
    one_seat, two_seat, three_seat = seats = [Seat(checked) for _ in range(3)]
    one = checked.agent(ME, one_seat)
    assert shares(one_seat) == [LIMIT], "alone, and at once"
    two, three = checked.agent(ELSEWHERE, two_seat), checked.agent(THIRD, three_seat)
    assert shares(two_seat, three_seat) == [0, 0], "until the first has made room"
    settle(checked, one, two, three, seats=seats)
    assert shares(*seats) == [LIMIT // 3] * 3
    three_seat.wants = 0
    settle(checked, one, two, three, seats=seats)
    first, second, idle = shares(*seats)
    assert first == second
    assert idle == LIMIT // (3 * IDLE_PART)
    three_seat.wants = math.inf
    settle(checked, one, two, three, seats=seats)
    assert shares(*seats) == [LIMIT // 3] * 3

    checked.go_on(one, two)  # the third is judged dead: its workers may read on
    settle(checked, one, two, seats=seats)
    assert sum(share or 0 for share in shares(one_seat, two_seat)) <= 2 * LIMIT // 3
    checked.go_on(one, two, seconds=RESERVED_S)
    three_seat.share = 0
    settle(checked, one, two, seats=seats)
    assert shares(one_seat, two_seat) == [LIMIT // 2] * 2

    one.member.leave()  # the leader, and by itself: nothing is reserved for it
    one_seat.share = 0
    settle(checked, two, seats=seats)
    assert shares(two_seat) == [LIMIT]


def test_a_limit_set_by_hand_is_that_of_all_and_its_end_too(checked: Fleet) -> None:
    one_seat, two_seat = seats = [Seat(checked, limit=None), Seat(checked, limit=None)]
    agents = [checked.agent(ME, one_seat), checked.agent(ELSEWHERE, two_seat)]
    assert shares(*seats) == [None, None], "no limit, and nobody waits for a share"
    with closing(open_ledger(checked.url, create=False)) as command:
        command.limit_rate(ManualLimit(bytes_per_s=LIMIT))
    checked.go_on(*agents, seconds=2 * BEAT_S)
    settle(checked, *agents, seats=seats)
    assert shares(*seats) == [LIMIT // 2] * 2
    with closing(open_reader(checked.url)) as reader:
        assert reader.limit_by_hand() == ManualLimit(bytes_per_s=LIMIT)
    with closing(open_ledger(checked.url, create=False)) as command:
        command.limit_rate(ManualLimit(bytes_per_s=LIMIT // 2, until=T0))  # which has passed
    checked.go_on(*agents, seconds=3 * BEAT_S)
    assert shares(*seats) == [None, None]
    with closing(open_ledger(checked.url, create=False)) as command:
        command.limit_rate(None)
    with closing(open_reader(checked.url)) as reader:
        assert reader.limit_by_hand() is None


def test_no_agent_reads_above_its_own_configuration(checked: Fleet) -> None:
    low, high = Seat(checked, limit=LIMIT // 10), Seat(checked)
    agents = [checked.agent(ME, low), checked.agent(ELSEWHERE, high)]
    settle(checked, *agents, seats=[low, high])
    assert low.share == LIMIT // 10
    assert high.share is not None
    assert LIMIT * 8 // 10 < high.share <= LIMIT * 9 // 10


def test_while_the_ledger_is_away_the_last_share_stays(checked: Fleet) -> None:
    seats = [Seat(checked), Seat(checked)]
    agents = [checked.agent(ME, seats[0]), checked.agent(ELSEWHERE, seats[1])]
    settle(checked, *agents, seats=seats)
    before = shares(*seats)
    checked.at_s += 10 * DEAD_S  # nobody beats
    assert shares(*seats) == before
    settle(checked, *agents, seats=seats)
    assert shares(*seats) == before


def test_commands_share_among_themselves_where_no_agent_is(checked: Fleet) -> None:
    one_seat, two_seat = seats = [Seat(checked), Seat(checked)]
    agents = [
        checked.agent(who, seat, kind=COMMAND)
        for who, seat in zip((ME, ELSEWHERE), seats, strict=True)
    ]
    settle(checked, *agents, seats=seats)
    assert shares(*seats) == [LIMIT // 2] * 2
    agent_seat = Seat(checked)
    agent = checked.agent(THIRD, agent_seat)
    assert agent.member.is_leader
    settle(checked, agent, *agents, seats=[agent_seat, *seats])
    assert shares(agent_seat, one_seat, two_seat) == [LIMIT // 3] * 3


def test_who_does_not_lead_splits_nothing(checked: Fleet) -> None:
    one_seat, two_seat = Seat(checked), Seat(checked)
    checked.agent(ME, one_seat)
    two = checked.agent(ELSEWHERE, two_seat)
    pulse = Pulse(checked.url, PostgresDatabase(checked.url))
    plan = RateSplit(limit=LIMIT, granted={two.member.id: LIMIT})
    assert not pulse.split(two.member.id, plan)
    pulse.close()
    two.member.turn()
    assert two_seat.share == 0
