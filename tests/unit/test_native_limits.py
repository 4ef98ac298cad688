"""One object from S3 into staging, under a byte-rate limit and with servers that bear no more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.core.errors import BackhaulError, TransientError
from backhaul.core.model import VerifyLevel
from backhaul.engines.gate import Gate
from backhaul.engines.native import Cancelled, Stager
from backhaul.engines.read_retries import THROTTLED, THROTTLED_TRIES
from backhaul.engines.tuning import Shared
from backhaul.testing.fakes import FakeEvent, Fault
from tests.unit.test_native import TUNING, Bench, content
from tests.world import World

OVERLOADED = TransientError("E_HDFS_OVERLOADED", "could only be written to 0 of the 1")
SLOW_DOWN = TransientError(THROTTLED, "S3 answered 503 SlowDown")


class Rationed:
    """An allowance of a few bytes at a time that counts what it gave."""

    def __init__(self, piece: int) -> None:
        self.piece = piece
        self.given = 0
        self.refusals = 0
        self._lock = threading.Lock()

    def take(self, wanted_bytes: int, waiting: Callable[[], None]) -> int:
        assert wanted_bytes > 0
        waiting()
        with self._lock:
            size = min(self.piece, wanted_bytes)
            self.given += size
            return size


def bench_with(shared: Shared) -> Bench:
    bench = Bench()
    bench.stager.close()
    bench.stager = Stager(
        reader=bench.store,
        target=bench.target,
        new_digest=new_digest,
        tuning=TUNING,
        counter=bench.counter,
        directory="/s/1",
        verify=VerifyLevel.STREAM,
        shared=shared,
    )
    bench.stager.cancelled = FakeEvent(bench.clock)
    return bench


@pytest.mark.parametrize("size", [0, 1, 10, 11, 50, 100, 101, 1000])
def test_every_byte_that_is_read_was_granted_and_no_byte_twice(size: int) -> None:
    rationed = Rationed(7)
    bench = bench_with(Shared(allowance=rationed, s3_gate=Gate(16, THROTTLED)))
    bench.stage(bench.put(size))
    assert bench.staged == {"/s/1/f": content(size)}
    # The end of a body that is streamed is found by asking for one byte more.
    assert size <= rationed.given <= size + 1
    bench.stager.close()


def test_waiting_for_the_limit_is_no_standstill_and_ends_with_the_call() -> None:
    rationed = Rationed(1)
    bench = bench_with(Shared(allowance=rationed, s3_gate=Gate(16, THROTTLED)))
    pin = bench.put(10)
    before = bench.counter.calls
    bench.stage(pin)
    assert bench.counter.calls - before > 10, "each wait shows that it lives"
    bench.stager.cancelled.set()
    with pytest.raises(Cancelled):
        bench.stager._allow_whole(10)
    bench.stager.close()


@pytest.mark.parametrize("call", ["target.create", "target.close"])
def test_hdfs_that_is_overloaded_for_a_while_costs_no_try(call: str) -> None:
    bench = Bench()
    times = TUNING.tries + 3
    for occurrence in range(1, times + 1):
        bench.faults.at(call, occurrence, Fault.FAIL, OVERLOADED)
    bench.stage(bench.put(50))
    assert bench.staged == {"/s/1/f": content(50)}
    bench.stager.close()


def test_hdfs_that_stays_overloaded_is_told_in_the_end() -> None:
    bench = Bench()
    bench.faults.always("target.create", OVERLOADED)
    began_s = bench.clock.monotonic()
    with pytest.raises(BackhaulError) as caught:
        bench.stage(bench.put(50))
    assert caught.value.code == "E_HDFS_OVERLOADED"
    assert bench.faults.count("target.create") == TUNING.overloaded_tries
    assert bench.clock.monotonic() - began_s > 30
    bench.stager.close()


@pytest.mark.parametrize("size", [10, 50, 1000])
def test_s3_that_says_slow_down_for_a_while_costs_no_try(size: int) -> None:
    bench = Bench()
    for occurrence in range(1, THROTTLED_TRIES):
        bench.faults.at("store.get", occurrence, Fault.FAIL, SLOW_DOWN)
    proven = bench.stage(bench.put(size))
    assert bench.staged == {"/s/1/f": content(size)}
    assert proven.bytes_read == size
    bench.stager.close()


def test_s3_that_says_nothing_but_slow_down_holds_the_transfer(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.store.put("p/a", b"content")
    answers = world.store.get

    def throttled(*_: object, **__: object) -> Any:
        raise SLOW_DOWN

    world.store.get = throttled  # type: ignore[method-assign]
    world.queue.send("raw/p/, /land/d")
    for _ in range(5):
        world.drain()
        (row,) = world.rows()
        assert (row.state.value, row.code, row.failures) == ("held", THROTTLED, 0)
        world.clock.advance(600)

    world.store.get = answers  # type: ignore[method-assign]
    world.drain()
    (row,) = world.rows()
    assert (row.state.value, row.failures) == ("done", 0)
