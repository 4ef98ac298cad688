"""What left S3 is counted once: by day, route and purpose, and beside each transfer."""

from datetime import date, timedelta

import pytest

from backhaul.core.cost.egress import Egress, EgressCount
from backhaul.core.errors import TakenOver
from backhaul.core.model import TransferState
from backhaul.core.ports import Ledger
from tests.contract.test_ledger import (
    T0,
    Reopen,
    begin,
    claim,
    kind,
    ledger,
    place,
    planned,
    proof,
    reopen,
)

__all__ = ["kind", "ledger", "place", "reopen"]  # fixtures

TODAY = T0.date()
READ = EgressCount(at=T0, native=Egress(copy=100, retry=7), distcp=Egress(copy=30))


def test_nothing_was_read(ledger: Ledger) -> None:
    assert ledger.egress_since(date(2000, 1, 1)) == Egress()
    assert ledger.egress_since(date(2000, 1, 1), "clickstream") == Egress()


def test_it_counts_for_its_day_in_utc_and_its_route(ledger: Ledger) -> None:
    begin(ledger)
    claim(ledger)
    ledger.note_egress("t1", READ)
    tomorrow = TODAY + timedelta(days=1)
    ledger.note_egress("t1", EgressCount(at=T0 + timedelta(days=1), native=Egress(retry=5)))
    ledger.note_command_egress("", EgressCount(at=T0, native=Egress(verify=11)))
    assert ledger.egress_since(TODAY) == Egress(130, 12, 11)
    assert ledger.egress_since(TODAY, "clickstream") == Egress(130, 12, 0)
    assert ledger.egress_since(TODAY, "") == Egress(0, 0, 11)
    assert ledger.egress_since(tomorrow) == Egress(0, 5, 0)
    assert ledger.egress_since(tomorrow + timedelta(days=1)) == Egress()


def test_it_is_recorded_with_proofs_and_intent(ledger: Ledger) -> None:
    begin(ledger)
    found = claim(ledger, first=[planned(0), planned(1)], is_complete=True)
    assert found is not None
    ledger.record_staged("t1", [proof(0)], READ)
    assert ledger.intend("t1", found.epoch, [proof(1)], T0, READ)
    assert ledger.egress_since(TODAY, "clickstream") == Egress(260, 14, 0)
    assert not ledger.intend("t1", found.epoch + 1, [], T0, READ)
    assert ledger.egress_since(TODAY) == Egress(260, 14, 0)


def test_the_next_attempt_sees_what_those_before_it_read(ledger: Ledger) -> None:
    assert begin(ledger).egress == Egress()
    claim(ledger)
    ledger.note_egress("t1", READ)
    ledger.fail("t1", TransferState.WAITING, "E_S3_BODY", "broken", T0)
    assert begin(ledger).egress == Egress(130, 7, 0)


def test_what_was_read_counts_whoever_has_the_transfer_now(reopen: Reopen) -> None:
    killed = reopen("killed")
    begin(killed)
    claim(killed)
    begin(reopen("me"))
    with pytest.raises(TakenOver):
        killed.record_staged("t1", [], READ)
    assert killed.egress_since(TODAY) == Egress()
    killed.note_egress("t1", READ)
    assert reopen("me").egress_since(TODAY) == Egress(130, 7, 0)
