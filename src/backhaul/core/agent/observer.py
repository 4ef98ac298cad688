"""Watches the facts of one agent and makes its report of them.

A receiver of facts beside the log. It decides nothing, and no transfer waits for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

from backhaul.core import facts
from backhaul.core.agent.observing.queues import Date, QueueWatch, together
from backhaul.core.agent.observing.work import TransferWait, TransferWork, WorkBytes
from backhaul.core.agent_report import (
    AgentReport,
    DependencyHold,
    QueueDepth,
    QueueReport,
    RunningTransfer,
)
from backhaul.core.cost.budget import BudgetHold
from backhaul.core.model import HOLD_GAP, EngineName
from backhaul.core.ports import Clock

MOVING_S = 5.0  # bytes that still come after this time have not only filled buffers
_LEDGER = "ledger"

_SlotIsFree = facts.DeliveryEnded | facts.MessageReturned | facts.ParkedMessageReturned
_TransferEnd = facts.TransferDone | facts.MessageDead | facts.TransferTakenOver
_AttemptEnd = facts.TransferWaiting | facts.AttemptFailed | _TransferEnd


class Observer:
    """Safe to call from every thread; a fact costs it some microseconds.

    What it remembers is of messages in hand, and goes with `DeliveryEnded`: nothing is left of a
    message whose slot is free, whatever became of it; of those parked only when they were sent.
    Times are kept as the monotonic clock has them and become dates in a report, so that ages are
    right after the wall clock was set.

    Args:
        slots: Messages that the agent works on at once.
        queues: Of an agent that works several: the region of each, by the name that facts use.
    """

    def __init__(
        self, clock: Clock, *, slots: int, queues: Mapping[str, str] | None = None
    ) -> None:
        self._clock = clock
        self._slots = slots
        self._lock = threading.Lock()
        self._in_hand: dict[str, datetime | None] = {}  # by message, with its time of sending
        self._parked: dict[str, datetime | None] = {}  # likewise, without a slot
        self._running: dict[str, TransferWork] = {}  # by transfer
        # By message: it waits before it has a transfer, too.
        self._waiting: dict[str, TransferWait] = {}
        self._calls: dict[int, TransferWait] = {}  # those that are repeated, by their number
        self._queue_of: dict[str, str] = {}  # by message, in hand or parked
        self._holds_of: dict[str, tuple[BudgetHold, ...]] = {}  # by queue
        self._report = AgentReport(at=clock.now())
        regions = queues or {"": ""}
        self._watches = {name: QueueWatch(clock, region) for name, region in regions.items()}
        self._free_s: float | None = clock.monotonic()
        self._ledger_down: TransferWait | None = None
        self._receiving_held: dict[str, TransferWait] = {}  # by queue: for the ledger
        self._actions: dict[type, Callable[[Any], None]] = {
            facts.QueuePolled: self._polled,
            facts.PollFailed: self._poll_failed,
            facts.ReceivingHeld: self._receiving_stopped,
            facts.ReceivingResumed: self._receiving_resumed,
            facts.MessageReceived: self._received,
            facts.DeliveryEnded: self._settled,
            facts.MessageReturned: self._settled,
            facts.AttemptStarted: self._started,
            facts.TransferProgress: self._progressed,
            facts.EngineChosen: self._engine_chosen,
            facts.ApplicationFollowed: self._application,
            facts.TransferHeld: self._held,
            facts.TransferBlocked: self._blocked,
            facts.TransferUnblocked: self._unblocked,
            facts.TransferResumed: self._resumed,
            facts.TransferWaiting: self._attempt_ended,
            facts.AttemptFailed: self._attempt_ended,
            facts.TransferDone: self._attempt_ended,
            facts.MessageDead: self._attempt_ended,
            facts.TransferTakenOver: self._attempt_ended,
            facts.CallRetried: self._call_retried,
            facts.CallRetriesEnded: self._call_ended,
            facts.TransferPaused: self._paused,
            facts.MessageUnparked: self._received,
            facts.ParkedMessageReturned: self._settled,
            facts.PausedRoutesChanged: self._pauses_changed,
            facts.BudgetHoldsChanged: self._holds_changed,
            facts.AgentStopping: self._stopping,
        }

    def __call__(self, fact: object) -> None:
        action = self._actions.get(type(fact))
        if action is not None:
            with self._lock:
                action(fact)

    # ------------------------------------------------------------ what others know

    def measured(self, depth: QueueDepth, queue: str = "") -> None:
        """SQS reported its counts."""
        with self._lock:
            self._watch(queue).depth = depth

    def is_failing(self, queue: str) -> bool:
        """The last poll of this queue failed."""
        with self._lock:
            return self._watch(queue).is_failing

    def watch_rest(self, queue: str, is_resting: Callable[[], bool]) -> None:
        """With several queues: how it is known that one of them need not be polled now."""
        with self._lock:
            self._watch(queue).is_resting = is_resting

    def _watch(self, queue: str) -> QueueWatch:
        """Of an agent with one queue, that one, whatever its name."""
        found = self._watches.get(queue)
        return found if found is not None else next(iter(self._watches.values()))

    def failed(self, code: str) -> None:
        """The agent ends because of an error."""
        with self._lock:
            self._report = replace(self._report, failure=code)

    def ledger_failed(self, code: str, reason: str, hint: str) -> None:
        """The ledger took no report: it is down for everything else, too."""
        with self._lock:
            before = self._ledger_down
            since_s = self._clock.monotonic() if before is None else before.since_s
            self._ledger_down = TransferWait(
                dependency=_LEDGER, since_s=since_s, code=code, reason=reason, hint=hint
            )

    def ledger_answered(self) -> None:
        """The ledger took a report."""
        with self._lock:
            self._ledger_down = None

    def transfer(self, transfer_id: str) -> RunningTransfer | None:
        """One under way, as of its last fact; None when it is not known."""
        with self._lock:
            found = self._running.get(transfer_id)
        return found.transfer if found else None

    def route_of(self, transfer_id: str) -> str:
        """Of a transfer under way; empty when it is not known."""
        found = self.transfer(transfer_id)
        return found.route if found else ""

    def sent_at(self, message_id: str) -> datetime | None:
        """When a message in hand was sent, by SQS's clock."""
        with self._lock:
            return self._in_hand.get(message_id)

    def report(self) -> AgentReport:
        """As of now."""
        now, now_s = self._clock.now(), self._clock.monotonic()

        def date(then_s: float) -> datetime:
            return now - timedelta(seconds=now_s - then_s)

        with self._lock:
            running = tuple(
                replace(
                    one.transfer,
                    started_at=date(one.started_s),
                    bytes_per_s=one.rate.per_s(now_s),
                    waits_for=self._waits_for(one.message_id),
                )
                for one in self._running.values()
            )
            return replace(
                self._report,
                at=now,
                in_hand=len(self._in_hand),
                parked=len(self._parked),
                slot_free_since=self._slot_free_since(date),
                **self._polls(date),
                holds=self._holds(date),
                running=running,
                bytes_per_s=sum(one.bytes_per_s or 0.0 for one in running),
            )

    def _slot_free_since(self, date: Date) -> datetime | None:
        """Since when a poll was to be expected."""
        return None if self._free_s is None or self._receiving_held else date(self._free_s)

    def _polls(self, date: Date) -> dict[str, Any]:
        """What is known of the queues: of the only one, or of each and all together."""
        if len(self._watches) == 1:
            watch = self._watch("")
            hidden = [*self._in_hand.values(), *self._parked.values()]
            return {**watch.polls(date), "oldest_sent_at": watch.oldest_sent_at(hidden)}
        found = []
        for name, watch in self._watches.items():
            of_it = {one for one, queue in self._queue_of.items() if queue == name}
            in_hand = [at for one, at in self._in_hand.items() if one in of_it]
            parked = [at for one, at in self._parked.items() if one in of_it]
            found.append(
                QueueReport(
                    queue=name,
                    region=watch.region,
                    in_hand=len(in_hand),
                    parked=len(parked),
                    slot_free_since=watch.awake_since(date),
                    oldest_sent_at=watch.oldest_sent_at([*in_hand, *parked]),
                    **watch.polls(date),
                )
            )
        return {**together(found), "queues": tuple(found)}

    def _waits_for(self, message_id: str) -> str:
        found = self._waiting.get(message_id)
        return found.dependency if found is not None and found.ended_s is None else ""

    def _holds(self, date: Callable[[float], datetime]) -> tuple[DependencyHold, ...]:
        every: dict[str, list[TransferWait]] = {}
        for one in (*self._waiting.values(), *self._calls.values()):
            if one.ended_s is None:
                every.setdefault(one.dependency, []).append(one)
        counts = {name: len(found) for name, found in every.items()}
        for held in (*self._receiving_held.values(), self._ledger_down):
            if held is not None:
                every.setdefault(_LEDGER, []).append(held)
        return tuple(
            DependencyHold(
                dependency=name,
                since=date(min(one.since_s for one in found)),
                code=found[-1].code,
                reason=found[-1].reason,
                hint=found[-1].hint,
                transfers=counts.get(name, 0),
            )
            for name, found in sorted(every.items())
        )

    # ------------------------------------------------------------ facts: the queue

    def _polled(self, fact: facts.QueuePolled) -> None:
        self._watch(fact.queue).polled(fact)

    def _poll_failed(self, fact: facts.PollFailed) -> None:
        self._watch(fact.queue).poll_failed(fact)

    def _receiving_stopped(self, fact: facts.ReceivingHeld) -> None:
        self._receiving_held[fact.queue] = TransferWait(
            dependency=_LEDGER,
            since_s=self._clock.monotonic(),
            code=fact.code,
            reason=fact.reason,
            hint=fact.hint,
        )

    def _receiving_resumed(self, fact: facts.ReceivingResumed) -> None:
        self._receiving_held.pop(fact.queue, None)
        if self._free_s is not None:
            self._free_s = self._clock.monotonic()

    def _received(self, fact: facts.MessageReceived | facts.MessageUnparked) -> None:
        self._parked.pop(fact.message_id, None)
        self._in_hand[fact.message_id] = fact.sent_at
        self._queue_of[fact.message_id] = fact.queue
        self._watch(fact.queue).received(fact.sent_at)
        if len(self._in_hand) >= self._slots:
            self._free_s = None

    def _paused(self, fact: facts.TransferPaused) -> None:
        self._parked[fact.message_id] = self._in_hand.get(fact.message_id)

    def _pauses_changed(self, fact: facts.PausedRoutesChanged) -> None:
        # While nothing is polled, no poll is overdue.
        watch = self._watch(fact.queue)
        is_over = watch.is_everything_paused and not fact.is_everything
        if is_over and self._free_s is not None:
            self._free_s = self._clock.monotonic()
        watch.is_everything_paused = fact.is_everything
        self._report = replace(self._report, paused_routes=fact.routes)

    def _holds_changed(self, fact: facts.BudgetHoldsChanged) -> None:
        self._holds_of[fact.queue] = fact.holds
        every = (one for holds in self._holds_of.values() for one in holds)
        self._report = replace(self._report, budget_holds=tuple(dict.fromkeys(every)))

    def _settled(self, fact: _SlotIsFree) -> None:
        if not (isinstance(fact, facts.DeliveryEnded) and fact.is_parked):
            self._parked.pop(fact.message_id, None)
        self._in_hand.pop(fact.message_id, None)
        if fact.message_id not in self._parked:
            self._queue_of.pop(fact.message_id, None)
        self._waiting.pop(fact.message_id, None)
        for transfer_id, work in list(self._running.items()):
            if work.message_id == fact.message_id:
                del self._running[transfer_id]
        if self._free_s is None and len(self._in_hand) < self._slots:
            self._free_s = self._clock.monotonic()

    # ------------------------------------------------------------ facts: one transfer

    def _started(self, fact: facts.AttemptStarted) -> None:
        if fact.message_id is None or fact.message_id not in self._in_hand:
            return
        # What it waited for may still be down: only what moves shows that it is not.
        self._running[fact.transfer_id] = TransferWork(
            message_id=fact.message_id,
            started_s=self._clock.monotonic(),
            transfer=RunningTransfer(
                transfer_id=fact.transfer_id,
                message_id=fact.message_id,
                route=fact.route,
                source=fact.source,
                destination=fact.destination,
                attempt=fact.attempt,
                started_at=self._clock.now(),
                event_bytes=fact.event_bytes,
                queue=self._queue_of.get(fact.message_id, "") if len(self._watches) > 1 else "",
            ),
            rate=WorkBytes(),
        )

    def _progressed(self, fact: facts.TransferProgress) -> None:
        work = self._running.get(fact.transfer_id)
        if work is None:
            return
        now_s = self._clock.monotonic()
        before = work.transfer
        work.rate.add(now_s, fact.size_bytes)
        work.transfer = replace(
            before,
            phase=fact.phase,
            objects=fact.objects,
            objects_total=fact.objects_total,
            size_bytes=fact.size_bytes,
            size_bytes_total=fact.size_bytes_total,
            is_planned=fact.is_planned,
        )
        is_first, work.has_progress = not work.has_progress, True
        if is_first:
            return
        if fact.objects > before.objects:
            self._moves(work)
        elif fact.size_bytes > before.size_bytes:
            # The first bytes may only have filled buffers before a target that is down.
            if work.moved_s is None:
                work.moved_s = now_s
            elif now_s - work.moved_s >= MOVING_S:
                self._moves(work)
        elif fact.objects_total > before.objects_total:
            self._moves(work, only="s3")  # its listing goes on

    def _engine_chosen(self, fact: facts.EngineChosen) -> None:
        self._change(fact.transfer_id, engine=fact.engine, engine_reason=fact.reason)

    def _application(self, fact: facts.ApplicationFollowed) -> None:
        work = self._change(
            fact.transfer_id,
            engine=EngineName.DISTCP.value,  # one that is adopted was not chosen in this attempt
            application=fact.application,
            tracking_url=fact.tracking_url,
        )
        if work is not None:
            self._moves(work, only="yarn")

    def _change(self, transfer_id: str, **values: str) -> TransferWork | None:
        work = self._running.get(transfer_id)
        if work is not None:
            work.transfer = replace(work.transfer, **values)  # type: ignore[arg-type]
        return work

    def _attempt_ended(self, fact: _AttemptEnd) -> None:
        work = self._running.pop(fact.transfer_id, None)
        if work is not None:
            self._moves(work)

    # ------------------------------------------------------------ facts: waiting

    def _held(self, fact: facts.TransferHeld) -> None:
        if fact.message_id in self._in_hand:
            self._wait(fact.message_id, fact, self._clock.monotonic())

    def _blocked(self, fact: facts.TransferBlocked) -> None:
        work = self._running.get(fact.transfer_id)
        if work is not None:
            self._wait(work.message_id, fact, self._clock.monotonic() - fact.still_s)

    def _wait(
        self, message_id: str, fact: facts.TransferHeld | facts.TransferBlocked, since_s: float
    ) -> None:
        before = self._waiting.get(message_id)
        if before is not None and before.dependency == fact.dependency:
            # As in the ledger: what fails again soon has not been well in between.
            is_near = before.ended_s is None or since_s - before.ended_s < HOLD_GAP.total_seconds()
            since_s = min(since_s, before.since_s) if is_near else since_s
        self._waiting[message_id] = TransferWait(
            dependency=fact.dependency,
            since_s=since_s,
            code=fact.code,
            reason=fact.reason,
            hint=fact.hint,
        )

    def _unblocked(self, fact: facts.TransferUnblocked) -> None:
        work = self._running.get(fact.transfer_id)
        if work is not None:
            self._moves(work)

    def _resumed(self, fact: facts.TransferResumed) -> None:
        self._end_wait(fact.message_id)

    def _moves(self, work: TransferWork, *, only: str = "") -> None:
        """It works again; where `only` is given, that dependency does."""
        found = self._waiting.get(work.message_id)
        if found is not None and only in {"", found.dependency}:
            self._end_wait(work.message_id)

    def _end_wait(self, message_id: str) -> None:
        found = self._waiting.get(message_id)
        if found is not None and found.ended_s is None:
            self._waiting[message_id] = replace(found, ended_s=self._clock.monotonic())

    def _call_retried(self, fact: facts.CallRetried) -> None:
        before = self._calls.get(fact.call)
        self._calls[fact.call] = TransferWait(
            dependency=fact.dependency,
            since_s=self._clock.monotonic() if before is None else before.since_s,
            code=fact.code,
            reason=fact.reason,
            hint=fact.hint,
        )

    def _call_ended(self, fact: facts.CallRetriesEnded) -> None:
        self._calls.pop(fact.call, None)

    def _stopping(self, _fact: object) -> None:
        self._report = replace(self._report, is_stopping=True)
