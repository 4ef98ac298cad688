"""What came over the wire of one answer, to the byte: S3's owner pays for it, used or not.

A read that breaks loses what it had received so far: http.client's buffered reader drops it. And an
answer that is left before its end has bytes in the socket that nothing has read. Both have left S3,
so they are counted here, below the buffer.
"""

from __future__ import annotations

import fcntl
import http.client
import io
import socket
import struct
import termios
from typing import TYPE_CHECKING, Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_INT = struct.Struct("i")


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
