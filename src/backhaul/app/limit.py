"""`backhaul limit`: reads and changes the limit on reading from S3 while agents run.

With a ledger on PostgreSQL it is there, for all agents; else in a file beside the ledger.
"""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backhaul.adapters.ledger import LedgerReader, find_reader, open_ledger
from backhaul.adapters.system.clock import host_name
from backhaul.adapters.system.limit_file import LimitFile
from backhaul.adapters.system.reservations import Reservations
from backhaul.core.errors import BackhaulError
from backhaul.core.ports.ledger_place import PostgresUrl
from backhaul.core.rate_limit import EffectiveLimit, LimitSource, ManualLimit, effective_limit
from backhaul.core.units import human_rate
from backhaul.settings.model import Settings


@dataclass(frozen=True, kw_only=True)
class Limit:
    """The limit in force, and the one that the configuration alone would give.

    Attributes:
        until: When a limit set by hand ends; None: never, or it is not set by hand.
        applications_bytes_per_s: Reserved for YARN applications that may be running.
    """

    now: EffectiveLimit
    until: datetime | None
    configured: EffectiveLimit
    applications_bytes_per_s: int

    @property
    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {
            "bytes_per_s": self.now.bytes_per_s,
            "why": self.now.why.value,
            "until": self.until.isoformat() if self.until else None,
            "configured_bytes_per_s": self.configured.bytes_per_s,
            "applications_bytes_per_s": self.applications_bytes_per_s,
        }


def read_limit(settings: Settings, reader: LedgerReader | None = None) -> Limit:
    """The limit of every process that shares the ledger, now.

    Args:
        reader: Of the ledger, where one is open.

    Raises:
        ConfigurationError: E_LIMIT_FILE; or of a ledger on PostgreSQL, as is OutageError.
    """
    by_hand = _read(settings, reader)
    chosen = settings.bandwidth.schedule
    local = datetime.now(UTC).astimezone()
    now = effective_limit(chosen, by_hand, local)
    is_by_hand = by_hand is not None and now.why is LimitSource.BY_HAND
    return Limit(
        now=now,
        until=by_hand.until if by_hand is not None and is_by_hand else None,
        configured=effective_limit(chosen, None, local),
        applications_bytes_per_s=Reservations(settings.ledger_path).total(),
    )


def limit_words(settings: Settings) -> str:
    """The limit in force as a person reads it; where it cannot be read, the error's code."""
    try:
        found = read_limit(settings)
    except BackhaulError as error:
        return f"unknown ({error.code})"
    rate, why = found.now.bytes_per_s, found.now.why
    words = "none" if rate is None else human_rate(rate)
    return words if why is LimitSource.CONFIGURED else f"{words} ({why.value})"


def write_limit(settings: Settings, manual: ManualLimit | None) -> None:
    """Set it by hand, or return to the configuration; running agents apply it within a second.

    On PostgreSQL they do with their next beat, and share a higher one with the one after it.

    Raises:
        ConfigurationError: E_LIMIT_FILE; or of a ledger on PostgreSQL, as is OutageError.
    """
    place = settings.ledger_place
    if isinstance(place, PostgresUrl):
        with closing(open_ledger(place, create=False, host=host_name())) as ledger:
            ledger.limit_rate(manual)
    else:
        LimitFile(settings.ledger_path).write(manual)


def _read(settings: Settings, reader: LedgerReader | None) -> ManualLimit | None:
    if not isinstance(settings.ledger_place, PostgresUrl):
        return LimitFile(settings.ledger_path).read()
    if reader is not None:
        return reader.limit_by_hand()
    reader = find_reader(settings.ledger_place)
    if reader is None:
        return None  # no agent has made its tables yet
    with closing(reader):
        return reader.limit_by_hand()
