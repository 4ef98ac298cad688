"""HDFS as target, through hdfs-native's synchronous client.

Runs in a worker process only: the client has no RPC timeout, so a stopped NameNode blocks a call
until the process is killed. Foreign errors end here, classified by Java class name.
"""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from hdfs_native import Client, WriteOptions

from backhaul.adapters.hadoop.configuration.filesystems import client_properties, in_full
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs_creation import BLOCK_SIZE, REPLICATION, creation_rules
from backhaul.adapters.hadoop.hdfs_directories import CUT, Directories, twice
from backhaul.adapters.hadoop.hdfs_policies import Policies
from backhaul.adapters.hadoop.hdfs_security import KEY_PROVIDER, Cluster, Login
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
from backhaul.core.ports import ContentChecker, Entry, Inherited, StoredChecksum, WriteRefusal
from backhaul.core.transfer.write_access import hdfs_permission_hint

if TYPE_CHECKING:
    from hdfs_native import FileWriter

_CODEC = "rs"  # the only one whose parity hdfs-native writes as Hadoop does

# The client tries a dead NameNode for minutes, which is right in the middle of a transfer. Whether
# there is one at all has to be known within seconds; both NameNodes of a pair are asked.
_IMPATIENT = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "500",
    "dfs.client.failover.sleep.max.millis": "1000",
}
# The client would read HADOOP_CONF_DIR by itself, by rules of its own: it finds no file here, and
# takes the properties that it is given.
_NO_DIRECTORY = "/dev/null/none"
# The client refuses to start where keys are kept otherwise; then it does without, and refuses
# encryption zones alone.
_KEY_SERVER = "kms://"
_DEBUG = re.compile(r'\w+\("')
_ESCAPE = re.compile(r"\\(?:u\{([0-9a-f]{1,6})\}|(.))")
_REFUSED = ("Connection refused", "failed to lookup address", "No route to host")
_JAVA = re.compile(r'RPCError\("(?P<name>[\w.$]+)", "(?P<text>.*)', re.DOTALL)


class FileCloser(Protocol):
    """Closes an open file of HDFS, whole and all."""

    def close(self, path: str, size_bytes: int, close: Callable[[], None]) -> None:
        """As `close` alone would, perhaps sooner."""


class HdfsTarget:
    """One HDFS; implements `ports.TargetFs`.

    Args:
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.
        configuration: For nameservices, Kerberos and client settings; a directory is read here.
        login: Who the agent is on a cluster with Kerberos.
    """

    def __init__(
        self,
        filesystem: str,
        configuration: HadoopConfiguration | str | None,
        login: Login | None = None,
    ) -> None:
        self._filesystem = filesystem
        self._content: ContentChecker | None = None
        self._closer: FileCloser | None = None
        self._access: Callable[[str], WriteRefusal | None] | None = None
        self.keeps_checksums = False
        self._login = login or Login()
        configuration = HadoopConfiguration.of(configuration)
        self._rules = creation_rules(configuration)
        self._cluster = Cluster(filesystem, configuration)
        self._cluster.check(self._login)
        self._address = in_full(configuration, filesystem)
        self._properties = client_properties(configuration, filesystem)
        self._without_keys: Client | None = None
        self._codec: Callable[[str], str | None] | None = None
        self._parity_known: set[str] = set()
        self._connecting = threading.Lock()
        try:
            self._client = self._connect({})
            self._asker = self._connect(_IMPATIENT)
        except Exception as error:
            raise self._translate(error, "") from error
        self._directories = Directories(self._client, self._rules, self._translate)

    def _connect(self, properties: Mapping[str, str]) -> Client:
        login = self._login if self._cluster.is_secure else Login()
        if not self._cluster.key_provider.startswith(_KEY_SERVER):
            properties = {**properties, KEY_PROVIDER: ""}
        return Client(
            self._address,
            config={**self._properties, **properties},
            config_dir=_NO_DIRECTORY,
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
            if self._login.run_as is not None and CUT in str(error):
                raise self._no_proxy(str(error)) from error
            raise self._translate(error, "/") from error
        except BaseException as error:
            raise self._translate(error, "/") from error

    def ask(
        self,
        content: ContentChecker | None,
        *,
        codec: Callable[[str], str | None] | None = None,
        closer: FileCloser | None = None,
        access: Callable[[str], WriteRefusal | None] | None = None,
        policies: Policies | None = None,
    ) -> None:
        """From now on ask these for what hdfs-native does not tell, or not soon.

        Args:
            content: The checksums that HDFS keeps.
            codec: How a file is erasure-coded; empty: it is not; None: not known.
            closer: Closes files sooner than the client alone.
            access: Whether names may be made in a directory.
            policies: Of erasure coding and storage; None: they are not known.
        """
        self._access = access
        self._content = content
        self._codec = codec
        self._closer = closer
        self._directories.policies = policies
        self.keeps_checksums = content is not None

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        if self._content is None:
            unknown = StoredChecksum(
                size_bytes=None, modified_ms=0, why="nobody to ask for HDFS checksums"
            )
            return [unknown] * len(paths)
        return self._content.stored_checksums(paths)

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

    def write_refusal(self, path: str) -> WriteRefusal | None:
        return self._access(path) if self._access is not None else None

    def status(self, path: str) -> FileStatus | None:
        try:
            found = twice(lambda: self._client.get_file_info(path))
        except FileNotFoundError:
            return None
        except BaseException as error:
            raise self._translate(error, path) from error
        return FileStatus(
            is_directory=found.isdir,
            size_bytes=found.length,
            modified_ms=found.modification_time,
        )

    def is_encrypted(self, path: str) -> bool:
        """Whether a file is in an encryption zone.

        hdfs-native does not tell; a client of it without a key server refuses to open such a file,
        by the NameNode's one answer, before anything is read.
        """
        try:
            self._keyless().read(path)
        except FileNotFoundError:
            return False
        except BaseException as error:
            if _NO_KEY_SERVER in str(error):
                return True
            raise self._translate(error, path) from error
        return False

    def _keyless(self) -> Client:
        with self._connecting:
            if self._without_keys is None:
                self._without_keys = self._connect({KEY_PROVIDER: ""})
            return self._without_keys

    def names(self, path: str) -> list[str]:
        try:
            found = twice(lambda: list(self._client.list_status(path)))
            return [one.path.rsplit("/", 1)[-1] for one in found]
        except FileNotFoundError:
            return []
        except BaseException as error:
            raise self._translate(error, path) from error

    def entries(self, path: str) -> list[Entry]:
        try:
            return [
                Entry(name=one.path.rsplit("/", 1)[-1], is_directory=one.isdir)
                for one in twice(lambda: list(self._client.list_status(path)))
            ]
        except FileNotFoundError:
            return []
        except BaseException as error:
            raise self._translate(error, path) from error

    def create(self, path: str, size_bytes: int) -> HdfsWriter:
        options = WriteOptions(
            block_size=self._rules.block_size(size_bytes),
            replication=self._rules.replication,
            permission=self._directories.file_mode(path),
            overwrite=False,
            create_parent=False,
        )
        try:
            writer = self._client.create(path, options)
        except BaseException as error:
            if CUT in str(error):
                # There may be such a file now. The next try removes it, and waits for the NameNode.
                text = f"no answer to the creation of {self._filesystem}{path}"
                raise OutcomeUnknown("E_HDFS_UNKNOWN", text) from error
            raise self._translate(error, path) from error
        doubts_parity = self._doubts_parity(path, writer)
        return HdfsWriter(self, path, writer, doubts_parity=doubts_parity, closer=self._closer)

    def correct_mode(self, path: str) -> None:
        self._directories.correct_mode(path)

    def _doubts_parity(self, path: str, writer: FileWriter) -> bool:
        """Whether the file may be erasure-coded by a codec that the client does not write.

        hdfs-native 0.14.7 writes Reed-Solomon parity whatever the policy's codec is. Such a file is
        right as long as all its DataNodes are up, and wrong when HDFS has to make up a block. The
        NameNode is asked once for each directory: a policy is a directory's.

        Raises:
            CannotWrite: E_DST_EC.
        """
        directory = path.rpartition("/")[0]
        if directory in self._parity_known:
            return False
        codec = self._codec(path) if self._codec is not None else None
        if codec is None:
            return True
        if codec not in {"", _CODEC}:
            with contextlib.suppress(Exception):
                writer.close()
            self.remove(path)
            raise self._no_parity(path, f"by {codec}")
        self._parity_known.add(directory)
        return False

    def _no_parity(self, path: str, how: str) -> CannotWrite:
        return CannotWrite(
            "E_DST_EC",
            f"{self._filesystem}{path}: erasure-coded {how}; the HDFS client writes the parity of "
            "Reed-Solomon policies alone",
            hint='let the route have engine = "distcp", or choose a destination with a policy of '
            "Reed-Solomon (RS-6-3-1024k and the like) or without one",
        )

    def read(self, path: str) -> Iterator[bytes]:
        try:
            reader = self._client.read(path)
            yield from reader.read_range_stream(0, len(reader))
        except GeneratorExit:
            raise
        except BaseException as error:
            raise self._translate(error, path) from error

    def mkdir(self, path: str) -> None:
        self._directories.make(path, create_parent=False)

    def mkdirs(self, path: str) -> None:
        self._directories.make(path, create_parent=True)

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
            twice(lambda: self._client.delete(path, recursive=True))
        except BaseException as error:
            raise self._translate(error, path) from error

    def remove_empty(self, path: str) -> None:
        try:
            self._client.delete(path, recursive=False)
        except BaseException as error:
            if "PathIsNotEmptyDirectoryException" not in str(error):
                raise self._translate(error, path) from error

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        return self._directories.inherited(paths)

    def set_policies(self, path: str, wanted: Inherited) -> None:
        self._directories.set_policies(path, wanted)

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

    def __init__(
        self,
        target: HdfsTarget,
        path: str,
        writer: FileWriter,
        *,
        doubts_parity: bool,
        closer: FileCloser | None = None,
    ) -> None:
        self._target = target
        self._path = path
        self._writer = writer
        self._doubts_parity = doubts_parity
        self._closer = closer
        self._written_bytes = 0

    def write(self, data: bytes) -> None:
        try:
            # Only `bytes` is quick here: a memoryview takes eight times as long.
            self._writer.write(data)
            self._written_bytes += len(data)
            if self._doubts_parity:
                # Nobody tells the policy. That there is one shows: then hsync is refused.
                self._writer.hsync()
                self._doubts_parity = False
                self._target._parity_known.add(self._path.rpartition("/")[0])  # noqa: SLF001
        except BaseException as error:
            if self._doubts_parity and "erasure-coded" in str(error):
                how = "by a policy that nobody tells"
                raise self._target._no_parity(self._path, how) from error  # noqa: SLF001
            raise self._broken(error) from error

    def close(self) -> None:
        try:
            if self._closer is None:
                self._writer.close()
            else:
                self._closer.close(self._path, self._written_bytes, self._writer.close)
        except BaseException as error:
            raise self._broken(error) from error

    def _broken(self, error: BaseException) -> BackhaulError:
        """A connection that breaks under an open file is a DataNode's.

        Others may take the file, so it is written again. Should it have been the NameNode's, the
        next call to it shows that.
        """
        found = self._target._translate(error, self._path)  # noqa: SLF001
        if isinstance(found, OutageError) and found.code == "E_HDFS_UNREACHABLE":
            return TransientError("E_HDFS_OVERLOADED", f"{found.message} (from a DataNode)")
        return found


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


# FSNamesystem.startFileInt and BlockManager.verifyReplication.
_SETTING_REFUSED = re.compile(
    r"Specified block size \S* ?is less than configured|equested replication factor of"
)


def translate(error: BaseException, where: str) -> BackhaulError:
    """hdfs-native's error as ours.

    Args:
        error: What the client raised: OSError kinds, RuntimeError with a Java class in its text,
            or a Rust panic (a BaseException).
        where: URI of the path concerned.
    """
    text = plain(str(error))
    if isinstance(error, FileNotFoundError):
        return TargetMissing("E_DST_MISSING", f"{where}: {_first_line(text)}")
    if isinstance(error, FileExistsError):
        if "lease" in text:
            return TransientError("E_HDFS_LEASE", f"{where}: {_first_line(text)}")
        return TargetExists(
            "E_DST_EXISTS", f"{where} exists", hint="remove it or choose another directory"
        )
    if (java := getattr(error, "java", None)) is not None:  # asked without the client
        return _of_java(java, text, where)
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


def plain(text: str) -> str:
    """The client's text as the NameNode wrote it.

    Rust shows an error of its own as `Name("text", ...)` with the texts escaped: quotes,
    backslashes, line breaks.
    """
    if not _DEBUG.match(text):
        return text
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[str]) -> str:
    if match[1]:
        return chr(int(match[1], 16))
    return {"n": "\n", "r": "\r", "t": "\t", "0": "\0"}.get(match[2], match[2])


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
            hint=hdfs_permission_hint(line),
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
            hint="the destination holds an encryption zone of its own: let a message have that "
            "directory, or one in it, as its destination",
        )
    if _SETTING_REFUSED.search(line):
        return OutageError.of(
            "hdfs",
            "E_HDFS_SETTING",
            f"{where}: {line}",
            hint=f"correct {REPLICATION} or {BLOCK_SIZE} in this node's hdfs-site.xml and restart "
            "the agent; the NameNode's limits are the administrator's",
        )
    if "could only be written to 0 of" in line or name == "NotReplicatedYetException":
        return TransientError("E_HDFS_OVERLOADED", f"{where}: {line}")
    if name in {"LeaseExpiredException", "FileNotFoundException"}:
        return TargetMissing("E_DST_MISSING", f"{where}: {line}")
    return TransientError("E_HDFS_RPC", f"{where}: {name}: {line}")


def _of_client(error: BaseException, text: str, where: str) -> BackhaulError:
    line = _first_line(text)
    if "KMS" in text:
        return _of_key_server(text, f"{where}: {line}")
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
    if "All DataNodes failed" in text:
        return TransientError(
            "E_HDFS_NO_REPLICA",
            f"{where}: no DataNode gave a block of it: each is down, or fails the block's checksum",
            hint="`hdfs fsck PATH -files -blocks -locations` names them",
        )
    if "DataTransferError" in text:
        # A DataNode that has too much open drops connections, as one that dies does: do less at
        # once and write the file again.
        return TransientError("E_HDFS_OVERLOADED", f"{where}: {line}")
    if type(error).__name__ == "PanicException":
        return TransientError("E_HDFS_PANIC", f"{where}: the HDFS client crashed: {line}")
    return TransientError("E_HDFS_CLIENT", f"{where}: {line}")


_NO_KEY_SERVER = "no KMS provider is configured"
_KEY_REFUSED = re.compile(r"KMS request failed \((?:401|403)|KMS rejected SPNEGO")


def _of_key_server(text: str, line: str) -> BackhaulError:
    """The key server of encryption zones; the client asks it whenever it opens a file there."""
    if _NO_KEY_SERVER in text:
        return CannotWrite(
            "E_DST_NO_KMS",
            line,
            hint=f"set {KEY_PROVIDER} in this node's core-site.xml to the cluster's kms:// "
            "address, or choose a destination outside the encryption zone",
        )
    if _KEY_REFUSED.search(text):
        return CannotWrite(
            "E_DST_KEY",
            line,
            hint="let the key server give the agent's user DECRYPT_EEK on the zone's key",
        )
    return OutageError.of(
        "hdfs",
        "E_HDFS_KMS",
        line,
        hint=f"check that the key server runs and that {KEY_PROVIDER} names it",
    )


def _first_line(text: str) -> str:
    """Without the Java stack that follows."""
    line = re.split(r"\n|\tat ", text, maxsplit=1)[0].strip().removesuffix('")')[:300]
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in line)
