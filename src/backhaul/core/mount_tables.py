"""Mount tables of Hadoop's ViewFS: which directory of which HDFS is behind a `viewfs://` path.

A client of viewfs is not used: it writes what is outside every mount into a fallback without a
word, and removes the directory behind a mount when the mount is removed. A path is resolved once,
where text becomes a destination, and everything after that knows the resolved name alone: so two
names of one directory are one, and whatever is staged or renamed stays in one mount.

Source: Apache Hadoop 3.4, `InodeTree`.
"""

from __future__ import annotations

from dataclasses import dataclass

from backhaul.core.errors import CannotWrite, PermanentError
from backhaul.core.model import Location
from backhaul.core.text import printable

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
            PermanentError: E_DST_NO_MOUNT: it is outside every mount. E_DST_AUTHORITY: the mount,
                or the table, cannot be used.
            CannotWrite: E_DST_MOUNT: it is above one.
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
            raise PermanentError(
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


def _is_within(path: str, directory: str) -> bool:
    base = "" if directory == "/" else directory
    return path == directory or path.startswith(f"{base}/")
