"""PgBouncer before a PostgreSQL, as many sites have it: a connection lasts for one transaction.

So nothing that belongs to a session may be relied on. Debian 12 has 1.18, which knows no prepared
statements in this mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backhaul.testing.servers.base import Server
from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.process import ServerProcess
from testbed.postgres.programs import pgbouncer_programs
from testbed.postgres.server import ROLE, SUPERUSER, PostgreSQL, answers
from testbed.postgres.user import give, lowered, require_reach

START_TIMEOUT_S = 60.0

# `server_login_retry`: the default keeps clients waiting 15 s after the server is back.
# `unix_socket_dir` and `logfile` empty: no socket in the file system, messages to stderr.
_SETTINGS = {
    "listen_addr": "127.0.0.1",
    "unix_socket_dir": "",
    "logfile": "",
    "pool_mode": "transaction",
    "default_pool_size": "4",
    "max_client_conn": "100",
    "server_login_retry": "1",
    "auth_type": "scram-sha-256",
    "admin_users": SUPERUSER,
}


class PgBouncer(Server):
    """A pooler for every database of one server, in transaction mode; same users, same password."""

    name = "pgbouncer"

    def __init__(
        self,
        server: PostgreSQL,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        """See `Server`.

        Args:
            server: One that was started; it may end and come back on its port.
            directory: As root, only one that `nobody` can reach.
            settings: Of pgbouncer.ini, such as ``{"default_pool_size": "1"}``.
        """
        super().__init__(directory, detached=detached)
        self._server = server
        self._settings = {**_SETTINGS, **(settings or {})}
        self._process: ServerProcess | None = None

    @property
    def endpoint(self) -> str:
        """Not HTTP: such as ``postgresql://127.0.0.1:24680``."""
        if not self._ports:
            raise ServerFailed(f"{self.name} was not started")
        return f"postgresql://127.0.0.1:{self._ports[0]}"

    def url(self, database: str = ROLE, *, user: str = ROLE) -> str:
        """Of a database of the server, through the pooler; the password is in its `pass_file`."""
        return f"postgresql://{user}@127.0.0.1:{self.ports[0]}/{database}"

    @property
    def log_path(self) -> Path:
        """Where its messages are."""
        return self.directory / f"{self.name}.log"

    @property
    def is_alive(self) -> bool:
        """Whether its process is running; a suspended one counts."""
        return self._process is not None and self._process.is_alive

    @property
    def pids(self) -> dict[str, int]:
        """Process id by server name."""
        return {self.name: self._running.pid}

    def shut_down(self) -> None:
        """End it at once, and with it its clients' connections; `start` brings it back."""
        self._end()

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        self._running.kill()

    def suspend(self) -> None:
        """Let it hang (SIGSTOP): it accepts connections and never answers."""
        self._running.suspend()

    def resume(self) -> None:
        """Let it go on after `suspend`."""
        self._running.resume()

    # How

    @property
    def _running(self) -> ServerProcess:
        if self._process is None:
            raise ServerFailed(f"{self.name} was not started")
        return self._process

    def _prepare(self) -> None:
        pgbouncer_programs()
        lowered()

    def _start(self) -> None:
        (port,) = self._ports
        give(self.directory)
        require_reach(self.directory)
        users = self.directory / "users.txt"
        users.write_text(
            "".join(f'"{user}" "{self._server.password}"\n' for user in (SUPERUSER, ROLE)), "utf-8"
        )
        give(users)
        settings = {**self._settings, "listen_port": str(port), "auth_file": str(users)}
        configuration = self.directory / "pgbouncer.ini"
        configuration.write_text(
            f"[databases]\n* = host=127.0.0.1 port={self._server.ports[0]}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items()),
            "utf-8",
        )
        give(configuration)
        programs = pgbouncer_programs()
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [*lowered(), programs.program("pgbouncer"), str(configuration)], programs.environment
        )
        self._process.wait_until(
            lambda: answers(self.endpoint), port=port, timeout_s=START_TIMEOUT_S
        )

    def _end(self) -> None:
        if self._process is not None:
            self._process.stop()
