"""All the ports that one attempt of a transfer uses."""

from __future__ import annotations

from dataclasses import dataclass, field

from backhaul.core.fleet.standing import Alone, Standing
from backhaul.core.ports.budgets import EgressGate
from backhaul.core.ports.cluster import Cluster
from backhaul.core.ports.ledger import Ledger
from backhaul.core.ports.process import Clock, Emit
from backhaul.core.ports.store import ObjectStore
from backhaul.core.ports.target import TargetPool


@dataclass(frozen=True, kw_only=True)
class Ports:
    """The effects one attempt needs.

    Attributes:
        cluster: None where no ResourceManager is configured.
        budgets: None: nothing limits what leaves S3.
        standing: What this process may do beside others on its ledger.
    """

    store: ObjectStore
    ledger: Ledger
    pool: TargetPool
    clock: Clock
    emit: Emit
    cluster: Cluster | None = None
    budgets: EgressGate | None = None
    standing: Standing = field(default_factory=Alone)
