"""The ledger as the agent writes it: all capabilities on one connection."""

from __future__ import annotations

from backhaul.adapters.ledger.agents import SqlAgents
from backhaul.adapters.ledger.attempts import SqlAttempts
from backhaul.adapters.ledger.budgets.raising import SqlBudgets
from backhaul.adapters.ledger.destinations import SqlDestinations
from backhaul.adapters.ledger.expectations import SqlExpectations
from backhaul.adapters.ledger.fleet.admitting import SqlAdmissions
from backhaul.adapters.ledger.fleet.limiting import SqlByteRates
from backhaul.adapters.ledger.jobs import SqlJobs
from backhaul.adapters.ledger.operators import SqlOperators
from backhaul.adapters.ledger.outbox.delivering import SqlReplies
from backhaul.adapters.ledger.plans import SqlPlans
from backhaul.adapters.ledger.publications import SqlPublications
from backhaul.adapters.ledger.reconciling.results import SqlReconciliations
from backhaul.adapters.ledger.replays import SqlReplays
from backhaul.adapters.ledger.staging import SqlStaging
from backhaul.adapters.ledger.upkeep.counting import SqlEgress
from backhaul.adapters.ledger.upkeep.packing import SqlPacking
from backhaul.adapters.ledger.upkeep.pruning import SqlPruning


class SqlLedger(
    SqlAttempts,
    SqlDestinations,
    SqlAdmissions,
    SqlByteRates,
    SqlPlans,
    SqlPublications,
    SqlReplays,
    SqlStaging,
    SqlJobs,
    SqlEgress,
    SqlAgents,
    SqlBudgets,
    SqlOperators,
    SqlReconciliations,
    SqlExpectations,
    SqlReplies,
    SqlPruning,
    SqlPacking,
):
    """`core.ports.Ledger` and `OperatorLedger`; made by `opening.places.open_ledger`."""
