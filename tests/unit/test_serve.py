"""A worker whose agent is gone, from inside."""

from __future__ import annotations

import socket
from typing import cast

from backhaul.engines import serve
from backhaul.engines.pipe import Pipe
from backhaul.engines.wire import Tick


class Unsent:
    """A staging that has found something to tell."""

    running = None

    def __init__(self, worker: serve._Worker) -> None:
        self._worker = worker

    def flush(self) -> None:
        self._worker.send(Tick())


def test_the_ticking_thread_ends_without_a_word_when_the_agent_is_gone() -> None:
    theirs, ours = socket.socketpair()
    theirs.close()
    worker = serve._Worker(Pipe(ours), cast("serve.Parts", None))
    worker._staging = cast("serve._Staging", Unsent(worker))

    worker.tick_for_ever()

    ours.close()
