"""`ledger check` of a database: what others put into it, or changed, is found and named."""

from __future__ import annotations

import json
from contextlib import closing
from datetime import timedelta

import pytest

from backhaul import cli
from backhaul.adapters.ledger import open_ledger
from backhaul.app.ledger_check import LedgerState, check_ledger
from backhaul.core.ports.ledger_place import PostgresUrl
from testbed import PostgreSQL
from tests.contract.test_ledger import T0
from tests.docs.manual import DOCS
from tests.docs.test_schemas import Checker
from tests.ledger_places import statement
from tests.ledgers import bring, bring_dead

pytestmark = pytest.mark.integration
AT = T0 + timedelta(days=3650)  # after the ledger was made: ended ones must be sealed
# Each about a transfer of its own, or a table of its own: statement, kind, transfer, words.
ROWS = (
    ("UPDATE transfers SET finished_at = NULL WHERE id = 't9'", "rows", "t9", "no time of its end"),
    ("UPDATE transfers SET owner = 'edge1:x' WHERE id = 't2'", "rows", "t2", "still owns it"),
    ("UPDATE transfers SET plan_complete = false WHERE id = 't3'", "rows", "t3", "not complete"),
    ("UPDATE journal SET transfer_id = 'g1' WHERE transfer_id = 't4'", "rows", "g1", "in journal"),
    (
        "UPDATE destinations SET owner_transfer = 't5' WHERE uri LIKE '%/t5'",
        "rows",
        "t5",
        "still owns hdfs://",
    ),
    ("UPDATE published SET transfer_id = 'g2' WHERE uri LIKE '%/t6/%'", "rows", "g2", "published"),
    (
        "UPDATE objects SET size_bytes = size_bytes + 1 WHERE transfer_id = 't7'",
        "evidence",
        "t7",
        "differ",
    ),
    ("DELETE FROM seals WHERE transfer_id = 't8'", "evidence", "t8", "no sealing line"),
)
TABLES = (
    ("ALTER TABLE destinations DROP CONSTRAINT no_overlap", "no_overlap"),
    ("DROP INDEX ix_transfers_source", "index ix_transfers_source of transfers is missing"),
    (
        'ALTER TABLE transfers ALTER route TYPE text COLLATE "default"',
        "transfers.route is text with",
    ),
    (
        "ALTER TABLE journal DROP CONSTRAINT journal_transfer_id_fkey",
        "journal lacks foreign keys: 1",
    ),
    ("ALTER TABLE nonces DROP CONSTRAINT nonces_pkey", "nonces has no primary key"),
    ("DROP TABLE budget_warnings", "table budget_warnings is missing"),
    ("ALTER TABLE budget_raises DROP COLUMN reason", "budget_raises.reason is missing"),
    (
        "CREATE RULE mine AS ON DELETE TO seals DO INSTEAD NOTHING",
        "seals has a rule mine",
    ),
)


@pytest.fixture
def url(
    postgresql: PostgreSQL, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> PostgresUrl:
    """A ledger with ten transfers."""
    monkeypatch.setenv("PGPASSFILE", str(postgresql.pass_file))
    found = PostgresUrl(postgresql.url(postgres_database))
    with closing(open_ledger(found, create=True)) as ledger:
        for number in range(9):
            bring(ledger, f"t{number}", AT)
        bring_dead(ledger, "t9", AT)
    return found


def found_in(state: LedgerState) -> set[tuple[str, str]]:
    return {(one.kind, one.transfer_id) for one in state.findings}


def test_a_check_writes_nothing(url: PostgresUrl) -> None:
    """Autovacuum takes numbers, too, now and then; a check that wrote would take one each time."""
    number = "SELECT txid_current()"
    for _ in range(5):
        before = statement(url, number)[0][0]
        assert cli._run(["ledger", "check", "--ledger", str(url)]) == 0
        if statement(url, number)[0][0] == before + 1:  # the statement itself
            return
    raise AssertionError("each of five checks has written something")


def test_a_database_as_it_was_made_is_sound_and_its_document_fits_the_schema(
    url: PostgresUrl, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["ledger", "check", "--ledger", str(url)]
    assert cli._run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    schema = json.loads((DOCS / "schema" / "ledger-check.schema.json").read_text("utf-8"))
    assert Checker(schema).accepts(document)
    assert document["findings"] == []
    assert (document["path"], document["sealed"], document["objects"]) == (str(url), 9, 27)
    assert document["server"].startswith("PostgreSQL ")
    assert document["rows"]["transfers"] == 10
    assert {one["name"] for one in document["tables"]} > {"transfers", "seals"}
    assert cli._run(arguments) == 0
    shown = capsys.readouterr().out
    assert "nothing is wrong" in shown
    assert "UTF8, as backhaul" in shown


def test_every_row_that_others_changed_is_found(
    url: PostgresUrl, postgresql: PostgreSQL, capsys: pytest.CaptureFixture[str]
) -> None:
    database = url.text.rpartition("/")[2]
    for changed, *_ in ROWS:  # the superuser's, as by a restore that leaves foreign keys unchecked
        postgresql.sql(f"SET session_replication_role = replica; {changed}", database=database)
    state = check_ledger(url)
    assert found_in(state) == {(kind, transfer) for _, kind, transfer, _ in ROWS}
    for _, kind, transfer, words in ROWS:
        (finding,) = {one for one in state.findings if one.transfer_id == transfer}
        assert (finding.kind, words in finding.what) == (kind, True), finding
    assert cli._run(["ledger", "check", "--ledger", str(url)]) == 65
    assert f"{len(ROWS)} findings" in capsys.readouterr().out


def test_every_table_that_others_changed_is_found(url: PostgresUrl) -> None:
    for changed, _ in TABLES:
        statement(url, changed)
    state = check_ledger(url)
    assert found_in(state) == {("database", "")}
    lines = [one.what for one in state.findings]
    assert len(lines) == len(TABLES), lines
    for _, words in TABLES:
        assert any(words in line for line in lines), (words, lines)
