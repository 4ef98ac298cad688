"""Whether a failover may lose what was committed, as far as the ledger's own user can see it.

A plain user sees how many servers stream from the primary and what `synchronous_standby_names` has,
but not which of them is synchronous: that takes the role `pg_read_all_stats`.
Source: https://www.postgresql.org/docs/15/monitoring-stats.html, pg_stat_replication.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import text

if TYPE_CHECKING:
    from sqlalchemy import Connection

_SEEN = text("""
    SELECT current_setting('synchronous_standby_names'), current_setting('synchronous_commit'),
           count(*), count(*) FILTER (WHERE state IS NULL),
           count(*) FILTER (WHERE sync_state IN ('sync', 'quorum'))
    FROM pg_catalog.pg_stat_replication""")
_NOT_WAITED_FOR = frozenset({"off", "local"})
ASYNC, STANDBY = "W_LEDGER_ASYNC", "E_LEDGER_STANDBY"


@dataclass(frozen=True, kw_only=True)
class Standbys:
    """What the primary shows to the ledger's user.

    Attributes:
        names: `synchronous_standby_names`.
        level: `synchronous_commit`.
        streaming: Servers, or copies under way, that receive its log.
        hidden: Those of them whose state this user may not see.
        synchronous: Those of the others that a COMMIT waits for.
    """

    names: str
    level: str
    streaming: int
    hidden: int
    synchronous: int

    @property
    def code(self) -> str:
        """`ASYNC`, `STANDBY`, or empty: nothing to say against it."""
        if self.level == "off" or (self.streaming and not self._is_waited_for):
            return ASYNC
        if self._is_waited_for and not self.synchronous and not self.hidden:
            return STANDBY
        return ""

    @property
    def is_async(self) -> bool:
        """Commits may be lost, and nothing waits."""
        return self.code == ASYNC

    @property
    def sentence(self) -> str:
        """What is so, for people, without a full stop."""
        if self.level == "off":
            return (
                "synchronous_commit is off: a crash of PostgreSQL loses commits that it confirmed"
            )
        if self.code == ASYNC:
            return (
                f"{self._streaming}, and none is synchronous: a failover may lose commits that the "
                "primary had confirmed"
            )
        if self.code == STANDBY:
            return (
                f"COMMIT waits for a synchronous standby ({self.names}), and none streams: "
                "it waits without end"
            )
        if not self._is_waited_for:
            return "no standby streams from this server"
        if self.hidden:
            return (
                f"{self._streaming}, and COMMIT waits for {self.names}; whether that is among them "
                "this user cannot see"
            )
        return f"COMMIT waits for a synchronous standby ({self.names}), and it streams"

    @property
    def fix(self) -> tuple[str, ...]:
        """Lines to copy."""
        if self.level == "off":
            return ("ALTER DATABASE … RESET synchronous_commit",)
        if self.code == ASYNC:
            return ("set synchronous_standby_names on the primary, and reload it",)
        if self.code == STANDBY:
            return ("start that standby, or take it out of synchronous_standby_names and reload",)
        return ("GRANT pg_read_all_stats TO the user of the ledger",) if self.hidden else ()

    @property
    def _is_waited_for(self) -> bool:
        return bool(self.names.strip()) and self.level not in _NOT_WAITED_FOR

    @property
    def _streaming(self) -> str:
        many = self.streaming != 1
        return f"{self.streaming} standby{'s' if many else ''} stream{'' if many else 's'}"


def seen(connection: Connection) -> Standbys:
    """As it is now; in any transaction."""
    names, level, streaming, hidden, synchronous = connection.execute(_SEEN).one()
    return Standbys(
        names=names, level=level, streaming=streaming, hidden=hidden, synchronous=synchronous
    )
