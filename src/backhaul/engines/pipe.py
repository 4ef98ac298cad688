"""Whole Python objects over a socket between two processes that trust each other.

Each object is pickled and sent as one frame: its length in 8 bytes, big-endian, then its pickle.
Reading never waits for the rest of a frame: a peer that is stopped half-way through one cannot
block this process. What the objects mean is `engines.wire`.
"""

from __future__ import annotations

import pickle
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Self

_LENGTH = struct.Struct("!Q")
READ_BYTES = 1 << 16


def frame_of(message: object) -> bytes:
    """The message as it travels; raises what pickle raises for what cannot be pickled."""
    content = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(content)) + content


class Pipe:
    """One end. Not thread-safe: one thread reads, and writers exclude each other.

    Args:
        connection: A connected stream socket, set to non-blocking here.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(0)
        self._socket = connection
        self._buffer = bytearray()
        self._received: deque[Any] = deque()
        self._can_read = select.poll()
        self._can_read.register(connection, select.POLLIN)
        self._can_write = select.poll()
        self._can_write.register(connection, select.POLLOUT)
        self._can_both = select.poll()
        self._can_both.register(connection, select.POLLIN | select.POLLOUT)

    @classmethod
    def of(cls, descriptor: int) -> Self:
        """The end that was inherited as this file descriptor."""
        return cls(socket.socket(fileno=descriptor))

    def close(self) -> None:
        """Close the socket; safe to repeat."""
        self._socket.close()

    # ------------------------------------------------------------ reading

    def is_readable(self, wait_s: float = 0.0) -> bool:
        """Whether bytes, or the end, arrive within `wait_s` seconds."""
        return bool(self._received) or bool(self._can_read.poll(wait_s * 1000))

    def receive_all(self, wait_s: float) -> list[Any]:
        """Every object that is complete by now, in order; empty after `wait_s` without bytes.

        Raises:
            EOFError: The peer closed its end.
            OSError: The connection is broken.
        """
        if not self._received and self._can_read.poll(wait_s * 1000):
            self._read_once()
        found = list(self._received)
        self._received.clear()
        return found

    def receive(self) -> Any:
        """The next object, however long it takes.

        Raises:
            EOFError: The peer closed its end.
            OSError: The connection is broken.
        """
        while not self._received:
            self._can_read.poll()
            self._read_once()
        return self._received.popleft()

    def _read_once(self) -> None:
        try:
            data = self._socket.recv(READ_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise EOFError
        buffer = self._buffer
        buffer += data
        start = 0
        while len(buffer) - start >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, start)
            end = start + _LENGTH.size + length
            if len(buffer) < end:
                break
            with memoryview(buffer) as view:
                self._received.append(pickle.loads(view[start + _LENGTH.size : end]))  # noqa: S301 - our own process
            start = end
        if start:
            del buffer[:start]

    # ------------------------------------------------------------ writing

    def send(
        self,
        message: object,
        *,
        timeout_s: float | None = None,
        while_full: Callable[[], object] | None = None,
    ) -> None:
        """Send one object whole.

        Args:
            timeout_s: Raise after so long without a byte accepted; None: wait forever.
            while_full: Called when the peer sends while it accepts nothing. It must read:
                otherwise two peers that send at once could wait for each other forever.

        Raises:
            OSError: The connection is broken; TimeoutError: nothing was accepted for `timeout_s`.
        """
        self.send_frame(frame_of(message), timeout_s=timeout_s, while_full=while_full)

    def send_frame(
        self,
        frame: bytes,
        *,
        timeout_s: float | None = None,
        while_full: Callable[[], object] | None = None,
    ) -> None:
        """As `send`, of what `frame_of` made."""
        sent = self._send_some(frame)
        if sent < len(frame):
            self._send_rest(memoryview(frame)[sent:], timeout_s, while_full)

    def _send_some(self, data: bytes | memoryview) -> int:
        try:
            return self._socket.send(data)
        except BlockingIOError:
            return 0

    def _send_rest(
        self,
        rest: memoryview,
        timeout_s: float | None,
        while_full: Callable[[], object] | None,
    ) -> None:
        poller = self._can_write if while_full is None else self._can_both
        accepted_s = time.monotonic()
        while rest:
            left_s = None
            if timeout_s is not None:
                left_s = accepted_s + timeout_s - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError
            ready = poller.poll(None if left_s is None else left_s * 1000)
            if while_full is not None and ready and ready[0][1] & select.POLLIN:
                while_full()
            if sent := self._send_some(rest):
                rest = rest[sent:]
                accepted_s = time.monotonic()
