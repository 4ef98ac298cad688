"""The rules of the protocol, each with a way to remove it; a simulation that does not notice fails.

A rule is removed by replacing one named part of the program or of its fakes, from here only. `seed`
is a schedule that is known to notice; the gate tries it first and hunts for another if the program
has changed since.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass, replace
from datetime import datetime
from typing import Any, Protocol

import pytest

from backhaul.adapters.ledger.postgres import outcome
from backhaul.adapters.ledger.postgres.members.member import Member
from backhaul.adapters.ledger.postgres.moment import ServerMoment, current, remember
from backhaul.adapters.ledger.postgres.primary import PrimaryMemory
from backhaul.core import checksums as verification
from backhaul.core.agent import attempts, context, dead_lettering, delivery, failures
from backhaul.core.agent.agent import Agent
from backhaul.core.agent.attempts import RecordAttempts
from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.observer import Observer
from backhaul.core.agent.pausing.budgets import BudgetGate, _Reserved
from backhaul.core.agent.pausing.lot import Parked
from backhaul.core.agent.pausing.parking import Parking
from backhaul.core.agent.polling.kept import KeptSlots
from backhaul.core.agent.polling.poller import QueuePoller
from backhaul.core.agent.polling.senders import Hand
from backhaul.core.agent.polling.shares import Room, SlotShares
from backhaul.core.agent.replying.lane import ReplyLane
from backhaul.core.agent.reporting import Reporter
from backhaul.core.agent.stopping import Stop
from backhaul.core.agent.visibility import VisibilityKeeper
from backhaul.core.backoff import RetryPolicy
from backhaul.core.checksums import Checksum
from backhaul.core.errors import (
    BackhaulError,
    BudgetUsedUp,
    DestinationBusy,
    FencedOff,
    OutageError,
    TransientError,
)
from backhaul.core.fleet import liveness
from backhaul.core.fleet.liveness import BEAT_S, DEAD_S, Liveness
from backhaul.core.model import TransferState
from backhaul.core.objects import Pin
from backhaul.core.ports import ListPage
from backhaul.core.ports.ledger_records import OwnWrites
from backhaul.core.replies.patience import ReplyPatience
from backhaul.core.requests.pauses import PausedRoutes
from backhaul.core.requests.policy import Policy
from backhaul.core.transfer import attempt as heart
from backhaul.core.transfer import evidence, listing, plan, publishing, reuse
from backhaul.core.transfer.attempt import Attempt
from backhaul.core.transfer.outages import OutageWatch
from backhaul.core.transfer.outcome import Budget, Disposition, Verdict, after_failure
from backhaul.core.transfer.placing import Placing
from backhaul.core.transfer.proof_records import Proofs
from backhaul.core.transfer.publishing import Publisher, PublishOutcome
from backhaul.core.transfer.readers.completion_marker import CompletionMarker
from backhaul.core.transfer.readers.tables import Turn
from backhaul.core.transfer.staging import Staging
from backhaul.engines import checksum_comparison
from backhaul.engines.native import Stager
from backhaul.engines.operations import TargetOperations
from backhaul.testing.fakes import (
    FakeQueue,
    FakeTarget,
    MemoryFile,
    MemoryLedger,
    memory_file,
    memory_ledger,
)
from backhaul.testing.fakes.inline import InlineSession
from tests.sim.crash_points import Point
from tests.sim.failover import NodeMemory
from tests.sim.queues import BothAreFull, OneFloods, OneIsDenied, OneKeepsASlot
from tests.sim.shape import Shape, failover_of, fleet_of, shape_of

Patch = pytest.MonkeyPatch
Remove = Callable[[Patch], None]


class Scene(Protocol):
    """One schedule; `run` raises what it violates."""

    def run(self) -> object: ...


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One rule, removed.

    Attributes:
        rule: What no longer holds.
        seed: A schedule that notices.
        point: What notices, where random schedules hardly do: a crash point, or two queues.
        shape_of: What a schedule with this seed is made of.
    """

    name: str
    rule: str
    remove: Remove
    seed: int
    point: Scene | None = None
    shape_of: Callable[[int], Shape] = shape_of

    @contextmanager
    def applied(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            self.remove(patch)
            yield


MUTANTS: list[Mutant] = []


def mutant(
    rule: str,
    seed: int,
    point: Scene | None = None,
    shape_of: Callable[[int], Shape] = shape_of,
) -> Callable[[Remove], Remove]:
    """Register the function below as the removal of `rule`."""

    def register(remove: Remove) -> Remove:
        name = remove.__name__
        MUTANTS.append(
            Mutant(name=name, rule=rule, remove=remove, seed=seed, point=point, shape_of=shape_of)
        )
        return remove

    return register


def _around(patch: Patch, owner: Any, name: str, wrap: Callable[..., Any]) -> None:
    """Replace a method by `wrap(original, *arguments)`."""
    original = getattr(owner, name)
    patch.setattr(owner, name, lambda *args, **named: wrap(original, *args, **named))


# ---------------------------------------------------------------- the order of the steps


@mutant("the message is deleted only after the ledger says done", 0)
def delete_first(patch: Patch) -> None:
    def attempt(original: Any, self: Any) -> Any:
        self._context.queue.delete(self._message)
        return original(self)

    _around(patch, RecordAttempts, "_attempt", attempt)


@mutant("done is recorded before the message is settled", 1)
def settle_without_record(patch: Patch) -> None:
    patch.setattr(Attempt, "_record", lambda self, outcome, **named: True)


@mutant("everything is published before done is recorded", 1)
def record_before_publish(patch: Patch) -> None:
    patch.setattr(Attempt, "_publish", lambda self: PublishOutcome.FILE)
    patch.setattr(Staging, "remove", lambda self: None)


@mutant("the intent is recorded before the first rename", 8)
def no_intent(patch: Patch) -> None:
    patch.setattr(Attempt, "_intend", lambda self: True)


@mutant("a lost ownership is believed when the intent is refused", 897)
def publish_without_ownership(patch: Patch) -> None:
    def intend(original: Any, self: Any, *args: Any) -> bool:
        original(self, *args)
        return True

    _around(patch, MemoryLedger, "intend", intend)
    _around(patch, TargetOperations, "fence", _fence_nothing)


@mutant("a refused record of done leaves the message alone", 1)
def delete_although_not_recorded(patch: Patch) -> None:
    def record(original: Any, self: Any, result: PublishOutcome, **named: Any) -> bool:
        original(self, result, **named)
        return True

    _around(patch, Attempt, "_record", record)
    patch.setattr(MemoryLedger, "finish", lambda *args, **named: False)


@mutant(
    "an earlier attempt's renames are looked for before copying again",
    554,
    Point(
        scenario="object that may not exist",
        call="target.rename",
        occurrence=1,
        way="kill after",
    ),
)
def no_recovery(patch: Patch) -> None:
    patch.setattr(Attempt, "_adopt_renamed", lambda self: False)


@mutant("what stands at the final path is adopted only if its checksum is the proven one", 958)
def adopt_by_length(patch: Patch) -> None:
    class Anything(Checksum):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = Checksum.__hash__

    def stored_checksums(original: Any, self: Any, locations: Any, **named: Any) -> Any:
        found = original(self, locations, **named)
        return [
            one and one.checksum and replace(one, checksum=Anything(*astuple(one.checksum)))
            for one in found
        ]

    _around(patch, InlineSession, "stored_checksums", stored_checksums)


@mutant("a file is kept only if this very pin was published there", 1)
def keep_any_file(patch: Patch) -> None:
    patch.setattr(reuse, "still_holds", lambda planned, before, status: status is not None)


@mutant(
    "what may only be adopted is never copied",
    0,
    Point(
        scenario="what may only be adopted, then what is not there",
        call="ledger.finish",
        occurrence=1,
        way="kill",
    ),
)
def copy_what_may_only_be_adopted(patch: Patch) -> None:
    patch.setattr(reuse.Reuse, "without_published", reuse.Reuse._unpublished)


@mutant("staging is removed before done is recorded", 1)
def no_tidying(patch: Patch) -> None:
    patch.setattr(InlineSession, "remove_staging", lambda *args, **named: None)


@mutant("a dead transfer's staging is removed", 96)
def no_tidying_of_the_dead(patch: Patch) -> None:
    patch.setattr(Attempt, "_failed", lambda self, error: after_failure(error, self._budget))
    patch.setattr(dead_lettering, "remove_staging", lambda *args: None)
    patch.setattr("backhaul.core.agent.agent.sweep_abandoned", lambda ports, policy: None)


# ---------------------------------------------------------------- staging and fencing


def _fence_nothing(original: Any, self: Any, root: str, epoch: int) -> int:
    self._target.mkdirs(root)
    self._target.mkdir(f"{root}/{epoch}")
    return 0


@mutant("staging of lower epochs is removed before anything is staged", 897)
def no_fence(patch: Patch) -> None:
    _around(patch, TargetOperations, "fence", _fence_nothing)


@mutant(
    "staging of dead owners above and below the destination is removed, too",
    0,
    Point(scenario="part, then whole", call="target.mkdirs", occurrence=2, way="pause"),
)
def no_fence_of_overlapping(patch: Patch) -> None:
    def claim(original: Any, self: Any, *args: Any, **named: Any) -> Any:
        claimed = original(self, *args, **named)
        return claimed and replace(claimed, stale=())

    _around(patch, MemoryLedger, "claim", claim)


@mutant(
    "staging of the same destination in another place is removed, too",
    0,
    Point(scenario="object, then newer", call="target.rename", occurrence=1, way="pause"),
)
def no_fence_of_moved(patch: Patch) -> None:
    def claim(original: Any, self: Any, *args: Any, **named: Any) -> Any:
        claimed = original(self, *args, **named)
        if claimed is None:
            return None
        own = args[2].digest
        others = [left for left in claimed.stale if left.staging_root.path.split("/")[-1] != own]
        return replace(claimed, stale=tuple(others))

    _around(patch, MemoryLedger, "claim", claim)
    # The look for staging that no ledger knows would find it, too.
    patch.setattr(Staging, "_remove_unrecorded", lambda self: None)


_OTHERS = Point(
    scenario="into directories of others", call="target.rename", occurrence=1, way="kill"
)


@mutant("staging is in the target directory, where that exists", 0, _OTHERS)
def stage_below_the_route(patch: Patch) -> None:
    patch.setattr(heart, "staging_anchor", lambda prefix, *_args, **_named: prefix)


@mutant("a directory that gives something else has its like in staging", 0, _OTHERS)
def one_kind_of_directory(patch: Patch) -> None:
    patch.setattr(Placing, "prepare", lambda self, names: None)


@mutant("a directory that is made outside of staging is remembered before", 0, _OTHERS)
def made_without_a_word(patch: Patch) -> None:
    patch.setattr(MemoryLedger, "note_staging", lambda *args: None)


@mutant("every claim has a higher epoch", 49)
def same_epoch(patch: Patch) -> None:
    def claim(original: Any, self: Any, *args: Any, **named: Any) -> Any:
        there = self._file.destinations.get(args[2])
        if there is not None:
            there.epoch -= 1
        return original(self, *args, **named)

    _around(patch, MemoryLedger, "claim", claim)


@mutant("bytes go to staging, never to the final path", 1)
def write_to_the_final_path(patch: Patch) -> None:
    def stage(original: Any, self: Any, tasks: Any, directory: Any, *others: Any) -> Any:
        return original(self, tasks, replace(directory, path="/land/d"), *others)

    _around(patch, InlineSession, "stage", stage)


@mutant("an existing file is replaced by a rename, never removed first", 1)
def remove_before_rename(patch: Patch) -> None:
    def rename(original: Any, self: Any, source: str, target: str, *, replace: bool) -> None:
        self._target.remove(target)
        original(self, source, target, replace=replace)

    _around(patch, TargetOperations, "_rename", rename)


@mutant("names that announce the rest come last", 23)
def markers_first(patch: Patch) -> None:
    patch.setattr(publishing, "turn_of", lambda relative: Turn.DATA)


_FIRST_RENAME = Point(
    scenario="file by file, then the marker", call="target.rename", occurrence=1, way="kill after"
)


@mutant("the completion marker is renamed after the last file", 6, _FIRST_RENAME)
def completion_marker_first(patch: Patch) -> None:
    def publish_files(original: Any, self: Any) -> Any:
        self._marker.publish(self._staging.directory, has_moved=True)
        return original(self)

    _around(patch, Publisher, "_publish_files", publish_files)


@mutant(
    "files adopted after a death have their completion marker only if it is looked for",
    0,
    Point(
        scenario="object that may not exist, then its marker",
        call="target.rename",
        occurrence=2,
        way="kill after",
    ),
)
def completion_marker_forgotten(patch: Patch) -> None:
    patch.setattr(CompletionMarker, "is_there", lambda self: True)


@mutant("the completion marker is staged, and renamed from there", 6, _FIRST_RENAME)
def completion_marker_written_in_place(patch: Patch) -> None:
    def publish(original: Any, self: Any, staged: Any, *, has_moved: bool) -> None:
        del original, staged, has_moved
        if self.location is not None:
            self._session.write_whole(self.location, b"")

    _around(patch, CompletionMarker, "publish", publish)


@mutant(
    "evidence beside the data is staged, and renamed from there",
    0,
    Point(
        scenario="file by file, and their evidence",
        call="target.rename",
        occurrence=1,
        way="zombie",
    ),
)
def evidence_written_in_place(patch: Patch) -> None:
    def publish(self: Any) -> None:
        for name, content in evidence.files(self._id, self._proofs.lines()):
            self._session.write_whole(self._directory.join(name), content)

    patch.setattr(Publisher, "_publish_evidence", publish)


@mutant("what a forgotten process leaves is swept", 144)
def no_sweep(patch: Patch) -> None:
    patch.setattr("backhaul.core.agent.agent.sweep_abandoned", lambda ports, policy: None)


@mutant("the sweep leaves live transfers alone", 16)
def sweep_everything(patch: Patch) -> None:
    def litter(original: Any, self: Any, now: Any, *, age: Any, most: int) -> Any:
        return [replace(left, epoch=10**9) for left, _, _ in self._file.staging.values()][:most]

    _around(patch, MemoryLedger, "abandoned_staging", litter)
    patch.setattr("backhaul.core.agent.agent.SWEEP_EVERY_S", 0.05)


@mutant("proofs that arrive during a call are counted", 19)
def proofs_during_a_call_are_lost(patch: Patch) -> None:
    patch.setattr(InlineSession, "_arrive", lambda *args: None)


@mutant("nothing is published of a plan that is not staged whole", 19)
def staged_objects_are_not_counted(patch: Patch) -> None:
    """With proofs that are lost: the count is what notices those, and nothing else does."""
    patch.setattr(InlineSession, "_arrive", lambda *args: None)

    patch.setattr(Proofs, "check_whole", lambda self: self._plan.whole())


# ---------------------------------------------------------------- verification


@mutant("bytes are compared with S3's checksum", 22)
def no_verification(patch: Patch) -> None:
    for module in (checksum_comparison, verification):
        patch.setattr(module, "matches", lambda expected, found: True)


@mutant("what was received is as long as the pin says", 5)
def no_length_check(patch: Patch) -> None:
    patch.setattr(Stager, "_check_length", staticmethod(lambda pin, received: None))
    for module in (checksum_comparison, verification):
        patch.setattr(module, "matches", lambda expected, found: True)
    _around(patch, FakeTarget, "status", _lies_about_staging)


def _lies_about_staging(original: Any, self: Any, path: str) -> Any:
    status = original(self, path)
    if status is None or "/.backhaul/" not in path or status.is_directory:
        return status
    sizes = {one.size_bytes for one in _all_pins(self)}
    return replace(status, size_bytes=min(sizes, key=lambda one: abs(one - status.size_bytes * 2)))


def _all_pins(target: Any) -> Any:
    return [one.pin for one in target.sim.store._objects.values()]


# ---------------------------------------------------------------- who owns what


@mutant("a destination has one owner at a time", 533)
def no_lease(patch: Patch) -> None:
    patch.setattr(MemoryLedger, "_is_in_the_way", lambda *args: False)


@mutant("directories above and below count as the same destination", 1378)
def overlap_is_not_seen(patch: Patch) -> None:
    patch.setattr(memory_ledger, "_overlap", lambda one, other: one == other)


@mutant("a dead owner loses its destination", 5)
def owners_live_for_ever(patch: Patch) -> None:
    def is_live(original: Any, self: Any, transfer_id: str, owner: str | None) -> bool:
        return owner is not None and (
            owner != self._owner or bool(original(self, transfer_id, owner))
        )

    _around(patch, MemoryLedger, "_is_live", is_live)


@mutant("a later state of the same key is never replaced by an earlier one", 107)
def no_newest_wins(patch: Patch) -> None:
    patch.setattr(publishing, "is_newer", lambda before, planned: False)


@mutant("what a dead transfer may have published is looked at", 494)
def no_rivals(patch: Patch) -> None:
    def claim(original: Any, self: Any, *args: Any, **named: Any) -> Any:
        claimed = original(self, *args, **named)
        return claimed and replace(claimed, has_rivals=False)

    _around(patch, MemoryLedger, "claim", claim)


@mutant("published contents are remembered", 107)
def published_is_forgotten(patch: Patch) -> None:
    patch.setattr(MemoryLedger, "_publish", lambda *args: None)


@mutant("a busy destination is waited for, unspent", 163)
def busy_spends(patch: Patch) -> None:
    def claim(original: Any, self: Any, min_epoch: int) -> bool:
        if original(self, min_epoch):
            return True
        raise DestinationBusy("E_DST_BUSY", "busy")

    _around(patch, Attempt, "_claim", claim)


@mutant("a transfer that has ended is not begun again", 11)
def begin_again_after_the_end(patch: Patch) -> None:
    def begin(original: Any, self: Any, key: Any, *args: Any, **named: Any) -> Any:
        known = self._file.by_key.get(key)
        row = self._file.transfers.get(known) if known else None
        if row is not None and row.state is TransferState.DONE:
            row.state = TransferState.WAITING
            begun = original(self, key, *args, **named)
            row.state = TransferState.DONE
            self._move(row, TransferState.RECEIVED)
            return begun
        return original(self, key, *args, **named)

    _around(patch, MemoryLedger, "begin", begin)


@mutant("a redelivery of what is running here is absorbed", 533)
def two_slots_for_one_message(patch: Patch) -> None:
    def keep(original: Any, self: Any, message: Any) -> bool:
        original(self, message)
        return True

    _around(patch, VisibilityKeeper, "keep", keep)
    patch.setattr(MemoryLedger, "_is_live", lambda *args: False)


# ---------------------------------------------------------------- policy


@mutant("the policy is asked again right before publishing", 94)
def policy_only_at_first(patch: Patch) -> None:
    patch.setattr(Policy, "check_target", lambda *args: None)
    patch.setattr(Policy, "check_resolved", lambda *args: None)


# ---------------------------------------------------------------- paused routes


@mutant("no attempt of a paused route begins", 18)
def pauses_are_not_looked_at(patch: Patch) -> None:
    patch.setattr(PausedRoutes, "find", lambda self, route: None)


@mutant("what is known of pauses is read anew when it is old", 53)
def pauses_are_read_once(patch: Patch) -> None:
    def refresh(original: Any, self: Any) -> None:
        if self._read_s is None:
            original(self)
        self._read_s = math.inf

    _around(patch, PausedRoutes, "refresh", refresh)


@mutant("parked messages go on when their route is resumed", 13)
def parked_for_ever(patch: Patch) -> None:
    patch.setattr(Parking, "_fate", lambda self, parked: Parked.STAYS)


@mutant("a parked message is kept hidden, and costs no receive", 275)
def parked_messages_reappear(patch: Patch) -> None:
    def park(original: Any, self: Any, message: Any, wait: Any) -> None:
        original(self, message, wait)
        self._context.keeper.release(message.message_id)

    _around(patch, Parking, "park", park)


# ---------------------------------------------------------------- budgets


_TWO_AT_ONCE = Point(
    scenario="two at once for one budget", call="store.get", occurrence=2, way="fail"
)
_ONE_NEVER_RIGHT = Point(
    scenario=f"{_TWO_AT_ONCE.scenario}, one never right",
    call="ledger.begin",
    occurrence=1,
    way="fail",
)


@mutant("a transfer begins only if all of it fits into what is left", 377)
def budgets_are_checked_after_the_copy(patch: Patch) -> None:
    def reserve(original: Any, self: Any, *args: Any, **named: Any) -> None:
        self._read()
        if self.hold_of("r") is None:  # something is left
            named["is_forced"] = True
        original(self, *args, **named)

    _around(patch, BudgetGate, "reserve", reserve)


@mutant("what others under way have reserved is not there any more", 1689, _TWO_AT_ONCE)
def reservations_are_not_counted(patch: Patch) -> None:
    patch.setattr(_Reserved, "open_bytes", property(lambda self: 0))


@mutant("what is read once more is reserved before that", 1689, _ONE_NEVER_RIGHT)
def repeats_are_not_reserved(patch: Patch) -> None:
    patch.setattr(BudgetGate, "extend", lambda self, transfer_id, size_bytes: None)


@mutant("what a budget holds spends no attempt", 88)
def budgets_spend_attempts(patch: Patch) -> None:
    def judged(error: BackhaulError, budget: Budget) -> Verdict:
        verdict = after_failure(error, budget)
        if isinstance(error, BudgetUsedUp):
            return replace(verdict, disposition=Disposition.RETRY)
        return verdict

    patch.setattr(heart, "after_failure", judged)


# ---------------------------------------------------------------- events


@mutant("a sequencer alone is no reason to drop an event", 1)
def sequencer_is_believed(patch: Patch) -> None:
    patch.setattr(plan, "is_overtaken", lambda *args: True)


# ---------------------------------------------------------------- listings


@mutant("a listing is held against what was requested", 58)
def listing_is_believed(patch: Patch) -> None:
    def believe(self: Any, page: Any, token: Any) -> ListPage:
        del token
        pins = tuple(
            Pin(
                bucket=self.bucket,
                key=one.key,
                size_bytes=int(one.size),
                etag=one.etag.strip('"'),
                last_modified=datetime.fromisoformat(one.last_modified),
                version_id=one.version_id,
            )
            for one in page.objects
        )
        return ListPage(pins=pins, is_last=not page.next_token)

    patch.setattr(listing._Listing, "check", believe)


# ---------------------------------------------------------------- the message's end


@mutant("a dead message is copied to the dead-letter queue", 0)
def dead_without_a_copy(patch: Patch) -> None:
    patch.setattr(FakeQueue, "send_dead_letter", lambda *args: True)


@mutant("a dead letter that was not confirmed is sent again", 96)
def dead_letter_sent_once(patch: Patch) -> None:
    def once(original: Any, self: Any, call: Any, **_: Any) -> Any:
        try:
            result = call()
        except OutageError:
            return True
        return True if result is None else result

    _around(patch, AgentContext, "until_answered", once)


@mutant("death is recorded before the message is deleted", 0)
def death_is_not_recorded(patch: Patch) -> None:
    for module in (failures, dead_lettering):
        patch.setattr(module, "record_failure", lambda *args, **named: True)


@mutant("a dead letter has a code", 0)
def dead_letter_without_a_code(patch: Patch) -> None:
    def send(original: Any, self: Any, message: Any, reason: Any) -> Any:
        return original(self, message, replace(reason, code=""))

    _around(patch, FakeQueue, "send_dead_letter", send)


@mutant("attempts end", 96)
def attempts_never_end(patch: Patch) -> None:
    patch.setattr(Budget, "is_last", property(lambda self: False))


@mutant("an attempt is counted before any work", 202)
def attempts_are_not_counted(patch: Patch) -> None:
    def begin(original: Any, self: Any, *args: Any, **named: Any) -> Any:
        begun = original(self, *args, **named)
        row = self._file.transfers[begun.transfer_id]
        if not begun.state.is_final and not begun.is_live:
            row.attempt = 0
        return replace(begun, attempt=1)

    _around(patch, MemoryLedger, "begin", begin)


@mutant("an outage is held and spends nothing", 1315)
def outages_spend(patch: Patch) -> None:
    def spend(error: BackhaulError, budget: Budget) -> Verdict:
        if isinstance(error, OutageError):
            error = TransientError(error.code, error.message)
        return after_failure(error, budget)

    for module in (heart, attempts, delivery):
        patch.setattr(module, "after_failure", spend)


@mutant(
    "a worker without progress is no failure while what it needs is down",
    0,
    Point(scenario="object", call="target.write", occurrence=1, way="silent"),
)
def stalls_always_fail(patch: Patch) -> None:
    patch.setattr(OutageWatch, "judged", lambda self, error: error)
    patch.setattr(OutageWatch, "look", lambda self, still_s, patience_s: None)


@mutant(
    "a worker without progress has failed when everything answers",
    0,
    Point(scenario="hangs for ever", call="target.rename", occurrence=1, way="fail"),
)
def stalls_are_always_outages(patch: Patch) -> None:
    def judged(self: Any, error: BackhaulError) -> BackhaulError:
        is_stall = error.code == "E_WORKER_STALLED"
        return OutageError.of("s3", error.code, error.message) if is_stall else error

    patch.setattr(OutageWatch, "judged", judged)


@mutant("a held transfer asks again within a minute", 20)
def holds_sleep_long(patch: Patch) -> None:
    for module in (attempts, context):
        patch.setattr(module, "hold_delay_s", lambda tries, chance: 3600.0)


@mutant("a message that comes back is made visible again", 25)
def failed_messages_stay_hidden(patch: Patch) -> None:
    patch.setattr(RetryPolicy, "delay_s", lambda self, failures, chance: 40_000 * failures)
    patch.setattr(VisibilityKeeper, "release", lambda self, message_id: None)


@mutant("a changed source is planned again", 159)
def changed_plan_is_kept(patch: Patch) -> None:
    patch.setattr(MemoryLedger, "forget_plan", lambda self, transfer_id: None)


@mutant("an incomplete plan is listed again", 3)
def incomplete_plan_is_used(patch: Patch) -> None:
    def claim(original: Any, self: Any, *args: Any, **named: Any) -> Any:
        return original(self, *args, **{**named, "first": named["first"][:1]})

    _around(patch, MemoryLedger, "claim", claim)


# ---------------------------------------------------------------- reports


@mutant("an agent goes on whatever becomes of its reports", 3)
def failed_reports_end_the_agent(patch: Patch) -> None:
    def record(self: Any, *, has_ended: bool) -> None:
        self._ledger.beat(self._identity, self._observer.report(), has_ended=has_ended)
        self._ledger.sum_activity(most=100)

    def report(self: Any) -> None:
        with self._errors_to_run(Stop.DRAIN):
            while not self._is_over:
                self._reporter.turn()
                with self._stopper.changed:
                    self._stopper.changed.wait(timeout=5.0)

    patch.setattr(Reporter, "_record", record)
    patch.setattr(Agent, "_report_until_over", report)


@mutant("a report that fails is tried again with the next turn", 3)
def reports_stop_at_the_first_failure(patch: Patch) -> None:
    def turn(original: Any, self: Any) -> None:
        if not self._observer.report().holds:
            original(self)

    _around(patch, Reporter, "turn", turn)


@mutant("sums and the number of the last line in them are one commit", 466)
def sums_of_a_lost_answer_count_again(patch: Patch) -> None:
    def sum_activity(original: Any, self: Any, **named: Any) -> Any:
        before = self._file.summed_to
        try:
            return original(self, **named)
        except OutageError:
            self._file.summed_to = before
            raise

    _around(patch, MemoryLedger, "sum_activity", sum_activity)


@mutant("nothing is left in a report of a message whose slot is free", 3)
def settled_messages_stay_in_the_report(patch: Patch) -> None:
    patch.setattr(Observer, "_settled", lambda self, fact: None)


# ---------------------------------------------------------------- replies


def _struck(scenario: str, call: str, way: str) -> Point:
    return Point(scenario=scenario, call=call, occurrence=1, way=way)


@mutant(
    "a reply is in the ledger if the end is",
    0,
    _struck("object, and its replies", "ledger.write_reply", "kill"),
)
def replies_are_written_after_the_end(patch: Patch) -> None:
    write = MemoryLedger._reply_at_end
    patch.setattr(MemoryLedger, "_reply_at_end", lambda self, *args, **named: None)

    def finish(
        original: Any, self: Any, transfer_id: str, epoch: int, *args: Any, **named: Any
    ) -> bool:
        is_owner: bool = original(self, transfer_id, epoch, *args, **named)
        if is_owner:
            with self._faults.call("ledger.write_reply", memory_file.outage):
                write(self, self._row(transfer_id), args[0], args[2])
        return is_owner

    _around(patch, MemoryLedger, "finish", finish)


@mutant(
    "no reply is in the ledger unless the end is",
    0,
    _struck("object, and its replies", "ledger.finish", "fail"),
)
def replies_are_written_before_the_end(patch: Patch) -> None:
    write = MemoryLedger._reply_at_end
    patch.setattr(MemoryLedger, "_reply_at_end", lambda self, *args, **named: None)

    def finish(
        original: Any, self: Any, transfer_id: str, epoch: int, *args: Any, **named: Any
    ) -> Any:
        write(self, self._row(transfer_id), args[0], args[2])
        return original(self, transfer_id, epoch, *args, **named)

    _around(patch, MemoryLedger, "finish", finish)


@mutant(
    "a reply is marked as sent only after it was",
    0,
    _struck("object, and its replies", "reply.deliver", "kill"),
)
def replies_are_marked_before_they_are_sent(patch: Patch) -> None:
    def deliver(original: Any, self: Any, due: Any) -> Any:
        self._ledger.note_replies_sent(
            self.name, {due.reply.key: due.tried_since}, self._clock.now()
        )
        return original(self, due)

    _around(patch, ReplyLane, "_try", deliver)


@mutant(
    "a reply that is sent again has the key that it had",
    0,
    _struck("object, and its replies", "reply.deliver", "lost"),
)
def replies_have_a_key_for_each_try(patch: Patch) -> None:
    def deliver(original: Any, self: Any, due: Any) -> Any:
        again = replace(due.reply, key=f"{due.reply.key}-{due.tries}")
        return original(self, replace(due, reply=again))

    _around(patch, ReplyLane, "_try", deliver)


@mutant(
    "a failure that another attempt follows is no end",
    0,
    _struck("never right, and its replies", "queue.receive", "fail"),
)
def every_failure_is_replied_to(patch: Patch) -> None:
    def fail(
        original: Any, self: Any, transfer_id: str, state: TransferState, *args: Any, **named: Any
    ) -> None:
        if state is TransferState.WAITING:
            self._reply_at_end(self._row(transfer_id), TransferState.DEAD, args[2])
        original(self, transfer_id, state, *args, **named)

    _around(patch, MemoryLedger, "fail", fail)


@mutant(
    "a reply that was not taken is tried again",
    0,
    _struck("object, and its replies", "reply.deliver", "fail"),
)
def replies_are_given_up_at_once(patch: Patch) -> None:
    patch.setattr(ReplyPatience, "is_over", lambda self, since, now: True)


_ALONE = "two objects, and the replies of one agent"


@mutant(
    "a reply that was delivered and is not noted yet is not delivered again by its process",
    0,
    _struck(_ALONE, "queue.receive", "fail"),
)
def what_was_delivered_is_read_again(patch: Patch) -> None:
    def read(original: Any, self: Any) -> Any:
        delivered, self._delivered = self._delivered, {}
        due = original(self)
        self._delivered = delivered
        return due

    _around(patch, ReplyLane, "_read", read)


@mutant(
    "a note that the ledger does not take is made later",
    0,
    _struck(_ALONE, "ledger.note_replies_sent", "fail"),
)
def what_the_ledger_did_not_take_is_forgotten(patch: Patch) -> None:
    def note(original: Any, self: Any) -> None:
        try:
            original(self)
        finally:
            self._delivered = {}

    _around(patch, ReplyLane, "_note_delivered", note)


@mutant(
    "a delivery counts as made only after it was",
    0,
    _struck(_ALONE, "reply.deliver", "fail"),
)
def deliveries_count_before_they_are_made(patch: Patch) -> None:
    def deliver(original: Any, self: Any, due: Any) -> Any:
        self._delivered[due.reply.key] = due.tried_since
        return original(self, due)

    _around(patch, ReplyLane, "_try", deliver)


@mutant("a reply that is read is not taken from what was offered, too", 96)
def what_was_read_is_offered_still(patch: Patch) -> None:
    def read(original: Any, self: Any) -> Any:
        offered = dict(self._offered)
        due = original(self)
        self._offered = offered
        return due

    _around(patch, ReplyLane, "_read", read)


@mutant("what was delivered is noted before an agent ends", 447)
def notes_are_forgotten_at_the_end(patch: Patch) -> None:
    patch.setattr(ReplyLane, "note", lambda self: None)


@mutant("what a batch did not take is delivered alone", 65)
def a_batch_counts_as_taken_whole(patch: Patch) -> None:
    def deliver(original: Any, self: Any, due: Any) -> Any:
        return original(self, due) and frozenset(one.reply.key for one in due)

    _around(patch, ReplyLane, "_try_batch", deliver)


# ---------------------------------------------------------------- several queues


@mutant(
    "a call that a queue refuses gives its slot to others after some tries",
    0,
    OneIsDenied(seed=0, since_s=2.0),
)
def a_message_waits_for_its_queue_in_a_slot(patch: Patch) -> None:
    patch.setattr(context, "QUEUE_TRIES", math.inf)


@mutant("slots kept for a poll that failed are free again", 0, OneIsDenied(seed=0, since_s=2.0))
def a_failed_poll_keeps_its_slots(patch: Patch) -> None:
    kept: dict[QueuePoller, int] = {}

    def end(original: Any, self: QueuePoller) -> None:
        kept[self] = self._share.promised
        original(self)

    def failed(original: Any, self: QueuePoller, *how: Any) -> Any:
        self._share.promised = kept[self]
        return original(self, *how)

    _around(patch, QueuePoller, "_end_promise", end)
    _around(patch, QueuePoller, "_failed", failed)


@mutant("the next slot is of the queue that has fewer", 0, BothAreFull(seed=2))
def a_free_slot_is_of_whoever_comes_first(patch: Patch) -> None:
    def slots_for(_original: Any, self: SlotShares, _share: Any) -> int:
        return self.slots - sum(one.taken for one in self.shares)

    _around(patch, SlotShares, "_slots_for", slots_for)


@mutant("a queue below its share looks although no slot is free", 0, BothAreFull(seed=4))
def a_queue_looks_only_into_free_slots(patch: Patch) -> None:
    def room(original: Any, self: SlotShares, share: Any) -> Room:
        found: Room = original(self, share)
        return found if found.slots else Room()

    _around(patch, SlotShares, "room", room)


@mutant("the next slot is of the sender that has fewer", 0, OneFloods(seed=0))
def slots_go_by_the_order_of_receipt(patch: Patch) -> None:
    patch.setattr(Hand, "_turn", lambda self, held: (0, 0))


@mutant("while one sender has most slots, others are looked for", 0, OneFloods(seed=1))
def other_senders_are_not_looked_for(patch: Patch) -> None:
    patch.setattr(Hand, "look_for", lambda self, now_s: 0)


@mutant("a slot that a route keeps is free for it", 0, OneKeepsASlot(seed=0))
def kept_slots_are_given_to_all(patch: Patch) -> None:
    patch.setattr(KeptSlots, "admits", lambda self: lambda route: True)


# ---------------------------------------------------------------- agents that judge each other


def _of_fleet(rule: str, seed: int) -> Callable[[Remove], Remove]:
    return mutant(rule, seed, shape_of=fleet_of)


@_of_fleet("nobody is judged before it was watched for a while", 1)
def members_are_judged_at_once(patch: Patch) -> None:
    patch.setattr(liveness, "DEAD_S", BEAT_S)


@_of_fleet("after a gap in the own beats every watch begins anew", 22)
def members_are_judged_after_a_reconnect(patch: Patch) -> None:
    patch.setattr(liveness, "GAP_S", math.inf)


@_of_fleet("no time of one node is compared with that of another", 0)
def members_are_judged_by_their_wall_clocks(patch: Patch) -> None:
    def turn(original: Any, self: Any) -> None:
        original(self)
        pulse = self._pulse
        for peer, row in pulse._members.in_force().items():
            if (pulse._clock.now() - row.shows_at).total_seconds() > DEAD_S:
                pulse.judge(self.id, peer, row.beats)

    _around(patch, Member, "turn", turn)


@_of_fleet("who was not seen for a while does nothing that others see", 5)
def members_trust_themselves(patch: Patch) -> None:
    patch.setattr(Liveness, "is_trusted", lambda self, now_s: True)


@_of_fleet("each transaction finds its owner in force, or does nothing", 5)
def the_fence_of_members_is_dropped(patch: Patch) -> None:
    def check(self: Any, connection: Any, **_: Any) -> None:
        self.require()
        self._in_force = dict(connection.answers([])[-1].rows)

    patch.setattr(Member, "check", check)


@_of_fleet("the name of a node identifies nobody", 3)
def owners_are_nodes(patch: Patch) -> None:
    def is_alive(original: Any, self: Any, text: str) -> bool:
        host = text.partition(":")[0]
        nodes = {row.process.name.partition(":")[0] for row in _members(self).values()}
        return host in nodes or bool(original(self, text))

    _around(patch, Member, "is_alive", is_alive)


@_of_fleet("one clock tells how old staging is: the database's", 47)
def staging_is_as_old_as_two_nodes_say(patch: Patch) -> None:
    patch.setattr(MemoryFile, "time_of", lambda self, now: now)


# ---------------------------------------------------------------- a ledger that loses commits


def _of_failover(rule: str, seed: int) -> Callable[[Remove], Remove]:
    return mutant(rule, seed, shape_of=failover_of)


@_of_failover("an epoch has the timeline on which it was given", 15)
def epochs_without_a_timeline(patch: Patch) -> None:
    patch.setattr(ServerMoment, "least_epoch", lambda self, before: 1)


@_of_failover("an old primary is refused by who has seen the newer one", 3)
def old_primaries_are_taken(patch: Patch) -> None:
    patch.setattr(PrimaryMemory, "_compare", lambda self, path, found: None)


@_of_failover("what a node has seen outlives its processes", 3)
def a_process_knows_only_what_it_has_seen(patch: Patch) -> None:
    patch.setattr(NodeMemory, "_look", lambda self, path: None)


@_of_failover("what became of a COMMIT without an answer is asked", 11)
def a_commit_without_an_answer_is_believed(patch: Patch) -> None:
    patch.setattr(outcome, "_look", lambda connection, transaction: True)


@_of_failover("the number of a transaction is one of its timeline", 11)
def numbers_of_another_timeline_are_believed(patch: Patch) -> None:
    def look(original: Any, connection: Any, transaction: ServerMoment) -> Any:
        remember(connection, replace(current(connection), timeline=transaction.timeline))
        return original(connection, transaction)

    _around(patch, outcome, "_look", look)


@_of_failover("who is not in the ledger that answers ends", 654)
def members_that_are_lost_go_on(patch: Patch) -> None:
    def is_lost(member: Member) -> bool:
        pulse: Any = member._pulse
        return member.id not in pulse._members.rows

    def check(original: Any, self: Member, *args: Any, **named: Any) -> None:
        try:
            original(self, *args, **named)
        except FencedOff:
            if not is_lost(self):
                raise

    def fence(original: Any, self: Member) -> None:
        if not is_lost(self):
            original(self)

    _around(patch, Member, "check", check)
    _around(patch, Member, "_fence", fence)


def _members(member: Any) -> Any:
    return member._pulse._members.in_force()


@_of_failover("nothing is written to a ledger that has lost what an attempt wrote before", 3238)
def attempts_go_on_without_what_they_wrote(patch: Patch) -> None:
    patch.setattr(OwnWrites, "require", lambda *_: None)
    patch.setattr(OwnWrites, "require_pages", lambda *_: None)
