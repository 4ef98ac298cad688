"""Transactions that share a commit are each as good as with a commit of their own."""

import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
from sqlalchemy import Connection, RootTransaction
from sqlalchemy.exc import OperationalError

from backhaul.adapters.ledger.dialects.commits import MOST, SharedCommits, _Group, announce
from backhaul.adapters.ledger.dialects.database import ALONE, LedgerTurn, TransactionBlock
from backhaul.adapters.ledger.sqlite.engine import writing_engine
from backhaul.adapters.ledger.sqlite.faults import SqliteDatabase

PATIENCE_S = 20.0


class Bed:
    """A table of numbers; the main thread keeps the turn until so many others wait for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with sqlite3.connect(path) as made:
            made.execute("CREATE TABLE numbers (number INTEGER, more BLOB)")
        made.close()
        self._engine = writing_engine(path, busy_timeout_s=0.05)
        self.connection = self._engine.connect()
        self.commits = SharedCommits(self.connection, SqliteDatabase(path))
        self.statements: list[str] = []
        self.driver.set_trace_callback(self.statements.append)
        self.threads = ThreadPoolExecutor(2 * MOST)
        self.running: list[Future[None]] = []

    @property
    def driver(self) -> sqlite3.Connection:
        found = self.connection.connection.driver_connection
        assert isinstance(found, sqlite3.Connection)
        return found

    @property
    def committed(self) -> int:
        return self.statements.count("COMMIT")

    def close(self) -> None:
        self.threads.shutdown()
        self.commits.close()
        self._engine.dispose()

    def numbers(self) -> list[int]:
        with sqlite3.connect(self.path) as other:
            found = other.execute("SELECT number FROM numbers ORDER BY number").fetchall()
        other.close()
        return [number for (number,) in found]

    def together(self, first: int, *others: Callable[[], None]) -> list[Future[None]]:
        """The first number is written, and not committed before the others have come."""
        with self.commits.transaction() as tx:
            write(tx, first)
            self.running = [self.threads.submit(other) for other in others]
            ends = time.monotonic() + PATIENCE_S
            while self.commits._coming < len(others):
                assert time.monotonic() < ends, "the others did not come"
                time.sleep(0.001)
        return self.running

    def writes(self, number: int) -> Callable[[], None]:
        def one() -> None:
            with self.commits.transaction() as tx:
                write(tx, number)

        return one


def write(tx: Connection, number: int, more_bytes: int = 0) -> None:
    tx.exec_driver_sql("INSERT INTO numbers VALUES (?, zeroblob(?))", (number, more_bytes))


@pytest.fixture
def bed(tmp_path: Path) -> Iterator[Bed]:
    made = Bed(tmp_path / "numbers.sqlite")
    yield made
    made.close()


def test_who_meets_at_the_ledger_shares_a_commit(bed: Bed) -> None:
    for future in bed.together(1, bed.writes(2), bed.writes(3)):
        future.result()
    assert bed.numbers() == [1, 2, 3]
    assert bed.committed == 1


def test_who_is_alone_commits_at_once_and_without_a_savepoint(bed: Bed) -> None:
    for number in (1, 2):
        bed.writes(number)()
        assert bed.numbers()[-1] == number
    assert bed.committed == 2
    assert not any("SAVEPOINT" in statement for statement in bed.statements)


def test_each_commit_is_timed_and_nothing_else_is(bed: Bed) -> None:
    seconds: list[float] = []
    bed.commits.observe_commit = seconds.append
    for future in bed.together(1, bed.writes(2), bed.writes(3)):
        future.result()
    assert bed.committed == len(seconds) == 1
    with pytest.raises(ZeroDivisionError), bed.commits.transaction():
        raise ZeroDivisionError
    bed.writes(4)()
    assert bed.committed == len(seconds) == 2
    assert all(one >= 0 for one in seconds)


def test_what_a_block_announces_is_handed_on_once_it_is_committed(bed: Bed) -> None:
    found: list[tuple[int, list[int]]] = []
    bed.commits.observe_kept = lambda what: found.append((what, bed.numbers()))

    def announces(number: int) -> Callable[[], None]:
        def one() -> None:
            with bed.commits.transaction() as tx:
                write(tx, number)
                announce(tx, number)
                if number == 3:
                    raise KeyError

        return one

    two, three, four = bed.together(1, announces(2), announces(3), announces(4))
    two.result()
    four.result()
    with pytest.raises(KeyError):
        three.result()
    assert sorted(found) == [(2, [1, 2, 4]), (4, [1, 2, 4])]


def test_what_is_announced_after_a_reconnect_is_handed_on_too(bed: Bed) -> None:
    found: list[object] = []
    bed.commits.observe_kept = found.append
    for number in (1, 2):
        with bed.commits.transaction() as tx:
            write(tx, number)
            announce(tx, number)
        bed.connection.invalidate()
    assert bed.numbers() == found == [1, 2]


def test_a_defect_of_who_is_handed_it_leaves_none_waiting_for_ever(bed: Bed) -> None:
    def breaks(what: object) -> None:
        raise ZeroDivisionError(what)

    bed.commits.observe_kept = breaks
    groups: list[_Group | None] = []

    def announces(number: int) -> Callable[[], None]:
        def one() -> None:
            with bed.commits.transaction() as tx:
                write(tx, number)
                announce(tx, number)
                groups.append(bed.commits._group)

        return one

    running = bed.together(1, announces(2), announces(3))
    try:
        errors = [future.exception(PATIENCE_S) for future in running]
    finally:
        for group in groups:  # else this test never ended where the rule is broken
            if group is not None:
                group.over.set()
    assert [type(one) for one in errors if one] == [ZeroDivisionError]
    assert bed.numbers() == [1, 2, 3]
    bed.commits.observe_kept = None
    bed.writes(4)()


def test_nothing_is_handed_on_of_a_commit_that_fails(bed: Bed) -> None:
    found: list[object] = []
    bed.commits.observe_kept = found.append
    reader = sqlite3.connect(bed.path)
    reader.execute("BEGIN")
    reader.execute("SELECT number FROM numbers").fetchall()

    def announces() -> None:
        with bed.commits.transaction() as tx:
            write(tx, 1)
            announce(tx, 1)

    with pytest.raises(OperationalError):
        announces()
    reader.close()
    bed.writes(2)()
    assert bed.numbers() == [2]
    assert found == []


def test_a_call_returns_only_after_its_work_is_committed(bed: Bed) -> None:
    seen: list[list[int]] = []
    go_on = threading.Event()

    def last() -> None:
        with bed.commits.transaction() as tx:
            write(tx, 3)
            assert go_on.wait(PATIENCE_S)

    def second() -> None:
        bed.writes(2)()
        seen.append(bed.numbers())

    def watch() -> None:
        bed.together(1, second, last)
        seen.append(bed.numbers())

    watching = bed.threads.submit(watch)
    ends = time.monotonic() + PATIENCE_S
    while not any("VALUES (3," in statement for statement in bed.statements):
        assert time.monotonic() < ends
        time.sleep(0.001)
    time.sleep(0.12)  # longer than anybody waits before he looks whether he was forgotten
    assert not watching.done()
    assert bed.numbers() == []
    go_on.set()
    watching.result()
    bed.threads.shutdown()
    assert seen == [[1, 2, 3], [1, 2, 3]]


def test_a_block_that_fails_undoes_itself_alone(bed: Bed) -> None:
    undone: list[str] = []

    def fails() -> None:
        with bed.commits.transaction() as tx:
            write(tx, 2)
            bed.commits.if_lost(lambda: undone.append("two"))
            raise KeyError

    failing, fine = bed.together(1, fails, bed.writes(3))
    with pytest.raises(KeyError):
        failing.result()
    fine.result()
    assert bed.numbers() == [1, 3]
    assert undone == ["two"]


def test_a_commit_that_fails_fails_for_all_who_share_it(bed: Bed) -> None:
    undone: list[int] = []

    def one(number: int) -> Callable[[], None]:
        def write_and_note() -> None:
            with bed.commits.transaction() as tx:
                write(tx, number)
                bed.commits.if_lost(lambda: undone.append(number))

        return write_and_note

    reader = sqlite3.connect(bed.path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM numbers").fetchall()
    with pytest.raises(OperationalError, match="locked"):
        bed.together(1, one(2), one(3))
    for future in bed.running:
        with pytest.raises(OperationalError, match="locked"):
            future.result()
    reader.execute("ROLLBACK")
    reader.close()
    assert bed.numbers() == []
    assert sorted(undone) == [2, 3]
    bed.writes(4)()
    assert bed.numbers() == [4]


def test_what_is_returned_is_kept_and_what_is_raised_is_not(bed: Bed) -> None:
    """Blocks that fail by themselves, and a file that is full now and then."""
    chance = random.Random(8)
    plans = [(number, chance.random(), chance.choice([0, 0, 0, 60_000])) for number in range(600)]
    bed.driver.execute("PRAGMA max_page_count=30")
    kept: list[int] = []
    full = 0

    def one(plan: tuple[int, float, int]) -> bool:
        number, luck, more_bytes = plan
        with suppress(KeyError), bed.commits.transaction() as tx:
            if luck < 0.2:
                tx.exec_driver_sql("DELETE FROM numbers WHERE more <> x''")
            write(tx, number, more_bytes)
            if luck > 0.8:
                raise KeyError
            return True
        return False

    big = {number for number, _, more_bytes in plans if more_bytes}
    for future, plan in [(bed.threads.submit(one, plan), plan) for plan in plans]:
        try:
            if future.result():
                kept.append(plan[0])
        except OperationalError as error:
            full += "full" in str(error)
    found = bed.numbers()
    assert full > 0
    assert [number for number in found if number not in big] == sorted(set(kept) - big)
    assert set(found) <= set(kept)
    assert bed.committed < len(kept)


def test_one_who_was_interrupted_on_the_way_is_not_waited_for(bed: Bed) -> None:
    bed.commits._coming += 1  # Ctrl-C between being counted and taking the turn
    bed.writes(1)()
    assert bed.numbers() == [1]


def test_a_commit_that_is_interrupted_is_an_error_for_the_others(bed: Bed) -> None:
    class Interrupted(BaseException):
        pass

    class Interrupting:
        def __init__(self, transaction: RootTransaction) -> None:
            self.rollback = transaction.rollback

        def commit(self) -> None:
            raise Interrupted

    def last() -> None:
        with bed.commits.transaction() as tx:
            write(tx, 2)
            group = bed.commits._group
            assert group is not None
            group.transaction = Interrupting(group.transaction)  # type: ignore[assignment]

    with pytest.raises(sqlite3.OperationalError, match="interrupted") as caught:
        bed.together(1, last)
    assert caught.value.sqlite_errorcode == sqlite3.SQLITE_INTERRUPT
    with pytest.raises(Interrupted):
        bed.running[0].result()
    assert bed.numbers() == []
    bed.writes(3)()
    assert bed.numbers() == [3]


def test_no_more_than_so_many_wait_for_each_other(bed: Bed) -> None:
    for future in bed.together(0, *(bed.writes(number) for number in range(1, MOST + 1))):
        future.result()
    assert bed.numbers() == list(range(MOST + 1))
    assert bed.committed == 2


def test_what_is_neither_kept_nor_undone_is_never_committed(
    bed: Bed, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second Ctrl-C, while a block is undone because of the first."""

    class Interrupted(BaseException):
        pass

    def interrupted(*_: object) -> None:
        raise Interrupted

    def alone() -> None:
        with bed.commits.transaction() as tx:
            write(tx, 1)
            raise KeyError

    with monkeypatch.context() as patched:
        patched.setattr(bed.commits, "_undo", interrupted)
        with pytest.raises(Interrupted):
            alone()
    assert bed.numbers() == []
    bed.writes(2)()
    assert bed.numbers() == [2]


def test_the_turn_is_given_back_whenever_an_interrupt_comes(bed: Bed) -> None:
    class Interrupted(BaseException):
        pass

    class Interrupting:
        """Ctrl-C at the n-th step with the counter."""

        def __init__(self, at: int) -> None:
            self.left = at

        def __enter__(self) -> None:
            self.left -= 1
            if self.left == 0:
                raise Interrupted

        def __exit__(self, *_: object) -> None:
            return

    counting = bed.commits._counting
    for at in (1, 2):
        bed.commits._counting = Interrupting(at)  # type: ignore[assignment]
        with pytest.raises(Interrupted):
            bed.writes(1)()
        bed.commits._counting = counting
        assert not bed.commits._in_use.locked()
        assert bed.commits._coming == 0
    bed.writes(2)()
    assert bed.numbers() == [2]


def test_a_group_left_open_for_one_who_only_looked_is_ended_by_him(bed: Bed) -> None:
    """On a slow disk those who wait for one commit are counted when the next group is left open."""
    with bed.commits._in_use:
        over = _Group(bed.connection.begin(), None, ALONE)
        over.transaction.commit()
    with bed.commits._in_use:  # as if a slow commit were under way, and one waited for it
        looker = bed.threads.submit(bed.commits._wait_for, over)
        ends = time.monotonic() + PATIENCE_S
        while bed.commits._coming < 1:
            assert time.monotonic() < ends
            time.sleep(0.001)
        group = bed.commits._join(ALONE)
        write(bed.connection, 1)
        bed.commits._keep(group)
        over.over.set()
    looker.result()
    assert group.over.is_set()
    assert bed.numbers() == [1]


def test_a_turn_keeps_no_block_from_the_commit_of_another_where_one_process_writes(
    bed: Bed,
) -> None:
    """In a file it would cost a commit for each block, and protect nothing."""
    block = TransactionBlock(is_beside=True, turn=LedgerTurn.SUM)
    with bed.commits.transaction(block):
        group = bed.commits._group
        assert group is not None
        assert not group.is_closed
