"""The effects the core needs, as protocols. Adapters implement them; `testing` ships fakes.

Every method either succeeds, raises a `BackhaulError`, or raises one after taking effect; callers
are written for all three. Methods are safe to call from several threads.
"""

from __future__ import annotations

from backhaul.core.ports.budgets import BudgetLedger, BudgetReading, EgressGate
from backhaul.core.ports.bundle import Ports
from backhaul.core.ports.file_system import ContentChecker, Entry, TargetFs, TargetWriter
from backhaul.core.ports.ledger import Ledger
from backhaul.core.ports.ledger_records import (
    AbandonedStaging,
    Act,
    AttemptStart,
    Claimed,
    ClusterJob,
    Holder,
    MessageKey,
    MessageOrigin,
    Operator,
    OperatorEntry,
    Origin,
    PausedRoute,
    Published,
    SentAgain,
    Settlement,
)
from backhaul.core.ports.operators import OperatorLedger
from backhaul.core.ports.process import Clock, Emit, Randomness
from backhaul.core.ports.queue import FIFO, DeadLetterReason, Message, Queue, QueueFacts
from backhaul.core.ports.store import (
    Body,
    Endpoint,
    ListedObject,
    ListedPage,
    ListPage,
    ObjectStore,
    OtherListing,
    SourceReader,
)
from backhaul.core.ports.target import (
    FoundFile,
    Inherited,
    Progress,
    Rename,
    StageTask,
    StoredChecksum,
    TargetPool,
    TargetSession,
    Watch,
    WriteRefusal,
)

__all__ = [
    "FIFO",
    "AbandonedStaging",
    "Act",
    "AttemptStart",
    "Body",
    "BudgetLedger",
    "BudgetReading",
    "Claimed",
    "Clock",
    "ClusterJob",
    "ContentChecker",
    "DeadLetterReason",
    "EgressGate",
    "Emit",
    "Endpoint",
    "Entry",
    "FoundFile",
    "Holder",
    "Inherited",
    "Ledger",
    "ListPage",
    "ListedObject",
    "ListedPage",
    "Message",
    "MessageKey",
    "MessageOrigin",
    "ObjectStore",
    "Operator",
    "OperatorEntry",
    "OperatorLedger",
    "Origin",
    "OtherListing",
    "PausedRoute",
    "Ports",
    "Progress",
    "Published",
    "Queue",
    "QueueFacts",
    "Randomness",
    "Rename",
    "SentAgain",
    "Settlement",
    "SourceReader",
    "StageTask",
    "StoredChecksum",
    "TargetFs",
    "TargetPool",
    "TargetSession",
    "TargetWriter",
    "Watch",
    "WriteRefusal",
]
