"""What a killed writer left: a change in SQLite's journal that has to be rolled back."""

from __future__ import annotations

from pathlib import Path

from backhaul.access import distrust, may_read, may_write
from backhaul.adapters.ledger.sqlite.engine import recover
from backhaul.adapters.ledger.sqlite.faults import mapped
from backhaul.adapters.ledger.sqlite.trust import denied, refuse


def roll_back(path: Path) -> None:
    """Roll back an unfinished change of a killed writer, where this user may.

    Raises:
        ConfigurationError: E_LEDGER_DENIED: the journal cannot be read, and SQLite would roll it
            back, which a reader may not.
    """
    journal = journal_of(path)
    if not journal.exists():
        return
    if not may_read(journal):
        raise denied(journal, "read")
    refuse(distrust(journal, {0, path.stat().st_uid}))
    if journal.stat().st_size and may_write(path):
        with mapped(path, is_reader=True):
            recover(path)  # only waits for the lock while a writer is at work


def journal_of(path: Path) -> Path:
    """SQLite's journal of the ledger at `path`, which is no link."""
    return Path(f"{path}-journal")
