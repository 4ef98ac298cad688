"""What `--dashboard` adds: the agent goes on, messages keep coming, and the pages show it.

The limit on reading from S3 is set low, so that transfers take long enough to be watched.
"""

from __future__ import annotations

import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from backhaul.adapters.system.log import LogTarget, Telemetry
from backhaul.app.agent import run_agent
from backhaul.app.limit import write_limit
from backhaul.app.queues import ChosenQueue
from backhaul.core.errors import ExitCode, OutageError
from backhaul.core.rate_limit import ManualLimit
from backhaul.demo.main_job import BUCKET, KIB, MIB, QUEUE, REGION, SEED, Demo, event_body

EVERY_S = 3.0
LIMIT_BYTES_PER_S = 6_000_000
DAYS = 28  # directories that are filled in turn, again and again
LARGE_DAYS = 4  # the local S3 server keeps its objects in memory
LARGE_BYTES = 64 * MIB
END_WAIT_S = 10.0


@contextmanager
def dashboard(demo: Demo, listen: str) -> Iterator[str]:
    """The link of the dashboard, which is a process of its own; it ends with the block.

    Raises:
        OutageError: E_DEMO_SERVER: it did not start.
    """
    config = demo.directory / "backhaul.toml"
    command = [sys.executable, "-m", "backhaul", "dashboard", "--config", str(config)]
    with subprocess.Popen(
        [*command, "--listen", listen], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            link = process.stdout.readline().strip() if process.stdout else ""
            if not link:
                status = process.wait(END_WAIT_S)
                raise OutageError.of(
                    "demo",
                    "E_DEMO_SERVER",
                    f"backhaul dashboard ended with {status}; the lines above are its own",
                    hint="choose another port: --listen 127.0.0.1:0 takes a free one",
                )
            yield link
        finally:
            process.terminate()
            try:
                process.wait(END_WAIT_S)
            except subprocess.TimeoutExpired:
                process.kill()


def go_on(demo: Demo) -> ExitCode:
    """Run the agent until Ctrl-C or SIGTERM, with a new message every few seconds."""
    settings = demo.context.settings
    write_limit(settings, ManualLimit(bytes_per_s=LIMIT_BYTES_PER_S, until=None))
    sender = _Sender(demo)
    sender.start()
    try:
        with (demo.directory / "agent.log").open("a", encoding="utf-8") as log:
            emit = Telemetry(LogTarget(stream=log, is_json=True, level="info"))
            return run_agent(
                demo.context,
                queues=[ChosenQueue(text=QUEUE, region=REGION, label=QUEUE)],
                drain=False,
                emit=emit,
                read_again=lambda: demo.context,
            )
    finally:
        sender.end()


class _Sender(threading.Thread):
    """New objects and a message for them, every few seconds."""

    def __init__(self, demo: Demo) -> None:
        super().__init__(name="sender", daemon=True)
        self._demo = demo
        self._url = demo.sqs.get_queue_url(QueueName=QUEUE)["QueueUrl"]
        self._chance = random.Random(SEED)  # noqa: S311 - the same data each time
        self._is_over = threading.Event()

    def run(self) -> None:
        turn = 0
        while not self._is_over.is_set():
            body = self._next(turn)
            self._demo.sqs.send_message(QueueUrl=self._url, MessageBody=body)
            turn += 1
            self._is_over.wait(EVERY_S)

    def end(self) -> None:
        """No message is sent after this."""
        self._is_over.set()
        self.join(END_WAIT_S)

    def _next(self, turn: int) -> str:
        landing = self._demo.landing
        day = f"day={turn // 4 % DAYS + 1:02}"
        if turn % 40 == 10:  # noqa: PLR2004 - one of forty is refused
            return f"{BUCKET}/click/no-such-day/, {landing}/click/no-such-day"
        match turn % 4:
            case 0:
                for number in range(40):
                    self._put(f"click/{day}/part-{number:05}.json", 16 * KIB)
                return f"{BUCKET}/click/{day}/, {landing}/click/{day}"
            case 2:
                model = f"models/v{turn // 4 % LARGE_DAYS + 1}"
                self._put(f"{model}/weights.bin", LARGE_BYTES)
                return f"{BUCKET}/{model}/weights.bin, {landing}/{model}"
            case _:
                key = f"events/{day}/{turn % 4}.csv"
                self._put(key, 256 * KIB)
                return event_body(key)

    def _put(self, key: str, size_bytes: int) -> None:
        data = self._chance.randbytes(size_bytes)
        self._demo.s3.put_object(Bucket=BUCKET, Key=key, Body=data, ChecksumAlgorithm="CRC32C")
