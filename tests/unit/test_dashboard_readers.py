"""However many pages read the ledger, a writer beside them gets in."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from backhaul.adapters.ledger import LedgerReader, open_ledger
from backhaul.core.errors import ConfigurationError, OutageError
from backhaul.dashboard import readers
from backhaul.dashboard.readers import KeptBriefly, Readers, Turns

WAIT_S = 30.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    found = tmp_path / "ledger.db"
    open_ledger(found, create=True).close()
    return found


@pytest.fixture
def pool(path: Path) -> Iterator[Readers]:
    found = Readers(path)
    yield found
    found.close()


def test_a_turn_is_given_in_the_order_in_which_it_was_wanted() -> None:
    turns, order = Turns(), []
    threads = []

    def take(number: int) -> None:
        with turns:
            order.append(number)

    with turns:
        for number in range(20):
            threads.append(threading.Thread(target=take, args=(number,)))
            threads[-1].start()
            deadline = time.monotonic() + WAIT_S
            while len(turns._waiting) <= number and time.monotonic() < deadline:
                threading.Event().wait(0.001)
        assert order == []
    for thread in threads:
        thread.join(WAIT_S)
    assert order == list(range(20))
    with turns:
        assert turns._is_taken
    assert not turns._is_taken


def test_transactions_of_one_process_never_overlap(pool: Readers) -> None:
    """SQLite would let the second in although a writer waits, and the writer would never get in."""
    inside, most = 0, 0
    counting = threading.Lock()

    def read(reader: LedgerReader) -> None:
        nonlocal inside, most
        for _ in range(20):
            with reader._transaction("x") as tx:
                with counting:
                    inside += 1
                    most = max(most, inside)
                tx.exec_driver_sql("SELECT count(*) FROM meta").scalar()
                with counting:
                    inside -= 1

    threads = [threading.Thread(target=pool.call, args=(read,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert most == 1


def test_a_writer_gets_in_between_readers_that_never_stop(path: Path, pool: Readers) -> None:
    is_over = threading.Event()

    def read(reader: LedgerReader) -> None:
        while not is_over.is_set():
            with reader._transaction("x") as tx:
                rows = tx.exec_driver_sql("SELECT name, value FROM meta")
                is_over.wait(0.01)
                rows.all()

    threads = [threading.Thread(target=pool.call, args=(read,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        with closing(sqlite3.connect(path, isolation_level=None, timeout=WAIT_S)) as writer:
            for number in range(5):
                writer.execute("INSERT OR REPLACE INTO meta VALUES ('test', ?)", (str(number),))
    finally:
        is_over.set()
        for thread in threads:
            thread.join(WAIT_S)


def test_a_reader_is_used_again_and_opened_anew_where_the_file_is_another(
    path: Path, pool: Readers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = pool.call(lambda reader: reader)
    assert pool.call(lambda reader: reader) is first
    other = tmp_path / "other.db"
    open_ledger(other, create=True).close()
    other.replace(path)
    second = pool.call(lambda reader: reader)
    assert second is not first
    monkeypatch.setattr(readers, "REOPEN_AFTER_S", 0.0)
    assert pool.call(lambda reader: reader) is not second
    path.unlink()
    with pytest.raises(ConfigurationError, match="E_LEDGER_MISSING"):
        pool.call(lambda reader: reader)


def test_a_reader_that_failed_is_not_used_again(pool: Readers) -> None:
    failed: list[LedgerReader] = []

    def fail(reader: LedgerReader) -> None:
        failed.append(reader)
        raise OutageError.of("ledger", "E_LEDGER_IO", "x")

    with pytest.raises(OutageError):
        pool.call(fail)
    assert pool.call(lambda reader: reader) is not failed[0]
    assert len(failed) == 1


def test_what_a_killed_writer_left_is_rolled_back_by_opening_anew(pool: Readers) -> None:
    seen: list[LedgerReader] = []

    def once(reader: LedgerReader) -> str:
        seen.append(reader)
        if len(seen) == 1:
            raise OutageError.of("ledger", "E_LEDGER_READONLY", "x")
        return "read"

    assert pool.call(once) == "read"
    assert seen[0] is not seen[1]


def test_a_value_is_kept_for_a_moment_and_no_error_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    made: list[int] = []

    def compute() -> int:
        made.append(len(made))
        if len(made) == 3:
            raise OutageError.of("ledger", "E_LEDGER_IO", "x")
        return len(made)

    kept = KeptBriefly(compute, keep_s=1.0)
    assert (kept.get(), kept.get()) == (1, 1)
    now_s += 1.0
    assert kept.get() == 2
    kept.forget()
    with pytest.raises(OutageError):
        kept.get()
    assert kept.get() == 4
