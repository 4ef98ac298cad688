"""How often a read is tried, and how many run at once."""

from __future__ import annotations

import pytest

from backhaul.adapters.digests import new_digest
from backhaul.core.adaptive_limit import Pace
from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.errors import (
    BackhaulError,
    OutageError,
    PermanentError,
    SourceChanged,
    TransientError,
)
from backhaul.core.objects import Pin
from backhaul.core.ports import Body, Endpoint
from backhaul.engines.gate import Gate
from backhaul.engines.read_retries import (
    LONGEST_SLEEP_S,
    THROTTLED,
    THROTTLED_TRIES,
    TRIES,
    ReadFailed,
    RetryingReader,
)
from backhaul.testing.fakes import FakeClock, FakeStore
from backhaul.testing.fakes.store import ReadFault

SLOW_DOWN = TransientError(THROTTLED, "S3 answered 503 SlowDown")


# ---------------------------------------------------------------- the decision


def test_refusals_of_one_moment_halve_it_once() -> None:
    pace = Pace(64)
    now = pace.generation
    for _ in range(64):
        pace.was_refused(now)
    assert pace.limit == 32
    pace.was_refused(pace.generation)
    assert pace.limit == 16


def test_a_round_of_successes_adds_one() -> None:
    pace = Pace(64)
    for _ in range(3):
        pace.was_refused(pace.generation)
    assert pace.limit == 8
    for _ in range(9):
        pace.went_well()
    assert pace.limit == 9


def test_it_stays_between_one_and_the_most() -> None:
    pace = Pace(4)
    for _ in range(10):
        pace.was_refused(pace.generation)
    assert pace.limit == 1
    for _ in range(1000):
        pace.went_well()
    assert pace.limit == 4


def test_it_settles_around_what_a_server_bears() -> None:
    """AIMD's saw: never more than one above, never below half of it."""
    pace, bears = Pace(268), 20
    seen = []
    for _ in range(200):
        now, together = pace.generation, pace.limit
        for number in range(together):
            if number < bears:
                pace.went_well()
            else:
                pace.was_refused(now)
        seen.append(pace.limit)
    settled = seen[50:]
    assert min(settled) >= bears // 2
    assert max(settled) <= bears + 1


# ---------------------------------------------------------------- the reader


class Moody:
    """A reader that says 503 so many times before it answers."""

    def __init__(self, store: FakeStore, refusals: int, refusal: BackhaulError) -> None:
        self.store = store
        self.refusals = refusals
        self.refusal = refusal
        self.asked = 0

    def _moods(self) -> None:
        self.asked += 1
        if self.asked <= self.refusals:
            raise self.refusal

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> Body:
        self._moods()
        return self.store.get(endpoint, pin, byte_range=byte_range)

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        self._moods()
        return self.store.head(endpoint, pin)

    def check_reachable(self, endpoint: Endpoint) -> None:
        """It always answers."""

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        return None


class Bench:
    def __init__(self, refusals: int, refusal: BackhaulError = SLOW_DOWN) -> None:
        store = FakeStore(FakeClock(), new_digest)
        self.pin: Pin = store.put("k", b"content")
        self.endpoint = store.endpoint("raw")
        self.moody = Moody(store, refusals, refusal)
        self.gate = Gate(16, refusal=THROTTLED)
        self.naps: list[float] = []
        self.reader = RetryingReader(self.moody, self.gate, self.naps.append)


def test_a_throttled_read_is_asked_again_after_longer_and_longer_pauses() -> None:
    bench = Bench(refusals=3)
    with bench.reader.get(bench.endpoint, bench.pin) as body:
        assert body.readall() == b"content"
    assert bench.naps == [0.1, 0.2, 0.4]
    assert bench.gate.limit == 2


def test_s3_that_says_nothing_else_is_an_outage_and_no_failure_of_the_object() -> None:
    """As a throttled listing is: the transfer is held, and spends nothing."""
    bench = Bench(refusals=1000)
    with pytest.raises(OutageError, match=SLOW_DOWN.message) as caught:
        bench.reader.head(bench.endpoint, bench.pin)
    assert (caught.value.dependency, caught.value.code) == ("s3", THROTTLED)
    assert bench.moody.asked == THROTTLED_TRIES
    assert max(bench.naps) == LONGEST_SLEEP_S
    assert sum(bench.naps) > 30
    assert bench.gate._inside == 0


def test_a_read_keeps_its_place_until_its_body_is_left() -> None:
    bench = Bench(refusals=0)
    body = bench.reader.get(bench.endpoint, bench.pin)
    assert bench.gate._inside == 1
    with body:
        body.read(3)
    assert bench.gate._inside == 0
    with pytest.raises(TransientError), bench.reader.get(bench.endpoint, bench.pin):
        raise TransientError("E_S3_BODY", "broke")
    assert bench.gate._inside == 0


def test_a_pause_that_is_given_up_ends_the_read() -> None:
    bench = Bench(refusals=1000)

    def give_up(seconds: float) -> None:
        raise KeyboardInterrupt

    reader = RetryingReader(bench.moody, bench.gate, give_up)
    with pytest.raises(KeyboardInterrupt):
        reader.get(bench.endpoint, bench.pin)
    assert bench.moody.asked == 1


# ---------------------------------------------------------------- how often a read is tried


@pytest.mark.parametrize(
    "error",
    [
        TransientError("E_S3_SERVER", "S3 answered 500"),
        OutageError.of("s3", "E_S3_UNREACHABLE", "connection refused"),
        OutageError.of("s3", "E_SRC_KMS", "S3 answered 500 KMS.KMSInternalException"),
    ],
)
def test_a_request_that_always_fails_is_sent_four_times(error: BackhaulError) -> None:
    bench = Bench(refusals=1000, refusal=error)
    for read in (bench.reader.get, bench.reader.head):
        bench.moody.asked = 0
        with pytest.raises(type(error)) as caught:
            read(bench.endpoint, bench.pin)
        assert caught.value.code == error.code
        assert bench.moody.asked == TRIES == 4
    assert bench.gate.limit == 16


@pytest.mark.parametrize(
    "error",
    [
        SourceChanged("E_SRC_CHANGED", "another ETag"),
        PermanentError("E_SRC_DENIED", "403"),
        OutageError.of("credentials", "E_AWS_CREDENTIALS", "expired"),
    ],
)
def test_a_refusal_that_another_try_cannot_change_is_final(error: BackhaulError) -> None:
    bench = Bench(refusals=1000, refusal=error)
    with pytest.raises(type(error)):
        bench.reader.get(bench.endpoint, bench.pin)
    assert bench.moody.asked == 1


def test_a_body_that_breaks_goes_on_where_it_broke_within_the_same_tries() -> None:
    bench = Bench(refusals=0)
    bench.moody.store.spoil_read("k", ReadFault.BREAK, times=2)
    with bench.reader.get(bench.endpoint, bench.pin) as body:
        assert body.readall() == b"content"
        assert body.read(1) == b""
    assert bench.moody.asked == 3
    assert bench.gate._inside == 0
    assert body.facts.checksums  # of the whole object, although a range came last


class Choppy(Moody):
    """Each answer breaks after three bytes."""

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> Body:
        self.asked += 1
        start, stop = byte_range or (0, pin.size_bytes)
        whole = start + 3 >= stop
        if not whole:
            self.store.spoil_read(pin.key, ReadFault.BREAK)
        part = (start, stop) if whole else (start, start + 6)  # it breaks half-way
        return self.store.get(endpoint, pin, byte_range=part)


def test_a_body_that_gets_on_by_small_steps_is_not_given_up() -> None:
    store = FakeStore(FakeClock(), new_digest)
    pin = store.put("k", bytes(30))
    choppy, naps = Choppy(store, 0, SLOW_DOWN), list[float]()
    reader = RetryingReader(choppy, Gate(16), naps.append, tries=3, progress_bytes=5)
    with reader.get(store.endpoint("raw"), pin, byte_range=(0, 30)) as body:
        assert body.readall() == bytes(30)
    assert choppy.asked == 10
    assert max(naps) == 0.4


def test_a_body_that_always_breaks_without_progress_is_given_up() -> None:
    bench = Bench(refusals=0)
    bench.moody.store.spoil_read("k", ReadFault.BREAK, times=1000)
    with pytest.raises(ReadFailed), bench.reader.get(bench.endpoint, bench.pin) as body:
        body.readall()
    assert bench.moody.asked == TRIES
    assert bench.gate._inside == 0
