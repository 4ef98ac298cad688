"""S3 asked by many threads, as many at once as it bears: 503 Slow Down makes them fewer.

A refusal is no fault of the object and spends none of its tries: it is asked for again after a
pause, through a gate that has become narrower. S3 that says nothing else for over half a minute
is an outage, E_S3_THROTTLED, as it is where it says so to a listing: the transfer is held.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar

from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.errors import OutageError, TransientError
from backhaul.core.objects import Pin
from backhaul.core.ports import Body, Endpoint, SourceReader
from backhaul.engines.adaptive_limit import Gate

THROTTLED = "E_S3_THROTTLED"
TRIES = 12
FIRST_NAP_S, LONGEST_NAP_S = 0.1, 5.0  # with 12 tries: 36 s in all
Answer = TypeVar("Answer")


class PacedReader:
    """Implements `ports.SourceReader` over another one.

    Args:
        gate: Shared by all that ask S3 from this process.
        nap: Waits so many seconds; may raise to give up.
    """

    def __init__(self, reader: SourceReader, gate: Gate, nap: Callable[[float], None]) -> None:
        self._reader = reader
        self._gate = gate
        self._nap = nap

    def get(
        self, endpoint: Endpoint, pin: Pin, *, byte_range: tuple[int, int] | None = None
    ) -> Body:
        """As the reader's; its place at the gate is free again when the body is closed."""

        def ask() -> Body:
            with ExitStack() as stack:
                stack.enter_context(self._gate.entered())
                body = stack.enter_context(self._reader.get(endpoint, pin, byte_range=byte_range))
                return _PlacedBody(body, stack.pop_all())

        return self._patiently(ask)

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """As the reader's."""

        def ask() -> S3Checksums:
            with self._gate.entered():
                return self._reader.head(endpoint, pin)

        return self._patiently(ask)

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        """As the reader's, and past the gate: it is asked while a body is open."""
        return self._reader.parts(endpoint, pin)

    def check_reachable(self, endpoint: Endpoint) -> None:
        """As the reader's, and past the gate: whether S3 answers is no burden to it."""
        self._reader.check_reachable(endpoint)

    def _patiently(self, ask: Callable[[], Answer]) -> Answer:
        nap_s = FIRST_NAP_S
        for attempt in range(1, TRIES + 1):
            try:
                return ask()
            except TransientError as error:
                if error.code != THROTTLED:
                    raise
                if attempt == TRIES:
                    hint = "fewer agent.slots, or keys below more prefixes; KMS has a limit, too"
                    raise OutageError.of("s3", THROTTLED, error.message, hint=hint) from error
            self._nap(nap_s)
            nap_s = min(LONGEST_NAP_S, 2 * nap_s)
        raise AssertionError  # the last try returns or raises


class _PlacedBody:
    """A body, entered already, that holds a place at the gate until both are left."""

    def __init__(self, body: Body, place: ExitStack) -> None:
        self.facts = body.facts
        self.read = body.read
        self.readall = body.readall
        self._place = place

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._place.__exit__(kind, error, trace)
