"""Mount tables of viewfs in the node's Hadoop configuration.

Source: Apache Hadoop 3.4, `InodeTree`, `org.apache.hadoop.fs.viewfs.Constants`, `ConfigUtil`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from backhaul.adapters.hadoop.configuration.properties import HadoopConfiguration
from backhaul.core.errors import ConfigurationError, PermanentError
from backhaul.core.file_systems import FileSystems, Mount, MountTable
from backhaul.core.model import Location
from backhaul.core.requests.authorities import default_authority, folded, is_authority

_PREFIX = "fs.viewfs.mounttable."
_UNNAMED = "fs.viewfs.mounttable.default.name.key"
_LINK, _SLASH = "link.", "linkMergeSlash"
_NO_MOUNTS = ("linkFallback", "homedir")  # what is outside every mount is refused
_SEVERAL = ("linkNfly.", "linkMerge.")  # one path, several targets
_REGEX = "linkRegex"
_TARGET = re.compile(
    r"(?:hdfs://(?P<authority>[^/]+)|file:(?://)?(?=/(?!/)))(?P<path>/.*)?", re.DOTALL
)
_UNCLEAR = "%?#"


def unnamed_table(configuration: HadoopConfiguration) -> str:
    """The mount table of `viewfs:///`.

    Raises:
        ConfigurationError: E_CFG_HADOOP_VARIABLE.
    """
    return configuration.get(_UNNAMED) or "default"


def mount_tables(
    configuration: HadoopConfiguration, systems: FileSystems
) -> tuple[MountTable, ...]:
    """Every mount table; what cannot be used is refused where a path needs it.

    Args:
        systems: The default file system and the nameservices.
    """
    default = default_authority(systems)
    names = _Names(systems, {folded(default): default} if default else {})
    tables: dict[str, list[str]] = {}
    for name in sorted({*configuration.values, *configuration.unresolved}):
        table, entry = _split(name)
        if entry:
            tables.setdefault(table, []).append(entry)
    return tuple(
        _Reader(configuration, names, name).read(entries) for name, entries in tables.items()
    )


def _split(name: str) -> tuple[str, str]:
    """Mount table and entry of a property, such as `bed` and `link./data`; empty: it is none.

    Names of tables and paths may have dots, so the entry begins at the first word of an entry.
    """
    words = name.removeprefix(_PREFIX).split(".") if name.startswith(_PREFIX) else []
    for at, word in enumerate(words[1:], 1):
        if word.startswith("link") or word == "homedir":
            return ".".join(words[:at]), ".".join(words[at:])
    return "", ""


class _Names:
    """One name for each HDFS, however links spell it: the default file system's, else the first."""

    def __init__(self, systems: FileSystems, known: dict[str, str]) -> None:
        self._systems = systems
        self._known = known

    def of(self, authority: str) -> str:
        """The name in full.

        Raises:
            PermanentError: As `FileSystems.in_full`.
        """
        full = self._systems.in_full(authority)
        return self._known.setdefault(folded(full), full)


class _Reader:
    """Reads one mount table."""

    def __init__(self, configuration: HadoopConfiguration, names: _Names, table: str) -> None:
        self._configuration = configuration
        self._names = names
        self._table = table

    def read(self, entries: Sequence[str]) -> MountTable:
        mounts: list[Mount] = []
        for entry in entries:
            if entry.startswith(_NO_MOUNTS):
                continue
            path = _path(entry)
            if path is None:
                return self._refused(entry)
            mounts.append(self._mount(entry, path))
        if len(mounts) > 1 and any(one.path == "/" for one in mounts):
            fault = f"mount table {self._table} has {_SLASH} beside other links"
            return MountTable(name=self._table, fault=fault)
        return MountTable(name=self._table, mounts=tuple(mounts))

    def _refused(self, entry: str) -> MountTable:
        why = (
            "may match any path, and is not supported"
            if entry.startswith(_REGEX)
            else "is no link that Hadoop takes"
        )
        return MountTable(name=self._table, fault=f"{self._located(entry)} {why}")

    def _mount(self, entry: str, path: str) -> Mount:
        if entry.startswith(_SEVERAL):
            fault = f"{self._located(entry)} has several targets, and is not supported"
            return Mount(path=path, fault=fault)
        name = self._name(entry)
        try:
            return Mount(path=path, target=self._target(self._configuration.get(name) or ""))
        except ConfigurationError as error:
            return Mount(path=path, fault=error.message)
        except (PermanentError, ValueError) as error:
            why = error.message if isinstance(error, PermanentError) else str(error)
            return Mount(path=path, fault=f"{self._configuration.located(name)}: {why}")

    def _target(self, text: str) -> Location:
        """The directory behind a link; its text is in no error: it may hold credentials."""
        match = _TARGET.fullmatch(text)
        if match is None:
            raise ValueError("the target is no hdfs:// or file:/// directory")
        if set(_UNCLEAR) & set(text):
            raise ValueError(f"the target has one of {_UNCLEAR} in it, which Java would decode")
        path = (match["path"] or "").rstrip("/")
        if {"", ".", ".."} & set(path.split("/")[1:]):
            raise ValueError("the target has an empty segment, or one of dots")
        authority = match["authority"]
        if authority is None:
            return Location(scheme="file", authority="", path=path or "/")
        if not is_authority(authority):
            raise ValueError("the target names no usable HDFS")
        return Location(scheme="hdfs", authority=self._names.of(authority), path=path or "/")

    def _name(self, entry: str) -> str:
        return f"{_PREFIX}{self._table}.{entry}"

    def _located(self, entry: str) -> str:
        return self._configuration.located(self._name(entry))


def _path(entry: str) -> str | None:
    """Where a link is in its table; None: it is nowhere in particular, or no link."""
    if entry == _SLASH:
        return "/"
    kind = next((one for one in (_LINK, *_SEVERAL) if entry.startswith(one)), None)
    if kind is None:
        return None
    path = "/" + entry.partition("/")[2].rstrip("/")
    is_plain = not {"", ".", ".."} & set(path[1:].split("/"))
    return path if "/" in entry and is_plain else None
