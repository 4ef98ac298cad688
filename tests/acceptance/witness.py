"""Watches a final directory as fast as it can and remembers anything that is not whole."""

from __future__ import annotations

import random
import threading
import time
from types import TracebackType
from typing import Self

import hdfs_native

from tests.acceptance.landing import HdfsLanding


class Witness(threading.Thread):
    """A reader of one directory in HDFS; use it as a context manager.

    Attributes:
        looks: Times it listed the directory.
        reads: Files it read to the end.
        wrong: What no reader may ever see; empty when all is well.
        whole_at_s: When it first saw the whole tree, on the monotonic clock.
    """

    def __init__(self, filesystem: str, path: str, wanted: dict[str, bytes], seed: int) -> None:
        super().__init__(name="witness", daemon=True)
        self._client = hdfs_native.Client(filesystem)
        self._path = path
        self._wanted = wanted
        self._chance = random.Random(seed)
        self._is_over = threading.Event()
        self.looks = self.reads = 0
        self.wrong: list[str] = []
        self.whole_at_s: float | None = None

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
        self.join(30)

    def run(self) -> None:
        while not self._is_over.is_set():
            try:
                self._look()
            except FileNotFoundError:
                if self.whole_at_s is not None:
                    self.wrong.append("the tree is gone again")
            except Exception as error:  # noqa: BLE001 - a thread's failure is told by the test
                self.wrong.append(f"{type(error).__name__}: {error}")
                return

    def _look(self) -> None:
        self.looks += 1
        found = {
            one.path.removeprefix(f"{self._path}/"): one.length
            for one in self._client.list_status(self._path)
            if not one.isdir
        }
        if {name: len(data) for name, data in self._wanted.items()} != found:
            self.wrong.append(f"partial tree: {len(found)} files of {len(self._wanted)}")
        if self.whole_at_s is None:
            self.whole_at_s = time.monotonic()
        name = self._chance.choice(sorted(found) or [""])
        if name and self._read(name) != self._wanted.get(name):
            self.wrong.append(f"wrong bytes in {name}")

    def _read(self, name: str) -> bytes:
        data = bytes(self._client.read(f"{self._path}/{name}").read())
        self.reads += 1
        return data


def landing_on(hdfs_uri: str, name: str) -> HdfsLanding:
    """A landing directory of a test's own in HDFS."""
    return HdfsLanding(hdfs_uri, f"/landing/{name}", is_named=False)
