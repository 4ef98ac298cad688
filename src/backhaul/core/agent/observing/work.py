"""A transfer under way, what it waits for, and how fast its bytes come."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from backhaul.core.agent_report import RunningTransfer

RATE_OVER_S = 30.0


@dataclass(frozen=True, kw_only=True)
class TransferWait:
    """What one message, or the whole agent, waits for; times are monotonic.

    Attributes:
        ended_s: When it was over; None: it is not.
    """

    dependency: str
    since_s: float
    code: str
    reason: str
    hint: str
    ended_s: float | None = None


@dataclass(kw_only=True)
class WorkBytes:
    """Measurements of one growing number, for its rate over the last half minute."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now_s: float, size_bytes: int) -> None:
        if self.seen and size_bytes < self.seen[-1][1]:
            self.seen.clear()  # it began again
        self.seen.append((now_s, size_bytes))
        while len(self.seen) > 2 and now_s - self.seen[0][0] > RATE_OVER_S:  # noqa: PLR2004
            self.seen.popleft()

    def per_s(self, now_s: float) -> float | None:
        """None before there are two measurements; 0 once nothing was measured for long."""
        if len(self.seen) < 2:  # noqa: PLR2004 - a rate has two ends
            return None
        if now_s - self.seen[-1][0] > RATE_OVER_S:
            return 0.0
        began_s, before = self.seen[0]
        return (self.seen[-1][1] - before) / max(now_s - began_s, 0.001)


@dataclass(kw_only=True)
class TransferWork:
    """A transfer under way, with what shows that it moves.

    Attributes:
        moved_s: When the first bytes of this attempt came; None: not yet.
    """

    transfer: RunningTransfer
    message_id: str
    started_s: float
    rate: WorkBytes
    has_progress: bool = False
    moved_s: float | None = None
