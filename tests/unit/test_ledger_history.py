"""Lists of transfers in pieces: the same as in one, and no piece reads through the ledger."""

from __future__ import annotations

import itertools
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from backhaul.adapters.ledger import LedgerReader, TransferRow, open_ledger, open_reader
from backhaul.adapters.ledger.reading import filtering, history, observing
from backhaul.adapters.ledger.reading.filtering import HistoryFilter
from backhaul.adapters.ledger.session import ReadSession
from backhaul.app import overview, where
from backhaul.app.overview import read_overview
from backhaul.core.model import TransferState
from backhaul.core.objects import Proof
from backhaul.core.transfer_ids import time_part
from benchmarks.big_ledger import big_ledger
from benchmarks.dashboard import queries
from tests.contract.test_ledger import DAY, SECOND, T0, begin, claim, planned, proof

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from sqlalchemy import Connection

STATES_TOGETHER = [(TransferState.DEAD,), (TransferState.DONE, TransferState.HELD)]
STATES = [TransferState(one) for one in ("dead", "held", "waiting", "received", "done")]


@pytest.fixture
def pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So small that each list takes many."""
    for name, value in {
        "ROWS_AT_ONCE": 3,
        "TRANSFERS_AT_ONCE": 7,
        "OBJECTS_AT_ONCE": 4,
    }.items():
        monkeypatch.setattr(history, name, value)
    for name, value in {"IDS_AT_ONCE": 2, "NEWEST_AT_ONCE": 2, "NEWEST_MOST": 8}.items():
        monkeypatch.setattr(filtering, name, value)


ROUTES = ["a", "b", None]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty transfers in five states, of which some changed long after they were made."""
    path = tmp_path_factory.mktemp("mixed") / "ledger.db"
    chance = random.Random(7)
    ledger = open_ledger(path, create=True)
    for number in range(40):
        state = STATES[chance.randrange(len(STATES))]
        made_at = T0 + number * 10 * SECOND
        name = f"{time_part(made_at)}{number:02}"
        changed_at = made_at + chance.choice([1, 30, 300]) * SECOND
        ledger.begin(None, name, "s", "d", made_at, route=ROUTES[number % 3])
        if state is TransferState.DONE:
            found = claim(ledger, name, DAY.parent.join(name), first=[planned(0)], is_complete=True)
            assert found is not None
            ledger.intend(name, found.epoch, [proof(0)], made_at)
            ledger.finish(name, found.epoch, state, "tree", changed_at)
        elif state is not TransferState.RECEIVED:
            ledger.fail(name, state, "E_X", "x", changed_at)
    ledger.close()
    return path


FILTERS = [
    (states, since)
    for count in range(3)
    for states in itertools.combinations(STATES, count)
    for since in (None, T0 + 200 * SECOND)
]


def matching(
    rows: list[TransferRow], states: tuple[TransferState, ...], since: datetime | None
) -> list[str]:
    return [
        row.id
        for row in rows
        if (not states or row.state in states) and (since is None or row.updated_at >= since)
    ]


@pytest.mark.parametrize("few", [0, 5, 100])
def test_a_list_in_pieces_is_the_same_as_in_one(
    mixed: Path, pieces: None, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    monkeypatch.setattr(filtering, "FEW", few)
    with closing(open_reader(mixed)) as reader:
        every = reader.history(1000)
        assert [row.id[-2:] for row in every] == [f"{number:02}" for number in range(39, -1, -1)]
        assert {row.state for row in every} == set(STATES)
        for states, since in FILTERS:
            wanted = matching(every, states, since)
            assert reader.count(states, since) == len(wanted), (states, since)
            for limit in (1, 3, 8, 40):
                found = [row.id for row in reader.history(limit, states, since)]
                assert found == wanted[:limit], (states, since, limit)
            for most in (0, 2, len(wanted)):
                assert reader.count(states, since, most=most) == min(len(wanted), most + 1)


@pytest.mark.parametrize("few", [0, 1, 5, 100])
@pytest.mark.parametrize("slack", [0, 60])
def test_a_list_of_a_route_is_the_same_whichever_index_finds_it(
    mixed: Path, pieces: None, monkeypatch: pytest.MonkeyPatch, few: int, slack: int
) -> None:
    """Those that ended last are not those that began last."""
    monkeypatch.setattr(filtering, "FEW", few)
    monkeypatch.setattr(filtering, "CLOCK_SLACK", slack * SECOND)
    with closing(open_reader(mixed)) as reader:
        every = reader.history(1000)
        for route, states in itertools.product(
            ["a", "b", "c", "clickstream"], [(), *STATES_TOGETHER]
        ):
            wanted = [
                row.id
                for row in every
                if row.route == route and (not states or row.state in states)
            ]
            asked = HistoryFilter(route=route, states=states)
            assert reader.count(wanted=asked) == len(wanted), (route, states)
            for limit in (1, 4, 40):
                found = [row.id for row in reader.history(limit, wanted=asked)]
                assert found == wanted[:limit], (route, states, limit)


def test_what_ends_while_indexes_are_read_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves the index of open transfers for that of the dead; one of both must show it."""
    path, transfer_id = tmp_path / "ledger.db", f"{time_part(T0)}0000000"
    asked = HistoryFilter(states=(TransferState.DEAD, TransferState.RECEIVED))
    read = LedgerReader._newest_of
    with closing(open_ledger(path, create=True)) as ledger:
        begin(ledger, transfer_id)
        calls = itertools.count()

        def ends_behind_it(*arguments: Any) -> Any:
            found = read(*arguments)
            if next(calls) == 0:
                ledger.fail(transfer_id, TransferState.DEAD, "E_SRC_EMPTY", "nothing", T0 + SECOND)
            return found

        monkeypatch.setattr(LedgerReader, "_newest_of", ends_behind_it)
        with closing(open_reader(path)) as reader:
            (row,) = reader.history(10, wanted=asked)
    assert (row.id, row.state) == (transfer_id, TransferState.DEAD)


def test_ids_of_another_form_are_listed_too(
    mixed: Path, pieces: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Their order is not that of time, so no index may say that there are no more."""
    monkeypatch.setattr(filtering, "FEW", 2)
    path = tmp_path / "ledger.db"
    shutil.copy(mixed, path)
    with closing(sqlite3.connect(path)) as connection:
        (oldest,) = connection.execute(
            "SELECT min(id) FROM transfers WHERE state = 'dead'"
        ).fetchone()
        for table, column in (("journal", "transfer_id"), ("transfers", "id")):
            connection.execute(
                f"UPDATE {table} SET {column} = '20261122T120000Z' WHERE {column} = ?",  # noqa: S608
                (oldest,),
            )
        connection.commit()
    with closing(open_reader(path)) as reader:
        found = [row.id for row in reader.history(40, [TransferState.DEAD])]
    assert found[0] == "20261122T120000Z"


def test_the_objects_of_a_transfer_are_summed_in_pieces(tmp_path: Path, pieces: None) -> None:
    path = tmp_path / "ledger.db"
    ledger = open_ledger(path, create=True)
    begin(ledger, "t1")
    planned_ones = [planned(seq) for seq in range(13)]
    claimed = claim(ledger, "t1", first=planned_ones, is_complete=True)
    assert claimed is not None
    ledger.record_staged(
        "t1", [proof(seq, proof=Proof.ADOPTED if seq < 2 else Proof.STREAM) for seq in range(9)]
    )
    ledger.close()
    size = {seq: planned(seq).pin.size_bytes for seq in range(13)}
    with closing(open_reader(path)) as reader:
        details = reader.show("t1")
        sums = {one.proof: (one.objects, one.size_bytes) for one in details.proofs}
        (listed,) = reader.history()
        (quick,) = reader.history(sums_objects=False)
    assert sums == {
        None: (4, sum(size[seq] for seq in range(9, 13))),
        Proof.ADOPTED: (2, size[0] + size[1]),
        Proof.STREAM: (7, sum(size[seq] for seq in range(2, 9))),
    }
    assert details.transfer == listed
    assert listed.copied_bytes == sums[Proof.STREAM][1]
    assert quick.copied_bytes == 0


# ---------------------------------------------------------------- bounded

STEPS_AT_ONCE = 100
TRANSFERS = 20_000


class Steps:
    """Steps of SQLite's machine, by transaction: its measure of work, whatever the machine."""

    def __init__(self) -> None:
        self.longest: dict[str, int] = {}
        self._now = 0

    def tick(self) -> int:
        self._now += STEPS_AT_ONCE
        return 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        transaction = ReadSession._transaction

        @contextmanager
        def counted(session: ReadSession, what: str) -> Iterator[Connection]:
            with transaction(session, what) as tx:
                driver: Any = tx.connection.driver_connection
                driver.set_progress_handler(self.tick, STEPS_AT_ONCE)
                self._now = 0
                yield tx
                self.longest[what] = max(self.longest.get(what, 0), self._now)

        monkeypatch.setattr(ReadSession, "_transaction", counted)


@pytest.mark.slow
def test_no_transaction_of_a_reader_grows_with_the_ledger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = big_ledger(tmp_path, TRANSFERS)
    monkeypatch.setattr(history, "TRANSFERS_AT_ONCE", 200)
    monkeypatch.setattr(filtering, "FEW", 50)
    for name, value in {"IDS_AT_ONCE": 20, "NEWEST_AT_ONCE": 20, "NEWEST_MOST": 80}.items():
        monkeypatch.setattr(filtering, name, value)
    monkeypatch.setattr(history, "ROWS_AT_ONCE", 20)
    monkeypatch.setattr(overview, "LAGS_LOOKED_AT", 100)
    monkeypatch.setattr(observing, "SUMS_AT_ONCE", 2)
    for name in ("PIECE", "WALKED", "OPEN_AT_ONCE"):
        monkeypatch.setattr(where, name, 200)
    since = datetime.now(UTC) - timedelta(days=1)
    found: dict[str, dict[str, int]] = {}
    with closing(open_reader(path)) as reader:
        every: dict[str, Callable[[], object]] = queries(reader) | {
            "overview": lambda: read_overview(path, datetime.now(UTC)),
            "dead and held since": lambda: reader.history(
                20, [TransferState.DEAD, TransferState.HELD], since
            ),
            "count": lambda: reader.count(most=200),
            "count superseded": lambda: reader.count([TransferState.SUPERSEDED], most=100_000),
        }
        del every["search"]  # its pieces are as large as there is time for
        for name, query in every.items():
            steps = Steps()
            with monkeypatch.context() as patched:
                steps.watch(patched)
                query()
            found[name] = steps.longest
    assert found["history"]
    longest = {name: max(steps.values(), default=0) for name, steps in found.items()}
    assert max(longest.values()) < TRANSFERS, longest


def test_reading_a_whole_ledger_at_once_would_be_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = big_ledger(tmp_path, 2000)
    steps = Steps()
    steps.watch(monkeypatch)
    with closing(open_reader(path)) as reader:
        assert isinstance(reader, LedgerReader)
        assert reader.count([TransferState.DONE], most=2000) > 0
    assert max(steps.longest.values()) > 2000
