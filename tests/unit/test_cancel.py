"""`SqlLedger.cancel`: an operator's word against whoever works on the transfer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import Owner, open_ledger
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import BackhaulError, LedgerLocked, PermanentError, TakenOver
from backhaul.core.model import TransferState
from backhaul.core.ports import Operator
from tests.contract.test_ledger import T0, begin, claim, planned, proof

Open = Callable[[int], SqlLedger]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Open]:
    """The same ledger as process 1, 2, 3: all alive."""
    me, made = Owner.current("edge1"), list[SqlLedger]()

    def make(number: int) -> SqlLedger:
        owner = replace(me, host=f"edge{number}")
        made.append(open_ledger(tmp_path / "ledger.db", create=True, owner=owner))
        return made[-1]

    yield make
    for ledger in made:
        ledger.close()


def test_whoever_works_on_a_cancelled_transfer_gets_no_further(opened: Open) -> None:
    agent, operator = opened(1), opened(2)
    begin(agent)
    claimed = claim(agent, first=[planned(0)], is_complete=True)
    assert claimed is not None

    assert operator.cancel("t1", T0, Operator(name="alice@edge1")) == []

    assert not agent.is_mine("t1")
    assert (agent.holder("t1").owner, agent.holder("t1").is_cancelled) == (None, True)
    assert not agent.intend("t1", claimed.epoch, [proof(0)], T0)
    with pytest.raises(TakenOver) as caught:
        agent.record_staged("t1", [proof(0)])
    assert caught.value.code == "E_CANCELLED"
    agent.fail("t1", TransferState.WAITING, "E_TAKEN_OVER", "", T0)
    again = begin(agent)
    assert (again.state, again.code) == (TransferState.DEAD, "E_CANCELLED")


def test_the_destination_is_free_for_another_at_once(opened: Open) -> None:
    agent, operator = opened(1), opened(2)
    begin(agent)
    claim(agent)
    operator.cancel("t1", T0, Operator(name="alice@edge1"))

    begin(operator, "t2", None)
    assert claim(operator, "t2") is not None


def test_its_applications_are_told_to_whoever_cancels(opened: Open) -> None:
    agent, operator = opened(1), opened(2)
    begin(agent)
    claimed = claim(agent, first=[planned(0)], is_complete=True)
    assert claimed is not None
    assert agent.open_job("t1", claimed.epoch, "bh-t1", T0)

    (job,) = operator.cancel("t1", T0, Operator(name="alice@edge1"))

    assert (job.transfer_id, job.epoch) == ("t1", claimed.epoch)


def test_what_has_ended_or_may_be_visible_is_not_cancelled(opened: Open) -> None:
    agent, operator = opened(1), opened(2)
    begin(agent)
    claimed = claim(agent, first=[planned(0)], is_complete=True)
    assert claimed is not None
    assert agent.intend("t1", claimed.epoch, [proof(0)], T0)
    assert refusal(operator, LedgerLocked) == "E_PUBLISHING"
    agent.finish("t1", claimed.epoch, TransferState.DONE, "per-file", T0)
    assert refusal(operator, PermanentError) == "E_ENDED"


def refusal(ledger: SqlLedger, kind: type[BackhaulError]) -> str:
    with pytest.raises(kind) as caught:
        ledger.cancel("t1", T0, Operator(name="alice@edge1"))
    return caught.value.code
