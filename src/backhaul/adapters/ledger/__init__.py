"""The ledger: what records every transfer, through SQLAlchemy Core.

`store` writes it for the agent: one module for each capability of `core.ports.ledger`, with its
statements beside the code that runs them. `reading` reads it for the commands. `schema` draws the
tables, `sqlite` and `postgres` have what is each database's own, `dialects` what both provide,
`opening` opens either.
"""

from __future__ import annotations

from backhaul.adapters.ledger.dialects.database import EditedLedger
from backhaul.adapters.ledger.opening.places import (
    agent_lock,
    check_schema,
    find_reader,
    migrate_ledger,
    open_ledger,
    open_reader,
    standbys_of,
)
from backhaul.adapters.ledger.owner import Owner
from backhaul.adapters.ledger.reading.evidence import EvidenceRow, ProofTotals
from backhaul.adapters.ledger.reading.filtering import HistoryFilter
from backhaul.adapters.ledger.reading.history import COUNT_MOST, TransferDetails
from backhaul.adapters.ledger.reading.operating import OperatorAction, RetryCandidate
from backhaul.adapters.ledger.reading.reader import LedgerReader
from backhaul.adapters.ledger.reading.reconciling import UnfinishedTransfer
from backhaul.adapters.ledger.reading.replying import ReplyRow
from backhaul.adapters.ledger.reading.transfer_rows import JobRow, JournalRow, TransferRow
from backhaul.adapters.ledger.store import SqlLedger

__all__ = [
    "COUNT_MOST",
    "EditedLedger",
    "EvidenceRow",
    "HistoryFilter",
    "JobRow",
    "JournalRow",
    "LedgerReader",
    "OperatorAction",
    "Owner",
    "ProofTotals",
    "ReplyRow",
    "RetryCandidate",
    "SqlLedger",
    "TransferDetails",
    "TransferRow",
    "UnfinishedTransfer",
    "agent_lock",
    "check_schema",
    "find_reader",
    "migrate_ledger",
    "open_ledger",
    "open_reader",
    "standbys_of",
]
