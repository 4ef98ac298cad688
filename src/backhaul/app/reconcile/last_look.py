"""What was found missing is looked at once more before it is sent.

The comparison may have been long ago: it lasted for hours, was resumed on the next day, or
waited for its confirmation.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from datetime import UTC, datetime

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3 import S3Store
from backhaul.adapters.hadoop.configuration.s3a import S3aConfiguration
from backhaul.adapters.ledger import find_reader
from backhaul.app.context import Context
from backhaul.app.ports import make_pool
from backhaul.app.reconcile.run import Comparison, ReconcileOptions, unreachable
from backhaul.app.reconcile.sending import LookAtMissing, MissingObject
from backhaul.app.reconcile.streams import S3Listing
from backhaul.core.model import Route
from backhaul.core.ports import Emit
from backhaul.core.reconciliation.values import ComparedPath


@contextmanager
def last_look(
    context: Context, route: Route, options: ReconcileOptions, *, region: str, emit: Emit
) -> Iterator[LookAtMissing]:
    """A look at S3, the ledger and the target as they are when it is called.

    Args:
        options: Those of the comparison.

    Raises:
        ConfigurationError, TransientError, OutageError: As of `run_reconcile`.
    """
    with ExitStack() as opened:
        pool = opened.enter_context(closing(make_pool(context, emit, 1)))
        pool.warm_up()
        store = S3Store(AwsSession(region, S3aConfiguration.loader(context.conf_dir)))
        reader = find_reader(context.settings.ledger_place, turn=threading.Lock())
        if reader is not None:
            opened.enter_context(closing(reader))
        comparison = Comparison(
            route=route,
            options=options,
            objects=S3Listing(store=store, owner=route.source_owner),
            store=store,
            reader=reader,
            pool=pool,
            default_fs=context.default_fs,
            now=lambda: datetime.now(UTC),
        )
        with unreachable():
            look = look_with(comparison)

        def reachable(missing: Sequence[MissingObject]) -> Sequence[ComparedPath | None]:
            with unreachable():
                return look(missing)

        yield reachable


def look_with(comparison: Comparison) -> LookAtMissing:
    """One result for each; None where nothing is left, or nothing belongs any more."""
    looks = [(area.root, comparison.second_look(area)) for area in comparison.areas()]

    def look(missing: Sequence[MissingObject]) -> Sequence[ComparedPath | None]:
        results: list[ComparedPath | None] = [None] * len(missing)
        for root, look_again in looks:
            its = [n for n, one in enumerate(missing) if one.target.is_within(root)]
            if its:
                again = look_again([missing[n].compared for n in its])
                for n, one in zip(its, again, strict=True):
                    results[n] = one
        return results

    return look
