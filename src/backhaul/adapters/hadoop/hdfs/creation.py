"""What new files and directories of HDFS get from the client's configuration, as Hadoop's own does.

`hdfs dfs -put` decides mode, replication and block size on the client's side; only group, default
ACL, erasure coding and storage policy come from the directory. The rules here are the client's, so
that a published file has what the same command on this node would have given it.

The defaults are Hadoop's, too: replication 3 is the client's, whatever the NameNode's own is.
Source: Apache Hadoop, hdfs-default.xml and core-default.xml; `DFSClient.create`.
"""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.core.errors import ConfigurationError

REPLICATION, BLOCK_SIZE = "dfs.replication", "dfs.blocksize"
CHECKSUM_BYTES = "dfs.bytes-per-checksum"
ACL_INHERITANCE = "dfs.namenode.posix.acl.inheritance.enabled"

DEFAULT_UMASK = 0o022
DEFAULT_BLOCK_BYTES = 128 << 20
MAX_BLOCKS = 10_000  # dfs.namenode.fs-limits.max-blocks-per-file
FILE_MODE, DIRECTORY_MODE = 0o666, 0o777
_MAX_REPLICATION = 0x7FFF  # Java's short
_MAX_BLOCK_BYTES = 2**48 - 1  # of the 64 bits that a NameNode keeps of a file, `INodeFile`


@dataclass(frozen=True, kw_only=True)
class CreationRules:
    """How this node's Hadoop client creates files and directories.

    Attributes:
        umask: Bits taken from 666 and 777, unless the directory has a default ACL: that decides.
        replication: None: the NameNode's default.
        block_bytes: None: the NameNode's default.
        acl_overrides_umask: Under a default ACL the NameNode leaves the umask out (the default of
            Hadoop 3).
    """

    umask: int = DEFAULT_UMASK
    replication: int | None = None
    block_bytes: int | None = None
    acl_overrides_umask: bool = True

    def file_mode(self, *, has_default_acl: bool) -> int:
        """The mode to send for a new file; the NameNode applies a default ACL to it."""
        return self._masked(FILE_MODE, has_default_acl=has_default_acl)

    def directory_mode(self, *, has_default_acl: bool) -> int:
        """The mode to send for a new directory."""
        return self._masked(DIRECTORY_MODE, has_default_acl=has_default_acl)

    def _masked(self, mode: int, *, has_default_acl: bool) -> int:
        if has_default_acl and self.acl_overrides_umask:
            return mode
        return mode & ~self.umask

    def block_size(self, size_bytes: int) -> int | None:
        """For a file of this length; None: the NameNode's default.

        Longer blocks than configured only where the file would have more of them than a NameNode
        accepts.
        """
        usual = self.block_bytes or DEFAULT_BLOCK_BYTES
        if size_bytes <= MAX_BLOCKS * usual:
            return self.block_bytes
        needed = -(-size_bytes // MAX_BLOCKS)
        return -(-needed // usual) * usual


def creation_rules(configuration: HadoopConfiguration) -> CreationRules:
    """From a node's configuration; where it has none, the NameNode's defaults hold.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VALUE: a value that Hadoop's own client refuses;
            E_CFG_HADOOP_VARIABLE.
    """
    if configuration.directory is None:
        return CreationRules()
    replication = configuration.get_integer(REPLICATION) or 0
    if not 1 <= replication <= _MAX_REPLICATION:
        raise _refused(REPLICATION, replication, "is not between 1 and 32767")
    block_bytes = configuration.get_size(BLOCK_SIZE) or 0
    chunk_bytes = configuration.get_integer(CHECKSUM_BYTES) or 0
    if chunk_bytes < 1 or block_bytes < 1 or block_bytes % chunk_bytes:
        why = f"is not a multiple of {CHECKSUM_BYTES} = {chunk_bytes}"
        raise _refused(BLOCK_SIZE, block_bytes, why)
    if block_bytes > _MAX_BLOCK_BYTES:
        raise _refused(BLOCK_SIZE, block_bytes, f"is more than {_MAX_BLOCK_BYTES}")
    return CreationRules(
        umask=configuration.get_umask(),
        replication=replication,
        block_bytes=block_bytes,
        acl_overrides_umask=configuration.get_boolean(ACL_INHERITANCE, default=True),
    )


def _refused(name: str, value: int, why: str) -> ConfigurationError:
    return ConfigurationError(
        "E_CFG_HADOOP_VALUE",
        f"{name} = {value} {why}",
        hint=f"correct {name} in the *-site.xml files of HADOOP_CONF_DIR; Hadoop's own "
        "commands fail with it, too",
    )
