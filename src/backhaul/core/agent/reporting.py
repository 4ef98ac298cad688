"""Publishes what the agent does, in a thread of its own: every few seconds, and at its end.

Nothing that a transfer needs is done here, and no transfer waits for it: when the ledger or SQS
does not answer, the next turn tries again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress

from backhaul.core.agent.observer import Observer
from backhaul.core.agent_report import AgentIdentity, AgentRecord
from backhaul.core.errors import BackhaulError
from backhaul.core.health import Health, agent_health
from backhaul.core.ports import Clock, Ledger, Queue

DEPTH_EVERY_S = 30.0
SUMMED_AT_ONCE = 500  # changes of state; some 10 ms of the ledger
SUMS_MOST = 10  # in one turn; what is left then comes with the next ones


class Reporter:
    """One agent's reports to the ledger; `turn` is called by one thread at a time.

    Args:
        queues: By the names that facts call them.
        look_ahead: Called once the ledger took a report; raises what the ledger raises.
        published: Gets the agent's health after every turn, also while the ledger is down.
    """

    def __init__(
        self,
        *,
        identity: AgentIdentity,
        observer: Observer,
        queues: Mapping[str, Queue],
        ledger: Ledger,
        clock: Clock,
        look_ahead: Callable[[], None] = lambda: None,
        published: Callable[[Health], None] = lambda _health: None,
    ) -> None:
        self._identity = identity
        self._observer = observer
        self._queues = queues
        self._ledger = ledger
        self._clock = clock
        self._look_ahead = look_ahead
        self._published = published
        self._depth_due_s = clock.monotonic()

    def turn(self) -> None:
        """One report, and some steps of the sums."""
        self._measure()
        self._record(has_ended=False)
        record = AgentRecord(identity=self._identity, report=self._observer.report(), beats=0)
        self._published(agent_health(record, self._clock.now()))

    def end(self, failure: str) -> None:
        """The last report; a turn that is still under way in another thread changes nothing of it.

        Args:
            failure: Code of the error that ends the agent; empty: it ends well.
        """
        self._observer.failed(failure)
        self._record(has_ended=True)

    def _record(self, *, has_ended: bool) -> None:
        try:
            self._ledger.beat(self._identity, self._observer.report(), has_ended=has_ended)
            for _ in range(SUMS_MOST):
                if not self._ledger.sum_activity(most=SUMMED_AT_ONCE):
                    break
            if not has_ended:
                self._look_ahead()
            self._ledger.repeat_lost_ends(self._clock.now())
        except BackhaulError as error:
            self._observer.ledger_failed(error.code, error.message, error.hint)
        else:
            self._observer.ledger_answered()

    def _measure(self) -> None:
        now_s = self._clock.monotonic()
        if now_s < self._depth_due_s:
            return
        self._depth_due_s = now_s + DEPTH_EVERY_S
        for name, queue in self._queues.items():
            # The polls report an SQS that is down. Old counts stay, with their time; and the report
            # of the other queues does not wait for this one.
            if len(self._queues) > 1 and self._observer.is_failing(name):
                continue
            with suppress(BackhaulError):
                self._observer.measured(queue.depth(), name)
