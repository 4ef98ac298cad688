"""How long `close` takes, and how often it calls the NameNode.

Usage: python close_wait.py hdfs://NAMENODE:PORT http://NAMENODE:WEB_PORT [FILES [PERIOD_S
       [ENOUGH]]]

Writes files of 2 MiB, one after the other, until ENOUGH closes have waited. Counts the calls of
`complete` on the NameNode's JMX page, which is renewed every PERIOD_S, the period of
hadoop-metrics2.properties. Exit status 0: closes still wait half a second.
"""

from __future__ import annotations

import json
import os
import sys
import time
from urllib.parse import urlencode
from urllib.request import urlopen

from hdfs_native import Client, WriteOptions

DIRECTORY = "/upstream-close-wait"
PAUSE_S = 0.5  # COMPLETE_RETRY_DELAY_MS
PATIENCE_S = 30.0


def calls(namenode: str, creations: int) -> tuple[int, int]:
    """Calls of `create` and `complete` at this NameNode since it started.

    Args:
        creations: Waits until there are so many.
    """
    query = urlencode({"qry": "Hadoop:service=NameNode,name=RpcDetailedActivity*"})
    give_up = time.monotonic() + PATIENCE_S
    while True:
        with urlopen(f"{namenode}/jmx?{query}") as response:  # noqa: S310
            beans = json.load(response)["beans"]
        created, completed = (
            sum(int(bean.get(f"{name}NumOps", 0)) for bean in beans)
            for name in ("Create", "Complete")
        )
        if created >= creations or time.monotonic() > give_up:
            return created, completed
        time.sleep(0.2)


def main(
    uri: str, namenode: str, files: str = "30", period_s: str = "10", enough: str = "inf"
) -> int:
    """Time them."""
    client = Client(uri)
    client.mkdirs(DIRECTORY)
    data = os.urandom(2 << 20)
    time.sleep(float(period_s) + 1)
    before = calls(namenode, 0)
    took_s: list[float] = []
    waited = 0
    while len(took_s) < int(files) and waited < float(enough):
        writer = client.create(f"{DIRECTORY}/{len(took_s)}", WriteOptions())
        writer.write(data)
        start = time.monotonic()
        writer.close()
        took_s.append(time.monotonic() - start)
        waited += took_s[-1] >= PAUSE_S
    completes = calls(namenode, before[0] + len(took_s))[1] - before[1]
    client.delete(DIRECTORY, recursive=True)
    print(f"{len(took_s)} files: {completes} calls of `complete`; {waited} closes waited")
    print("seconds of each close:", *(f"{each:.3f}" for each in sorted(took_s)))
    return 0 if completes > len(took_s) and waited else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
