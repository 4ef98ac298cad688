"""Sorting more than memory should hold: sorted runs in temporary files, merged as they are read."""

from __future__ import annotations

import heapq
import pickle
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import islice
from typing import IO, TypeVar

from backhaul.spool import spool_directory

IN_MEMORY_MOST = 100_000  # items, some 30 MB
_BATCH = 500  # items in one pickle

Item = TypeVar("Item")


def in_order(
    items: Iterable[Item], key: Callable[[Item], str], *, most: int = IN_MEMORY_MOST
) -> Iterator[Item]:
    """The items in the order of `key`; those of one key as they came.

    Args:
        most: So many are in memory at once. Files are removed with the iterator, also if this
            process dies: they have no name.
    """
    rest = iter(items)
    run = sorted(islice(rest, most), key=key)
    if len(run) < most:
        return iter(run)
    return _merged(run, rest, key, most)


def _merged(
    run: list[Item], rest: Iterator[Item], key: Callable[[Item], str], most: int
) -> Iterator[Item]:
    with ExitStack() as opened:
        runs: list[Iterator[Item]] = []
        while run:
            file = opened.enter_context(
                tempfile.TemporaryFile(prefix="backhaul-", dir=spool_directory())
            )
            _write(file, run)
            runs.append(_read(file))
            run = sorted(islice(rest, most), key=key)
        yield from heapq.merge(*runs, key=key)


def _write(file: IO[bytes], run: list[Item]) -> None:
    for start in range(0, len(run), _BATCH):
        pickle.dump(run[start : start + _BATCH], file, pickle.HIGHEST_PROTOCOL)
    file.seek(0)


def _read(file: IO[bytes]) -> Iterator[Item]:
    while True:
        try:
            batch: list[Item] = pickle.load(file)  # noqa: S301 - written a moment ago, has no name
        except EOFError:
            return
        yield from batch
