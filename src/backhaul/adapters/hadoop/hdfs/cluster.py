"""One HDFS as the node's Hadoop configuration describes it: NameNodes, Kerberos, encryption.

The only place that decides what Kerberos changes: with it, NameNodes and DataNodes are reached
through hdfs-native and the node's `hdfs` command alone.
"""

from __future__ import annotations

from backhaul.adapters.hadoop.configuration.filesystems import demands_kerberos, namenodes
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.kerberos import Login

KEY_PROVIDER = "hadoop.security.key.provider.path"


class HdfsCluster:
    """One HDFS.

    Args:
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.
        configuration: The node's; a directory is read here.
        login: Who the agent is; only counts with Kerberos.

    Attributes:
        is_secure: The configuration demands Kerberos.

    Raises:
        ConfigurationError: E_CFG_CORE_SITE, E_CFG_HADOOP_VARIABLE.
    """

    def __init__(
        self,
        filesystem: str,
        configuration: HadoopConfiguration | str | None,
        login: Login | None = None,
    ) -> None:
        self.filesystem = filesystem
        self.configuration = HadoopConfiguration.of(configuration)
        self.is_secure = demands_kerberos(self.configuration)
        self.login = login or Login()

    @property
    def conf_dir(self) -> str | None:
        """For Hadoop's commands."""
        directory = self.configuration.directory
        return str(directory) if directory else None

    @property
    def key_provider(self) -> str:
        """Where the keys of encryption zones are, such as `kms://http@host:9600/kms`; or empty."""
        return self.configuration.get(KEY_PROVIDER) or ""

    @property
    def namenodes(self) -> list[tuple[str, int]]:
        """Host and port of each NameNode.

        Raises:
            ConfigurationError: E_CFG_HADOOP_VALUE, E_CFG_HADOOP_VARIABLE.
        """
        return namenodes(self.configuration, self.filesystem)

    @property
    def direct_namenodes(self) -> list[tuple[str, int]]:
        """Those that `rpc` can call: none with Kerberos."""
        return [] if self.is_secure else self.namenodes

    @property
    def has_direct_datanodes(self) -> bool:
        """DataNodes answer without SASL and encryption."""
        return not self.is_secure and not self.configuration.get_boolean(
            "dfs.encrypt.data.transfer"
        )

    @property
    def reaches_datanodes_by_name(self) -> bool:
        """Their host names count, not the addresses that the NameNode has."""
        return self.configuration.get_boolean("dfs.client.use.datanode.hostname")
