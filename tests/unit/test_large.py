"""Large objects: by ranges, as one long answer, and from one to the other and back."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.core.errors import SourceChanged, TransientError
from backhaul.core.objects import Pin
from backhaul.core.ports import Body, Endpoint
from backhaul.engines import large
from backhaul.engines.gate import Gate
from backhaul.engines.large import LargeReader, LargeTuning, outpaces, starves
from backhaul.engines.object_egress import Uncounted
from backhaul.engines.read_retries import RetryingReader
from backhaul.testing.fakes import FakeClock, FakeStore, ReadFault

RANGE_BYTES, PIECE_BYTES, STREAM_BYTES, TRIES = 64, 16, 200, 3
TUNING = LargeTuning(
    range_bytes=RANGE_BYTES, ranges=3, piece_bytes=PIECE_BYTES, stream_bytes=STREAM_BYTES
)
SIZE = 5000
CONTENT = bytes(n % 251 for n in range(SIZE))


@dataclass
class Bench:
    """A fake S3 that notes every request."""

    asked: list[tuple[int, int]] = field(default_factory=list)
    limit: int = SIZE
    is_cancelled: bool = False
    lies_to_long: list[ReadFault] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.store = FakeStore(FakeClock(), new_digest)
        self.reader = LargeReader(
            reader=RetryingReader(
                self,  # type: ignore[arg-type] # only ranges are requested
                Gate(16),
                lambda seconds: None,
                tries=TRIES,
                progress_bytes=RANGE_BYTES,
            ),
            tuning=TUNING,
            allowed=lambda wanted: min(wanted, self.limit),
            heartbeat=lambda: None,
            refuse_if_cancelled=self.refuse_if_cancelled,
        )

    def refuse_if_cancelled(self) -> None:
        if self.is_cancelled:
            raise TransientError("E_STOPPED", "given up")

    def get(self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int]) -> Body:
        self.asked.append(byte_range)
        is_long = byte_range[1] - byte_range[0] > RANGE_BYTES
        if is_long and self.lies_to_long:
            self.store.spoil_read("k", self.lies_to_long.pop())
        return self.store.get(endpoint, pin, byte_range=byte_range)

    def put(self, name: str = "k") -> Pin:
        return self.store.put(name, CONTENT)

    def pieces(self, pin: Pin) -> Iterator[bytes]:
        return self.reader.pieces(self.store.endpoint("raw"), pin, Uncounted())

    @property
    def longest(self) -> int:
        return max(stop - start for start, stop in self.asked)


@pytest.fixture
def bench() -> Iterator[Bench]:
    found = Bench()
    yield found
    found.reader.close()


class Say(Protocol):
    """Decide instead of the clock."""

    def __call__(self, *, is_quick: bool = False, is_starving: bool = False) -> None: ...


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> Say:
    def decide(*, is_quick: bool = False, is_starving: bool = False) -> None:
        monkeypatch.setattr(large, "outpaces", lambda *_: is_quick)
        monkeypatch.setattr(large, "starves", lambda *_: is_starving)

    return decide


def test_a_long_line_is_read_by_ranges_alone(bench: Bench, say: Say) -> None:
    say()
    assert b"".join(bench.pieces(bench.put())) == CONTENT
    assert bench.longest == RANGE_BYTES
    assert sum(stop - start for start, stop in bench.asked) == SIZE


def test_a_quick_line_is_read_as_one_answer_after_some_ranges(bench: Bench, say: Say) -> None:
    say(is_quick=True)
    pieces = list(bench.pieces(bench.put()))
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) <= PIECE_BYTES
    assert len(bench.asked) < SIZE // RANGE_BYTES / 2
    assert bench.longest > SIZE / 2
    assert sum(stop - start for start, stop in bench.asked) == SIZE  # no byte twice


def test_one_answer_that_falls_behind_ends_and_ranges_follow(bench: Bench, say: Say) -> None:
    say(is_quick=True, is_starving=True)
    assert b"".join(bench.pieces(bench.put())) == CONTENT
    tries = [start for start, stop in bench.asked if stop - start > RANGE_BYTES]
    assert tries
    after = [stop - start for start, stop in bench.asked if start > tries[0]]
    # More patient each time: it is not tried after every few ranges again.
    assert after.count(RANGE_BYTES) > large.RANGES_BEFORE_STREAM


def test_a_short_rest_is_not_worth_one_answer(bench: Bench, say: Say) -> None:
    say(is_quick=True)
    pin = bench.store.put("k", CONTENT[:STREAM_BYTES])
    assert b"".join(bench.pieces(pin)) == CONTENT[:STREAM_BYTES]
    assert bench.longest == RANGE_BYTES


@pytest.mark.parametrize("is_quick", [False, True])
def test_what_may_be_read_is_asked_for_each_piece(
    bench: Bench, say: Say, *, is_quick: bool
) -> None:
    say(is_quick=is_quick)
    bench.limit = 7
    pieces = list(bench.pieces(bench.put()))
    assert b"".join(pieces) == CONTENT
    assert max(map(len, pieces)) == bench.limit


def test_a_broken_range_goes_on_where_it_broke(bench: Bench, say: Say) -> None:
    say()
    pin = bench.put()
    bench.store.spoil_read("k", ReadFault.BREAK, times=2)
    assert b"".join(bench.pieces(pin)) == CONTENT


def test_a_broken_long_answer_goes_on_where_it_broke(bench: Bench, say: Say) -> None:
    """More often than a range may break: each time it had come far."""
    say(is_quick=True)
    bench.lies_to_long = [ReadFault.BREAK] * (TRIES + 1)
    assert b"".join(bench.pieces(bench.put())) == CONTENT
    starts = [start for start, stop in bench.asked if stop - start > RANGE_BYTES]
    assert len(starts) > TRIES
    assert starts == sorted(starts)


def test_an_object_that_changes_under_a_long_answer_is_never_mixed(bench: Bench, say: Say) -> None:
    say(is_quick=True)
    pieces = bench.pieces(bench.put())
    bench.lies_to_long = [ReadFault.BREAK]
    while bench.lies_to_long:
        next(pieces)
    bench.store.put("k", CONTENT[::-1])
    with pytest.raises(SourceChanged):
        list(pieces)


@pytest.mark.parametrize("is_quick", [False, True])
def test_who_leaves_early_leaves_nothing_behind(bench: Bench, say: Say, *, is_quick: bool) -> None:
    """More often than there are buffers: each one is given back."""
    say(is_quick=is_quick)
    pin = bench.put()
    for _ in range(2 * TUNING.ranges):
        pieces = bench.pieces(pin)
        for _ in range(120):
            next(pieces)
        pieces.close()  # type: ignore[attr-defined] # a generator
    assert b"".join(bench.pieces(pin)) == CONTENT


def test_a_stop_is_seen_between_the_pieces_of_one_answer(bench: Bench, say: Say) -> None:
    say(is_quick=True)
    pieces = bench.pieces(bench.put())
    for _ in range(120):
        next(pieces)
    bench.is_cancelled = True
    with pytest.raises(TransientError, match="given up"):
        list(pieces)


@pytest.mark.parametrize("is_quick", [False, True])
def test_more_objects_than_buffers_all_arrive(bench: Bench, say: Say, *, is_quick: bool) -> None:
    say(is_quick=is_quick)
    pins = [bench.put(f"k{number}") for number in range(8)]
    with ThreadPoolExecutor(len(pins)) as threads:
        found = list(threads.map(lambda pin: b"".join(bench.pieces(pin)), pins))
    assert found == [CONTENT] * len(pins)


@pytest.mark.parametrize(
    ("took_s", "waited_s", "used_s", "is_quick"),
    [
        (1.0, 0.0, 4.0, True),
        (3.0, 0.0, 4.0, False),  # hardly quicker: ranges read in parallel
        (1.0, 2.5, 4.0, False),  # other requests were waited for
        (0.0, 0.0, 0.0, False),
    ],
)
def test_when_one_connection_is_enough(
    took_s: float, waited_s: float, used_s: float, *, is_quick: bool
) -> None:
    assert outpaces(took_s, waited_s, used_s) is is_quick


def test_starving_is_waiting_most_of_the_time() -> None:
    assert starves(0.6, 1.0)
    assert not starves(0.4, 1.0)
