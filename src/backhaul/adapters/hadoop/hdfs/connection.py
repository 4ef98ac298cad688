"""Connecting to one HDFS: hdfs-native's client, and what it lacks as far as the cluster allows."""

from __future__ import annotations

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.adapters.hadoop.hdfs.closing import closer
from backhaul.adapters.hadoop.hdfs.policies import policies
from backhaul.adapters.hadoop.hdfs.stored_checksums import content_checker
from backhaul.adapters.hadoop.hdfs.target import HdfsTarget
from backhaul.adapters.hadoop.hdfs.write_access import access_check
from backhaul.adapters.hadoop.kerberos import Login


def connect(filesystem: str, configuration: HadoopConfiguration, login: Login) -> HdfsTarget:
    """Everything that a worker can do with this file system.

    Args:
        filesystem: `hdfs://host:port` or `hdfs://nameservice`.

    Raises:
        ConfigurationError: A property of Hadoop's cannot be used.
        OutageError: As `check_authentication`.
    """
    target = HdfsTarget(filesystem, configuration, login)
    content = content_checker(target.cluster, target.status, target.is_encrypted)
    target.attach(
        content,
        codec=content.codec if content is not None else None,
        closer=closer(target.cluster),
        access=access_check(target.cluster),
        policies=policies(target.cluster),
    )
    return target
