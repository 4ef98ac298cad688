"""How many requests at once a throttling server can take.

Additive increase, multiplicative decrease; pure. The threads that wait are `engines.gate`.
"""

from __future__ import annotations


class Pace:
    """Requests at once, learned from what the server answers.

    A refusal halves the number, but only once for all requests that were under way together: a
    hundred refusals at once mean no more than one. Each success adds so much that as many successes
    as the number add one.

    Args:
        most: The initial number, and the highest.
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
        """One was refused that began in this generation; refusals of older ones count no more."""
        if generation == self.generation:
            self._limit = max(1.0, self._limit / 2)
            self.generation += 1
