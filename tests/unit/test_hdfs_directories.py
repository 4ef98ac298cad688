"""What the NameNode reports of directories, before any of them is written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from backhaul.adapters.hadoop.hdfs.creation import CreationRules
from backhaul.adapters.hadoop.hdfs.directories import Directories
from backhaul.adapters.hadoop.hdfs.policies import Policies
from backhaul.adapters.hadoop.protocol.hdfs_pb2 import (
    CheckAccessRequestProto,
    CheckAccessResponseProto,
    GetFileInfoRequestProto,
    GetFileInfoResponseProto,
    HdfsFileStatusProto,
)
from backhaul.adapters.hadoop.rpc import ActiveNameNode, RemoteError
from backhaul.core.errors import CannotWrite

DIRECTORY, FILE = HdfsFileStatusProto.IS_DIR, HdfsFileStatusProto.IS_FILE
WORDS = 'Permission denied: user=etl, access=WRITE, inode="/d/closed":root:root:drwxr-xr-x'


class NameNode:
    """Answers two methods for the paths it has."""

    def __init__(self) -> None:
        self.kinds = {"/d": DIRECTORY, "/d/closed": DIRECTORY, "/d/file": FILE}

    def call(
        self,
        method: str,
        requests: Sequence[CheckAccessRequestProto | GetFileInfoRequestProto],
        kind: object,
    ) -> list[CheckAccessResponseProto | GetFileInfoResponseProto | RemoteError]:
        if method == "checkAccess":
            return [self._access(each.path) for each in requests if hasattr(each, "path")]
        assert method == "getFileInfo"
        return [self._file_info(each.src) for each in requests if hasattr(each, "src")]

    def _access(self, path: str) -> CheckAccessResponseProto | RemoteError:
        if path == "/d/closed":
            return RemoteError("org.apache.hadoop.security.AccessControlException", WORDS)
        return CheckAccessResponseProto()

    def _file_info(self, path: str) -> GetFileInfoResponseProto:
        kind = self.kinds.get(path)
        if kind is None:
            return GetFileInfoResponseProto()
        return GetFileInfoResponseProto(fs=HdfsFileStatusProto(fileType=kind, group="etl"))


@pytest.fixture
def directories() -> Directories:
    rules = cast("CreationRules", None)  # of new files
    made = Directories(client=None, filesystem="hdfs://ns", rules=rules)  # type: ignore[arg-type]
    made.policies = Policies(cast("ActiveNameNode", NameNode()))
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
