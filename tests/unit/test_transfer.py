"""Every event of `transfer.step` and every row of `after_failure`."""

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
from backhaul.core.transfer import steps as transfer
from backhaul.core.transfer.steps import Attempt, Budget, Disposition, after_failure, start, step
from tests.contract.test_ledger import DAY, JOB

BUDGET = Budget(retry=RetryPolicy(max_attempts=3))
FRESH = Attempt(job=JOB, budget=BUDGET)
OWNED = replace(FRESH, directory=DAY, destination=DAY, epoch=4)


def settled(disposition: Disposition) -> transfer.Settle:
    return transfer.Settle(verdict=transfer.Verdict(disposition=disposition))


# ---------------------------------------------------------------- start


def test_new_transfer_begins_by_resolving() -> None:
    assert start(FRESH) == transfer.Resolve()


def test_frozen_plan_is_claimed_without_listing_again() -> None:
    frozen = replace(FRESH, has_plan=True, directory=DAY, destination=DAY)

    assert start(frozen) == transfer.Claim(min_epoch=1)
    assert start(replace(frozen, destination=None)) == transfer.Resolve()


# ---------------------------------------------------------------- the good way


def test_every_step_follows_the_one_before() -> None:
    record = transfer.Record(epoch=4, mode="tree", is_superseded=False)
    way: list[tuple[transfer.Event, transfer.Command]] = [
        (transfer.Resolved(directory=DAY, destination=DAY), transfer.Claim(min_epoch=1)),
        (transfer.ClaimGranted(epoch=4), transfer.Fence(epoch=4)),
        (transfer.Fenced(highest_seen=3), transfer.Stage(epoch=4)),
        (transfer.StagedAll(), transfer.Intend(epoch=4)),
        (transfer.Intended(is_owner=True), transfer.Publish(epoch=4)),
        (transfer.PublishedAll(mode="tree", is_superseded=False), transfer.Tidy(epoch=4)),
        (transfer.Tidied(), record),
        (transfer.Recorded(is_owner=True), settled(Disposition.DELETE)),
    ]
    attempt = FRESH
    for event, expected in way:
        attempt, command = step(attempt, event)
        assert command == expected
    assert (attempt.directory, attempt.destination, attempt.epoch) == (DAY, DAY, 4)


def test_superseded_is_recorded_as_such() -> None:
    attempt, _ = step(OWNED, transfer.PublishedAll(mode="superseded", is_superseded=True))

    _, command = step(attempt, transfer.Tidied())
    assert command == transfer.Record(epoch=4, mode="superseded", is_superseded=True)


# ---------------------------------------------------------------- claims


def test_busy_destination_waits_unspent() -> None:
    assert step(FRESH, transfer.ClaimBusy())[1] == settled(Disposition.WAIT)


@pytest.mark.parametrize(
    ("has_plan", "was_publishing", "expected"),
    [
        (True, True, transfer.Recover()),
        (True, False, transfer.Fence(epoch=9)),
        (False, True, transfer.Fence(epoch=9)),  # the plan was forgotten: nothing to look for
        (False, False, transfer.Fence(epoch=9)),
    ],
)
def test_only_an_interrupted_publish_is_looked_for(
    *, has_plan: bool, was_publishing: bool, expected: transfer.Command
) -> None:
    attempt = replace(FRESH, has_plan=has_plan, was_publishing=was_publishing)

    after, command = step(attempt, transfer.ClaimGranted(epoch=9))
    assert (after.epoch, command) == (9, expected)


def test_complete_recovery_copies_nothing() -> None:
    attempt, command = step(OWNED, transfer.Recovered(is_complete=True))
    assert command == transfer.Tidy(epoch=4)

    _, command = step(attempt, transfer.Tidied())
    assert command == transfer.Record(epoch=4, mode="adopted", is_superseded=False)


def test_partial_recovery_goes_on_with_the_fence() -> None:
    event = transfer.Recovered(is_complete=False)
    assert step(OWNED, event)[1] == transfer.Fence(epoch=4)


@pytest.mark.parametrize(("highest", "min_epoch"), [(4, 5), (17, 18)])
def test_staging_from_a_lost_ledger_is_outbid(highest: int, min_epoch: int) -> None:
    command = step(OWNED, transfer.Fenced(highest_seen=highest))[1]
    assert command == transfer.Claim(min_epoch=min_epoch)


@pytest.mark.parametrize(
    "event", [transfer.Intended(is_owner=False), transfer.Recorded(is_owner=False)]
)
def test_lost_ownership_settles_nothing(event: transfer.Event) -> None:
    assert step(OWNED, event)[1] == settled(Disposition.WAIT)


# ---------------------------------------------------------------- failures

PERMANENT = PermanentError("E_X", "for good")
TRANSIENT = TransientError("E_X", "for now")


def test_dead_transfer_removes_its_staging_first() -> None:
    attempt, command = step(OWNED, transfer.Failed(error=PERMANENT))
    assert command == transfer.Tidy(epoch=4)

    _, command = step(attempt, transfer.Tidied())
    assert command == transfer.Settle(
        verdict=transfer.Verdict(disposition=Disposition.DEAD, error=PERMANENT)
    )


def test_dead_transfer_is_never_recorded_as_done() -> None:
    published, _ = step(OWNED, transfer.PublishedAll(mode="tree", is_superseded=False))
    dead, _ = step(published, transfer.Failed(error=PERMANENT))

    _, command = step(dead, transfer.Tidied())
    assert command == transfer.Settle(
        verdict=transfer.Verdict(disposition=Disposition.DEAD, error=PERMANENT)
    )


def test_dead_before_a_claim_has_no_staging() -> None:
    _, command = step(FRESH, transfer.Failed(error=PERMANENT))
    assert command == transfer.Settle(
        verdict=transfer.Verdict(disposition=Disposition.DEAD, error=PERMANENT)
    )


def test_failed_attempt_leaves_staging_to_the_next_fence() -> None:
    _, command = step(OWNED, transfer.Failed(error=TRANSIENT))
    assert command == transfer.Settle(
        verdict=transfer.Verdict(disposition=Disposition.RETRY, error=TRANSIENT)
    )


@pytest.mark.parametrize(
    "kind", [PermanentError, BadMessage, NotAllowed, CannotWrite, TargetExists]
)
def test_permanent_is_dead_at_once(kind: type[PermanentError]) -> None:
    assert after_failure(kind("E_X", "x"), BUDGET).disposition is Disposition.DEAD


def test_outage_holds_however_much_is_spent() -> None:
    spent = Budget(retry=RetryPolicy(max_attempts=1), failures=9, receive_count=9)
    error = OutageError.of("s3", "E_X", "x")

    assert after_failure(error, spent) == transfer.Verdict(
        disposition=Disposition.HOLD, error=error
    )


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
    assert verdict == transfer.Verdict(disposition=disposition, error=error)


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
