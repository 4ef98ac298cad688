"""Limits that several agents on one PostgreSQL ledger keep together."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger
from backhaul.core.model import Assignment, Limits
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.core.requests.admission import MINUTE_S
from tests.contract.test_ledger import JOB
from tests.contract.test_ledger_members import ELSEWHERE, ME, THIRD, Fleet
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
