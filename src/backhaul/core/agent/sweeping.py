"""Abandoned staging: found in the ledger, removed once its owner is gone.

A transfer removes its own staging. What is left was left by a process that died, or that hung and
went on later, or by a target that did not answer the removal. The ledger remembers every staging
root from its claim until a sweep has found it gone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import groupby

from backhaul.core.facts import AbandonedStagingRemoved
from backhaul.core.ports import AbandonedStaging, Ports
from backhaul.core.requests.policy import Policy

SWEEP_EVERY_S = 300.0
SWEEP_AFTER = timedelta(minutes=15)  # a forgotten process has ended by then
SWEEP_BATCH = 500


def sweep_abandoned(ports: Ports, policy: Policy) -> None:
    """Remove what claims older than `SWEEP_AFTER` left; safe to repeat and beside other agents.

    Of several agents the leader does it for all.

    Raises:
        BackhaulError: The ledger or the target does not answer; the next sweep goes on.
    """
    while ports.standing.is_leader:
        batch = ports.ledger.abandoned_staging(ports.clock.now(), age=SWEEP_AFTER, most=SWEEP_BATCH)
        for (filesystem, user), group in groupby(
            batch, key=lambda one: (one.staging_root.filesystem, policy.user_of(one.route))
        ):
            _remove(ports, filesystem, user, list(group))
        if len(batch) < SWEEP_BATCH:
            return


def _remove(
    ports: Ports, filesystem: str, user: str | None, abandoned: Sequence[AbandonedStaging]
) -> None:
    roots = [one.staging_root for one in abandoned]
    with ports.pool.session(filesystem, user) as session:
        found = dict(zip(roots, session.status(roots), strict=True))
        # At least one removal in each `.backhaul` directory: it also removes that once it is empty.
        last = {root.parent: root for root in roots}
        for one in abandoned:
            root = one.staging_root
            if found[root] is not None or last[root.parent] == root:
                session.remove_staging(root, up_to=one.epoch)
            if found[root] is not None:
                ports.emit(AbandonedStagingRemoved(transfer_id=one.transfer_id, staging=root.uri))
    ports.ledger.forget_staging(abandoned)
