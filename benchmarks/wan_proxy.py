"""A TCP proxy that is far away: `python -m benchmarks.wan_proxy PORT RTT_MS MB_PER_S`.

Prints its own port and serves until its standard input closes. Each byte arrives half a round trip
late in either direction, and what comes back is capped for each connection, as S3 and a long line
do. No loss, no slow start, no TLS.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from typing import cast

_MOST_BYTES = 8 << 20  # on the way in one direction, before the sender is made to wait
_SOCKET_BYTES = 1 << 20


class _Way(asyncio.Protocol):
    """One end; what it receives is written to `peer`, later."""

    def __init__(self, delay_s: float, bytes_per_s: float | None) -> None:
        self._delay_s = delay_s
        self._bytes_per_s = bytes_per_s
        self._free_s = 0.0
        self._under_way = 0
        self._loop = asyncio.get_running_loop()
        self.peer: _Way | None = None
        self.transport: asyncio.Transport | None = None
        self._waiting: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_SOCKET_BYTES)
        for data in self._waiting:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        due_s = max(self._loop.time() + self._delay_s, self._free_s)
        if self._bytes_per_s:
            due_s += len(data) / self._bytes_per_s
        self._free_s = due_s
        self._under_way += len(data)
        if self._under_way > _MOST_BYTES and self.transport is not None:
            self.transport.pause_reading()
        self._loop.call_at(due_s, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        self._under_way -= len(data)
        if self._under_way <= _MOST_BYTES and self.transport and not self.transport.is_closing():
            self.transport.resume_reading()
        if self.peer is not None:
            self.peer.send(data)

    def send(self, data: bytes) -> None:
        """Write, or keep until connected."""
        if self.transport is None:
            self._waiting.append(data)
        elif not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        peer = self.peer
        if peer is not None and peer.transport is not None:
            self._loop.call_at(max(self._loop.time(), self._free_s), peer.transport.close)


async def _serve(port: int, rtt_s: float, bytes_per_s: float) -> None:
    loop = asyncio.get_running_loop()
    dialling: set[asyncio.Task[object]] = set()

    def accept() -> _Way:
        near = _Way(rtt_s / 2, None)
        far = _Way(rtt_s / 2, bytes_per_s)
        near.peer, far.peer = far, near
        task: asyncio.Task[object] = loop.create_task(
            loop.create_connection(lambda: far, "127.0.0.1", port)
        )
        dialling.add(task)
        task.add_done_callback(dialling.discard)
        return near

    server = await loop.create_server(accept, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    over = asyncio.Event()

    def wait_for_the_end() -> None:
        sys.stdin.read()
        loop.call_soon_threadsafe(over.set)

    threading.Thread(target=wait_for_the_end, daemon=True).start()
    await over.wait()
    server.close()


def main(arguments: list[str]) -> None:
    """Serve."""
    port, rtt_ms, mb_per_s = (int(one) for one in arguments)
    asyncio.run(_serve(port, rtt_ms / 1000, mb_per_s * 1e6))


if __name__ == "__main__":
    main(sys.argv[1:])
