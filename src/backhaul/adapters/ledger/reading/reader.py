"""The ledger as commands and pages read it: one reader, a module for each purpose."""

from __future__ import annotations

from backhaul.adapters.ledger.fleet.limiting import ByteRateReader
from backhaul.adapters.ledger.reading.arriving import ArrivingReader
from backhaul.adapters.ledger.reading.budgeting import BudgetReader
from backhaul.adapters.ledger.reading.egress import EgressReader
from backhaul.adapters.ledger.reading.evidence import EvidenceReader
from backhaul.adapters.ledger.reading.history import HistoryReader
from backhaul.adapters.ledger.reading.locating import PlaceReader
from backhaul.adapters.ledger.reading.operating import OperatorReader
from backhaul.adapters.ledger.reading.reconciling import ReconcileReader
from backhaul.adapters.ledger.reading.replying import ReplyReader
from backhaul.adapters.ledger.reading.searching import SearchReader
from backhaul.adapters.ledger.upkeep.checking import CheckReader
from backhaul.adapters.ledger.upkeep.packing import PackReader
from backhaul.adapters.ledger.upkeep.pruning import PruneReader


class LedgerReader(
    HistoryReader,
    EvidenceReader,
    ArrivingReader,
    EgressReader,
    OperatorReader,
    BudgetReader,
    ByteRateReader,
    SearchReader,
    ReconcileReader,
    PlaceReader,
    ReplyReader,
    CheckReader,
    PruneReader,
    PackReader,
):
    """A ledger, read-only; made by `opening.places.open_reader`.

    Raises (any method):
        OutageError: `ledger`: locked too long or an I/O error.
        EditedLedger: E_LEDGER_CORRUPT: a row that Backhaul did not write.
    """
