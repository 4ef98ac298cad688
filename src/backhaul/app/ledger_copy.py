"""`backhaul ledger copy`: a ledger's records from its file into a database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from backhaul.adapters.ledger.opening.places import moving
from backhaul.core.ports.ledger_place import PostgresUrl

if TYPE_CHECKING:
    from backhaul.adapters.ledger.opening.moving import MovedLedger


def copy_into(source: Path, target: PostgresUrl, progress: Callable[[str], None]) -> MovedLedger:
    """Copy them; see `move_ledger`."""
    moved: MovedLedger = moving().move_ledger(source, target, progress)
    return moved
