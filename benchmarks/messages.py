"""Shapes `messages` and `events`: many messages of one small object each, what they cost."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from backhaul.testing.servers.clients import REGION, s3_client, sqs_client
from benchmarks.agents import cpu_s
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BEFORE, BUCKET, SMALL_BYTES, Servers, Sizes, tell

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

AT_LEAST_PER_S = 50
AT_MOST_CPU_MS = 8
AT_MOST_MB = 400
_SAMPLE_S = 0.1
_BATCH = 10
_ROUTE = """\
[[route]]
name = "events"
source = ["s3://{bucket}/messages/"]
destination = ["file://{target}/"]
event_destination = "file://{target}/"
"""


def messages(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """The agent in a drain against a plain boto3 loop: receive, get, write, fsync, delete."""
    return _compare(servers, sizes, rounds, "messages", requests)


def events(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """The same, each message an event of S3 instead of a request, without the plain loop."""
    return _compare(servers, sizes, rounds, "events", _events)


Bodies = Callable[[Servers, list[str], Path], dict[str, str]]


@dataclass(kw_only=True)
class Drains:
    """Of one program, a value for each round.

    Attributes:
        cpu_ms: Of the agent without its workers, for a message.
    """

    per_s: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)
    pss_mb: list[float] = field(default_factory=list)


def _compare(
    servers: Servers, sizes: Sizes, rounds: int, shape: str, bodies: Bodies
) -> list[Figure]:
    sums = servers.put_small("messages/", sizes.messages)
    sqs = sqs_client(servers.sqs)
    url = sqs.create_queue(QueueName=shape, Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    programs = {"backhaul": BACKHAUL, **({BEFORE: servers.before} if servers.before else {})}
    drains = {name: Drains() for name in programs}
    loop: list[float] = []
    for turn in range(rounds):
        target = servers.directory / f"{shape}-{turn}"
        settings = environment(servers, target)
        # Whoever comes second finds warmer servers: each is it in every second round.
        for name in sorted(programs, reverse=turn % 2 == 1):
            send(sqs, url, bodies(servers, sorted(sums), target), target)
            run = f"{shape}-{name.replace(' ', '-')}-{turn}"
            drain(servers, settings, shape, run, len(sums), programs[name], drains[name])
            check(target, sums, sqs, url)
            tell(
                f"{shape} round {turn + 1}: {name} {drains[name].per_s[-1]:.0f}/s, "
                f"{drains[name].cpu_ms[-1]:.1f} ms of CPU a message"
            )
        if bodies is requests:
            send(sqs, url, bodies(servers, sorted(sums), target), target)
            found = servers.answer(["benchmarks.plain_loop", url], settings)
            loop.append(len(sums) / float(found["seconds"]))
            check(target, sums, sqs, url)
            tell(f"{shape} round {turn + 1}: plain loop {loop[-1]:.0f}/s")
    return _figures(shape, drains, loop)


def environment(servers: Servers, target: Path) -> dict[str, str]:
    """With a route for events into `target`; requests are allowed anything."""
    config = servers.directory / "messages.toml"
    config.write_text(_ROUTE.format(bucket=BUCKET, target=target), "utf-8")
    return {
        **servers.environment(sqs=True),
        "BACKHAUL_CONFIG": str(config),
        "BACKHAUL_AGENT__POLL_WAIT_S": "2",
    }


def _figures(shape: str, drains: dict[str, Drains], loop: list[float]) -> list[Figure]:
    found = []
    for name, of in drains.items():
        is_ours = name == "backhaul"
        for what, unit, values, at_least, at_most in (
            ("messages", "/s", of.per_s, AT_LEAST_PER_S, None),
            ("agent's CPU for a message", "ms", of.cpu_ms, None, AT_MOST_CPU_MS),
            ("agent and workers, sum of RSS", "MB", of.rss_mb, None, AT_MOST_MB),
            ("the same, shared pages counted once (PSS)", "MB", of.pss_mb, None, None),
        ):
            found.append(
                Figure(
                    shape=shape,
                    what=f"{name}, {what}",
                    unit=unit,
                    values=tuple(values),
                    at_least=at_least if is_ours else None,
                    at_most=at_most if is_ours else None,
                )
            )
    ours, before = drains["backhaul"], drains.get(BEFORE)
    if before is not None:
        for what, ratios in (
            (f"times as fast as {BEFORE}", paired(ours.per_s, before.per_s)),
            (f"CPU, of that of {BEFORE}", paired(ours.cpu_ms, before.cpu_ms)),
            (f"memory (RSS), of that of {BEFORE}", paired(ours.rss_mb, before.rss_mb)),
        ):
            found.append(Figure(shape=shape, what=what, unit="x", values=ratios))
    if loop:
        found += [
            Figure(shape=shape, what="plain boto3 loop", unit="/s", values=tuple(loop)),
            Figure(
                shape=shape,
                what="backhaul to plain loop",
                unit="x",
                values=paired(ours.per_s, loop),
            ),
        ]
    return found


def requests(servers: Servers, names: list[str], target: Path) -> dict[str, str]:
    """A body for each object, by its name."""
    del servers
    return {name: f"s3://{BUCKET}/messages/{name},file://{target}" for name in names}


def _events(servers: Servers, names: list[str], target: Path) -> dict[str, str]:
    """As S3 writes them, but for what nobody reads."""
    del target  # the route has it
    s3 = s3_client(servers.s3)
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix="messages/")
    etags = {one["Key"]: one["ETag"].strip('"') for page in pages for one in page["Contents"]}
    found = {}
    for number, name in enumerate(names):
        key = f"messages/{name}"
        thing = {
            "key": key,
            "size": SMALL_BYTES,
            "eTag": etags[key],
            "sequencer": f"{number:016X}",
        }
        record = {
            "eventVersion": "2.1",
            "eventSource": "aws:s3",
            "awsRegion": REGION,
            "eventTime": "2026-01-01T00:00:00.000Z",
            "eventName": "ObjectCreated:Put",
            "s3": {"s3SchemaVersion": "1.0", "bucket": {"name": BUCKET}, "object": thing},
        }
        found[name] = json.dumps({"Records": [record]})
    return found


def send(sqs: SQSClient, url: str, bodies: dict[str, str], target: Path) -> None:
    """All of them, after the target has been emptied."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    names = list(bodies)
    for start in range(0, len(names), _BATCH):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": name, "MessageBody": bodies[name]} for name in names[start : start + _BATCH]
            ],
        )


def check(target: Path, sums: dict[str, bytes], sqs: SQSClient, url: str) -> None:
    """Every file with its source's bytes, nothing else, and no message left."""
    found = {
        path.name: hashlib.sha256(path.read_bytes()).digest()
        for path in target.iterdir()
        if path.is_file()
    }
    assert found == sums, f"{target}: {len(found)} files, {len(sums)} expected, or bytes differ"
    left = sqs.get_queue_attributes(
        QueueUrl=url,
        AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
    )["Attributes"]
    assert set(left.values()) == {"0"}, f"messages are left: {left}"


def drain(
    servers: Servers,
    settings: dict[str, str],
    queue: str,
    name: str,
    count: int,
    program: Sequence[str],
    found: Drains,
    ledger: str | None = None,
) -> None:
    """Add a round: from the first receipt to the last end, and the peak memory of all processes.

    Each end that is logged is followed by its delete; the caller looks that none is left.

    Args:
        settings: What `environment` makes.
        name: Of the log and, unless `ledger` says where it is, of the ledger.
    """
    log_path = servers.directory / f"{name}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [
                *(*program, "run", queue, REGION, "--drain"),
                *("--allow-any", "--ledger", ledger or servers.ledger(name)),
            ],
            env=settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        with sampled(process.pid) as peak, _agents_cpu(process.pid) as cpu:
            status = process.wait()
    lines = read_log(log_path)
    received = [at(line) for line in lines if line.get("event") == "message received"]
    done = [at(line) for line in lines if line.get("event") == "transfer done"]
    assert status == 0, f"exit code {status}, see {log_path}"
    assert len(done) == count, f"{len(done)} of {count} done"
    began, ended = min(received), max(done)
    found.per_s.append(count / (ended - began).total_seconds())
    # Without the start and the end: a running agent has neither.
    before_s = max((used for when, used in cpu if when <= began), default=0.0)
    found.cpu_ms.append(
        1000 * (max(used for when, used in cpu if when <= ended) - before_s) / count
    )
    found.rss_mb.append(peak["RSS"])
    found.pss_mb.append(peak["PSS"])


@contextmanager
def _agents_cpu(pid: int) -> Iterator[list[tuple[datetime, float]]]:
    """Of this process without its workers: when, and its user and system time until then."""
    found: list[tuple[datetime, float]] = []
    over = threading.Event()

    def look() -> None:
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(pid)
            while not over.wait(_SAMPLE_S):
                found.append((datetime.now(UTC), cpu_s(process)))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield found
    finally:
        over.set()
        thread.join()


def read_log(path: Path) -> list[dict[str, Any]]:
    """The JSON lines; warnings of the command line are no JSON."""
    lines = path.read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def at(line: dict[str, Any]) -> datetime:
    """When it was logged."""
    return datetime.fromisoformat(line["at"])


@contextmanager
def sampled(pid: int) -> Iterator[dict[str, float]]:
    """Peak memory of a process and its descendants, in MB (10^6 B), sampled while in the block."""
    peak = {"RSS": 0.0, "PSS": 0.0}
    over = threading.Event()

    def sample() -> None:
        turn = 0
        while not over.wait(_SAMPLE_S):
            turn += 1
            sums = _memory(pid, with_pss=turn % 10 == 0)
            for kind, value in sums.items():
                peak[kind] = max(peak[kind], value)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def _memory(pid: int, *, with_pss: bool) -> dict[str, float]:
    """Now. Shared pages are in every process's RSS, and once in the sum of PSS."""
    found = {"RSS": 0.0}
    try:
        root = psutil.Process(pid)
        processes = [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return found
    for process in processes:
        try:
            found["RSS"] += process.memory_info().rss / 1e6
            if with_pss:
                found["PSS"] = found.get("PSS", 0.0) + process.memory_full_info().pss / 1e6
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found
