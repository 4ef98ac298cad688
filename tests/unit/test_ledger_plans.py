"""What the agent does for each transfer reads through no table, however large the ledger is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import event

from backhaul.adapters.ledger import open_ledger
from backhaul.core.model import TransferState
from backhaul.core.transfer.evidence import Manifest
from tests.contract.test_ledger import T0, begin, claim, planned, proof

SCAN = re.compile(r"SCAN (?:TABLE )?(?!CONSTANT ROW)")  # with an index, too: that is all of it
SMALL = {  # partial indexes: what is open now, however much is done
    "SCAN jobs USING INDEX ix_jobs_open",
    "SCAN transfers USING INDEX ix_transfers_renames_possible",
}
NEWEST = {"SCAN seals": re.compile(r"FROM seals ORDER BY seals\.number DESC\s+LIMIT ")}


def through(statement: str, steps: Sequence[str]) -> list[str]:
    """The steps that read all of a table or of an index."""
    found = [one for one in steps if SCAN.match(one) and one not in SMALL]
    if any("TEMP B-TREE" in one for one in steps):
        return found
    return [one for one in found if one not in NEWEST or not NEWEST[one].search(statement)]


@pytest.mark.parametrize(
    ("statement", "steps", "is_through"),
    [
        ("SELECT 1", ["SCAN CONSTANT ROW"], False),
        ("SELECT a FROM t", ["SCAN t"], True),
        ("SELECT a FROM t", ["SCAN TABLE t"], True),
        ("SELECT a FROM t", ["SCAN t USING INDEX i"], True),
        ("SELECT a FROM t", ["SCAN t USING COVERING INDEX i"], True),
        ("SELECT a FROM t WHERE b = 1 LIMIT 1", ["SCAN t"], True),
        ("SELECT a FROM t WHERE b = ?", ["SEARCH t USING INDEX i (b=?)"], False),
        ("SELECT seal FROM seals ORDER BY seals.number DESC\n LIMIT 1", ["SCAN seals"], False),
        ("SELECT seal FROM seals WHERE seal = ? LIMIT 1", ["SCAN seals"], True),
        (
            "SELECT seal FROM seals ORDER BY seals.number DESC LIMIT 1",
            ["SCAN seals", "USE TEMP B-TREE FOR ORDER BY"],
            True,
        ),
    ],
)
def test_what_reads_through_is_seen(
    statement: str, steps: Sequence[str], *, is_through: bool
) -> None:
    assert bool(through(statement, steps)) == is_through


def test_no_step_of_a_transfer_reads_through_a_table(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    seen: list[tuple[str, Sequence[object]]] = []
    with closing(open_ledger(path, create=True)) as ledger:

        def note(*call: object) -> None:
            statement, values = str(call[2]), call[3]
            assert isinstance(values, (tuple, list))
            seen.append((statement, values[0] if isinstance(values, list) else values))

        event.listen(ledger._engine, "before_cursor_execute", note)
        begin(ledger, "t1")
        claimed = claim(ledger, "t1", first=[planned(0)], is_complete=True)
        assert claimed is not None
        ledger.record_staged("t1", [proof(0)])
        ledger.intend("t1", claimed.epoch, [], T0)
        state = TransferState.DONE
        assert ledger.finish("t1", claimed.epoch, state, "tree", T0, manifest=Manifest().sum)
        ledger.begin(None, "t2", "s", "d", T0)
        ledger.fail("t2", TransferState.DEAD, "E_X", "x", T0)
    looked = 0
    with closing(sqlite3.connect(path)) as connection:
        for statement, values in seen:
            if not statement.startswith(("SELECT", "UPDATE", "DELETE", "INSERT")):
                continue
            plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", values).fetchall()
            steps = [row[3] for row in plan]
            looked += len(steps)
            assert not through(statement, steps), (statement, steps)
    assert looked > 10
