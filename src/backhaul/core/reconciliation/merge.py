"""Three sorted streams, one row for each path; memory holds one entry of each.

A stream that is out of order is an error, never a wrong answer: its later paths would look like
objects that are missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

from backhaul.core.errors import TransientError
from backhaul.core.reconciliation.values import ProvenFile, Row, SourceObject, TargetFile
from backhaul.core.text import printable

AFTER_ALL = "\U0010ffff\U0010ffff"  # of the end of a stream: no path is behind it


class HasPath(Protocol):
    """An entry of a stream."""

    @property
    def path(self) -> str: ...


Entry = TypeVar("Entry", bound=HasPath)


def merged(
    sources: Iterator[SourceObject], proven: Iterator[ProvenFile], targets: Iterator[TargetFile]
) -> Iterator[Row]:
    """One row for each path, in order; several objects with one path are several rows.

    Raises:
        TransientError: E_RECONCILE_ORDER.
    """
    sources, proven = rising(sources, "S3", is_strict=False), rising(proven, "ledger")
    targets = rising(targets, "target")
    source, proof, target = next(sources, None), next(proven, None), next(targets, None)
    while True:
        at_source = AFTER_ALL if source is None else source.path
        at_proof = AFTER_ALL if proof is None else proof.path
        at_target = AFTER_ALL if target is None else target.path
        path = at_source
        path = min(path, at_proof)
        path = min(path, at_target)
        if path is AFTER_ALL:
            return
        here: SourceObject | None = None
        its_proof, its_target = None, None
        if at_proof == path:
            its_proof, proof = proof, next(proven, None)
        if at_target == path:
            its_target, target = target, next(targets, None)
        if at_source == path:
            here, source = source, next(sources, None)
            while here is not None and source is not None and source.path == path:
                here, other = _preferred(here, source, its_proof)
                yield Row(path, other, None, None)
                source = next(sources, None)
        yield Row(path, here, its_proof, its_target)


def _preferred(
    one: SourceObject, other: SourceObject, proof: ProvenFile | None
) -> tuple[SourceObject, SourceObject]:
    """Of two objects with one path, the one that is compared, and the other as excluded.

    The one that was brought last, else the newer one.
    """
    brought = None if proof is None else (proof.bucket, proof.key)
    rank = [
        (not each.excluded, (each.bucket, each.key) == brought, each.modified_us, each.key)
        for each in (one, other)
    ]
    kept, left = (one, other) if rank[0] >= rank[1] else (other, one)
    why = left.excluded or f"{printable(kept.uri)} has the same path"
    return kept, left._replace(excluded=why)


def rising(entries: Iterator[Entry], what: str, *, is_strict: bool = True) -> Iterator[Entry]:
    """The same entries, as long as their paths rise.

    Raises:
        TransientError: E_RECONCILE_ORDER.
    """
    last = ""
    for one in entries:
        path = one.path
        if path <= last and (is_strict or path < last):
            raise TransientError(
                "E_RECONCILE_ORDER",
                f"{what}: {printable(path)} comes after {printable(last)}",
                hint="nothing was reported behind that path: the streams must be in the order of"
                " their bytes",
            )
        last = path
        yield one
