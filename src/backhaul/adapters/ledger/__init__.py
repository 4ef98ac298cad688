"""The ledger: one SQLite file that knows every transfer, through SQLAlchemy Core.

`files` opens it, `store` writes it for the agent, `reader` reads it for the commands, `schema`
draws its tables, `migrate` brings an older file up to them, `owner` tells who is still alive and
`faults` turns SQLite's errors into ours. What the methods promise stands in `core.ports.Ledger`.
"""

from __future__ import annotations

from backhaul.adapters.ledger.faults import EditedLedger
from backhaul.adapters.ledger.files import agent_lock, find_reader, open_ledger, open_reader
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.reader import (
    EvidenceRow,
    JobRow,
    JournalRow,
    LedgerReader,
    ProofTotals,
    TransferDetails,
    TransferRow,
)
from backhaul.adapters.ledger.store import SqlLedger

__all__ = [
    "EditedLedger",
    "EvidenceRow",
    "JobRow",
    "JournalRow",
    "LedgerReader",
    "Owner",
    "ProofTotals",
    "SqlLedger",
    "TransferDetails",
    "TransferRow",
    "agent_lock",
    "find_reader",
    "open_ledger",
    "open_reader",
]
