"""How often DataNodes fsync when a file is closed: hdfs-native beside Hadoop's own client.

Usage: python sync_block.py hdfs://NAMENODE:PORT http://NAMENODE:WEB_PORT [MIB [ROUNDS
       [PERIOD_S]]]

Writes the same bytes in three ways, in turn: with hdfs-native, and through WebHDFS, for which a
DataNode writes them with Hadoop's `DFSClient`, without and with `CreateFlag.SYNC_BLOCK`. Counts
`FsyncCount` of all live DataNodes for one file of each. A JMX page is renewed every PERIOD_S, the
period of hadoop-metrics2.properties. Exit status 0: hdfs-native still syncs each block.
"""

from __future__ import annotations

import getpass
import http.client
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from urllib.parse import urlencode, urlsplit
from urllib.request import urlopen

from hdfs_native import Client, WriteOptions

DIRECTORY = "/upstream-sync-block"
BLOCK_BYTES = 16 << 20
COUNTERS = ("BlocksWritten", "FsyncCount")
PATIENCE_S = 30.0


def written(namenode: str) -> tuple[int, int]:
    """Blocks and fsyncs of all live DataNodes since they started, as their JMX pages show them."""
    (info,) = beans(namenode, "Hadoop:service=NameNode,name=NameNodeInfo")
    nodes = json.loads(str(info["LiveNodes"])).values()
    query = "Hadoop:service=DataNode,name=DataNodeActivity*"
    found = [bean for node in nodes for bean in beans(f"http://{node['infoAddr']}", query)]
    blocks, syncs = (sum(int(str(one[name])) for one in found) for name in COUNTERS)
    return blocks, syncs


def written_up_to(namenode: str, blocks: int) -> tuple[int, int]:
    """The same once the pages show so many blocks."""
    give_up = time.monotonic() + PATIENCE_S
    while (found := written(namenode))[0] < blocks and time.monotonic() < give_up:
        time.sleep(0.2)
    return found


def beans(address: str, query: str) -> list[dict[str, object]]:
    """What a daemon's JMX page shows for this query."""
    with urlopen(f"{address}/jmx?{urlencode({'qry': query})}") as response:  # noqa: S310
        found: list[dict[str, object]] = json.load(response)["beans"]
    return found


def by_hdfs_native(client: Client, path: str, data: bytes) -> None:
    """Write one file."""
    with client.create(path, WriteOptions(block_size=BLOCK_BYTES)) as writer:
        writer.write(data)


def by_java(namenode: str, flags: str, path: str, data: bytes) -> None:
    """Write one file; the NameNode names the DataNode that takes the bytes."""
    query = {"op": "CREATE", "createflag": flags, "blocksize": BLOCK_BYTES}
    query["user.name"] = os.environ.get("HADOOP_USER_NAME") or getpass.getuser()
    place = put(f"{namenode}/webhdfs/v1{path}?{urlencode(query)}", b"")
    put(place, data)


def put(url: str, data: bytes) -> str:
    """The address that the answer names."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("PUT", f"{parts.path}?{parts.query}", data)
    response = connection.getresponse()
    body = response.read()
    if response.status not in {201, 307}:
        raise SystemExit(f"{url}: {response.status} {body!r}")
    return response.headers["Location"]


def main(uri: str, namenode: str, mib: str = "64", rounds: str = "5", period_s: str = "10") -> int:
    """Compare them."""
    client = Client(uri)
    client.mkdirs(DIRECTORY)
    data = os.urandom(int(mib) << 20)
    ways: dict[str, Callable[[str, bytes], None]] = {
        "hdfs-native": partial(by_hdfs_native, client),
        "DFSClient": partial(by_java, namenode, "CREATE"),
        "DFSClient, SYNC_BLOCK": partial(by_java, namenode, "CREATE,SYNC_BLOCK"),
    }
    blocks = -(-len(data) // BLOCK_BYTES)
    counts: dict[str, int] = {}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    time.sleep(float(period_s) + 1)
    for name, write in ways.items():  # also warms both clients up
        before = written(namenode)
        write(f"{DIRECTORY}/{len(name)}", data)
        counts[name] = written_up_to(namenode, before[0] + blocks)[1] - before[1]
    for number in range(int(rounds)):
        for name, write in ways.items():
            start = time.monotonic()
            write(f"{DIRECTORY}/{len(name)}-{number}", data)
            seconds[name].append(time.monotonic() - start)
    client.delete(DIRECTORY, recursive=True)
    for name, syncs in counts.items():
        took = f", median {statistics.median(seconds[name]):.2f} s" if seconds[name] else ""
        print(f"{name}: {syncs} fsyncs for {blocks} blocks of {mib} MiB{took}")
    return 0 if counts["hdfs-native"] >= blocks > 0 == counts["DFSClient"] else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
