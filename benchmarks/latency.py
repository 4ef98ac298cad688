"""Shape `latency`: from `send_message`'s return to the object's first GET, with a warm agent."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from statistics import median

from backhaul.testing.servers.clients import REGION, sqs_client
from benchmarks.report import Figure
from benchmarks.servers import BACKHAUL, BUCKET, Servers, Sizes, tell

AT_MOST_MS = 100
_WARM_UP = 5
_PATIENCE_S = 30.0
_REQUEST = re.compile(rb"^(GET|HEAD) (\S+) HTTP/1", re.MULTILINE)


class StampingProxy:
    """Passes TCP on to a server and notes when each HTTP request without a body arrived.

    Attributes:
        seen: Request line to the time of its first arrival, `time.perf_counter`.
    """

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.seen: dict[str, float] = {}
        self._changed = threading.Condition()
        threading.Thread(target=self._accept, daemon=True).start()

    def wait_for(self, request: str) -> float:
        """When this request arrived, waited for.

        Raises:
            TimeoutError: It did not.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: request in self.seen, _PATIENCE_S):
                raise TimeoutError(f"no {request}")
            return self.seen[request]

    def close(self) -> None:
        """Accept no more."""
        self._server.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._server.accept()
                server = socket.create_connection(self._to)
                for one in (client, server):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                for pair in ((client, server, True), (server, client, False)):
                    threading.Thread(target=self._pass_on, args=pair, daemon=True).start()

    def _pass_on(self, source: socket.socket, to: socket.socket, is_request: bool) -> None:  # noqa: FBT001 - a thread's arguments
        with suppress(OSError):
            while data := source.recv(65536):
                if is_request:
                    self._note(data)
                to.sendall(data)
        for one in (source, to):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _note(self, data: bytes) -> None:
        now_s = time.perf_counter()
        with self._changed:
            for method, path in _REQUEST.findall(data):
                self.seen.setdefault(f"{method.decode()} {path.decode()}", now_s)
            self._changed.notify_all()


def latency(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Messages one after another; the agent sits in a long poll when each is sent."""
    count = sizes.latencies + _WARM_UP
    names = sorted(servers.put_small("latency/", count))
    sqs = sqs_client(servers.sqs)
    url = sqs.create_queue(QueueName="latency")["QueueUrl"]
    proxy = StampingProxy(servers.s3.ports[0])
    environment = {
        **servers.environment(sqs=True),
        "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{proxy.port}",
    }
    medians: list[float] = []
    everything: list[float] = []
    for turn in range(rounds):
        found: list[float] = []
        with _agent(servers, environment, f"latency-{turn}"):
            for name in names:
                proxy.seen.clear()
                target = servers.directory / f"latency-{turn}"
                sqs.send_message(
                    QueueUrl=url, MessageBody=f"s3://{BUCKET}/latency/{name},file://{target}"
                )
                sent_s = time.perf_counter()
                arrived_s = proxy.wait_for(f"GET /{BUCKET}/latency/{name}")
                found.append((arrived_s - sent_s) * 1000)
                time.sleep(0.3)  # published, deleted, and back in its long poll
        kept = found[_WARM_UP:]
        medians.append(median(kept))
        everything += kept
        tell(f"latency round {turn + 1}: median {medians[-1]:.0f} ms of {len(kept)} messages")
    proxy.close()
    return [
        Figure(
            shape="latency",
            what=f"median of {sizes.latencies} messages",
            unit="ms",
            values=tuple(medians),
            at_most=AT_MOST_MS,
        ),
        Figure(shape="latency", what="single messages", unit="ms", values=tuple(everything)),
    ]


@contextmanager
def _agent(servers: Servers, environment: dict[str, str], name: str) -> Iterator[None]:
    log_path = servers.directory / f"{name}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [
                *(*BACKHAUL, "run", "latency", REGION),
                *("--allow-any", "--ledger", servers.ledger(name)),
            ],
            env={**environment, "BACKHAUL_AGENT__POLL_WAIT_S": "5"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
