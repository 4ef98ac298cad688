"""All files below a directory in the order of their paths' bytes, a directory as `name/`.

That is the order of S3's keys: `a-b`, `a.b` and `a/c` come in this order, although a file system
lists `a` first. HDFS compares names by signed bytes, mounted file systems list in no order at all:
so each directory is sorted here. Memory holds one directory of each level on the way down, and no
more of it than `sorting` keeps.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple

from backhaul.core.model import STAGING_NAME
from backhaul.core.objects import FileStatus
from backhaul.core.ports import FoundFile, TargetFs
from backhaul.engines.sorting import in_order

AHEAD = 8  # directories
WAITING_MOST = 1000  # entries behind which directories are listed ahead
SORTED_MOST = 20_000  # entries of one directory in memory, some 6 MB


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
    """The last walk of one target: its next page costs no second listing.

    Args:
        parallel: Directories that are listed at once, ahead of where the walk is; 1: none.
    """

    def __init__(self, parallel: int = AHEAD) -> None:
        self._parallel = parallel
        self._walk: _OpenWalk | None = None

    def page(self, target: TargetFs, root: str, after: str, most: int) -> list[FoundFile]:
        """See `ports.TargetSession.walk`."""
        walk = self._walk
        if walk is None or (walk.root, walk.last) != (root, after):
            files = walk_files(target, root, after, parallel=self._parallel)
            walk = _OpenWalk(root=root, last=after, files=files)
        self._walk = None  # a walk that fails is begun anew
        page = list(islice(walk.files, most))
        if len(page) == most:
            walk.last = page[-1].relative
            self._walk = walk
        return page


def walk_files(
    target: TargetFs, root: str, after: str = "", *, parallel: int = 1
) -> Iterator[FoundFile]:
    """Files below `root` behind the relative path `after`.

    Args:
        parallel: As in `TreeWalks`.
    """
    with ExitStack() as opened:
        threads = None
        if parallel > 1:
            threads = ThreadPoolExecutor(parallel, thread_name_prefix="walk")
            opened.callback(threads.shutdown, wait=False, cancel_futures=True)
        levels = [_Level(target, root, "", after, threads)]
        while levels:
            level = levels[-1]
            entry = next(level.entries, None)
            if entry is None:
                levels.pop()
                continue
            named, below = entry
            relative = level.prefix + named.order
            if below is not None:
                levels.append(below)
            elif relative > after:
                yield FoundFile(relative, *named[1:])


class _Level:
    """One directory that is walked, with those in it that are listed ahead."""

    def __init__(
        self,
        target: TargetFs,
        root: str,
        prefix: str,
        after: str,
        threads: ThreadPoolExecutor | None,
    ) -> None:
        self.prefix = prefix
        self._target = target
        self._root = root
        self._after = after
        self._threads = threads
        path = f"{root.rstrip('/')}/{prefix[:-1]}" if prefix else root
        self._listed: Future[Iterator[_Named]] | None = None
        if threads is not None and prefix:
            self._listed = threads.submit(_entries, target, path)
        self._path = path
        self.entries = self._each()

    def _each(self) -> Iterator[tuple[_Named, _Level | None]]:
        """What is behind `after`: files, and directories that may hold some."""
        if self._listed is not None:
            entries = self._listed.result()
        else:
            entries = _entries(self._target, self._path)
        waiting: deque[tuple[_Named, _Level | None]] = deque()
        directories = 0
        for one in entries:
            below = None
            if one.order.endswith("/"):
                relative = self.prefix + one.order
                if relative <= self._after and not self._after.startswith(relative):
                    continue
                below = _Level(self._target, self._root, relative, self._after, self._threads)
                directories += 1
            waiting.append((one, below))
            while directories > (AHEAD if self._threads else 0) or len(waiting) > WAITING_MOST:
                directories -= waiting[0][1] is not None
                yield waiting.popleft()
        yield from waiting


def _entries(target: TargetFs, path: str) -> Iterator[_Named]:
    return in_order(
        (_named(name, status) for name, status in target.statuses(path) if name != STAGING_NAME),
        lambda one: one.order,
        most=SORTED_MOST,
    )


def _named(name: str, status: FileStatus) -> _Named:
    order = f"{name}/" if status.is_directory else name
    return _Named(order, status.size_bytes, status.modified_ms, status.is_special)
