"""Shapes `stored` and `stored-small`: what the proof by the DataNodes' own checksums costs.

The same copy three times a round: `stream` compares the bytes on the way only, `stored` also asks
the DataNodes, `reread` reads every file back. CPU seconds are of Backhaul's processes; the DataNode
and the S3 server share the machine, so wall time has theirs in it, too.
"""

from __future__ import annotations

import json
import resource
import subprocess

from benchmarks.report import Figure, paired
from benchmarks.servers import BACKHAUL, BUCKET, MIB, Servers, Sizes, tell

FILES = 24
LEVELS = ("stream", "stored", "reread")
AT_MOST_LARGE = 1.05
AT_MOST_SMALL = 1.25
_ROUTE = """\
[[route]]
name = "bench"
source = ["s3://{bucket}/"]
destination = ["{uri}/bench/"]
verify = "stream"
"""


def stored(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """1 GiB in 24 files."""
    each = sizes.large_objects * sizes.large_bytes // FILES // MIB * MIB
    sums = servers.put_large("stored/", FILES, each, algorithm="CRC32C")
    return _compare(servers, "stored", "stored/", sums, rounds, AT_MOST_LARGE)


def stored_small(servers: Servers, sizes: Sizes, rounds: int) -> list[Figure]:
    """Many small objects: a question per file would cost more than the file."""
    sums = servers.put_small("stored-small/", sizes.objects)
    return _compare(servers, "stored-small", "stored-small/", sums, rounds, AT_MOST_SMALL)


def _compare(
    servers: Servers, shape: str, prefix: str, sums: dict[str, bytes], rounds: int, at_most: float
) -> list[Figure]:
    environment = servers.environment(hdfs=True)
    config = servers.directory / f"{shape}.toml"
    config.write_text(_ROUTE.format(bucket=BUCKET, uri=servers.hdfs.uri), "utf-8")
    environment["BACKHAUL_CONFIG"] = str(config)
    wall: dict[str, list[float]] = {level: [] for level in LEVELS}
    cpu: dict[str, list[float]] = {level: [] for level in LEVELS}
    extra: list[float] = []
    for turn in range(-1, rounds):  # the first warms the servers' JVMs up
        # Each level is first once in a while: what a round's first copy pays is not its level's.
        shift = turn % len(LEVELS)
        for level in LEVELS[shift:] + LEVELS[:shift]:
            directory = f"/bench/{shape}-{turn}-{level}"
            ledger = servers.ledger(f"{shape}-{level}")
            arguments = [
                *(*BACKHAUL, "copy", f"s3://{BUCKET}/{prefix}", servers.hdfs.uri + directory),
                *("--option", f"verify={level}", "--ledger", ledger),
            ]
            before_s = _children_s()
            servers.timed(arguments, environment)
            used_s = _children_s() - before_s
            took_s = servers.last_transfer_s(ledger, environment)
            beyond = _beyond(ledger, environment, level)
            servers.check_hdfs(directory, sums)
            if turn < 0:
                continue
            wall[level].append(took_s)
            cpu[level].append(used_s)
            if level == "stored":
                extra.append(beyond)
            tell(f"{shape} round {turn + 1}: {level} {took_s:.2f} s, {used_s:.2f} CPU-s")
    return [
        *(
            Figure(shape=shape, what=f"{level}, {kind}", unit="s", values=tuple(times[level]))
            for kind, times in (("transfer", wall), ("CPU, whole process", cpu))
            for level in LEVELS
        ),
        Figure(
            shape=shape,
            what="stored, of stream",
            unit="x",
            values=paired(wall["stored"], wall["stream"]),
            at_most=at_most,
        ),
        Figure(
            shape=shape,
            what="stored, of stream, CPU",
            unit="x",
            values=paired(cpu["stored"], cpu["stream"]),
        ),
        Figure(
            shape=shape,
            what="reread, of stream",
            unit="x",
            values=paired(wall["reread"], wall["stream"]),
        ),
        Figure(
            shape=shape,
            what="S3 bytes beyond the objects'",
            unit="B",
            values=tuple(extra),
            at_most=0,
        ),
    ]


def _children_s() -> float:
    """CPU seconds of everything that was started and waited for so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _beyond(ledger: str, environment: dict[str, str], level: str) -> float:
    """Bytes read from S3 more than the objects have; every object has the rung it should have."""

    def ask(*arguments: str) -> str:
        return subprocess.run(
            [*BACKHAUL, *arguments, "--ledger", ledger],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    row = json.loads(ask("history", "--json", "--limit", "1"))
    *objects, sealing = map(json.loads, ask("show", row["id"], "--evidence").splitlines())
    wanted = {"stream": "stream", "stored": "direct", "reread": "reread"}[level]
    assert {line["proof"] for line in objects} == {wanted}, objects[0]
    return float(sealing["bytes_read"] - sealing["size"])
