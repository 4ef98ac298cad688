"""What the NameNode's answers say of directories, before any of them is written to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from backhaul.adapters.hadoop.hdfs_creation import CreationRules
from backhaul.adapters.hadoop.hdfs_directories import Directories
from backhaul.adapters.hadoop.hdfs_policies import Policies
from backhaul.adapters.hadoop.namenode_rpc import ActiveNameNode, RemoteError
from backhaul.adapters.hadoop.protobuf_wire import fields_of, message, octets
from backhaul.core.errors import BackhaulError, CannotWrite, TransientError

DIRECTORY, FILE = 1, 2
WORDS = 'Permission denied: user=etl, access=WRITE, inode="/d/closed":root:root:drwxr-xr-x'


class NameNode:
    """Answers two methods for the paths it has."""

    def __init__(self) -> None:
        self.kinds = {"/d": DIRECTORY, "/d/closed": DIRECTORY, "/d/file": FILE}

    def ask(self, method: str, questions: Sequence[bytes]) -> list[bytes | RemoteError]:
        paths = [octets(fields_of(each), 1).decode() for each in questions]
        if method == "checkAccess":
            denied = RemoteError("org.apache.hadoop.security.AccessControlException", WORDS)
            return [denied if path == "/d/closed" else b"" for path in paths]
        assert method == "getFileInfo"
        return [self._file_info(path) for path in paths]

    def _file_info(self, path: str) -> bytes:
        kind = self.kinds.get(path)
        return b"" if kind is None else message((1, message((1, kind), (6, "etl"))))


@pytest.fixture
def directories() -> Directories:
    def translate(error: BaseException, path: str) -> BackhaulError:
        return TransientError("E_HDFS_CLIENT", f"{path}: {error}")

    rules = cast("CreationRules", None)  # of new files
    made = Directories(client=None, rules=rules, translate=translate)  # type: ignore[arg-type]
    made.policies = Policies(cast("ActiveNameNode", NameNode()))
    return made


def test_a_directory_that_takes_no_names_is_told_with_the_namenode_s_words(
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
