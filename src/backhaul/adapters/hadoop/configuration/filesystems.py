"""File systems of a Hadoop configuration: the default one, nameservices, NameNodes.

Source: Apache Hadoop 3.4, `FileSystem.getDefaultUri`, `HAUtilClient`, `DFSUtilClient`.
"""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from backhaul.adapters.hadoop.configuration.mounts import mount_tables, unnamed_table
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.core.errors import ConfigurationError, PermanentError
from backhaul.core.file_systems import DEFAULT_HDFS_PORT, FileSystems
from backhaul.core.requests.authorities import is_authority

DEFAULT_FS = "fs.defaultFS"
AUTHENTICATION = "hadoop.security.authentication"
_HA_NAMENODES = "dfs.ha.namenodes."
_RPC_ADDRESS = "dfs.namenode.rpc-address"
_PROXY_PROVIDER = "dfs.client.failover.proxy.provider."
_ONE_ADDRESS = ".IPFailoverProxyProvider"  # of a host: its address moves to the active NameNode
_HDFS = "hdfs://"
_IMPLEMENTATION, _USUAL = "fs.hdfs.impl", "org.apache.hadoop.hdfs.DistributedFileSystem"
# hdfs-native compares these in lower case; Hadoop accepts any case.
_LOWERED = frozenset({AUTHENTICATION, "dfs.data.transfer.protection"})


def file_systems(configuration: HadoopConfiguration) -> FileSystems:
    """The default file system, nameservices and mount tables, for parsing destinations.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VARIABLE: `fs.defaultFS` holds a variable that is not set;
            E_CFG_HADOOP_VALUE: as `default_filesystem`, or Hadoop's commands open `hdfs://` with
            another implementation.
    """
    if (configuration.get(_IMPLEMENTATION) or _USUAL) != _USUAL:
        # Such as ViewFileSystemOverloadScheme, whose mount table sends paths to other clusters.
        raise ConfigurationError(
            "E_CFG_HADOOP_VALUE",
            f"{configuration.located(_IMPLEMENTATION)} is not {_USUAL}: Hadoop's commands "
            "would look for the data elsewhere",
            hint="point HADOOP_CONF_DIR at a configuration without it, and name the cluster that "
            "holds the data in routes and messages",
        )
    faults = {}
    names = nameservices(configuration)
    for name in names:
        try:
            namenodes(configuration, f"{_HDFS}{name}")
        except ConfigurationError as error:
            faults[name] = error.message
    own = FileSystems(
        default=default_filesystem(configuration), nameservices=names, faults=tuple(faults.items())
    )
    return replace(
        own,
        mount_tables=mount_tables(configuration, own),
        unnamed_table=unnamed_table(configuration),
    )


def default_filesystem(configuration: HadoopConfiguration) -> str | None:
    """`fs.defaultFS` with its port, without its path; None where no site file sets it.

    Such as `hdfs://nameservice`, `hdfs://host:8020`, `file:///`, or another scheme's URI.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VARIABLE; E_CFG_HADOOP_VALUE: a nameservice with a
            port, or `hdfs://` with what is no address.
    """
    if not configuration.is_set(DEFAULT_FS):
        return None  # Hadoop's own `file:///` more likely means a missing file than an intention
    text = configuration.get(DEFAULT_FS) or ""
    if text == "local":  # of Hadoop's first releases, like an address without a scheme
        text = "file:///"
    elif "/" not in text:
        text = f"{_HDFS}{text}"
    scheme, separator, rest = text.partition("://")
    authority = rest.partition("/")[0]
    if scheme == "file" or (text.startswith("file:/") and not separator):
        return "file:///"
    if scheme != "hdfs":
        return text
    if not is_authority(authority):
        raise _no_address(configuration.located(DEFAULT_FS))
    try:
        return _HDFS + FileSystems(nameservices=nameservices(configuration)).in_full(authority)
    except PermanentError as error:
        where = configuration.located(DEFAULT_FS)
        raise ConfigurationError(
            "E_CFG_HADOOP_VALUE", f"{where}: {error.message}", hint=error.hint
        ) from error


def nameservices(configuration: HadoopConfiguration) -> frozenset[str]:
    """Names that are used like a host and mean several NameNodes."""
    values = configuration.values
    names = [*values, *configuration.unresolved]
    return frozenset(
        name.removeprefix(prefix)
        for prefix in (_HA_NAMENODES, _PROXY_PROVIDER)
        for name in names
        if name.startswith(prefix) and not values.get(name, "").endswith(_ONE_ADDRESS)
    )


def namenodes(configuration: HadoopConfiguration, filesystem: str) -> list[tuple[str, int]]:
    """Host and port of each NameNode of `hdfs://host:port` or `hdfs://nameservice`.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VARIABLE, or E_CFG_HADOOP_VALUE: a property that names
            them is missing or is no address.
    """
    authority = filesystem.removeprefix(_HDFS)
    if authority not in nameservices(configuration):
        return [parse_address(authority, f"the file system {filesystem}")]
    return list(_members(configuration, authority).values())


def _members(configuration: HadoopConfiguration, service: str) -> dict[str, tuple[str, int]]:
    """The NameNodes of a nameservice by their ids; those without an address are left out.

    Raises:
        ConfigurationError: As `namenodes`.
    """
    listed = f"{_HA_NAMENODES}{service}"
    ids = configuration.get_list(listed)
    found = {}
    for one in ids:
        name = f"{_RPC_ADDRESS}.{service}.{one}"
        if text := configuration.get(name):
            found[one] = parse_address(text, configuration.located(name))
    if not found:
        missing = f"{_RPC_ADDRESS}.{service}.{ids[0]}" if ids else listed
        raise ConfigurationError(
            "E_CFG_HADOOP_VALUE",
            f"nameservice {service}: {missing} is not set",
            hint="copy core-site.xml and hdfs-site.xml, with the files they include, from a node "
            "of the cluster",
        )
    return found


def in_full(configuration: HadoopConfiguration, filesystem: str) -> str:
    """`hdfs://host` becomes `hdfs://host:8020`; with a port, or for a nameservice, it stays."""
    authority = filesystem.removeprefix(_HDFS)
    if authority in nameservices(configuration):
        return filesystem
    return _HDFS + join_address(*parse_address(authority, f"the file system {filesystem}"))


def demands_kerberos(configuration: HadoopConfiguration) -> bool:
    """True unless authentication is `simple`, as Hadoop and the HDFS client decide it.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VARIABLE.
    """
    return (configuration.get(AUTHENTICATION) or "simple").lower() != "simple"


def client_properties(configuration: HadoopConfiguration, filesystem: str) -> dict[str, str]:
    """The properties of the site files for hdfs-native, in the spelling that it understands.

    Its own reader of these files knows no includes, variables, `final` or attributes, does not trim
    the items of lists, and ignores addresses without a port.

    Raises:
        ConfigurationError: As `namenodes`, for this file system.
    """
    found = {name: text for name, text in configuration.without_secrets().values.items() if text}
    for name, text in found.items():
        if name in _LOWERED or text.lower() in {"true", "false"}:
            found[name] = text.lower()
    service = filesystem.removeprefix(_HDFS)
    if service in nameservices(configuration):
        members = _members(configuration, service)
        found[f"{_HA_NAMENODES}{service}"] = ",".join(members)
        for one, address in members.items():
            found[f"{_RPC_ADDRESS}.{service}.{one}"] = join_address(*address)
    return found


def parse_address(
    text: str, name: str, port: int = DEFAULT_HDFS_PORT, of: str = "a NameNode"
) -> tuple[str, int]:
    """Host and port of `host`, `host:port`, `[address]:port` or a URI of them.

    Args:
        name: Of the property, for the error.
        port: Where the text has none.
        of: Whose address it is, for the error.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VALUE.
    """
    try:
        parts = urlsplit(text if "://" in text else f"//{text}")
        host, written = parts.hostname, parts.port
        (host or "").encode("idna")  # as a DNS lookup: no label is empty or too long
    except ValueError:
        host = written = None
    if not host or "@" in text:
        raise _no_address(name, port, of)
    return host, port if written is None else written


def _no_address(
    name: str, port: int = DEFAULT_HDFS_PORT, of: str = "a NameNode"
) -> ConfigurationError:
    """Without the value: it may hold credentials."""
    return ConfigurationError(
        "E_CFG_HADOOP_VALUE",
        f"{name} is no address of {of}",
        hint=f"write host:port, such as host.example.com:{port}",
    )


def join_address(host: str, port: int) -> str:
    """`host:port`, or `[address]:port` of IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
