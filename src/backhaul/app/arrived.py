"""Whether everything that was requested for a place is published there, by the ledger alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from backhaul.adapters.ledger import HistoryFilter, TransferRow
from backhaul.app.places import SourcePlace
from backhaul.app.records import read_history
from backhaul.app.whereabouts import Presence, Whereabouts
from backhaul.core.model import TransferState
from backhaul.core.ports.ledger_place import LedgerPlace

LOOKED_AT = 1000  # transfers that have brought something
_BROUGHT_NOTHING = frozenset({Presence.PENDING, Presence.DEAD})


@dataclass(frozen=True, kw_only=True)
class Arrival:
    """What has come to a place, and what has not.

    Attributes:
        arrived: Transfers that are done; of very many the newest ones.
        missing: Those that have not ended and those that are dead and not settled, newest first.
    """

    arrived: Sequence[TransferRow]
    missing: Sequence[TransferRow]

    @property
    def is_complete(self) -> bool:
        """Something has come, and nothing is missing."""
        return bool(self.arrived) and not self.missing

    @property
    def last_at(self) -> datetime | None:
        """When the last of it was published."""
        ends = [one.finished_at for one in self.arrived if one.finished_at is not None]
        return max(ends, default=None)


def arrival(ledger: LedgerPlace, found: Whereabouts) -> Arrival:
    """Of what the ledger knows of the place.

    Args:
        found: As `where` has it, of `LOOKED_AT` transfers.
    """
    passages = found.passages
    missing = {
        one.transfer.id: one.transfer
        for one in passages
        if one.presence in _BROUGHT_NOTHING and one.transfer.settled_at is None
    }
    if found.has_more or found.searched_to is not None:
        missing |= {one.id: one for one in _open_below(ledger, found)}
    return Arrival(
        arrived=[one.transfer for one in passages if one.presence not in _BROUGHT_NOTHING],
        missing=sorted(missing.values(), key=lambda one: one.first_seen_at, reverse=True),
    )


def _open_below(ledger: LedgerPlace, found: Whereabouts) -> list[TransferRow]:
    """Also of those that are older than what was looked at: an index has them."""
    open_states = tuple(one for one in TransferState if not one.is_final)
    is_source = isinstance(found.place, SourcePlace)
    wanted = HistoryFilter(
        states=(*open_states, TransferState.DEAD),
        settled=False,
        source=found.place.text if is_source else None,
        destination=None if is_source else found.place.text,
    )
    return read_history(ledger, limit=LOOKED_AT, wanted=wanted, sums_objects=False).rows
