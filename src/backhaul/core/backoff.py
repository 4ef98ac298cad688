"""How long to wait after a failure, and when to give up. Pure: chance comes in as a number."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """Limits of repetition for one message.

    Attributes:
        max_attempts: Failed attempts until a message is dead.
        max_starts: Attempts begun, with or without a recorded end. An agent that dies under way
            records no failure, so this bounds a message that kills its agent; it is far above
            `max_attempts` because machines are also switched off for other reasons.
        base_s: Delay before the second attempt, before jitter.
        cap_s: Longest delay.
    """

    max_attempts: int = 5
    max_starts: int = 50
    base_s: float = 5.0
    cap_s: float = 900.0

    def delay_s(self, failures: int, chance: float) -> int:
        """Seconds until the next attempt, doubling, with jitter over the upper half.

        Args:
            failures: Failed attempts so far, from 1.
            chance: 0.0 to 1.0.
        """
        ceiling = min(self.cap_s, self.base_s * 2.0 ** min(failures - 1, 30))
        return max(1, round(ceiling / 2 + ceiling / 2 * chance))


def hold_delay_s(tries: int, chance: float) -> float:
    """Seconds until a held transfer tries its dependency again: 1, 2, 4 ... at most 20.

    A hold so ends within half a minute of the dependency's return: a try takes some seconds.
    """
    ceiling = min(20.0, 2.0 ** min(tries, 10))
    return ceiling / 2 + ceiling / 2 * chance
