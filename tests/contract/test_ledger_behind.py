"""A ledger that lacks the last commits of an attempt that goes on: a failover has lost them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from backhaul.core.errors import OutageError
from backhaul.core.model import TransferState
from backhaul.core.objects import Totals
from backhaul.core.ports import Ledger
from backhaul.core.ports.ledger_place import LedgerPlace
from backhaul.testing.fakes import MemoryLedger
from backhaul.testing.fakes.memory_file import MemoryFile, MemoryTransfer
from tests.contract.test_ledger import (
    LANDING,
    T0,
    begin,
    claim,
    kind,
    ledger,
    pages,
    place,
    planned,
    proof,
    reopen,
)
from tests.ledger_places import EVERY_LEDGER, statement

__all__ = ["kind", "ledger", "place", "reopen"]

pytestmark = pytest.mark.parametrize("kind", EVERY_LEDGER, indirect=True)


def lose(
    place: LedgerPlace,
    ledger: Ledger,
    statements: list[str],
    in_memory: Callable[[MemoryFile, MemoryTransfer], None],
) -> None:
    """What the promoted standby has not."""
    if isinstance(ledger, MemoryLedger):
        in_memory(ledger._file, ledger._file.transfers["t1"])
    else:
        for one in statements:
            statement(place, one)


def refused(*calls: Callable[[], object]) -> None:
    for call in calls:
        with pytest.raises(OutageError, match="E_LEDGER_BEHIND") as caught:
            call()
        assert caught.value.dependency == "ledger"


def test_an_attempt_whose_claim_is_lost_writes_nothing_more(
    place: LedgerPlace, ledger: Ledger
) -> None:
    """Not even where an earlier claim of the transfer is there, with a plan of another listing."""
    begin(ledger)
    first = claim(ledger, first=[planned(0, "old-a"), planned(1, "old-b")])
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    begin(ledger)
    lost = claim(ledger, first=[planned(0, "new-a")])
    assert first is not None
    assert lost is not None

    def before(file: MemoryFile, row: MemoryTransfer) -> None:
        row.epoch = first.epoch
        row.plan = [planned(0, "old-a"), planned(1, "old-b")]
        for there in file.destinations.values():
            there.epoch, there.owner_transfer, there.owner = first.epoch, None, None

    lose(
        place,
        ledger,
        [
            "UPDATE transfers SET epoch = epoch - 1, objects_planned = 2",
            "UPDATE destinations SET epoch = epoch - 1, owner_transfer = NULL, owner = NULL",
        ],
        before,
    )
    refused(
        lambda: ledger.freeze("t1", [planned(1), planned(2)], is_complete=True, markers=0),
        lambda: ledger.record_staged("t1", [proof(0)]),
        lambda: ledger.note_staging("t1", lost.epoch, [LANDING.join(".backhaul")], T0),
        lambda: ledger.note_published("t1"),
        lambda: ledger.forget_plan("t1"),
    )
    assert not ledger.intend("t1", lost.epoch, [], T0)
    assert claim(ledger) is not None
    ledger.freeze("t1", [planned(2)], is_complete=True, markers=0)


def test_nothing_is_published_of_a_plan_whose_last_page_is_lost(
    place: LedgerPlace, ledger: Ledger
) -> None:
    begin(ledger)
    found = claim(ledger, first=[planned(0)])
    assert found is not None
    ledger.freeze("t1", [planned(1)], is_complete=False, markers=0)
    ledger.freeze("t1", [planned(2)], is_complete=True, markers=0)

    def before(_file: MemoryFile, row: MemoryTransfer) -> None:
        row.plan, row.has_plan = row.plan[:2], False

    lose(
        place,
        ledger,
        [
            "DELETE FROM objects WHERE seq = 2",
            "UPDATE transfers SET objects_planned = 2, plan_complete = 0"
            if ledger_is_file(place)
            else "UPDATE transfers SET objects_planned = 2, plan_complete = false",
        ],
        before,
    )
    refused(
        lambda: ledger.freeze("t1", [planned(3)], is_complete=True, markers=0),
        lambda: ledger.record_staged("t1", [proof(0)]),
        lambda: ledger.planned_totals("t1"),
        lambda: ledger.intend("t1", found.epoch, [proof(0), proof(1)], T0),
        lambda: claim(ledger, first=[planned(0)], is_complete=True),
    )
    assert pages(ledger) == [0, 1]
    ledger.fail("t1", TransferState.HELD, "E_LEDGER_BEHIND", "x", T0, refund=True)
    again = begin(ledger)
    assert (again.attempt, again.failures, again.has_plan) == (1, 0, False)
    assert claim(ledger, first=[planned(0)], is_complete=True) is not None
    assert ledger.planned_totals("t1") == Totals(objects=1, size_bytes=100)


def test_nothing_is_published_of_which_the_last_proofs_are_lost(
    place: LedgerPlace, ledger: Ledger
) -> None:
    """File by file only what the ledger has as proven would be renamed, and the rest removed."""
    begin(ledger)
    found = claim(ledger, first=[planned(seq) for seq in range(3)], is_complete=True)
    assert found is not None
    ledger.record_staged("t1", [proof(0)])
    ledger.record_staged("t1", [proof(1)])

    def before(_file: MemoryFile, row: MemoryTransfer) -> None:
        del row.proofs[1]

    lose(place, ledger, ["UPDATE objects SET epoch = NULL WHERE seq = 1"], before)
    refused(lambda: ledger.intend("t1", found.epoch, [proof(2)], T0))
    assert [one.seq for page in ledger.staged("t1") for one, _ in page] == [0]
    ledger.record_staged("t1", [proof(1)])
    assert ledger.intend("t1", found.epoch, [proof(2)], T0)


def ledger_is_file(place: LedgerPlace) -> bool:
    """SQLite has no booleans."""
    return not hasattr(place, "text")


def lose_the_beginning(place: LedgerPlace, ledger: Ledger, owner: str | None) -> None:
    """Of the last attempt: the row is as the one before has left it, or another process has it."""

    def before(_file: MemoryFile, row: MemoryTransfer) -> None:
        row.state, row.owner = TransferState.WAITING, owner

    text = "NULL" if owner is None else f"'{owner}'"
    lose(place, ledger, [f"UPDATE transfers SET state = 'waiting', owner = {text}"], before)  # noqa: S608


def test_one_that_is_dead_is_so_although_its_beginning_is_lost(
    place: LedgerPlace, ledger: Ledger
) -> None:
    """Its dead letter was sent, and its message will not come again."""
    begin(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    begin(ledger)
    lose_the_beginning(place, ledger, None)
    ledger.fail("t1", TransferState.DEAD, "E_Y", "it cannot be", T0)
    found = begin(ledger)
    assert (found.state, found.code) == (TransferState.DEAD, "E_Y")


def test_one_that_waits_is_left_as_it_is_where_its_beginning_is_lost(
    place: LedgerPlace, ledger: Ledger
) -> None:
    begin(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    begin(ledger)
    lose_the_beginning(place, ledger, None)
    ledger.fail("t1", TransferState.WAITING, "E_Y", "it broke", T0)
    assert begin(ledger).failures == 1


@pytest.mark.parametrize("is_again", [True, False])
def test_the_end_of_an_attempt_that_is_not_its_own_changes_nothing(
    place: LedgerPlace,
    ledger: Ledger,
    is_again: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    """It was taken over meanwhile, or has ended before."""
    begin(ledger)
    if is_again:
        ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    lose_the_beginning(place, ledger, None if is_again else "edge9:another")
    ledger.fail("t1", TransferState.DEAD, "E_Y", "it cannot be", T0)
    assert ledger.holder("t1").owner == (None if is_again else "edge9:another")
    if is_again:
        assert begin(ledger).state is TransferState.RECEIVED
