"""A large object's bytes in their order: by ranges read ahead in parallel, or as one long answer.

Over a long distance ranges are faster: one connection gives only so much, and many together fill
the line. Where one connection gives more than the file system takes, ranges only cost: a request
and a thread switch each, and memory that is never in the cache. So when some ranges in a row came
quicker than they were written, the rest is read as one answer, by one thread, a few pieces ahead of
the writer. When it falls behind, ranges follow again, and for longer.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from backhaul.core.objects import Pin
from backhaul.core.ports import Endpoint
from backhaul.engines.object_egress import ReadAccount
from backhaul.engines.read_retries import RetryingReader

RANGES_BEFORE_STREAM = 4  # quicker than the file system: then one long answer is tried
FIRST_RANGES = 4  # ahead of the writer; twice as many whenever it has to wait
MORE_RANGES = 4  # times as many after each long answer that fell behind
CHECK_EVERY_PIECES = 32
_OUTPACES = 1.5
_STARVES = 0.5


@dataclass(frozen=True, kw_only=True)
class LargeTuning:
    """How large objects are read.

    Attributes:
        range_bytes: Size of one range.
        ranges: Ranges in memory over all large objects: the memory bound.
        piece_bytes: What the writer gets at once; what is ahead of it in one long answer is as
            many pieces as make a range.
        stream_bytes: A rest of at least this is worth one long answer.
    """

    range_bytes: int
    ranges: int
    piece_bytes: int
    stream_bytes: int


@dataclass(kw_only=True)
class _Fetched:
    pieces: list[bytes]
    took_s: float


class LargeReader:
    """Reads large objects of one staging call, several at once, within one memory bound.

    Args:
        allowed: Bytes wanted to bytes that may be read now; waits; may raise to give up.
        heartbeat: Called after each piece read.
        refuse_if_cancelled: Raises when the call was given up.
    """

    def __init__(
        self,
        *,
        reader: RetryingReader,
        tuning: LargeTuning,
        allowed: Callable[[int], int],
        heartbeat: Callable[[], None],
        refuse_if_cancelled: Callable[[], None],
    ) -> None:
        self._reader = reader
        self._tuning = tuning
        self._allowed = allowed
        self._heartbeat = heartbeat
        self._refuse_if_cancelled = refuse_if_cancelled
        self._buffers = threading.BoundedSemaphore(tuning.ranges)
        self._fetchers = ThreadPoolExecutor(tuning.ranges, thread_name_prefix="range")

    def close(self) -> None:
        """Wait for reads that are still under way."""
        self._fetchers.shutdown(wait=True, cancel_futures=True)

    def pieces(self, endpoint: Endpoint, pin: Pin, account: ReadAccount) -> Iterator[bytes]:
        """The object's bytes in order, none larger than a piece.

        Args:
            account: See `RetryingReader.get`.

        Raises:
            BackhaulError: As the reader's `get` and the body's `read`.
        """
        at, ranges = 0, RANGES_BEFORE_STREAM
        while at < pin.size_bytes:
            at = yield from self._by_ranges(endpoint, pin, at, ranges, account)
            if at < pin.size_bytes:
                at = yield from self._as_one(endpoint, pin, at, account)
            ranges *= MORE_RANGES

    # ------------------------------------------------------------ ranges

    def _by_ranges(
        self,
        endpoint: Endpoint,
        pin: Pin,
        start: int,
        most: int,
        account: ReadAccount,
    ) -> Generator[bytes, None, int]:
        """To the end, or until so many ranges together came quicker than they were taken.

        One buffer is waited for, more are taken only when free: every large object always gets
        on, whatever the others hold.

        Returns:
            The first byte that was not read.
        """
        size, step = pin.size_bytes, self._tuning.range_bytes
        ahead: deque[Future[_Fetched]] = deque()
        limit = FIRST_RANGES
        seen, took_s, waited_s, used_s = 0, 0.0, 0.0, 0.0
        is_first, has_more = True, start < size
        try:
            while has_more or ahead:
                self._refuse_if_cancelled()
                while has_more and len(ahead) < limit and self._buffers.acquire(blocking=not ahead):
                    stop = min(start + step, size)
                    ahead.append(
                        self._fetchers.submit(self._fetch, endpoint, pin, start, stop, account)
                    )
                    start = stop
                    has_more = start < size
                if not (is_first or ahead[0].done()):
                    limit *= 2
                is_first = False
                wanted_s = time.perf_counter()
                fetched = ahead[0].result()
                waited_s += time.perf_counter() - wanted_s
                fetched.pieces.reverse()
                while fetched.pieces:
                    yield fetched.pieces.pop()
                ahead.popleft()
                self._buffers.release()
                used_s += time.perf_counter() - wanted_s
                took_s += fetched.took_s
                seen += 1
                if seen == most:
                    is_worth_it = size - start >= self._tuning.stream_bytes
                    if is_worth_it and outpaces(took_s, waited_s, used_s):
                        has_more = False
                    seen, took_s, waited_s, used_s = 0, 0.0, 0.0, 0.0
        finally:
            for future in ahead:
                if not future.cancel():
                    future.exception()
                self._buffers.release()
        return start

    def _fetch(
        self, endpoint: Endpoint, pin: Pin, start: int, stop: int, account: ReadAccount
    ) -> _Fetched:
        """One range, whole."""
        pieces: list[bytes] = []
        began_s = time.perf_counter()
        self._read(endpoint, pin, start, stop, pieces.append, lambda: False, account)
        return _Fetched(pieces=pieces, took_s=time.perf_counter() - began_s)

    # ------------------------------------------------------------ one long answer

    def _as_one(
        self, endpoint: Endpoint, pin: Pin, at: int, account: ReadAccount
    ) -> Generator[bytes, None, int]:
        """To the end, or until the reading fell behind.

        Returns:
            The first byte that was not read.
        """
        tuning = self._tuning
        line: queue.Queue[bytes | None] = queue.Queue(tuning.range_bytes // tuning.piece_bytes)
        stopped = threading.Event()
        self._buffers.acquire()
        reading = self._fetchers.submit(self._read_on, endpoint, pin, at, line, stopped, account)
        has_ended = False
        try:
            taken, waited_s, began_s = 0, 0.0, time.perf_counter()
            while True:
                self._refuse_if_cancelled()
                wanted_s = time.perf_counter()
                piece = line.get()
                waited_s += time.perf_counter() - wanted_s
                if piece is None:
                    has_ended = True
                    reading.result()
                    return at
                at += len(piece)
                yield piece
                taken += 1
                if taken % CHECK_EVERY_PIECES == 0:
                    now_s = time.perf_counter()
                    if starves(waited_s, now_s - began_s):
                        stopped.set()  # what was read until now is still taken
                    waited_s, began_s = 0.0, now_s
        finally:
            stopped.set()
            while not has_ended:
                has_ended = line.get() is None
            self._buffers.release()

    def _read_on(
        self,
        endpoint: Endpoint,
        pin: Pin,
        start: int,
        line: queue.Queue[bytes | None],
        stopped: threading.Event,
        account: ReadAccount,
    ) -> None:
        try:
            self._read(endpoint, pin, start, pin.size_bytes, line.put, stopped.is_set, account)
        finally:
            line.put(None)

    def _read(
        self,
        endpoint: Endpoint,
        pin: Pin,
        start: int,
        stop: int,
        give: Callable[[bytes], None],
        is_stopped: Callable[[], bool],
        account: ReadAccount,
    ) -> None:
        """All of it in pieces."""
        with self._reader.get(endpoint, pin, byte_range=(start, stop), account=account) as body:
            while start < stop and not is_stopped():
                data = body.read(self._allowed(min(self._tuning.piece_bytes, stop - start)))
                if not data:
                    return
                give(data)
                start += len(data)
                self._heartbeat()


def outpaces(took_s: float, waited_s: float, used_s: float) -> bool:
    """Whether one connection was clearly quicker than the file system.

    Args:
        took_s: To read some ranges, one after the other.
        waited_s: Until each was there when it was wanted.
        used_s: The same and to write them.
    """
    return took_s * _OUTPACES < used_s and not starves(waited_s, used_s)


def starves(waited_s: float, elapsed_s: float) -> bool:
    """Whether the writer waited for bytes for most of the time."""
    return waited_s > _STARVES * elapsed_s
