"""One installation of Backhaul for one test: its own HOME, queues, bucket, and the real process.

Nothing of the package is imported here except what starts servers: everything is seen as an
operator sees it, through argv, environment, signals, output and exit codes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from tests.acceptance import warm
from tests.acceptance.landing import Landing, LocalLanding

if TYPE_CHECKING:
    from mypy_boto3_s3.client import S3Client
    from mypy_boto3_sqs.client import SQSClient

REGION = "us-east-1"
PROGRAM = (sys.executable, "-m", "backhaul")
POLL_WAIT_S = 1
# Quick ends for tests; what each means is in the settings reference.
SETTINGS = {
    "BACKHAUL_AGENT__POLL_WAIT_S": str(POLL_WAIT_S),
    "BACKHAUL_AGENT__BACKOFF_BASE_S": "0.1",
    "BACKHAUL_LOG__FORMAT": "json",
}

Found = TypeVar("Found")


def eventually(
    ask: Callable[[], Found],
    *,
    within_s: float = 30,
    every_s: float = 0.02,
    what: str | Callable[[], str] = "",
) -> Found:
    """The first true answer; fails when none comes in time.

    Args:
        what: For the message; called when it fails, to show the state of that moment.
    """
    deadline_s = time.monotonic() + within_s
    while True:
        if answer := ask():
            return answer
        if time.monotonic() >= deadline_s:
            missing = what() if callable(what) else what or ask
            raise AssertionError(f"not within {within_s} s: {missing}")
        time.sleep(every_s)


def events_in(text: str) -> list[dict[str, Any]]:
    """The log's JSON lines; a last line that is still being written is left out."""
    found = []
    for line in text.splitlines():
        try:
            parsed = json.loads(line)
        except ValueError:
            continue
        if isinstance(parsed, dict):
            found.append(parsed)
    return found


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A process that is over."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def events(self) -> list[dict[str, Any]]:
        return events_in(self.out)

    def of(self, event: str) -> list[dict[str, Any]]:
        """Log lines whose event begins like this."""
        return [line for line in self.events if line["event"].startswith(event)]

    def __str__(self) -> str:
        return f"exit {self.code} after {self.seconds:.1f} s\n{self.out}\n{self.err}"


class Running:
    """An agent under way."""

    def __init__(
        self,
        argv: list[str],
        environment: Mapping[str, str],
        directory: Path,
        start: warm.Start = warm.start_cold,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._out, self._err = directory / "out", directory / "err"
        self.started_s = time.monotonic()
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = start(argv, environment, out, err)
        self.pid = self._process.pid

    @property
    def out(self) -> str:
        return self._out.read_text("utf-8", "replace")

    @property
    def err(self) -> str:
        return self._err.read_text("utf-8", "replace")

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def of(self, event: str) -> list[dict[str, Any]]:
        """Log lines so far whose event begins like this."""
        return [line for line in events_in(self.out) if line["event"].startswith(event)]

    def logged(self, event: str, *, times: int = 1, within_s: float = 30) -> list[dict[str, Any]]:
        """Wait until the log has this event."""

        def ask() -> list[dict[str, Any]]:
            found = self.of(event)
            if len(found) >= times:
                return found
            assert self.is_alive, f"ended before {event!r}: {self.wait(1)}"
            return []

        return eventually(
            ask,
            within_s=within_s,
            what=lambda: f"{event!r} in {self.out[-3000:]}{self.err[-1000:]}",
        )

    def workers(self) -> list[psutil.Process]:
        """Its worker processes; not those that are still a copy of itself, for which it waits."""
        try:
            agent = psutil.Process(self.pid)
            own = agent.cmdline()
            return [one for one in agent.children(recursive=True) if one.cmdline() != own]
        except psutil.NoSuchProcess:
            return []

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, and wait until it is gone, and with it its last poll.

        The server may keep that poll open and give it the next message, which nobody sees then
        until its visibility timeout is over.
        """
        self._process.kill()
        self._process.wait()
        time.sleep(1.5 * POLL_WAIT_S)

    def wait(self, timeout_s: float = 60) -> Ended:
        code = self._process.wait(timeout_s)
        seconds = time.monotonic() - self.started_s
        return Ended(code=code, out=self.out, err=self.err, seconds=seconds)

    def clean_up(self) -> None:
        """At the end of a test, whatever happened in it."""
        workers = self.workers()
        if self.is_alive:
            self._process.kill()
            self._process.wait()
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()


@dataclass(kw_only=True)
class Installation:
    """Queue, dead-letter queue, bucket and HOME of one test, and `backhaul` run against them.

    Attributes:
        environment: Of every `backhaul`; add to it to change all of them.
        landing: Where `allow` lets data go; replace it for HDFS.
        is_fifo: Both queues are FIFO queues.
        is_warm: Commands and agents are forks of a process that has imported all of `backhaul`; see
            `warm`. False for what a test says about the start itself, memory or the command line.
    """

    name: str
    home: Path
    sqs: SQSClient
    s3: S3Client
    environment: dict[str, str]
    max_receive_count: int = 50
    is_fifo: bool = False
    is_warm: bool = True
    queue: str = ""
    queue_url: str = ""
    dead_url: str = ""
    bucket: str = ""
    landing: Landing = field(init=False)
    _running: list[Running] = field(default_factory=list)

    def __post_init__(self) -> None:
        tail, kind = (".fifo", {"FifoQueue": "true"}) if self.is_fifo else ("", {})
        self.queue = f"{self.name}{tail}"
        self.bucket = self.name
        self.landing = LocalLanding(self.home / "landing")
        self.environment = {
            **{
                k: v for k, v in self.environment.items() if not k.startswith(("BACKHAUL_", "XDG_"))
            },
            **SETTINGS,
            "HOME": str(self.home),
        }
        if cache := os.environ.get("BACKHAUL_TESTBED_CACHE"):
            self.environment["BACKHAUL_TESTBED_CACHE"] = cache
        self.dead_url = self.sqs.create_queue(
            QueueName=f"{self.name}-dead{tail}",
            Attributes=kind,  # type: ignore[arg-type] # stubs want a TypedDict
        )["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.dead_url, AttributeNames=["QueueArn"])
        redrive = {
            "deadLetterTargetArn": arn["Attributes"]["QueueArn"],
            "maxReceiveCount": self.max_receive_count,
        }
        self.queue_url = self.sqs.create_queue(
            QueueName=self.queue,
            Attributes={"RedrivePolicy": json.dumps(redrive), **kind},  # type: ignore[dict-item]
        )["QueueUrl"]
        self.s3.create_bucket(Bucket=self.bucket)

    # ------------------------------------------------------------ source and messages

    def put(self, key: str, data: bytes, **arguments: Any) -> None:
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data, **arguments)

    def uri(self, key: str) -> str:
        return f"s3://{self.bucket}/{key}"

    def leave(self, body: str, group: str | None = None) -> str:
        """A message on the queue, as any AWS client leaves it; its id."""
        fifo: dict[str, Any] = {}
        if group is not None:
            fifo = {"MessageGroupId": group, "MessageDeduplicationId": uuid.uuid4().hex}
        return self.sqs.send_message(QueueUrl=self.queue_url, MessageBody=body, **fifo)["MessageId"]

    def ask_for(self, key: str, below: str = "", group: str | None = None) -> str:
        """The original's line: this key or prefix, to the landing directory or one below it."""
        directory = f"{self.landing.uri}{f'/{below}' if below else ''}"
        return self.leave(f"{self.bucket}/{key}, {directory}", group)

    def counts(self) -> tuple[int, int]:
        """Messages on the queue: visible, and invisible."""
        found = self.sqs.get_queue_attributes(
            QueueUrl=self.queue_url,
            AttributeNames=[
                "ApproximateNumberOfMessages",
                "ApproximateNumberOfMessagesNotVisible",
            ],
        )["Attributes"]
        visible = int(found["ApproximateNumberOfMessages"])
        hidden = int(found["ApproximateNumberOfMessagesNotVisible"])
        return visible, hidden

    def dead_letters(self) -> list[dict[str, Any]]:
        """Taken off the dead-letter queue: `body`, and attributes by name."""
        found: list[dict[str, Any]] = []
        while True:
            answer = self.sqs.receive_message(
                QueueUrl=self.dead_url, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
            )
            batch = answer.get("Messages", [])
            if not batch:
                return found
            for one in batch:
                attributes = one.get("MessageAttributes", {})
                texts = {name: value["StringValue"] for name, value in attributes.items()}
                found.append({"body": one["Body"], **texts})
                self.sqs.delete_message(QueueUrl=self.dead_url, ReceiptHandle=one["ReceiptHandle"])

    def the_dead_letter(self) -> dict[str, Any]:
        """The only one."""
        letters = self.dead_letters()
        assert len(letters) == 1, letters
        return letters[0]

    # ------------------------------------------------------------ the process

    def argv(self, *arguments: str) -> list[str]:
        return [*PROGRAM, *arguments]

    @property
    def allow(self) -> str:
        return f"s3://{self.bucket}/ -> {self.landing.uri}/"

    def backhaul(self, *arguments: str, timeout_s: float = 60, **settings: str) -> Ended:
        """Any command, to its end."""
        started_s = time.monotonic()
        environment = {**self.environment, **settings}
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            process = self._start(self.argv(*arguments), environment, out, err)
            try:
                code = process.wait(timeout_s)
            finally:
                process.kill()
                process.wait()
            seconds = time.monotonic() - started_s
            for stream in (out, err):
                stream.seek(0)
            return Ended(
                code=code,
                out=out.read().decode("utf-8", "replace"),
                err=err.read().decode("utf-8", "replace"),
                seconds=seconds,
            )

    def start(self, *arguments: str, **settings: str) -> Running:
        """`backhaul run` on this test's queue, left running."""
        route = () if "--config" in arguments else ("--allow", self.allow)
        running = Running(
            self.argv("run", self.queue, REGION, *route, *arguments),
            {**self.environment, **settings},
            self.home / "runs" / str(len(self._running)),
            self._start,
        )
        self._running.append(running)
        return running

    def drain(self, *arguments: str, timeout_s: float = 90, **settings: str) -> Ended:
        """`backhaul run --drain`, to its end."""
        return self.start("--drain", *arguments, **settings).wait(timeout_s)

    def drained(self, *arguments: str, timeout_s: float = 90, **settings: str) -> Ended:
        """A drain that must go well: exit 0, no message left, nothing on standard error."""
        ended = self.drain(*arguments, timeout_s=timeout_s, **settings)
        assert ended.code == 0, ended
        assert self.counts() == (0, 0), ended
        assert "Traceback" not in ended.out + ended.err, ended
        return ended

    @property
    def _start(self) -> warm.Start:
        return warm.start if self.is_warm else warm.start_cold

    def clean_up(self) -> None:
        for one in self._running:
            one.clean_up()

    def has_arrived(self, tree: Mapping[str, bytes], below: str) -> bool:
        """Whether each file of the tree, by its name, is below this directory of the landing."""
        found = self.landing.files()
        return all(found.get(f"{below}/{name}") == data for name, data in tree.items())

    # ------------------------------------------------------------ the ledger, by its commands

    def history(self, *arguments: str) -> list[dict[str, Any]]:
        ended = self.backhaul("history", "--json", *arguments)
        assert ended.code == 0, ended
        return [json.loads(line) for line in ended.out.splitlines()]

    def show(self, transfer_id: str) -> dict[str, Any]:
        ended = self.backhaul("show", transfer_id, "--json")
        assert ended.code == 0, ended
        shown: dict[str, Any] = json.loads(ended.out)
        return shown

    def evidence(self, transfer_id: str) -> list[dict[str, Any]]:
        """The object lines of a manifest, without the sealing line."""
        ended = self.backhaul("show", transfer_id, "--evidence")
        assert ended.code == 0, ended
        lines = [json.loads(line) for line in ended.out.splitlines()]
        return [line for line in lines if line["kind"] == "object"]


def worker_pids(of_home: Path) -> Iterator[int]:
    """Worker processes of the agents of one test, whoever their parent is by now."""
    for process in psutil.process_iter():
        try:
            argv = process.cmdline()
            if "backhaul.worker" in argv and process.environ().get("HOME") == str(of_home):
                yield process.pid
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
