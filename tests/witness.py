"""Looks at every final path, over and over, and remembers what no reader may ever see."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import hdfs_native

PAUSE_S = 0.03  # between two rounds of looks: the agent needs the processor, too


class Witness(threading.Thread):
    """A reader of one landing directory in HDFS; use it as a context manager.

    Args:
        path: The landing directory; nothing is allowed below it but what is wanted.
        trees: Relative directory to its files, which appear all at once.
        files: Relative path to the states it may have, oldest first; an older one never returns.
        conf_dir: Where a name service is explained.

    Attributes:
        wrong: What no reader may ever see; empty when all is well.
        again: Files of which the same state was written a second time.
        blind: Looks that HDFS did not answer.
    """

    def __init__(
        self,
        filesystem: str,
        path: str,
        trees: Mapping[str, Mapping[str, bytes]],
        files: Mapping[str, Sequence[bytes]],
        seed: int,
        conf_dir: Path | None = None,
    ) -> None:
        super().__init__(name="witness", daemon=True)
        self._client = hdfs_native.Client(
            filesystem, config_dir=None if conf_dir is None else str(conf_dir)
        )
        self._path = path
        self._trees, self._files = trees, files
        self._newest: dict[str, int] = {}
        self._last: dict[str, tuple[int, int]] = {}
        self._written: dict[str, int | None] = {}  # the state of a file as it is in `_last`
        self._directories: dict[str, list[str]] = {}
        for name in files:
            self._directories.setdefault(name.rpartition("/")[0], []).append(name)
        self._chance = random.Random(seed)
        self._is_over = threading.Event()
        self.looks = self.reads = self.blind = 0
        self.wrong: list[str] = []
        self.again: list[str] = []

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self.join(60)

    def has_seen(self, name: str) -> bool:
        """This tree or file, whole."""
        return name in self._newest

    def run(self) -> None:
        while not self._is_over.wait(PAUSE_S):
            for name in self._trees:
                self._guarded(name, [name], self._look_at_tree)
            for directory, names in self._directories.items():
                self._guarded(directory, names, self._look_at_files)
            if seen := sorted(self._newest.keys() & self._files.keys()):
                name = self._chance.choice(seen)
                self._guarded(name, [name], self._look_at_file)

    def _guarded(self, name: str, holds: Sequence[str], look: Callable[[str], object]) -> None:
        self.looks += 1
        try:
            look(name)
        except FileNotFoundError:
            for one in holds:
                if one in self._newest:
                    self._say(f"{one} is gone again")
        except BaseException as error:
            # HDFS is down; and a panic of the client's Rust is no Exception.
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            self.blind += 1

    def _look_at_tree(self, name: str) -> None:
        wanted = self._trees[name]
        listed = [one for one in self._client.list_status(f"{self._path}/{name}") if not one.isdir]
        found = {one.path.removeprefix(f"{self._path}/{name}/"): one.length for one in listed}
        if {path: len(data) for path, data in wanted.items()} != found:
            self._say(f"{name}: {len(found)} files of {len(wanted)}")
            return
        self._newest[name] = 0
        now = sum(found.values()), max(one.modification_time for one in listed)
        if self._last.setdefault(name, now) != now:
            self._last[name] = now
            self.again.append(name)
        one = self._chance.choice(sorted(found))
        if self._read(f"{name}/{one}") != wanted[one]:
            self._say(f"{name}/{one}: wrong bytes")

    def _look_at_files(self, directory: str) -> None:
        """A list tells which of them changed; those are read."""
        found = self._listed(directory)
        changed = [
            name
            for name in self._directories[directory]
            if name in found and found[name] != self._last.get(name)
        ]
        for name in self._directories[directory]:
            if name not in found and name in self._newest:
                self._say(f"{name} is gone again")
        states = {name: self._look_at_file(name) for name in changed}
        # What was read is of the file that was listed only if that is still there: another one may
        # have been renamed over it in between.
        after = self._listed(directory) if changed else {}
        for name in changed:
            if after.get(name) != found[name]:
                continue  # the next list has it
            # The time of writing: a rename keeps it.
            if name in self._last and self._written.get(name) == states[name]:
                self.again.append(name)
            self._last[name], self._written[name] = found[name], states[name]

    def _listed(self, directory: str) -> dict[str, tuple[int, int]]:
        """Length and time of writing of each file, by its path below the landing directory."""
        path = f"{self._path}/{directory}".rstrip("/")
        return {
            one.path.removeprefix(f"{self._path}/"): (one.length, one.modification_time)
            for one in self._client.list_status(path)
            if not one.isdir
        }

    def _look_at_file(self, name: str) -> int | None:
        """Which of its states it has; None: one that it never was."""
        data = self._read(name)
        states = self._files[name]
        if data not in states:
            self._say(f"{name}: {len(data)} bytes that it never was")
            return None
        now = list(states).index(data)
        if now < self._newest.get(name, 0):
            self._say(f"S4 {name}: state {now} after state {self._newest[name]}")
        self._newest[name] = max(now, self._newest.get(name, 0))
        return now

    def _read(self, name: str) -> bytes:
        data = bytes(self._client.read(f"{self._path}/{name}").read())
        self.reads += 1
        return data

    def _say(self, what: str) -> None:
        if what not in self.wrong:
            self.wrong.append(what)
