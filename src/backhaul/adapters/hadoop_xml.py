"""The node's own Hadoop configuration files, as far as Backhaul reads them itself."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path
from xml.parsers import expat

from backhaul.core.errors import ConfigurationError

DEFAULT_NAMENODE_PORT = 8020
_MAX_BYTES = 4 * 1024**2


def hadoop_conf_dir() -> Path | None:
    """HADOOP_CONF_DIR, else HADOOP_HOME/etc/hadoop, as Hadoop's own commands look for it.

    Raises:
        ConfigurationError: E_CFG_HADOOP: the directory is named and not there.
    """
    named = os.environ.get("HADOOP_CONF_DIR")
    if named:
        directory = Path(named)
        if not directory.is_dir():
            raise ConfigurationError(
                "E_CFG_HADOOP",
                f"HADOOP_CONF_DIR names {directory}, which is no directory",
                hint="point it at the directory with core-site.xml, or unset it",
            )
        return directory
    home = os.environ.get("HADOOP_HOME")
    if home and (directory := Path(home) / "etc" / "hadoop").is_dir():
        return directory
    return None


def default_filesystem(conf_dir: Path | None) -> str | None:
    """`fs.defaultFS` without a trailing slash, such as `hdfs://nameservice`; None if not set."""
    if conf_dir is None:
        return None
    properties = read_properties(conf_dir / "core-site.xml")
    value = properties.get("fs.defaultFS") or properties.get("fs.default.name") or ""
    return value.rstrip("/") if value.startswith("hdfs://") else None


def namenode_addresses(
    filesystem: str, properties: Mapping[str, str]
) -> list[tuple[str, int | None]]:
    """Host and port of the NameNodes of `hdfs://host:port` or `hdfs://nameservice`.

    The port is None where none is written; a host with one but no name is left out.
    """
    authority = filesystem.removeprefix("hdfs://")
    names = properties.get(f"dfs.ha.namenodes.{authority}", "").split(",")
    found = [
        properties.get(f"dfs.namenode.rpc-address.{authority}.{name.strip()}", "")
        for name in names
        if name.strip()
    ]
    return [each for text in found or [authority] if (each := _address(text.strip()))[0]]


def rpc_addresses(filesystem: str, properties: Mapping[str, str]) -> list[tuple[str, int]]:
    """The same, for asking them: Hadoop's own port where none is written."""
    found = namenode_addresses(filesystem, properties)
    return [(host, DEFAULT_NAMENODE_PORT if port is None else port) for host, port in found]


def demands_kerberos(properties: Mapping[str, str]) -> bool:
    """As Hadoop and the HDFS client read it: anything but `simple`."""
    found = properties.get("hadoop.security.authentication") or "simple"
    return found.lower() != "simple"


def _address(text: str) -> tuple[str, int | None]:
    host, colon, port = text.rpartition(":")
    if not colon:
        return text, None
    return host.strip("[]"), int(port) if port.isdigit() else None


def read_properties(path: Path) -> dict[str, str]:
    """The name-value pairs of a `*-site.xml`; empty where there is no such file.

    Raises:
        ConfigurationError: E_CFG_CORE_SITE: unreadable, not XML, or with a DTD (never needed, and
            the door for entity tricks).
    """
    if not path.is_file():
        return {}
    try:
        return _properties(path)
    except (OSError, ValueError, expat.ExpatError, ET.ParseError) as exc:
        # The parser's text could quote a secret value: only its kind is passed on.
        raise ConfigurationError(
            "E_CFG_CORE_SITE",
            f"{path}: cannot be read as Hadoop configuration ({type(exc).__name__})",
            hint="check its permissions and that it is XML without a DOCTYPE",
        ) from exc


def _properties(path: Path) -> dict[str, str]:
    with path.open("rb") as file:
        data = file.read(_MAX_BYTES + 1)
    if len(data) > _MAX_BYTES:
        raise ValueError("too large")
    guard = expat.ParserCreate()
    guard.StartDoctypeDeclHandler = _refuse_doctype
    guard.Parse(data, True)  # noqa: FBT003 - expat takes "is final" by position only
    root = ET.fromstring(data)  # noqa: S314 - the guard above let no DTD pass
    return {
        (p.findtext("name") or "").strip(): (p.findtext("value") or "").strip()
        for p in root.iter("property")
    }


def _refuse_doctype(*_: object) -> None:
    raise ValueError("has a DOCTYPE")
