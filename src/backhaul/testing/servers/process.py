"""One server process: start it, wait for it, stop it.

A child dies with this process, also when this process is killed with SIGKILL, unless it is started
``detached``. What the process is and when it counts as ready is up to the server's own module.
"""

from __future__ import annotations

import functools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from backhaul.adapters.hadoop import die_with_parent
from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.ports import listening

# Nothing is lost by SIGKILL: what matters of a server here is on disk when it has answered.
STOP_GRACE_S = 1.0
_POLL_S = 0.05
_TAIL_LINES = 30
_TAIL_BYTES = 64 * 1024
_CLASH = re.compile(r"address (already )?in use|BindException|Failed to bind to", re.IGNORECASE)
# Settings of the developer's shell that would change what the server does: HADOOP_USER_NAME would
# make another user the HDFS superuser, AWS_* and MOTO_* change moto, PG* lead PostgreSQL's programs
# to another server.
_SCRUBBED = ("AWS_", "HADOOP_", "JCLOUDS_", "MOTO_", "PG", "S3PROXY_", "CLASSPATH")


class PortClash(ServerFailed):
    """Somebody else took a port between its choice and the bind. Start again with new ports."""


class ServerProcess:
    """A server as a child process in a session of its own, its output in a log file.

    In a session of its own, so that Ctrl-C reaches the tests and not the servers they use.
    """

    def __init__(self, name: str, log_path: Path, *, detached: bool = False) -> None:
        """Describe the process; nothing is started.

        Args:
            name: For error texts, such as ``namenode``.
            log_path: Where stdout and stderr go; appended to.
            detached: Leave it running when this process ends.
        """
        self.name = name
        self.log_path = log_path
        self._detached = detached
        self._child: subprocess.Popen[bytes] | None = None
        self._log_offset = 0

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        """Start the program. Returns at once: see `wait_until`.

        Args:
            command: Program and arguments.
            environment: Added to this process's environment, of which AWS_*, HADOOP_* and
                the like are left out.

        Raises:
            ServerFailed: It is running already.
        """
        if self.is_alive:
            raise ServerFailed(f"{self.name} is running already (process {self.pid})")
        self.log_path.parent.mkdir(parents=True, exist_ok=True)
        launcher = [sys.executable, "-I", "-S", die_with_parent.__file__, str(os.getpid())]
        argv = [*([] if self._detached else launcher), *command]
        with self.log_path.open("ab") as log:
            self._log_offset = log.tell()

            def spawn() -> subprocess.Popen[bytes]:
                return subprocess.Popen(
                    argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**server_environment(), **(environment or {})},
                    cwd=self.log_path.parent,
                    start_new_session=True,
                )

            self._child = _launching_thread().submit(spawn).result()

    def wait_until(self, is_ready: Callable[[], bool], *, port: int, timeout_s: float) -> None:
        """Wait until the process listens on its port and the server is ready.

        The first, as on a clash somebody else's server of the same kind would answer the question.

        Raises:
            PortClash: By its log, the address is in use.
            ServerFailed: It died, or the time is over; in the latter case it is killed.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            self.check()
            if ("127.0.0.1", port) in listening(self.pid) and is_ready():
                return
            if time.monotonic() > deadline:
                self.kill()
                raise ServerFailed(self._report(f"not ready after {timeout_s:.0f} s"))
            time.sleep(_POLL_S)

    def check(self) -> None:
        """Raise when it has no future.

        Raises:
            PortClash: By its log, the address is in use. It is killed.
            ServerFailed: It ended.
        """
        # Before the log is read: all output of a dead process is in the log by then.
        was_alive = self.is_alive
        if _CLASH.search(self._log_since_start()):
            self.kill()
            raise PortClash(self._report("its port is in use"))
        if not was_alive:
            status = self._child.returncode if self._child else None
            raise ServerFailed(self._report(f"ended with status {status} before it was ready"))

    @property
    def pid(self) -> int:
        """Process id.

        Raises:
            ServerFailed: It was never started.
        """
        if self._child is None:
            raise ServerFailed(f"{self.name} was not started")
        return self._child.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process was started and has not ended; a suspended one counts as alive."""
        return self._child is not None and self._child.poll() is None

    def stop(self, grace_s: float = STOP_GRACE_S, number: signal.Signals = signal.SIGTERM) -> None:
        """End it: this signal, and SIGKILL when it has not ended in time. Safe to repeat."""
        if self._child is None or not self.is_alive:
            return
        self._child.send_signal(number)
        self._child.send_signal(signal.SIGCONT)  # A suspended process takes no other signal.
        try:
            self._child.wait(timeout=grace_s)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it at once with SIGKILL and wait until it is gone. Safe to repeat."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()

    def suspend(self) -> None:
        """Stop its clock (SIGSTOP): it accepts connections and never answers."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on after `suspend`."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._child is None or not self.is_alive:
            raise ServerFailed(f"{self.name} is not running")
        self._child.send_signal(number)

    def _log_since_start(self) -> str:
        with self.log_path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            log.seek(max(self._log_offset, end - _TAIL_BYTES))
            return log.read().decode("utf-8", "replace")

    def _report(self, what: str) -> str:
        tail = "\n".join(self._log_since_start().splitlines()[-_TAIL_LINES:])
        return f"{self.name}: {what}\n\nhint: the end of {self.log_path}:\n{tail}"


def server_environment() -> dict[str, str]:
    """This process's environment without what would change a server."""
    return {k: v for k, v in os.environ.items() if not k.startswith(_SCRUBBED)}


@functools.cache
def _launching_thread() -> ThreadPoolExecutor:
    """The one thread that forks servers; it lives until this process ends.

    The kernel sends the death signal when the forking *thread* ends, so a server started from a
    short-lived thread would die with that one.
    """
    return ThreadPoolExecutor(max_workers=1, thread_name_prefix="server-launcher")
