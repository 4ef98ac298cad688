"""Reports of S3 Inventory: what is read of them, in which order, and what is refused."""

from __future__ import annotations

import gzip
import os
import random
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.digests import new_digest
from backhaul.adapters.inventory import csv_files
from backhaul.adapters.inventory.sorted_objects import sorted_objects
from backhaul.app.inventory import OLD_AFTER, open_inventory
from backhaul.core.errors import BackhaulError, BadArgument
from backhaul.core.inventory import manifest as manifests
from backhaul.core.inventory.manifest import CHECKSUM_MAX_BYTES
from backhaul.core.inventory.rows import layout_of
from backhaul.core.objects import Pin
from backhaul.core.transfer.listing import list_objects, list_pages
from backhaul.spool import spool_directory
from backhaul.testing.fakes import FakeClock, FakeStore
from tests.inventories import (
    AT,
    COLUMNS,
    MANIFEST,
    TAKEN_AT,
    Report,
    in_csv,
    manifest_files,
    report,
    row,
)

NOW = TAKEN_AT + timedelta(hours=30)
NO_AWS = AwsSession("us-east-1")
SLOW_MACHINES_TOO = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def fake_store() -> FakeStore:
    return FakeStore(FakeClock(), new_digest)


def pins(
    path: Path | str, prefix: str = "", *, page_size: int = 1000, now: datetime = NOW
) -> list[Pin]:
    """What a listing of the report gives."""
    with open_inventory(
        str(path), NO_AWS, fake_store(), sources=[("raw", prefix)], now=now
    ) as found:
        pages = list_pages(found.store, "raw", prefix, page_size=page_size)
        return [pin for page in pages for pin in page.pins]


def keys(path: Path | str, prefix: str = "", *, page_size: int = 1000) -> list[str]:
    return [pin.key for pin in pins(path, prefix, page_size=page_size)]


def refused(path: Path | str, **chosen: Any) -> BackhaulError:
    with pytest.raises(BackhaulError) as caught:
        pins(path, **chosen)
    assert "\n" not in str(caught.value)
    assert caught.value.hint
    return caught.value


# ---------------------------------------------------------------- what is read


def test_an_object_is_as_a_listing_has_it(tmp_path: Path) -> None:
    path = report([row("in/a b", 12, "0123456789abcdef0123456789abcdef-2")]).write(tmp_path)
    assert pins(path) == [
        Pin(
            bucket="raw",
            key="in/a b",
            size_bytes=12,
            etag="0123456789abcdef0123456789abcdef-2",
            last_modified=datetime(2026, 11, 29, 10, 11, 12, tzinfo=UTC),
        )
    ]


@pytest.mark.parametrize("page_size", [1, 2, 3, 1000])
def test_keys_of_several_files_come_in_the_order_of_their_bytes(
    tmp_path: Path, page_size: int
) -> None:
    wanted = ["a", "a-b", "a.b", "a/", "a/b", "a/b/c", "ab", "a\u00e9", "a\uffff", "a\U0001f600"]
    shuffled = random.Random(1).sample(wanted, len(wanted))
    assert sorted(wanted, key=str.encode) == wanted
    path = report(*[[row(key)] for key in shuffled]).write(tmp_path)
    assert keys(path, page_size=page_size) == wanted


@SLOW_MACHINES_TOO
@given(names=st.sets(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=30))
def test_any_key_comes_through_unchanged(
    tmp_path_factory: pytest.TempPathFactory, names: set[str]
) -> None:
    wanted = sorted({f"p/{name}" for name in names}, key=str.encode)
    path = report([row(key) for key in wanted[::-1]], [row("q")]).write(
        tmp_path_factory.mktemp("report")
    )
    assert keys(path) == [*wanted, "q"]


def test_only_the_prefix_is_kept_and_only_it_can_be_listed(tmp_path: Path) -> None:
    path = report([row(key) for key in ("in/a", "in/b", "inn", "other/c")]).write(tmp_path)
    assert keys(path, "in/") == ["in/a", "in/b"]
    with open_inventory(
        str(path), NO_AWS, fake_store(), sources=[("raw", "in/")], now=NOW
    ) as found:
        assert found.objects == 2
        below = [pin.key for page in list_pages(found.store, "raw", "in/b") for pin in page.pins]
        assert below == ["in/b"]
        for bucket, prefix in (("raw", ""), ("elsewhere", "in/")):
            with pytest.raises(BadArgument) as caught:
                next(list_pages(found.store, bucket, prefix))
            assert caught.value.code == "E_INVENTORY_BUCKET"


def test_older_versions_and_delete_markers_are_not_there(tmp_path: Path) -> None:
    rows = [
        row("a", 1, IsLatest="false", VersionId="v1"),
        row("a", 2, VersionId="v2"),
        row("gone", 1, IsLatest="false", VersionId="v3"),
        row("gone", "", IsDeleteMarker="true", VersionId="v4"),
    ]
    (found,) = pins(report(rows).write(tmp_path))
    assert (found.key, found.size_bytes, found.version_id) == ("a", 2, None)


def test_columns_may_be_few_and_in_any_order(tmp_path: Path) -> None:
    columns = ("ETag", "Size", "Key", "LastModifiedDate", "Bucket", "ObjectOwner")
    data = in_csv([["e", "7", "k", "2026-11-29T10:11:12Z", "raw", "me"]])
    path = Report(files={f"{AT}/data/0.csv.gz": data}, columns=columns).write(tmp_path)
    (found,) = pins(path)
    assert (found.key, found.size_bytes, found.etag) == ("k", 7, "e")


def test_age_is_known(tmp_path: Path) -> None:
    path = report([row("a")]).write(tmp_path)
    for age, is_old in ((OLD_AFTER, False), (OLD_AFTER + timedelta(seconds=1), True)):
        with open_inventory(
            str(path),
            NO_AWS,
            fake_store(),
            sources=[("raw", "")],
            now=TAKEN_AT + age,
        ) as found:
            assert (found.taken_at, found.is_old) == (TAKEN_AT, is_old)


def test_all_but_the_listing_is_the_real_store_s(tmp_path: Path) -> None:
    store = fake_store()
    store.put("k", b"abc", version_id="v1")
    path = report([row("k")]).write(tmp_path)
    with open_inventory(str(path), NO_AWS, store, sources=[("raw", "")], now=NOW) as found:
        assert found.store.endpoint("raw") == store.endpoint("raw")
        (pin,) = (one for page in list_pages(store, "raw", "k") for one in page.pins)
        assert found.store.algorithms(pin) == store.algorithms(pin)
        version = str(pin.version_id)
        assert found.store.find_version("raw", "k", version) == store.find_version(
            "raw", "k", version
        )


@pytest.mark.parametrize(
    "place",
    [
        lambda top, key: top / key,
        lambda top, key: top / MANIFEST.rpartition("/")[0] / "data" / key.rsplit("/", 1)[-1],
        lambda top, key: (top / MANIFEST).parent.parent / "data" / key.rsplit("/", 1)[-1],
        lambda top, key: (top / MANIFEST).with_name(key.rsplit("/", 1)[-1]),
    ],
)
def test_data_files_are_found_where_a_copy_has_them(
    tmp_path: Path, place: Callable[[Path, str], Path]
) -> None:
    made = report([row("a")], [row("b")])
    path = made.write(tmp_path)
    for key in made.files:
        moved = place(tmp_path, key)
        moved.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).rename(moved)
    assert keys(path) == ["a", "b"]


def test_several_sources_are_of_one_bucket(tmp_path: Path) -> None:
    path = str(report([row(key) for key in ("a/x", "ab/y", "c")]).write(tmp_path))
    store = fake_store()
    sources = [("raw", "a/"), ("raw", "ab/")]
    with open_inventory(path, NO_AWS, store, sources=sources, now=NOW) as found:
        assert found.objects == 2
    with open_inventory(path, NO_AWS, store, sources=[], now=NOW) as found:
        assert (found.objects, path in found.text) == (3, True)
    with (
        pytest.raises(BadArgument) as caught,
        open_inventory(path, NO_AWS, store, sources=[("raw", ""), ("b2", "")], now=NOW),
    ):
        pass
    assert caught.value.code == "E_INVENTORY_BUCKET"


@pytest.mark.parametrize("page_size", [1, 2, 1000])
def test_a_listing_begins_behind_any_key(tmp_path: Path, page_size: int) -> None:
    path = report([row(key) for key in "dbaec"]).write(tmp_path)
    with open_inventory(str(path), NO_AWS, fake_store(), sources=[("raw", "")], now=NOW) as found:
        pages = list_objects(found.store, "raw", "", start_after="b", page_size=page_size)
        assert [one.key for page in pages for one in page] == ["c", "d", "e"]


def test_archived_objects_are_known_as_such(tmp_path: Path) -> None:
    path = report([row("a", StorageClass="GLACIER")]).write(tmp_path)
    with open_inventory(str(path), NO_AWS, fake_store(), sources=[("raw", "")], now=NOW) as found:
        ((one,),) = list_objects(found.store, "raw", "")
    assert one.storage_class == "GLACIER"


# ---------------------------------------------------------------- the manifest


@pytest.mark.parametrize(
    ("text", "flaw"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "no object"),
        (b"{}", "version"),
    ],
)
def test_text_that_is_no_manifest_is_refused(tmp_path: Path, text: bytes, flaw: str) -> None:
    path = report([row("a")]).write(tmp_path)
    for key, content in manifest_files(text).items():
        (tmp_path / key).write_bytes(content)
    error = refused(path)
    assert error.code == "E_INVENTORY_MANIFEST"
    assert flaw in error.message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("version", "2030-01-01"),
        ("sourceBucket", ""),
        ("sourceBucket", 7),
        ("fileSchema", None),
        ("creationTimestamp", "yesterday"),
        ("creationTimestamp", "9" * 15),
        ("creationTimestamp", str(int((NOW + timedelta(days=1)).timestamp() * 1000))),
        ("files", None),
        ("files", ["a"]),
        ("files", [{"key": "a", "size": 1}]),
        ("files", [{"key": "a", "size": -1, "MD5checksum": "0" * 32}]),
        ("files", [{"key": "a", "size": True, "MD5checksum": "0" * 32}]),
        ("files", [{"key": "a", "size": 1, "MD5checksum": "0" * 31}]),
        ("files", [{"key": "a/../../b", "size": 1, "MD5checksum": "0" * 32}]),
        ("files", [{"key": "/etc/passwd", "size": 1, "MD5checksum": "0" * 32}]),
        ("files", [{"key": "a", "size": 1, "MD5checksum": "0" * 32}] * 2),
    ],
)
def test_a_manifest_with_a_bad_field_is_refused(tmp_path: Path, name: str, value: Any) -> None:
    assert refused(report([row("a")], **{name: value}).write(tmp_path)).code == (
        "E_INVENTORY_MANIFEST"
    )


def test_a_manifest_without_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = report([row("a")]).write(tmp_path)
    monkeypatch.setattr(manifests, "MANIFEST_MAX_BYTES", 100)
    error = refused(path)
    assert (error.code, "larger than 100 B" in error.message) == ("E_INVENTORY_MANIFEST", True)
    path.with_name("manifest.checksum").write_bytes(b"0" * (CHECKSUM_MAX_BYTES + 1))
    monkeypatch.undo()
    assert refused(path).code == "E_INVENTORY_MANIFEST"


def test_a_manifest_with_another_checksum_is_refused(tmp_path: Path) -> None:
    path = report([row("a")]).write(tmp_path)
    path.write_bytes(path.read_bytes().replace(b"2016", b"2017"))
    assert refused(path).code == "E_INVENTORY_CHECKSUM"


def test_an_inventory_of_another_bucket_is_refused(tmp_path: Path) -> None:
    error = refused(report([row("a")], sourceBucket="elsewhere").write(tmp_path))
    assert error.code == "E_INVENTORY_BUCKET"
    assert "elsewhere" in error.message


def test_orc_is_refused(tmp_path: Path) -> None:
    error = refused(report([row("a")], fileFormat="ORC").write(tmp_path))
    assert error.code == "E_INVENTORY_FORMAT"
    assert "ORC" in error.message


@pytest.mark.parametrize("absent", ["Bucket", "Key", "Size", "LastModifiedDate", "ETag"])
def test_a_needed_column_that_is_absent_is_named(tmp_path: Path, absent: str) -> None:
    columns = ", ".join(one for one in COLUMNS if one != absent)
    error = refused(report([row("a")], fileSchema=columns).write(tmp_path))
    assert error.code == "E_INVENTORY_COLUMNS"
    assert f"no column {absent}" in error.message


def test_a_column_that_is_there_twice_is_refused() -> None:
    with pytest.raises(BadArgument) as caught:
        layout_of([*COLUMNS, "Size"], "it")
    assert caught.value.code == "E_INVENTORY_COLUMNS"


# ---------------------------------------------------------------- its files


def test_a_report_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "manifest.json").code == "E_INVENTORY_FILE"
    path = report([row("a")]).write(tmp_path)
    path.with_name("manifest.checksum").unlink()
    error = refused(path)
    assert (error.code, "manifest.checksum" in error.message) == ("E_INVENTORY_FILE", True)


def test_a_data_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = report([row("a")], [row("b")]).write(tmp_path)
    (tmp_path / f"{AT}/data/1.csv.gz").unlink()
    error = refused(path)
    assert error.code == "E_INVENTORY_FILE"
    assert "1.csv.gz" in error.message


@pytest.mark.parametrize("name", [MANIFEST, f"{AT}/data/0.csv.gz"])
def test_links_and_fifos_are_not_opened(tmp_path: Path, name: str) -> None:
    path = report([row("a")]).write(tmp_path)
    real = tmp_path / name
    kept = real.rename(tmp_path / "kept")
    real.symlink_to(kept)
    error = refused(path)
    assert (error.code, "symbolic link" in error.message) == ("E_INVENTORY_FILE", True)
    real.unlink()
    os.mkfifo(real)
    error = refused(path)
    assert (error.code, "is no file" in error.message) == ("E_INVENTORY_FILE", True)
    real.unlink()
    real.mkdir()
    assert refused(path).code == "E_INVENTORY_FILE"


@pytest.mark.parametrize("change", [lambda data: data[:-1], lambda data: data + b"x"])
def test_a_data_file_of_another_size_is_refused(
    tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    path = report([row("a")]).write(tmp_path)
    file = tmp_path / f"{AT}/data/0.csv.gz"
    file.write_bytes(change(file.read_bytes()))
    error = refused(path)
    assert error.code == "E_INVENTORY_CHECKSUM"
    assert " B, the manifest has " in error.message


def test_a_data_file_with_another_md5_is_refused(tmp_path: Path) -> None:
    path = report([row("a")]).write(tmp_path)
    file = tmp_path / f"{AT}/data/0.csv.gz"
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    error = refused(path)
    assert error.code == "E_INVENTORY_CHECKSUM"
    assert "its MD5 is" in error.message


def _of(data: bytes) -> Report:
    return Report(files={f"{AT}/data/0.csv.gz": data})


@pytest.mark.parametrize(
    ("data", "flaw"),
    [
        (in_csv([row("a")] * 1000)[:-20], "does not decompress"),
        (b"Bucket,Key", "does not decompress"),
        (in_csv([row("a")])[:30] + b"\0" * 40, "does not decompress"),
        (gzip.compress(b'"raw","\xff"\n', mtime=0), "UTF-8"),
        (gzip.compress(b'"raw","a"b,c\n', mtime=0), "CSV"),
        (gzip.compress(b'"raw","a', mtime=0), "CSV"),
        (in_csv([row("a"), row("b")[:-1]]), "row 2 has 9 columns, not 10"),
        (in_csv([[*row("a"), "more"]]), "row 1 has 11 columns, not 10"),
        (gzip.compress(b"\n", mtime=0), "row 1 has 0 columns"),
        (in_csv([row("", Key="a%zz")]), "does not decode"),
        (in_csv([row("", Key="a%ff")]), "does not decode"),
        (in_csv([row("", Key="")]), "has no key"),
        (in_csv([row("a", IsLatest="yes")]), "true or false"),
        (in_csv([row("a", IsDeleteMarker="")]), "true or false"),
        (gzip.compress(b"a" * (csv_files.LINE_MAX + 1), mtime=0), "a line of more than"),
    ],
)
def test_a_data_file_that_cannot_be_read_is_refused(tmp_path: Path, data: bytes, flaw: str) -> None:
    error = refused(_of(data).write(tmp_path))
    assert error.code == "E_INVENTORY_DATA"
    assert flaw in error.message
    assert "0.csv.gz" in error.message


def test_rows_of_another_bucket_are_refused(tmp_path: Path) -> None:
    error = refused(report([row("a"), row("b", Bucket="b2")]).write(tmp_path))
    assert (error.code, "row 2 is of bucket b2" in error.message) == ("E_INVENTORY_BUCKET", True)


def test_a_file_made_to_fill_the_disk_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_files, "GROWTH_FREE_BYTES", 10_000)
    data = in_csv([row("a" * 50)] * 5000)
    assert len(data) * csv_files.GROWTH_MAX < len(zlib.decompress(data, 31))
    error = refused(_of(data).write(tmp_path))
    assert (error.code, "grows to more than" in error.message) == ("E_INVENTORY_DATA", True)


@pytest.mark.parametrize(
    ("changed", "flaw"),
    [({"ETag": ""}, "ETag"), ({"Size": "x"}, "Size"), ({"LastModifiedDate": "x"}, "LastModified")],
)
def test_an_object_that_cannot_be_pinned_is_refused_as_in_a_listing(
    tmp_path: Path, changed: dict[str, str], flaw: str
) -> None:
    error = refused(report([row("a", **changed)]).write(tmp_path))
    assert error.code == "E_S3_LIST_ENTRY"
    assert flaw in error.message
    assert "the inventory of 2026-11-30 01:00 UTC" in error.message


def test_a_key_that_is_there_twice_with_two_contents_is_refused(tmp_path: Path) -> None:
    path = report([row("a", 1)], [row("a", 2)]).write(tmp_path)
    assert refused(path).code == "E_S3_LIST_TWICE"


def test_an_inventory_without_the_prefix_proves_nothing(tmp_path: Path) -> None:
    path = report([row("a")]).write(tmp_path)
    error = refused(path, prefix="in/")
    assert (error.code, "s3://raw/in/" in error.message) == ("E_INVENTORY_EMPTY", True)


@pytest.mark.parametrize("where", ["", "https://host/manifest.json", "hdfs://ns/m", "s3://raw"])
def test_what_is_neither_a_file_nor_an_address_is_refused(where: str) -> None:
    assert refused(where).code == "E_INVENTORY_URL"


# ---------------------------------------------------------------- sorting


def test_sorting_needs_a_place_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path / "spool"))
    path = report([row("a")]).write(tmp_path)
    assert refused(path).code == "E_INVENTORY_SPACE"
    (tmp_path / "spool").mkdir()
    assert keys(path) == ["a"]
    assert not list((tmp_path / "spool").iterdir())
    monkeypatch.delenv("TMPDIR")
    assert spool_directory().is_dir()


def test_a_full_disk_is_one_clear_line() -> None:
    with sorted_objects() as objects:
        objects._connection.execute("PRAGMA max_page_count = 10")
        with pytest.raises(BadArgument) as caught:
            objects.add(("k" * 1000, "1", "e", "t", "") for _ in range(100))
    assert caught.value.code == "E_INVENTORY_SPACE"


def test_any_page_is_found_again() -> None:
    names = [f"{n:05}" for n in range(5000)]
    with sorted_objects() as objects:
        objects.add((key, "1", "e", "t", "") for key in random.Random(7).sample(names, len(names)))
        objects.sort()
        starts = range(0, 5000, 777)
        for start, _ in pairwise(starts):
            found = objects.page("", names[start], 10)
            assert [one[0] for one in found] == names[start + 1 : start + 11]
            assert objects.page(names[start], "", 1)[0][0] == names[start]
        plan: Sequence[Any] = objects._connection.execute(
            "EXPLAIN QUERY PLAN SELECT key, size, etag, modified, class FROM objects"
            " WHERE key > ? ORDER BY key LIMIT ?",
            ("a", 1),
        ).fetchall()
    assert "COVERING INDEX by_key" in str(plan)
    assert "TEMP B-TREE" not in str(plan)


# ---------------------------------------------------------------- anything at all


def ends_well(path: Path) -> None:
    """It is read, or refused in one line."""
    text = ""
    try:
        pins(path)
    except BackhaulError as error:
        text = str(error)
    assert "\n" not in text
    assert len(text) < 2000


@SLOW_MACHINES_TOO
@given(data=st.data())
def test_a_damaged_data_file_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    text = bytearray(gzip.decompress(in_csv([row("a b"), row("c", StorageClass="GLACIER")])))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text) - 1))
        text[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    packed = gzip.compress(bytes(text), mtime=0)
    if data.draw(st.booleans()):
        packed = packed[: data.draw(st.integers(0, len(packed)))]
    ends_well(_of(packed).write(tmp_path_factory.mktemp("report")))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
FIELDS = ("sourceBucket", "version", "creationTimestamp", "fileFormat", "fileSchema", "files")


@SLOW_MACHINES_TOO
@given(
    fields=st.dictionaries(st.sampled_from(FIELDS), JSON | st.text(max_size=40), max_size=3),
    file=st.dictionaries(st.sampled_from(["key", "size", "MD5checksum"]), JSON),
)
def test_any_manifest_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, fields: dict[str, Any], file: dict[str, Any]
) -> None:
    if file:
        fields = {"files": [file], **fields}
    ends_well(report([row("a")], **fields).write(tmp_path_factory.mktemp("report")))
