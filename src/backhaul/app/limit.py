"""`backhaul limit`: reads and changes the limit on reading from S3 while agents run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from backhaul.adapters.system.limit_file import LimitFile
from backhaul.adapters.system.reservations import Reservations
from backhaul.core.errors import BackhaulError
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


def read_limit(settings: Settings) -> Limit:
    """The limit of every process that shares the ledger, now.

    Raises:
        ConfigurationError: E_LIMIT_FILE.
    """
    by_hand = LimitFile(settings.ledger_path).read()
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

    Raises:
        ConfigurationError: E_LIMIT_FILE.
    """
    LimitFile(settings.ledger_path).write(manual)
