"""HDFS file systems known to this node, and the one canonical name of each.

Claims, staging and proofs are found by a destination's URI, so one file system must not appear
under two of them. The name in full is `hdfs://nameservice`, or `hdfs://host:port` with HDFS's own
port where none is written.

Nor may a directory: viewfs gives names of its own to directories of several HDFS. Its client is not
used: that writes what is outside every mount into a fallback without a word, and removes the
directory behind a mount when the mount is removed. A path is resolved once, where text becomes a
destination, and everything after that knows the resolved name alone. So two names of one directory
are one, and whatever is staged or renamed stays in one mount.

Source: Apache Hadoop 3.4, `InodeTree`.
"""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.core.errors import CannotWrite, PermanentError
from backhaul.core.model import Location
from backhaul.core.text import printable

DEFAULT_HDFS_PORT = 8020  # HdfsClientConfigKeys.DFS_NAMENODE_RPC_PORT_DEFAULT
HADOOP_FAULT_HINT = (
    "correct the node's Hadoop configuration; `hdfs getconf -confKey` shows what Hadoop reads"
)
_SHOWN = 5  # mounts, in a hint


@dataclass(frozen=True, kw_only=True)
class Mount:
    """One link.

    Attributes:
        path: Where it is in the mount table, without a slash at its end; `/` for `linkMergeSlash`.
        target: The directory behind it, which may be the root of its file system.
        fault: Why it cannot be used; then there is no target.
    """

    path: str
    target: Location | None = None
    fault: str = ""

    def covers(self, path: str) -> bool:
        """Whether the path is this mount, or below it."""
        return _is_within(path, self.path)


@dataclass(frozen=True, kw_only=True)
class MountTable:
    """One mount table.

    Attributes:
        name: As in `viewfs://NAME/`.
        fault: Why nothing of it can be used; empty: it can.
    """

    name: str
    mounts: tuple[Mount, ...] = ()
    fault: str = ""

    def resolve(self, path: str, *, hint: str) -> Location:
        """The place behind a path, by the longest mount that covers it.

        A path above a mount is refused, although viewfs lists it: what is copied there would cross
        into the mount, or be hidden by it.

        Args:
            path: Absolute, without empty or dot segments.
            hint: What to do about a fault of the mount table.

        Raises:
            PermanentError: E_DST_AUTHORITY: the mount, or the table, cannot be used.
            CannotWrite: E_DST_NO_MOUNT: it is outside every mount. E_DST_MOUNT: it is above one.
        """
        shown = printable(f"viewfs://{self.name}{path}")
        if self.fault:
            raise PermanentError("E_DST_AUTHORITY", f"{shown}: {self.fault}", hint=hint)
        below = [one.path for one in self.mounts if one.path != path and _is_within(one.path, path)]
        if below:
            raise CannotWrite(
                "E_DST_MOUNT",
                f"{shown} is above the mount {printable(min(below))}, and nothing is copied across "
                "mounts",
                hint="name a directory in one mount, such as "
                f"{printable(f'viewfs://{self.name}{min(below)}')}/dir",
            )
        mount = max(
            (one for one in self.mounts if one.covers(path)),
            key=lambda one: len(one.path),
            default=None,
        )
        if mount is None:
            raise CannotWrite(
                "E_DST_NO_MOUNT",
                f"{shown} is outside every mount of {printable(self.name)}; a fallback is not used",
                hint=f"write a path below one of its mounts: {self._mounts()}",
            )
        if mount.target is None:
            raise PermanentError("E_DST_AUTHORITY", f"{shown}: {mount.fault}", hint=hint)
        rest = path if mount.path == "/" else path[len(mount.path) :]
        return mount.target.join(rest[1:]) if rest else mount.target

    def _mounts(self) -> str:
        paths = sorted(one.path for one in self.mounts)
        more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
        return ", ".join(map(printable, paths[:_SHOWN])) + more if paths else "it has none"


@dataclass(frozen=True, kw_only=True)
class FileSystems:
    """Names of file systems in the node's Hadoop configuration.

    Attributes:
        default: Hadoop's `fs.defaultFS`, such as `hdfs://nameservice`, `hdfs://host:8020` or
            `file:///`; None where none is set.
        nameservices: Names that are not hosts, and take no port.
        faults: Nameservices that cannot be used, each with the reason.
        mount_tables: What `viewfs://` URIs mean here.
        unnamed_table: The mount table of `viewfs:///`.
        has_any_table: Mount tables are another node's: every path of viewfs has the right form.
    """

    default: str | None = None
    nameservices: frozenset[str] = frozenset()
    faults: tuple[tuple[str, str], ...] = ()
    mount_tables: tuple[MountTable, ...] = ()
    unnamed_table: str = "default"
    has_any_table: bool = False

    def mount_table(self, authority: str) -> MountTable | None:
        """The one of `viewfs://authority/`; None: this node has none of that name."""
        name = authority or self.unnamed_table
        if self.has_any_table:
            elsewhere = Location(scheme="hdfs", authority=name, path="/")
            return MountTable(name=name, mounts=(Mount(path="/", target=elsewhere),))
        return next((one for one in self.mount_tables if one.name == name), None)

    @property
    def default_table(self) -> MountTable | None:
        """The mount table of the default file system; None: that is none of viewfs, or has none."""
        scheme, _, rest = (self.default or "").partition("://")
        return self.mount_table(rest.removesuffix("/")) if scheme == "viewfs" else None

    @property
    def mount_faults(self) -> tuple[tuple[str, str], ...]:
        """What cannot be used of the mount tables: names of viewfs, each with the reason."""
        return tuple(
            (f"viewfs://{table.name}{path}", why)
            for table in self.mount_tables
            for path, why in (("/", table.fault), *((m.path, m.fault) for m in table.mounts))
            if why
        )

    @property
    def mounted(self) -> frozenset[str]:
        """Authorities of the HDFS behind mounts."""
        targets = (one.target for table in self.mount_tables for one in table.mounts)
        return frozenset(one.authority for one in targets if one and one.scheme == "hdfs")

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


def _is_within(path: str, directory: str) -> bool:
    base = "" if directory == "/" else directory
    return path == directory or path.startswith(f"{base}/")
