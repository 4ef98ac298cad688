"""One run of a program: how long, how much CPU, how much memory, all its processes together."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psutil

SAMPLE_S = 0.05
LOOK_FOR_CHILDREN_S = 0.5
MB = 1e6


@dataclass(frozen=True, kw_only=True)
class Run:
    """What one run cost.

    Attributes:
        seconds: From start to exit.
        cpu_s: User and system, of the process and of all that it started and waited for.
        peak_mb: The highest sum of resident sets that was seen; what processes share counts in
            each of them, so it is never too low for that reason.
    """

    seconds: float
    cpu_s: float
    peak_mb: float


class Failed(Exception):
    """The program ended with another code than 0; its words are the message."""


def measured(arguments: Sequence[str], environment: Mapping[str, str]) -> Run:
    """Run it to its end.

    Raises:
        Failed: With the end of its output.
    """
    with tempfile.TemporaryFile() as output:
        began_s = time.perf_counter()
        process = subprocess.Popen(
            arguments,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        watch = _Memory(process.pid)
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began_s
        process.returncode = os.waitstatus_to_exitcode(status)  # Popen must not wait for it again
        peak_mb = watch.stop()
        if process.returncode:
            output.seek(0)
            words = output.read().decode("utf-8", "replace")[-4000:]
            raise Failed(f"{' '.join(arguments)} ended with {process.returncode}\n{words}")
    return Run(seconds=seconds, cpu_s=used.ru_utime + used.ru_stime, peak_mb=peak_mb)


class _Memory(threading.Thread):
    """Watches a process and all below it until it is stopped."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._pid = pid
        self._peak = 0
        self._over = threading.Event()
        self.start()

    def run(self) -> None:
        looked_s = float("-inf")
        family: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self._pid)
            while not self._over.wait(SAMPLE_S):
                if time.monotonic() - looked_s > LOOK_FOR_CHILDREN_S:
                    family = [top, *top.children(recursive=True)]
                    looked_s = time.monotonic()
                self._peak = max(self._peak, sum(map(_resident, family)))

    def stop(self) -> float:
        """The peak, in MB."""
        self._over.set()
        self.join()
        return self._peak / MB


def _resident(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        return int(process.memory_info().rss)
    return 0


def serve(handler: type[BaseHTTPRequestHandler]) -> None:
    """What a module does that is run by `serving`: HTTP on a port of the system's choice."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_address[1], flush=True)
    sys.stdin.read()


@contextmanager
def serving(module: str, *arguments: str) -> Iterator[int]:
    """The port of `python -m MODULE ARGUMENTS`, which prints it first and ends with its input."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait(10)
