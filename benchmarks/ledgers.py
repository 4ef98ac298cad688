"""Shape `ledgers`: one agent with its ledger in a file and on PostgreSQL, both on this machine.

Messages of one small object each, as in `messages`. With `--before DIR` an earlier Backhaul, whose
ledger is in a file, takes part in each round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import psutil

from backhaul.testing.servers.clients import sqs_client
from benchmarks.messages import Drains, check, drain, environment, requests, send
from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BEFORE, Servers, Sizes, tell

SHAPE = "ledgers"
AT_LEAST_OF_SQLITE = 0.8
AT_LEAST_OF_BEFORE, AT_MOST_OF_BEFORE = 0.97, 1.03
SQLITE, POSTGRESQL = "SQLite", "PostgreSQL"


@dataclass(kw_only=True)
class _Side:
    """One of those that take part, and what it took in each round."""

    name: str
    program: Sequence[str]
    drains: Drains = field(default_factory=Drains)
    server_ms: list[float] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        """Its own, without a target."""
        return [
            Figure(shape=SHAPE, what=f"{self.name}, {what}", unit=unit, values=tuple(values))
            for what, unit, values in (
                ("messages", "/s", self.drains.per_s),
                ("agent's CPU for a message", "ms", self.drains.cpu_ms),
                ("the server's CPU for a message", "ms", self.server_ms),
            )
            if values
        ]


def ledgers(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Messages a second, and CPU for a message."""
    sums = servers.put_small("messages/", sizes.ledger_messages)
    sqs = sqs_client(servers.sqs)
    url = sqs.create_queue(QueueName=SHAPE, Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    sides = [
        _Side(name=SQLITE, program=BACKHAUL),
        _Side(name=POSTGRESQL, program=BACKHAUL),
        *([_Side(name=BEFORE, program=servers.before)] if servers.before else []),
    ]
    for turn in range(rounds):
        target = servers.directory / f"{SHAPE}-{turn}"
        settings = environment(servers, target)
        first = turn % len(sides)  # whoever comes later finds warmer servers
        for side in sides[first:] + sides[:first]:
            send(sqs, url, requests(servers, sorted(sums), target), target)
            name = f"{SHAPE}-{side.name.replace(' ', '-')}-{turn}".lower()
            is_server = side.name == POSTGRESQL
            place = servers.new_database(name, settings) if is_server else None
            before_s = _server_cpu_s(servers) if is_server else 0
            drain(servers, settings, SHAPE, name, len(sums), side.program, side.drains, place)
            if is_server:
                side.server_ms.append(1000 * (_server_cpu_s(servers) - before_s) / len(sums))
            check(target, sums, sqs, url)
            tell(
                f"{SHAPE} round {turn + 1}: {side.name} {side.drains.per_s[-1]:.0f}/s, "
                f"{side.drains.cpu_ms[-1]:.1f} ms of CPU a message"
            )
    return [one for side in sides for one in side.figures()] + _ratios(*sides)


def _ratios(file: _Side, server: _Side, before: _Side | None = None) -> list[Figure]:
    found = _ratios_of(server, file, AT_LEAST_OF_SQLITE, None)
    if before is not None:
        found += _ratios_of(file, before, AT_LEAST_OF_BEFORE, AT_MOST_OF_BEFORE)
    return found


def _ratios_of(
    one: _Side, other: _Side, rate_at_least: float, cpu_at_most: float | None
) -> list[Figure]:
    names = f"{one.name} to {other.name}"
    return [
        Figure(
            shape=SHAPE,
            what=f"messages, {names}",
            unit="x",
            values=paired(one.drains.per_s, other.drains.per_s),
            at_least=rate_at_least,
        ),
        Figure(
            shape=SHAPE,
            what=f"agent's CPU, {names}",
            unit="x",
            values=paired(one.drains.cpu_ms, other.drains.cpu_ms),
            at_most=cpu_at_most,
        ),
    ]


def _server_cpu_s(servers: Servers) -> float:
    """Of PostgreSQL's processes until now, those included that have ended."""
    top = psutil.Process(servers.postgresql.pid)
    ended = top.cpu_times()
    times = [one.cpu_times() for one in [top, *top.children(recursive=True)]]
    running_s = sum(one.user + one.system for one in times)
    return float(ended.children_user + ended.children_system + running_s)
