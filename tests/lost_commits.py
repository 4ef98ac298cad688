"""A TCP proxy before PostgreSQL or its pooler that loses a COMMIT or the answer to it.

And the death of one of the server's processes: it ends all others then, and recovers.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from contextlib import closing
from enum import Enum

import psycopg

from backhaul.testing.servers.errors import ServerFailed
from testbed import PostgreSQL
from tests.acceptance.installation import eventually
from tests.torture.tcp import TcpProxy, reset

# A simple query ends so, as psycopg and PgBouncer send it: COMMIT alone, or after changes.
COMMIT = b"COMMIT\0"


def kill_backend(server: PostgreSQL, process: int) -> None:
    """SIGKILL to this process of the server; until that has recovered."""
    with closing(psycopg.connect(server.url(), password=server.password)) as another:
        os.kill(process, signal.SIGKILL)
        try:
            another.execute("SELECT pg_sleep(30)")  # it ends all others when it notices
        except psycopg.OperationalError:
            pass
        else:
            raise AssertionError("the server did not notice")

    def has_recovered() -> bool:
        try:
            return server.sql("SELECT 1") == "1"
        except ServerFailed:
            return False

    eventually(has_recovered, within_s=30, what="the server has recovered")


class Loss(Enum):
    """What happens to one COMMIT, and to its connection."""

    REQUEST_CUT = "it never arrives, and the connection is cut"
    ANSWER_CUT = "it takes effect, and the connection is cut before its answer"
    REQUEST_SILENT = "it never arrives, and no side hears anything more"
    ANSWER_SILENT = "it takes effect, and the client hears nothing more"

    @property
    def is_committed(self) -> bool:
        return self in {Loss.ANSWER_CUT, Loss.ANSWER_SILENT}


class CommitProxy(TcpProxy):
    """Honest until `lose`.

    Attributes:
        lost: COMMITs that were lost, or their answers.
    """

    def __init__(self, port: int) -> None:
        super().__init__(port)
        self._next: Loss | None = None
        self._lost: dict[socket.socket, Loss] = {}  # by the client's side
        self._choosing = threading.Lock()
        self.lost = 0

    def lose(self, how: Loss) -> None:
        """The next COMMIT that comes by."""
        self._next = how

    def _pass(self, source: socket.socket, sink: socket.socket, data: bytes) -> None:
        if data.endswith(COMMIT):
            with self._choosing:
                how, self._next = self._next, None
            if how is not None:
                self.lost += 1
                self._lost[source] = how
        how = self._lost.get(source) or self._lost.get(sink)
        is_request = source in self._lost
        if how is Loss.REQUEST_CUT or (how is Loss.ANSWER_CUT and not is_request):
            reset(source)
            reset(sink)
        elif how is None or (how.is_committed and is_request):
            super()._pass(source, sink, data)
