"""PostgreSQL on loopback: a cluster of its own, made by `initdb` at the first start.

UTF-8, C.UTF-8 and checksums of pages; passwords by SCRAM, no sockets in the file system. It runs
as another user where the tests run as root: see `user`.
"""

from __future__ import annotations

import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from backhaul.testing.servers.errors import ServerFailed
from backhaul.testing.servers.postgres import family
from backhaul.testing.servers.postgres.listener import (
    COMMAND_TIMEOUT_S,
    ROLE,
    SUPERUSER,
    PostgresListener,
)
from backhaul.testing.servers.postgres.programs import Programs, postgres_programs
from backhaul.testing.servers.postgres.user import give, lowered, require_reach
from backhaul.testing.servers.process import ServerProcess, server_environment

# It writes what is in memory to the disk.
STOP_GRACE_S = 30.0

# `timezone`: known without a database of time zones. `jit`: would bring LLVM into each connection.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "32MB",
    "max_wal_size": "256MB",
    "wal_keep_size": "64MB",
    "jit": "off",
    "timezone": "GMT",
    "log_timezone": "GMT",
}


class PostgreSQL(PostgresListener):
    """A server with the superuser `postgres`, and the plain role `backhaul` with its database.

    Both have the same password, which is in `pass_file` alone. Databases that the role owns come
    by `create_database`.
    """

    name = "postgresql"
    defaults = _SETTINGS
    stop_signal = signal.SIGINT  # SIGTERM would wait until the last client has left.

    def __init__(
        self,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        """See `PostgresListener`; `{"fsync": "off"}` where no test cuts the power."""
        super().__init__(directory, settings=settings, detached=detached)
        self._password = ""

    @property
    def pass_file(self) -> Path:
        """For PGPASSFILE, or libpq's `passfile`: any port of 127.0.0.1, so a PgBouncer's too."""
        return self.directory / "pgpass"

    @property
    def password(self) -> str:
        """Of both users."""
        return self._password

    @property
    def data_directory(self) -> Path:
        """The cluster, with PostgreSQL's own files."""
        return self.directory / "data"

    # Databases

    def sql(self, statement: str, *, database: str = SUPERUSER) -> str:
        """Run a statement as the superuser; its rows, a line each, columns between ``|``.

        Raises:
            ServerFailed: It was refused; the text has PostgreSQL's.
        """
        return self._run(
            *(self._programs.program("psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"),
            *("-d", self.url(database, user=SUPERUSER), "-c", statement),
        ).strip()

    def create_database(
        self,
        name: str,
        *,
        encoding: str = "UTF8",
        locale: str = "C.UTF-8",
        icu_locale: str | None = None,
    ) -> str:
        """Make an empty database that the plain role owns.

        Args:
            encoding: One that fits the locale; ``C`` fits any.
            locale: For collation and character classes.
            icu_locale: With ICU's collation instead, such as ``en``; of PostgreSQL 15 and later.

        Returns:
            Its `url`.

        Raises:
            ServerFailed: There is one of that name, or the machine lacks the locale.
        """
        icu = f"LOCALE_PROVIDER icu ICU_LOCALE '{icu_locale}'" if icu_locale else ""
        self.sql(
            f'CREATE DATABASE "{name}" OWNER {ROLE} TEMPLATE template0 '
            f"ENCODING '{encoding}' LOCALE '{locale}' {icu}"
        )
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove it, and cut its connections. Safe to repeat."""
        self.sql(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    # Misfortunes; `start` brings it back with what was committed.

    def shut_down(self, *, immediate: bool = False) -> None:
        """End it and keep its data, unlike `stop`.

        Args:
            immediate: As a crash: nothing is written any more, the next start recovers. Else
                clients are cut, and all is written.
        """
        self._shut_down(signal.SIGQUIT if immediate else self.stop_signal)

    def restart(self) -> None:
        """Shut down and start, on the same port."""
        self.shut_down()
        self.start()

    def kill(self) -> None:
        """End all its processes at once (SIGKILL)."""
        process = self._running
        if process.is_alive:
            process.suspend()  # It starts no further ones.
        others = family.children(process.pid)
        process.kill()
        # Else these hold the shared memory, and the next start is refused.
        family.send(others, signal.SIGKILL)

    def suspend(self) -> None:
        """Let all its processes hang (SIGSTOP): connections are accepted and never answered."""
        super().suspend()
        family.send(family.children(self._running.pid), signal.SIGSTOP)

    def resume(self) -> None:
        """Let them go on after `suspend`."""
        family.send(family.children(self._running.pid), signal.SIGCONT)
        super().resume()

    # How

    @property
    def _programs(self) -> Programs:
        return postgres_programs()

    def _prepare(self) -> None:
        self._programs.program("initdb")
        lowered()

    def _start(self) -> None:
        (port,) = self._ports
        give(self.directory)
        require_reach(self.directory)
        is_new = not (self.data_directory / "global/pg_control").exists()
        if is_new:
            self._make_cluster()
        self._password = self._password_file.read_text("utf-8").strip()
        self._write_settings({**self._settings, "port": str(port)})
        self._process = ServerProcess(self.name, self.log_path, detached=self._detached)
        self._process.start(
            [*lowered(), self._programs.program("postgres"), "-D", str(self.data_directory)],
            self._programs.environment,
        )
        self._wait_for_answers()
        if is_new:
            self._fill()

    def _fill(self) -> None:
        """A new cluster, which runs."""
        self.sql(f"CREATE ROLE {ROLE} LOGIN PASSWORD '{self._password}'")
        self.create_database(ROLE)

    @property
    def _password_file(self) -> Path:
        return self.directory / "password"

    def _keep_password(self, password: str) -> None:
        # A file: its user could not read a descriptor of ours.
        self._password_file.write_text(f"{password}\n", "utf-8")
        give(self._password_file)
        self.pass_file.touch(mode=0o600)  # libpq ignores one that others may read.
        self.pass_file.write_text(
            "".join(f"127.0.0.1:*:*:{user}:{password}\n" for user in (SUPERUSER, ROLE)), "utf-8"
        )

    def _make_cluster(self) -> None:
        self._keep_password(secrets.token_hex(16))
        does_sync = self._settings.get("fsync", "on") != "off"
        self._run(
            *(*lowered(), self._programs.program("initdb"), "-D", str(self.data_directory)),
            *("-U", SUPERUSER, f"--pwfile={self._password_file}", "--auth=scram-sha-256"),
            *("-E", "UTF8", "--locale=C.UTF-8", "--data-checksums"),
            *(() if does_sync else ("--no-sync",)),
        )
        with (self.data_directory / "postgresql.conf").open("a", encoding="utf-8") as main:
            main.write("include 'bed.conf'\n")

    def _write_settings(self, settings: Mapping[str, str]) -> None:
        path = self.data_directory / "bed.conf"
        path.write_text(
            "".join(f"{name} = '{value}'\n" for name, value in settings.items()), "utf-8"
        )
        give(path)

    def _end(self) -> None:
        self._shut_down(self.stop_signal)

    def _shut_down(self, number: signal.Signals) -> None:
        if self._process is None or not self._process.is_alive:
            return
        others = family.children(self._process.pid)
        family.send(others, signal.SIGCONT)  # It waits for them, and some may be suspended.
        self._process.stop(STOP_GRACE_S, number)
        family.send(others, signal.SIGKILL)  # None is left, unless it had to be killed.

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.directory,
            env={
                **server_environment(),
                **self._programs.environment,
                "PGPASSFILE": str(self.pass_file),
                "PGCONNECT_TIMEOUT": "10",
            },
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        if done.returncode != 0:
            raise ServerFailed(f"{self.name}: {done.stdout}{done.stderr}".strip())
        return done.stdout
