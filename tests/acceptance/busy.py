"""An S3 that bears only so many reads at once and says 503 Slow Down to the others."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler

from backhaul.testing.servers.base import HttpServer
from tests.acceptance.proxy import Answer, Proxy, Seen, _Handler


@dataclass(kw_only=True)
class Crowd:
    """Who reads objects right now.

    Attributes:
        bears: More at once are refused; may be changed.
        inside: How many there were as each read began, itself included, refused ones too.
        refused: How many were.
    """

    bears: int
    lift_after: int
    inside: list[int] = field(default_factory=list)
    refused: int = 0
    served: int = 0
    lifted_at: int | None = None
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def enter(self) -> bool:
        with self._lock:
            self._now += 1
            self.inside.append(self._now)
            if self._now > self.bears:
                self.refused += 1
                return False
            self.served += 1
            if self.served == self.lift_after:
                self.bears = 1_000_000
                self.lifted_at = len(self.inside)
            return True

    def leave(self) -> None:
        with self._lock:
            self._now -= 1


class BusyProxy(Proxy):
    """In front of a real S3 server.

    Args:
        bears: Reads of objects at once.
        lift_after: After so many good answers it bears any number.
    """

    def __init__(self, server: HttpServer, *, bears: int, lift_after: int) -> None:
        self.crowd = Crowd(bears=bears, lift_after=lift_after)
        super().__init__(server)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        given = {"shared": self._shared, "upstream": self._upstream, "crowd": self.crowd}
        return type("Handler", (_BusyHandler,), given)


class _BusyHandler(_Handler):
    crowd: Crowd

    def _ask(self, seen: Seen) -> Answer:
        """Whoever has been answered is out before the client can know."""
        if not seen.is_object_get:
            return super()._ask(seen)
        is_let_in = self.crowd.enter()
        try:
            time.sleep(0.02)  # long enough that reads do meet
            if is_let_in:
                return super()._ask(seen)
            answer = Answer(status=503, headers=[], body=b"")
            answer.refuse(503, "SlowDown")
            return answer
        finally:
            self.crowd.leave()
