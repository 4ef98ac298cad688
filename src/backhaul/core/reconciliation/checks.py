"""A second look before a difference is reported: streams are read while the world goes on.

Findings are gathered and looked at again together; what lies between them waits, so the order
stays. Memory: `MOST` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from zlib import crc32

from backhaul.core.reconciliation.values import FINDINGS, ComparedPath, ObjectClass

DOUBTFUL_MOST = 500  # findings that are looked at together
MOST = 5000

LookAgain = Callable[[Sequence[ComparedPath]], Sequence[ComparedPath | None]]


def is_finding(one: ComparedPath) -> bool:
    """Whether the path is to be looked at again."""
    return one.found in FINDINGS


def is_unproved(one: ComparedPath) -> bool:
    """Whether a checksum of S3 may prove what is there."""
    return one.found is ObjectClass.UNPROVED


def sample_of(share: float) -> Callable[[ComparedPath], bool]:
    """Whether a path that is the same belongs to a sample of that share, the same at every run.

    Args:
        share: 0 to 1.
    """
    most = round(share * (1 << 32))

    def is_chosen(one: ComparedPath) -> bool:
        return (
            one.found is ObjectClass.SAME
            and crc32(one.row.path.encode("utf-8", "surrogateescape")) < most
        )

    return is_chosen


def checked(
    every: Iterable[ComparedPath],
    look_again: LookAgain,
    is_doubtful: Callable[[ComparedPath], bool] = is_finding,
) -> Iterator[ComparedPath]:
    """The same, with what the second look found in place of each finding.

    Args:
        look_again: One result for each; None: nothing is there any more.
        is_doubtful: What is looked at.
    """
    waiting: list[tuple[ComparedPath, bool]] = []
    doubtful = 0
    for one in every:
        here = is_doubtful(one)
        if not waiting and not here:
            yield one
            continue
        waiting.append((one, here))
        doubtful += here
        if doubtful >= DOUBTFUL_MOST or len(waiting) >= MOST:
            yield from _looked_at(waiting, look_again)
            waiting, doubtful = [], 0
    yield from _looked_at(waiting, look_again)


def _looked_at(
    waiting: Sequence[tuple[ComparedPath, bool]], look_again: LookAgain
) -> Iterator[ComparedPath]:
    findings = [one for one, here in waiting if here]
    again = iter(look_again(findings) if findings else ())
    for one, here in waiting:
        result = next(again) if here else one
        if result is not None:
            yield result
