"""How often an object's read is tried, and how many reads run at once.

The one owner of retries of reads: the adapter sends each request once, and a read that fails here
for good ends the attempt. A read is tried `tries` times; a body that breaks goes on where it broke,
and one that has got on by `progress_bytes` meanwhile is counted anew. An object whose
file fails, or whose bytes are not S3's, is copied again by `native`, `tries` times at most.

503 Slow Down is no fault of the object and is counted apart: the read is repeated after a pause,
through a gate that has become narrower. When S3 refuses for over half a minute, that is an outage,
E_S3_THROTTLED, as it is for a listing: the transfer is held.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar

from backhaul.core.checksums import Part, S3Checksums
from backhaul.core.errors import BackhaulError, OutageError, SourceChanged, TransientError
from backhaul.core.objects import Pin
from backhaul.core.ports import Body, Endpoint, SourceReader
from backhaul.engines.gate import Gate
from backhaul.engines.object_egress import ReadAccount, Uncounted

TRIES = 4
FIRST_SLEEP_S = 0.1  # before the second try; then 0.4 and 1.6 s
THROTTLED = "E_S3_THROTTLED"
THROTTLED_TRIES = 12
LONGEST_SLEEP_S = 5.0  # with 12 tries: 36 s in all
PROGRESS_BYTES = 8 << 20
# Outages that one failure does not prove: a connection refused, a fault of KMS.
_DOUBTFUL_OUTAGES = frozenset({"E_S3_UNREACHABLE", "E_SRC_KMS"})
Result = TypeVar("Result")


class ReadFailed(TransientError):
    """The read failed as often as it is tried within an attempt."""


class RetryingReader:
    """Implements `ports.SourceReader` over another one.

    Args:
        gate: Shared by all that read from S3 in this process.
        sleep: Waits so many seconds; may raise to give up.
    """

    def __init__(
        self,
        reader: SourceReader,
        gate: Gate,
        sleep: Callable[[float], None],
        *,
        tries: int = TRIES,
        progress_bytes: int = PROGRESS_BYTES,
    ) -> None:
        self._reader = reader
        self._gate = gate
        self._sleep = sleep
        self._tries = tries
        self._progress_bytes = progress_bytes

    def get(
        self,
        endpoint: Endpoint,
        pin: Pin,
        *,
        byte_range: tuple[int, int] | None = None,
        account: ReadAccount | None = None,
    ) -> _ResumingBody:
        """As the reader's; it takes one place at the gate until the body is closed.

        Args:
            account: Learns of each request before it is made, and of all that arrives; None: of
                no object.

        Raises:
            ReadFailed: Here, or of the body's `read`.
        """
        return _ResumingBody(
            lambda wanted: self._open(endpoint, pin, wanted),
            pin,
            byte_range,
            self._new_tries(),
            account or Uncounted(),
        )

    def head(self, endpoint: Endpoint, pin: Pin) -> S3Checksums:
        """As the reader's.

        Raises:
            ReadFailed: As `get`.
        """

        def request() -> S3Checksums:
            with self._gate.entered():
                return self._reader.head(endpoint, pin)

        return self._new_tries().repeat(request)

    def parts(self, endpoint: Endpoint, pin: Pin) -> tuple[Part, ...] | None:
        """As the reader's, and past the gate: a body is open meanwhile."""
        return self._reader.parts(endpoint, pin)

    def check_reachable(self, endpoint: Endpoint) -> None:
        """As the reader's, and past the gate: it is no burden to S3."""
        self._reader.check_reachable(endpoint)

    def _new_tries(self) -> _Tries:
        return _Tries(self._tries, self._progress_bytes, self._sleep)

    def _open(
        self, endpoint: Endpoint, pin: Pin, byte_range: tuple[int, int] | None
    ) -> tuple[Body, ExitStack]:
        """One request, and what is to be left after its body."""
        with ExitStack() as stack:
            stack.enter_context(self._gate.entered())
            body = stack.enter_context(self._reader.get(endpoint, pin, byte_range=byte_range))
            return body, stack.pop_all()


class _Tries:
    """Counts the failures of one read, and decides after each of them."""

    def __init__(self, most: int, progress_bytes: int, sleep: Callable[[float], None]) -> None:
        self._most = most
        self._progress_bytes = progress_bytes
        self._sleep = sleep
        self._failures = self._refusals = 0
        self.received_bytes = 0

    def repeat(
        self, request: Callable[[], Result], leave: Callable[[BackhaulError], None] | None = None
    ) -> Result:
        """The request's result.

        Args:
            leave: Called after each failure.
        """
        while True:
            try:
                return request()
            except BackhaulError as error:
                if leave is not None:
                    leave(error)
                self._wait_after(error)

    def _wait_after(self, error: BackhaulError) -> None:
        """Return when it is time for another try.

        Raises:
            BackhaulError: There is none.
        """
        if self.received_bytes >= self._progress_bytes:
            self._failures = self._refusals = self.received_bytes = 0
        if error.code == THROTTLED and isinstance(error, TransientError):
            self._refusals += 1
            if self._refusals == THROTTLED_TRIES:
                hint = "fewer agent.slots, or keys below more prefixes; KMS has a limit, too"
                raise OutageError.of("s3", THROTTLED, error.message, hint=hint) from error
            self._sleep(min(LONGEST_SLEEP_S, FIRST_SLEEP_S * 2 ** (self._refusals - 1)))
            return
        if not _may_pass(error):
            raise error
        self._failures += 1
        if self._failures == self._most:
            if isinstance(error, OutageError):
                raise error
            raise ReadFailed(error.code, error.message, hint=error.hint) from error
        self._sleep(FIRST_SLEEP_S * 4 ** (self._failures - 1))


def _may_pass(error: BackhaulError) -> bool:
    if isinstance(error, OutageError):
        return error.code in _DOUBTFUL_OUTAGES
    return isinstance(error, TransientError) and not isinstance(error, SourceChanged)


class _ResumingBody:
    """Implements `ports.Body`, entered already; where the answer breaks, the rest is requested.

    Args:
        request: Bytes to their body, and to what is left with it; None: the whole object.
    """

    def __init__(
        self,
        request: Callable[[tuple[int, int] | None], tuple[Body, ExitStack]],
        pin: Pin,
        byte_range: tuple[int, int] | None,
        tries: _Tries,
        account: ReadAccount,
    ) -> None:
        self._request = request
        self._tries = tries
        self._account = account
        self._expected_bytes = self._counted_bytes = 0  # of the answer under way
        self._earlier_bytes = 0
        self._at, self._stop = byte_range or (0, pin.size_bytes)
        self._body: Body | None
        self._body, self._place = tries.repeat(lambda: self._begin(byte_range))
        self.facts = self._body.facts

    def read(self, amt: int) -> bytes:
        """See the port.

        Raises:
            ReadFailed: It has failed too often.
        """
        data = self._tries.repeat(lambda: self._read_once(amt), self._leave)
        self._at += len(data)
        self._tries.received_bytes += len(data)
        return data

    def _read_once(self, amt: int) -> bytes:
        if self._body is None:
            if self._at >= self._stop:
                return b""
            self._body, self._place = self._begin((self._at, self._stop))
        data = self._body.read(amt)
        self._count_received(self._body)
        return data

    def _begin(self, wanted: tuple[int, int] | None) -> tuple[Body, ExitStack]:
        expected = self._stop - self._at
        self._account.expect(expected)
        try:
            answer = self._request(wanted)
        except BackhaulError:
            self._account.spare(expected)
            raise
        self._expected_bytes = expected
        return answer

    @property
    def received_bytes(self) -> int:
        """See the port; over all answers."""
        return self._earlier_bytes + self._counted_bytes

    def _count_received(self, body: Body) -> None:
        more = body.received_bytes - self._counted_bytes
        if more:
            self._counted_bytes += more
            self._account.count(more)

    def _close(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._body is not None:
            body, self._body = self._body, None
            self._place.__exit__(kind, error, trace)
            self._count_received(body)
            self._earlier_bytes += self._counted_bytes
            if self._counted_bytes != self._expected_bytes:
                self._account.spare(self._expected_bytes - self._counted_bytes)
            self._expected_bytes = self._counted_bytes = 0

    def readall(self) -> bytes:
        """See the port."""
        pieces = []
        while data := self.read(max(1, self._stop - self._at)):
            pieces.append(data)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _leave(self, error: BackhaulError) -> None:
        self._close(type(error), error, error.__traceback__)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close(kind, error, trace)
