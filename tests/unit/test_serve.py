"""A worker from inside: its agent is gone, or one of its objects fails while others ask."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from types import SimpleNamespace
from typing import Any, cast

import pytest

from backhaul.core.errors import SourceChanged
from backhaul.engines import serve
from backhaul.engines.asking import Asking
from backhaul.engines.counter import Counter
from backhaul.engines.native import Cancelled
from backhaul.engines.pipe import Pipe
from backhaul.engines.wire import StageMore, StageOver, Tick
from tests.unit.receipts import STAGED

PATIENCE_S = 20.0


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


class Gone:
    """Its agent is gone: what it sends breaks its pipe."""

    def __init__(self) -> None:
        theirs, self._ours = socket.socketpair()
        theirs.close()
        self.worker = serve._Worker(Pipe(self._ours), cast("serve.Parts", None))
        self.is_met = threading.Event()

    def send(self, message: object) -> None:
        try:
            self.worker.send(cast("Any", message))
        finally:
            self.is_met.set()

    def over(self, _staging: object, end: StageOver) -> None:
        self.send(end)

    def close(self) -> None:
        self._ours.close()


@pytest.mark.parametrize("is_batched", [False, True])
def test_a_staging_call_ends_without_a_word_when_the_agent_is_gone(
    is_batched: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words: list[threading.ExceptHookArgs] = []
    monkeypatch.setattr(threading, "excepthook", words.append)
    monkeypatch.setattr(serve, "FLUSH_OBJECTS", 1)
    before = set(threading.enumerate())
    stager, asking = Stager(), cast("Asking", SimpleNamespace(cancel=lambda: None))
    stager.is_batched = is_batched
    with closing(Gone()) as gone:
        running = serve._Running(number=1, counter=Counter())
        staging = serve._Staging(cast("Any", gone), cast("Any", stager), asking, 1, running)
        staging.add(cast("Any", (lambda: STAGED,)))
        staging.end()
        assert gone.is_met.wait(PATIENCE_S)
        staging._closed.put(None)  # where the call has not come to its end
        staging._threads.shutdown()
        for thread in set(threading.enumerate()) - before:
            thread.join(PATIENCE_S)
    assert not words


class Worker:
    """Keeps what a staging call sends; nothing answers."""

    def __init__(self) -> None:
        self.sent: list[object] = []
        self.is_asked, self.is_over = threading.Event(), threading.Event()

    def send(self, message: object) -> None:
        self.sent.append(message)
        if isinstance(message, StageMore):
            self.is_asked.set()

    def over(self, _staging: object, end: StageOver) -> None:
        self.sent.append(end)
        self.is_over.set()


class Stager:
    """Each object is a callable that is its fate."""

    is_batched = False

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def stage(self, fate: Any) -> object:
        return fate()

    def copy(self, fate: Any) -> object:
        return fate

    def prove(self, fates: Any) -> list[object]:
        return [fate() for fate in fates]

    def sync_directories(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def worker() -> Worker:
    return Worker()


@pytest.fixture
def asking(worker: Worker) -> Iterator[Asking]:
    made = Asking(1, worker.send)
    yield made
    made.cancel()  # else a thread would wait for ever where a test fails


def test_the_failure_of_an_object_ends_the_wait_of_one_that_asks(
    worker: Worker, asking: Asking
) -> None:
    def fails() -> None:
        assert worker.is_asked.wait(PATIENCE_S)
        raise SourceChanged("E_SRC_GONE", "it is gone")

    running = serve._Running(number=1, counter=Counter())
    staging = serve._Staging(cast("Any", worker), cast("Any", Stager()), asking, 2, running)
    staging.add(cast("Any", (lambda: asking.more(7), fails)))
    assert worker.is_over.wait(PATIENCE_S)
    end = worker.sent[-1]
    assert isinstance(end, StageOver)
    assert end.error is not None
    assert end.error.code == "E_SRC_GONE"
    with pytest.raises(Cancelled):
        asking.more(8)
    assert [one.size_bytes for one in worker.sent if isinstance(one, StageMore)] == [7]


def test_an_answer_that_meets_a_cancel_on_its_way_is_not_missed(
    worker: Worker, asking: Asking
) -> None:
    with ThreadPoolExecutor(1) as threads:
        asked = threads.submit(asking.more, 7)
        assert worker.is_asked.wait(PATIENCE_S)
        asking.cancel()
        asking.allowed(1)
        with pytest.raises(Cancelled):
            asked.result(PATIENCE_S)
