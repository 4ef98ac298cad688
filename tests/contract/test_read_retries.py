"""How often one range that always fails is requested of a real HTTP server."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.digests import new_digest
from backhaul.adapters.local import LocalTarget
from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import TransientError
from backhaul.core.model import VerifyLevel
from backhaul.core.objects import Pin, PlannedObject
from backhaul.core.ports import Endpoint, StageTask
from backhaul.engines import counter
from backhaul.engines.native import Stager
from backhaul.engines.read_retries import TRIES
from backhaul.engines.tuning import Tuning

SIZE, RANGE = 1000, 64
CONTENT = bytes(number % 251 for number in range(SIZE))
BAD = f"bytes={3 * RANGE}-{4 * RANGE - 1}"
TUNING = Tuning(threads=2, small_bytes=10, large_bytes=100, range_bytes=RANGE, ranges=2)


class OneBadRange(BaseHTTPRequestHandler):
    """Serves `CONTENT`, with 500 for one of its ranges and for every whole object."""

    requests: ClassVar[Counter[str]] = Counter()
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_HEAD(self) -> None:
        self._answer(200, b"", length=SIZE)

    def do_GET(self) -> None:
        wanted = self.headers.get("Range", "whole")
        self.requests[wanted] += 1
        if wanted in {BAD, "whole"}:
            self._answer(500, b"")
            return
        start, stop = (int(each) for each in wanted.removeprefix("bytes=").split("-"))
        data = CONTENT[start : stop + 1]
        self._answer(206, data, content_range=f"bytes {start}-{stop}/{SIZE}")

    def _answer(
        self, status: int, data: bytes, *, length: int | None = None, content_range: str = ""
    ) -> None:
        self.send_response(status)
        self.send_header("ETag", '"abc"')
        self.send_header("x-amz-request-id", "1")
        self.send_header("Content-Length", str(len(data) if length is None else length))
        if content_range:
            self.send_header("Content-Range", content_range)
        self.end_headers()
        self.wfile.write(data)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    OneBadRange.requests = Counter()
    with ThreadingHTTPServer(("127.0.0.1", 0), OneBadRange) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield Endpoint(
            base_url=f"http://127.0.0.1:{server.server_address[1]}/b/", region="us-east-1"
        )
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(("size", "wanted"), [(5, "whole"), (50, "whole"), (SIZE, BAD)])
def test_a_read_that_always_fails_is_requested_four_times_in_an_attempt(
    endpoint: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int, wanted: str
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    reader = ObjectReader(AwsSession("us-east-1").credentials, 4)
    stager = Stager(
        reader=reader,
        target=LocalTarget(),
        new_digest=new_digest,
        tuning=TUNING,
        counter=counter.Counter(),
        directory=str(tmp_path),
        verify=VerifyLevel.SIZE,
    )
    pin = Pin(
        bucket="b",
        key="k",
        size_bytes=size,
        etag="abc",
        last_modified=datetime(2026, 11, 1, tzinfo=UTC),
    )
    task = StageTask(planned=PlannedObject(seq=0, pin=pin, relative="f"), endpoint=endpoint)
    with pytest.raises(TransientError, match="E_S3_SERVER"):
        stager.stage(task)
    stager.close()
    reader.close()
    assert OneBadRange.requests[wanted] == TRIES
    assert all(OneBadRange.requests[each] == 1 for each in OneBadRange.requests if each != wanted)


def test_the_manual_states_how_often() -> None:
    manual = " ".join(Path("docs/operate.md").read_text("utf-8").split())
    total = TRIES * RetryPolicy().max_attempts
    assert f"is requested {TRIES} times in an attempt, and {total} times" in manual
