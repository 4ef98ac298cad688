"""PgBouncer before a PostgreSQL, as many sites have it: a connection lasts for one transaction.

So nothing that belongs to a session may be relied on. Debian 12 has 1.18, which knows no prepared
statements in this mode.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backhaul.testing.servers.postgres.listener import ROLE, SUPERUSER, PostgresListener
from backhaul.testing.servers.postgres.server import PostgreSQL
from backhaul.testing.servers.postgres.user import give, lowered, require_reach
from backhaul.testing.servers.process import ServerProcess
from testbed.postgres.pgbouncer_programs import pgbouncer_programs

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


class PgBouncer(PostgresListener):
    """A pooler for every database of one server, in transaction mode; same users, same password."""

    name = "pgbouncer"
    defaults = _SETTINGS

    def __init__(
        self,
        server: PostgreSQL,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        """See `PostgresListener`.

        Args:
            server: One that was started; it may end and come back on its port.
        """
        super().__init__(directory, settings=settings, detached=detached)
        self._server = server

    def shut_down(self) -> None:
        """End it at once, and with it its clients' connections; `start` brings it back."""
        self._end()

    # How

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
        self._wait_for_answers()
