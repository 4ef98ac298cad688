"""A GET over urllib3's connections with few objects on the way.

urllib3 opens the connections, TLS and proxies with them, keeps them, and says what went wrong. Here
only the two steps in between are done anew: the request goes out as one piece of text, and an
answer that is plain (200 or 206, its length told, nothing encoded) comes in without the header
classes of the standard library. Any other answer is read by the standard library, as ever: refusals
are rare and come in more shapes.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import re
import socket
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from urllib3 import (
    HTTPConnectionPool,
    HTTPHeaderDict,
    HTTPResponse,
    HTTPSConnectionPool,
    PoolManager,
)
from urllib3.connection import HTTPConnection, HTTPSConnection

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

RECEIVE_BYTES = 1 << 16
MAX_HEAD_BYTES = 1 << 16
_PLAIN = (b"HTTP/1.1 200 ", b"HTTP/1.1 206 ")
_END = re.compile(rb"\n\r?\n")
_ODD_LINE = re.compile(rb"(?<!\r)\n|\n[ \t]")  # a bare line feed, or a line that goes on


class PlainAnswer:
    """What `s3_body` and `s3_answer` use of a response: a body of known length, on its way.

    Attributes:
        headers: By name in lower case.
        length_remaining: Bytes of the body that were not handed out yet.
    """

    version_string = "HTTP/1.1"
    retries: object = None

    def __init__(
        self,
        connection: HTTPConnection,
        status: int,
        headers: Mapping[str, str],
        length: int,
        first: bytes,
    ) -> None:
        self.status = status
        self.headers = headers
        self.length_remaining = length
        self._first = first
        self._wire = connection
        self._file: io.BufferedReader | None = None
        # Set by the pool, as of its own responses.
        self._pool: _Pool | None = None
        self._connection: HTTPConnection | None = None

    def read(self, amt: int, decode_content: bool | None = None) -> bytes:  # noqa: FBT001 - urllib3
        """So many bytes of the body; fewer at its end, or where the connection ended.

        Raises:
            OSError: It broke, or was silent for too long.
        """
        del decode_content  # nothing is encoded
        size = min(amt, self.length_remaining)
        data = self._first[:size]
        self._first = self._first[size:]
        if len(data) < size:
            data += self._receive(size - len(data))
        self.length_remaining -= len(data)
        return data

    def _receive(self, size: int) -> bytes:
        wire = self._wire.sock
        if wire is None:
            return b""
        if self._file is None and size > RECEIVE_BYTES:
            self._file = wire.makefile("rb")  # straight into the piece's own memory
        if self._file is not None:
            return self._file.read(size)
        pieces = []
        while size > 0 and (piece := wire.recv(size)):
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def close(self) -> None:
        """End the connection: of the body nothing more is wanted."""
        self._forget_file()
        self._wire.close()

    def release_conn(self) -> None:
        """Give the connection back; one that is not at the body's end is closed first."""
        if self.length_remaining:
            self.close()
        self._forget_file()
        pool, self._pool = self._pool, None
        if pool is not None and self._connection is not None:
            pool.take_back(self._connection)
        self._connection = None

    def drain_conn(self) -> None:
        """Nothing: what is left is not waited for."""

    def _forget_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


class _Quick(HTTPConnection):
    """Sends and reads a GET without a body by itself, everything else as urllib3 does."""

    _asked: str | None = None

    def request(  # type: ignore[override] # as urllib3's own
        self,
        method: str,
        url: str,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        **options: Any,
    ) -> None:
        self._asked = None
        if method != "GET" or body is not None or options.get("preload_content", True):
            super().request(method, url, body, headers, **options)
            return
        head = _head(url, headers or {})
        if self.sock is None:
            self.connect()
        else:
            self.sock.settimeout(self.timeout)
        self._asked = url
        self.sock.sendall(head)

    def getresponse(self) -> HTTPResponse:  # type: ignore[override] # as urllib3's own
        if self._asked is None:
            return super().getresponse()
        url, self._asked = self._asked, None
        self.sock.settimeout(self.timeout)
        received = self._received_head()
        return self._plain(received) or self._as_ever(url, received)

    def _plain(self, received: bytes) -> HTTPResponse | None:
        """None where it is not as plain as nearly all are."""
        end = _END.search(received)
        if end is None or not received.startswith(_PLAIN):
            return None
        if _ODD_LINE.search(received, 0, end.end()) is not None:
            return None
        headers = _headers(received[: end.start() - 1])
        length, first = headers.get("content-length", ""), received[end.end() :]
        if not length.isascii() or not length.isdigit() or len(first) > int(length):
            return None
        stays_open = headers.get("connection", "keep-alive").lower() == "keep-alive"
        if not stays_open or "transfer-encoding" in headers:
            return None
        answer = PlainAnswer(self, int(received[9:12]), headers, int(length), first)
        return cast("HTTPResponse", answer)  # as much of one as is used

    def _received_head(self) -> bytes:
        """All of the head and perhaps some of the body; or as much as shows that it is odd."""
        received: bytes = self.sock.recv(RECEIVE_BYTES)
        if not received:
            raise http.client.RemoteDisconnected("Remote end closed connection without response")
        while _END.search(received) is None and len(received) < MAX_HEAD_BYTES:
            more = self.sock.recv(RECEIVE_BYTES)
            if not more:
                break
            received += more
        return received

    def _as_ever(self, url: str, received: bytes) -> HTTPResponse:
        """The standard library's answer, of what was received and what still comes."""
        answer = http.client.HTTPResponse(_Rest(received, self.sock), method="GET")  # type: ignore[arg-type]
        try:
            answer.begin()
        except BaseException:
            answer.close()  # else it would hold the connection open
            raise
        if answer.will_close:
            self.close()
        return HTTPResponse(
            body=answer,
            headers=HTTPHeaderDict(answer.msg.items()),
            status=answer.status,
            version=answer.version,
            reason=answer.reason,
            preload_content=False,
            decode_content=False,
            original_response=answer,
            request_method="GET",
            request_url=url,
        )


class _QuickTls(_Quick, HTTPSConnection):
    """The same inside TLS."""


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Quick

    def take_back(self, connection: HTTPConnection) -> None:
        """Keep it for the next request."""
        self._put_conn(connection)


class _TlsPool(_Pool, HTTPSConnectionPool):
    ConnectionCls = _QuickTls


def quick(manager: PoolManager) -> PoolManager:
    """Let this manager, or proxy manager, make connections of this module."""
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}
    return manager


class _Rest(io.RawIOBase):
    """A socket some of whose bytes were received already."""

    def __init__(self, received: bytes, wire: socket.socket) -> None:
        self._received = memoryview(received)
        self._wire = wire.makefile("rb", buffering=0)

    def makefile(self, mode: str) -> io.BufferedReader:
        """As of a socket."""
        del mode
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        if not self._received:
            return self._wire.readinto(buffer)
        room = memoryview(buffer)
        size = min(len(room), len(self._received))
        room[:size] = self._received[:size]
        self._received = self._received[size:]
        return size

    def close(self) -> None:
        self._wire.close()
        super().close()


def _head(url: str, headers: Mapping[str, str]) -> bytes:
    """The whole request.

    Raises:
        ValueError: A line break or the like in it: it would be another request.
    """
    lines = [
        f"GET {url} HTTP/1.1",
        "Accept-Encoding: identity",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text or " " in url:
        raise ValueError("a header with a line break")
    return f"{text}\r\n\r\n".encode("latin-1")


def _headers(head: bytes) -> dict[str, str]:
    """By name in lower case; of several with one name all, with commas between them."""
    found: dict[str, str] = {}
    for line in head.decode("latin-1").split("\r\n")[1:]:
        name, _, value = line.partition(":")
        name, value = name.lower(), value.strip()
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
