"""Shape `messages`: many messages of one small object each, and the memory that this takes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from backhaul.testing.servers.clients import REGION, sqs_client
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BEFORE, BUCKET, Servers, Sizes, tell

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient

AT_LEAST_PER_S = 50
AT_MOST_MB = 400
_SAMPLE_S = 0.1
_BATCH = 10


def messages(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """The agent in a drain against a plain boto3 loop: receive, get, write, fsync, delete."""
    sums = servers.put_small("messages/", sizes.messages)
    sqs = sqs_client(servers.sqs)
    url = sqs.create_queue(QueueName="messages", Attributes={"VisibilityTimeout": "600"})[
        "QueueUrl"
    ]
    environment = {**servers.environment(sqs=True), "BACKHAUL_AGENT__POLL_WAIT_S": "2"}
    ours: list[float] = []
    theirs: list[float] = []
    memory: dict[str, list[float]] = {"RSS": [], "PSS": []}
    before: dict[str, list[float]] = {"/s": [], "RSS": [], "PSS": []}
    for turn in range(rounds):
        target = servers.directory / f"messages-{turn}"
        if servers.before:
            _send(sqs, url, sorted(sums), target)
            name = f"messages-before-{turn}"
            rate, peak = _drain(servers, environment, name, len(sums), servers.before)
            _check(target, sums, sqs, url)
            for kind, value in {"/s": rate, **peak}.items():
                before[kind].append(value)
            tell(f"messages round {turn + 1}: {BEFORE} {rate:.0f}/s")
        _send(sqs, url, sorted(sums), target)
        found = servers.answer(["benchmarks.plain_loop", url], environment)
        theirs.append(len(sums) / float(found["seconds"]))
        _check(target, sums, sqs, url)
        _send(sqs, url, sorted(sums), target)
        rate, peak = _drain(servers, environment, f"messages-{turn}", len(sums))
        ours.append(rate)
        for kind, values in memory.items():
            values.append(peak[kind])
        _check(target, sums, sqs, url)
        tell(
            f"messages round {turn + 1}: backhaul {ours[-1]:.0f}/s, plain loop {theirs[-1]:.0f}/s, "
            f"RSS {peak['RSS']:.0f} MB, PSS {peak['PSS']:.0f} MB"
        )
    return [
        Figure(
            shape="messages",
            what="backhaul run --drain",
            unit="/s",
            values=tuple(ours),
            at_least=AT_LEAST_PER_S,
        ),
        Figure(shape="messages", what="plain boto3 loop", unit="/s", values=tuple(theirs)),
        Figure(
            shape="messages", what="backhaul to plain loop", unit="x", values=paired(ours, theirs)
        ),
        Figure(
            shape="messages",
            what="agent and workers, sum of RSS",
            unit="MB",
            values=tuple(memory["RSS"]),
            at_most=AT_MOST_MB,
        ),
        Figure(
            shape="messages",
            what="the same, shared pages counted once (PSS)",
            unit="MB",
            values=tuple(memory["PSS"]),
        ),
        *(_against(before, ours, memory) if servers.before else ()),
    ]


def _against(
    before: dict[str, list[float]], ours: list[float], memory: dict[str, list[float]]
) -> list[Figure]:
    """An earlier Backhaul, and ours by it."""
    found = [
        Figure(shape="messages", what=BEFORE, unit="/s", values=tuple(before["/s"])),
        Figure(
            shape="messages",
            what=f"times as fast as {BEFORE}",
            unit="x",
            values=paired(ours, before["/s"]),
        ),
    ]
    for kind, values in memory.items():
        found.append(
            Figure(
                shape="messages",
                what=f"memory ({kind}), of that of {BEFORE}",
                unit="x",
                values=paired(values, before[kind]),
            )
        )
    return found


def _send(sqs: SQSClient, url: str, names: list[str], target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    for start in range(0, len(names), _BATCH):
        sqs.send_message_batch(
            QueueUrl=url,
            Entries=[
                {"Id": name, "MessageBody": f"s3://{BUCKET}/messages/{name},file://{target}"}
                for name in names[start : start + _BATCH]
            ],
        )


def _check(target: Path, sums: dict[str, bytes], sqs: SQSClient, url: str) -> None:
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


def _drain(
    servers: Servers,
    environment: dict[str, str],
    name: str,
    count: int,
    program: Sequence[str] = BACKHAUL,
) -> tuple[float, dict[str, float]]:
    """Messages a second from the first receipt to the last end, and the peak memory in MB.

    Each end that is logged is followed by its delete; the caller looks that none is left.
    """
    log_path = servers.directory / f"{name}.log"
    with log_path.open("w") as log:
        process = subprocess.Popen(
            [
                *(*program, "run", "messages", REGION, "--drain"),
                *("--allow-any", "--ledger", servers.ledger(name)),
            ],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        with sampled(process.pid) as peak:
            status = process.wait()
    lines = read_log(log_path)
    received = [at(line) for line in lines if line.get("event") == "message received"]
    done = [at(line) for line in lines if line.get("event") == "transfer done"]
    assert status == 0, f"exit code {status}, see {log_path}"
    assert len(done) == count, f"{len(done)} of {count} done"
    return count / (max(done) - min(received)).total_seconds(), peak


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
