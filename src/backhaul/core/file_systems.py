"""HDFS file systems known to this node, and the one canonical name of each.

Claims, staging and proofs are found by a destination's URI, so one file system must not appear
under two of them. The name in full is `hdfs://nameservice`, or `hdfs://host:port` with HDFS's own
port where none is written.
"""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.core.errors import PermanentError

DEFAULT_HDFS_PORT = 8020  # HdfsClientConfigKeys.DFS_NAMENODE_RPC_PORT_DEFAULT
HADOOP_FAULT_HINT = (
    "correct the node's Hadoop configuration; `hdfs getconf -confKey` shows what Hadoop reads"
)


@dataclass(frozen=True, kw_only=True)
class FileSystems:
    """Names of file systems in the node's Hadoop configuration.

    Attributes:
        default: Hadoop's `fs.defaultFS`, such as `hdfs://nameservice`, `hdfs://host:8020` or
            `file:///`; None where none is set.
        nameservices: Names that are not hosts, and take no port.
        faults: Nameservices that cannot be used, each with the reason.
    """

    default: str | None = None
    nameservices: frozenset[str] = frozenset()
    faults: tuple[tuple[str, str], ...] = ()

    def in_full(self, authority: str) -> str:
        """`host` becomes `host:8020`; a nameservice or a name with a port stays.

        Raises:
            PermanentError: E_DST_AUTHORITY: a nameservice with a port, or one whose configuration
                is broken.
        """
        host, colon, _port = authority.rpartition(":")
        if colon and host in self.nameservices:
            raise PermanentError(
                "E_DST_AUTHORITY",
                f"hdfs://{authority} has a port, and {host} is a nameservice",
                hint=f"write hdfs://{host}/dir",
            )
        if authority in self.nameservices:
            for name, reason in self.faults:
                if name == authority:
                    raise PermanentError("E_DST_AUTHORITY", reason, hint=HADOOP_FAULT_HINT)
            return authority
        return authority if colon else f"{authority}:{DEFAULT_HDFS_PORT}"


# A plain text is `FileSystems.default` without a list of nameservices: names stay as written.
DefaultFs = FileSystems | str | None
