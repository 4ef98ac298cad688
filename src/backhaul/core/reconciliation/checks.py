"""A second look before a difference is reported: streams are read while the world goes on.

Findings are gathered and looked at again together; what lies between them waits, so the order
stays. Memory: `MOST` rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from backhaul.core.reconciliation.values import FINDINGS, ComparedPath

DOUBTFUL_MOST = 500  # findings that are looked at together
MOST = 5000

LookAgain = Callable[[Sequence[ComparedPath]], Sequence[ComparedPath | None]]


def checked(every: Iterable[ComparedPath], look_again: LookAgain) -> Iterator[ComparedPath]:
    """The same, with what the second look found in place of each finding.

    Args:
        look_again: One result for each; None: nothing is there any more.
    """
    waiting: list[ComparedPath] = []
    doubtful = 0
    for one in every:
        if not waiting and one.found not in FINDINGS:
            yield one
            continue
        waiting.append(one)
        doubtful += one.found in FINDINGS
        if doubtful >= DOUBTFUL_MOST or len(waiting) >= MOST:
            yield from _looked_at(waiting, look_again)
            waiting, doubtful = [], 0
    yield from _looked_at(waiting, look_again)


def _looked_at(waiting: Sequence[ComparedPath], look_again: LookAgain) -> Iterator[ComparedPath]:
    findings = [one for one in waiting if one.found in FINDINGS]
    again = iter(look_again(findings) if findings else ())
    for one in waiting:
        result = next(again) if one.found in FINDINGS else one
        if result is not None:
            yield result
