"""What this node remembers of the ledger's servers, so that an old primary is not taken for it.

After a failover the old primary may come back, take connections and accept writes: nothing on it
shows that another was promoted. It has the lower timeline, and that is what is remembered, in a
small file beside the other files of this node. A cluster of another identifier has another
history: a restored dump, an upgrade by `pg_upgrade`, or a wrong address.
"""

from __future__ import annotations

import json
import os
import threading
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.core.errors import OutageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from backhaul.adapters.ledger.postgres.moment import ServerMoment

_SUFFIX = ".primary"
_WRITING = threading.Lock()  # an agent has two connections, each with such a memory


@dataclass(frozen=True, kw_only=True)
class Primary:
    """The newest server that was seen."""

    system: int
    timeline: int


class PrimaryMemory:
    """One ledger's; threads may share it.

    Args:
        name: The ledger as messages name it.
        beside: `Settings.ledger_path`; None: nothing is remembered, as in a command that was given
            only an address.
        is_agent: It notes what it sees. Others only compare: they may be another user's.
    """

    def __init__(self, name: str, beside: Path | None, *, is_agent: bool) -> None:
        self._name = name
        self._path = None if beside is None else beside.with_name(f"{beside.name}{_SUFFIX}")
        self._is_agent = is_agent
        self._lock = threading.Lock()
        self._seen: Primary | None = None
        self._version: tuple[int, int] | None = None  # of the file that was read last

    def check(self, moment: ServerMoment) -> None:
        """Refuse a server that is not the newest, and remember one that is.

        Raises:
            OutageError: `ledger`: E_LEDGER_OLD_PRIMARY, E_LEDGER_CLUSTER; E_LEDGER_IO where it
                cannot be remembered.
        """
        if self._path is None or moment.timeline is None:
            return
        found = Primary(system=moment.system, timeline=moment.timeline)
        with self._lock:
            self._look(self._path)
            if found == self._seen:
                return
            self._compare(self._path, found)
            if self._is_agent:
                self._write(self._path, found)
            self._seen = found

    def _look(self, path: Path) -> None:
        """Another process of this node may have seen a newer one meanwhile."""
        try:
            status = path.stat()
        except FileNotFoundError:
            return  # what this process has seen still counts
        except OSError as error:
            raise self._no_memory(path, f"cannot be read: {error.strerror}") from error
        version = (status.st_mtime_ns, status.st_ino)
        if version != self._version:
            self._seen = self._read(path)
            self._version = version

    def _compare(self, path: Path, found: Primary) -> None:
        seen = self._seen
        if seen is not None and found.system != seen.system:
            raise OutageError.of(
                "ledger",
                "E_LEDGER_CLUSTER",
                f"{self._name} leads to the PostgreSQL cluster {found.system}, and this agent "
                f"worked with {seen.system}",
                hint="check the address; if the ledger was restored or moved there on purpose, "
                f"remove {path} and restart the agent",
            )
        newest = max(
            (one for one in (seen, *_others(path)) if one and one.system == found.system),
            key=lambda one: one.timeline,
            default=found,
        )
        if found.timeline < newest.timeline:
            raise OutageError.of(
                "ledger",
                "E_LEDGER_OLD_PRIMARY",
                f"{self._name} leads to an old primary: timeline {found.timeline}, and this agent "
                f"worked on timeline {newest.timeline}",
                hint="stop that server, or make it a standby of the new one by pg_rewind; Backhaul "
                "goes on by itself",
            )

    def _read(self, path: Path) -> Primary | None:
        try:
            return _parsed(path)
        except PermissionError as error:
            if self._is_agent:
                raise self._no_memory(path, f"cannot be read: {error.strerror}") from error
            return None  # another user's, and this process only reads the ledger
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise self._no_memory(path, f"cannot be read: {error}") from error

    def _write(self, path: Path, found: Primary) -> None:
        new = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with _WRITING, new.open("w", encoding="utf-8") as file:
                json.dump(asdict(found), file)
                file.flush()
                os.fsync(file.fileno())
                new.replace(path)
        except OSError as error:
            raise self._no_memory(path, f"cannot be written: {error.strerror}") from error

    def _no_memory(self, path: Path, why: str) -> OutageError:
        return OutageError.of(
            "ledger",
            "E_LEDGER_IO",
            f"{path}, which says which PostgreSQL server was the last primary, {why}",
            hint="give the agent's user that file and its directory, and room on that disk",
        )


def _others(path: Path) -> Iterator[Primary]:
    """What this node knows under other addresses of the same servers: one host more, say."""
    for other in path.parent.glob(f"ledger-*{_SUFFIX}"):
        with suppress(OSError, ValueError, TypeError, KeyError):  # its own ledger complains
            if other != path:
                yield _parsed(other)


def _parsed(path: Path) -> Primary:
    values = json.loads(path.read_text(encoding="utf-8"))
    return Primary(system=int(values["system"]), timeline=int(values["timeline"]))
