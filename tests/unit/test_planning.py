"""From a listing to a plan: object or prefix, names, clashes, limits, page boundaries."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.core.errors import NotAllowed, PermanentError
from backhaul.core.model import EventFacts, Limits, Location, NameMap, Source
from backhaul.core.objects import Pin, PlannedObject, Totals
from backhaul.core.transfer.listing import PAGE_SIZE
from backhaul.core.transfer.planning import Planner, Resolution, resolve
from backhaul.testing.fakes import FakeClock, FakeStore, Faults
from backhaul.testing.fakes.faults import Fault
from tests.contract.test_ledger import DAY

UNLIMITED = Limits()


@pytest.fixture
def store() -> FakeStore:
    return FakeStore(FakeClock(), new_digest)


def fill(store: FakeStore, *keys: str, data: bytes = b"x") -> None:
    for key in keys:
        store.put(key, data)


def ask(store: FakeStore, key: str) -> Resolution:
    return resolve(store, Source(bucket="raw", key=key))


def plan(
    store: FakeStore, key: str, limits: Limits = UNLIMITED, name_map: NameMap = NameMap.STRICT
) -> tuple[list[PlannedObject], Totals]:
    found = ask(store, key)
    planner = Planner(
        source=found.source,
        is_object=found.is_object,
        directory=DAY,
        name_map=name_map,
        limits=limits,
    )
    planned = [one for page in found.pages for one in planner.add(page.pins)]
    return planned, planner.finish()


def names(store: FakeStore, key: str) -> list[str]:
    return [one.relative for one in plan(store, key)[0]]


# ---------------------------------------------------------------- object or prefix


def test_object_is_planned_under_its_own_name(store: FakeStore) -> None:
    fill(store, "a/b/part-0", "a/b/part-00")

    assert ask(store, "a/b/part-0").is_object
    assert names(store, "a/b/part-0") == ["part-0"]


def test_object_among_longer_names_is_the_object_alone(store: FakeStore) -> None:
    fill(store, "a", "a-b", "a.c", "ab")

    assert names(store, "a") == ["a"]


def test_prefix_is_planned_with_what_comes_after_it(store: FakeStore) -> None:
    fill(store, "p/x", "p/sub/y", "q/z")

    assert names(store, "p/") == ["sub/y", "x"]


def test_prefix_without_its_slash_is_found(store: FakeStore) -> None:
    fill(store, "day=1/x", "day=10/y")

    found = ask(store, "day=1")
    assert (found.is_object, found.source.key) == (False, "day=1/")
    assert names(store, "day=1") == ["x"]


def test_whole_bucket_is_a_prefix(store: FakeStore) -> None:
    fill(store, "x", "p/y")

    assert names(store, "") == ["p/y", "x"]


@pytest.mark.parametrize("asked", ["p/", "p"])
def test_day_1_never_brings_day_10(store: FakeStore, asked: str) -> None:
    fill(store, "p/a", "p0/b", "p-1/c")

    assert names(store, asked) == ["a"]


def test_object_that_is_also_a_prefix_asks_for_the_slash(store: FakeStore) -> None:
    fill(store, "p", "p/x")

    with pytest.raises(PermanentError) as caught:
        ask(store, "p")
    assert caught.value.code == "E_SRC_AMBIGUOUS"
    assert "s3://raw/p/" in caught.value.hint
    assert names(store, "p/") == ["x"]


@pytest.mark.parametrize("is_also_prefix", [False, True])
def test_ambiguity_is_seen_beyond_a_full_page(store: FakeStore, *, is_also_prefix: bool) -> None:
    fill(store, "p", *(f"p-{n:04d}" for n in range(PAGE_SIZE)))
    if is_also_prefix:
        fill(store, "p/x")
        with pytest.raises(PermanentError, match="E_SRC_AMBIGUOUS"):
            ask(store, "p")
    else:
        assert names(store, "p") == ["p"]


def test_object_and_directory_is_decided_with_one_listing() -> None:
    faults = Faults()
    store = FakeStore(FakeClock(), new_digest, faults=faults)
    fill(store, "p", "pq")
    ask(store, "p")

    assert faults.count("store.list") == 1


# ---------------------------------------------------------------- events


EVENT = EventFacts(key="p/a", sequencer="01")


def test_object_of_an_event_is_found_without_a_listing() -> None:
    faults = Faults()
    store = FakeStore(FakeClock(), new_digest, faults=faults)
    fill(store, "p/a", "p/a/below", "p/ab")
    found = resolve(store, Source(bucket="raw", key="p/a"), event=EVENT)

    assert [pin.key for page in found.pages for pin in page.pins] == ["p/a"]
    assert (faults.count("store.current"), faults.count("store.list")) == (1, 0)


@pytest.mark.parametrize("fault", [Fault.FAIL, Fault.LOST])
def test_object_of_an_event_is_listed_where_one_request_does_not_show_it(fault: Fault) -> None:
    faults = Faults()
    store = FakeStore(FakeClock(), new_digest, faults=faults)
    fill(store, "p/a", "p/ab")
    faults.at("store.current", 1, fault)
    found = resolve(store, Source(bucket="raw", key="p/a"), event=EVENT)

    assert [pin.key for page in found.pages for pin in page.pins] == ["p/a"]
    assert faults.count("store.list") == 1


def test_object_of_an_event_is_gone_only_where_a_listing_shows_that(store: FakeStore) -> None:
    fill(store, "p/a/below", "p/ab")

    with pytest.raises(PermanentError, match="E_SRC_EMPTY"):
        resolve(store, Source(bucket="raw", key="p/a"), event=EVENT)


# ---------------------------------------------------------------- nothing


@pytest.mark.parametrize("key", ["none", "none/", ""])
def test_nothing_is_an_error(store: FakeStore, key: str) -> None:
    with pytest.raises(PermanentError) as caught:
        plan(store, key)
    assert caught.value.code == "E_SRC_EMPTY"


def test_markers_alone_are_nothing(store: FakeStore) -> None:
    fill(store, "p/", "p/sub/", "p/old_$folder$", data=b"")

    with pytest.raises(PermanentError) as caught:
        plan(store, "p/")
    assert caught.value.code == "E_SRC_EMPTY"
    assert "3 directory markers" in caught.value.message


def test_markers_are_counted_and_not_copied(store: FakeStore) -> None:
    fill(store, "p/", "p/sub/", data=b"")
    fill(store, "p/sub/x", "p/y", data=b"1234")

    planned, totals = plan(store, "p/")
    assert [(one.seq, one.relative) for one in planned] == [(0, "sub/x"), (1, "y")]
    assert totals == Totals(objects=2, size_bytes=8, markers=2)


def test_marker_with_content_is_refused(store: FakeStore) -> None:
    fill(store, "p/sub/")

    with pytest.raises(PermanentError, match="E_SRC_KEY_TRAILING_SLASH"):
        plan(store, "p/")


def test_empty_object_is_an_object(store: FakeStore) -> None:
    fill(store, "p/x", data=b"")

    assert plan(store, "p/")[1] == Totals(objects=1)


# ---------------------------------------------------------------- names


@pytest.mark.parametrize("keys", [("a", "a/b"), ("a", "a-b", "a/b"), ("a", "a-b", "a-b/c")])
def test_file_that_is_also_a_directory_is_refused(store: FakeStore, keys: tuple[str, ...]) -> None:
    fill(store, *(f"p/{key}" for key in keys))

    with pytest.raises(PermanentError) as caught:
        plan(store, "p/")
    assert caught.value.code == "E_SRC_FILE_DIR_CLASH"


def test_clash_is_seen_across_pages(store: FakeStore) -> None:
    fill(store, "p/a", *(f"p/a-{n:04d}" for n in range(PAGE_SIZE)), "p/a/b")

    with pytest.raises(PermanentError, match="E_SRC_FILE_DIR_CLASH"):
        plan(store, "p/")


def test_names_that_only_begin_alike_do_not_clash(store: FakeStore) -> None:
    fill(store, "p/a", "p/a-b", "p/ab/c", "p/b")

    assert names(store, "p/") == ["a", "a-b", "ab/c", "b"]


@pytest.mark.parametrize("key", ["p//x", "p/../x", "p/a:b", "p/.backhaul/x"])
def test_key_without_a_safe_name_is_refused(store: FakeStore, key: str) -> None:
    fill(store, key)

    with pytest.raises(PermanentError):
        plan(store, "p/")


def test_colon_becomes_a_name_where_the_route_says_so(store: FakeStore) -> None:
    fill(store, "p/a:b")

    planned, _ = plan(store, "p/", name_map=NameMap.PERCENT)
    assert [one.relative for one in planned] == ["a%3Ab"]


# ---------------------------------------------------------------- limits and pages


@pytest.mark.parametrize(
    ("limits", "is_fine"),
    [
        (Limits(objects=3), True),
        (Limits(objects=2), False),
        (Limits(size_bytes=12), True),
        (Limits(size_bytes=11), False),
    ],
)
def test_limit_is_the_last_allowed(store: FakeStore, limits: Limits, *, is_fine: bool) -> None:
    fill(store, "p/a", "p/b", "p/c", data=b"1234")
    if is_fine:
        assert plan(store, "p/", limits)[1].objects == 3
        return

    with pytest.raises(NotAllowed) as caught:
        plan(store, "p/", limits)
    assert caught.value.code == "E_POLICY_SIZE"


@pytest.mark.parametrize("count", [PAGE_SIZE - 1, PAGE_SIZE, PAGE_SIZE + 1])
def test_positions_count_on_across_pages(store: FakeStore, count: int) -> None:
    fill(store, *(f"p/{n:05d}" for n in range(count)))

    planned, totals = plan(store, "p/")
    assert [one.seq for one in planned] == list(range(count))
    assert totals.objects == count


def test_plan_keeps_the_pins(store: FakeStore) -> None:
    pin = store.put("p/x", b"content")

    assert plan(store, "p/")[0][0].pin == pin


def pin(key: str) -> Pin:
    return Pin(
        bucket="b-1",
        key=key,
        size_bytes=1,
        etag="e",
        last_modified=datetime(2026, 11, 22, tzinfo=UTC),
    )


def test_directories_count_towards_the_limit() -> None:
    limits = Limits(objects=10)
    planner = Planner(
        source=Source(bucket="b-1", key=""),
        is_object=False,
        directory=Location(scheme="hdfs", authority="ns", path="/land"),
        name_map=NameMap.STRICT,
        limits=limits,
    )
    with pytest.raises(NotAllowed, match="E_POLICY_SIZE") as caught:
        planner.add([pin(f"k{number}/{'d/' * 140}x") for number in range(2)])
    assert "10 directories" in caught.value.message
    assert "141 directories" in caught.value.message


def test_directories_are_counted_once() -> None:
    planner = Planner(
        source=Source(bucket="b-1", key=""),
        is_object=False,
        directory=Location(scheme="hdfs", authority="ns", path="/land"),
        name_map=NameMap.STRICT,
        limits=Limits(objects=6),
    )
    planner.add([pin(key) for key in ("a/b/1", "a/b/2", "a/c/1", "d/e/1", "d/e/f/1", "z")])
    assert planner.directories == 6


def test_directories_of_a_listing_without_order_are_counted_once() -> None:
    planner = Planner(
        source=Source(bucket="b-1", key=""),
        is_object=False,
        directory=Location(scheme="hdfs", authority="ns", path="/land"),
        name_map=NameMap.STRICT,
        limits=Limits(objects=40),
    )
    planner.add([pin(f"d{number % 4}/e/f/{number:02}") for number in range(40)])
    assert planner.directories == 12


def test_directories_of_a_listing_that_loses_its_order_are_not_counted_twice() -> None:
    planner = Planner(
        source=Source(bucket="b-1", key=""),
        is_object=False,
        directory=Location(scheme="hdfs", authority="ns", path="/land"),
        name_map=NameMap.STRICT,
        limits=Limits(objects=6),
    )
    planner.add([pin(key) for key in ("a/b/1", "c/d/1", "e/f/1")])
    planner.add([pin(key) for key in ("a/b/2", "c/d/2", "a/b/3")])
    assert planner.directories == 6


def test_directories_of_a_listing_without_order_count_towards_the_limit() -> None:
    planner = Planner(
        source=Source(bucket="b-1", key=""),
        is_object=False,
        directory=Location(scheme="hdfs", authority="ns", path="/land"),
        name_map=NameMap.STRICT,
        limits=Limits(objects=10),
    )
    with pytest.raises(NotAllowed, match="E_POLICY_SIZE"):
        planner.add([pin(f"k{9 - number}/{'d/' * 140}x") for number in range(2)])
