"""How much to do at once with a server that says "too much".

Additive increase, multiplicative decrease; pure. The threads that wait are `engines.gate`.
"""

from __future__ import annotations


class Pace:
    """How many at once, learned from what the server answers.

    A refusal halves it, but once only for all that were under way together: a hundred requests that
    are refused at once say one thing. Each success adds so much that a round of them adds one.

    Args:
        most: Where it begins, and what it never exceeds.
    """

    def __init__(self, most: int) -> None:
        self._most = float(most)
        self._limit = float(most)
        self.generation = 0

    @property
    def limit(self) -> int:
        """At least 1."""
        return int(self._limit)

    def went_well(self) -> None:
        """One was answered."""
        self._limit = min(self._most, self._limit + 1 / self._limit)

    def was_refused(self, generation: int) -> None:
        """One was refused that began in this generation; older ones have been answered for."""
        if generation == self.generation:
            self._limit = max(1.0, self._limit / 2)
            self.generation += 1
