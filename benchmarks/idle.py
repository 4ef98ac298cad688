"""Shape `idle`: what Backhaul takes while there is nothing to do, and what its help costs.

An agent is left in its long poll three times: as it started, after it has carried messages in all
its slots, so that every worker has its libraries loaded, and after its idle workers have ended.
"""

from __future__ import annotations

import signal
import time
from itertools import product
from typing import TYPE_CHECKING

from backhaul.testing.servers.clients import sqs_client
from benchmarks.agents import PATIENCE_S, cpu_s, messages_left, running_agent
from benchmarks.measure import MB, measured
from benchmarks.report import Figure
from benchmarks.servers import BACKHAUL, BUCKET, Servers, Sizes, tell

if TYPE_CHECKING:
    import psutil
    from mypy_boto3_sqs.client import SQSClient

AT_MOST_PERCENT = 0.5
AT_MOST_MB = 120
AT_MOST_AFTER_WORK_MB = 150  # when its idle workers have ended
_ON_SERVER = ", PostgreSQL"
_WORKED = "its idle workers ended"
AT_MOST_HELP_S = 0.3
HELPS = 5
_SETTLE_S = 3.0


def idle(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """CPU as a share of one core, and resident memory."""
    messages = 8
    names = sorted(servers.put_small("idle/", messages))
    sqs = sqs_client(servers.sqs)
    url = sqs.create_queue(QueueName="idle")["QueueUrl"]
    environment = servers.environment(hdfs=True, sqs=True)
    # Long enough for the second look.
    environment["BACKHAUL_AGENT__WORKER_IDLE_S"] = str(2 * (_SETTLE_S + sizes.idle_s))
    found: dict[str, list[float]] = {}
    helps: list[float] = []
    for turn, on in product(range(rounds), ("", _ON_SERVER)):
        name = f"idle-{turn}{'-server' if on else ''}"
        helps += [measured([*BACKHAUL, "--help"], environment).cpu_s for _ in range(HELPS)]
        with running_agent(
            servers,
            "idle",
            environment,
            name=name,
            ledger=servers.new_database(name, environment) if on else None,
            options=["--allow-any"],
            ends_by=[signal.SIGINT, signal.SIGINT],
        ) as agent:
            _watch(agent, sizes.idle_s, f"as it started{on}", found)
            for one in names:
                sqs.send_message(
                    QueueUrl=url,
                    MessageBody=f"s3://{BUCKET}/idle/{one},{servers.hdfs.uri}/bench/{name}/{one}",
                )
            _wait_until_empty(sqs, url)
            _watch(agent, sizes.idle_s, f"after work{on}", found)
            _wait_for_idle_workers(agent)
            _watch(agent, sizes.idle_s, f"{_WORKED}{on}", found)
        told = ", ".join(f"{name} {values[-1]:.2f}" for name, values in found.items())
        tell(f"idle round {turn + 1}: {told}; help {helps[-1]:.2f} s")
    return [
        *(
            Figure(
                shape="idle",
                what=what,
                unit="%" if "core" in what else "MB",
                values=tuple(values),
                at_most=_target(what),
            )
            for what, values in found.items()
        ),
        Figure(
            shape="idle",
            what="backhaul --help, CPU",
            unit="s",
            values=tuple(helps),
            at_most=AT_MOST_HELP_S,
        ),
    ]


def _target(what: str) -> float | None:
    if "core" in what:
        return AT_MOST_PERCENT
    if what.startswith("agent,") and _ON_SERVER not in what:
        return AT_MOST_MB
    return AT_MOST_AFTER_WORK_MB if _WORKED in what else None


def _watch(agent: psutil.Process, seconds: float, when: str, found: dict[str, list[float]]) -> None:
    """The agent alone, then it and its workers."""
    time.sleep(_SETTLE_S)
    family = [agent, *agent.children(recursive=True)]
    before = [cpu_s(one) for one in family]
    time.sleep(seconds)
    used = [cpu_s(one) - was for one, was in zip(family, before, strict=True)]
    memory = [one.memory_info().rss / MB for one in family]
    proportional = sum(one.memory_full_info().pss for one in family) / MB
    workers = "agent and workers"
    for what, value in (
        (f"agent, share of a core, {when}", 100 * used[0] / seconds),
        (f"{workers}, share of a core, {when}", 100 * sum(used) / seconds),
        (f"agent, resident, {when}", memory[0]),
        (f"{workers} ({len(family) - 1}), resident, {when}", sum(memory)),
        (f"{workers}, shared pages counted once (PSS), {when}", proportional),
    ):
        found.setdefault(what, []).append(value)


def _wait_until_empty(sqs: SQSClient, url: str) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while messages_left(sqs, url):
        assert time.monotonic() < deadline_s, "the messages were not worked"
        time.sleep(0.2)


def _wait_for_idle_workers(agent: psutil.Process) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while agent.children():
        assert time.monotonic() < deadline_s, "idle workers did not end"
        time.sleep(0.2)
