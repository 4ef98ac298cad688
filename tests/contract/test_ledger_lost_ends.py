"""A failover loses that a transfer has ended: its process records the end once more."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest

from backhaul.adapters.ledger import SqlLedger
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.model import TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.ports import Ledger, MessageKey
from backhaul.core.ports.ledger_place import LedgerPlace, PostgresUrl
from backhaul.testing.fakes import MemoryLedger
from backhaul.testing.fakes.faults import Fault
from backhaul.testing.fakes.memory_file import MemoryFile
from tests.contract.test_ledger import (
    DAY,
    KEY,
    T0,
    Reopen,
    begin,
    claim,
    claimed,
    kind,
    ledger,
    place,
    planned,
    proof,
    reopen,
)
from tests.ledger_places import statement

__all__ = ["kind", "ledger", "place", "reopen"]

SHARED = ["memory", pytest.param("postgres", marks=pytest.mark.integration)]
shared = pytest.mark.parametrize("kind", SHARED, indirect=True)
T1 = MessageKey(queue="work", message_id="t1")
MANIFEST = ManifestSum(manifest="ab" * 32, objects=3, size_bytes=303, bytes_read=303)
_STATE = ("state", "owner", "epoch", "attempt", "failures", "renames_possible", "finished_at")
_OWNED = ("epoch", "staging_root", "owner_transfer", "owner", "intent_transfer", "intent_at")


@dataclass(frozen=True)
class Standby:
    """What was copied to it, and is all that is there once it was promoted."""

    promote: Callable[[], None]

    @classmethod
    def of(cls, place: LedgerPlace, ledger: Ledger) -> Standby:
        if isinstance(ledger, MemoryLedger):
            return cls(_of_memory(ledger._file))
        statement(place, "DROP TABLE IF EXISTS there_transfers, there_destinations")
        statement(place, "CREATE TABLE there_transfers AS SELECT * FROM transfers")
        statement(place, "CREATE TABLE there_destinations AS SELECT * FROM destinations")

        def promote() -> None:
            for table, key, names in (
                ("transfers", "id", _STATE),
                ("destinations", "uri", _OWNED),
            ):
                values = ", ".join(f"{name} = there_{table}.{name}" for name in names)
                same = f"{table}.{key} = there_{table}.{key}"
                statement(place, f"UPDATE {table} SET {values} FROM there_{table} WHERE {same}")  # noqa: S608
                statement(place, f"DROP TABLE there_{table}")
            statement(place, "DELETE FROM seals")
            statement(place, "DELETE FROM published")

        return cls(promote)


def _of_memory(file: MemoryFile) -> Callable[[], None]:
    names = ("transfers", "destinations", "published")
    there = {name: deepcopy(getattr(file, name)) for name in names}

    def promote() -> None:
        for name in names:
            getattr(file, name).clear()
            getattr(file, name).update(there[name])

    return promote


def is_free(reopen: Reopen) -> bool:
    """For an agent of another node."""
    other, name = reopen("alive elsewhere"), uuid.uuid4().hex
    begin(other, name, MessageKey(queue="work", message_id=name))
    return claim(other, name) is not None


@contextmanager
def unwritable(place: LedgerPlace, ledger: Ledger) -> Iterator[None]:
    """The end of a transfer cannot be recorded meanwhile."""
    if not isinstance(place, PostgresUrl):
        assert isinstance(ledger, MemoryLedger)
        ledger._faults.at("ledger.fail", 1, Fault.FAIL)
        yield
        return
    with psycopg.connect(place.text) as connection:
        connection.execute("LOCK TABLE transfers IN SHARE MODE")
        yield
        connection.rollback()


def state(ledger: Ledger) -> TransferState:
    """As a message about it would find it; it is begun unless it has ended."""
    return begin(ledger, "new", T1).state


def finish(ledger: Ledger, epoch: int) -> bool:
    return ledger.finish("t1", epoch, TransferState.DONE, "per-file", T0, manifest=MANIFEST)


@shared
def test_an_end_that_was_lost_is_recorded_again(
    place: LedgerPlace, ledger: Ledger, reopen: Reopen
) -> None:
    found = claimed(ledger)
    assert ledger.intend("t1", found.epoch, [proof(seq) for seq in range(3)], T0)
    standby = Standby.of(place, ledger)
    assert finish(ledger, found.epoch)
    assert ledger.repeat_lost_ends(T0) == 0
    standby.promote()
    assert not is_free(reopen)
    assert ledger.repeat_lost_ends(T0) == 1
    assert ledger.repeat_lost_ends(T0) == 0
    assert state(ledger) is TransferState.DONE
    file = DAY.join(planned(0).relative)
    assert list(ledger.published([file])) == [file]
    assert is_free(reopen)


@shared
def test_without_its_intent_it_waits_unspent_and_others_have_its_destination(
    place: LedgerPlace, ledger: Ledger, reopen: Reopen
) -> None:
    found = claimed(ledger)
    standby = Standby.of(place, ledger)
    assert ledger.intend("t1", found.epoch, [proof(seq) for seq in range(3)], T0)
    assert finish(ledger, found.epoch)
    standby.promote()
    assert ledger.repeat_lost_ends(T0) == 1
    assert is_free(reopen)
    again = begin(ledger, "new", T1)
    assert (again.transfer_id, again.attempt, again.failures) == ("t1", 1, 0)
    assert again.code == "E_LEDGER_BEHIND"


@shared
@pytest.mark.parametrize("ends_as", [TransferState.WAITING, TransferState.DEAD])
def test_a_failure_that_was_lost_is_counted_again(
    place: LedgerPlace, ledger: Ledger, reopen: Reopen, ends_as: TransferState
) -> None:
    claimed(ledger)
    standby = Standby.of(place, ledger)
    ledger.fail("t1", ends_as, "E_X", "it broke", T0)
    standby.promote()
    assert not is_free(reopen)
    assert ledger.repeat_lost_ends(T0) == 1
    assert is_free(reopen)
    found = begin(ledger, "new", T1)
    assert found.failures == 1
    assert found.state is (
        TransferState.DEAD if ends_as is TransferState.DEAD else TransferState.RECEIVED
    )


@shared
def test_with_its_claim_lost_too_it_waits(place: LedgerPlace, ledger: Ledger) -> None:
    begin(ledger, "t1", T1)
    standby = Standby.of(place, ledger)
    found = claim(ledger, first=[planned(0)], is_complete=True)
    assert found is not None
    assert ledger.intend("t1", found.epoch, [proof(0)], T0)
    assert finish(ledger, found.epoch)
    standby.promote()
    assert ledger.repeat_lost_ends(T0) == 1
    assert begin(ledger, "new", T1).code == "E_LEDGER_BEHIND"


@shared
def test_one_that_died_before_it_claimed_is_dead_again(place: LedgerPlace, ledger: Ledger) -> None:
    begin(ledger, "t1", T1)
    standby = Standby.of(place, ledger)
    ledger.fail("t1", TransferState.DEAD, "E_X", "it cannot be", T0)
    standby.promote()
    assert ledger.repeat_lost_ends(T0) == 1
    assert state(ledger) is TransferState.DEAD


@shared
def test_nothing_is_adopted_whose_proofs_are_lost(place: LedgerPlace, ledger: Ledger) -> None:
    """Neither by the attempt under way, nor by an end that is recorded again."""
    found = claimed(ledger)
    standby = Standby.of(place, ledger)
    ledger.record_staged("t1", [proof(seq) for seq in range(3)])
    adopt = partial(
        ledger.finish,
        *("t1", found.epoch, TransferState.DONE, "adopted", T0),
        manifest=MANIFEST,
        is_intended=False,
    )
    lose_proofs(place, ledger)
    with pytest.raises(OutageError, match="E_LEDGER_BEHIND"):
        adopt()
    ledger.record_staged("t1", [proof(seq) for seq in range(3)])
    assert adopt()
    standby.promote()
    lose_proofs(place, ledger)
    assert ledger.repeat_lost_ends(T0) == 1
    assert begin(ledger, "new", T1).code == "E_LEDGER_BEHIND"


def lose_proofs(place: LedgerPlace, ledger: Ledger) -> None:
    if isinstance(ledger, MemoryLedger):
        ledger._file.transfers["t1"].proofs.clear()
    else:
        statement(place, "UPDATE objects SET epoch = NULL, crc32c = NULL, proof = NULL")


@shared
def test_an_end_of_an_earlier_attempt_is_never_recorded_again(ledger: Ledger) -> None:
    """The end of the last one could not be recorded: its row is still this process's."""
    assert isinstance(ledger, MemoryLedger | SqlLedger)
    claimed(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    begin(ledger, "new", T1)
    del ledger._working["t1"]
    assert ledger.repeat_lost_ends(T0) == 0
    assert ledger.is_mine("t1")


@shared
@pytest.mark.parametrize("is_done", [True, False])
def test_one_that_comes_back_before_it_is_recorded_again_is_left_alone(
    place: LedgerPlace,
    ledger: Ledger,
    is_done: bool,  # noqa: FBT001 - a parameter of the test
) -> None:
    assert isinstance(ledger, MemoryLedger | SqlLedger)
    found = claimed(ledger)
    standby = Standby.of(place, ledger)
    if is_done:
        superseded = TransferState.SUPERSEDED
        assert ledger.finish("t1", found.epoch, superseded, "none", T0, is_intended=False)
    else:
        ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    standby.promote()
    again = ledger._ended["t1"]
    begin(ledger, "new", T1)
    assert again()
    assert ledger.is_mine("t1")
    assert claim(ledger)


@shared
def test_an_end_that_cannot_be_recorded_holds_up_no_other(
    place: LedgerPlace, ledger: Ledger
) -> None:
    assert isinstance(ledger, MemoryLedger | SqlLedger)
    claimed(ledger)
    standby = Standby.of(place, ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    standby.promote()

    def wrong() -> bool:
        raise BackhaulError("E_LEDGER_CORRUPT", "a row was edited")

    ledger._ended["t1"] = wrong
    with pytest.raises(BackhaulError, match="E_LEDGER_CORRUPT"):
        ledger.repeat_lost_ends(T0)
    assert ledger.repeat_lost_ends(T0) == 0


@shared
def test_an_attempt_that_was_begun_since_is_left_alone(place: LedgerPlace, ledger: Ledger) -> None:
    claimed(ledger)
    standby = Standby.of(place, ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    standby.promote()
    begin(ledger, "new", T1)
    assert ledger.repeat_lost_ends(T0) == 0
    assert ledger.is_mine("t1")


@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_a_file_loses_no_end(ledger: Ledger) -> None:
    begin(ledger, "t1", KEY)
    assert claim(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    assert ledger.repeat_lost_ends(T0) == 0


@shared
@pytest.mark.parametrize("end", [TransferState.DEAD, TransferState.WAITING])
def test_one_is_dead_where_only_the_second_try_records_it_and_its_begin_is_lost(
    place: LedgerPlace, ledger: Ledger, end: TransferState
) -> None:
    """The ledger was away when its dead letter was sent, and came back behind."""
    begin(ledger)
    ledger.fail("t1", TransferState.WAITING, "E_X", "it broke", T0)
    standby = Standby.of(place, ledger)
    begin(ledger)
    with unwritable(place, ledger), pytest.raises(OutageError):
        ledger.fail("t1", end, "E_Y", "it cannot be", T0)
    standby.promote()
    ledger.fail("t1", end, "E_Y", "it cannot be", T0)
    # One that waits is left as it is: its message comes again.
    found = begin(ledger)
    is_dead = end is TransferState.DEAD
    assert found.state is (TransferState.DEAD if is_dead else TransferState.RECEIVED)
    assert found.failures == 1 + is_dead
