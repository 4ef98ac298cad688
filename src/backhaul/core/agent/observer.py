"""Watches the facts of one agent and makes its report of them.

A receiver of facts beside the log. It decides nothing, and no transfer waits for it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from backhaul.core import facts
from backhaul.core.agent_report import (
    AgentReport,
    DependencyHold,
    QueueDepth,
    RunningTransfer,
)
from backhaul.core.ports import Clock

RATE_OVER_S = 30.0
IN_HAND_MOST = 10_000  # messages whose time of sending is remembered
_LEDGER = "ledger"


@dataclass(kw_only=True)
class _Waiting:
    """One transfer that waits for a dependency."""

    dependency: str
    since: datetime
    code: str
    reason: str
    hint: str


@dataclass(kw_only=True)
class _Bytes:
    """Measurements of one growing number, for its rate over the last half minute."""

    seen: deque[tuple[float, int]] = field(default_factory=deque)

    def add(self, now_s: float, size_bytes: int) -> None:
        if self.seen and size_bytes < self.seen[-1][1]:
            self.seen.clear()  # it began again
        self.seen.append((now_s, size_bytes))
        while len(self.seen) > 2 and now_s - self.seen[0][0] > RATE_OVER_S:  # noqa: PLR2004
            self.seen.popleft()

    def per_s(self, now_s: float) -> float | None:
        """None before there are two measurements; 0 once nothing was measured for long."""
        if len(self.seen) < 2:  # noqa: PLR2004 - a rate has two ends
            return None
        if now_s - self.seen[-1][0] > RATE_OVER_S:
            return 0.0
        began_s, before = self.seen[0]
        return (self.seen[-1][1] - before) / max(now_s - began_s, 0.001)


class Observer:
    """Safe to call from every thread; a fact costs it some microseconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._running: dict[str, RunningTransfer] = {}
        self._rates: dict[str, _Bytes] = {}
        self._waiting: dict[str, _Waiting] = {}
        self._sent_at: dict[str, datetime] = {}
        self._report = AgentReport(at=clock.now())
        self._ledger_down: _Waiting | None = None
        self._has_more = False
        self._newest_sent_at: datetime | None = None
        self._actions: dict[type, Callable[[Any], None]] = {
            facts.QueuePolled: self._polled,
            facts.PollFailed: self._poll_failed,
            facts.MessageReceived: self._received,
            facts.AttemptStarted: self._started,
            facts.TransferProgress: self._progressed,
            facts.EngineChosen: self._engine_chosen,
            facts.ApplicationFollowed: self._application,
            facts.TransferHeld: self._held,
            facts.TransferBlocked: self._held,
            facts.TransferUnblocked: self._moves,
            facts.TransferResumed: self._moves,
            facts.TransferWaiting: self._attempt_ended,
            facts.AttemptFailed: self._ended,
            facts.TransferDone: self._ended,
            facts.MessageDead: self._ended,
            facts.TransferTakenOver: self._ended,
            facts.MessageReturned: self._ended,
            facts.MessageIgnored: self._settled,
            facts.MessageRecognised: self._settled,
            facts.AgentStopping: self._stopping,
        }

    def __call__(self, fact: object) -> None:
        action = self._actions.get(type(fact))
        if action is not None:
            with self._lock:
                action(fact)

    # ------------------------------------------------------------ what others know

    def measured(self, depth: QueueDepth) -> None:
        """SQS reported its counts."""
        with self._lock:
            self._report = replace(self._report, depth=depth)

    def ledger_failed(self, code: str, reason: str, hint: str) -> None:
        """The ledger took no report: it is down for everything else, too."""
        with self._lock:
            since = self._ledger_down.since if self._ledger_down else self._clock.now()
            self._ledger_down = _Waiting(
                dependency=_LEDGER, since=since, code=code, reason=reason, hint=hint
            )

    def ledger_answered(self) -> None:
        """The ledger took a report."""
        with self._lock:
            self._ledger_down = None

    def route_of(self, transfer_id: str) -> str:
        """Of a transfer under way; empty when it is not known."""
        with self._lock:
            found = self._running.get(transfer_id)
        return found.route if found else ""

    def engine_of(self, transfer_id: str) -> str:
        """Likewise."""
        with self._lock:
            found = self._running.get(transfer_id)
        return found.engine if found else ""

    def sent_at(self, message_id: str) -> datetime | None:
        """When a message in hand was sent, by SQS's clock."""
        with self._lock:
            return self._sent_at.get(message_id)

    def report(self) -> AgentReport:
        """As of now."""
        now, now_s = self._clock.now(), self._clock.monotonic()
        with self._lock:
            running = tuple(
                replace(
                    one,
                    bytes_per_s=self._rates[one.transfer_id].per_s(now_s),
                    waits_for=self._waits_for(one.transfer_id),
                )
                for one in self._running.values()
            )
            oldest = list(self._sent_at.values())
            if self._has_more and self._newest_sent_at is not None:
                oldest.append(self._newest_sent_at)
            return replace(
                self._report,
                at=now,
                running=running,
                holds=self._holds(),
                oldest_sent_at=min(oldest, default=None),
                bytes_per_s=sum(one.bytes_per_s or 0.0 for one in running),
            )

    def _waits_for(self, transfer_id: str) -> str:
        found = self._waiting.get(transfer_id)
        return found.dependency if found else ""

    def _holds(self) -> tuple[DependencyHold, ...]:
        by_dependency: dict[str, list[_Waiting]] = {}
        for one in self._waiting.values():
            by_dependency.setdefault(one.dependency, []).append(one)
        counts = {name: len(every) for name, every in by_dependency.items()}
        if self._ledger_down is not None:
            by_dependency.setdefault(_LEDGER, []).append(self._ledger_down)
        return tuple(
            DependencyHold(
                dependency=name,
                since=min(one.since for one in every),
                code=every[-1].code,
                reason=every[-1].reason,
                hint=every[-1].hint,
                transfers=counts.get(name, 0),
            )
            for name, every in sorted(by_dependency.items())
        )

    # ------------------------------------------------------------ facts

    def _polled(self, fact: facts.QueuePolled) -> None:
        self._has_more = fact.messages > 0
        self._report = replace(
            self._report,
            last_poll_at=self._clock.now(),
            failed_polls=0,
            failing_since=None,
            poll_code="",
            poll_reason="",
        )

    def _poll_failed(self, fact: facts.PollFailed) -> None:
        before = self._report
        self._report = replace(
            before,
            failed_polls=before.failed_polls + 1,
            failing_since=before.failing_since or self._clock.now(),
            poll_code=fact.code,
            poll_reason=fact.reason,
        )

    def _received(self, fact: facts.MessageReceived) -> None:
        if fact.sent_at is not None:
            if len(self._sent_at) >= IN_HAND_MOST:
                self._sent_at.clear()
            self._sent_at[fact.message_id] = self._newest_sent_at = fact.sent_at

    def _started(self, fact: facts.AttemptStarted) -> None:
        self._waiting.pop(fact.transfer_id, None)
        self._rates[fact.transfer_id] = _Bytes()
        self._running[fact.transfer_id] = RunningTransfer(
            transfer_id=fact.transfer_id,
            message_id=fact.message_id,
            route=fact.route,
            source=fact.source,
            destination=fact.destination,
            attempt=fact.attempt,
            started_at=self._clock.now(),
        )

    def _progressed(self, fact: facts.TransferProgress) -> None:
        known = self._running.get(fact.transfer_id)
        if known is None:
            return
        self._rates[fact.transfer_id].add(self._clock.monotonic(), fact.size_bytes)
        self._running[fact.transfer_id] = replace(
            known,
            phase=fact.phase,
            objects=fact.objects,
            objects_total=fact.objects_total,
            size_bytes=fact.size_bytes,
            size_bytes_total=fact.size_bytes_total,
            is_planned=fact.is_planned,
        )

    def _engine_chosen(self, fact: facts.EngineChosen) -> None:
        self._change(fact.transfer_id, engine=fact.engine, engine_reason=fact.reason)

    def _application(self, fact: facts.ApplicationFollowed) -> None:
        self._change(fact.transfer_id, application=fact.application, tracking_url=fact.tracking_url)

    def _change(self, transfer_id: str, **values: str) -> None:
        known = self._running.get(transfer_id)
        if known is not None:
            self._running[transfer_id] = replace(known, **values)  # type: ignore[arg-type]

    def _held(self, fact: facts.TransferHeld | facts.TransferBlocked) -> None:
        before = self._waiting.get(fact.transfer_id)
        is_same = before is not None and before.dependency == fact.dependency
        self._waiting[fact.transfer_id] = _Waiting(
            dependency=fact.dependency,
            since=before.since if before is not None and is_same else self._clock.now(),
            code=fact.code,
            reason=fact.reason,
            hint=fact.hint,
        )

    def _moves(self, fact: facts.TransferUnblocked | facts.TransferResumed) -> None:
        self._waiting.pop(fact.transfer_id, None)
        # Held before the ledger had counted an attempt: there was no id yet.
        self._waiting.pop("", None)

    def _attempt_ended(self, fact: facts.TransferWaiting) -> None:
        self._waiting.pop(fact.transfer_id, None)
        self._running.pop(fact.transfer_id, None)
        self._rates.pop(fact.transfer_id, None)

    def _ended(
        self,
        fact: facts.AttemptFailed
        | facts.TransferDone
        | facts.MessageDead
        | facts.TransferTakenOver
        | facts.MessageReturned,
    ) -> None:
        self._waiting.pop(fact.transfer_id, None)
        self._running.pop(fact.transfer_id, None)
        self._rates.pop(fact.transfer_id, None)
        self._settled(fact)

    def _settled(self, fact: object) -> None:
        message_id = getattr(fact, "message_id", None)
        if message_id is not None:
            self._sent_at.pop(message_id, None)

    def _stopping(self, _fact: object) -> None:
        self._report = replace(self._report, is_stopping=True)
