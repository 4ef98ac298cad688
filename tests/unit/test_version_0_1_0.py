"""What version 0.1.0 wrote is read by this one, and nothing of it is lost.

The samples in `tests/data/v0.1.0` were written by that version: a ledger at each of its schema
versions, a manifest beside the data and as `show --evidence` printed it, a configuration with every
setting, and a dead letter as SQS returns it.
"""

from __future__ import annotations

import json
import sqlite3
import tomllib
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.aws.sqs_answer import read_messages
from backhaul.adapters.ledger import (
    LedgerReader,
    Owner,
    SqlLedger,
    open_ledger,
    open_reader,
)
from backhaul.adapters.ledger.dialects.migrate import HEAD, REVISIONS
from backhaul.app import letters
from backhaul.core.errors import ConfigurationError
from backhaul.core.model import Location, SignatureRule, TransferState
from backhaul.core.objects import Proof
from backhaul.core.ports import Message, MessageKey
from backhaul.core.requests.signature import ATTRIBUTE, TICKET, verify, verify_ticket
from backhaul.core.transfer.evidence import Manifest, broken_links, files, object_line
from backhaul.settings.load import load_settings
from backhaul.settings.routes import make_routes
from backhaul.settings.sizes import parse_size

pytestmark = pytest.mark.slow  # each row migrates a ledger

SAMPLES = Path(__file__).parents[1] / "data" / "v0.1.0"
QUEUE = "arn:aws:sqs:us-east-1:000000000000:work"
KEY = b"an-old-key-of-the-route-32-bytes"
NOW = datetime(2026, 11, 23, tzinfo=UTC)
DONE, DEAD = "20261122T120001Z-ab540001", "20261122T120003Z-ab540003"
# The transfers of the sample, as their messages find them at the next delivery.
STATES = {
    1: TransferState.DONE,
    2: TransferState.SUPERSEDED,
    3: TransferState.DEAD,
    4: TransferState.RECEIVED,  # was waiting
    5: TransferState.RECEIVED,  # was held
    6: TransferState.RECEIVED,  # was publishing; its process is gone
}
# Staging roots that 0004 adds: those recorded for destinations without a finished claim.
ROOTS_ADDED = {"litter": 4}
# Sums that 0009 makes of the three transfers that have ended: of five minutes, and of an hour.
SUMS_ADDED = {"activity": 2}
SEALED_FROM = "0003"
COLUMNS_CHANGED = {"proof", "asked", "target_algorithm", "target_checksum"}  # by 0003, see there


def message(number: int) -> MessageKey:
    message_id = f"5d9a1c0e-0000-4000-8000-{number:012d}"
    return MessageKey(queue=QUEUE, message_id=message_id, body_digest=f"{number:02x}" * 32)


@pytest.fixture(params=[one for one in REVISIONS if one <= "0008"])  # the last of 0.1.0
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def path(tmp_path: Path, revision: str) -> Path:
    """The ledger of version 0.1.0 at this schema version."""
    path = tmp_path / "ledger.db"
    path.touch(mode=0o600)
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript((SAMPLES / f"ledger-{revision}.sql").read_text(encoding="utf-8"))
    return path


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    with closing(open_ledger(path, create=False, owner=Owner.current("edge1"))) as opened:
        yield opened


@pytest.fixture
def reader(ledger: SqlLedger, path: Path) -> Iterator[LedgerReader]:
    with closing(open_reader(path)) as opened:
        yield opened


def rows_of(path: Path) -> dict[str, list[dict[str, Any]]]:
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        names = connection.execute(
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%'"
        )
        return {
            name: [dict(row) for row in connection.execute(f"SELECT * FROM {name}")]  # noqa: S608
            for (name,) in names.fetchall()
            if name not in {"alembic_version", "meta"}
        }


def test_every_row_is_there_after_the_migration_with_what_it_had(path: Path, revision: str) -> None:
    before = rows_of(path)
    open_ledger(path, create=False).close()
    after = rows_of(path)
    added = SUMS_ADDED | (ROOTS_ADDED if revision < "0004" else {})
    assert {name: len(rows) for name, rows in after.items() if rows} == {
        **{name: len(rows) for name, rows in before.items()},
        **added,
    }
    for name, rows in before.items():
        for old, new in zip(rows, after[name], strict=True):
            kept = {column: new[column] for column in old if column not in COLUMNS_CHANGED}
            assert kept == {column: old[column] for column in kept}, name


def test_what_ended_before_is_summed_up_once(path: Path, ledger: SqlLedger) -> None:
    """And what ends from now on is added to it."""
    assert not ledger.sum_activity(most=10_000)
    ended = NOW - timedelta(days=1)
    with closing(open_reader(path)) as reader:
        for span in (timedelta(minutes=5), timedelta(hours=1)):
            (before,) = reader.activity(span, ended, NOW)
            assert before.route == "clickstream"
            assert (before.done, before.dead, before.failed) == (2, 1, 0)
            assert (before.objects, before.lags) == (3, 0)
    ledger.begin(message(9), "new", "s", "d", NOW)
    ledger.fail("new", TransferState.DEAD, "E_X", "", NOW)
    ledger.sum_activity(most=10_000)
    with closing(open_reader(path)) as reader:
        rows = reader.activity(timedelta(hours=1), ended, NOW + timedelta(hours=1))
    assert [(one.done, one.dead) for one in rows] == [(2, 1), (0, 1)]


def test_an_old_ledger_has_the_indexes_that_readers_need(path: Path, ledger: SqlLedger) -> None:
    with closing(sqlite3.connect(path)) as connection:
        plans = {
            index: str(connection.execute(f"EXPLAIN QUERY PLAN {query}").fetchall())
            for index, query in {
                "ix_transfers_open": "SELECT id FROM transfers WHERE finished_at IS NULL "
                "ORDER BY first_seen_at LIMIT 5",
                "ix_transfers_dead": "SELECT id FROM transfers WHERE state = 'dead' AND "
                "finished_at >= 5 ORDER BY finished_at DESC LIMIT 5",
                "ix_transfers_canonical": "SELECT id FROM transfers WHERE canonical = 'a' "
                "ORDER BY id DESC LIMIT 5",
                "ix_transfers_refused": "SELECT id FROM transfers WHERE destination = 'a' "
                "AND state = 'dead' AND canonical IS NULL ORDER BY id DESC LIMIT 5",
                "ix_transfers_source": "SELECT id FROM transfers WHERE source = 'a' "
                "ORDER BY id DESC LIMIT 5",
            }.items()
        }
    assert {index: index in plan for index, plan in plans.items()} == dict.fromkeys(plans, True)


def test_a_reader_refuses_it_until_it_is_migrated(path: Path, revision: str) -> None:
    if revision == HEAD:
        open_reader(path).close()
        return
    with pytest.raises(ConfigurationError, match="E_LEDGER_OLDER") as caught:
        open_reader(path)
    assert f"has schema {revision}" in caught.value.message
    assert "start the agent of this version once" in caught.value.hint


def test_each_message_finds_its_transfer(ledger: SqlLedger) -> None:
    begun = {number: ledger.begin(message(number), "new", "s", "d", NOW) for number in STATES}
    assert {number: one.state for number, one in begun.items()} == STATES
    assert [number for number, one in begun.items() if one.was_publishing] == [6]
    assert [number for number, one in begun.items() if one.has_plan] == list(STATES)
    assert not any(one.was_changed or one.is_live for one in begun.values())


def test_what_the_last_attempt_proved_and_may_have_renamed_is_known(ledger: SqlLedger) -> None:
    six = ledger.begin(message(6), "new", "s", "d", NOW)
    proofs = [proof for page in ledger.staged(six.transfer_id) for _, proof in page]
    assert [proof.size_bytes for proof in proofs] == [100, 101]
    assert ledger.staging_of(six.transfer_id) is not None
    other = ledger.begin(None, "other", "s", "d", NOW).transfer_id
    paths = [one for one in (six.directory,) if one is not None]
    names = [paths[0].join(f"part-0000{number}.parquet") for number in (0, 1)]
    assert [one.location for one in ledger.rivals(other, names)] == names


def test_staging_that_it_may_have_left_is_swept(ledger: SqlLedger, revision: str) -> None:
    found = ledger.abandoned_staging(NOW, age=timedelta(0), most=100)
    # An application may fill the one of the transfer whose job is open.
    assert len(found) == (6 if revision < "0005" else 5) - (2 if revision < "0004" else 0)


def test_the_evidence_is_whole(reader: LedgerReader, revision: str) -> None:
    """What `backhaul verify` compares in the ledger itself."""
    ended = reader.ended_with_files()
    assert ended == [DONE, "20261122T120002Z-ab540002"]
    assert broken_links(reader.chain()) == []
    assert list(reader.unsealed()) == []
    if revision >= SEALED_FROM:
        for transfer_id in ended:
            sealed = reader.sealed(transfer_id)
            assert sealed is not None
            assert json.loads(sealed.line)["manifest"] == manifest(reader, transfer_id)


def manifest(reader: LedgerReader, transfer_id: str) -> str:
    summed = Manifest()
    for line in lines(reader, transfer_id):
        summed.add(line)
    return summed.sum.manifest


def lines(reader: LedgerReader, transfer_id: str) -> list[dict[str, Any]]:
    return [
        object_line(transfer_id, one.planned, one.staged, one.target)
        for one in reader.objects(transfer_id)
    ]


def test_proofs_of_the_first_schema_versions_have_todays_names(
    reader: LedgerReader, revision: str
) -> None:
    staged = [one.staged for one in reader.objects(DONE)]
    proofs = [one.proof for one in staged if one is not None]
    first = Proof.DIRECT if revision >= SEALED_FROM else Proof.REREAD
    assert proofs == [first, Proof.REREAD]
    assert all(one is not None and one.target_checksum is not None for one in staged)


def test_files_beside_the_data_are_those_that_would_be_written_today(
    reader: LedgerReader, revision: str
) -> None:
    """So `backhaul verify` accepts them."""
    if revision < SEALED_FROM:
        return  # there was no manifest yet
    ((_, content),) = files(DONE, lines(reader, DONE))
    assert content == (SAMPLES / "evidence.jsonl").read_bytes()
    sealed = reader.sealed(DONE)
    assert sealed is not None
    shown = (SAMPLES / "evidence-shown.jsonl").read_bytes()
    assert shown == content + sealed.line.encode() + b"\n"


def test_what_was_published_and_which_event_brought_it_are_known(
    ledger: SqlLedger, revision: str
) -> None:
    day = Location(scheme="hdfs", authority="ns1", path="/landing/day=01")
    paths = [day.join(f"part-0000{number}.parquet") for number in (0, 1)]
    assert {one.transfer_id for one in ledger.published(paths).values()} == {DONE}
    sequencer = ledger.published_sequencer(day, "raw", "click/day=01/_SUCCESS")
    assert sequencer == (None if revision < "0002" else "0055AED6DCD90281E5")


# ---------------------------------------------------------------- the dead letter


def dead_letter() -> Message:
    raw = json.loads((SAMPLES / "dead-letter.json").read_text(encoding="utf-8"))
    (found,), flaws = read_messages({"Messages": [raw]}, f"{QUEUE}-dead", 0.0)
    assert flaws == []
    return found


def test_a_dead_letter_is_shown_in_full() -> None:
    shown = letters.details_of(dead_letter())
    assert (shown.code, shown.attempts, shown.transfer_id) == ("E_SRC_GONE", 1, DEAD)
    assert (shown.host, shown.first_seen) == ("edge1", "2026-11-22T12:00:03+00:00")
    assert shown.reason == "day=03/part-00000.parquet: the object is gone"
    assert shown.hint == "send a new request"
    assert shown.body == "s3://raw/click/day=03/ /landing/day=03"


def test_a_dead_letter_comes_back_with_its_ticket_once(ledger: SqlLedger, revision: str) -> None:
    letter = dead_letter()
    rule = SignatureRule(keys=(KEY,), max_age_s=86_400)
    value = letter.attributes[ATTRIBUTE]
    ticket = verify_ticket(
        rule, letter.attributes[TICKET], value=value, body=letter.body, queue=QUEUE
    )
    assert ticket.transfer_id == DEAD
    signed = verify(rule, value, body=letter.body, queue=QUEUE, sent_at=ticket.sent_at)
    until = NOW + timedelta(days=14)
    if revision >= "0002":
        copied = MessageKey(queue=QUEUE, message_id="copied")
        assert not ledger.claim_nonce(signed.nonce, copied, until, NOW)
    back = MessageKey(queue=QUEUE, message_id="redriven")
    assert ledger.claim_nonce(signed.nonce, back, until, NOW, redriven_from=ticket.transfer_id)


# ---------------------------------------------------------------- the configuration


def test_every_setting_has_the_value_that_it_had(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNING_KEY", KEY.decode())
    path = SAMPLES / "backhaul.toml"
    settings = load_settings(path)
    with path.open("rb") as file:
        written = tomllib.load(file)
    assert_same(written, settings.model_dump(mode="json"), "")
    clicks, orders = make_routes(settings, path, "hdfs://ns1")
    assert clicks.signature is not None
    assert clicks.signature.keys == (KEY,)
    assert orders.steps[0].cluster == "j-1ABCDEF"


def assert_same(written: Any, read: Any, where: str) -> None:
    """Equal, but for sizes and rates, which are read as bytes."""
    if isinstance(written, dict):
        for name, value in written.items():
            assert_same(value, read[name], f"{where}.{name}")
    elif isinstance(written, list) and written and isinstance(written[0], dict):
        for one, other in zip(written, read, strict=True):
            assert_same(one, other, where)
    elif isinstance(written, str) and isinstance(read, int):
        assert parse_size(written.removesuffix("/s")) == read, where
    else:
        assert written == read, where
