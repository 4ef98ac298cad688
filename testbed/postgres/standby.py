"""A streaming standby of a PostgreSQL, and its promotion.

A paused replay loses nothing: promotion replays all that was received. What loses commits that the
primary has confirmed is a receiver that hangs: `stop_receiving`.
"""

from __future__ import annotations

import signal
from collections.abc import Mapping
from pathlib import Path

from backhaul.testing.servers.detached import DetachedProcess
from backhaul.testing.servers.postgres import family
from backhaul.testing.servers.postgres.listener import SUPERUSER
from backhaul.testing.servers.postgres.server import PostgreSQL
from backhaul.testing.servers.postgres.user import give, lowered

_PROMOTION_S = 30


class PostgresStandby(PostgreSQL):
    """A copy of a running primary, made at the first start; same users, same password."""

    name = "standby"

    def __init__(
        self,
        primary: PostgreSQL,
        directory: Path | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        detached: bool = False,
    ) -> None:
        """See `PostgresListener`.

        Args:
            primary: One that was started.
        """
        super().__init__(directory, settings=settings, detached=detached)
        self._primary = primary

    def promote(self) -> None:
        """Make it a primary, on a timeline of its own, with what it has received."""
        self.sql(f"SELECT pg_promote(true, {_PROMOTION_S})")

    def stop_receiving(self) -> None:
        """From now on it lacks what the primary commits."""
        family.send(self._receivers(), signal.SIGSTOP)

    def forget_unreceived(self) -> None:
        """After `stop_receiving`, with the primary gone: nothing more comes in."""
        family.send(self._receivers(), signal.SIGKILL)
        self._wait_for_answers()  # PostgreSQL starts all its processes anew.

    # How

    def _receivers(self) -> list[DetachedProcess]:
        return [
            one
            for one in family.children(self._running.pid)
            if b"walreceiver" in Path(f"/proc/{one.pid}/cmdline").read_bytes()
        ]

    def _make_cluster(self) -> None:
        self._keep_password(self._primary.password)
        # The server's own user reads it, and libpq ignores one that others may read.
        own = self.directory / "pgpass-of-receiver"
        own.write_text(self.pass_file.read_text("utf-8"), "utf-8")
        give(own)
        (port,) = self._primary.ports
        self._run(
            *(*lowered(), self._programs.program("pg_basebackup"), "-D", str(self.data_directory)),
            *("-R", "-X", "stream", "-c", "fast", "--no-sync"),
            *("-d", f"host=127.0.0.1 port={port} user={SUPERUSER} passfile={own}"),
        )

    def _fill(self) -> None:
        """The primary's databases and users are in the copy."""
