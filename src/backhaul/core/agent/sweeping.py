"""Staging that nobody comes back to: found in the ledger, removed once its owner is gone.

A transfer tidies after itself. What is left is left by a process that died or hung and went on
later, or by a target that did not answer the tidying. The ledger remembers every staging root
from its claim until a sweep has seen it gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

from backhaul.core.facts import StagingSwept
from backhaul.core.ports import AbandonedStaging
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer.runner import Ports

SWEEP_EVERY_S = 300.0
SWEEP_AFTER = timedelta(minutes=15)  # a forgotten process has ended by then
SWEEP_BATCH = 500


def sweep_litter(ports: Ports, policy: Policy) -> None:
    """Remove what is left of claims older than `SWEEP_AFTER`; safe to repeat and beside others.

    Raises:
        BackhaulError: The ledger or the target does not answer; the next sweep goes on.
    """
    while True:
        litter = ports.ledger.abandoned_staging(ports.clock.now() - SWEEP_AFTER, most=SWEEP_BATCH)
        for (filesystem, user), lefts in groupby(
            litter, key=lambda left: (left.staging_root.filesystem, policy.user_of(left.route))
        ):
            _sweep(ports, filesystem, user, list(lefts))
        if len(litter) < SWEEP_BATCH:
            return


def _sweep(
    ports: Ports, filesystem: str, user: str | None, lefts: Sequence[AbandonedStaging]
) -> None:
    roots = [left.staging_root for left in lefts]
    with ports.pool.session(filesystem, user) as session:
        there = dict(zip(roots, session.status(roots), strict=True))
        # One removal per `.backhaul` at least: it takes the empty directory away, too.
        last = {root.parent: root for root in roots}
        for left in lefts:
            root = left.staging_root
            if there[root] is not None or last[root.parent] == root:
                session.remove_staging(root, up_to=left.epoch)
            if there[root] is not None:
                ports.emit(StagingSwept(transfer_id=left.transfer_id, staging=root.uri))
    ports.ledger.forget_staging(lefts)
