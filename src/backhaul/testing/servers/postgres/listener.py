"""What takes PostgreSQL's clients on loopback: the server itself, or a pooler before it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from backhaul.testing.servers.base import OneProcessServer
from backhaul.testing.servers.postgres.programs import postgres_programs
from backhaul.testing.servers.process import server_environment

COMMAND_TIMEOUT_S = 60.0
_START_TIMEOUT_S = 60.0
# May do everything, and what an agent is given: it owns its databases, and nothing else.
SUPERUSER = "postgres"
ROLE = "backhaul"


def answers(endpoint: str) -> bool:
    """Whether what listens at this URL takes connections."""
    programs = postgres_programs()
    return not subprocess.run(
        [programs.program("pg_isready"), "-q", "-t", "2", "-d", endpoint],
        env={**server_environment(), **programs.environment},
        stdin=subprocess.DEVNULL,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    ).returncode


class PostgresListener(OneProcessServer):
    """One port for PostgreSQL's clients. `defaults` are its settings, unless others are given."""

    scheme = "postgresql"
    defaults: ClassVar[Mapping[str, str]]

    def __init__(
        self,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        """See `Server`.

        Args:
            directory: As root, only one that `nobody` can reach.
            settings: Of its configuration file.
        """
        super().__init__(directory, detached=detached)
        self._settings = {**self.defaults, **(settings or {})}

    def url(self, database: str = ROLE, *, user: str = ROLE) -> str:
        """For libpq's clients; the password is not in it but in the server's `pass_file`."""
        return f"{self.scheme}://{user}@127.0.0.1:{self.ports[0]}/{database}"

    def _wait_for_answers(self) -> None:
        self._running.wait_until(
            lambda: answers(self.endpoint), port=self.ports[0], timeout_s=_START_TIMEOUT_S
        )
