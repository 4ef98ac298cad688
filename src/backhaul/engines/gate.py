"""How many calls to a server run at once, found out from its refusals."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backhaul.core.adaptive_limit import Pace
from backhaul.core.errors import TransientError


class Gate:
    """Limits the threads inside; a call refused with the code `refusal` halves the limit.

    Args:
        most: Places when the server takes everything.
        refusal: The error code of too many calls at once: of HDFS whose DataNodes have too many
            files open, or of S3's 503 Slow Down.
    """

    def __init__(self, most: int, refusal: str = "E_HDFS_OVERLOADED") -> None:
        self._pace = Pace(most)
        self._refusal = refusal
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def limit(self) -> int:
        """Places now."""
        return self._pace.limit

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Take one place; leaving without an exception raises the limit a little."""
        with self._changed:
            while self._inside >= self._pace.limit:
                self._changed.wait()
            self._inside += 1
            generation = self._pace.generation
        try:
            yield
        except TransientError as error:
            if error.code == self._refusal:
                with self._changed:
                    self._pace.was_refused(generation)
            raise
        else:
            with self._changed:
                self._pace.went_well()
        finally:
            with self._changed:
                self._inside -= 1
                # Two: the place that became free, and the one by which the limit may have risen.
                self._changed.notify(2)
