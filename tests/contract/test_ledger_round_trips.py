"""How often a step of a transfer waits for PostgreSQL: meanwhile all other writers wait for it."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
from sqlalchemy import select, update

from backhaul.adapters.ledger import SqlLedger, open_ledger
from backhaul.adapters.ledger.dialects.database import TransactionBlock
from backhaul.adapters.ledger.postgres.deferred import DeferringConnection
from backhaul.adapters.ledger.postgres.waits import BoundedConnection
from backhaul.adapters.ledger.schema import meta, put
from backhaul.adapters.ledger.statements import Query, at_once
from backhaul.core.errors import BackhaulError
from backhaul.core.model import TransferState
from backhaul.core.ports import MessageKey
from backhaul.core.ports.ledger_place import LedgerPlace
from tests.contract.test_ledger import DAY, T0, begin, claim, planned, proof
from tests.ledger_places import ledger_place, statement
from tests.world import eventually

if TYPE_CHECKING:
    from sqlalchemy import Connection

pytestmark = pytest.mark.integration

# Bounds, not aims: each round trip more is paid for by all agents of a ledger.
MOST = {"begin": 2, "claim": 1, "intend": 2, "finish": 3}


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> LedgerPlace:
    return ledger_place("postgres", request, tmp_path)


@pytest.fixture
def ledger(place: LedgerPlace) -> Iterator[SqlLedger]:
    found = open_ledger(place, create=True)
    yield found
    found.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch, ledger: SqlLedger) -> Callable[[], int]:
    """Waits for an answer to the writer since it was called last; beats are not among them."""
    del ledger  # what it does to open is not counted
    count: Counter[bool] = Counter()
    wait = BoundedConnection.wait

    def counted(self: BoundedConnection, *args: Any, **kwargs: Any) -> Any:
        count[isinstance(self, DeferringConnection)] += 1
        return wait(self, *args, **kwargs)

    monkeypatch.setattr(BoundedConnection, "wait", counted)

    def since() -> int:
        found = count[True]
        count.clear()
        return found

    return since


def test_a_transfer_waits_for_the_server_a_few_times(
    ledger: SqlLedger, trips: Callable[[], int]
) -> None:
    for name in ("t1", "t2"):  # to a new destination, and to a known one
        found = {}
        begin(ledger, name, MessageKey(queue="work", message_id=name))
        found["begin"] = trips()
        claimed = claim(ledger, name, DAY, first=[planned(0)], is_complete=True)
        found["claim"] = trips()
        assert claimed is not None
        assert ledger.intend(name, claimed.epoch, [proof(0)], T0)
        found["intend"] = trips()
        assert ledger.finish(name, claimed.epoch, TransferState.DONE, "per-file", T0)
        found["finish"] = trips()
        assert all(found[step] <= MOST[step] for step in MOST), found


def test_an_error_of_a_change_that_waited_undoes_its_block_alone(
    ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What COMMIT takes along may fail there; the block's own thread learns of it."""
    begin(ledger)
    defer = DeferringConnection.defer
    broken = ["UPDATE transfers SET attempt = 1 / 0"]

    def worse(self: DeferringConnection, text: str, values: Any) -> None:
        defer(self, text, values)
        if broken:
            defer(self, broken.pop(), {})

    monkeypatch.setattr(DeferringConnection, "defer", worse)
    with pytest.raises(BackhaulError, match="division by zero"):
        ledger.freeze("t1", [planned(0)], is_complete=True, markers=0)
    ledger.freeze("t1", [planned(0)], is_complete=True, markers=0)
    assert [one.seq for page in ledger.plan("t1") for one in page] == [0]


def test_it_spares_the_block_of_another_thread_that_shares_its_commit(
    place: LedgerPlace, ledger: SqlLedger
) -> None:
    commits = ledger._commits
    ended: dict[str, Exception | None] = {}

    def run(name: str, block: Callable[[Connection], None]) -> None:
        try:
            with commits.transaction() as tx:
                block(tx)
        except Exception as error:  # noqa: BLE001 - looked at below
            ended[name] = error
        else:
            ended[name] = None

    def second(tx: Connection) -> None:
        put(tx, meta, {"name": "of the second", "value": "kept"})

    other = threading.Thread(target=run, args=("second", second))

    def first(tx: Connection) -> None:
        other.start()
        eventually(lambda: commits._coming == 1)
        driver = tx.connection.driver_connection
        assert isinstance(driver, DeferringConnection)
        driver.defer("UPDATE meta SET value = (1 / 0)::text", {})

    run("first", first)
    other.join()
    assert "division by zero" in str(ended["first"])
    assert ended["second"] is None
    kept = "SELECT value FROM meta WHERE name = 'of the second'"
    assert statement(place, kept) == [("kept",)]
    statement(place, "DELETE FROM meta WHERE name = 'of the second'")


def test_a_value_that_no_text_can_have_undoes_its_block_alone(
    place: LedgerPlace, ledger: SqlLedger
) -> None:
    """It is refused before anything is sent, the savepoint of its block among that."""
    commits = ledger._commits

    def second() -> None:
        with commits.transaction() as tx:
            tx.execute(select(meta.c.value).where(meta.c.name == "\0"))

    with ThreadPoolExecutor() as threads:
        with commits.transaction() as tx:
            refused = threads.submit(second)
            eventually(lambda: commits._coming == 1)
            put(tx, meta, {"name": "of the first", "value": "kept"})
        with pytest.raises(Exception, match="NUL"):
            refused.result()
    kept = "SELECT value FROM meta WHERE name = 'of the first'"
    assert statement(place, kept) == [("kept",)]
    statement(place, "DELETE FROM meta WHERE name = 'of the first'")


def test_what_was_sent_ahead_is_undone_with_its_block_alone(ledger: SqlLedger) -> None:
    """The proof was written before the comparison said that nothing is to be."""
    begin(ledger)
    claimed = claim(ledger, first=[planned(0)], is_complete=True)
    assert claimed is not None
    commits = ledger._commits
    with ThreadPoolExecutor() as threads:
        with commits.transaction(TransactionBlock(is_beside=True)) as tx:
            stale = threads.submit(ledger.intend, "t1", claimed.epoch - 1, [proof(0)], T0)
            eventually(lambda: commits._coming == 1)
            put(tx, meta, {"name": "of the first", "value": "kept"})
        assert not stale.result()
    assert not list(ledger.staged("t1"))
    assert ledger.intend("t1", claimed.epoch, [proof(0)], T0)
    assert len(list(ledger.staged("t1"))) == 1


def test_a_change_made_ahead_must_be_what_its_block_does_first(ledger: SqlLedger) -> None:
    """Else it would be kept although its block did not come to it."""
    ahead = Query(at_once(update(meta).where(meta.c.name == "ledger_id")), {"value": "other"})
    block = TransactionBlock(is_beside=True, queries=[ahead])
    with (
        pytest.raises(AssertionError, match="made ahead"),
        ledger._commits.transaction(block) as tx,
    ):
        put(tx, meta, {"name": "another", "value": "one"})
    with pytest.raises(psycopg.Error) as failure, ledger._commits.transaction(block):
        pass
    assert "made ahead" in str(failure.value.__cause__)
    with ledger._commits.transaction() as tx:
        found = tx.execute(select(meta.c.value).where(meta.c.name == "ledger_id"))
        assert found.scalar_one() == ledger.ledger_id


def test_what_was_sent_ahead_is_sent_anew_after_a_change(ledger: SqlLedger) -> None:
    begin(ledger)
    query = Query(select(meta.c.value).where(meta.c.name == "seen"), {})
    with ledger._commits.transaction(
        TransactionBlock(is_beside=True, queries=[query, query])
    ) as tx:
        assert tx.execute(*query).scalar() is None
        put(tx, meta, {"name": "seen", "value": "now"})
        assert tx.execute(*query).scalar() == "now"
