"""What `core.ports.TargetFs` promises, asked of the fake, a mounted file system and real HDFS."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from backhaul.adapters.hdfs import HdfsTarget
from backhaul.adapters.local import LocalTarget
from backhaul.core.errors import BackhaulError, CannotWrite, TargetExists, TargetMissing
from backhaul.core.ports import TargetFs
from backhaul.testing.fakes import FakeTarget
from backhaul.testing.servers import Hdfs


class RealClock:
    def now(self) -> datetime:
        return datetime.now(tz=UTC)

    def monotonic(self) -> float:
        return time.monotonic()


@pytest.fixture(
    params=[
        "fake",
        "local",
        pytest.param("hdfs", marks=[pytest.mark.integration, pytest.mark.hdfs]),
    ]
)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[TargetFs, str]:
    """A target and an existing, empty directory on it."""
    if request.param == "local":
        return LocalTarget(), str(tmp_path)
    target: TargetFs = FakeTarget(RealClock())
    if request.param == "hdfs":
        hdfs: Hdfs = request.getfixturevalue("hdfs")
        target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    directory = f"/t-{uuid.uuid4().hex[:12]}"
    target.mkdirs(directory)
    return target, directory


def write(target: TargetFs, path: str, data: bytes = b"data") -> None:
    writer = target.create(path, len(data))
    if data:
        writer.write(data)
    writer.close()


def content(target: TargetFs, path: str) -> bytes:
    return b"".join(target.read(path))


# ---------------------------------------------------------------- looking


def test_nothing_has_no_status(place: tuple[TargetFs, str]) -> None:
    target, directory = place

    assert target.status(f"{directory}/none") is None
    assert target.status(f"{directory}/none/deeper") is None


def test_status_tells_file_from_directory(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    write(target, f"{directory}/f", b"12345")

    found = target.status(f"{directory}/f")
    assert found is not None
    assert (found.is_directory, found.size_bytes) == (False, 5)
    assert abs(found.modified_ms / 1000 - time.time()) < 60
    above = target.status(directory)
    assert above is not None
    assert above.is_directory


def test_names_are_the_entries_of_one_directory(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/sub/deep")
    write(target, f"{directory}/file")

    assert sorted(target.names(directory)) == ["file", "sub"]
    assert target.names(f"{directory}/sub/deep") == []
    assert target.names(f"{directory}/none") == []
    found = {one.name: one.is_directory for one in target.entries(directory)}
    assert found == {"file": False, "sub": True}
    assert target.entries(f"{directory}/sub/deep") == []
    assert target.entries(f"{directory}/none") == []


# ---------------------------------------------------------------- writing


@pytest.mark.parametrize("size", [0, 1, 3 << 20])
def test_file_reads_back_as_written(place: tuple[TargetFs, str], size: int) -> None:
    target, directory = place
    data = bytes(range(256)) * (size // 256) + b"x" * (size % 256)
    write(target, f"{directory}/f", data)

    assert content(target, f"{directory}/f") == data


def test_existing_file_is_never_overwritten_by_create(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    write(target, f"{directory}/f", b"first")

    with pytest.raises(TargetExists):
        target.create(f"{directory}/f", 5)
    assert content(target, f"{directory}/f") == b"first"


def test_create_makes_no_directory(place: tuple[TargetFs, str]) -> None:
    target, directory = place

    with pytest.raises(TargetMissing):
        target.create(f"{directory}/none/f", 1)
    assert target.names(directory) == []


def test_create_below_a_file_is_refused(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    write(target, f"{directory}/f")

    with pytest.raises(CannotWrite) as caught:
        target.create(f"{directory}/f/x", 1)
    assert caught.value.code == "E_DST_PARENT_FILE"


def test_reading_nothing_is_target_missing(place: tuple[TargetFs, str]) -> None:
    target, directory = place

    with pytest.raises(TargetMissing):
        content(target, f"{directory}/none")


def test_file_removed_while_open_cannot_come_back(place: tuple[TargetFs, str]) -> None:
    """The fence of a forgotten process (S6): what it still writes goes nowhere."""
    target, directory = place
    target.mkdir(f"{directory}/1")
    writer = target.create(f"{directory}/1/f", 4)
    writer.write(b"late")
    target.remove(f"{directory}/1")

    with contextlib.suppress(TargetMissing):
        writer.close()
    assert target.status(f"{directory}/1") is None
    with pytest.raises(TargetMissing):
        target.rename(f"{directory}/1/f", f"{directory}/f", replace=True)


# ---------------------------------------------------------------- directories


def test_mkdir_makes_one_level_and_may_be_repeated(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdir(f"{directory}/a")
    target.mkdir(f"{directory}/a")

    with pytest.raises(TargetMissing):
        target.mkdir(f"{directory}/b/c")
    assert target.names(directory) == ["a"]


def test_mkdirs_makes_what_is_missing_and_may_be_repeated(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/a/b/c")
    target.mkdirs(f"{directory}/a/b/c")

    assert target.names(f"{directory}/a/b") == ["c"]


@pytest.mark.parametrize("make", ["mkdir", "mkdirs"])
@pytest.mark.parametrize("path", ["f", "f/sub"])
def test_directory_cannot_be_made_where_a_file_is(
    place: tuple[TargetFs, str], make: str, path: str
) -> None:
    target, directory = place
    write(target, f"{directory}/f", b"kept")

    with pytest.raises(CannotWrite):
        getattr(target, make)(f"{directory}/{path}")
    assert content(target, f"{directory}/f") == b"kept"


def test_many_threads_make_the_same_directories(place: tuple[TargetFs, str]) -> None:
    target, directory = place

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda n: target.mkdirs(f"{directory}/a/b/{n % 2}"), range(32)))
    assert sorted(target.names(f"{directory}/a/b")) == ["0", "1"]


# ---------------------------------------------------------------- rename


def test_rename_moves_a_file_with_its_time(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    write(target, f"{directory}/a", b"moved")
    before = target.status(f"{directory}/a")
    target.rename(f"{directory}/a", f"{directory}/b", replace=False)

    assert content(target, f"{directory}/b") == b"moved"
    assert target.status(f"{directory}/a") is None
    assert target.status(f"{directory}/b") == before


def test_rename_moves_a_directory_with_all_below(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/a/sub")
    write(target, f"{directory}/a/sub/f", b"deep")
    target.rename(f"{directory}/a", f"{directory}/b", replace=False)

    assert content(target, f"{directory}/b/sub/f") == b"deep"
    assert target.names(directory) == ["b"]


def test_rename_replaces_a_file_only_when_told(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    write(target, f"{directory}/new", b"new")
    write(target, f"{directory}/old", b"old")

    with pytest.raises(TargetExists):
        target.rename(f"{directory}/new", f"{directory}/old", replace=False)
    assert content(target, f"{directory}/old") == b"old"
    target.rename(f"{directory}/new", f"{directory}/old", replace=True)
    assert content(target, f"{directory}/old") == b"new"
    assert target.names(directory) == ["old"]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("is_directory", [False, True])
def test_rename_never_moves_into_a_directory(
    place: tuple[TargetFs, str], *, replace: bool, is_directory: bool
) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/there/kept")
    if is_directory:
        target.mkdir(f"{directory}/a")
    else:
        write(target, f"{directory}/a")

    with pytest.raises(TargetExists):
        target.rename(f"{directory}/a", f"{directory}/there", replace=replace)
    assert target.names(f"{directory}/there") == ["kept"]
    assert target.status(f"{directory}/a") is not None


def test_rename_without_replace_refuses_an_empty_directory(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdir(f"{directory}/a")
    target.mkdir(f"{directory}/empty")

    with pytest.raises(TargetExists):
        target.rename(f"{directory}/a", f"{directory}/empty", replace=False)


def test_rename_of_a_directory_onto_a_file_is_refused(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdir(f"{directory}/a")
    write(target, f"{directory}/f", b"kept")

    with pytest.raises(CannotWrite):
        target.rename(f"{directory}/a", f"{directory}/f", replace=False)
    assert content(target, f"{directory}/f") == b"kept"


@pytest.mark.parametrize("replace", [False, True])
def test_rename_of_nothing_is_target_missing(place: tuple[TargetFs, str], *, replace: bool) -> None:
    target, directory = place
    write(target, f"{directory}/there", b"kept")

    for goal in ("there", "elsewhere"):
        with pytest.raises(TargetMissing):
            target.rename(f"{directory}/none", f"{directory}/{goal}", replace=replace)
    assert content(target, f"{directory}/there") == b"kept"


@pytest.mark.parametrize("replace", [False, True])
def test_rename_makes_no_directory(place: tuple[TargetFs, str], *, replace: bool) -> None:
    target, directory = place
    write(target, f"{directory}/a")

    with pytest.raises(TargetMissing):
        target.rename(f"{directory}/a", f"{directory}/none/a", replace=replace)
    assert target.names(directory) == ["a"]


# ---------------------------------------------------------------- removing


def test_remove_takes_all_below_and_may_be_repeated(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/a/b")
    write(target, f"{directory}/a/b/f")
    write(target, f"{directory}/f")
    for _ in range(2):
        target.remove(f"{directory}/a")
        target.remove(f"{directory}/f")

    assert target.names(directory) == []


def test_remove_empty_leaves_what_holds_something(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/full/x")
    target.mkdir(f"{directory}/empty")
    for name in ("full", "empty", "none"):
        target.remove_empty(f"{directory}/{name}")

    assert target.names(directory) == ["full"]


def test_directory_can_be_made_durable(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.sync_directory(directory)


# ---------------------------------------------------------------- HDFS alone


@pytest.mark.integration
@pytest.mark.hdfs
def test_hdfs_refusals_name_the_path_and_what_to_do(hdfs: Hdfs) -> None:
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    too_long = f"/t-{uuid.uuid4().hex[:12]}/" + "n" * 256
    target.mkdirs(too_long.rsplit("/", 1)[0])
    ask: Callable[[], object] = lambda: target.create(too_long, 1)  # noqa: E731

    with pytest.raises(BackhaulError) as caught:
        ask()
    assert caught.value.code == "E_DST_LIMIT"
    assert hdfs.uri in caught.value.message
    assert "\n" not in caught.value.message
