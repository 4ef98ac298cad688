"""HDFS as target, through hdfs-native's synchronous client.

Runs in a worker process only: the client has no RPC timeout, so a stopped NameNode blocks a call
until the process is killed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice

from hdfs_native import Client, WriteOptions
from hdfs_native import FileStatus as HdfsStatus

from backhaul.adapters.hadoop.configuration.filesystems import client_properties, in_full
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.authentication import check_authentication
from backhaul.adapters.hadoop.hdfs.closing import Closer
from backhaul.adapters.hadoop.hdfs.cluster import KEY_PROVIDER, HdfsCluster
from backhaul.adapters.hadoop.hdfs.creation import creation_rules
from backhaul.adapters.hadoop.hdfs.directories import Directories
from backhaul.adapters.hadoop.hdfs.errors import (
    found,
    is_connection_lost,
    needs_key_server,
    of_rename,
    proxy_refused,
    repeated,
    translate,
    translated,
)
from backhaul.adapters.hadoop.hdfs.policies import Policies
from backhaul.adapters.hadoop.hdfs.stored_checksums import ChecksumFallback
from backhaul.adapters.hadoop.hdfs.writer import HdfsWriter, ParityGuard
from backhaul.adapters.hadoop.kerberos import Login
from backhaul.core.errors import OutcomeUnknown
from backhaul.core.objects import FileStatus
from backhaul.core.ports import ContentChecker, Entry, Inherited, StoredChecksum, WriteRefusal

LIST_PAGE = 1000  # entries; dfs.ls.limit, as the NameNode sends them
# The client tries a dead NameNode for minutes, which is right in the middle of a transfer. Whether
# there is one at all has to be known within seconds; both NameNodes of a pair are tried.
_PROBE_PROPERTIES = {
    "dfs.client.failover.max.attempts": "4",
    "dfs.client.failover.sleep.base.millis": "500",
    "dfs.client.failover.sleep.max.millis": "1000",
}
# The client would read HADOOP_CONF_DIR by itself, by rules of its own: it finds no file here, and
# takes the properties that it is given.
_NO_DIRECTORY = "/dev/null/none"
# The client refuses to start with key providers of other kinds; then it does without, and refuses
# encryption zones alone.
_KEY_SERVER = "kms://"


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
        self.cluster = HdfsCluster(filesystem, configuration, login)
        self._content: ContentChecker = ChecksumFallback([])
        self._closer: Closer | None = None
        self._access: Callable[[str], WriteRefusal | None] | None = None
        self.keeps_checksums = False
        self._rules = creation_rules(self.cluster.configuration)
        check_authentication(self.cluster)
        self._address = in_full(self.cluster.configuration, filesystem)
        self._properties = client_properties(self.cluster.configuration, filesystem)
        self._without_keys: Client | None = None
        self._parity = ParityGuard()
        self._connecting = threading.Lock()
        with translated(filesystem):
            self._client = self._connect({})
            self._prober = self._connect(_PROBE_PROPERTIES)
        self._directories = Directories(self._client, filesystem, self._rules)

    def _connect(self, properties: Mapping[str, str]) -> Client:
        login = self.cluster.login if self.cluster.is_secure else Login()
        if not self.cluster.key_provider.startswith(_KEY_SERVER):
            properties = {**properties, KEY_PROVIDER: ""}
        return Client(
            self._address,
            config={**self._properties, **properties},
            config_dir=_NO_DIRECTORY,
            kerberos_principal=login.principal,
            kerberos_keytab=login.keytab,
            kerberos_cache=login.cache,
        )

    def attach(
        self,
        content: ContentChecker | None,
        *,
        codec: Callable[[str], str | None] | None = None,
        closer: Closer | None = None,
        access: Callable[[str], WriteRefusal | None] | None = None,
        policies: Policies | None = None,
    ) -> None:
        """Use these for what hdfs-native lacks, or does slowly.

        Args:
            content: The checksums that HDFS keeps.
            codec: A file's erasure codec; empty: it has none; None: unknown.
            closer: Closes files sooner than the client alone.
            access: Whether names may be made in a directory.
            policies: Of erasure coding and storage; None: they are unknown.
        """
        self._access = access
        self._content = content or ChecksumFallback([])
        self._parity.codec = codec
        self._closer = closer
        self._directories.policies = policies
        self.keeps_checksums = content is not None

    # ------------------------------------------------------------ the file system itself

    def check_reachable(self) -> None:
        # Each time: a NameNode may come back without Kerberos, and the client would follow it.
        check_authentication(self.cluster)
        with translated(self._uri("/")):
            try:
                self._prober.get_file_info("/")
            except OSError as error:
                user = self.cluster.login.run_as
                # The handshake succeeded: that is how a NameNode refuses a proxy.
                if user is not None and is_connection_lost(error):
                    raise proxy_refused(self._filesystem, user, error) from error
                raise

    def check_place(self, path: str) -> None:
        """Nothing to do: HDFS has its symbolic links switched off, and viewfs is no scheme here."""

    def sync_directory(self, path: str) -> None:
        """Nothing to do: the NameNode's edit log holds every name before it answers."""

    # ------------------------------------------------------------ what is there

    def stored_checksums(self, paths: Sequence[str]) -> list[StoredChecksum | None]:
        return self._content.stored_checksums(paths)

    def status(self, path: str) -> FileStatus | None:
        status = found(lambda: self._client.get_file_info(path), self._uri(path))
        return None if status is None else _file_status(status)

    def is_encrypted(self, path: str) -> bool:
        """Whether a file is in an encryption zone.

        hdfs-native does not show it; a client of it without a key server refuses to open such a
        file, by the NameNode's one answer, before anything is read.
        """
        with translated(self._uri(path)):
            try:
                self._keyless().read(path)
            except FileNotFoundError:
                return False
            except BaseException as error:
                if needs_key_server(error):
                    return True
                raise
        return False

    def _keyless(self) -> Client:
        with self._connecting:
            if self._without_keys is None:
                self._without_keys = self._connect({KEY_PROVIDER: ""})
            return self._without_keys

    def names(self, path: str) -> list[str]:
        return [entry.name for entry in self.entries(path)]

    def entries(self, path: str) -> list[Entry]:
        statuses = found(lambda: list(self._client.list_status(path)), self._uri(path))
        return [
            Entry(name=status.path.rsplit("/", 1)[-1], is_directory=status.isdir)
            for status in statuses or ()
        ]

    def statuses(self, path: str) -> Iterator[tuple[str, FileStatus]]:
        where = self._uri(path)
        with translated(where):
            listing = self._client.list_status(path)
        while page := self._page_of(listing, where):
            for status in page:
                yield status.path.rsplit("/", 1)[-1], _file_status(status)

    def _page_of(self, listing: Iterator[HdfsStatus], where: str) -> list[HdfsStatus]:
        """Never repeated: what a lost page held would be missing from the next one."""
        with translated(where):
            try:
                return list(islice(listing, LIST_PAGE))
            except FileNotFoundError:
                return []

    def read(self, path: str) -> Iterator[bytes]:
        with translated(self._uri(path)):
            reader = self._client.read(path)
            yield from reader.read_range_stream(0, len(reader))

    # ------------------------------------------------------------ files

    def create(self, path: str, size_bytes: int) -> HdfsWriter:
        options = WriteOptions(
            block_size=self._rules.block_size(size_bytes),
            replication=self._rules.replication,
            permission=self._directories.file_mode(path),
            overwrite=False,
            create_parent=False,
        )
        where = self._uri(path)
        try:
            writer = self._client.create(path, options)
        except BaseException as error:
            if is_connection_lost(error):
                # The file may exist now. The next try removes it, and waits for the NameNode.
                text = f"no answer to the creation of {where}"
                raise OutcomeUnknown("E_HDFS_UNKNOWN", text) from error
            raise translate(error, where) from error
        doubts = self._parity.doubts(path, where, writer, self.remove)
        guard = self._parity if doubts else None
        return HdfsWriter(path, where, writer, unproven_parity=guard, closer=self._closer)

    def correct_mode(self, path: str) -> None:
        self._directories.correct_mode(path)

    def rename(self, source: str, target: str, *, replace: bool) -> None:
        try:
            self._client.rename(source, target, overwrite=replace)
        except BaseException as error:
            raise of_rename(error, self._uri(target)) from error

    def remove(self, path: str) -> None:
        with translated(self._uri(path)):
            repeated(lambda: self._client.delete(path, recursive=True))

    # ------------------------------------------------------------ directories

    def mkdir(self, path: str) -> None:
        self._directories.make(path, create_parent=False)

    def mkdirs(self, path: str) -> None:
        self._directories.make(path, create_parent=True)

    def remove_empty(self, path: str) -> None:
        with translated(self._uri(path)):
            try:
                self._client.delete(path, recursive=False)
            except BaseException as error:  # its text alone shows what it is
                if "PathIsNotEmptyDirectoryException" not in str(error):
                    raise

    def write_refusal(self, path: str) -> WriteRefusal | None:
        return self._access(path) if self._access is not None else None

    def inherited(self, paths: Sequence[str]) -> list[Inherited | None]:
        return self._directories.inherited(paths)

    def set_policies(self, path: str, wanted: Inherited) -> None:
        self._directories.set_policies(path, wanted)

    def _uri(self, path: str) -> str:
        return f"{self._filesystem}{path}"


def _file_status(status: HdfsStatus) -> FileStatus:
    return FileStatus(
        is_directory=status.isdir,
        size_bytes=status.length,
        modified_ms=status.modification_time,
    )
