"""What a search finds, how long each of its pieces is, and where it goes on."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.ledger import LedgerReader, open_reader
from backhaul.adapters.ledger.reading.searching import SearchReader, TransferFilter
from backhaul.app import search as searching
from backhaul.app.one_transfer import read_one
from backhaul.app.search import Search, SearchedFor, kind_of_text, search, split_path
from backhaul.core.errors import BadArgument, PermanentError
from backhaul.core.model import TransferState
from backhaul.core.transfer_ids import time_part
from tests.dashboard_ledger import HOUR, LONG, MINUTE, Filler, filled

NOW = datetime(2026, 12, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LedgerReader, Filler]]:
    path = tmp_path_factory.mktemp("search") / "ledger.db"
    filler = filled(path, NOW)
    reader = open_reader(path)
    yield reader, filler
    reader.close()


@pytest.fixture
def reader(world: tuple[LedgerReader, Filler]) -> LedgerReader:
    return world[0]


@pytest.fixture
def ids(world: tuple[LedgerReader, Filler]) -> dict[str, str]:
    return world[1].ids


def found(reader: SearchReader, wanted: Search) -> list[str]:
    """Ids, over all pages."""
    every: list[str] = []
    go_on = None
    for _ in range(1000):
        page = search(reader, wanted, go_on=go_on)
        every += [one.id for one in page.found]
        go_on = page.go_on
        if go_on is None:
            return every
    raise AssertionError(every)


def texts(text: str, kind: SearchedFor | None = None, **filters: Any) -> Search:
    return Search(text=text, kind=kind, filters=TransferFilter(**filters))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("s3://raw/click/a", SearchedFor.SOURCE),
        ("s3a://raw/click/a", SearchedFor.SOURCE),
        ("/landing/click", SearchedFor.PATH),
        ("hdfs://nn1:8020/landing", SearchedFor.PATH),
        ("file:///landing", SearchedFor.PATH),
        ("0mh3k2v1x", SearchedFor.ID),
        ("0mx40674u0000045", SearchedFor.ID),
        ("11111111-1111-4222-8333-444455556666", SearchedFor.MESSAGE),
        ("11111111-1111-4222-8333-444455556666#2", SearchedFor.MESSAGE),
        ("9f86d081884c7d659a2feaa0c55ad015", SearchedFor.DIGEST),
        ("part-00001", SearchedFor.TEXT),
        ("0mh", SearchedFor.TEXT),
        ("day=01", SearchedFor.TEXT),
    ],
)
def test_a_text_is_taken_for_what_it_looks_like(text: str, kind: SearchedFor) -> None:
    assert kind_of_text(text) is kind


def test_without_a_text_everything_is_found_newest_first(
    reader: LedgerReader, ids: dict[str, str]
) -> None:
    every = found(reader, Search())
    assert every == sorted(ids.values(), reverse=True)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ({"states": (TransferState.HELD, TransferState.WAITING)}, {"held", "waiting"}),
        ({"code": "E_SRC_EMPTY"}, {"empty", "empty2"}),
        ({"route": "models"}, {"cluster"}),
        ({"since": NOW - 11 * MINUTE}, {"waiting", "running", "h10"}),
        ({"until": NOW - 23 * HOUR}, {"00", "01"}),
        ({"since": NOW - 3 * HOUR, "code": "E_SRC_EMPTY", "route": "click"}, {"empty", "empty2"}),
        ({"code": "E_SRC_EMPTY", "route": "models"}, set()),
        ({"code": "e_src_empty"}, set()),
        ({"sender": "nobody"}, set()),
    ],
)
def test_each_filter_narrows_and_all_have_to_hold(
    reader: LedgerReader, ids: dict[str, str], filters: dict[str, Any], names: set[str]
) -> None:
    assert set(found(reader, texts("", **filters))) == {ids[name] for name in names}


def test_a_sender_is_found_by_a_part_of_its_id(reader: LedgerReader, ids: dict[str, str]) -> None:
    assert set(found(reader, texts("", sender="emr-step"))) == set(ids.values())


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("s3://raw/click/day=05/part-00001.parquet", {"05"}),  # an object of its plan
        ("s3a://raw/click/day=05/part-00001.parquet", {"05"}),
        ("s3://raw/click/day=05/part-0000", {"05"}),  # the beginning of one
        ("s3://raw/click/day=05/", {"05"}),
        ("s3://raw/click/day=0", {f"0{number}" for number in range(10)}),
        ("s3://raw/click/day=05/part-00001.parquet.gz", set()),
        ("s3://other/click/day=05/", set()),
        ("/landing/click/day=05/part-00001.parquet", {"05"}),
        ("/landing/click/day=05", {"05"}),
        ("/landing/click/day=05/", {"05"}),
        ("/landing/models", {"cluster"}),
        ("/landing/click/day=0", set()),  # no such directory: half a name
        ("hdfs://nn1:8020/landing/models", {"cluster"}),
        ("hdfs://other:8020/landing/models", set()),
        ("/landing/click/day=05/part-00001.parquet/x", set()),
        ("MODELS", {"cluster"}),
        ("day=h1/", {"h1"}),
        ("d_y=h1/", set()),  # no wildcard
        ("%", set()),
    ],
)
def test_an_object_or_a_place_leads_to_its_transfers(
    reader: LedgerReader, ids: dict[str, str], text: str, names: set[str]
) -> None:
    assert set(found(reader, texts(text))) == {ids[name] for name in names}


def test_a_hostile_key_is_found_as_it_is(reader: LedgerReader, ids: dict[str, str]) -> None:
    assert found(reader, texts(f"s3://raw/{LONG}")) == [ids["hostile-long"]]
    assert found(reader, texts("<script>alert(1)", SearchedFor.TEXT)) == [ids["hostile-script"]]


def test_a_file_leads_to_the_transfer_that_published_it(
    reader: LedgerReader, ids: dict[str, str], world: tuple[LedgerReader, Filler]
) -> None:
    ledger_id = ids["05"]
    path = "/landing/click/day=05/part-00001.parquet"
    for text in (path, f"hdfs://nn1:8020{path}"):
        ((uri, transfer),) = search(reader, texts(text)).published
        assert (uri, transfer.id) == (f"hdfs://nn1:8020{path}", ledger_id)
    assert search(reader, texts(f"hdfs://other:8020{path}")).published == ()
    assert search(reader, texts("/landing/none")).published == ()


def test_ids_and_digests_are_found_by_their_beginning(
    reader: LedgerReader, ids: dict[str, str]
) -> None:
    held = ids["held"]
    assert found(reader, texts(held)) == [held]
    assert held in found(reader, texts(held[:8]))
    row = reader.transfer(held)
    assert found(reader, texts(row.message_id or "")) == [held]
    assert found(reader, texts((row.message_id or "")[:20], SearchedFor.MESSAGE)) == [held]
    number = list(ids).index("held")
    assert found(reader, texts(f"{number:064x}")) == [held]
    seal = reader.sealed(ids["05"])
    assert seal is not None
    assert found(reader, texts(seal.seal[:20])) == [ids["05"]]


def test_filters_hold_for_ids_and_messages_too(reader: LedgerReader, ids: dict[str, str]) -> None:
    held = ids["held"]
    cases: list[tuple[dict[str, Any], bool]] = [
        ({"states": (TransferState.HELD,)}, True),
        ({"states": (TransferState.DEAD,)}, False),
        ({"route": "events", "code": "E_HDFS_UNREACHABLE", "sender": "EMR-"}, True),
        ({"route": "click"}, False),
        ({"code": "E_X"}, False),
        ({"since": NOW - 15 * MINUTE, "until": NOW}, True),
        ({"since": NOW}, False),
        ({"until": NOW - 15 * MINUTE}, False),
        ({"sender": "other"}, False),
    ]
    for filters, is_there in cases:
        assert bool(found(reader, texts(held, **filters))) is is_there, filters


# ---------------------------------------------------------------- pieces


class Ticking:
    """A clock that goes on by a step at each look."""

    def __init__(self, step_s: float) -> None:
        self.now_s, self.step_s = 0.0, step_s

    def __call__(self) -> float:
        self.now_s += self.step_s
        return self.now_s


@pytest.mark.parametrize("text", ["", "s3://raw/click/day=running/part-00038.parquet", "day="])
def test_a_search_out_of_time_goes_on_where_it_was(
    reader: LedgerReader, ids: dict[str, str], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little time there is, page after page finds the same as one search."""
    monkeypatch.setattr(searching, "FIRST_SCAN", 7)
    monkeypatch.setattr(searching, "LEAST_SCAN", 3)
    monkeypatch.setattr(searching, "MOST_SCAN", 7)
    whole = found(reader, texts(text))
    every: list[str] = []
    go_on, pages, reached = None, 0, NOW + HOUR
    while True:
        page = search(reader, texts(text), go_on=go_on, monotonic=Ticking(1.0))
        every += [one.id for one in page.found]
        pages += 1
        go_on = page.go_on
        if go_on is None:
            break
        assert page.searched_to is not None
        assert page.searched_to <= reached
        reached = page.searched_to
        assert pages < 500
    assert every == whole
    assert pages > 5
    if text.startswith("s3:"):
        assert every == [ids["running"]]


def test_pieces_grow_while_they_are_quick_and_shrink_when_they_are_slow() -> None:
    for step_s, factor in ((0.0001, 2), (1.0, 0.25)):
        walk = searching._Walk(None, Search(), None, Ticking(step_s))  # type: ignore[arg-type]
        with walk._timed():
            pass
        assert walk._scan == searching.FIRST_SCAN * factor


def test_a_page_holds_so_many_and_goes_on(
    reader: LedgerReader, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "PAGE", 10)
    page = search(reader, Search())
    assert len(page.found) == 10
    assert found(reader, Search()) == sorted(ids.values(), reverse=True)


@pytest.mark.parametrize("go_on", ["x y", "0mx~", "~5", "0mx~-1", "A", "0" * 65, "é", "0\n"])
def test_a_place_to_go_on_that_is_none_is_refused(reader: LedgerReader, go_on: str) -> None:
    with pytest.raises(BadArgument, match="E_SEARCH"):
        search(reader, Search(), go_on=go_on)


def test_paths_are_taken_apart() -> None:
    assert split_path("hdfs://nn:1/a/b/") == ("hdfs://nn:1", "/a/b")
    assert split_path("file:///a") == ("file://", "/a")
    assert split_path("/") == ("", "/")
    assert split_path("odd") == ("", "odd")


def test_ids_sort_by_their_time() -> None:
    times = [NOW + number * timedelta(milliseconds=37) for number in range(100)]
    parts = [time_part(at) for at in times]
    assert parts == sorted(parts)
    assert time_part(datetime(1969, 1, 1, tzinfo=UTC)) == "0" * 9


# ---------------------------------------------------------------- one transfer


def test_one_transfer_has_its_journal_proofs_objects_and_acts(
    reader: LedgerReader, ids: dict[str, str]
) -> None:
    one = read_one(reader, ids["denied"])
    assert one.row.code == "E_SRC_DENIED"
    assert [line.state for line in one.journal] == [
        TransferState.RECEIVED,
        TransferState.STAGING,
        TransferState.DEAD,
    ]
    assert not one.is_journal_cut
    assert sum(total.objects for total in one.proofs) == one.counted == 3
    assert one.proofs[-1].proof is None
    assert len(one.objects) == 3
    ((act),) = one.acts
    assert (act.operator, act.action, act.outcome) == ("ben@edge1", "cancel", "done")
    assert read_one(reader, ids["05"]).seal is not None
    assert read_one(reader, ids["held"]).seal is None


def test_sums_over_many_objects_end_when_their_time_is_over(
    reader: LedgerReader, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.app.one_transfer.PIECE", 7)
    whole = read_one(reader, ids["running"])
    assert (whole.counted, whole.is_counting_cut) == (40, False)
    cut = read_one(reader, ids["running"], monotonic=Ticking(1.0))
    assert (cut.counted, cut.is_counting_cut) == (7, True)


def test_a_long_journal_is_cut_to_its_newest_lines(
    reader: LedgerReader, ids: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backhaul.app.one_transfer.JOURNAL_MOST", 2)
    one = read_one(reader, ids["denied"])
    assert one.is_journal_cut
    assert [line.state for line in one.journal] == [TransferState.STAGING, TransferState.DEAD]


def test_an_id_that_is_none_is_named(reader: LedgerReader) -> None:
    for text in ("0zzz", "x", "0"):
        with pytest.raises(PermanentError, match="E_NO_SUCH_TRANSFER"):
            read_one(reader, text)


def test_the_searched_path_may_be_of_another_kind_of_ledger(tmp_path: Path) -> None:
    """An empty ledger has no queue, no file system and no transfer."""
    from backhaul.adapters.ledger import open_ledger

    path = tmp_path / "ledger.db"
    open_ledger(path, create=True).close()
    reader = open_reader(path)
    for text in ("", "/x", "s3://a/b", "11111111-1111-4222-8333-444455556666", "abc"):
        page = search(reader, texts(text))
        assert (page.found, page.go_on, page.published) == ((), None, ())
    reader.close()
