"""Names of file systems in a destination: which texts may be one, and the default one.

For `paths`, which reads the rest of a destination.
"""

from __future__ import annotations

import re

from backhaul.core.errors import PermanentError
from backhaul.core.file_systems import DefaultFs, FileSystems
from backhaul.core.text import printable, redacted

MAX_PORT = 65_535
_LABEL = r"[A-Za-z0-9_-]{1,63}"  # a longer or an empty one is no host, and no lookup takes it
_AUTHORITY = re.compile(
    rf"(?=[A-Za-z0-9]){_LABEL}(?:\.{_LABEL})*(?<=[A-Za-z0-9])(?::([1-9][0-9]{{0,4}}))?"
)
_MOUNT_TABLE = re.compile(r"(?:[A-Za-z0-9-]+\.)*[A-Za-z][A-Za-z0-9-]*")


def is_authority(text: str) -> bool:
    """Whether it may name an HDFS: a nameservice, `host` or `host:port`."""
    match = _AUTHORITY.fullmatch(text)
    return match is not None and (match[1] is None or int(match[1]) <= MAX_PORT)


def is_mount_table(text: str) -> bool:
    """Whether Java takes it for a host in a URI; of anything else viewfs takes another table."""
    return is_authority(text) and _MOUNT_TABLE.fullmatch(text) is not None


def default_filesystem(systems: DefaultFs) -> tuple[str, str]:
    """Scheme and authority of Hadoop's `fs.defaultFS`.

    Raises:
        PermanentError: E_DST_NO_DEFAULT_FS.
    """
    default_fs = systems.default if isinstance(systems, FileSystems) else systems
    if default_fs is None:
        raise PermanentError(
            "E_DST_NO_DEFAULT_FS",
            "destination has no file system and this node has no default file system",
            hint="set HADOOP_CONF_DIR to a directory whose core-site.xml sets fs.defaultFS, or"
            " write hdfs://host:port/... in full",
        )
    if default_fs in {"file://", "file:///"}:
        return "file", ""
    if is_authority(authority := _default_authority(default_fs)):
        return "hdfs", authority
    if isinstance(systems, FileSystems) and systems.default_table is not None:
        return "viewfs", systems.default_table.name
    is_viewfs = default_fs.startswith("viewfs://")
    raise PermanentError(
        "E_DST_NO_DEFAULT_FS",
        "destination has no file system and the default file system"
        f" {printable(redacted(default_fs), 80)} is not hdfs:// or file://"
        + (", and has no mount table here" if is_viewfs else ""),
        hint="write hdfs://nameservice/dir or hdfs://host:port/dir in full, in routes and messages",
    )


def _default_authority(default_fs: str) -> str:
    """The authority of `hdfs://authority` or `hdfs://authority/`, else something that is none."""
    scheme, _, rest = default_fs.partition("://")
    return rest.removesuffix("/") if scheme == "hdfs" else ""


def check_one_name(authority: str, systems: DefaultFs) -> None:
    """One file system, one name: claims and staging are found by it.

    Raises:
        PermanentError: E_DST_AUTHORITY: another name of the default one, or of one that a mount
            table has.
    """
    default = default_authority(systems)
    mounted = systems.mounted if isinstance(systems, FileSystems) else frozenset()
    for known in (default, *mounted):
        if authority == known or folded(authority) != folded(known):
            continue
        is_default = known == default
        what = "the default file system" if is_default else f"hdfs://{known} of a mount table"
        raise PermanentError(
            "E_DST_AUTHORITY",
            f"hdfs://{authority} is {what} under another name",
            hint=f"write hdfs://{known}/dir{', or /dir' if is_default else ''}",
        )


def default_authority(systems: DefaultFs) -> str:
    """The authority of an HDFS that is the default file system, else something that is none."""
    default = systems.default if isinstance(systems, FileSystems) else systems
    return _default_authority(default or "")


def folded(authority: str) -> str:
    """The same text for the names that certainly mean one NameNode."""
    return authority.lower().removesuffix(":8020")  # HDFS's own default port
