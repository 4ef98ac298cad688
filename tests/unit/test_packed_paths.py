"""Old rows of `published` are packed: a twelfth of the size, and every answer as before."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backhaul.adapters.ledger import (
    LedgerReader,
    SqlLedger,
    open_ledger,
    open_reader,
    publications,
)
from backhaul.adapters.ledger.paths.block import PublishedRow, pack, unpack
from backhaul.adapters.ledger.reading import arriving, locating
from backhaul.adapters.ledger.reading.plan_search import TextRange
from backhaul.adapters.ledger.schema import WrongValue
from backhaul.adapters.ledger.upkeep import packing
from backhaul.app.ledger_check import check_ledger
from backhaul.app.ledger_prune import StepSize
from backhaul.core.errors import LedgerDamaged
from backhaul.core.model import Location
from backhaul.core.outlook.expectation import ArrivalQuery, Wanted
from tests.contract.test_ledger import LANDING, T0
from tests.ledgers import bring

DAY = timedelta(days=1)
AT = T0 + 3650 * DAY
NOW = AT + 100 * DAY


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[SqlLedger]:
    with closing(open_ledger(path, create=True)) as ledger:
        yield ledger


def pack_all(ledger: SqlLedger, *, most: int = 500, before: Any = NOW) -> int:
    files, after = 0, ""
    while True:
        step = ledger.pack_paths(before, after=after, most=most)
        files += step.files
        if step.after is None:
            return files
        assert step.after > after
        after = step.after


def counts(path: Path) -> tuple[int, int]:
    """Rows, and files in blocks."""
    with closing(sqlite3.connect(path)) as connection:
        (rows,) = connection.execute("SELECT count(*) FROM published").fetchone()
        (files,) = connection.execute("SELECT coalesce(sum(files), 0) FROM packed_paths").fetchone()
    return rows, files


# ---------------------------------------------------------------- a block

texts = st.text(st.characters(codec="utf-8"), max_size=12)
hexes = st.integers(0, 2**64 - 1).map(lambda number: f"{number:016x}")
numbers = st.integers(0, 2**53)
rows = st.builds(
    PublishedRow,
    uri=texts.map("hdfs://nn/".__add__),
    transfer_id=hexes | texts,
    bucket=texts,
    key=texts,
    version_id=st.none() | hexes | texts,
    etag=hexes | hexes.map('"{}"'.format) | texts,
    size_bytes=numbers,
    last_modified=numbers,
    crc32c=hexes | texts,
    modified_ms=st.integers(-(2**53), 2**53),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(rows, min_size=1, max_size=8, unique_by=lambda row: row.uri))
def test_a_block_gives_back_what_went_in(files: list[PublishedRow]) -> None:
    files.sort()
    assert unpack(pack(files)) == files


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_block_is_refused_and_nothing_else_happens(data: st.DataObject) -> None:
    files = [
        PublishedRow(f"hdfs://nn/{n}", "t", "b", f"{n}", None, "e", n, n, "0a", n) for n in range(9)
    ]
    block = bytearray(pack(files))
    at = data.draw(st.integers(0, len(block) - 1))
    block[at] ^= data.draw(st.integers(1, 255))
    try:
        found = unpack(bytes(block[: data.draw(st.integers(at, len(block)))]))
    except WrongValue:
        return
    assert found == files  # a hint for the compressor has changed


# ---------------------------------------------------------------- every answer as before


def answers(reader: LedgerReader, places: list[Location]) -> dict[str, Any]:
    """Whatever is asked of `published`."""
    paths = [one.path for one in places]
    filesystem = places[0].filesystem
    query = ArrivalQuery(
        route="click",
        places=(LANDING.uri,),
        since=None,
        until=NOW,
        wanted=Wanted(objects=10**9, size_bytes=None, transfers=None),
    )
    between = reader.proven_between(filesystem, paths[3], paths[-2], most=7)
    return {
        "contents": reader.contents_at(places),
        "at": reader.proven_at(filesystem, paths),
        "between": between,
        "all": reader.proven_between(filesystem, "", "0"),
        "marks": list(reader.proven_marks(filesystem, "", "0")),
        "publishers": reader.publishers(places),
        "publisher": reader.publisher_of(places[1].uri),
        "nobody": reader.publisher_of(places[1].uri + "x"),
        "by": list(reader.published_by("t1", LANDING.join("t1"), batch=2)),
        "file": reader.published_at(places[2].uri),
        "filesystems": reader.filesystems(),
        "now": reader.files_now(
            "t1", LANDING.join("t1").join("").uri, TextRange.beginning(""), first=0, most=100
        ),
        "left": reader.files_left("t1", None, LANDING.join("t1").join("").uri, 5, most=100),
        "arrived": reader.arrived(query),
        "one": reader.arrived(replace(query, places=(places[2].uri,))),
    }


def brought(ledger: SqlLedger) -> list[Location]:
    """Six transfers, the last into the directory of the second."""
    for number in range(5):
        bring(ledger, f"t{number}", AT + number * DAY, objects=5)
    bring(ledger, "t5", AT + 60 * DAY, place="t1", objects=3)
    names = [f"part-{seq:05}.parquet" for seq in range(5)]
    return [LANDING.join(f"t{number}").join(name) for number in range(5) for name in names]


@pytest.fixture
def in_small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that five files are many."""
    monkeypatch.setattr(packing, "BLOCK_FILES", 4)
    monkeypatch.setattr(packing, "_FULLEST", 6)
    monkeypatch.setattr(arriving, "FILES_AT_ONCE", 3)
    monkeypatch.setattr(locating, "FILES_READ", 3)


@pytest.mark.usefixtures("in_small_pieces")
@pytest.mark.parametrize("before", [AT + 2 * DAY, AT + 50 * DAY, NOW])
@pytest.mark.parametrize("most", [1, 3, 500])
def test_every_answer_is_the_same_before_and_after(
    ledger: SqlLedger, path: Path, before: Any, most: int
) -> None:
    """Where some are packed, all but one directory, and all."""
    places = brought(ledger)
    with closing(open_reader(path)) as reader:
        expected = answers(reader, places)
        of_writer = ledger.published(places)
        assert len(of_writer) == len(expected["all"]) == 25
        assert expected["arrived"].objects == 25
        packable = reader.packable(before)

        assert pack_all(ledger, most=most, before=before) == packable

        rows, files = counts(path)
        assert (rows + files, files) == (25, packable)
        assert packable > 0
        assert answers(reader, places) == {**expected, "marks": []}
        assert ledger.published(places) == of_writer
        assert pack_all(ledger, before=before) == 0
    assert check_ledger(path).findings == []


@pytest.mark.usefixtures("in_small_pieces")
def test_marks_part_what_is_packed(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ranges for several readers: each has not many more files than wanted."""
    monkeypatch.setattr("backhaul.adapters.ledger.reading.reconciling.MARK_EVERY", 5)
    filesystem = brought(ledger)[0].filesystem
    pack_all(ledger, before=AT + 3 * DAY)
    with closing(open_reader(path)) as reader:
        marks = ["", *reader.proven_marks(filesystem, "", "0"), "0"]
        found = [len(reader.proven_between(filesystem, low, high)) for low, high in pairwise(marks)]
    assert len(marks) > 3
    assert max(found) < 5 + 5 + 6
    assert sum(found) + len(marks) - 2 >= 25  # a mark itself is in no range


@pytest.mark.usefixtures("in_small_pieces")
def test_what_is_older_never_replaces_what_is_packed(ledger: SqlLedger, path: Path) -> None:
    """Of one key, the newest version stays, whichever form it has."""
    bring(ledger, "t1", AT + 5 * DAY)
    assert pack_all(ledger) == 3
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE objects SET last_modified = last_modified - 999 * 1000000")
        connection.execute("UPDATE objects SET epoch = 9")
        connection.commit()
    place = LANDING.join("t1").join("part-00000.parquet")
    (newest,) = ledger.published([place]).values()

    again = bring(ledger, "t2", AT + DAY, place="t1", keys="t1")

    assert ledger.published([place]) == {place: newest}
    assert newest.transfer_id == "t1"
    later = bring(ledger, "t3", AT + 7 * DAY, place="t1", keys="t1")
    assert again == later
    (found,) = ledger.published([place]).values()
    assert found.transfer_id == "t3"
    assert counts(path) == (3, 3)
    assert pack_all(ledger) == 3
    assert counts(path) == (0, 3)
    assert ledger.published([place]) == {place: found}


def test_what_replaces_packed_files_unpacks_none_of_them(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each as a row again, while nobody else can write: a minute for a million of them."""
    monkeypatch.setattr(publications, "PROVEN_AT_ONCE", 4)
    bring(ledger, "t1", AT, keys="t1", objects=11)
    assert pack_all(ledger) == 11
    unpacked: list[PublishedRow] = []
    decide = publications._may_stay

    def noted(there: PublishedRow, new: Any) -> bool:
        stays = decide(there, new)
        unpacked.extend([there] if stays else [])
        return stays

    monkeypatch.setattr(publications, "_may_stay", noted)
    bring(ledger, "t2", AT + DAY, place="t1", keys="t1", objects=11)
    bring(ledger, "t3", AT + 2 * DAY, place="t1", keys="others", objects=11)
    assert not unpacked
    files = ledger.published([LANDING.join("t1").join(f"part-{n:05}.parquet") for n in range(11)])
    assert {one.transfer_id for one in files.values()} == {"t3"}
    assert (len(files), counts(path)) == (11, (11, 11))
    assert pack_all(ledger) == 11
    bring(ledger, "t4", AT - DAY, place="t1", keys="others", objects=5)
    assert len(unpacked) == 5


@pytest.mark.usefixtures("in_small_pieces")
def test_blocks_stay_in_order_whatever_comes_between(ledger: SqlLedger, path: Path) -> None:
    """By a seed: names anywhere, packed in steps of any size."""
    order = random.Random(7)
    every: dict[str, str] = {}
    for number in range(12):
        names = order.sample(range(60), order.randint(1, 12))
        place = LANDING.join(f"t{number}")
        bring(ledger, f"t{number}", AT, objects=1)
        with closing(sqlite3.connect(path)) as connection:
            row = connection.execute("SELECT * FROM published LIMIT 1").fetchone()
            connection.execute("DELETE FROM published WHERE uri LIKE ?", (f"{place.uri}/%",))
            for name in names:
                uri = LANDING.join(f"{name:03}").uri
                every[uri] = f"t{number}"
                marks = ", ".join("?" * len(row))
                connection.execute(
                    f"INSERT OR REPLACE INTO published VALUES ({marks})",  # noqa: S608
                    (uri, f"t{number}", *row[2:]),
                )
            connection.commit()
        pack_all(ledger, most=order.choice([1, 2, 5, 50]))
        assert check_ledger(path).findings == []
    with closing(open_reader(path)) as reader:
        found = reader.proven_between(LANDING.filesystem, "", "0")
    assert [one.path for one in found] == [Location.from_uri(uri).path for uri in sorted(every)]
    assert {LANDING.filesystem + one.path: one.transfer_id for one in found} == every
    with closing(sqlite3.connect(path)) as connection:
        sizes = [size for (size,) in connection.execute("SELECT files FROM packed_paths")]
    assert max(sizes) <= 6
    assert len(sizes) <= len(every) / 2


@pytest.mark.usefixtures("in_small_pieces")
def test_a_step_that_is_cut_off_has_not_happened(
    ledger: SqlLedger, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it has dropped rows, and before it has written all that is to replace them."""
    places = brought(ledger)
    pack_all(ledger, most=2, before=AT + 2 * DAY)
    before, expected = counts(path), ledger.published(places)
    calls = []

    def cut_off(files: list[PublishedRow]) -> bytes:
        calls.append(files)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return pack(files)

    with monkeypatch.context() as patched:
        patched.setattr(packing, "pack", cut_off)
        with pytest.raises(KeyboardInterrupt):
            pack_all(ledger)
    assert len(calls) == 3
    assert counts(path) == before
    assert ledger.published(places) == expected
    assert check_ledger(path).findings == []
    pack_all(ledger)
    assert ledger.published(places) == expected


# ---------------------------------------------------------------- what does not go in, and damage


def test_the_young_and_the_edited_stay_rows(ledger: SqlLedger, path: Path) -> None:
    bring(ledger, "old", AT)
    bring(ledger, "young", AT + 60 * DAY)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(
            "UPDATE published SET size_bytes = 'many' WHERE uri LIKE '%old/part-00001%'"
        )
        connection.commit()
    assert pack_all(ledger, before=AT + 30 * DAY) == 2
    assert counts(path) == (4, 2)


def _damage(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE packed_paths SET block = substr(block, 1, 90)")


def _fewer(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE packed_paths SET files = files + 1")


def _moved(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE packed_paths SET last_uri = last_uri || 'x'")


@pytest.mark.parametrize("damage", [_damage, _fewer, _moved])
def test_a_damaged_block_is_named_and_never_read_as_nothing(
    ledger: SqlLedger, path: Path, damage: Callable[[sqlite3.Connection], None]
) -> None:
    directory = bring(ledger, "t1", AT)
    pack_all(ledger)
    with closing(sqlite3.connect(path)) as connection:
        damage(connection)
        connection.commit()
    assert [one.kind for one in check_ledger(path).findings] == ["rows"]
    place = directory.join("part-00001.parquet")
    with closing(open_reader(path)) as reader, pytest.raises(LedgerDamaged, match="block"):
        reader.published_at(place.uri)
    with pytest.raises(LedgerDamaged, match="block"):
        ledger.published([place])


def test_two_blocks_of_the_same_paths_are_a_finding(ledger: SqlLedger, path: Path) -> None:
    bring(ledger, "t1", AT)
    pack_all(ledger)
    with closing(sqlite3.connect(path)) as connection:
        (files,) = [
            unpack(block) for (block,) in connection.execute("SELECT block FROM packed_paths")
        ]
        values = (files[1].uri, files[1].uri, 1, pack(files[1:2]))
        connection.execute("INSERT INTO packed_paths VALUES (?, ?, ?, ?)", values)
        connection.commit()
    (finding,) = check_ledger(path).findings
    assert (finding.kind, "two blocks" in finding.what) == ("rows", True)


def test_a_block_without_its_transfer_is_a_finding(ledger: SqlLedger, path: Path) -> None:
    bring(ledger, "t1", AT)
    pack_all(ledger)
    with closing(sqlite3.connect(path)) as connection:
        for table in ("objects", "journal", "seals"):
            connection.execute(f"DELETE FROM {table}")  # noqa: S608
        connection.execute("DELETE FROM transfers")
        connection.commit()
    whats = [one.what for one in check_ledger(path).findings]
    assert "has published files, and no row of its own" in whats


# ---------------------------------------------------------------- steps


def test_a_step_is_made_smaller_while_it_takes_long_and_larger_while_it_does_not() -> None:
    size = StepSize()
    for _ in range(9):
        size.note(0.2)
    assert size.rows == StepSize.LEAST
    size.note(0.03)
    assert size.rows == StepSize.LEAST
    for _ in range(9):
        size.note(0.001)
    assert size.rows == StepSize.MOST
