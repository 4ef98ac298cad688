"""What was published is counted from the ledger: where, when, and in short transactions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from backhaul.adapters.ledger import EditedLedger, LedgerReader, SqlLedger, open_ledger, open_reader
from backhaul.adapters.ledger.expectations import KEPT
from backhaul.adapters.ledger.reading import arriving
from backhaul.core.model import Location, TransferState
from backhaul.core.objects import ManifestSum
from backhaul.core.outlook.counting import Count
from backhaul.core.outlook.expectation import (
    ArrivalQuery,
    Arrived,
    ExpectationRecord,
    ExpectationState,
    Wanted,
    statuses,
)
from tests.contract.test_ledger import LANDING, begin, claim, planned, proof

NOON = datetime(2026, 12, 1, 12, tzinfo=UTC)
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
ALL = Wanted(objects=10**6)


ANY: dict[str, Any] = {
    "route": "r", "places": (), "since": None, "until": NOON, "wanted": ALL,
}  # fmt: skip


class Shelf:
    """A ledger with published files."""

    def __init__(self, path: Path, landing: Location = LANDING) -> None:
        self.path = path
        self.landing = landing
        self.ledger: SqlLedger = open_ledger(path, create=True)

    def publish(
        self,
        name: str,
        below: str,
        files: int = 2,
        *,
        at: datetime = NOON,
        relatives: tuple[str, ...] = (),
        state: TransferState = TransferState.DONE,
    ) -> None:
        """Files of 100, 101 and so on bytes, `part-00000.parquet` or as given."""
        names = relatives or tuple(f"part-{seq:05d}.parquet" for seq in range(files))
        objects = [planned(seq, relative) for seq, relative in enumerate(names)]
        begin(self.ledger, name, None)
        place = self.landing.join(below) if below else self.landing
        found = claim(self.ledger, name, place, first=objects, is_complete=True)
        assert found is not None
        staged = [proof(one.seq) for one in objects]
        assert self.ledger.intend(name, found.epoch, staged, at)
        size = sum(one.pin.size_bytes for one in objects)
        manifest = ManifestSum(
            manifest="ab", objects=len(objects), size_bytes=size, bytes_read=0, copied_bytes=0
        )
        assert self.ledger.finish(name, found.epoch, state, "tree", at, manifest=manifest)

    def count(self, *places: str, wanted: Wanted = ALL, **other: Any) -> Arrived:
        known: dict[str, Any] = {"route": "clickstream", "since": None, "until": NOON}
        query = ArrivalQuery(
            places=tuple(self.landing.join(one).uri for one in places),
            wanted=wanted,
            **known | other,
        )
        with closing(open_reader(self.path)) as reader:
            return reader.arrived(query)


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Shelf]:
    made = Shelf(tmp_path / "ledger.db")
    yield made
    made.ledger.close()


# ---------------------------------------------------------------- in a directory


def test_what_is_in_a_directory_is_counted_whoever_brought_it(shelf: Shelf) -> None:
    shelf.publish("t1", "day=01", 3)
    shelf.publish("t2", "day=02", 1)
    shelf.publish("t3", "", relatives=("day=03/a", "day=03/b/c", "other"))
    for sibling in ("day=01-b", "day=01.x", "day=010"):
        shelf.publish(sibling, sibling)
    assert shelf.count("day=01") == Arrived(objects=3, size_bytes=303, transfers=1)
    assert shelf.count("day=03") == Arrived(objects=2, size_bytes=201, transfers=1)
    assert shelf.count("day=03/a") == Arrived(objects=1, size_bytes=100, transfers=1)
    assert shelf.count("day=01", "day=02").objects == 4
    assert shelf.count("day=04") == Arrived()


def test_only_what_was_done_by_then_is_there(shelf: Shelf) -> None:
    shelf.publish("t1", "day=01", at=NOON)
    shelf.publish("t2", "day=01/late", at=NOON + MINUTE)
    assert shelf.count("day=01").objects == 2
    assert shelf.count("day=01", until=NOON + MINUTE).objects == 4
    assert shelf.count("day=01", until=NOON - MINUTE).objects == 0


def test_pieces_are_short_and_none_is_counted_twice(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "FILES_AT_ONCE", 3)
    shelf.publish("t1", "day=01", 7)
    shelf.publish("t2", "day=02", 6)
    assert shelf.count("day=01") == Arrived(objects=7, size_bytes=721, transfers=1)
    assert shelf.count("day=02").objects == 6
    assert shelf.count("day=01", wanted=Wanted(objects=2)).objects == 3, "the first piece is enough"


# ---------------------------------------------------------------- on a route


def test_what_a_route_did_within_a_time_is_counted(shelf: Shelf) -> None:
    shelf.publish("t1", "a", at=NOON - 2 * MINUTE)
    shelf.publish("t2", "b", at=NOON - MINUTE)
    shelf.publish("t3", "c", 3, at=NOON)
    shelf.publish("t4", "d", at=NOON + MINUTE)
    shelf.publish("t5", "e", at=NOON, state=TransferState.SUPERSEDED)
    since = NOON - 2 * MINUTE
    assert shelf.count(since=since) == Arrived(objects=5, size_bytes=504, transfers=2)
    assert shelf.count(since=since, route="other") == Arrived()


def test_below_a_place_only_what_is_below_it_counts(shelf: Shelf) -> None:
    since = NOON - MINUTE
    shelf.publish("t1", "orders/a", 3)
    shelf.publish("t2", "clicks")
    shelf.publish("t3", "orders-old")
    shelf.publish("t4", "orders")
    shelf.publish("above", "", relatives=("orders/x", "clicks/y"))
    shelf.publish("before", "orders/b", at=since)
    assert shelf.count("orders", since=since) == Arrived(objects=6, size_bytes=604, transfers=3)


def test_transfers_are_read_in_pieces_too(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arriving, "TRANSFERS_AT_ONCE", 2)
    for number in range(6):
        shelf.publish(f"t{number}", f"d{number}", 1)
    since = NOON - MINUTE
    assert shelf.count(since=since).transfers == 6
    assert shelf.count(since=since, wanted=Wanted(transfers=1)).transfers == 2


def plans(reader: LedgerReader, act: Callable[[], object]) -> list[str]:
    """How SQLite runs each statement of it."""
    found: list[str] = []
    statements: list[tuple[str, Any]] = []

    def note(_c: object, _cursor: object, statement: str, values: Any, *_: object) -> None:
        statements.append((statement, values))

    engine = reader._engine
    event.listen(engine, "before_cursor_execute", note)
    act()
    event.remove(engine, "before_cursor_execute", note)
    with engine.begin() as connection:
        for statement, values in statements:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
            found += [row[3] for row in rows]
    return found


def test_each_count_reads_an_index_and_goes_on_where_it_was(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "TRANSFERS_AT_ONCE", 1)
    shelf.publish("t1", "a")
    with closing(open_reader(shelf.path)) as reader:
        in_directory = ArrivalQuery(
            route="clickstream",
            places=(LANDING.join("a").uri,),
            since=None,
            until=NOON,
            wanted=ALL,
        )
        on_route = replace(in_directory, places=(), since=NOON - DAY)
        by_time, goes_on = plans(reader, lambda: reader.arrived(on_route))
        by_path = plans(reader, lambda: reader.arrived(in_directory))
    assert "ix_transfers_done (route=? AND finished_at>? AND finished_at<?)" in by_time
    assert "ix_transfers_done (route=? AND (finished_at,id)>(?,?) AND finished_at<?)" in goes_on
    # What is scanned and sorted are the rows of one piece.
    assert not [one for one in by_path if "SCAN published" in one or "SCAN transfers" in one]
    assert any("published" in one and "uri>? AND uri<?" in one for one in by_path)
    assert any("SEARCH transfers USING PRIMARY KEY (id=?)" in one for one in by_path), by_path


def test_a_count_rests_between_its_pieces_and_goes_on_with_another_reader(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "FILES_AT_ONCE", 2)
    monkeypatch.setattr(arriving, "TRANSFERS_AT_ONCE", 2)
    for number in range(5):
        shelf.publish(f"t{number}", f"day=01/{number}", 3)
    shelf.publish("above", "", relatives=("day=01/x", "day=01/y", "day=01/z", "day=02/x"))
    places = (shelf.landing.join("day=01").uri,)
    for since, pieces in ((None, 11), (NOON - DAY, 15)):
        query = ArrivalQuery(
            route="clickstream", places=places, since=since, until=NOON, wanted=ALL
        )
        found = []
        count: Count | None = None
        while count is None or not count.is_over:
            with closing(open_reader(shelf.path)) as reader:
                count = reader.count_arrivals(query, count)
            found.append(count.found.objects)
        assert found == sorted(found)
        assert count.found == Arrived(objects=18, size_bytes=1818, transfers=6)
        assert len(found) == pieces
    with closing(open_reader(shelf.path)) as reader, pytest.raises(TypeError):
        reader.count_arrivals(ArrivalQuery(**ANY), Count())


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ("UPDATE published SET size_bytes = 'many'", ("a",)),
        ("UPDATE published SET size_bytes = -1", ("a",)),
        ("UPDATE published SET transfer_id = x'00'", ("a",)),
        ("UPDATE transfers SET bytes_planned = -1", ()),
        ("UPDATE transfers SET objects_planned = 'many'", ()),
        ("UPDATE transfers SET canonical = x'00'", ()),
    ],
)
def test_what_no_agent_wrote_is_not_counted(
    shelf: Shelf, change: str, places: tuple[str, ...]
) -> None:
    shelf.publish("t1", "a")
    with shelf.ledger._engine.begin() as connection:
        connection.exec_driver_sql(change)
    with pytest.raises(EditedLedger):
        shelf.count(*places, since=None if places else NOON - DAY)


def test_a_time_that_is_none_is_not_counted_on_from(shelf: Shelf) -> None:
    shelf.publish("t1", "a")
    with shelf.ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE transfers SET finished_at = 4611686018427387904")
    far = datetime(9999, 12, 31, tzinfo=UTC)
    assert shelf.count(since=NOON - DAY, until=far) == Arrived(), "it is after every time"


# ---------------------------------------------------------------- deadlines


def record(name: str = "daily", day: int = 1, **other: Any) -> ExpectationRecord:
    known: dict[str, Any] = {
        "route": "r",
        "deadline": datetime(2026, 12, day, 5, tzinfo=UTC),
        "calendar": "06:00 Europe/Berlin mon",
        "due": "2026-12-01 06:00 Europe/Berlin",
        "place": "hdfs://nn/landing/day=01",
        "state": ExpectationState.DUE,
        "wanted": Wanted(objects=24, size_bytes=5),
        "found": Arrived(objects=1, size_bytes=2, transfers=3),
    }
    return ExpectationRecord(name=name, **known | other)


def kept(shelf: Shelf) -> list[ExpectationRecord]:
    with closing(open_reader(shelf.path)) as reader:
        return reader.expectations()


def test_a_deadline_is_kept_as_it_is(shelf: Shelf) -> None:
    assert kept(shelf) == []
    one = record()
    assert shelf.ledger.note_expectation(one)
    assert kept(shelf) == [one]
    assert not shelf.ledger.note_expectation(replace(one, found=Arrived(objects=2)))
    uncounted = replace(one, found=None)
    shelf.ledger.note_expectation(uncounted)
    assert kept(shelf) == [uncounted]
    late = replace(one, state=ExpectationState.LATE, judged_at=NOON, arrived_at=NOON + MINUTE)
    assert shelf.ledger.note_expectation(late)
    assert not shelf.ledger.note_expectation(late)
    assert kept(shelf) == [late]


def test_what_is_not_judged_yet_comes_before_what_is_due_next(shelf: Shelf) -> None:
    for day in (2, 3):
        shelf.ledger.note_expectation(record(day=day))
    shelf.ledger.note_expectation(record(day=1, state=ExpectationState.MET, judged_at=NOON))
    (found,) = statuses(kept(shelf))
    assert (found.next.deadline.day, found.last and found.last.deadline.day) == (2, 1)


def test_the_newest_come_first_and_old_ones_are_left_out(shelf: Shelf) -> None:
    for day in (1, 12, 20):
        shelf.ledger.note_expectation(record(day=day))
    assert [one.deadline.day for one in kept(shelf)] == [20, 12]


def test_one_that_is_due_much_later_hides_no_other(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arriving, "EXPECTATIONS_AT_ONCE", 1)
    missed = {"state": ExpectationState.MISSED, "judged_at": NOON}
    for name in ("daily", "thu"):
        shelf.ledger.note_expectation(record(name, 1, **missed))
        shelf.ledger.note_expectation(record(name, 8))
    shelf.ledger.note_expectation(record("mon", 12))
    shelf.ledger.note_expectation(record("thu", 30, route="other"))
    found = {one.next.subject: one.is_missed for one in statuses(kept(shelf))}
    assert found == {"r/daily": True, "r/thu": True, "r/mon": False, "other/thu": False}


def test_of_one_of_every_day_those_of_half_a_month_are_read(shelf: Shelf) -> None:
    for day in range(1, 31):
        shelf.ledger.note_expectation(record(day=day))
    assert [one.deadline.day for one in kept(shelf)] == list(range(30, 14, -1))
    with closing(open_reader(shelf.path)) as reader:
        found = plans(reader, reader.expectations)
    assert found == [
        "SCAN expectations",  # of one row, the first one
        "SEARCH expectations USING PRIMARY KEY (route=? AND name=?)",
        "SEARCH expectations USING PRIMARY KEY ((route,name)>(?,?))",
    ]


def test_some_are_forgotten(shelf: Shelf) -> None:
    one, other = record("a"), record("b")
    for each in (one, other, record("a", 2)):
        shelf.ledger.note_expectation(each)
    shelf.ledger.forget_expectations([one])
    assert {(each.name, each.deadline.day) for each in kept(shelf)} == {("a", 2), ("b", 1)}


def test_after_a_year_and_more_they_go_by_themselves(shelf: Shelf) -> None:
    old = record()
    for each in (old, record("other"), replace(old, deadline=old.deadline + KEPT + DAY)):
        shelf.ledger.note_expectation(each)
    with closing(open_reader(shelf.path)) as reader, reader._engine.begin() as connection:
        names = connection.exec_driver_sql("SELECT name FROM expectations").scalars().all()
    assert sorted(names) == ["daily", "other"]


def test_a_row_that_no_agent_wrote_is_refused(shelf: Shelf) -> None:
    shelf.ledger.note_expectation(record())
    with shelf.ledger._engine.begin() as connection:
        connection.exec_driver_sql("UPDATE expectations SET state = 'perhaps'")
    with pytest.raises(EditedLedger, match="perhaps"):
        kept(shelf)
