"""What `core.ports.TargetFs` promises, asked of the fake, a mounted file system and real HDFS."""

from __future__ import annotations

import contextlib
import os
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import hdfs_native
import pytest

from backhaul.adapters.digests import new_digest
from backhaul.adapters.hadoop.hdfs.policies import policies
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.adapters.local import LocalTarget
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    TargetExists,
    TargetMissing,
)
from backhaul.core.ports import TargetFs
from backhaul.engines.counter import Counter
from backhaul.engines.operations import TargetOperations
from backhaul.engines.tree_walk import walk_files
from backhaul.testing.fakes import FakeTarget
from backhaul.testing.servers import Hdfs
from testbed.federation import Federation


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
        pytest.param("router", marks=[pytest.mark.integration, pytest.mark.hdfs, pytest.mark.long]),
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
    mount = ""
    if request.param == "router":
        federation: Federation = request.getfixturevalue("federation")
        target, mount = HdfsTarget(federation.uri, str(federation.conf_dir)), "/data"
    directory = f"{mount}/t-{uuid.uuid4().hex[:12]}"
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


def test_statuses_are_the_entries_with_length_and_time(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    write(target, f"{directory}/f", b"12345")
    target.mkdir(f"{directory}/sub")
    write(target, f"{directory}/sub/deep")

    found = dict(target.statuses(directory))
    assert found == {name: target.status(f"{directory}/{name}") for name in ("f", "sub")}
    assert (found["f"].size_bytes, found["f"].is_file) == (5, True)
    assert dict(target.statuses(f"{directory}/none")) == {}


def test_a_walk_is_in_the_order_of_bytes(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    for name in ("a/c", "a-b", "a.b", "a0", "ä", "a/é/x", "Z"):
        target.mkdirs(f"{directory}/{name}".rpartition("/")[0])
        write(target, f"{directory}/{name}")

    found = [one.relative for one in walk_files(target, directory)]
    assert found == ["Z", "a-b", "a.b", "a/c", "a/é/x", "a0", "ä"]


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


# ---------------------------------------------------------------- what directories give


def test_only_a_directory_gives_something(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    write(target, f"{directory}/f")

    found = target.inherited([directory, f"{directory}/none/deeper"])
    assert found[0] is not None
    assert (found[0].is_mount, found[0].refused) == (False, None)
    assert found[1] is None
    assert target.inherited([]) == []
    with pytest.raises(CannotWrite) as caught:
        target.inherited([directory, f"{directory}/f"])
    assert caught.value.code == "E_DST_PARENT_FILE"
    assert f"{directory}/f " in caught.value.message


def test_a_new_directory_gives_what_the_one_above_gives(place: tuple[TargetFs, str]) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/a/b")

    here, below = target.inherited([directory, f"{directory}/a/b"])
    assert here == below
    assert here is not None
    target.set_policies(f"{directory}/a/b", here)
    assert target.inherited([f"{directory}/a/b"]) == [here]


def test_a_renamed_directory_gives_its_group_as_before(
    place: tuple[TargetFs, str], own: Callable[[TargetFs, str], None]
) -> None:
    target, directory = place
    target.mkdirs(f"{directory}/of-others")
    own(target, f"{directory}/of-others")
    here, theirs = target.inherited([directory, f"{directory}/of-others"])
    assert here is not None
    assert theirs is not None
    assert theirs.carried != here.carried
    target.mkdir(f"{directory}/of-others/made")
    target.rename(f"{directory}/of-others/made", f"{directory}/moved", replace=False)

    (moved,) = target.inherited([f"{directory}/moved"])
    assert moved is not None
    assert moved.carried == theirs.carried


@pytest.mark.parametrize(
    "acl",
    [
        (("group", "rwx", None), ("user", "rwx", "bob"), ("other", "---", None)),
        (("group", "rwx", None), ("other", "r-x", None)),
        (("mask", "r-x", None), ("group", "rwx", "audit")),
        (),
    ],
)
@pytest.mark.integration
@pytest.mark.hdfs
def test_a_file_of_another_client_gets_the_mode_that_create_gives(
    hdfs: Hdfs, acl: tuple[tuple[Any, Any, str | None], ...]
) -> None:
    """DistCp sends 644 where `-put` and `create` send 666 and let the default ACL decide."""
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    directory = f"/t-{uuid.uuid4().hex[:12]}"
    target.mkdirs(directory)
    client = hdfs_native.Client(hdfs.uri)
    if acl:
        entries = [
            hdfs_native.AclEntry(kind, "default", letters, name) for kind, letters, name in acl
        ]
        client.modify_acl_entries(directory, entries)
    write(target, f"{directory}/ours")
    options = hdfs_native.WriteOptions(permission=0o644, create_parent=False)
    with client.create(f"{directory}/theirs", options) as writer:
        writer.write(b"data")
    target.correct_mode(f"{directory}/theirs")

    ours, theirs = (client.get_acl_status(f"{directory}/{name}") for name in ("ours", "theirs"))
    assert theirs.permission == ours.permission
    assert sorted(map(repr, theirs.entries)) == sorted(map(repr, ours.entries))


@pytest.fixture
def own() -> Callable[[TargetFs, str], None]:
    """Gives a directory to another group, as an administrator does."""

    def give(target: TargetFs, path: str) -> None:
        match target:
            case FakeTarget():
                target.own(path, group="audit")
            case LocalTarget():
                os.chown(path, -1, 12345)
                os.chmod(path, 0o2777)  # noqa: PTH101, S103
            case HdfsTarget():
                client = hdfs_native.Client(target.cluster.filesystem)
                client.set_owner(path, None, "audit")
            case _:
                raise TypeError(target)

    return give


@pytest.mark.integration
@pytest.mark.hdfs
def test_policies_of_hdfs_are_shown_and_set(wide_hdfs: Hdfs) -> None:
    target = HdfsTarget(wide_hdfs.uri, str(wide_hdfs.conf_dir))
    known = policies(target.cluster)
    assert known is not None
    target.attach(None, policies=known)
    directory = f"/plain/{uuid.uuid4().hex[:12]}"
    target.mkdirs(f"{directory}/a")
    coded, plain, zone = target.inherited(["/ec", "/plain", "/zone"])
    assert coded is not None
    assert plain is not None
    assert zone is not None
    assert [each.is_encrypted for each in (coded, plain, zone)] == [False, False, True]
    assert (coded.erasure_coding, plain.erasure_coding) == ("RS-3-2-1024k", "")

    target.set_policies(f"{directory}/a", replace(coded, storage_policy="ALL_SSD"))
    (found,) = target.inherited([f"{directory}/a"])
    assert found is not None
    assert (found.erasure_coding, found.storage_policy) == ("RS-3-2-1024k", "ALL_SSD")
    target.mkdir(f"{directory}/a/b")
    target.set_policies(f"{directory}/a/b", replace(plain, storage_policy="HOT"))
    (below,) = target.inherited([f"{directory}/a/b"])
    assert below is not None
    assert (below.erasure_coding, below.storage_policy) == ("", "HOT")
    known.close()


@pytest.mark.integration
@pytest.mark.hdfs
def test_where_policies_are_not_known_groups_and_acls_are(hdfs: Hdfs) -> None:
    """As under Kerberos: through the client alone."""
    target = HdfsTarget(hdfs.uri, str(hdfs.conf_dir))
    directory = f"/t-{uuid.uuid4().hex[:12]}"
    target.mkdirs(directory)
    client = hdfs_native.Client(hdfs.uri)
    client.modify_acl_entries(directory, [hdfs_native.AclEntry("user", "default", "r-x", "bob")])
    (found,) = target.inherited([directory])
    assert found is not None
    assert (found.erasure_coding, found.storage_policy) == (None, None)
    assert "user:bob:r-x" in found.acl
    target.set_policies(directory, replace(found, erasure_coding="RS-3-2-1024k"))


@pytest.mark.integration
@pytest.mark.hdfs
def test_a_namenode_that_does_not_show_policies_is_an_outage() -> None:
    with Hdfs() as own_hdfs:
        target = HdfsTarget(own_hdfs.uri, str(own_hdfs.conf_dir))
        target.attach(None, policies=policies(target.cluster))
        own_hdfs.kill_namenode()
        with pytest.raises(OutageError) as caught:
            target.inherited(["/"])
    assert caught.value.code == "E_HDFS_UNREACHABLE"


# ---------------------------------------------------------------- what readers rely on


def test_a_delta_log_and_a_marker_are_published_in_order(place: tuple[TargetFs, str]) -> None:
    """As a transfer does it: an empty file, whole; then renames that others see one by one."""
    target, directory = place
    staged, final = f"{directory}/staged", f"{directory}/table"
    target.mkdirs(f"{staged}/_delta_log")
    names = [f"_delta_log/{number:020}.json" for number in range(5)]
    for name in names:
        write(target, f"{staged}/{name}", name.encode())
    operations = TargetOperations(target, new_digest, Counter(), lambda: pytest.fail("no S3"))
    operations.write_whole(f"{staged}/_SUCCESS", b"")
    (status,) = operations.status([f"{staged}/_SUCCESS"])
    assert status is not None
    assert (status.is_file, status.size_bytes) == (True, 0)
    missing = [names[0], "_delta_log/gone.json", names[1]]
    with pytest.raises(TargetMissing):
        operations.publish_files(
            [(f"{staged}/{name}", f"{final}/{name}") for name in missing],
            replace=False,
            in_order=True,
        )
    assert target.names(f"{final}/_delta_log") == [names[0].rpartition("/")[2]], "and no later one"
    operations.publish_files(
        [(f"{staged}/{name}", f"{final}/{name}") for name in names[1:]],
        replace=True,
        in_order=True,
    )
    operations.publish_files([(f"{staged}/_SUCCESS", f"{final}/_SUCCESS")], replace=True)
    assert len(target.names(f"{final}/_delta_log")) == len(names)
    assert content(target, f"{final}/_SUCCESS") == b""
