"""Delivers notifications while the agent runs, each name in a thread of its own.

A receiver of facts beside the log. Nothing waits for it: a command or a mail server that hangs
holds up one thread here, no transfer, and the agent's end by a few seconds at most.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from backhaul.core.agent.notifying.plan import NotificationPlan
from backhaul.core.agent_report import AgentIdentity, RunningTransfer
from backhaul.core.errors import BackhaulError
from backhaul.core.facts import (
    BudgetNearlyUsed,
    BudgetOutlivesQueue,
    ExpectationArrived,
    ExpectationMissed,
    ForecastCleared,
    ForecastWarned,
    MessageDead,
)
from backhaul.core.health import Health
from backhaul.core.notification import (
    Death,
    Notice,
    Notification,
    NotificationFailed,
    NotificationKept,
    NotificationMemoryFailed,
    NotificationSent,
    NotifyOn,
    NotifyRules,
    Remembered,
)
from backhaul.core.ports import Clock, Emit
from backhaul.core.ports.notify import NotificationMemory, NotificationSender
from backhaul.core.text import redacted
from backhaul.core.units import human_span

TURN_S = 5.0
CLOSE_S = 3.0  # what the last message of each name gets when the agent ends
ABANDON_S = 1.0
KNOWN_MOST = 10_000  # dead transfers that are not reported again
QUIET = frozenset({"E_CANCELLED"})  # the operator's own decision wakes no one up


@dataclass(frozen=True, kw_only=True)
class NotifyTarget:
    """One name: its rules, and who delivers to it."""

    rules: NotifyRules
    sender: NotificationSender


class Notifier:
    """Safe to call from every thread; a fact costs it some microseconds.

    Args:
        health: That of this agent, as it is now; each agent on a ledger notifies of its own, as
            another one may not see it, and none of them leads while the ledger is away.
        transfer: What is known of a transfer under way; called before that is forgotten.
        emit: Where its own facts go.
    """

    def __init__(
        self,
        *,
        targets: Sequence[NotifyTarget],
        health: Callable[[AgentIdentity], Health],
        transfer: Callable[[str], RunningTransfer | None],
        memory: NotificationMemory,
        clock: Clock,
        emit: Emit,
    ) -> None:
        self._targets = targets
        self._health = health
        self._transfer = transfer
        self._memory = memory
        self._clock = clock
        self._emit = emit
        self._plans: dict[str, NotificationPlan] = {}
        self._known_dead: dict[str, None] = {}
        self._saved: Mapping[str, Remembered] = {}
        self._lost_memory = False
        self._changed = threading.Condition()  # also guards plans; never held during a call
        self._saving = threading.Lock()
        self._is_ending = False
        self._abandon = threading.Event()
        self._threads: list[threading.Thread] = []

    def __call__(self, fact: object) -> None:
        if isinstance(fact, MessageDead):
            if fact.code not in QUIET:
                self._died(fact)
        elif (notice := notice_of(fact, self._clock.now())) is not None:
            with self._changed:
                now_s = self._clock.monotonic()
                for plan in self._plans.values():
                    plan.noticed(notice, now_s)

    def _died(self, fact: MessageDead) -> None:
        running = self._transfer(fact.transfer_id)
        death = Death(
            at=self._clock.now(),
            transfer_id=fact.transfer_id,
            message_id=fact.message_id,
            code=fact.code,
            reason=redacted(fact.reason),  # what is not sent yet is kept in a file
            hint=redacted(fact.hint),
            attempts=fact.attempts,
            dead_letter_queue=fact.dead_letter_queue,
            route=running.route if running else "",
            source=redacted(running.source) if running else "",
            destination=redacted(running.destination) if running else "",
        )
        with self._changed:
            # Without a dead-letter queue a message stays, and each delivery finds it dead again.
            if fact.transfer_id in self._known_dead:
                return
            if len(self._known_dead) >= KNOWN_MOST:
                self._known_dead.clear()
            self._known_dead[fact.transfer_id] = None
            now_s = self._clock.monotonic()
            for plan in self._plans.values():
                plan.died(death, now_s)

    # ------------------------------------------------------------ life

    def start(self, identity: AgentIdentity) -> None:
        """Begin, with what the run before had not sent."""
        remembered = self._load() if self._targets else {}
        now_s, now = self._clock.monotonic(), self._clock.now()
        with self._changed:
            for one in self._targets:
                name = one.rules.name
                self._plans[name] = NotificationPlan(
                    one.rules, identity, remembered.get(name, Remembered()), now_s, now
                )
        self._threads = [
            threading.Thread(
                target=self._turn_until_end,
                args=(one, identity),
                name=f"notify-{one.rules.name}",
                daemon=True,
            )
            for one in self._targets
        ]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """Send what may be sent within some seconds, and keep the rest for the next start."""
        with self._changed:
            self._is_ending = True
            self._changed.notify_all()
        self._join(CLOSE_S)
        self._abandon.set()
        self._join(ABANDON_S)
        if self._plans:
            self._save(CLOSE_S)
        for name, plan in self._plans.items():
            if plan.waiting_dead:
                self._emit(NotificationKept(name=name, dead=plan.waiting_dead))

    def _join(self, seconds: float) -> None:
        deadline_s = self._clock.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline_s - self._clock.monotonic()))

    def _turn_until_end(self, target: NotifyTarget, identity: AgentIdentity) -> None:
        is_last = False
        while not is_last:
            with self._changed:
                if not self._is_ending:
                    self._changed.wait(TURN_S)
                is_last = self._is_ending
            self.turn(target, identity, is_last=is_last)

    # ------------------------------------------------------------ one turn

    def turn(self, target: NotifyTarget, identity: AgentIdentity, *, is_last: bool = False) -> None:
        """Look at the health, and send what is due."""
        plan, health = self._plans[target.rules.name], self._health(identity)
        with self._changed:
            plan.observe(health, self._clock.monotonic())
            notification = plan.due(self._clock.monotonic(), self._clock.now(), is_last=is_last)
        self._save()
        if notification is not None:
            self._deliver(plan, target.sender, notification)
            self._save()

    def _deliver(
        self, plan: NotificationPlan, sender: NotificationSender, notification: Notification
    ) -> None:
        began_s = self._clock.monotonic()
        try:
            left_out = sender.send(notification, self._abandon)
        except Exception as error:  # noqa: BLE001 - a defect of a sender must not end its thread
            self._failed(plan, notification, self._reason(error))
            return
        now_s = self._clock.monotonic()
        with self._changed:
            plan.delivered(now_s, self._clock.now())
        self._emit(
            NotificationSent(
                name=notification.name,
                about=", ".join(notification.about),
                dead=notification.deaths.count if notification.deaths else 0,
                seconds=now_s - began_s,
                left_out=left_out,
            )
        )

    def _reason(self, error: Exception) -> BackhaulError:
        if isinstance(error, BackhaulError):
            return error
        self._emit(error)  # with its traceback
        return BackhaulError("E_BUG", f"unexpected {type(error).__name__}: {error}")

    def _failed(
        self, plan: NotificationPlan, notification: Notification, error: BackhaulError
    ) -> None:
        with self._changed:
            if self._is_ending:
                return  # its content stays in the plan, for the next start
            retry_in_s = plan.failed(self._clock.monotonic())
        if retry_in_s is None:
            self._emit(
                NotificationFailed(
                    name=notification.name,
                    code=error.code,
                    reason=error.message,
                    hint=error.hint,
                    dead=notification.deaths.count if notification.deaths else 0,
                    retry_in_s=plan.rules.every_s,
                )
            )

    # ------------------------------------------------------------ memory

    def _load(self) -> Mapping[str, Remembered]:
        try:
            self._saved = self._memory.load()
        except BackhaulError as error:
            self._memory_failed(error)
        return self._saved

    def _save(self, wait_s: float = -1) -> None:
        """Write what has changed; apart from the plans' lock, as a disk may be slow.

        Args:
            wait_s: For another thread that writes; then it hangs, and this is given up.
        """
        if not self._saving.acquire(timeout=wait_s):
            return
        try:
            with self._changed:
                found = {name: plan.remembered() for name, plan in self._plans.items()}
            if found == self._saved:
                return
            try:
                self._memory.save(found)
            except BackhaulError as error:
                self._memory_failed(error)
            else:
                self._saved, self._lost_memory = found, False
        finally:
            self._saving.release()

    def _memory_failed(self, error: BackhaulError) -> None:
        if not self._lost_memory:
            self._lost_memory = True
            self._emit(
                NotificationMemoryFailed(code=error.code, reason=error.message, hint=error.hint)
            )


MISSING_HINT = (
    "backhaul expectations shows what is there; its sender knows whether it was sent,"
    " backhaul status and backhaul history what became of it"
)


def notice_of(fact: object, now: datetime) -> Notice | None:
    """What is worth a message about data; None: nothing."""
    match fact:
        case ExpectationMissed():
            return Notice(
                about=NotifyOn.EXPECTED,
                at=now,
                sentence=f"{fact.route}/{fact.name} has not come by {fact.due}: "
                f"{redacted(fact.found)}",
                code="W_EXPECTED_MISSING",
                hint=MISSING_HINT,
            )
        case ExpectationArrived():
            late = human_span(timedelta(seconds=fact.late_s))
            return Notice(
                about=NotifyOn.EXPECTED,
                at=now,
                sentence=f"{fact.route}/{fact.name}, due by {fact.due}, has come {late} late:"
                f" {redacted(fact.found)}",
            )
        case ForecastWarned():
            return Notice(
                about=NotifyOn.FORECAST,
                at=now,
                sentence=redacted(fact.reason),
                code=fact.code,
                hint=fact.hint,
            )
        case ForecastCleared():
            return Notice(
                about=NotifyOn.FORECAST, at=now, sentence=f"no longer at risk: {fact.subject}"
            )
        case BudgetNearlyUsed():
            return Notice(
                about=NotifyOn.FORECAST,
                at=now,
                sentence=f"nearly used up: {fact.reason}",
                code="W_BUDGET_NEARLY_USED",
                hint=fact.hint,
            )
        case BudgetOutlivesQueue():
            return Notice(
                about=NotifyOn.FORECAST,
                at=now,
                sentence=f"the budget of route {fact.route} holds it until"
                f" {fact.until:%Y-%m-%d %H:%M} UTC, and its messages die from"
                f" {fact.dies_at:%Y-%m-%d %H:%M} UTC on",
                code="W_BUDGET_OUTLIVES_QUEUE",
                hint=fact.hint,
            )
        case _:
            return None
