"""Where the files of a transfer are: what the agent registers partitions of."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from backhaul.adapters.ledger import open_ledger, open_reader
from backhaul.adapters.ledger.store import SqlLedger
from backhaul.app.hive import directories_by
from backhaul.core.errors import PermanentError
from tests.contract.test_ledger import DAY, finished, planned
from tests.ledgers import bring
from tests.unit.test_hive_target import REPLY
from tests.unit.test_ledger_prune import AT, prune


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqlLedger]:
    with closing(open_ledger(tmp_path / "ledger.db", create=True)) as made:
        yield made


def directories(tmp_path: Path, transfer_id: str) -> list[str]:
    find = directories_by(lambda: open_reader(tmp_path / "ledger.db"))
    return list(find(replace(REPLY, transfer_id=transfer_id, objects=2)))


def test_each_directory_of_the_plan_once(ledger: SqlLedger, tmp_path: Path) -> None:
    finished(ledger, "t1", planned(0), planned(1))
    assert directories(tmp_path, "t1") == [DAY.join(planned(0).relative).parent.uri]


def test_what_was_pruned_cannot_be_registered_any_more(ledger: SqlLedger, tmp_path: Path) -> None:
    bring(ledger, "old", AT)
    assert prune(ledger)
    with pytest.raises(PermanentError, match="no longer has the objects of old") as refused:
        directories(tmp_path, "old")
    assert refused.value.code == "E_HIVE_PRUNED"
    assert "ADD PARTITION" in refused.value.hint
