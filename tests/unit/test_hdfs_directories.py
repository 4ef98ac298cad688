"""What the NameNode reports of directories, before any of them is written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest

from backhaul.adapters.hadoop.hdfs.creation import CreationRules
from backhaul.adapters.hadoop.hdfs.directories import Directories
from backhaul.adapters.hadoop.hdfs.policies import Policies
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    CheckAccessResponseProto,
    GetEnclosingRootResponseProto,
    GetFileInfoResponseProto,
    HdfsFileStatusProto,
)
from backhaul.adapters.hadoop.rpc import ActiveNameNode, RemoteError
from backhaul.core.errors import CannotWrite

DIRECTORY, FILE = HdfsFileStatusProto.IS_DIR, HdfsFileStatusProto.IS_FILE
WORDS = 'Permission denied: user=etl, access=WRITE, inode="/d/closed":root:root:drwxr-xr-x'


class NameNode:
    """Answers three methods for the paths it has.

    Attributes:
        roots: Mounts and encryption zones; None: it is older than the question for them.
        encrypted: Directories in encryption zones.
    """

    def __init__(self) -> None:
        self.kinds = {"/d": DIRECTORY, "/d/closed": DIRECTORY, "/d/file": FILE}
        self.roots: set[str] | None = None
        self.encrypted: set[str] = set()
        self.called: list[str] = []

    def call(self, method: str, requests: Sequence[Any], kind: object) -> list[Any]:
        self.called.append(method)
        if method == "getEnclosingRoot":
            return [self._root(each.filename) for each in requests]
        if method == "checkAccess":
            return [self._access(each.path) for each in requests if hasattr(each, "path")]
        assert method == "getFileInfo"
        return [self._file_info(each.src) for each in requests if hasattr(each, "src")]

    def _access(self, path: str) -> CheckAccessResponseProto | RemoteError:
        if path == "/d/closed":
            return RemoteError("org.apache.hadoop.security.AccessControlException", WORDS)
        return CheckAccessResponseProto()

    def _root(self, path: str) -> GetEnclosingRootResponseProto | RemoteError:
        if self.roots is None:
            return RemoteError("org.apache.hadoop.ipc.RpcNoSuchMethodException", "Unknown method")
        if path == "/d/closed":
            return RemoteError("org.apache.hadoop.security.AccessControlException", WORDS)
        above = [one for one in self.roots if path == one or path.startswith(f"{one}/")]
        return GetEnclosingRootResponseProto(enclosingRootPath=max(above, key=len, default="/"))

    def _file_info(self, path: str) -> GetFileInfoResponseProto:
        kind = self.kinds.get(path)
        if kind is None:
            return GetFileInfoResponseProto()
        flags = HdfsFileStatusProto.HAS_CRYPT if path in self.encrypted else 0
        status = HdfsFileStatusProto(fileType=kind, group="etl", flags=flags)
        return GetFileInfoResponseProto(fs=status)


@pytest.fixture
def namenode() -> NameNode:
    return NameNode()


@pytest.fixture
def directories(namenode: NameNode) -> Directories:
    rules = cast("CreationRules", None)  # of new files
    made = Directories(client=None, filesystem="hdfs://ns", rules=rules)  # type: ignore[arg-type]
    made.policies = Policies(cast("ActiveNameNode", namenode))
    return made


def test_a_directory_that_takes_no_names_is_reported_with_the_namenode_s_words(
    directories: Directories,
) -> None:
    here, missing, closed = directories.inherited(["/d", "/d/none", "/d/closed"])
    assert here is not None
    assert here.refused is None
    assert missing is None
    assert closed is not None
    assert closed.refused is not None
    assert (closed.refused.user, closed.refused.why) == ("etl", WORDS)
    assert closed == here  # it gives the same


def test_a_file_is_named(directories: Directories) -> None:
    with pytest.raises(CannotWrite) as caught:
        directories.inherited(["/d", "/d/file"])
    assert caught.value.code == "E_DST_PARENT_FILE"
    assert "/d/file" in caught.value.message


def test_a_mount_of_a_router_is_known_and_an_encryption_zone_is_none(
    namenode: NameNode, directories: Directories
) -> None:
    for path in ("/", "/d/mount", "/d/mount/below", "/d/zone"):
        namenode.kinds[path] = DIRECTORY
    namenode.roots = {"/d", "/d/mount", "/d/zone"}
    namenode.encrypted = {"/d/zone"}
    paths = ["/", "/d", "/d/none", "/d/mount", "/d/mount/below", "/d/zone", "/d/closed"]
    found = directories.inherited(paths)
    mounts = [path for path, one in zip(paths, found, strict=True) if one and one.is_mount]
    assert mounts == ["/d", "/d/mount"]


def test_a_namenode_that_does_not_know_of_mounts_is_asked_once(
    namenode: NameNode, directories: Directories
) -> None:
    for _ in range(2):
        (found,) = directories.inherited(["/d"])
        assert found is not None
        assert not found.is_mount
    assert namenode.called.count("getEnclosingRoot") == 1
