"""What the commands see, beside an agent that writes."""

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from backhaul.adapters.ledger import LedgerReader, Owner, ProofTotals, open_ledger, open_reader
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import ConfigurationError, ExitCode, PermanentError
from backhaul.core.model import TransferState
from backhaul.core.objects import Proof
from backhaul.core.ports import MessageKey
from tests.contract.test_ledger import (
    DAY,
    JOB,
    LANDING,
    SECOND,
    T0,
    begin,
    claim,
    planned,
    proof,
)

pytestmark = pytest.mark.slow  # ledgers of many rows

HOUR = timedelta(hours=1)
A_FILE = DAY.join(planned(2).relative)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    found = open_ledger(path, create=True, owner=Owner.current("edge1"))
    yield found
    found.close()


@pytest.fixture
def reader(ledger: SqlLedger, path: Path) -> Iterator[LedgerReader]:
    found = open_reader(path)
    yield found
    found.close()


@pytest.fixture
def done(ledger: SqlLedger) -> str:
    """A finished transfer of 25 objects, two of them adopted, after one failed attempt."""
    begin(ledger, "abc1")
    ledger.fail("abc1", TransferState.WAITING, "E_X", "it broke", T0 + SECOND)
    begin(ledger)
    objects = [planned(seq) for seq in range(25)]
    found = claim(ledger, "abc1", first=objects, is_complete=True, markers=4)
    assert found is not None
    staged = [proof(seq, proof=Proof.ADOPTED if seq < 2 else Proof.STREAM) for seq in range(24)]
    ledger.intend("abc1", found.epoch, staged, T0 + 2 * SECOND)
    ledger.finish("abc1", found.epoch, TransferState.DONE, "tree", T0 + 4 * SECOND)
    return "abc1"


def test_history_shows_the_newest_first(ledger: SqlLedger, reader: LedgerReader) -> None:
    for number in range(3):
        ledger.begin(None, f"t{number}", "s", "d", T0 + number * SECOND)
    ledger.fail("t0", TransferState.DEAD, "E_X", "it broke", T0 + 9 * SECOND)
    assert [row.id for row in reader.history()] == ["t2", "t1", "t0"]
    assert [row.id for row in reader.history(limit=1)] == ["t2"]
    assert [row.id for row in reader.history(states=[TransferState.DEAD])] == ["t0"]
    assert [row.id for row in reader.history(since=T0 + 2 * SECOND)] == ["t2", "t0"]
    assert reader.history(states=[TransferState.DONE]) == []


def test_row_has_how_the_transfer_went(reader: LedgerReader, done: str) -> None:
    row = reader.show(done).transfer
    assert (row.state, row.attempt, row.failures, row.epoch) == (TransferState.DONE, 2, 1, 1)
    assert (row.queue, row.message_id, row.route) == ("work", "m-1", "clickstream")
    assert (row.canonical, row.directory, row.publish_mode) == (DAY, DAY, "tree")
    assert (row.objects_planned, row.bytes_planned, row.markers) == (25, 2800, 4)
    adopted_and_unproven = sum(planned(seq).pin.size_bytes for seq in (0, 1, 24))
    assert row.copied_bytes == 2800 - adopted_and_unproven
    assert reader.history()[0] == row
    assert (row.first_seen_at, row.started_at) == (T0, T0 + SECOND)
    assert (row.finished_at, row.duration) == (T0 + 4 * SECOND, timedelta(seconds=3))
    assert (row.owner, row.code, row.reason) == (None, None, None)


EDITS = [
    "UPDATE objects SET proof = 'certain' WHERE seq = 0",
    "UPDATE objects SET crc32c = NULL WHERE seq = 0",
    "UPDATE objects SET etag = X'ff' WHERE seq = 0",
    "UPDATE objects SET size_bytes = 'many' WHERE seq = 0",
    "UPDATE objects SET proven_at = 9e18 WHERE seq = 0",
    "UPDATE objects SET note = CAST(X'ff' AS TEXT) WHERE seq = 0",
    "UPDATE transfers SET state = 'perhaps'",
    "UPDATE transfers SET finished_at = 'now'",
]


@pytest.mark.parametrize("edit", EDITS)
def test_a_row_edited_to_what_backhaul_never_writes_is_named(
    reader: LedgerReader, done: str, path: Path, edit: str
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(edit)
        connection.commit()
    with pytest.raises(ConfigurationError) as caught:
        reader.show(done)
    assert caught.value.code == "E_LEDGER_CORRUPT"
    assert caught.value.exit_code is ExitCode.CONFIGURATION
    if "objects" in edit:
        with pytest.raises(ConfigurationError):
            list(reader.objects(done))


BLOBS = [
    ("UPDATE transfers SET id = X'ff00'", lambda reader: reader.ended_with_files()),
    ("UPDATE meta SET value = '4611686018427387904'", lambda reader: list(reader.unsealed())),
    (
        "UPDATE transfers SET id = X'ff00'; UPDATE published SET transfer_id = X'ff00'",
        lambda reader: reader.publishers([A_FILE]),
    ),
]


@pytest.mark.parametrize(("edit", "read"), BLOBS)
def test_an_id_that_is_no_text_is_named(
    reader: LedgerReader,
    done: str,
    path: Path,
    edit: str,
    read: Callable[[LedgerReader], object],
) -> None:
    assert reader.publishers([A_FILE]) == {A_FILE: done}
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(edit)
    with pytest.raises(ConfigurationError, match="E_LEDGER_CORRUPT"):
        read(reader)


def test_journal_has_a_line_for_every_change(reader: LedgerReader, done: str) -> None:
    lines = [(line.state.value, line.attempt, line.code) for line in reader.show(done).journal]
    assert lines == [
        ("received", 1, None),
        ("waiting", 1, "E_X"),
        ("received", 2, None),
        ("staging", 2, None),
        ("publishing", 2, None),
        ("done", 2, None),
    ]


def test_proofs_are_summed_up(reader: LedgerReader, done: str) -> None:
    assert set(reader.show(done).proofs) == {
        ProofTotals(proof=None, objects=1, size_bytes=124),
        ProofTotals(proof=Proof.ADOPTED, objects=2, size_bytes=201),
        ProofTotals(proof=Proof.STREAM, objects=22, size_bytes=2475),
    }


def test_evidence_names_source_target_and_proof(reader: LedgerReader, done: str) -> None:
    assert [row.planned.seq for row in reader.show(done).first_objects] == list(range(20))
    rows = list(reader.objects(done, batch=10))
    assert [row.planned for row in rows] == [planned(seq) for seq in range(25)]
    assert (rows[3].staged, rows[3].epoch) == (proof(3), 1)
    assert rows[3].target == DAY.join("part-00003.parquet")
    assert (rows[24].staged, rows[24].epoch) == (None, None)


def test_transfer_without_a_claim_is_shown(ledger: SqlLedger, reader: LedgerReader) -> None:
    begin(ledger)
    details = reader.show("t1")
    assert details.transfer.owner == ledger.owner.text
    assert (details.transfer.canonical, details.proofs, details.first_objects) == (None, (), ())


def test_id_may_be_shortened_while_it_is_clear(ledger: SqlLedger, reader: LedgerReader) -> None:
    for transfer_id in ("ab", "abc", "b%1"):
        begin(ledger, transfer_id, None)
    assert reader.show("b").transfer.id == "b%1"
    assert reader.show("b%").transfer.id == "b%1"
    assert reader.show("abc").transfer.id == "abc"
    assert reader.show("ab").transfer.id == "ab"  # exact wins


@pytest.mark.parametrize("prefix", ["a", "x", "%", "", "AB"])
def test_unknown_or_unclear_id_is_refused(
    ledger: SqlLedger, reader: LedgerReader, prefix: str
) -> None:
    for transfer_id in ("ab", "abc"):
        begin(ledger, transfer_id, None)
    for read in (reader.show, lambda prefix: list(reader.objects(prefix))):
        with pytest.raises(PermanentError, match="E_NO_SUCH_TRANSFER") as caught:
            read(prefix)
        assert caught.value.exit_code is ExitCode.BAD_INPUT


def test_reader_sees_each_commit_and_never_holds_up_the_writer(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    begin(ledger)
    claim(ledger, first=[planned(seq) for seq in range(4)], is_complete=True)
    evidence = reader.objects("t1", batch=1)
    assert next(evidence).staged is None
    ledger.record_staged("t1", [proof(1)])  # would wait 30 s for an open reading
    assert next(evidence).staged == proof(1)


def test_reader_cannot_write(reader: LedgerReader) -> None:
    with reader._engine.begin() as connection, pytest.raises(Exception, match="readonly"):
        connection.exec_driver_sql("DELETE FROM transfers")


def test_reader_rolls_back_what_a_killed_writer_left(ledger: SqlLedger, path: Path) -> None:
    begin(ledger)
    ledger.close()
    killed = sqlite3.connect(path, isolation_level=None)
    killed.execute("PRAGMA cache_size=1")  # spills the open transaction into the file
    killed.execute("BEGIN IMMEDIATE")
    killed.execute("UPDATE transfers SET state = 'done'")
    killed.executemany(
        "INSERT INTO journal (transfer_id, at, state, attempt, reason) VALUES ('t1', 0, 'x', 0, ?)",
        [("x" * 3000,)] * 200,
    )
    copy = path.with_name("copy")
    shutil.copy(path, copy)
    shutil.copy(f"{path}-journal", f"{copy}-journal")
    killed.close()
    reader = open_reader(copy)
    assert [row.state for row in reader.history()] == [TransferState.RECEIVED]
    assert len(reader.show("t1").journal) == 1
    reader.close()


def test_times_come_back_aware_and_exact(ledger: SqlLedger, reader: LedgerReader) -> None:
    local = T0.astimezone(timezone(timedelta(hours=5, minutes=45)))
    ledger.begin(None, "t1", "s", "d", local)
    seen = reader.show("t1").transfer.first_seen_at
    assert seen == T0
    assert seen.utcoffset() == timedelta(0)


# ---------------------------------------------------------------- for metrics


def finish_one(ledger: SqlLedger, number: int, at: datetime) -> None:
    """A transfer of one object that ends then."""
    transfer_id, place = f"x{number}", LANDING.join(f"day={number}")
    begin(ledger, transfer_id, MessageKey(queue="work", message_id=transfer_id))
    found = claim(ledger, transfer_id, place, first=[planned(0)], is_complete=True)
    assert found is not None
    ledger.intend(transfer_id, found.epoch, [proof(0)], at)
    ledger.finish(transfer_id, found.epoch, TransferState.DONE, "tree", at)


def test_the_mean_of_a_transfer_and_the_last_success_are_of_the_sums(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    assert reader.mean_bytes(T0 - HOUR) is None
    assert reader.last_done(T0 - HOUR) == {}
    finish_one(ledger, 1, T0)
    finish_one(ledger, 2, T0 + 3 * HOUR)
    begin(ledger, "dead", MessageKey(queue="work", message_id="dead"))
    ledger.fail("dead", TransferState.DEAD, "E_X", "it broke", T0 + 5 * HOUR)
    ledger.sum_activity(most=100)
    size_bytes = planned(0).pin.size_bytes
    assert reader.mean_bytes(T0 - HOUR) == size_bytes
    begun_at = (T0 + 3 * HOUR).replace(minute=0, second=0, microsecond=0)
    assert reader.last_done(T0 - HOUR) == {JOB.route: begun_at}
    assert reader.mean_bytes(T0 + 6 * HOUR) is None
    assert reader.last_done(T0 + 6 * HOUR) == {}
