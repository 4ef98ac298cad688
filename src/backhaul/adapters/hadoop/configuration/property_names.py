"""Hadoop's properties by name: old names, Hadoop's own defaults, and which ones are secrets.

Source: Apache Hadoop 3.4, `core-default.xml`, `hdfs-default.xml`, "Deprecated Properties".
"""

from __future__ import annotations

# An old name sets the new ones, wherever it is written.
DEPRECATED: dict[str, tuple[str, ...]] = {
    "fs.default.name": ("fs.defaultFS",),
    "dfs.umaskmode": ("fs.permissions.umask-mode",),
    "dfs.block.size": ("dfs.blocksize",),
    "dfs.federation.nameservices": ("dfs.nameservices",),
    "dfs.federation.nameservice.id": ("dfs.nameservice.id",),
    "dfs.socket.timeout": ("dfs.client.socket-timeout",),
    "dfs.write.packet.size": ("dfs.client-write-packet-size",),
    "io.bytes.per.checksum": ("dfs.bytes-per-checksum",),
    "dfs.encryption.key.provider.uri": ("hadoop.security.key.provider.path",),
    "dfs.permissions": ("dfs.permissions.enabled",),
    "fs.s3a.server-side-encryption-algorithm": ("fs.s3a.encryption.algorithm",),
    "fs.s3a.server-side-encryption.key": ("fs.s3a.encryption.key",),
}

# Of hdfs-default.xml. Hadoop reads it after core-site.xml, so core-site.xml cannot set these.
HDFS_DEFAULTS: dict[str, str] = {
    "dfs.blocksize": "134217728",
    "dfs.bytes-per-checksum": "512",
    "dfs.checksum.type": "CRC32C",
    "dfs.client-write-packet-size": "65536",
    "dfs.client.block.write.replace-datanode-on-failure.best-effort": "false",
    "dfs.client.block.write.replace-datanode-on-failure.enable": "true",
    "dfs.client.block.write.replace-datanode-on-failure.policy": "DEFAULT",
    "dfs.client.failover.max.attempts": "15",
    "dfs.client.failover.random.order": "true",
    "dfs.client.failover.resolve-needed": "false",
    "dfs.client.failover.resolver.useFQDN": "true",
    "dfs.client.failover.sleep.base.millis": "500",
    "dfs.client.failover.sleep.max.millis": "15000",
    "dfs.client.socket-timeout": "60000",
    "dfs.client.use.datanode.hostname": "false",
    "dfs.encrypt.data.transfer": "false",
    "dfs.namenode.posix.acl.inheritance.enabled": "true",
    "dfs.replication": "3",
    "dfs.user.home.dir.prefix": "/user",
}

OTHER_DEFAULTS: dict[str, str] = {
    "fs.defaultFS": "file:///",
    "fs.permissions.umask-mode": "022",
    "hadoop.security.authentication": "simple",
    "fs.s3a.connection.ssl.enabled": "true",
    "fs.s3a.path.style.access": "false",
}

# Of core-default.xml; only for variables in other properties.
VARIABLE_DEFAULTS: dict[str, str] = {
    "hadoop.tmp.dir": "/tmp/hadoop-${user.name}",  # noqa: S108 - Hadoop's own
}

_SECRET_ENDINGS = (
    ".access.key",
    ".secret.key",
    ".session.token",
    ".encryption.key",
    ".server-side-encryption.key",
)
_SECRET_WORDS = ("password", "secret", "token")
# After these prefixes comes a name that the user has chosen: a nameservice, a NameNode.
_NAMED_BY_USER = ("dfs.ha.namenodes.", "dfs.namenode.rpc-address.", "dfs.client.failover.")
# After this prefix comes a bucket's name, which the user has chosen, too.
_OF_BUCKET = "fs.s3a.bucket."
_NO_SECRETS_OF_BUCKET = (
    ".endpoint",
    ".endpoint.region",
    ".endpoint.fips",
    ".path.style.access",
    ".connection.ssl.enabled",
    ".aws.credentials.provider",
    ".security.credential.provider.path",
    ".accesspoint.arn",
)


def is_secret(name: str) -> bool:
    """Whether a property's value must be kept from other processes, logs and reports.

    The option decides, not the name of the bucket or nameservice in the property.
    """
    lowered = name.lower()
    if lowered.startswith(_NAMED_BY_USER):
        return False
    if lowered.startswith(_OF_BUCKET) and lowered.endswith(_NO_SECRETS_OF_BUCKET):
        return False
    return lowered.endswith(_SECRET_ENDINGS) or any(word in lowered for word in _SECRET_WORDS)
