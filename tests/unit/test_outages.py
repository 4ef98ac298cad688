"""When a failure or a silence is the fault of a dependency; pure, with its own clock."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from backhaul.core.errors import (
    BackhaulError,
    DestinationBusy,
    IntegrityError,
    OutageError,
    OutcomeUnknown,
    PermanentError,
    SourceChanged,
    TakenOver,
    TargetMissing,
    TransientError,
)
from backhaul.core.transfer.outages import (
    CHECK_AFTER_S,
    CHECK_EVERY_S,
    RECENT_S,
    RECOVERY_S,
    DependencyDown,
    OutageWatch,
    is_doubtful,
)

DOWN = OutageError.of("hdfs", "E_HDFS_UNREACHABLE", "NameNode nn:8020: Connection refused")
STALLED = TransientError("E_WORKER_STALLED", "worker 7 moved nothing for 120 s and was killed")
PATIENCE_S = 120.0


class Bench:
    """A watch, what its probes find, and what it reported."""

    def __init__(self, wait_most_s: float = 600.0) -> None:
        self.now_s = 1000.0
        self.found: Sequence[OutageError] = ()
        self.probes = 0
        self.reports: list[DependencyDown | None] = []
        self.watch = OutageWatch(
            probe=self._probe,
            report=self.reports.append,
            monotonic=lambda: self.now_s,
            wait_most_s=wait_most_s,
        )

    def _probe(self) -> Sequence[OutageError]:
        self.probes += 1
        return self.found

    def without_progress(self, seconds: int, since_s: float = 0.0) -> OutageError | None:
        """Look once a second while nothing moves; what ends the call."""
        for second in range(seconds):
            self.now_s += 1
            error = self.watch.look(since_s + second + 1, PATIENCE_S)
            if error is not None:
                return error
        return None


@pytest.mark.parametrize(
    "error",
    [
        STALLED,
        TransientError("E_WORKER_DIED", "killed by signal 9"),
        TransientError("E_HDFS_OVERLOADED", "could only be written to 0 of the 1"),
        TransientError("E_HDFS_NO_REPLICA", "All DataNodes failed"),
        TransientError("E_HDFS_CLIENT", "Failed to complete file in time"),
        TransientError("E_HDFS_RPC", "IOException"),
        TransientError("E_HDFS_PANIC", "crashed"),
        TransientError("E_S3_BODY", "connection reset in the middle"),
        TransientError("E_S3_SERVER", "502 of a proxy"),
        TransientError("E_S3_THROTTLED", "503"),
        OutcomeUnknown("E_HDFS_UNKNOWN", "no answer to the rename"),
        TargetMissing("E_DST_MISSING", "lease expired meanwhile"),
    ],
    ids=lambda error: error.code,
)
def test_failure_counts_only_when_both_sides_answer(error: BackhaulError) -> None:
    bench = Bench()
    assert bench.watch.judged(error) is error
    bench.found = [DOWN]
    judged = bench.watch.judged(error)
    assert isinstance(judged, OutageError)
    assert (judged.dependency, judged.code) == ("hdfs", "E_HDFS_UNREACHABLE")
    assert judged.message.startswith(DOWN.message)
    assert error.code in judged.message


@pytest.mark.parametrize(
    "error",
    [
        SourceChanged("E_SRC_CHANGED", "x"),
        DestinationBusy("E_DST_SHARED", "x"),
        TakenOver("E_TAKEN_OVER", "x"),
        TransientError("E_STOPPED", "x"),
        TransientError("E_BUG", "x"),
        IntegrityError("E_CHECKSUM", "x"),
        PermanentError("E_SRC_DENIED", "x"),
        OutageError.of("s3", "E_S3_UNREACHABLE", "x"),
    ],
    ids=lambda error: error.code,
)
def test_failure_that_no_outage_explains_is_not_probed(error: BackhaulError) -> None:
    bench = Bench()
    bench.found = [DOWN]
    assert not is_doubtful(error)
    assert bench.watch.judged(error) is error
    assert bench.probes == 0


def test_outage_is_reported_long_before_the_stall_timeout() -> None:
    bench = Bench()
    bench.found = [DOWN]
    assert bench.without_progress(16) is None
    (away,) = bench.reports
    assert away is not None
    assert away.error is DOWN
    assert CHECK_AFTER_S <= away.still_s <= CHECK_AFTER_S + 1
    assert bench.watch.is_waiting


def test_worker_waits_past_the_stall_timeout_and_is_reported_to_move_again() -> None:
    bench = Bench()
    bench.found = [DOWN]
    assert bench.without_progress(190) is None
    assert bench.watch.is_waiting
    bench.found = ()
    assert bench.without_progress(2, since_s=190) is None
    assert bench.watch.look(0.0, PATIENCE_S) is None
    assert bench.reports[-1] is None
    assert not bench.watch.is_waiting


def test_worker_that_does_not_go_on_after_the_return_is_given_up_within_half_a_minute() -> None:
    bench = Bench()
    bench.found = [DOWN]
    bench.without_progress(60)
    bench.found = ()
    returned_s = bench.now_s
    error = bench.without_progress(60, since_s=60)
    assert isinstance(error, OutageError)
    assert "answers again" in error.message
    assert bench.now_s - returned_s <= RECOVERY_S + 2 * CHECK_EVERY_S
    assert bench.now_s - returned_s <= 30


def test_worker_is_not_kept_for_ever() -> None:
    bench = Bench(wait_most_s=60)
    bench.found = [DOWN]
    error = bench.without_progress(200)
    assert isinstance(error, OutageError)
    assert PATIENCE_S < bench.now_s - 1000 <= PATIENCE_S + CHECK_EVERY_S + 1


def test_hanging_worker_whose_sides_answer_is_stalled() -> None:
    bench = Bench()
    assert bench.without_progress(int(PATIENCE_S) + 1) is None
    assert not bench.watch.is_waiting
    assert bench.reports == []
    assert bench.watch.judged(STALLED) is STALLED
    assert bench.probes < 10  # a copy under a tight limit has long pauses, too


def test_last_word_about_a_stall_comes_after_a_fresh_probe() -> None:
    bench = Bench()
    bench.without_progress(100)
    before = bench.probes
    bench.found = [DOWN]
    bench.without_progress(25, since_s=100)
    assert bench.probes > before
    assert bench.watch.is_waiting


def test_late_error_of_an_outage_that_has_just_ended_is_an_outage() -> None:
    bench = Bench()
    bench.found = [DOWN]
    bench.without_progress(30)
    bench.found = ()
    bench.watch.look(0.0, PATIENCE_S)
    late = bench.watch.judged(TransientError("E_HDFS_CLIENT", "Failed to complete file in time"))
    assert isinstance(late, OutageError)
    bench.now_s += RECENT_S + 30
    assert bench.watch.judged(STALLED) is STALLED


def test_both_sides_down_names_the_first_and_a_changed_reason_is_reported_again() -> None:
    bench = Bench()
    safe_mode = OutageError.of("hdfs", "E_HDFS_SAFE_MODE", "the NameNode is in safe mode")
    bench.found = [DOWN, OutageError.of("s3", "E_S3_UNREACHABLE", "refused")]
    bench.without_progress(20)
    bench.found = [safe_mode]
    bench.without_progress(20, since_s=20)
    assert [away and away.error for away in bench.reports] == [DOWN, safe_mode]
