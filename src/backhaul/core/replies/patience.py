"""When a reply that was not taken is tried again, and when that ends."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class ReplyPatience:
    """Limits of the tries for one reply, and for one target.

    Attributes:
        first_s: Before the second try, before jitter; doubles with each.
        longest_s: Longest.
        for_s: A reply is given up when it was tried for so long: a long weekend.
    """

    first_s: float = 2.0
    longest_s: float = 600.0
    for_s: float = 3 * 86_400.0

    def delay_s(self, failures: int, chance: float) -> float:
        """Seconds until the next try, with jitter over the upper half.

        Args:
            failures: In a row, from 1.
            chance: 0.0 to 1.0.
        """
        ceiling = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 30))
        return ceiling / 2 + ceiling / 2 * chance

    def is_over(self, since: datetime, now: datetime) -> bool:
        """True when a reply whose tries began then is given up at its next failure."""
        return now - since >= timedelta(seconds=self.for_s)
