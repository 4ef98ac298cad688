"""All files below a directory in the order of their paths' bytes, a directory as `name/`.

That is the order of S3's keys: `a-b`, `a.b` and `a/c` come in this order, although a file system
lists `a` first. HDFS compares names by signed bytes, mounted file systems list in no order at all:
so each directory is sorted here. Memory holds one directory of each level on the way down, and no
more of it than `sorting` keeps.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from backhaul.core.model import STAGING_NAME
from backhaul.core.objects import FileStatus
from backhaul.core.ports import FoundFile, TargetFs
from backhaul.engines.sorting import in_order


class _Named(NamedTuple):
    """An entry of a directory, with the name that it is sorted by."""

    order: str
    size_bytes: int
    modified_ms: int
    is_special: bool


@dataclass(kw_only=True)
class _OpenWalk:
    root: str
    last: str
    files: Iterator[FoundFile]


class TreeWalks:
    """The last walk of one target: its next page costs no second listing."""

    def __init__(self) -> None:
        self._walk: _OpenWalk | None = None

    def page(self, target: TargetFs, root: str, after: str, most: int) -> list[FoundFile]:
        """See `ports.TargetSession.walk`."""
        walk = self._walk
        if walk is None or (walk.root, walk.last) != (root, after):
            walk = _OpenWalk(root=root, last=after, files=walk_files(target, root, after))
        self._walk = None  # a walk that fails is begun anew
        page = list(islice(walk.files, most))
        if len(page) == most:
            walk.last = page[-1].relative
            self._walk = walk
        return page


def walk_files(target: TargetFs, root: str, after: str = "") -> Iterator[FoundFile]:
    """Files below `root` behind the relative path `after`."""
    levels = [("", _entries(target, root))]
    while levels:
        prefix, entries = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        relative = prefix + entry.order
        if not relative.endswith("/"):
            if relative > after:
                yield FoundFile(relative, entry.size_bytes, entry.modified_ms, entry.is_special)
        elif relative > after or after.startswith(relative):
            levels.append((relative, _entries(target, f"{root.rstrip('/')}/{relative[:-1]}")))


def _entries(target: TargetFs, path: str) -> Iterator[_Named]:
    return in_order(
        (_named(name, status) for name, status in target.statuses(path) if name != STAGING_NAME),
        lambda one: one.order,
    )


def _named(name: str, status: FileStatus) -> _Named:
    order = f"{name}/" if status.is_directory else name
    return _Named(order, status.size_bytes, status.modified_ms, status.is_special)
