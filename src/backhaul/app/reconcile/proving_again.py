"""`--deep`: a sample of what is the same is proven once more, without reading a byte from S3.

The checksum that the target stores is compared with the one of the ledger's proof, and with S3's
own, by HEAD, where that is of the same algorithm. A file of a mount, which stores none, is read.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

from backhaul.adapters.aws.clients import AwsSession
from backhaul.adapters.aws.s3_get import ObjectReader
from backhaul.adapters.ledger import LedgerReader
from backhaul.app.reconcile.adopting import pin_of
from backhaul.core.checksums import S3Checksums, matches
from backhaul.core.errors import SourceChanged
from backhaul.core.model import Location, Route
from backhaul.core.objects import Pin
from backhaul.core.ports import ObjectStore, Published, SourceReader, StoredChecksum, TargetPool
from backhaul.core.reconciliation.values import ComparedPath, ObjectClass
from backhaul.engines.gate import Gate
from backhaul.engines.read_retries import THROTTLED, RetryingReader

THREADS = 16


@contextmanager
def proving_again(
    aws: AwsSession, store: ObjectStore, *, route: Route, reader: LedgerReader, pool: TargetPool
) -> Iterator[DeepProof]:
    """A `DeepProof` with a client of S3 of its own, for the block."""
    with closing(ObjectReader(aws.credentials, THREADS)) as objects:
        yield DeepProof(
            route=route,
            reader=reader,
            pool=pool,
            store=store,
            objects=RetryingReader(objects, Gate(THREADS, THROTTLED), time.sleep),
        )


@dataclass(kw_only=True)
class DeepTotals:
    """What was proven again.

    Attributes:
        proven: Files whose stored checksum is the proof's.
        by_s3: Of these, files whose checksum is S3's own, too.
        unknown: Files of which no checksum could be had, or that changed meanwhile.
    """

    proven: int = 0
    by_s3: int = 0
    unknown: int = 0


class DeepProof:
    """Proves paths again; `core.reconciliation.checks` calls it with a batch of them.

    Args:
        objects: HEAD of an object.
    """

    def __init__(
        self,
        *,
        route: Route,
        reader: LedgerReader,
        pool: TargetPool,
        store: ObjectStore,
        objects: SourceReader,
    ) -> None:
        self._route = route
        self._reader = reader
        self._pool = pool
        self._store = store
        self._objects = objects
        self._lock = threading.Lock()
        self.totals = DeepTotals()

    def of(
        self, filesystem: Callable[[str], Location]
    ) -> Callable[[Sequence[ComparedPath]], list[ComparedPath]]:
        """For the paths of one file system.

        Args:
            filesystem: A path of it to its location.
        """

        def prove(chosen: Sequence[ComparedPath]) -> list[ComparedPath]:
            finals = [filesystem(one.row.path) for one in chosen]
            proofs = self._reader.contents_at(finals)
            known = [proofs.get(final) for final in finals]
            algorithms = ["CRC32C" if one is None else one.content.algorithm for one in known]
            with self._pool.session(finals[0].filesystem, self._route.run_as) as session:
                stored = session.stored_checksums(finals, algorithms=algorithms, passes_over=True)
            with ThreadPoolExecutor(THREADS) as threads:
                heads = list(threads.map(self._head, chosen))
            every = zip(chosen, known, stored, heads, strict=True)
            with self._lock:
                return [self._judged(*one) for one in every]

        return prove

    def _head(self, one: ComparedPath) -> S3Checksums | None:
        """None where the object has changed since it was listed."""
        source = one.row.source
        if source is None:
            return None
        pin: Pin = pin_of(source)
        endpoint = self._store.endpoint(pin.bucket, owner=self._route.source_owner)
        try:
            return self._objects.head(endpoint, pin)
        except SourceChanged:
            return None

    def _judged(
        self,
        one: ComparedPath,
        proof: Published | None,
        stored: StoredChecksum | None,
        head: S3Checksums | None,
    ) -> ComparedPath:
        if proof is None or stored is None or stored.checksum is None:
            self.totals.unknown += 1
            return one
        if proof.modified_ms not in {0, stored.modified_ms}:
            self.totals.unknown += 1  # replaced after it was compared
            return one
        if (stored.size_bytes, stored.checksum) != (proof.pin.size_bytes, proof.content):
            why = f"the target stores {stored.checksum}, the proof has {proof.content}"
            return one._replace(found=ObjectClass.DIFFERS, why=why)
        best = None if head is None else head.best(proof.pin.size_bytes)
        if best is not None and best.algorithm == stored.checksum.algorithm:
            if not matches(best, bytes.fromhex(stored.checksum.hex)):
                why = f"the target stores {stored.checksum}, S3 has {best.algorithm} {best.value}"
                return one._replace(found=ObjectClass.DIFFERS, why=why)
            self.totals.by_s3 += 1
        self.totals.proven += 1
        return one
