"""A worker process for `test_pool`: the real one's life, with an S3 that obeys the key's name."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from backhaul.adapters.digests import new_digest
from backhaul.adapters.local import LocalTarget
from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.errors import SourceChanged
from backhaul.core.objects import FileStatus, Pin
from backhaul.core.ports import Endpoint
from backhaul.engines.pipe import Pipe
from backhaul.engines.serve import Parts, serve
from backhaul.engines.tuning import Tuning


class Body:
    """`slow-` keys trickle, `hang-` keys never come; the rest is as many `x` as the pin says."""

    def __init__(self, pin: Pin) -> None:
        self.facts = S3Checksums(
            checksums=(), etag=pin.etag, version_id=None, content_length=pin.size_bytes, sse=None
        )
        self._key = pin.key
        self._left = pin.size_bytes

    def read(self, amt: int = 1 << 20) -> bytes:
        if self._key.startswith("hang-"):
            time.sleep(1000)
        if self._key.startswith("slow-"):
            time.sleep(0.02)
            amt = 1
        size = min(amt, self._left)
        self._left -= size
        return b"x" * size

    @property
    def received_bytes(self) -> int:
        return self.facts.content_length - self._left

    def readall(self) -> bytes:
        return self.read(self._left)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing to close."""


class Reader:
    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> Body:
        if pin.key.startswith("bug-"):
            raise RuntimeError("a bug")
        if pin.key.startswith("gone-"):
            raise SourceChanged("E_SRC_GONE", pin.key)
        return Body(pin)

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        return Body(pin).facts

    def check_reachable(self, endpoint: Endpoint) -> None:
        """It always answers."""

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        return None


class Target(LocalTarget):
    """Never answers for a path with `stuck-` in it."""

    def status(self, path: str) -> FileStatus | None:
        if "/stuck-" in path:
            time.sleep(1000)
        return super().status(path)


def main() -> None:
    pipe = Pipe.of(int(sys.argv[1]))
    if pipe.receive() == "hang at once":
        time.sleep(1000)
    parts = Parts(
        reader=Reader,
        target=lambda _filesystem: Target(),
        new_digest=new_digest,
        tuning=lambda _filesystem: Tuning(threads=8, small_bytes=10),
    )
    serve(pipe, parts)


if __name__ == "__main__":
    main()
