"""Where objects of a route belong: by its template, or by what its transfers brought where."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from backhaul.core.errors import BadArgument, PermanentError
from backhaul.core.model import Location, NameMap, Route, Source
from backhaul.core.ports import ListedObject
from backhaul.core.reconciliation import places
from backhaul.core.reconciliation.places import Area, Brought, Place, areas_of, keys_at, placed
from backhaul.core.reconciliation.values import (
    ObjectClass,
    ProvenFile,
    ReconcileResult,
    Row,
    TargetFile,
)

FS = "hdfs://nn1:8020"


def at(path: str) -> Location:
    return Location(scheme="hdfs", authority="nn1:8020", path=path)


ROUTE = Route(name="r", sources=(("raw", "in/"),), destinations=(at("/landing"),))


def brought(key: str, path: str, bucket: str = "raw") -> Brought:
    return Brought(source=Source(bucket=bucket, key=key), directory=at(path))


def known(*every: Brought, route: Route = ROUTE) -> list[tuple[str, str]]:
    areas = areas_of(route, every, default_fs=FS)
    return [(place.source.uri, place.root.path) for area in areas for place in area.places]


# ---------------------------------------------------------------- by transfers


@pytest.mark.parametrize(
    ("every", "expected"),
    [
        ([("in/d=1/", "/landing/d=1")], [("s3://raw/in/", "/landing")]),
        (
            [("in/d=1/", "/landing/x/d=1"), ("in/d=2/h=1/", "/landing/x/d=2/h=1")],
            [("s3://raw/in/", "/landing/x")],
        ),
        ([("in/", "/landing/x")], [("s3://raw/in/", "/landing/x")]),
        ([("in/", "/landing")], [("s3://raw/in/", "/landing")]),
        # Not by the same names: only what was brought is known.
        ([("in/d=1/", "/landing/one")], [("s3://raw/in/d=1/", "/landing/one")]),
        (
            [("in/d=1/", "/landing/d=1"), ("in/d=2/", "/landing/two")],
            [("s3://raw/in/d=1/", "/landing/d=1"), ("s3://raw/in/d=2/", "/landing/two")],
        ),
        (
            [("in/a/", "/landing/x/a"), ("in/b/", "/landing/y/b"), ("in/c/", "/landing/z/c")],
            [
                ("s3://raw/in/a/", "/landing/x/a"),
                ("s3://raw/in/b/", "/landing/y/b"),
                ("s3://raw/in/c/", "/landing/z/c"),
            ],
        ),
        # The directory above is not the route's.
        ([("in/landing/", "/landing")], [("s3://raw/in/landing/", "/landing")]),
        # What one brought implies where another belongs.
        (
            [
                ("in/d=1/", "/landing/one"),
                ("in/d=1/h=1/", "/landing/one/h=1"),
                ("in/d=1/h=2/", "/landing/two"),
            ],
            [("s3://raw/in/d=1/", "/landing/one"), ("s3://raw/in/d=1/h=2/", "/landing/two")],
        ),
        # Of an earlier configuration: from elsewhere, or to elsewhere.
        (
            [("in/d=1/", "/landing/d=1"), ("other/", "/landing/d=1"), ("in/d=2/", "/old/d=2")],
            [("s3://raw/in/", "/landing")],
        ),
    ],
)
def test_what_transfers_agree_on(
    every: list[tuple[str, str]], expected: list[tuple[str, str]]
) -> None:
    assert known(*(brought(*one) for one in every)) == expected


def test_a_route_for_everything_knows_what_was_brought_alone() -> None:
    route = replace(ROUTE, sources=None, destinations=None)
    assert known(brought("a/d=1/", "/x/d=1"), route=route) == [("s3://raw/a/d=1/", "/x/d=1")]
    assert known(brought("", "/x"), route=route) == [("s3://raw/", "/x")]


def test_every_prefix_of_a_route_has_its_own_place() -> None:
    route = replace(ROUTE, sources=(("raw", "in/"), ("more", "")))
    found = known(brought("in/a/", "/landing/a"), brought("b/", "/landing/b", "more"), route=route)
    assert found == [("s3://raw/in/", "/landing"), ("s3://more/", "/landing")]


def test_the_whole_file_system_may_be_the_destination() -> None:
    route = replace(ROUTE, destinations=(at("/"),))
    (area,) = areas_of(route, [brought("in/a/", "/a")], default_fs=FS)
    assert area.root.path == "/"
    (one,) = placed([listed("in/b/c")], area.places[0], FS)
    assert one.path == "/b/c"
    assert keys_at(area.places[0], Row("/b/c", None, None, TargetFile("/b/c", 1, 1))) == ["in/b/c"]


@pytest.mark.parametrize("every", [[], [("other/", "/landing/d=1")], [("in/d=2/", "/old/d=2")]])
def test_nothing_is_known(every: list[tuple[str, str]]) -> None:
    with pytest.raises(BadArgument) as caught:
        known(*(brought(*one) for one in every))
    assert caught.value.code == "E_RECONCILE_PLACE"


def test_too_many_places_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "PLACES_MOST", 2)
    every = [brought(f"in/{number}/", f"/landing/x{number}") for number in range(3)]
    assert len(known(*every[:2])) == 2
    with pytest.raises(BadArgument, match="nothing in common"):
        known(*every)


class Reads:
    """Transfers of a ledger, and how often they were read."""

    def __init__(self, directory: str, count: int) -> None:
        self.directory, self.count = directory, count
        self.times = 0

    def __iter__(self) -> Iterator[Brought]:
        self.times += 1
        for number in range(self.count):
            yield brought(f"in/day={number:06}/", self.directory.format(number))


def test_transfers_that_agree_are_read_once_and_not_kept() -> None:
    every = Reads("/landing/day={:06}", 5000)
    tracemalloc.start()
    try:
        areas = areas_of(ROUTE, every, default_fs=FS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [one.root.path for one in areas] == ["/landing"]
    assert every.times == 1
    assert peak < 200_000  # some 500 B for each would be 2.5 MB


def test_transfers_that_do_not_agree_are_read_again() -> None:
    every = Reads("/landing/{}", 3)
    areas = areas_of(ROUTE, every, default_fs=FS)
    assert [one.root.path for one in areas] == ["/landing/0", "/landing/1", "/landing/2"]
    assert every.times == 2


def test_prefixes_that_agree_are_whole_beside_one_that_does_not() -> None:
    route = replace(ROUTE, sources=(("raw", "in/"), ("more", "")))
    every = [brought("in/a/", "/landing/one"), brought("b/", "/landing/m/b", "more")]
    assert known(*every, route=route) == [
        ("s3://more/", "/landing/m"),
        ("s3://raw/in/a/", "/landing/one"),
    ]


def test_directories_inside_each_other_are_one_area() -> None:
    every = [
        brought("in/a/", "/landing/x"),
        brought("in/b/", "/landing/x/y"),
        brought("in/c/", "/landing/x-y"),
    ]
    areas = areas_of(ROUTE, every, default_fs=FS)
    assert [(one.root.path, len(one.places)) for one in areas] == [
        ("/landing/x-y", 1),
        ("/landing/x", 2),
    ]
    assert isinstance(areas[0], Area)


# ---------------------------------------------------------------- by the template


@pytest.mark.parametrize(
    ("template", "root", "keeps_order"),
    [
        ("/landing/{rel_dir}", "/landing", True),
        ("/landing/{rel_dir}/", "/landing", True),
        ("/landing/{bucket}/{rel_dir}/", "/landing/raw", True),
        ("/landing/x-{bucket}/{key_dir}/", "/landing/x-raw/in", True),
        ("/landing/{rel_dir}/now/", "/landing", False),
        ("/landing/{rel_dir}/{key_dir}/", "/landing", False),
        ("/landing/flat/", "/landing/flat", False),
    ],
)
def test_the_template_decides(template: str, root: str, *, keeps_order: bool) -> None:
    route = replace(ROUTE, event_destination=template)
    (area,) = areas_of(route, [brought("in/d/", "/landing/other")], default_fs=FS)
    (place,) = area.places
    assert (place.root.path, place.keeps_order) == (root, keeps_order)


@pytest.mark.parametrize(
    ("template", "root"),
    [
        ("/landing/{rel_dir}/", "/landing"),
        ("/landing/{bucket}/{key_dir}", "/landing/raw/in"),
        # They place the marker's directory, and what is below it by its names.
        ("/landing/flat/", "/landing/other"),
        ("/landing/{rel_dir}/now/", "/landing/other"),
    ],
)
def test_a_template_for_markers_places_objects_where_it_ends_in_their_directory(
    template: str, root: str
) -> None:
    route = replace(ROUTE, event_destination=template, marker="_SUCCESS")
    (area,) = areas_of(route, [brought("in/d/", "/landing/other/d")], default_fs=FS)
    (place,) = area.places
    assert (place.root.path, place.keeps_order) == (root, True)


def test_a_template_for_markers_that_places_no_object_is_named() -> None:
    route = replace(ROUTE, event_destination="/landing/flat/", marker="_SUCCESS")
    with pytest.raises(BadArgument, match=r"does not end in \{rel_dir\}") as caught:
        known(route=route)
    assert caught.value.code == "E_RECONCILE_PLACE"


def test_the_whole_key_of_a_whole_bucket() -> None:
    route = replace(ROUTE, sources=(("raw", ""),), event_destination="/landing/{key_dir}/")
    assert known(route=route) == [("s3://raw/", "/landing")]


def test_the_longest_prefix_of_a_route_decides() -> None:
    sources = (("raw", "in/"), ("raw", "in/a/"), ("other", "in/b/"))
    route = replace(ROUTE, sources=sources, event_destination="/landing/{bucket}/{rel_dir}/")
    (_, area) = areas_of(route, [], default_fs=FS)
    objects = [listed("in/a/x"), listed("in/b/x")]
    found = [
        (place.prefix, [one.path for one in placed(objects, place, FS)]) for place in area.places
    ]
    assert ("in/", ["/landing/raw/b/x"]) in found
    outer = next(place for place in area.places if place.prefix == "in/")
    assert outer.inner == ("in/a/",)
    file = TargetFile("/landing/raw/a/x", 1, 1)
    assert keys_at(outer, Row(file.path, None, None, file)) == []


# ---------------------------------------------------------------- objects


def listed(key: str, size: str = "4", **more: str) -> ListedObject:
    values = {"last_modified": "2026-12-01T00:00:00.5Z", "etag": '"e1"', **more}
    return ListedObject(key=key, size=size, **values)


PLACE = Place(bucket="raw", prefix="in/", root=at("/landing"), name_map=NameMap.STRICT)


def test_an_object_has_its_path_size_state_and_time() -> None:
    (one,) = placed([listed("in/d/a.parquet")], PLACE, FS)
    since = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp()) * 1_000_000 + 500_000
    assert one == ("/landing/d/a.parquet", "raw", "in/d/a.parquet", 4, "e1", since, "")
    assert one.uri == "s3://raw/in/d/a.parquet"


@pytest.mark.parametrize(
    ("key", "size", "why"),
    [
        ("in/d/", "0", "a directory placeholder"),
        ("in/d/", "4", "E_SRC_KEY_TRAILING_SLASH"),
        ("in/d//a", "4", "E_SRC_KEY_EMPTY_SEG"),
        ("in/../a", "4", "E_SRC_KEY_DOT_SEG"),
        ("in/_temporary/a", "4", "E_DST_RESERVED"),
        ("in/.backhaul/a", "4", "E_DST_RESERVED"),
        ("in/a:b", "4", "E_DST_COLON"),
        ("in/" + "n" * 300, "4", "E_DST_LIMIT"),
    ],
)
def test_what_is_never_copied_is_excluded(key: str, size: str, why: str) -> None:
    (one,) = placed([listed(key, size)], PLACE, FS)
    assert why in one.excluded
    assert one.path == f"/landing/{key.removeprefix('in/')}"


@pytest.mark.parametrize("name", ["_SUCCESS", "a", "day=1/a b.txt", "ü/日本", "a%3Ab", "x" * 200])
def test_what_has_a_name_is_not(name: str) -> None:
    (one,) = placed([listed(f"in/{name}")], PLACE, FS)
    assert (one.path, one.excluded) == (f"/landing/{name}", "")


def test_a_time_that_is_none_is_refused() -> None:
    with pytest.raises(PermanentError, match="LastModified 'yesterday'") as caught:
        list(placed([listed("in/a", last_modified="yesterday")], PLACE, FS))
    assert caught.value.code == "E_S3_LIST_ENTRY"
    (one,) = placed([listed("in/a", last_modified="1970-01-01T00:00:01")], PLACE, FS)
    assert one.modified_us == 1_000_000


@pytest.mark.parametrize("name_map", NameMap)
def test_the_key_of_a_path_is_found_again(name_map: NameMap) -> None:
    place = replace(PLACE, name_map=name_map)
    (one,) = placed([listed("in/d/a%b")], place, FS)
    assert keys_at(place, Row(one.path, None, None, TargetFile(one.path, 1, 1))) == ["in/d/a%b"]


def test_the_key_of_a_path_may_be_unknown() -> None:
    proof = ProvenFile("/landing/x", "raw", "in/y", 1, "e", 1, None, 1, "t")
    # The proof's key, and the one that belongs there by its name.
    assert keys_at(PLACE, Row("/landing/x", None, proof, None)) == ["in/y", "in/x"]
    same = proof._replace(key="in/x")
    assert keys_at(PLACE, Row("/landing/x", None, same, None)) == ["in/x"]
    (other,) = placed([listed("in/a")], replace(PLACE, bucket="other"), FS)
    assert keys_at(PLACE, Row("/landing/a", other, None, None)) == []
    assert keys_at(PLACE, Row("/elsewhere", None, None, None)) == []
    of_template = replace(PLACE, template=ROUTE)
    assert keys_at(of_template, Row("/landing/a", None, None, None)) == []


def test_findings_of_a_result() -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    totals = {
        ObjectClass.SAME.value: (3, 1),
        "missing": (2, 1),
        "dead": (1, 1),
        "a new one": (9, 9),
    }
    found = ReconcileResult(route="r", started_at=now, finished_at=now, totals=totals)
    assert found.findings == 3
