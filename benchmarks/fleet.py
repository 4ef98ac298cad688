"""Shape `fleet`: one, two and three agents on one queue and one PostgreSQL, over a long line."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.testing.servers.clients import REGION, sqs_client
from backhaul.testing.servers.postgres import PostgreSQL
from benchmarks.agents import PATIENCE_S, messages_left
from benchmarks.measure import serving
from benchmarks.messages import at, read_log
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BEFORE, BUCKET, Servers, Sizes, tell

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mypy_boto3_sqs import SQSClient

RTT_MS = 40
MB_PER_S = 40
SHAPE = "fleet"
AT_LEAST = {2: 1.8, 3: 2.5}  # times the messages of one
_BATCH = 10
_LOOK_S = 0.1


def fleet(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Messages of one small object a second, from the first receipt to the last end."""
    count = sizes.fleet_messages
    names = sorted(servers.put_small("fleet/", count))
    found: dict[int, list[float]] = {agents: [] for agents in (1, *AT_LEAST)}
    before: dict[int, list[float]] = {agents: [] for agents in found}
    with ExitStack() as stack:
        database = stack.enter_context(PostgreSQL())
        far = {
            name: stack.enter_context(
                serving("benchmarks.wan_proxy", str(port), str(RTT_MS), str(MB_PER_S))
            )
            for name, port in {
                "sqs": servers.sqs.ports[0],
                "s3": servers.s3.ports[0],
                "postgresql": database.ports[0],
            }.items()
        }
        environment = {
            **servers.environment(sqs=True),
            "AWS_ENDPOINT_URL_SQS": f"http://127.0.0.1:{far['sqs']}",
            "AWS_ENDPOINT_URL_S3": f"http://127.0.0.1:{far['s3']}",
            "PGPASSFILE": str(database.pass_file),
        }
        for turn in range(rounds):
            for agents, rates in found.items():
                name = f"fleet-{turn}-{agents}"
                if servers.before:
                    url = _database(database, f"{name}-before", far["postgresql"])
                    before[agents].append(
                        _run(servers, environment, url, names, agents, servers.before)
                    )
                    tell(f"{name}: {BEFORE} {before[agents][-1]:.2f}/s")
                url = _database(database, name, far["postgresql"])
                rates.append(_run(servers, environment, url, names, agents, BACKHAUL))
                tell(f"{name}: {rates[-1]:.2f}/s")
    return [
        *_figures(found, ""),
        *(_figures(before, f", {BEFORE}") if servers.before else ()),
    ]


def _figures(found: Mapping[int, Sequence[float]], of: str) -> list[Figure]:
    rates = [
        Figure(shape=SHAPE, what=f"agents: {agents}{of}", unit="/s", values=tuple(values))
        for agents, values in found.items()
    ]
    ratios = [
        Figure(
            shape=SHAPE,
            what=f"{agents} agents to one{of}",
            unit="x",
            values=paired(found[agents], found[1]),
            at_least=None if of else least,
        )
        for agents, least in AT_LEAST.items()
    ]
    return rates + ratios


def _database(server: PostgreSQL, name: str, port: int) -> str:
    """The address of a new one, by this port."""
    server.create_database(name)
    return server.url(name).replace(f":{server.ports[0]}/", f":{port}/")


def _run(
    servers: Servers,
    environment: Mapping[str, str],
    ledger: str,
    names: Sequence[str],
    agents: int,
    program: Sequence[str],
) -> float:
    """Messages a second of so many agents, which have all started before the first is sent."""
    target = servers.directory / "fleet"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    sqs = sqs_client(servers.sqs)
    made = sqs.create_queue(QueueName="fleet", Attributes={"VisibilityTimeout": "600"})
    url = made["QueueUrl"]
    logs = [servers.directory / f"fleet-{number}.log" for number in range(agents)]
    with ExitStack() as stack:
        running: list[subprocess.Popen[bytes]] = []
        try:
            for log_path in logs:  # one after the other: the first one makes the tables
                log = stack.enter_context(log_path.open("w"))
                command = [*program, "run", "fleet", REGION, "--allow-any", "--ledger", ledger]
                running.append(
                    subprocess.Popen(
                        command, env=dict(environment), stdout=log, stderr=subprocess.STDOUT
                    )
                )
                _until_started(log_path)
            _send(sqs, url, names, target)
            deadline_s = time.monotonic() + PATIENCE_S + len(names)
            while messages_left(sqs, url):
                for one, log_path in zip(running, logs, strict=True):
                    assert one.poll() is None, f"ended: {log_path.read_text('utf-8')[-4000:]}"
                assert time.monotonic() < deadline_s, "messages are left"
                time.sleep(_LOOK_S)
        finally:
            for one in running:
                one.terminate()
            for one in running:
                one.wait()
    lines = [line for path in logs for line in read_log(path)]
    received = [at(line) for line in lines if line.get("event") == "message received"]
    done = [at(line) for line in lines if line.get("event") == "transfer done"]
    there = {path.name for path in target.iterdir() if path.is_file()}
    assert there == set(names), f"{len(there)} files"
    assert len(done) == len(names), f"{len(done)} of {len(names)} done"
    return len(done) / (max(done) - min(received)).total_seconds()


def _until_started(log_path: Path) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while "agent started" not in (log := log_path.read_text("utf-8")):
        assert time.monotonic() < deadline_s, f"the agent did not start: {log}"
        time.sleep(_LOOK_S)


def _send(sqs: SQSClient, url: str, names: Sequence[str], target: Path) -> None:
    for start in range(0, len(names), _BATCH):
        entries = [
            {"Id": name, "MessageBody": f"s3://{BUCKET}/fleet/{name},file://{target}"}
            for name in names[start : start + _BATCH]
        ]
        sqs.send_message_batch(QueueUrl=url, Entries=entries)  # type: ignore[arg-type]
