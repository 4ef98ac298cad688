"""Shape `outbox`: what a reply adds to the CPU of each message, at a steady pace and in bursts.

Two agents run side by side, one whose route has a reply and one whose route has none. Both get the
same messages at the same moments, so whatever slows this machine slows both. The replies go to a
queue of the same SQS; what sending costs is in the figure.
"""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import psutil

from backhaul.testing.servers.clients import REGION, sqs_client
from benchmarks.report import Figure
from benchmarks.servers import BACKHAUL, BUCKET, Servers, Sizes, tell

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

AT_MOST_MS = 1.0
PACE_PER_S = 3.0
_BATCH = 10
_WARM_UP = 10
_PATIENCE_S = 120.0
_SETTLE_S = 12.0  # after the last reply: what is noted late is noted by then
_COUNTS = ("ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible")


def outbox(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """CPU of both agents and the difference, divided by the messages of one."""
    sqs = sqs_client(servers.sqs)
    names = sorted(servers.put_small("outbox/", 20))
    found: dict[str, dict[str, list[float]]] = {"steady": {}, "burst": {}}
    with ExitStack() as stack:
        agents = [
            stack.enter_context(_agent(servers, sqs, name, replies=name == "with"))
            for name in ("without", "with")
        ]
        _work(agents, names, _WARM_UP, _at_once)
        for turn in range(rounds):
            for kind, send, count in (
                ("steady", _paced, sizes.replied_steadily),
                ("burst", _at_once, sizes.replied_at_once),
            ):
                before = [one.cpu_s() for one in agents]
                _work(agents, names, count, send)
                after = [one.cpu_s() for one in agents]
                without, with_replies = (
                    1000 * (now - was) / count for now, was in zip(after, before, strict=True)
                )
                for what, value in (
                    ("without replies", without),
                    ("with replies", with_replies),
                    ("the difference", with_replies - without),
                ):
                    found[kind].setdefault(what, []).append(value)
                tell(f"outbox round {turn + 1}, {kind}: {without:.2f} and {with_replies:.2f} ms")
        for one in agents:
            one.check()
    return [
        Figure(
            shape="outbox",
            what=f"CPU of the agent per message, {_words(kind)}, {what}",
            unit="ms",
            values=tuple(values),
            at_most=AT_MOST_MS if what == "the difference" else None,
        )
        for kind, of in found.items()
        for what, values in of.items()
    ]


def _words(kind: str) -> str:
    return f"{PACE_PER_S:g} a second" if kind == "steady" else "all at once"


class _Agent:
    """One agent, its queue and, where it has one, the queue of its replies."""

    def __init__(
        self, servers: Servers, sqs: SQSClient, name: str, pid: int, url: str, reply_url: str | None
    ) -> None:
        self._process = psutil.Process(pid)
        self._sqs = sqs
        self._url = url
        self._reply_url = reply_url
        self._target = servers.directory / f"outbox-{name}"
        self._sent = 0

    def cpu_s(self) -> float:
        """User and system time of the agent's own process, which the outbox is in."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def send(self, names: list[str]) -> None:
        """One message for each of these objects, to a path of its own."""
        bodies = []
        for name in names:
            self._sent += 1
            bodies.append(f"s3://{BUCKET}/outbox/{name},file://{self._target}/{self._sent}")
        self._sqs.send_message_batch(
            QueueUrl=self._url,
            Entries=[
                {"Id": str(number), "MessageBody": body} for number, body in enumerate(bodies)
            ],
        )

    def is_done(self) -> bool:
        """No message is left, and each has its reply."""
        replied = self._reply_url is None or self._count(self._reply_url) == self._sent
        return replied and self._count(self._url) == 0

    def check(self) -> None:
        """Every message has left its file."""
        files = sum(1 for one in self._target.rglob("*") if one.is_file())
        assert files == self._sent, f"{self._target}: {files} files of {self._sent}"

    def _count(self, url: str) -> int:
        answer = self._sqs.get_queue_attributes(QueueUrl=url, AttributeNames=list(_COUNTS))
        return sum(int(answer["Attributes"][name]) for name in _COUNTS)


def _paced(agents: list[_Agent], names: list[str]) -> None:
    began_s = time.monotonic()
    for number, name in enumerate(names):
        time.sleep(max(0.0, began_s + number / PACE_PER_S - time.monotonic()))
        for one in agents:
            one.send([name])


def _at_once(agents: list[_Agent], names: list[str]) -> None:
    for start in range(0, len(names), _BATCH):
        for one in agents:
            one.send(names[start : start + _BATCH])


def _work(
    agents: list[_Agent],
    names: list[str],
    count: int,
    send: Callable[[list[_Agent], list[str]], None],
) -> None:
    """Until all is done, and whatever follows a reply has followed."""
    send(agents, [names[number % len(names)] for number in range(count)])
    deadline_s = time.monotonic() + _PATIENCE_S
    while not all(one.is_done() for one in agents):
        assert time.monotonic() < deadline_s, "not all messages were worked and replied to"
        time.sleep(0.5)
    time.sleep(_SETTLE_S)


@contextmanager
def _agent(servers: Servers, sqs: SQSClient, name: str, *, replies: bool) -> Iterator[_Agent]:
    queue = f"outbox-{name}"
    url = sqs.create_queue(QueueName=queue)["QueueUrl"]
    reply_url = sqs.create_queue(QueueName=f"{queue}-replies")["QueueUrl"] if replies else None
    target = servers.directory / queue
    target.mkdir()
    config = servers.directory / f"{queue}.toml"
    config.write_text(
        f'[[route]]\nname = "bench"\nsource = ["s3://{BUCKET}/outbox/"]\n'
        f"destination = [{json.dumps(f'file://{target}/')}]\n"
        + (f'replies = ["out"]\n[[reply]]\nname = "out"\nsqs = "{reply_url}"\n' if replies else "")
    )
    log_path = servers.directory / f"{queue}.log"
    environment = servers.environment(sqs=True)
    environment["BACKHAUL_CONFIG"] = str(config)
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [*BACKHAUL, "run", queue, REGION, "--ledger", servers.ledger(queue)],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline_s = time.monotonic() + _PATIENCE_S
            while "agent started" not in log_path.read_text("utf-8"):
                assert process.poll() is None, log_path.read_text("utf-8")
                assert time.monotonic() < deadline_s, "the agent did not start"
                time.sleep(0.1)
            yield _Agent(servers, sqs, name, process.pid, url, reply_url)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
