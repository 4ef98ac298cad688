"""The operators' journal in the ledger: one line for each act, in the act's own transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from backhaul.adapters.ledger import LedgerReader, OperatorAction, open_ledger, open_reader
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.core.errors import BackhaulError, ConfigurationError, OutageError, PermanentError
from backhaul.core.model import TransferState
from backhaul.core.ports import (
    Act,
    MessageKey,
    Operator,
    OperatorEntry,
    Origin,
    PausedRoute,
    SentAgain,
)
from tests.contract.test_ledger import T0, begin, claim, planned

pytestmark = pytest.mark.slow  # ledgers of thousands of rows

HOUR = timedelta(hours=1)
ALICE = Operator(name="alice@edge1")
BOB = Operator(name="bob", origin=Origin.DASHBOARD)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    with closing(open_ledger(path, create=True)) as opened:
        yield opened


@pytest.fixture
def reader(ledger: SqlLedger, path: Path) -> Iterator[LedgerReader]:
    with closing(open_reader(path)) as opened:
        yield opened


def journal(reader: LedgerReader) -> list[OperatorAction]:
    return list(reader.operator_actions(most=100))


def died(ledger: SqlLedger, transfer_id: str, *, code: str = "E_X", minutes: int = 0) -> None:
    """A dead transfer with two objects of 201 bytes together, and a dead letter."""
    begin(ledger, transfer_id, MessageKey(queue="q", message_id=f"m-{transfer_id}"))
    assert claim(ledger, transfer_id, first=[planned(0), planned(1)], is_complete=True)
    at = T0 + timedelta(minutes=minutes)
    ledger.fail(transfer_id, TransferState.DEAD, code, "why", at, has_dead_letter=True)


def entry(act: Act = Act.LIMIT, subject: str = "off", **other: object) -> OperatorEntry:
    given: dict[str, object] = {"at": T0, "by": ALICE, "act": act, "subject": subject}
    return OperatorEntry(**given | other)  # type: ignore[arg-type]


def test_a_cancelled_transfer_is_a_line_with_its_bytes(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    begin(ledger)
    assert claim(ledger, first=[planned(0), planned(1)], is_complete=True)
    ledger.cancel("t1", T0, BOB)
    (line,) = journal(reader)
    assert (line.action, line.subject, line.outcome) == ("cancel", "t1", "done")
    assert (line.operator, line.origin, line.at) == ("bob", "dashboard", T0)
    assert (line.transfers, line.size_bytes) == (1, 201)


def test_a_refused_cancel_leaves_no_line_of_a_done_act(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    died(ledger, "t1")
    with pytest.raises(PermanentError, match="E_ENDED"):
        ledger.cancel("t1", T0, ALICE)
    assert journal(reader) == []


def test_neither_the_act_nor_its_line_is_kept_without_the_other(
    ledger: SqlLedger, reader: LedgerReader, path: Path
) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "CREATE TRIGGER full BEFORE INSERT ON operator_actions"
            " BEGIN SELECT RAISE(ABORT, 'no room'); END"
        )
    begin(ledger)
    paused = PausedRoute(route="r", since=T0, until=None, operator="a", reason="")
    for act in (
        lambda: ledger.cancel("t1", T0, ALICE),
        lambda: ledger.pause_route(paused, ALICE),
        lambda: ledger.note_act(
            entry(), [SentAgain(dead_letter_id="l", transfer_id="t1", message_id="n")]
        ),
    ):
        with pytest.raises(BackhaulError):
            act()
    assert reader.paused_routes(T0) == []
    assert reader.show("t1").transfer.state is TransferState.RECEIVED
    assert reader.show("t1").transfer.sent_again_as is None


def test_pause_and_resume_are_lines(ledger: SqlLedger, reader: LedgerReader) -> None:
    until = T0 + HOUR
    paused = PausedRoute(route="r", since=T0, until=until, operator=ALICE.name, reason="upgrade")
    ledger.pause_route(paused, ALICE)
    ledger.resume_route("r", T0 + HOUR, BOB)
    assert [(line.action, line.subject, line.operator) for line in journal(reader)] == [
        ("resume", "r", "bob"),
        ("pause", "r until 2026-11-22 13:00:00 UTC: upgrade", "alice@edge1"),
    ]


def test_dead_transfers_name_the_messages_as_which_they_were_sent_again(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    died(ledger, "t1")
    begin(ledger, "t2", MessageKey(queue="q", message_id="m-2"))
    sent = [
        SentAgain(dead_letter_id="l1", transfer_id="t1", message_id="n1"),
        SentAgain(dead_letter_id="l2", transfer_id="t2", message_id="n2"),  # not dead
        SentAgain(dead_letter_id="l3", transfer_id="", message_id="n3"),  # moved by SQS
        SentAgain(dead_letter_id="l4", transfer_id="of another ledger", message_id="n4"),
    ]
    ledger.note_act(entry(Act.RETRY, "q: t1", transfers=4), sent)
    row = reader.show("t1").transfer
    assert (row.sent_again_as, row.sent_again_at) == ("n1", T0)
    assert row.state is TransferState.DEAD
    assert reader.show("t2").transfer.sent_again_as is None
    (line,) = journal(reader)
    assert (line.transfers, line.size_bytes) == (4, 201)


def test_the_journal_is_narrowed_by_time_act_and_person(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    people = ("alice@edge1", "alice@edge2", "alicea@edge1", "al%", "alice")
    for hour, name in enumerate(people):
        act = Act.LIMIT if hour % 2 else Act.REDRIVE
        ledger.note_act(entry(act, str(hour), at=T0 + hour * HOUR, by=Operator(name=name)))

    def subjects(**by: object) -> str:
        found = reader.operator_actions(**{"most": 100, **by})  # type: ignore[arg-type]
        return "".join(one.subject for one in found)

    assert subjects() == "43210"
    assert subjects(most=2) == "43"
    assert subjects(before=3) == "10"
    assert subjects(since=T0 + 3 * HOUR) == "43"
    assert subjects(until=T0 + HOUR) == "0"
    assert subjects(actions=["limit"]) == "31"
    assert subjects(operator="alice") == "410"
    assert subjects(operator="alice@edge2") == "1"
    assert subjects(operator="al%") == "3"


def test_texts_of_a_line_are_short_and_without_secrets(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    ledger.note_act(entry(subject="x" * 5000, outcome="E_X: s3://me:hunter2@b/ " + "y" * 5000))
    (line,) = journal(reader)
    assert (len(line.subject), len(line.outcome)) == (1000, 1000)
    assert "hunter2" not in line.outcome


def test_an_edited_line_is_refused_by_name(
    ledger: SqlLedger, reader: LedgerReader, path: Path
) -> None:
    ledger.note_act(entry())
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE operator_actions SET size_bytes = 'much'")
    with pytest.raises(ConfigurationError, match=r"E_LEDGER_CORRUPT.*size_bytes"):
        reader.operator_actions(most=1)


# ---------------------------------------------------------------- what is known


def test_known_routes_are_those_at_work_those_paused_and_those_of_a_month(
    ledger: SqlLedger, reader: LedgerReader
) -> None:
    assert reader.known_routes(T0) == []
    begin(ledger)
    claim(ledger)
    assert reader.known_routes(T0) == ["clickstream"]
    ledger.fail("t1", TransferState.DEAD, "E_X", "x", T0)
    assert reader.known_routes(T0) == []
    while ledger.sum_activity(most=100):
        pass
    paused = PausedRoute(route="night", since=T0, until=T0, operator="a", reason="")
    ledger.pause_route(paused, ALICE)
    assert reader.known_routes(T0 + 29 * 24 * HOUR) == ["clickstream", "night"]
    assert reader.known_routes(T0 + 31 * 24 * HOUR) == ["night"]


@pytest.mark.parametrize("batch", [1, 2, 3, 100])
def test_open_deaths_come_newest_first_in_batches_without_those_sent_again(
    ledger: SqlLedger, reader: LedgerReader, batch: int
) -> None:
    for name, minutes in {"a": 0, "b": 5, "c": 5, "d": 9, "e": 7}.items():
        died(ledger, name, minutes=minutes)
    begin(ledger, "open", MessageKey(queue="q", message_id="m-open"))
    sent = SentAgain(dead_letter_id="l", transfer_id="e", message_id="n")
    ledger.note_act(entry(Act.RETRY), [sent])
    pages = list(reader.open_deaths(batch=batch))
    assert [one.id for page in pages for one in page] == ["d", "c", "b", "a"]
    since = reader.open_deaths(T0 + timedelta(minutes=6), batch=batch)
    assert [one.id for page in since for one in page] == ["d"]


def test_batches_of_deaths_search_the_index_and_sort_nothing(ledger: SqlLedger, path: Path) -> None:
    from sqlalchemy import event

    for number in range(6):
        died(ledger, f"t{number}", minutes=number)
    with closing(open_reader(path)) as reader:
        seen: list[tuple[str, tuple[object, ...]]] = []

        def note(
            _: object, __: object, statement: str, values: tuple[object, ...], *___: object
        ) -> None:
            seen.append((statement, values))

        event.listen(reader._engine, "before_cursor_execute", note)
        list(reader.open_deaths(batch=2))
    with closing(sqlite3.connect(path)) as connection:
        for statement, values in [one for one in seen if one[0].startswith("SELECT")]:
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            words = " ".join(row[3] for row in plan)
            assert "ix_transfers_dead" in words, words
            assert "USE TEMP B-TREE" not in words, words


def test_a_note_that_may_not_migrate_refuses_an_older_schema(path: Path) -> None:
    open_ledger(path, create=True).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0009'")
    with pytest.raises(ConfigurationError, match="E_LEDGER_OLDER"):
        open_ledger(path, create=False, migrates=False)


def test_a_note_waits_only_so_long_for_the_lock(ledger: SqlLedger, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(OutageError, match="E_LEDGER_LOCKED"):
            open_ledger(path, create=False, busy_timeout_s=0, migrates=False)
