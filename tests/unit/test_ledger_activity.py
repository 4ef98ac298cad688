"""The sums of what ended, as SQLite keeps them: lags, what was copied, faults, and forgetting."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import SqlLedger, agents, open_ledger, open_reader
from backhaul.adapters.ledger.reading import observing
from backhaul.adapters.ledger.reading.observing import ActivityRow
from backhaul.core.agent_report import AgentIdentity, AgentReport, RunningTransfer
from backhaul.core.errors import BackhaulError
from backhaul.core.model import TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.ports import MessageKey, MessageOrigin
from backhaul.testing.fakes import Killed
from tests.contract.test_ledger import SECOND, T0, claim, planned, proof

pytestmark = pytest.mark.slow

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
FIVE_MINUTES = timedelta(minutes=5)
IDENTITY = AgentIdentity(
    id="a",
    host="edge1",
    owner="edge1:boot:1:1",
    version="1",
    queue="q",
    region="us-east-1",
    slots=1,
    started_at=T0,
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    with closing(open_ledger(path, create=True)) as opened:
        yield opened


def read(path: Path, span: timedelta = HOUR) -> list[ActivityRow]:
    with closing(open_reader(path)) as reader:
        return reader.activity(span, T0 - 10_000 * DAY, T0 + 10_000 * DAY)


def done(ledger: SqlLedger, name: str, *, sent_at: datetime | None, at: datetime) -> None:
    key = MessageKey(queue="q", message_id=name)
    origin = MessageOrigin(sender="AID", sent_at=sent_at, traceparent=None, aws_trace_header=None)
    ledger.begin(key, name, "s3://raw/p/", "/landing", T0, origin=origin)
    found = claim(ledger, name, first=[planned(0), planned(1)], is_complete=True)
    assert found is not None
    assert ledger.intend(name, found.epoch, [proof(0), proof(1)], at)
    # The other object was there already.
    manifest = ManifestSum(
        manifest="ab", objects=2, size_bytes=201, bytes_read=100, copied_bytes=100
    )
    assert ledger.finish(name, found.epoch, TransferState.DONE, "tree", at, manifest=manifest)


def dead(ledger: SqlLedger, name: str, at: datetime) -> None:
    ledger.begin(MessageKey(queue="q", message_id=name), name, "", "", at)
    ledger.fail(name, TransferState.DEAD, "E_X", "", at)


def test_sums_in_pieces_are_the_same_as_in_one(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        done(ledger, f"t{number}", sent_at=T0, at=T0 + number * FIVE_MINUTES)
    while ledger.sum_activity(most=100):
        pass
    whole = read(path, FIVE_MINUTES)
    assert len(whole) == 5
    for piece in (1, 2, 5, 6):
        monkeypatch.setattr(observing, "SUMS_AT_ONCE", piece)
        assert read(path, FIVE_MINUTES) == whole


def test_lags_are_summed_with_their_largest(ledger: SqlLedger, path: Path) -> None:
    done(ledger, "t1", sent_at=T0 - 10 * SECOND, at=T0)
    done(ledger, "t2", sent_at=T0 - 30 * SECOND, at=T0)
    done(ledger, "t3", sent_at=T0 + HOUR, at=T0)  # SQS's clock is another one
    done(ledger, "t4", sent_at=None, at=T0)
    ledger.sum_activity(most=100)
    (row,) = read(path)
    assert (row.done, row.lags) == (4, 3)
    assert (row.lag, row.lag_max) == (40 * SECOND, 30 * SECOND)
    done(ledger, "t5", sent_at=T0 - 5 * SECOND, at=T0)
    ledger.sum_activity(most=100)
    (row,) = read(path)
    assert (row.lag, row.lag_max) == (45 * SECOND, 30 * SECOND)


def test_what_was_there_already_is_done_and_not_copied(ledger: SqlLedger, path: Path) -> None:
    done(ledger, "t1", sent_at=None, at=T0)
    ledger.sum_activity(most=100)
    (row,) = read(path)
    assert (row.objects, row.bytes_done, row.bytes_copied) == (2, 201, 100)


def test_spans_begin_at_whole_minutes_and_hours(ledger: SqlLedger, path: Path) -> None:
    dead(ledger, "t1", datetime(2026, 11, 22, 12, 34, 56, tzinfo=UTC))
    ledger.sum_activity(most=100)
    assert [one.begins_at for one in read(path)] == [datetime(2026, 11, 22, 12, tzinfo=UTC)]
    (row,) = read(path, FIVE_MINUTES)
    assert row.begins_at == datetime(2026, 11, 22, 12, 30, tzinfo=UTC)


def test_a_process_killed_in_the_middle_has_counted_nothing(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead(ledger, "t1", T0)

    def killed(*_: Any) -> None:
        raise Killed("here")

    with monkeypatch.context() as patch:
        patch.setattr(agents, "put", killed)
        with pytest.raises(Killed):
            ledger.sum_activity(most=100)
    assert read(path) == []
    ledger.sum_activity(most=100)
    assert [one.dead for one in read(path)] == [1]


def test_a_number_that_someone_edited_is_named(ledger: SqlLedger, path: Path) -> None:
    dead(ledger, "t1", T0)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT OR REPLACE INTO meta VALUES ('activity_summed_to', 'many')")
    with pytest.raises(BackhaulError, match="E_LEDGER_CORRUPT") as caught:
        ledger.sum_activity(most=100)
    assert "activity_summed_to of meta is 'many'" in caught.value.message


def test_a_transfer_that_someone_edited_is_named(ledger: SqlLedger, path: Path) -> None:
    done(ledger, "t1", sent_at=None, at=T0)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE transfers SET bytes_planned = 'much'")
    with pytest.raises(BackhaulError, match="E_LEDGER_CORRUPT"):
        ledger.sum_activity(most=100)


def test_old_sums_are_forgotten_those_of_hours_later(ledger: SqlLedger, path: Path) -> None:
    dead(ledger, "t1", T0)
    dead(ledger, "t2", T0 + 9 * DAY)
    ledger.sum_activity(most=100)
    assert [one.dead for one in read(path, FIVE_MINUTES)] == [1]
    assert [one.dead for one in read(path)] == [1, 1]
    dead(ledger, "t3", T0 + 802 * DAY)
    ledger.sum_activity(most=100)
    assert [one.begins_at.date() for one in read(path)] == [
        (T0 + 9 * DAY).date(),
        (T0 + 802 * DAY).date(),
    ]


def test_a_clock_that_was_wrong_for_a_moment_costs_no_more_than_the_oldest_sums(
    ledger: SqlLedger, path: Path
) -> None:
    for number in range(150):
        dead(ledger, f"t{number}", T0 + number * FIVE_MINUTES)
    ledger.sum_activity(most=10_000)
    dead(ledger, "later", T0 + 3650 * DAY)
    ledger.sum_activity(most=10_000)
    assert sum(one.dead for one in read(path, FIVE_MINUTES)) == 51
    dead(ledger, "now", T0)
    ledger.sum_activity(most=10_000)
    assert sum(one.dead for one in read(path, FIVE_MINUTES)) == 52


def test_a_report_that_someone_edited_is_named(ledger: SqlLedger, path: Path) -> None:
    ledger.beat(IDENTITY, AgentReport(at=T0))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute('UPDATE agents SET report = \'{"at": 5, "holds": 3}\'')
    with (
        closing(open_reader(path)) as reader,
        pytest.raises(BackhaulError, match="E_LEDGER_CORRUPT"),
    ):
        reader.agents()


def test_a_report_of_a_newer_agent_is_read_without_what_is_not_known(
    ledger: SqlLedger, path: Path
) -> None:
    ledger.beat(IDENTITY, AgentReport(at=T0))
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE agents SET report = json_set(report, '$.mood', 'good')")
    with closing(open_reader(path)) as reader:
        (found,) = reader.agents()
    assert found.record.report == AgentReport(at=T0)


@pytest.mark.parametrize(
    "text", ["s3://raw/pwd='", "token: '", "password=\\", "-----BEGIN PRIVATE KEY-----\n", "\ud800"]
)
def test_no_text_of_a_report_makes_it_unreadable(ledger: SqlLedger, path: Path, text: str) -> None:
    """What a secret may look like, hidden together with what follows it, is within one text."""
    running = RunningTransfer(
        transfer_id="t",
        message_id="m",
        route="r",
        source=text,
        destination="/d",
        attempt=1,
        started_at=T0,
    )
    report = AgentReport(at=T0, poll_reason=text, poll_hint="fix it", running=(running,))
    ledger.beat(IDENTITY, report)
    with closing(open_reader(path)) as reader:
        (found,) = reader.agents()
    assert found.record.report.poll_hint == "fix it"
    assert found.record.report.running[0].destination == "/d"


def test_no_secret_is_in_a_report(ledger: SqlLedger, path: Path) -> None:
    reason = "no answer of https://me:hunter2@proxy/: Authorization: Basic c2VjcmV0"
    ledger.beat(IDENTITY, AgentReport(at=T0, poll_reason=reason))
    with closing(sqlite3.connect(path)) as db:
        ((text,),) = db.execute("SELECT report FROM agents").fetchall()
    assert "c2VjcmV0" not in text
    assert "hunter" not in text
