"""The body of one GET, counted to its last byte. Made by `s3_get.ObjectReader`."""

from __future__ import annotations

from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from urllib3.exceptions import HTTPError

from backhaul.adapters.aws.errors import broken_body
from backhaul.adapters.aws.s3_wire import wire_of
from backhaul.core.checksums import S3Checksums
from backhaul.core.errors import TransientError

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

CHUNK_BYTES = 1024 * 1024


class ObjectBody:
    """The bytes of one answer, in order; a context manager that gives the connection back.

    Leaving it before the end closes the connection: the rest is never read.

    Attributes:
        facts: From the headers: checksums, ETag, version.
    """

    def __init__(self, response: BaseHTTPResponse, facts: S3Checksums, name: str) -> None:
        self.facts = facts
        self._response = response
        self._name = name
        self._left_bytes = facts.content_length
        self._dropped_bytes = 0
        self._is_closed = False  # before its end
        self._wire = wire_of(response)

    @property
    def received_bytes(self) -> int:
        """See the port; never more than the answer's length."""
        return self.facts.content_length - self._left_bytes + self._dropped_bytes

    def read(self, amt: int = CHUNK_BYTES) -> bytes:
        """The next `amt` bytes, fewer only at the end; `b""` after it.

        Raises:
            TransientError: E_S3_BODY: the connection broke, stalled for the idle timeout, or ended
                early. The bytes so far are good; the caller requests the rest by range, or fails.
        """
        if self._left_bytes == 0:
            return b""
        try:
            data = self._response.read(min(amt, self._left_bytes), decode_content=False)
        except (HTTPError, OSError) as exc:
            self.close()
            raise self._broken(f"{type(exc).__name__}: {exc}") from exc
        if not data and amt:
            self.close()
            raise self._broken("ended early")
        self._left_bytes -= len(data)
        if self._left_bytes == 0:
            self._response.release_conn()
        return data

    def readall(self) -> bytes:
        """Everything that is left, in one piece; for objects that may be held in memory."""
        data = self.read(self._left_bytes)
        return data if self._left_bytes == 0 else data + b"".join(self)

    def __iter__(self) -> Iterator[bytes]:
        """Pieces of 1 MiB; the last one may be shorter."""
        while data := self.read(CHUNK_BYTES):
            yield data

    def close(self) -> None:
        """Give the connection back, or close it when the body was not read to its end."""
        if self._left_bytes and not self._is_closed:
            self._is_closed = True
            if self._wire is not None:
                received = self.facts.content_length - self._left_bytes
                dropped = self._wire.body_bytes - received
                self._dropped_bytes = max(0, min(dropped, self._left_bytes))
            self._response.close()
        self._response.release_conn()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _broken(self, how: str) -> TransientError:
        length = self.facts.content_length
        return broken_body(self._name, length - self._left_bytes, length, how)
