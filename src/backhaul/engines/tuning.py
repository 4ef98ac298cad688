"""How much one worker process does at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from backhaul.core.rate_limit import Allowance, Unlimited
from backhaul.engines.gate import Gate
from backhaul.engines.large import LargeTuning
from backhaul.engines.read_retries import THROTTLED, TRIES

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """How much one worker does at once.

    Attributes:
        threads: Objects under way; for HDFS mostly waiting in close (about 0.5 s each).
        open_files: Files between create and close-called; adapts downwards when HDFS refuses.
        open_small_files: The same for files up to `small_bytes`: those are open for a moment only,
            and with fewer they would wait for the gate, not for HDFS.
        small_bytes: Up to here an object is read whole before its file is created.
        large_bytes: From here it is read by parallel ranges.
        stream_bytes: From here the rest of such an object may be read as one answer instead.
        range_bytes: Size of one range.
        ranges: Ranges in memory over all large objects of this worker: the memory bound.
        large_at_once: Large objects moving; one that closes is no longer counted.
        tries: Of a read (`read_retries`), and of the copy of an object whose file fails or whose
            bytes are not S3's, within an attempt.
        overloaded_tries: The same where HDFS has too many files open: about half a minute.
    """

    threads: int = 256
    open_files: int = 24
    open_small_files: int = 64
    small_bytes: int = 256 * 1024
    large_bytes: int = 16 * MIB
    stream_bytes: int = 32 * MIB
    range_bytes: int = 8 * MIB
    ranges: int = 12
    large_at_once: int = 3
    tries: int = TRIES
    overloaded_tries: int = 10

    @property
    def of_large(self) -> LargeTuning:
        """How large objects are read."""
        return LargeTuning(
            range_bytes=self.range_bytes,
            ranges=self.ranges,
            piece_bytes=min(MIB, self.range_bytes),
            stream_bytes=self.stream_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class Shared:
    """What outlives one staging call of a process.

    Attributes:
        allowance: Of bytes that may be read from S3.
        s3_gate: How many reads S3 takes at once, found out once for all of them.
    """

    allowance: Allowance
    s3_gate: Gate

    @classmethod
    def of(cls, tuning: Tuning, allowance: Allowance | None = None) -> Self:
        """No limit by default; all threads at once until S3 throttles them."""
        return cls(
            allowance=allowance or Unlimited(),
            s3_gate=Gate(tuning.threads + tuning.ranges, refusal=THROTTLED),
        )
