"""hdfs-native's errors as ours: the texts are what 0.14.7 raised against a real NameNode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from backhaul.adapters.hadoop.hdfs.errors import translate
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.adapters.hadoop.hdfs.writer import HdfsWriter
from backhaul.core.errors import (
    BackhaulError,
    CannotWrite,
    OutageError,
    OutcomeUnknown,
    PermanentError,
    TargetExists,
    TargetMissing,
    TransientError,
)

WHERE = "hdfs://nameservice/landing/f"
STACK = "\\n\\tat org.apache.hadoop.hdfs.server.namenode.FSNamesystem.x(FSNamesystem.java:1)"


def java(name: str, text: str) -> RuntimeError:
    return RuntimeError(f'RPCError("{name}", "{text}{STACK}")')


class PanicException(BaseException):
    """As pyo3 raises it: no Exception."""


def test_the_namenodes_words_are_shown_as_it_wrote_them() -> None:
    """The client shows them as Rust would, escaped; a second time they are escaped in JSON."""
    error = RuntimeError(
        r'RPCError("org.apache.hadoop.security.AccessControlException", "Permission denied: '
        r"user=bob, access=WRITE, inode=\"/se\\cure/o\'r\u{e9}\u{1b}[31m\":etl:hadoop:drwxr-xr-x"
        r'\n\tat org.apache.hadoop.X.y(X.java:1)\n")'
    )
    found = translate(error, WHERE)
    assert found.message == (
        WHERE + ": Permission denied: user=bob, access=WRITE, "
        'inode="/se\\cure/o\'ré\\x1b[31m":etl:hadoop:drwxr-xr-x'
    )
    assert "hdfs dfs -setfacl -m user:bob:rwx" in found.hint


def test_other_errors_of_the_client_are_plain_too_and_paths_are_left_alone() -> None:
    error = RuntimeError(r'OperationFailed("the block \"blk_1\" of C:\\x is lost")')
    assert r'the block "blk_1" of C:\x is lost' in translate(error, WHERE).message
    missing = translate(FileNotFoundError(r"/landing/a\nb"), WHERE)
    assert r"/landing/a\nb" in missing.message


ROWS: list[tuple[BaseException, type[BackhaulError], str]] = [
    (FileNotFoundError("/landing/f"), TargetMissing, "E_DST_MISSING"),
    (FileExistsError("/landing/f already exists"), TargetExists, "E_DST_EXISTS"),
    (FileExistsError("/f: lease currently owned by DFSClient"), TransientError, "E_HDFS_LEASE"),
    (OSError("Connection refused (os error 111)"), OutageError, "E_HDFS_UNREACHABLE"),
    (
        RuntimeError(
            'OperationFailed("File is in an HDFS encryption zone but no KMS provider is configured '
            '(set `hadoop.security.key.provider.path` in core-site.xml)")'
        ),
        CannotWrite,
        "E_DST_NO_KMS",
    ),
    (
        RuntimeError('OperationFailed("KMS HTTP error: error sending request for url (http://k)")'),
        OutageError,
        "E_HDFS_KMS",
    ),
    (
        java("org.apache.hadoop.security.AccessControlException", "Permission denied: user=bob"),
        CannotWrite,
        "E_DST_DENIED",
    ),
    (
        java("org.apache.hadoop.fs.ParentNotDirectoryException", "/a/f (is not a directory)"),
        CannotWrite,
        "E_DST_PARENT_FILE",
    ),
    (
        java("java.io.IOException", "Source /a and destination /b must both be directories"),
        TargetExists,
        "E_DST_EXISTS",
    ),
    (
        java("org.apache.hadoop.hdfs.server.namenode.SafeModeException", "Cannot create file"),
        OutageError,
        "E_HDFS_SAFE_MODE",
    ),
    (
        java("org.apache.hadoop.ipc.StandbyException", "Operation category WRITE"),
        OutageError,
        "E_HDFS_STANDBY",
    ),
    (
        java("org.apache.hadoop.hdfs.protocol.DSQuotaExceededException", "The DiskSpace quota"),
        OutageError,
        "E_DST_QUOTA",
    ),
    (
        java("java.io.IOException", "File /f could only be written to 0 of the 1 minReplication"),
        TransientError,
        "E_HDFS_OVERLOADED",
    ),
    (
        java(
            "java.io.IOException",
            "File /f could only be written to 3 of the 6 required nodes for RS-6-3-1024k. There "
            "are 3 datanode(s) running and no node(s) are excluded in this operation.",
        ),
        TransientError,
        "E_HDFS_RPC",
    ),
    (
        RuntimeError('DataTransferError("Datanode connection closed while waiting for ack")'),
        TransientError,
        "E_HDFS_OVERLOADED",
    ),
    (
        RuntimeError('DataTransferError("All DataNodes failed: [DatanodeInfoProto { id: … }]")'),
        TransientError,
        "E_HDFS_NO_REPLICA",
    ),
    (
        java("org.apache.hadoop.fs.InvalidPathException", "Invalid path name /a/s:x"),
        PermanentError,
        "E_DST_INVALID",
    ),
    # As a Router of Hadoop 3.4.2 wrote them.
    (
        java(
            "java.net.ConnectException",
            "No namenode available to invoke getFileInfo [/d/f] in "
            "[vm:30613->ns0:null:localhost:31250-ACTIVE] from vm:30613",
        ),
        OutageError,
        "E_HDFS_STANDBY",
    ),
    (
        java(
            "java.io.IOException",
            "Rename of /data/a to /other/a is not allowed, no eligible destination in the same "
            "namespace was found",
        ),
        CannotWrite,
        "E_DST_MOUNT",
    ),
    (
        java(
            "org.apache.hadoop.security.AccessControlException",
            "The operation is not allowed because the path: /data is a mount point",
        ),
        CannotWrite,
        "E_DST_MOUNT",
    ),
    (
        java(
            "org.apache.hadoop.hdfs.server.federation.resolver.RouterResolveException",
            "Cannot find locations for /x, because the default nameservice is disabled to read",
        ),
        CannotWrite,
        "E_DST_NO_MOUNT",
    ),
    (RuntimeError('InvalidArgument("No NameNode hosts found")'), PermanentError, "E_DST_AUTHORITY"),
    (RuntimeError('GSSAPIError(..., "No credentials")'), OutageError, "E_HDFS_KERBEROS"),
    (
        RuntimeError('OperationFailed("Failed to complete file in time")'),
        TransientError,
        "E_HDFS_CLIENT",
    ),
    (java("java.lang.Surprise", "what"), TransientError, "E_HDFS_RPC"),
    (PanicException("index out of bounds"), TransientError, "E_HDFS_PANIC"),
]


@pytest.mark.parametrize(("error", "kind", "code"), ROWS)
def test_each_error_of_the_client_has_its_fate(
    error: BaseException, kind: type[BackhaulError], code: str
) -> None:
    found = translate(error, WHERE)
    assert (type(found), found.code) == (kind, code)
    assert WHERE in found.message
    assert "\tat " not in found.message
    assert "\n" not in found.message
    assert STACK[:6] not in found.message


@pytest.mark.parametrize(
    "text",
    [
        "/a/.backhaul/x can't be moved into an encryption zone.",
        "/z/.backhaul/x can't be moved from an encryption zone.",
    ],
)
def test_a_rename_between_encryption_zones_is_refused_with_its_mend(text: str) -> None:
    """Hadoop's words: EncryptionZoneManager.checkMoveValidity."""
    error = translate(java("java.io.IOException", text), WHERE)
    assert (type(error), error.code) == (CannotWrite, "E_DST_EZ")
    assert error.hint


def test_a_namenode_that_is_not_ready_is_an_outage() -> None:
    error = translate(java("org.apache.hadoop.ipc.RetriableException", "not started"), WHERE)
    assert (type(error), error.code) == (OutageError, "E_HDFS_STARTING")


@pytest.mark.parametrize(
    "text",
    [
        "Specified block size is less than configured minimum value: 1048576 < 16777216",
        "Specified block size 1048576 is less than configured minimum value x.min-block-size=2",
        "Requested replication factor of 600 exceeds maximum of 512 for /x from 127.0.0.1",
    ],
)
def test_a_client_setting_that_the_namenode_refuses_holds_the_transfer(text: str) -> None:
    """Hadoop's words: FSNamesystem.startFileInt, BlockManager.verifyReplication."""
    error = translate(java("java.io.IOException", text), WHERE)
    assert (type(error), error.code) == (OutageError, "E_HDFS_SETTING")
    assert "hdfs-site.xml" in error.hint


# What hdfs-native raised under an open file while its one DataNode, or one of three, was killed or
# stopped for 80 s.
BROKEN = [
    OSError("Connection reset by peer (os error 104)"),
    OSError("Connection refused (os error 111)"),
    OSError("No data received for 60000ms"),
    RuntimeError('DataTransferError("All nodes failed for write")'),
]


class BrokenFile:
    """A client's writer whose DataNode is gone."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def write(self, data: bytes) -> None:
        raise self._error

    def close(self) -> None:
        raise self._error


def target_without_client() -> HdfsTarget:
    target = object.__new__(HdfsTarget)
    target._filesystem = "hdfs://nameservice"
    return target


@pytest.mark.parametrize("error", BROKEN, ids=str)
@pytest.mark.parametrize("call", ["write", "close"])
def test_file_whose_datanode_is_gone_is_written_again(error: BaseException, call: str) -> None:
    file: Any = BrokenFile(error)
    writer = HdfsWriter("/landing/f", WHERE, file)
    with pytest.raises(TransientError) as caught:
        writer.write(b"x") if call == "write" else writer.close()
    assert caught.value.code == "E_HDFS_OVERLOADED"
    assert WHERE in caught.value.message


class CutOff:
    """A client whose first call is cut by a NameNode that dies, and repeated by nobody."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        def call(*_: object, **__: object) -> Any:
            self.calls += 1
            if self.errors:
                raise self.errors.pop(0)
            return []

        return call


CUT = OSError("RPC listener disconnected")


@pytest.mark.parametrize(
    "call", [lambda it: it.names("/d"), lambda it: it.entries("/d"), lambda it: it.remove("/d")]
)
def test_call_that_may_be_repeated_is_repeated_once_when_its_namenode_dies(
    call: Callable[[HdfsTarget], object],
) -> None:
    target = target_without_client()
    client: Any = CutOff(CUT)
    target._client = client
    call(target)
    assert client.calls == 2
    client.errors = [CUT, CUT]
    with pytest.raises(OutageError, match="E_HDFS_UNREACHABLE"):
        call(target)
    client.errors, client.calls = [OSError("Connection refused (os error 111)")], 0
    with pytest.raises(OutageError):
        call(target)
    assert client.calls == 1


def test_rename_whose_namenode_dies_is_never_repeated_blindly() -> None:
    target = target_without_client()
    client: Any = CutOff(CUT)
    target._client = client
    with pytest.raises(OutcomeUnknown):
        target.rename("/a", "/b", replace=True)
    assert client.calls == 1
