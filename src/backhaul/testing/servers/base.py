"""What every server of the test bed has in common: directory, start with retries, stop."""

from __future__ import annotations

import http.client
import shutil
import signal
import tempfile
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.ports import free_ports
from backhaul.testing.servers.process import PortClash, ServerProcess

_STARTS = 5
_FETCH_TIMEOUT_S = 2.0

# Past any proxy that the environment names: the servers are on this machine.
_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def fetch(url: str) -> tuple[int, bytes] | None:
    """GET from a server of the test bed: status and body; None when nothing answers in 2 s."""
    try:
        with _direct.open(url, timeout=_FETCH_TIMEOUT_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, b""
    except (OSError, http.client.HTTPException):
        return None


class Server(ABC):
    """A server on 127.0.0.1, on ports chosen at its first start. Use it as a context manager.

    Started again after `stop` or `kill` it comes back on the same ports, so that the clients of a
    test find it. Unless it was given a directory, its data and logs go away with `stop`.
    """

    name: str
    # What asks its processes to end.
    stop_signal = signal.SIGTERM

    def __init__(self, directory: Path | None = None, *, detached: bool = False) -> None:
        """Describe the server; nothing is started or written.

        Args:
            directory: For data, configuration and logs; created. Default: a temporary directory.
            detached: Leave it running when this process ends.
        """
        self._given = directory
        self._directory: Path | None = directory.absolute() if directory else None
        self._detached = detached
        self._ports: list[int] = []

    @property
    def directory(self) -> Path:
        """Where the server's data, configuration and logs are.

        Raises:
            ServerFailed: It was not started.
        """
        if self._directory is None:
            raise ServerFailed(f"{self.name} was not started")
        return self._directory

    def start(self) -> Self:
        """Start and wait until the server answers.

        Raises:
            ServerFailed: It does not; the text ends with the server's log.
            ServerUnavailable: This machine lacks something that it needs.
        """
        if self.is_alive:
            raise ServerFailed(f"{self.name} is running already")
        self._prepare()
        if self._directory is None:
            self._directory = Path(tempfile.mkdtemp(prefix=f"backhaul-{self.name}-"))
        self._directory.mkdir(parents=True, exist_ok=True)
        for _ in range(_STARTS):
            self._ports = self._ports or free_ports(self._port_count)
            try:
                self._start()
            except PortClash:
                self._end()
                self._ports = []
            except BaseException:  # Ctrl-C too: leave no half-started server behind.
                self._end()
                raise
            else:
                return self
        raise ServerFailed(f"{self.name}: its ports were taken by others {_STARTS} times in a row")

    def stop(self) -> None:
        """End the server, and remove its directory unless it was given. Safe to repeat."""
        self._end()
        if self._given is None and self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop."""
        self.stop()

    @property
    def ports(self) -> tuple[int, ...]:
        """Ports that it listens on, the one for clients first."""
        return tuple(self._ports)

    @property
    @abstractmethod
    def is_alive(self) -> bool:
        """Whether any process of it is running; a suspended one counts."""

    @property
    @abstractmethod
    def pids(self) -> dict[str, int]:
        """Process ids by process name."""

    @property
    @abstractmethod
    def endpoint(self) -> str:
        """URL at which it answers, such as ``http://127.0.0.1:24680``."""

    @property
    @abstractmethod
    def log_path(self) -> Path:
        """Where the server's stdout and stderr are."""

    @property
    def _port_count(self) -> int:
        return 1

    @abstractmethod
    def _prepare(self) -> None:
        """Find or fetch what the server needs."""

    @abstractmethod
    def _start(self) -> None:
        """Start on `self._ports` and wait."""

    @abstractmethod
    def _end(self) -> None:
        """End every process of the server."""


class OneProcessServer(Server):
    """A server that is one process, or begins with one, and takes clients on one port.

    `scheme` is that of its `endpoint`.
    """

    scheme: ClassVar[str]

    def __init__(self, directory: Path | None = None, *, detached: bool = False) -> None:
        """See `Server`."""
        super().__init__(directory, detached=detached)
        self._process: ServerProcess | None = None

    @property
    def endpoint(self) -> str:
        """URL for clients, such as ``http://127.0.0.1:24680``."""
        if not self._ports:
            raise ServerFailed(f"{self.name} was not started")
        return f"{self.scheme}://127.0.0.1:{self._ports[0]}"

    @property
    def is_alive(self) -> bool:
        """Whether its process is running; a suspended one counts."""
        return self._process is not None and self._process.is_alive

    @property
    def pid(self) -> int:
        """Process id."""
        return self._running.pid

    @property
    def pids(self) -> dict[str, int]:
        """Process id by server name."""
        return {self.name: self.pid}

    @property
    def log_path(self) -> Path:
        """Where the server's stdout and stderr are."""
        return self.directory / f"{self.name}.log"

    def kill(self) -> None:
        """End it at once (SIGKILL); what it has on disk stays for the next `start`."""
        self._running.kill()

    def suspend(self) -> None:
        """Let it hang (SIGSTOP): it accepts connections and never answers."""
        self._running.suspend()

    def resume(self) -> None:
        """Let it go on after `suspend`."""
        self._running.resume()

    @property
    def _running(self) -> ServerProcess:
        if self._process is None:
            raise ServerFailed(f"{self.name} was not started")
        return self._process

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop()


class HttpServer(OneProcessServer):
    """One that speaks HTTP.

    `access_key` and `secret_key` are what its clients must sign with; most accept any.
    """

    scheme = "http"
    access_key = "any"
    secret_key = "any"
