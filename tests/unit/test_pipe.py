"""Frames on a real socket: cut in two, sent from both ends at once, not read at all."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from backhaul.core.errors import FencedOff, OutageError, TransientError
from backhaul.core.model import Location, VerifyLevel
from backhaul.engines.exchange import Conversation, Exchange, Kind
from backhaul.engines.operations import TargetOperations
from backhaul.engines.pipe import Pipe, frame_of
from backhaul.engines.session import WorkerSession
from backhaul.engines.wire import Activity, Answer, Tick

pytestmark = pytest.mark.slow  # waits for limits

HERE = Location(scheme="file", authority="", path="/x")
LARGE = b"x" * (8 << 20)


class Peer:
    """In place of a worker process: the other end of the socket is the test's."""

    pid = 7

    def __init__(self, send_timeout_s: float = 30.0) -> None:
        ours, self.socket = socket.socketpair()
        self.exchange = Exchange(Pipe(ours), send_timeout_s)

    def send(self, message: Any) -> None:
        self.exchange.send(message)

    def death(self) -> str:
        return "closed its end"


@pytest.fixture
def peer() -> Iterator[Peer]:
    made = Peer()
    yield made
    made.exchange.close()
    made.socket.close()


def answer(number: int = 1) -> bytes:
    return frame_of(Answer(number=number, value=[None]))


def test_a_frame_that_comes_byte_by_byte_is_one_message(peer: Peer) -> None:
    received = []
    reader = Pipe(peer.socket)
    ours = peer.exchange._pipe._socket
    frame = frame_of(("a", LARGE[:1000])) + frame_of("b")
    for at in range(len(frame)):
        ours.send(frame[at : at + 1])
        received += reader.receive_all(1.0)
    assert received == [("a", LARGE[:1000]), "b"]


@pytest.mark.parametrize("cut", [1, 8, 30])
def test_a_worker_that_stops_in_the_middle_of_a_message_has_stalled(peer: Peer, cut: int) -> None:
    current = WorkerSession(peer, "file://", 0.3)
    peer.socket.send(answer()[:cut])
    with pytest.raises(OutageError, match="E_TARGET_STALLED"):
        current.status([HERE])
    assert current.fault == "stalled"


def test_a_worker_that_stops_in_the_middle_of_a_batch_has_stalled(peer: Peer) -> None:
    current = WorkerSession(peer, "file://", 0.3)
    peer.socket.send(frame_of(Tick()) + answer()[:20])
    with pytest.raises(TransientError, match="E_WORKER_STALLED"):
        list(current.stage(iter([]), HERE, VerifyLevel.STREAM))
    assert current.fault == "stalled"


@pytest.mark.parametrize(
    "act",
    [
        lambda session: session.write_whole(HERE, b""),
        lambda session: session.publish_files([], replace=True),
        lambda session: session.publish_tree(HERE, HERE),
        lambda session: session.remove_staging(HERE),
        lambda session: session.fence(HERE, 1),
    ],
)
def test_nothing_that_others_could_see_is_begun_by_a_process_that_they_took_for_gone(
    peer: Peer, act: Callable[[WorkerSession], object]
) -> None:
    def require() -> None:
        raise FencedOff("E_LEDGER_FENCED", "others took over")

    current = WorkerSession(peer, "file://", 30.0, require=require)
    with pytest.raises(FencedOff):
        act(current)
    peer.socket.settimeout(0)
    with pytest.raises(BlockingIOError):
        peer.socket.recv(1)


def test_a_worker_that_closes_in_the_middle_of_a_message_has_died(peer: Peer) -> None:
    current = WorkerSession(peer, "file://", 30.0)
    peer.socket.send(answer()[:20])
    peer.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(TransientError, match="E_WORKER_DIED"):
        current.status([HERE])
    assert current.fault == "died"


def echo(operations: TargetOperations, data: bytes) -> bytes:
    """Only its name crosses the pipe; the peer's answer is made by hand."""
    raise NotImplementedError


def test_both_ends_may_send_more_than_the_buffers_hold_at_once(peer: Peer) -> None:
    """The worker does not read until its own message is out; the agent reads while it sends."""
    received: list[Any] = []

    def work() -> None:
        end = Pipe(peer.socket)
        end.send(Answer(number=1, value=LARGE))
        received.append(end.receive())

    thread = threading.Thread(target=work)
    current = WorkerSession(peer, "file://", 30.0)
    thread.start()
    assert current._call(echo, LARGE) == LARGE
    thread.join(30)
    assert received[0].arguments == (LARGE,)


def test_a_peer_that_reads_nothing_stops_a_send_for_its_time_only() -> None:
    stuck = Peer(send_timeout_s=0.2)
    with pytest.raises(TimeoutError):
        stuck.send(LARGE)
    stuck.exchange.close()
    stuck.socket.close()


def test_a_peer_that_closes_during_a_send_is_noticed(peer: Peer) -> None:
    closing = threading.Timer(0.05, peer.socket.close)
    closing.start()
    with pytest.raises((OSError, EOFError)):
        peer.send(LARGE)
    closing.join()


@pytest.mark.parametrize("number", [0, 2, -1])
def test_a_message_that_belongs_to_nothing_ends_the_workers_use(peer: Peer, number: int) -> None:
    current = WorkerSession(peer, "file://", 30.0)
    peer.socket.send(answer(number))
    with pytest.raises(TransientError, match=rf"E_BUG: .*number {number}, which was never begun"):
        current.status([HERE])
    assert current.fault == "protocol"


def test_an_answer_to_a_staging_call_is_a_defect(peer: Peer) -> None:
    current = WorkerSession(peer, "file://", 30.0)
    peer.socket.send(answer())
    with pytest.raises(TransientError, match=r"E_BUG: .*number 1, which is a staging call"):
        list(current.stage(iter([]), HERE, VerifyLevel.STREAM))
    assert current.fault == "protocol"


def test_reading_back_is_no_progress_and_no_silence() -> None:
    staging = Conversation(number=1, kind=Kind.STAGING)
    staging.note(Activity(number=1, size_bytes=5, count=6))
    moved_s = staging.moved_s
    staging.note(Activity(number=1, size_bytes=5, read_back_bytes=3, count=10))

    assert staging.size_bytes == 5
    assert staging.moved_s > moved_s
