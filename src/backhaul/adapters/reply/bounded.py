"""A connection to a checked address, with one limit of time and bytes for all that it does."""

from __future__ import annotations

import io
import queue
import socket
import ssl
import threading
from contextlib import suppress
from typing import Any

from backhaul.core.replies.webhook import WebhookUrl
from backhaul.deadline import Deadline

_ANSWER_MOST = 65_536  # bytes, headers included


class ForbiddenAddress(OSError):
    """A name leads to an address that no name may lead to."""


class BoundedSocket:
    """The part of a socket that `http.client` uses."""

    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        self._connection = connection
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        """All of it, or an OSError."""
        self._connection.settimeout(self._deadline.left_s)
        self._connection.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        """Its answer, to be read once."""
        del mode
        return io.BufferedReader(_Answer(self._connection, self._deadline))

    def close(self) -> None:
        """Nothing yet: `http.client` calls it before the body is read."""

    def end(self) -> None:
        """At once: what is still to be read is not wanted."""
        self._connection.close()


class _Answer(io.RawIOBase):
    def __init__(self, connection: socket.socket, deadline: Deadline) -> None:
        super().__init__()
        self._connection = connection
        self._deadline = deadline
        self._left = _ANSWER_MOST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        """A part, or 0 at the end.

        Raises:
            OSError: Of the connection; no time is left, or it answers without end.
        """
        if self._deadline.is_over:
            raise TimeoutError("timed out")
        if self._left <= 0:
            raise OSError(f"it answers more than {_ANSWER_MOST} bytes")
        self._connection.settimeout(self._deadline.left_s)
        found = self._connection.recv_into(buffer)
        self._left -= found
        return found


def connect(url: WebhookUrl, tls: ssl.SSLContext | None, deadline: Deadline) -> BoundedSocket:
    """Connected to one of the host's addresses, after all of them were judged.

    Raises:
        ForbiddenAddress: One of them may not be called; nothing was connected.
        OSError: DNS, the connection or TLS failed; TimeoutError: no time is left.
    """
    found = _resolved(url, deadline)
    for _, address in found:
        kind = url.refusal(str(address[0]))
        if kind:
            raise ForbiddenAddress(f"{address[0]} ({kind})")
    failure: OSError = OSError("the name has no address")
    for family, address in found:
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(deadline.left_s)
            connection.connect(address)
            if tls is not None:
                connection = tls.wrap_socket(connection, server_hostname=url.host)
            return BoundedSocket(connection, deadline)
        except ssl.SSLError:
            connection.close()
            raise
        except OSError as exc:
            connection.close()
            failure = exc
        except BaseException:
            connection.close()
            raise
        if deadline.is_over:
            raise TimeoutError("timed out")
    raise failure


_Found = list[tuple[socket.AddressFamily, tuple[Any, ...]]]


def _resolved(url: WebhookUrl, deadline: Deadline) -> _Found:
    """Every address of the host. The resolver has no time limit: another thread waits for it."""
    if url.address is not None:
        return _addresses(url)
    answers: queue.SimpleQueue[_Found | OSError] = queue.SimpleQueue()

    def look() -> None:
        try:
            answers.put(_addresses(url))
        except (OSError, UnicodeError) as exc:
            answers.put(exc if isinstance(exc, OSError) else OSError("the name cannot be resolved"))

    threading.Thread(target=look, name="resolve", daemon=True).start()
    with suppress(queue.Empty):
        found = answers.get(timeout=deadline.left_s)
        if isinstance(found, OSError):
            raise found
        return found
    raise TimeoutError("timed out")


def _addresses(url: WebhookUrl) -> _Found:
    found = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    return [(one[0], one[4]) for one in found]
