"""What a worker counts is what a server sent of bodies, to the byte, however they break."""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.digests import new_digest
from backhaul.adapters.local import LocalTarget
from backhaul.core.errors import BackhaulError
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import Pin, PlannedObject
from backhaul.core.ports import Endpoint, StageTask
from backhaul.engines.counter import Counter
from backhaul.engines.native import Stager
from backhaul.engines.tuning import MIB, Tuning

CONTENT = bytes(number % 251 for number in range(10_007)) * 1200  # 12 MB
TUNING = Tuning(large_bytes=4 * MIB, range_bytes=MIB, ranges=4, stream_bytes=64 * MIB)


class Server(BaseHTTPRequestHandler):
    """Sends bytes of `CONTENT`, counts them, and breaks answers as it is told."""

    protocol_version = "HTTP/1.1"
    sent: ClassVar[list[int]] = []
    faults: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._begin(200, int(self.path.rpartition("/")[2]))

    def do_GET(self) -> None:
        size = int(self.path.rpartition("/")[2])
        start, stop, status = 0, size, 200
        if wanted := self.headers.get("Range"):
            first, last = (int(one) for one in wanted.removeprefix("bytes=").split("-"))
            start, stop, status = first, last + 1, 206
        data = CONTENT[start:stop]
        fault = self.faults.pop() if self.faults else ""
        self._begin(status, len(data), f"bytes {start}-{stop - 1}/{size}" if wanted else "")
        if fault == "flip":
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault in {"reset", "end", "hang"}:
            data = data[: len(data) * 3 // 5]
        self.wfile.write(data)
        self.sent.append(len(data))
        if fault == "hang":
            time.sleep(0.5)  # longer than the reader waits
        if fault == "reset":
            self._wait_until_taken()
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if fault in {"reset", "end", "hang"}:
            self.close_connection = True
            self.connection.close() if fault == "reset" else None

    def _begin(self, status: int, length: int, content_range: str = "") -> None:
        self.send_response(status)
        self.send_header("ETag", '"abc"')
        self.send_header("x-amz-request-id", "1")
        self.send_header("Content-Length", str(length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def _wait_until_taken(self) -> None:
        """A reset drops what the other side has not been sent."""
        while struct.unpack("i", fcntl.ioctl(self.connection, termios.TIOCOUTQ, b"\0" * 4))[0]:
            time.sleep(0.001)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[Endpoint]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    Server.sent.clear()
    Server.faults.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        server.handle_error = lambda *_: None  # type: ignore[method-assign] # connections are reset
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Endpoint(base_url=f"http://127.0.0.1:{server.server_port}/b/", region="us-east-1")
        server.shutdown()
        thread.join()


def stage(endpoint: Endpoint, directory: Path, size: int) -> tuple[Counter, int]:
    """Its counter, and what the evidence of the object says was read for it."""
    counter = Counter()
    reader = ObjectReader(AwsSession("us-east-1").credentials, 8, idle_timeout_s=0.2)
    options: dict[str, Any] = {"reader": reader, "target": LocalTarget(), "new_digest": new_digest}
    stager = Stager(
        tuning=TUNING,
        counter=counter,
        directory=str(directory),
        verify=VerifyLevel.SIZE,
        **options,
    )
    pin = Pin(
        bucket="b",
        key=str(size),
        size_bytes=size,
        etag="abc",
        last_modified=datetime(2026, 11, 1, tzinfo=UTC),
    )
    task = StageTask(planned=PlannedObject(seq=0, pin=pin, relative="f"), endpoint=endpoint)
    try:
        staged = stager.stage(task)
        assert (directory / "f").read_bytes() == CONTENT[:size]
        return counter, staged.bytes_read
    except BackhaulError:
        return counter, counter.received_bytes
    finally:
        stager.close()
        reader.close()


@pytest.mark.parametrize("size", [100_000, 3_000_000, 12_000_000])
@pytest.mark.parametrize(
    "faults",
    [[], ["end"], ["reset"], ["hang"], ["reset", "end", "reset"], ["reset"] * 9],
    ids=lambda faults: "+".join(faults) or "none",
)
def test_what_is_counted_is_what_was_sent(
    endpoint: Endpoint, tmp_path: Path, size: int, faults: list[str]
) -> None:
    Server.faults[:] = faults
    counter, of_object = stage(endpoint, tmp_path, size)
    sent = sum(Server.sent)
    assert sent >= size or len(faults) > 3
    assert counter.received_bytes == of_object
    assert abs(counter.received_bytes - sent) <= sent // 1000
    assert counter.repeated_bytes == max(0, counter.received_bytes - size)


def test_bytes_that_were_dropped_with_a_broken_read_are_counted(
    endpoint: Endpoint, tmp_path: Path
) -> None:
    """A small object is read in one piece: what came of it is lost with the connection."""
    Server.faults[:] = ["reset"]
    counter, _ = stage(endpoint, tmp_path, 100_000)
    assert counter.received_bytes == 160_000
    assert counter.repeated_bytes == 60_000
