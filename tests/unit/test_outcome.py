"""What a failure means for the message: every row of `after_failure`."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backhaul.core.backoff import RetryPolicy
from backhaul.core.errors import (
    BackhaulError,
    BadMessage,
    CannotWrite,
    IntegrityError,
    LedgerLocked,
    NotAllowed,
    OutageError,
    OutcomeUnknown,
    PermanentError,
    SourceChanged,
    TargetExists,
    TargetMissing,
    TransientError,
    VisibilityLost,
)
from backhaul.core.transfer.outcome import Budget, Disposition, Verdict, after_failure

BUDGET = Budget(retry=RetryPolicy(max_attempts=3))
TRANSIENT = TransientError("E_X", "for now")


@pytest.mark.parametrize(
    "kind", [PermanentError, BadMessage, NotAllowed, CannotWrite, TargetExists]
)
def test_permanent_is_dead_at_once(kind: type[PermanentError]) -> None:
    assert after_failure(kind("E_X", "x"), BUDGET).disposition is Disposition.DEAD


def test_outage_holds_however_much_is_spent() -> None:
    spent = Budget(retry=RetryPolicy(max_attempts=1), failures=9, receive_count=9)
    error = OutageError.of("s3", "E_X", "x")

    assert after_failure(error, spent) == Verdict(disposition=Disposition.HOLD, error=error)


@pytest.mark.parametrize(
    "kind",
    [
        TransientError,
        SourceChanged,
        TargetMissing,
        OutcomeUnknown,
        IntegrityError,
        VisibilityLost,
        LedgerLocked,
        BackhaulError,
    ],
)
@pytest.mark.parametrize(
    ("failures", "disposition"),
    [(0, Disposition.RETRY), (1, Disposition.RETRY), (2, Disposition.DEAD)],
)
def test_what_may_pass_comes_back_until_attempts_are_spent(
    kind: type[BackhaulError], failures: int, disposition: Disposition
) -> None:
    error = kind("E_X", "x")
    verdict = after_failure(error, replace(BUDGET, failures=failures))
    assert verdict == Verdict(disposition=disposition, error=error)


@pytest.mark.parametrize(
    ("changes", "disposition"),
    [(0, Disposition.RETRY), (1, Disposition.RETRY), (2, Disposition.DEAD)],
)
def test_third_change_of_the_source_is_for_good(changes: int, disposition: Disposition) -> None:
    many = Budget(retry=RetryPolicy(max_attempts=100), source_changes=changes)
    verdict = after_failure(SourceChanged("E_SRC_CHANGED", "a: ETag differs"), many)

    assert verdict.disposition is disposition
    assert verdict.error is not None
    assert verdict.error.code == (
        "E_SRC_UNSTABLE" if disposition is Disposition.DEAD else "E_SRC_CHANGED"
    )
    assert "a: ETag differs" in verdict.error.message


@pytest.mark.parametrize(
    ("receives", "limit", "is_last"),
    [(4, 5, False), (5, 5, True), (6, 5, True), (99, None, False), (0, 1, False)],
)
def test_message_that_sqs_would_redrive_dies_with_its_reason(
    receives: int, limit: int | None, *, is_last: bool
) -> None:
    budget = replace(BUDGET, receive_count=receives, max_receive_count=limit)

    assert budget.is_last is is_last
    assert after_failure(TRANSIENT, budget).disposition is (
        Disposition.DEAD if is_last else Disposition.RETRY
    )
