"""Decides whether a failed or stalled attempt is due to a dependency that is down.

A transfer waits for a dependency that is down, and spends no attempt. The error alone does not
always show it: a stopped NameNode gives no answer at all, a DataNode that dies under a write looks
like one that is overloaded, and an HTTP proxy whose S3 is gone answers 502. So both sides, S3 and
the target, are probed from a fresh process.

    the probe of a side fails       outage: the transfer is held
    a side was down a moment ago    outage, too: the error may come late
    both sides answer               the error counts, and a worker without progress has failed

The probe is a port (`ports.TargetSession.probe`). A transfer whose object makes every worker hang
while both sides answer spends its attempts and is dead-lettered (L1 in docs/reliability.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from backhaul.core.errors import (
    BackhaulError,
    DestinationBusy,
    OutageError,
    SourceChanged,
    TakenOver,
    TransientError,
)

CHECK_AFTER_S = 15.0  # without a byte; at most a quarter of the stall timeout
CHECK_EVERY_S = 5.0  # while a side is down, and shortly after
LONGEST_CHECK_EVERY_S = 120.0  # a copy under a tight rate limit has long pauses, too
# After the return. The HDFS client pauses for up to 15 s between its tries; a worker that has not
# moved by then is stuck on a dead connection.
RECOVERY_S = 15.0
# The client goes on by itself, and what is staged need not be copied again. Longer outages are
# held without a worker.
WAIT_MOST_S = 600.0
RECENT_S = 60.0  # the HDFS client repeats a call for about a minute before it fails

# Not caused by a dependency: a stop, and a defect, which an outage must not hide.
_NO_DOUBT = frozenset({"E_STOPPED", "E_BUG"})


@dataclass(frozen=True, kw_only=True)
class DependencyDown:
    """A dependency that does not answer, while an attempt waits for it.

    Attributes:
        still_s: Time without progress when this was found.
    """

    error: OutageError
    still_s: float


def is_doubtful(error: BackhaulError) -> bool:
    """True when an outage may have caused it, so that a probe is worth its time."""
    if isinstance(error, (SourceChanged, DestinationBusy, TakenOver)):
        return False
    return isinstance(error, TransientError) and error.code not in _NO_DOUBT


class OutageWatch:
    """The dependencies of one attempt, as far as it has probed them; used by its thread only.

    Args:
        probe: Returns the outages found now; takes some seconds at most and raises nothing.
        report: Called with what the attempt waits for, and with None once it makes progress.
        monotonic: Seconds.
        wait_most_s: A worker waits for a dependency this long, and at least the stall timeout.
    """

    def __init__(
        self,
        *,
        probe: Callable[[], Sequence[OutageError]],
        report: Callable[[DependencyDown | None], None],
        monotonic: Callable[[], float],
        wait_most_s: float = WAIT_MOST_S,
    ) -> None:
        self._probe = probe
        self._report = report
        self._monotonic = monotonic
        self._wait_most_s = wait_most_s
        self._is_waiting = False
        self._down: OutageError | None = None
        self._seen_s = 0.0  # when a probe last failed
        self._answers_since_s: float | None = None
        self._checked_s: float | None = None
        self._every_s = CHECK_EVERY_S
        self._reported = ""

    @property
    def is_waiting(self) -> bool:
        """True while a side is down, and until a worker has had time to notice its return."""
        return self._is_waiting

    def look(self, still_s: float, stall_timeout_s: float) -> OutageError | None:
        """See `ports.Watch`."""
        if still_s < min(CHECK_AFTER_S, stall_timeout_s / 4):
            self._moves()
            return None
        # Before a worker is declared stalled, the probe has to be fresh.
        is_over = still_s > stall_timeout_s and not self._is_waiting
        if self._is_checked_within(CHECK_EVERY_S if is_over else self._every_s):
            return None
        found = self._check()
        if found is not None:
            self._is_waiting = True
            self._report_once(DependencyDown(error=found, still_s=still_s))
            too_long = still_s > max(self._wait_most_s, stall_timeout_s)
            return _because(found, f"nothing moved for {still_s:.0f} s") if too_long else None
        if not self._is_waiting or self._down is None:
            self._every_s = min(LONGEST_CHECK_EVERY_S, 2 * self._every_s)
            return None
        now_s = self._monotonic()
        if self._answers_since_s is None:
            self._answers_since_s = now_s
        if now_s - self._answers_since_s < RECOVERY_S:
            return None
        return _because(self._down, "it answers again, and the worker did not go on")

    def _is_checked_within(self, seconds: float) -> bool:
        before_s = self._checked_s
        return before_s is not None and self._monotonic() - before_s < seconds

    def judged(self, error: BackhaulError) -> BackhaulError:
        """The outage behind this failure; the failure itself when both sides answer."""
        if not is_doubtful(error):
            return error
        found = self._check()
        if found is None and self._down is not None:
            is_recent = self._monotonic() - self._seen_s <= RECENT_S
            found = self._down if is_recent else None
        return error if found is None else _because(found, str(error))

    def _check(self) -> OutageError | None:
        found = next(iter(self._probe()), None)
        self._checked_s = self._monotonic()
        if found is not None:
            self._down, self._seen_s = found, self._checked_s
            self._answers_since_s = None
            self._every_s = CHECK_EVERY_S
        return found

    def _moves(self) -> None:
        """The worker makes progress. What was down is remembered: its errors may come late."""
        self._is_waiting = False
        self._checked_s = self._answers_since_s = None
        self._every_s = CHECK_EVERY_S
        if self._reported:
            self._reported = ""
            self._report(None)

    def _report_once(self, found: DependencyDown) -> None:
        what = f"{found.error.dependency} {found.error.code}"
        if what != self._reported:  # its text may differ each time
            self._reported = what
            self._report(found)


def _because(outage: OutageError, what: str) -> OutageError:
    """The same outage, with what it did to the attempt."""
    text = f"{outage.message}; {what}"
    return OutageError.of(outage.dependency, outage.code, text, hint=outage.hint)
