"""Shape `outbox`: what a reply adds to the CPU of each message, at a steady pace and in bursts.

Two agents run side by side, one whose route has a reply and one whose route has none. Both get the
same messages at the same moments, so whatever slows this machine slows both. The replies go to a
queue of the same SQS. What boto3 takes to send such a reply is measured at the same pace beside it,
and told apart: it is the target's share, and the rest is the outbox.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from backhaul.adapters.aws.replying.sqs import reply_attributes
from backhaul.core.replies.reply import Reply, ReplyEvent
from backhaul.testing.servers.clients import sqs_client
from benchmarks.agents import PATIENCE_S, cpu_s, messages_left, running_agent
from benchmarks.report import Figure
from benchmarks.servers import BUCKET, SMALL_BYTES, Servers, Sizes, tell

if TYPE_CHECKING:
    import psutil
    from mypy_boto3_sqs.client import SQSClient

AT_MOST_MS = 1.0
PACE_PER_S = 3.0
_BATCH = 10
_WARM_UP = 10
_SETTLE_S = 12.0  # after the last reply: what is noted late is noted by then
_THE_REST = "the outbox: with, less without, less the send"


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
        alone = _SendAlone(sqs)
        parts: list[_Agent | _SendAlone] = [*agents, alone]
        _work(agents, alone, names, _WARM_UP, _at_once)
        for turn in range(rounds):
            for kind, send, count in (
                ("steady", _paced, sizes.replied_steadily),
                ("burst", _at_once, sizes.replied_at_once),
            ):
                before = [one.cpu_s() for one in parts]
                _work(agents, alone, names, count, send)
                after = [one.cpu_s() for one in parts]
                without, with_replies, sent = (
                    1000 * (now - was) / count for now, was in zip(after, before, strict=True)
                )
                for what, value in (
                    ("without replies", without),
                    ("with replies", with_replies),
                    ("boto3's send of a reply alone", sent),
                    (_THE_REST, with_replies - without - sent),
                ):
                    found[kind].setdefault(what, []).append(value)
                tell(
                    f"outbox round {turn + 1}, {kind}: {with_replies:.2f} - {without:.2f} "
                    f"- {sent:.2f} = {with_replies - without - sent:.2f} ms"
                )
        for one in agents:
            one.check()
    return [
        Figure(
            shape="outbox",
            what=f"CPU of the agent per message, {_words(kind)}, {what}",
            unit="ms",
            values=tuple(values),
            at_most=AT_MOST_MS if what == _THE_REST else None,
        )
        for kind, of in found.items()
        for what, values in of.items()
    ]


def _words(kind: str) -> str:
    return f"{PACE_PER_S:g} a second" if kind == "steady" else "all at once"


class _Agent:
    """One agent, its queue and, where it has one, the queue of its replies."""

    def __init__(
        self,
        servers: Servers,
        sqs: SQSClient,
        name: str,
        process: psutil.Process,
        url: str,
        reply_url: str | None,
    ) -> None:
        self._process = process
        self._sqs = sqs
        self._url = url
        self._reply_url = reply_url
        self._target = servers.directory / f"outbox-{name}"
        self._sent = 0

    def cpu_s(self) -> float:
        """User and system time of the agent's own process, which the outbox is in."""
        return cpu_s(self._process)

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
        replied = self._reply_url is None or messages_left(self._sqs, self._reply_url) == self._sent
        return replied and messages_left(self._sqs, self._url) == 0

    def check(self) -> None:
        """Every message has left its file."""
        files = sum(1 for one in self._target.rglob("*") if one.is_file())
        assert files == self._sent, f"{self._target}: {files} files of {self._sent}"


class _SendAlone:
    """What a reply's target does for each message, and nothing else."""

    def __init__(self, sqs: SQSClient) -> None:
        self._sqs = sqs
        self._url = sqs.create_queue(QueueName="outbox-alone")["QueueUrl"]
        self._used_s = 0.0

    def cpu_s(self) -> float:
        """Of all that were sent."""
        return self._used_s

    def send(self, count: int) -> None:
        """So many replies, one after the other."""
        reply = _reply()
        attributes = reply_attributes(reply)
        for _ in range(count):
            began_s = time.thread_time()
            self._sqs.send_message(
                QueueUrl=self._url,
                MessageBody=reply.body(),
                MessageAttributes={
                    name: {"DataType": "String", "StringValue": text}
                    for name, text in attributes.items()
                },
            )
            self._used_s += time.thread_time() - began_s


def _reply() -> Reply:
    """As large as those of this shape."""
    return Reply(
        key="0mh3k2v1x0000000-1-done",
        target="out",
        event=ReplyEvent.DONE,
        at=datetime.now(UTC),
        transfer_id="0mh3k2v1x0000000",
        epoch=1,
        code=None,
        reason=None,
        route="bench",
        source=f"s3://{BUCKET}/outbox/000000",
        destination="file:///tmp/bench-00000000/outbox-with/1",
        objects=1,
        size_bytes=SMALL_BYTES,
        digest=64 * "0",
        message_id="5fb1c6a0-7d1e-4a55-9c3f-2a90a1f4be1f",
    )


def _paced(agents: list[_Agent], alone: _SendAlone, names: list[str]) -> None:
    began_s = time.monotonic()
    for number, name in enumerate(names):
        time.sleep(max(0.0, began_s + number / PACE_PER_S - time.monotonic()))
        for one in agents:
            one.send([name])
        alone.send(1)


def _at_once(agents: list[_Agent], alone: _SendAlone, names: list[str]) -> None:
    for start in range(0, len(names), _BATCH):
        for one in agents:
            one.send(names[start : start + _BATCH])
    alone.send(len(names))


def _work(
    agents: list[_Agent],
    alone: _SendAlone,
    names: list[str],
    count: int,
    send: Callable[[list[_Agent], _SendAlone, list[str]], None],
) -> None:
    """Until all is done, and whatever follows a reply has followed."""
    send(agents, alone, [names[number % len(names)] for number in range(count)])
    deadline_s = time.monotonic() + PATIENCE_S
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
    environment = {**servers.environment(sqs=True), "BACKHAUL_CONFIG": str(config)}
    with running_agent(servers, queue, environment, name=queue) as process:
        yield _Agent(servers, sqs, name, process, url, reply_url)
