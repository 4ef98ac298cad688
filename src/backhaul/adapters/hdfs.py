"""HDFS as target, through hdfs-native's synchronous client.

Runs in a worker process only: the client has no RPC timeout, so a stopped NameNode blocks a call
until the process is killed. Foreign errors end here, classified by Java class name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from hdfs_native import Client, WriteOptions

from backhaul.adapters.hdfs_security import Cluster, Login
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
from backhaul.core.model import FileStatus
from backhaul.core.ports import ContentChecker, Entry, Held

if TYPE_CHECKING:
    from hdfs_native import FileWriter

MIB = 1 << 20
# A DataNode sets a whole block aside for every open file, so many small files at once exhaust it
# on paper; 1 MiB is the NameNode's default minimum (dfs.namenode.fs-limits.min-block-size).
SMALL_BLOCK_BYTES = MIB
MAX_BLOCKS = 10_000  # dfs.namenode.fs-limits.max-blocks-per-file
DEFAULT_BLOCK_BYTES = 128 * MIB
COMPLETE_TRIES = 3

# The client tries a dead NameNode for minutes, which is right in the middle of a transfer. Whether
# there is one at all has to be known within seconds; both NameNodes of a pair are asked.
_IMPATIENT = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "500",
    "dfs.client.failover.sleep.max.millis": "1000",
}
_REFUSED = ("Connection refused", "failed to lookup address", "No route to host")
_JAVA = re.compile(r'RPCError\("(?P<name>[\w.$]+)", "(?P<text>.*)', re.DOTALL)


class HdfsTarget:
    """One HDFS; implements `ports.TargetFs`.

    Args:
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.
        config_dir: HADOOP_CONF_DIR; needed for nameservices, Kerberos and client settings.
        login: Who the agent is on a cluster with Kerberos.
    """

    def __init__(self, filesystem: str, config_dir: str | None, login: Login | None = None) -> None:
        self._filesystem = filesystem
        self._content: ContentChecker | None = None
        self.keeps_checksums = False
        self._login = login or Login()
        self._cluster = Cluster(filesystem, config_dir)
        self._cluster.check(self._login)
        try:
            self._client = self._connect(config_dir, None)
            self._asker = self._connect(config_dir, _IMPATIENT)
        except Exception as error:
            raise self._translate(error, "") from error

    def _connect(self, config_dir: str | None, config: dict[str, str] | None) -> Client:
        login = self._login if self._cluster.is_secure else Login()
        return Client(
            self._filesystem,
            config=config,
            config_dir=config_dir,
            kerberos_principal=login.principal,
            kerberos_keytab=login.keytab,
            kerberos_cache=login.cache,
        )

    def check_reachable(self) -> None:
        # Each time: a NameNode may come back without Kerberos, and the client would follow it.
        self._cluster.check(self._login)
        try:
            self._asker.get_file_info("/")
        except OSError as error:
            # The handshake went well, and then it hung up: that is how a NameNode refuses a proxy.
            if self._login.run_as is not None and "RPC listener disconnected" in str(error):
                raise self._no_proxy(str(error)) from error
            raise self._translate(error, "/") from error
        except BaseException as error:
            raise self._translate(error, "/") from error

    def ask(self, content: ContentChecker | None) -> None:
        """From now on ask this one for the checksums that HDFS keeps; hdfs-native does not."""
        self._content = content
        self.keeps_checksums = content is not None

    def held(self, paths: Sequence[str]) -> list[Held | None]:
        if self._content is None:
            unknown = Held(size_bytes=None, modified_ms=0, why="nobody to ask for HDFS checksums")
            return [unknown] * len(paths)
        return self._content.held(paths)

    def _no_proxy(self, said: str) -> OutageError:
        user = self._login.run_as
        return OutageError.of(
            "credentials",
            "E_HDFS_PROXY",
            f"{self._filesystem}: the NameNode does not let the agent act for {user}: {said}",
            hint="grant hadoop.proxyuser.<agent>.users and .hosts in the NameNode's core-site.xml, "
            "then hdfs dfsadmin -refreshSuperUserGroupsConfiguration",
        )

    def check_place(self, path: str) -> None:
        """Nothing to do: HDFS has its symbolic links switched off, and viewfs is no scheme here."""

    def status(self, path: str) -> FileStatus | None:
        try:
            found = self._client.get_file_info(path)
        except FileNotFoundError:
            return None
        except BaseException as error:
            raise self._translate(error, path) from error
        return FileStatus(
            is_directory=found.isdir,
            size_bytes=found.length,
            modified_ms=found.modification_time,
        )

    def names(self, path: str) -> list[str]:
        try:
            return [one.path.rsplit("/", 1)[-1] for one in self._client.list_status(path)]
        except FileNotFoundError:
            return []
        except BaseException as error:
            raise self._translate(error, path) from error

    def entries(self, path: str) -> list[Entry]:
        try:
            return [
                Entry(name=one.path.rsplit("/", 1)[-1], is_directory=one.isdir)
                for one in self._client.list_status(path)
            ]
        except FileNotFoundError:
            return []
        except BaseException as error:
            raise self._translate(error, path) from error

    def create(self, path: str, size_bytes: int) -> HdfsWriter:
        options = WriteOptions(
            block_size=_block_size(size_bytes), overwrite=False, create_parent=False
        )
        try:
            return HdfsWriter(self, path, self._client.create(path, options))
        except BaseException as error:
            raise self._translate(error, path) from error

    def read(self, path: str) -> Iterator[bytes]:
        try:
            reader = self._client.read(path)
            yield from reader.read_range_stream(0, len(reader))
        except GeneratorExit:
            raise
        except BaseException as error:
            raise self._translate(error, path) from error

    def mkdir(self, path: str) -> None:
        self._mkdirs(path, create_parent=False)

    def mkdirs(self, path: str) -> None:
        self._mkdirs(path, create_parent=True)

    def _mkdirs(self, path: str, *, create_parent: bool) -> None:
        try:
            self._client.mkdirs(path, create_parent=create_parent)
        except BaseException as error:
            raise self._translate(error, path) from error

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        try:
            self._client.rename(source, target, overwrite=replace)
        except BaseException as error:
            translated = self._translate(error, target)
            is_refused = any(sign in str(error) for sign in _REFUSED)
            if (
                isinstance(translated, OutageError)
                and isinstance(error, OSError)
                and not is_refused
            ):
                raise OutcomeUnknown(
                    "E_HDFS_UNKNOWN", f"no answer to the rename to {self._filesystem}{target}"
                ) from error
            raise translated from error

    def remove(self, path: str) -> None:
        try:
            self._client.delete(path, recursive=True)
        except BaseException as error:
            raise self._translate(error, path) from error

    def remove_empty(self, path: str) -> None:
        try:
            self._client.delete(path, recursive=False)
        except BaseException as error:
            if "PathIsNotEmptyDirectoryException" not in str(error):
                raise self._translate(error, path) from error

    def sync_directory(self, path: str) -> None:
        """Nothing to do: the NameNode's edit log holds every name before it answers."""

    def _translate(self, error: BaseException, path: str) -> BackhaulError:
        if isinstance(error, (KeyboardInterrupt, SystemExit)):
            raise error
        return translate(error, f"{self._filesystem}{path}")


class HdfsWriter:
    """An open HDFS file; implements `ports.TargetWriter`.

    The client closes a writer when it is collected, failed or not, which leaves a short file that
    looks complete. That is why bytes only ever go to staging names.
    """

    def __init__(self, target: HdfsTarget, path: str, writer: FileWriter) -> None:
        self._target = target
        self._path = path
        self._writer = writer

    def write(self, data: bytes) -> None:
        try:
            # Only `bytes` is quick here: a memoryview takes eight times as long.
            self._writer.write(data)
        except BaseException as error:
            raise self._target._translate(error, self._path) from error  # noqa: SLF001

    def close(self) -> None:
        try:
            self._writer.close()
        except BaseException as error:
            raise self._target._translate(error, self._path) from error  # noqa: SLF001


def _block_size(size_bytes: int) -> int | None:
    """Block size for a file of this length; None leaves it to the cluster."""
    if size_bytes <= SMALL_BLOCK_BYTES:
        return SMALL_BLOCK_BYTES
    if size_bytes > MAX_BLOCKS * DEFAULT_BLOCK_BYTES:
        needed = -(-size_bytes // MAX_BLOCKS)
        return -(-needed // DEFAULT_BLOCK_BYTES) * DEFAULT_BLOCK_BYTES
    return None


_OUTAGES = {
    "SafeModeException": ("E_HDFS_SAFE_MODE", "the NameNode is in safe mode"),
    "StandbyException": ("E_HDFS_STANDBY", "no active NameNode"),
    "RetriableException": ("E_HDFS_STARTING", "the NameNode is not ready"),
    "ObserverRetryOnActiveException": ("E_HDFS_STANDBY", "no active NameNode"),
    "NSQuotaExceededException": ("E_DST_QUOTA", "the name quota is used up"),
    "DSQuotaExceededException": ("E_DST_QUOTA", "the space quota is used up"),
    "QuotaByStorageTypeExceededException": ("E_DST_QUOTA", "the storage type quota is used up"),
}
_PERMANENT = {
    "InvalidPathException": ("E_DST_INVALID", "HDFS does not take this name"),
    "FSLimitException$PathComponentTooLongException": ("E_DST_LIMIT", "name too long"),
    "FSLimitException$MaxDirectoryItemsExceededException": ("E_DST_LIMIT", "directory is full"),
    "PathComponentTooLongException": ("E_DST_LIMIT", "name too long"),
    "MaxDirectoryItemsExceededException": ("E_DST_LIMIT", "directory is full"),
}


def translate(error: BaseException, where: str) -> BackhaulError:
    """hdfs-native's error as ours.

    Args:
        error: What the client raised: OSError kinds, RuntimeError with a Java class in its text,
            or a Rust panic (a BaseException).
        where: URI of the path concerned.
    """
    text = str(error)
    if isinstance(error, FileNotFoundError):
        return TargetMissing("E_DST_MISSING", f"{where}: {_first_line(text)}")
    if isinstance(error, FileExistsError):
        if "lease" in text:
            return TransientError("E_HDFS_LEASE", f"{where}: {_first_line(text)}")
        return TargetExists(
            "E_DST_EXISTS", f"{where} exists", hint="remove it or choose another directory"
        )
    if match := _JAVA.search(text):
        return _of_java(match["name"].rsplit(".", 1)[-1], match["text"], where)
    if isinstance(error, OSError):
        return OutageError.of(
            "hdfs",
            "E_HDFS_UNREACHABLE",
            f"{where}: {_first_line(text)}",
            hint="check that the NameNode runs and that HADOOP_CONF_DIR or the URI names it",
        )
    return _of_client(error, text, where)


def _of_java(name: str, text: str, where: str) -> BackhaulError:
    line = _first_line(text)
    if name in _OUTAGES:
        code, words = _OUTAGES[name]
        return OutageError.of("hdfs", code, f"{where}: {words}: {line}")
    if name in _PERMANENT:
        code, words = _PERMANENT[name]
        return PermanentError(code, f"{where}: {words}: {line}", hint="send it under another name")
    if name in {"AccessControlException", "SnapshotAccessControlException"}:
        return CannotWrite(
            "E_DST_DENIED",
            f"{where}: {line}",
            hint="give the agent's HDFS user write permission on this directory",
        )
    if name == "ParentNotDirectoryException" or "is not a directory" in line:
        return CannotWrite(
            "E_DST_PARENT_FILE",
            f"{where}: {line}",
            hint="a file stands where a directory is needed; remove it or choose another path",
        )
    if "must both be directories" in line or "directory is not empty" in line:
        return TargetExists(
            "E_DST_EXISTS",
            f"{where}: a directory stands where a file should go",
            hint="remove the directory or choose another destination",
        )
    if "encryption zone" in line and "be moved" in line:
        return CannotWrite(
            "E_DST_EZ",
            f"{where}: {line}",
            hint="staging and destination are in two encryption zones: let the route's destination "
            "be the zone itself, or a directory in it",
        )
    if "could only be written to 0 of" in line or name == "NotReplicatedYetException":
        return TransientError("E_HDFS_OVERLOADED", f"{where}: {line}")
    if name in {"LeaseExpiredException", "FileNotFoundException"}:
        return TargetMissing("E_DST_MISSING", f"{where}: {line}")
    return TransientError("E_HDFS_RPC", f"{where}: {name}: {line}")


def _of_client(error: BaseException, text: str, where: str) -> BackhaulError:
    line = _first_line(text)
    if "No NameNode hosts found" in text:
        return PermanentError(
            "E_DST_AUTHORITY",
            f"{where}: no such nameservice is configured, and there is no port",
            hint="write hdfs://host:port/dir, or set HADOOP_CONF_DIR to the cluster's files",
        )
    if "GSSAPI" in text or "Kerberos" in text or "SASL" in text:
        return OutageError.of(
            "credentials",
            "E_HDFS_KERBEROS",
            f"{where}: {line}",
            hint="run kinit, or check the settings of [kerberos], KRB5CCNAME and krb5.conf",
        )
    if "DataTransferError" in text:
        # A DataNode that has too much open drops connections, as one that dies does: do less at
        # once and write the file again.
        return TransientError("E_HDFS_OVERLOADED", f"{where}: {line}")
    if type(error).__name__ == "PanicException":
        return TransientError("E_HDFS_PANIC", f"{where}: the HDFS client crashed: {line}")
    return TransientError("E_HDFS_CLIENT", f"{where}: {line}")


def _first_line(text: str) -> str:
    """Without the Java stack that follows."""
    return re.split(r"\n|\\n|\\tat ", text, maxsplit=1)[0].strip().removesuffix('")')[:300]
