"""An agent that runs while a shape looks at it, and how many messages it has not worked yet."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

from backhaul.testing.servers.clients import REGION
from benchmarks.servers import BACKHAUL, Servers

if TYPE_CHECKING:
    from mypy_boto3_sqs.client import SQSClient

PATIENCE_S = 120.0
_LOOK_S = 0.1


@contextmanager
def running_agent(
    servers: Servers,
    queue: str,
    environment: Mapping[str, str],
    *,
    name: str,
    ledger: str | None = None,
    options: Sequence[str] = (),
    ends_by: Sequence[signal.Signals] = (signal.SIGTERM,),
) -> Iterator[psutil.Process]:
    """One that has started and polls this queue, until the block ends.

    Args:
        name: Of its log and, unless `ledger` says where it is, of its ledger.
        options: Of `backhaul run`, besides the ledger.
        ends_by: Sent one after the other at the end.
    """
    log_path = servers.directory / f"{name}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [
                *(*BACKHAUL, "run", queue, REGION, *options),
                *("--ledger", ledger or servers.ledger(name)),
            ],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        try:
            deadline_s = time.monotonic() + PATIENCE_S
            while "agent started" not in log_path.read_text("utf-8"):
                assert process.poll() is None, log_path.read_text("utf-8")
                assert time.monotonic() < deadline_s, "the agent did not start"
                time.sleep(_LOOK_S)
            yield psutil.Process(process.pid)
        finally:
            for number in ends_by:
                process.send_signal(number)
            process.wait()


def cpu_s(process: psutil.Process) -> float:
    """User and system time of this process alone, so far."""
    times = process.cpu_times()
    return float(times.user + times.system)


def messages_left(sqs: SQSClient, url: str) -> int:
    """Visible or in flight, as SQS counts them."""
    answer = sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    return sum(map(int, answer.values()))
