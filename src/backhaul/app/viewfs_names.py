"""Names that viewfs gives to places, for commands that look places up."""

from __future__ import annotations

import re

from backhaul.adapters.hadoop.configuration.directory import hadoop_conf_dir
from backhaul.adapters.hadoop.configuration.filesystems import file_systems
from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.core.errors import BackhaulError, BadArgument
from backhaul.core.file_systems import HADOOP_FAULT_HINT, FileSystems
from backhaul.core.text import printable, redacted

_VIEWFS = re.compile(r"viewfs://([^/]*)(/.*)", re.DOTALL)
_SLASHES = re.compile(r"/{2,}")


def behind_viewfs(text: str) -> str:
    """What the ledger has for a `viewfs://` URI, or for `/path` where viewfs is the default.

    Anything else stays as it is. So does `/path` where Hadoop's configuration cannot be read, or
    where no mount has it: the ledger may know the path from another time.

    Raises:
        BackhaulError: A `viewfs://` URI that is in no mount, or an unreadable configuration.
    """
    if text.startswith("viewfs://"):
        return resolve(text, _systems())
    if not text.startswith("/"):
        return text
    try:
        systems = _systems()
        table = systems.default_table
        return resolve(f"viewfs://{table.name}{text}", systems) if table else text
    except BackhaulError:
        return text


def resolve(text: str, systems: FileSystems) -> str:
    """The URI behind a `viewfs://` URI, of a file or directory of any name.

    Raises:
        BadArgument: E_WHERE: it has no path, or this node has no such mount table.
        PermanentError: As `MountTable.resolve`.
    """
    match = _VIEWFS.fullmatch(text)
    table = systems.mount_table(match[1]) if match else None
    if match is None or table is None:
        raise BadArgument(
            "E_WHERE",
            f"{printable(redacted(text), 120)!r} names no mount table of this node's Hadoop "
            "configuration",
            hint="write hdfs://nameservice/path, or set HADOOP_CONF_DIR",
        )
    path = _SLASHES.sub("/", match[2]).rstrip("/") or "/"
    return table.resolve(path, hint=HADOOP_FAULT_HINT).uri


def _systems() -> FileSystems:
    return file_systems(HadoopConfiguration.load(hadoop_conf_dir()))
