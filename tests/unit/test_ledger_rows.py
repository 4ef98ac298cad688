"""Values that another program wrote into a row: the ledger refuses them, and no bug is reported."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import Owner, open_ledger, open_reader
from backhaul.adapters.ledger.reconciling.results import SentObject
from backhaul.adapters.ledger.schema import metadata
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.app.cost import costs_of
from backhaul.app.records import details_as_json, row_as_json
from backhaul.core.agent_report import AgentIdentity, AgentReport
from backhaul.core.cost.prices import INTERNET
from backhaul.core.errors import BackhaulError, ConfigurationError, ExitCode
from backhaul.core.model import TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.outlook.expectation import (
    ArrivalQuery,
    Arrived,
    ExpectationRecord,
    ExpectationState,
    Wanted,
)
from backhaul.core.ports import Operator
from backhaul.core.reconciliation.values import ReconcileResult
from backhaul.core.replies.reply import ReplyWish
from backhaul.core.transfer.evidence import object_line
from tests.contract.test_ledger import DAY, KEY, T0, begin, claim, finished, planned, proof
from tests.contract.test_ledger_budgets import BUDGET, ENTRY, MONTH, RAISE

pytestmark = pytest.mark.slow

OUT = ReplyWish(target="out")
MARKER = DAY.join("_SUCCESS")
SECOND, DAY_LONG = timedelta(seconds=1), timedelta(days=1)
JUNK: dict[str, Any] = {
    "text": "many",
    "blob": b"\xff\xfe",
    "negative": -7,
    "huge": 9e18,
    "null": None,
    "dots": "../../etc/passwd",
}
SUM = ManifestSum(manifest="0" * 64, objects=0, size_bytes=0, bytes_read=0)
# Only compared by SQL, or read by `show` alone: a wrong value is one that is not found.
HARMLESS = {
    *(("nonces", name) for name in ("nonce", "queue", "message_id", "keep_until")),
    ("published", "uri"),
    *(("seals", name) for name in ("number", "transfer_id", "line")),
    *(("sequencers", name) for name in ("uri", "bucket", "key", "transfer_id")),
    *(("transfers", "id"), ("objects", "transfer_id"), ("replies", "state")),
    *(("completion_markers", name) for name in ("uri", "published_at")),
    *(("budget_warnings", name) for name in ("route", "per", "unit", "period")),
    *(("jobs", name) for name in ("tag", "state", "reason", "tracking_url", "maps_done", "maps")),
    *(("jobs", name) for name in ("counters", "opened_at", "updated_at", "closed_at")),
}
# The agent writes these and never reads them, but for sums over the journal that judge nothing.
READ_BY_COMMANDS = {
    *("journal", "agents", "activity", "operator_actions", "expectations"),
    *("reconcile_sent", "reconciliations", "egress", "endings", "members"),
    *("route_starts", "rate_shares", "byte_rates"),  # of several agents alone, who have no file
}
PACKED = DAY.parent.join("packed")  # what was published there is in a block
DUE = ExpectationRecord(
    route="clickstream",
    name="daily",
    deadline=T0,
    due="2026-11-01 03:00 UTC",
    place=DAY.uri,
    state=ExpectationState.DUE,
    wanted=Wanted(objects=1),
    found=Arrived(),
)
SENT = SentObject(
    uri=DAY.uri, route="clickstream", bucket="raw", key="k", etag="e", queue="arn", sent_at=T0
)
IDENTITY = AgentIdentity(
    id="a" * 32,
    host="edge1",
    owner="edge1:b:1:2",
    version="1",
    queue="work",
    region="us-east-1",
    slots=4,
    started_at=T0,
)
COLUMNS = [
    (table.name, column.name)
    for table in metadata.sorted_tables
    for column in table.columns
    if table.name not in READ_BY_COMMANDS
]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One transfer that ended, one under way with proofs, one that may have published."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    ledger = open_ledger(path, create=True)
    finished(ledger, "packed", planned(0), destination=PACKED)
    ledger.pack_paths(T0 + 3650 * DAY_LONG, most=10)
    finished(ledger, "ended", planned(0), planned(1))
    ledger.begin(KEY, "t1", "raw/click/day=01/", "/landing/day=01", T0, replies=[OUT])
    claim(ledger, "t1", first=[planned(0), planned(1)], is_complete=True)
    ledger.record_staged("t1", [proof(0)])
    ledger.open_job("t1", 2, "tag", T0)
    ledger.claim_nonce("nonce", KEY, T0 + SECOND, T0)
    ledger.begin(None, "told", "s", "d", T0, route="clickstream", replies=[OUT])
    ledger.fail("told", TransferState.DEAD, "E_X", "it broke", T0)
    ledger.note_budget_warning(BUDGET, MONTH, T0)
    ledger.raise_budget(RAISE, ENTRY)
    begin(ledger, "t2", None)
    other = DAY.parent.join("other")
    claim(ledger, "t2", other, first=[planned(0)], is_complete=True)
    ledger.record_staged("t2", [proof(0)])
    ledger.intend("t2", 1, [], T0)
    ledger.beat(IDENTITY, AgentReport(at=T0))
    ledger.sum_activity(most=500)
    ledger.note_expectation(DUE)
    ledger.reserve_sends([SENT], T0, looked_at=T0)
    ledger.note_reconciled(
        ReconcileResult(route=SENT.route, started_at=T0, finished_at=T0, totals={"same": (1, 2)})
    )
    ledger.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        # The process that worked on them is gone.
        gone = replace(Owner.current(), boot_id="earlier").text
        for table in ("transfers", "destinations"):
            connection.execute(f"UPDATE {table} SET owner = ? WHERE owner IS NOT NULL", [gone])  # noqa: S608
        connection.execute("INSERT INTO seals VALUES (1, 'ended', '{}', ?)", ("0" * 64,))
        connection.execute("INSERT INTO paused_routes VALUES ('r', 0, 9000000000000000, 'a@b', '')")
        connection.execute(
            "INSERT INTO sequencers VALUES (?, 'raw', 'k', '01', 'ended')", (DAY.uri,)
        )
        connection.execute(
            "INSERT INTO members VALUES ('m', 'agent', 'h', 'p', '1', 1, 1, 1, 1, 1, '')"
        )
        connection.execute("INSERT INTO completion_markers VALUES (?, 'ended', 0)", (MARKER.uri,))
    return path


def fresh(template: Path, path: Path) -> None:
    """A copy as a new file: an error's traceback may still have the last one open."""
    path.unlink(missing_ok=True)
    path.with_name(f"{path.name}-journal").unlink(missing_ok=True)
    shutil.copy(template, path)


def edit(path: Path, table: str, column: str, junk: str) -> bool:
    """False where SQLite's own constraints refuse it."""
    with closing(sqlite3.connect(path)) as connection:
        try:
            with connection:
                statement = f'UPDATE OR IGNORE {table} SET "{column}" = ?'  # noqa: S608
                connection.execute(statement, [JUNK[junk]])
        except sqlite3.IntegrityError:
            return False
    return True


def an_attempt(ledger: SqlLedger) -> Iterator[Callable[[], object]]:
    """The calls of an agent, one after the other; each may be refused."""
    where = [DAY.join(planned(seq).relative) for seq in range(2)]
    where.append(PACKED.join(planned(0).relative))
    yield lambda: ledger.report_holds(T0)
    yield lambda: ledger.due_reply_targets(T0)
    yield lambda: ledger.due_replies(OUT.target, T0, most=10)
    yield lambda: ledger.begin(KEY, "fresh", "s", "d", T0)
    yield lambda: claim(ledger, "t1", first=[planned(0), planned(1)], is_complete=True)
    yield lambda: ledger.freeze("t1", [planned(2)], is_complete=True, markers=0)
    yield lambda: ledger.planned_totals("t1")
    yield lambda: list(ledger.plan("t1"))
    yield lambda: list(ledger.plan("t1", only_unstaged=True))
    yield lambda: list(ledger.earlier_proofs("t1"))
    yield lambda: ledger.record_staged("t1", [proof(0), proof(1)])
    yield lambda: list(ledger.staged("t1"))
    yield lambda: ledger.published(where)
    yield lambda: ledger.rivals("t1", [DAY.parent.join("other").join(planned(0).relative)])
    yield lambda: ledger.note_published("t1")
    yield lambda: ledger.published_sequencer(DAY, "raw", "k")
    yield lambda: ledger.claim_nonce("nonce", KEY, T0, T0 - SECOND)
    yield lambda: ledger.jobs("t1")
    yield lambda: ledger.is_mine("t1")
    yield lambda: ledger.staging_of("t1")
    yield lambda: ledger.abandoned_staging(T0 + SECOND * 3600, age=SECOND, most=10)
    yield ledger.interrupted_copies
    yield lambda: ledger.abandon("t2", T0)
    yield lambda: ledger.intend("t1", 3, [], T0)
    yield lambda: ledger.finish("t1", 3, TransferState.DONE, "tree", T0, manifest=SUM)
    yield lambda: ledger.fail("t1", TransferState.WAITING, "E_X", "x", T0)
    yield lambda: ledger.forget_plan("t1")
    yield lambda: ledger.cancel("t2", T0, Operator(name="alice@edge1"))
    yield lambda: ledger.paused_routes(T0)
    yield lambda: ledger.budget_raises(MONTH)
    yield lambda: ledger.note_budget_warning(BUDGET, MONTH, T0)
    yield lambda: ledger.marker_at(MARKER)
    yield lambda: ledger.sum_activity(most=500)
    yield lambda: ledger.beat(IDENTITY, AgentReport(at=T0))


def error_of(work: Callable[[], object]) -> BackhaulError | None:
    """What it is refused with; any error that is not Backhaul's escapes."""
    try:
        work()
    except BackhaulError as error:
        return error
    return None


@pytest.fixture
def path() -> Iterator[Path]:
    """In memory where there is some: these tests commit a thousand times."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as made:
        yield Path(made) / "ledger.db"


def errors_of_all(path: Path) -> Iterator[BackhaulError]:
    """Of the opening, and of each step of an attempt."""
    try:
        ledger = open_ledger(path, create=False)
    except ConfigurationError as error:
        yield error
        return
    with closing(ledger):
        yield from filter(None, map(error_of, an_attempt(ledger)))


def test_an_attempt_on_an_unedited_ledger_is_not_refused(template: Path, path: Path) -> None:
    fresh(template, path)
    codes = {error.code for error in errors_of_all(path)}
    assert codes == {"E_ENDED", "E_TAKEN_OVER"}, "of what is done to a transfer after its end"


def as_shown(path: Path) -> None:
    """Everything that `history`, `show` and `show --evidence` print, as JSON."""
    with closing(open_reader(path)) as reader:
        costs = costs_of(reader, INTERNET)
        for row in reader.history():
            json.dumps([row_as_json(row), details_as_json(reader.show(row.id), costs)])
            for one in reader.objects(row.id):
                json.dumps(object_line(row.id, one.planned, one.staged, one.target))
            reader.sealed(row.id)
        list(reader.chain())
        list(reader.unsealed())
        reader.agents()
        for span in (timedelta(minutes=5), timedelta(hours=1)):
            reader.activity(span, T0 - DAY_LONG, T0 + DAY_LONG)
        reader.operator_actions(most=10)
        reader.paused_routes(T0)
        reader.expectations()
        reader.last_reconciled()
        reader.sent_of(SENT.route, T0)
        for since in (None, T0 - DAY_LONG):
            reader.arrived(
                ArrivalQuery(
                    route="clickstream",
                    places=(DAY.uri,),
                    since=since,
                    until=T0 + DAY_LONG,
                    wanted=Wanted(objects=10),
                )
            )
        reader.open_transfers(most=10)
        reader.dead_transfers(T0 - DAY_LONG, most=10)
        reader.newest_lags(T0 - DAY_LONG, most=10)
        json.dumps(list(reader.publishers([DAY.join(planned(0).relative)]).values()))


@pytest.mark.parametrize("table", sorted({table.name for table in metadata.sorted_tables}))
def test_an_edited_value_is_shown_or_refused_by_name(
    template: Path, path: Path, table: str
) -> None:
    for column in metadata.tables[table].columns:
        for junk in ("text", "blob", "huge"):
            fresh(template, path)
            if edit(path, table, column.name, junk):
                error = error_of(lambda: as_shown(path))
                refused = {"E_LEDGER_CORRUPT", "E_NO_SUCH_TRANSFER"}
                assert error is None or error.code in refused, (column, junk, error)


@pytest.mark.parametrize(("table", "column"), COLUMNS)
def test_an_edited_value_is_refused_by_name_and_is_no_bug(
    template: Path, path: Path, table: str, column: str
) -> None:
    refused = False
    for junk in JUNK if column == "relative" else ("text", "blob", "negative", "null"):
        fresh(template, path)
        if not edit(path, table, column, junk):
            continue
        for error in errors_of_all(path):
            assert error.code not in {"E_LEDGER_BUG", "E_BUG"}, (junk, error)
            if error.code == "E_LEDGER_CORRUPT":
                assert error.exit_code is ExitCode.CONFIGURATION
                assert str(path) in error.message
                refused = True
    assert refused is ((table, column) not in HARMLESS)


@pytest.mark.parametrize(
    "damage",
    [
        "DROP TABLE published",
        "DROP TABLE seals",
        "ALTER TABLE transfers RENAME COLUMN owner TO holder",
        "DELETE FROM meta",
        "DELETE FROM alembic_version",
        "UPDATE alembic_version SET version_num = X'ff'",
        "INSERT INTO alembic_version VALUES ('0001')",
    ],
)
def test_a_ledger_with_a_part_cut_out_is_refused_as_damaged(
    template: Path, path: Path, damage: str
) -> None:
    fresh(template, path)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(damage)
    codes = {error.code for error in errors_of_all(path)}
    assert "E_LEDGER_CORRUPT" in codes
    assert not codes & {"E_LEDGER_BUG", "E_BUG"}

    def read() -> None:
        with closing(open_reader(path)) as reader:
            for row in reader.history():
                reader.show(row.id)

    error = error_of(read)
    assert error is None or error.code in {"E_LEDGER_CORRUPT", "E_LEDGER_OLDER"}
