"""How long a call waits for a NameNode that takes connections and does not answer.

Usage: python rpc_timeout.py [SECONDS [hdfs://NAMENODE:PORT PID]]

A socket stands for such a NameNode, or the process PID is stopped (SIGSTOP) once the client is
connected to it. All of Hadoop's properties that bound such a wait are set to a tenth of SECONDS.
Exit status 0: the call still waits after SECONDS.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

CALLS = """
import sys
from hdfs_native import Client
bound = sys.argv[2]
names = ("ipc.client.rpc-timeout.ms", "ipc.client.connect.timeout", "ipc.ping.interval")
names = (*names, "dfs.client.socket-timeout")
properties = {"dfs.client.failover.max.attempts": "1", **dict.fromkeys(names, bound)}
client = Client(sys.argv[1], properties)
if sys.argv[3] == "connected":
    client.get_file_info("/")
print("ready", flush=True)
sys.stdin.readline()
try:
    client.get_file_info("/")
except BaseException as error:
    print(repr(error), flush=True)
"""


def waits(uri: str, seconds: float, pid: int | None) -> bool:
    """Whether a call has not returned after so many seconds."""
    bound = str(int(seconds * 100))
    command = [sys.executable, "-c", CALLS, uri, bound, "fresh" if pid is None else "connected"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        if child.stdout is not None:
            child.stdout.readline()
        try:
            if pid is not None:
                os.kill(pid, signal.SIGSTOP)
            answer, _ = child.communicate("\n", timeout=seconds)
        except subprocess.TimeoutExpired:
            print(f"{uri}: no answer and no error after {seconds:g} s, {bound} ms allowed")
            return True
        finally:
            if pid is not None:
                os.kill(pid, signal.SIGCONT)
            child.kill()
    print(f"{uri}: {answer.strip() or 'answered'}")
    return False


def main(seconds: str = "10", uri: str = "", pid: str = "") -> int:
    """Show whether it waits."""
    if uri:
        return 0 if waits(uri, float(seconds), int(pid)) else 1
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"hdfs://127.0.0.1:{silent.getsockname()[1]}"
        return 0 if waits(uri, float(seconds), None) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
