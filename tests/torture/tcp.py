"""A TCP proxy that passes bytes on, and on command stalls, delays or cuts every connection."""

from __future__ import annotations

import contextlib
import socket
import threading
from types import TracebackType
from typing import Self

PIECE_BYTES = 65_536


class TcpProxy:
    """In front of one port of 127.0.0.1, on a port of its own. Use it as a context manager.

    Attributes:
        behind: Where new connections go; changed, it is a name that now means another server.
        cuts: Connections that `cut` ended, and those that `refuse` turned away.
    """

    def __init__(self, port: int) -> None:
        self.behind = port
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port: int = self._listener.getsockname()[1]
        self._open: set[socket.socket] = set()
        self._forgotten: frozenset[socket.socket] = frozenset()
        self._lock = threading.Lock()
        self._passing = threading.Event()
        self._passing.set()
        self._delay_s = 0.0
        self._is_refusing = False
        self._is_over = threading.Event()
        self.cuts = 0

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._is_over.set()
        self.be_honest()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    # ------------------------------------------------------------ what it does to connections

    def be_honest(self) -> None:
        """Pass everything on again; what was stalled goes on where it stopped."""
        self._delay_s = 0.0
        self._is_refusing = False
        self._passing.set()

    def stall(self) -> None:
        """Pass nothing on, either way, and end nothing: a firewall that forgot the connection."""
        self._passing.clear()

    def forget(self) -> None:
        """What is open hears nothing more, either way, until it is cut; new connections pass."""
        with self._lock:
            self._forgotten = frozenset(self._open)

    def delay(self, seconds: float) -> None:
        """Each piece waits this long."""
        self._delay_s = seconds

    def refuse(self) -> None:
        """Close new connections at once, and cut those that are open."""
        self._is_refusing = True
        self.cut()

    def cut(self) -> None:
        """End every connection where it is, in the middle of whatever it carries."""
        with self._lock:
            opened, self._open = list(self._open), set()
            self._forgotten = frozenset()
        self.cuts += len(opened) // 2
        for each in opened:
            reset(each)

    # ------------------------------------------------------------ how

    def _accept(self) -> None:
        while not self._is_over.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._is_refusing:
                self.cuts += 1
                reset(client)
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(("127.0.0.1", self.behind))
        except OSError:
            reset(client)
            return
        for each in (client, server):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self._lock:
            self._open |= {client, server}
        back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
        back.start()
        self._pump(client, server)
        back.join()
        with self._lock:
            self._open -= {client, server}
        client.close()
        server.close()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(PIECE_BYTES):
                self._passing.wait()
                if self._delay_s:
                    self._is_over.wait(self._delay_s)
                if source not in self._forgotten:
                    self._pass(source, sink, data)
            self._passing.wait()
            if source in self._forgotten:
                return
            sink.shutdown(socket.SHUT_WR)
            return
        # A reset on one side is one on the other.
        reset(sink)
        reset(source)

    def _pass(self, source: socket.socket, sink: socket.socket, data: bytes) -> None:
        """One piece; for proxies that know what they carry."""
        del source
        sink.sendall(data)


def reset(connection: socket.socket) -> None:
    """Wake whoever is blocked on it; RST instead of FIN where the system lets us."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    with contextlib.suppress(OSError):
        connection.close()
