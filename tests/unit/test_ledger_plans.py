"""What the agent does for each transfer reads through no table, however large the ledger is."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from sqlalchemy import event

from backhaul.adapters.ledger import open_ledger
from backhaul.core.model import TransferState
from backhaul.core.transfer.evidence import Manifest
from tests.contract.test_ledger import T0, begin, claim, planned, proof

THROUGH = re.compile(r"SCAN (TABLE )?(\w+)(?! USING)$")


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
            if "LIMIT" in statement and not any("TEMP B-TREE" in one for one in steps):
                continue  # the last row of a table in the order of its rows
            assert not [one for one in steps if THROUGH.search(one)], (statement, steps)
    assert looked > 10
