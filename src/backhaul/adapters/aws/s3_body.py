"""The body of one GET, counted to its last byte. Made by `s3_get.ObjectReader`.

Who owns the bucket pays for what came over the wire, used or not. A read that breaks loses what it
had received so far: http.client's buffered reader drops it. And an answer that is left before its
end has bytes in the socket that nothing has read. Both have left S3, so bytes are counted below the
buffer.
"""

from __future__ import annotations

import fcntl
import http.client
import io
import socket
import struct
import termios
from collections.abc import Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError

from backhaul.adapters.aws.errors import broken_body
from backhaul.core.checksums import S3Checksums
from backhaul.core.errors import TransientError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

CHUNK_BYTES = 1024 * 1024
_INT = struct.Struct("i")


class ObjectBody:
    """The bytes of one answer, in order; a context manager that gives the connection back.

    Leaving it before the end closes the connection: the rest is never read.

    Attributes:
        facts: From the headers: checksums, ETag, version.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, facts: S3Checksums, name: str) -> None:
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


class _CountedSocket(io.RawIOBase):
    """Reads from a socket and counts."""

    def __init__(self, raw: io.RawIOBase) -> None:
        self._raw = raw
        self.count = 0

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        received: int | None = self._raw.readinto(buffer)
        self.count += received or 0
        return received

    def readable(self) -> bool:
        return True

    def close(self) -> None:
        self._raw.close()
        super().close()


class _CountedReader(io.BufferedReader):
    """Counts lines: status and headers come as such, and the body of an object does not."""

    def __init__(self, raw: io.RawIOBase) -> None:
        super().__init__(raw)
        self.line_bytes = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        line = super().readline(size)
        self.line_bytes += len(line)
        return line


class WireResponse(http.client.HTTPResponse):
    """An answer that knows how many bytes of its body have arrived."""

    def __init__(self, sock: socket.socket, *arguments: Any, **named: Any) -> None:
        super().__init__(sock, *arguments, **named)
        self._socket = sock
        self._raw = _CountedSocket(sock.makefile("rb", buffering=0))
        self.fp.close()
        self.fp = self._lines = _CountedReader(self._raw)

    @property
    def body_bytes(self) -> int:
        """Received of the body, with those that wait in the socket; TLS's own bytes among them."""
        return self._raw.count - self._lines.line_bytes + self._waiting()

    def _waiting(self) -> int:
        try:
            found = fcntl.ioctl(self._socket.fileno(), termios.FIONREAD, _INT.pack(0))
        except (OSError, ValueError):
            return 0  # closed, by the other side or by this one
        waiting: int = _INT.unpack(found)[0]
        return waiting


class _Connection(HTTPConnection):
    response_class = WireResponse


class _SecureConnection(HTTPSConnection):
    response_class = WireResponse


def count_wire(pool: urllib3.HTTPConnectionPool) -> urllib3.HTTPConnectionPool:
    """Let the answers of this new pool be counted."""
    is_secure = isinstance(pool, urllib3.HTTPSConnectionPool)
    pool.ConnectionCls = _SecureConnection if is_secure else _Connection
    return pool


def wire_of(response: urllib3.BaseHTTPResponse) -> WireResponse | None:
    """The counted answer below urllib3's; None where it is none."""
    original = getattr(response, "_original_response", None)
    return original if isinstance(original, WireResponse) else None
