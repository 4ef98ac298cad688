"""What all deliveries of one queue share: ports, numbers, and what they count together.

An agent has one for each of its queues; those of one agent share everything but the queue itself,
what keeps its messages hidden, and what is due to come back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar

from backhaul.core.agent.defects import result_or_error
from backhaul.core.agent.deletes import SharedDeletes
from backhaul.core.agent.settings import AgentSettings, RunTotals
from backhaul.core.agent.stopping import OpenPoll, Stopper
from backhaul.core.agent.visibility import VisibilityKeeper
from backhaul.core.backoff import hold_delay_s
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.facts import CallRetried, CallRetriesEnded
from backhaul.core.ports import Clock, Emit, Ports, Queue, Randomness
from backhaul.core.requests.admission import FullRoutes, RouteGate
from backhaul.core.requests.pauses import PausedRoutes
from backhaul.core.requests.policy import Policy

_T = TypeVar("_T")
ELSEWHERE_KEPT = 10_000  # messages

# Of a call that settles a message, where other queues need the slot: some 40 s. What is not settled
# then comes back when its timeout ends, and is settled by its next delivery.
QUEUE_TRIES = 6


@dataclass(frozen=True, kw_only=True)
class AgentContext:
    """Used by all slot threads; what can change is guarded by the stopper's `changed`.

    Attributes:
        deletes: Those of this queue.
        name: What facts call the queue.
        is_alone: The agent works no other queue.
        poll: The poll of this queue.
        gate: Transfers in flight by route.
        full: Routes that all agents together fill; under `stopper.changed`, as the gate.
        pauses: Routes whose transfers may not begin.
        totals: What this run did so far.
        due_back: Ids of messages returned for a later try, and when SQS shows each at the latest.
        elsewhere: Which other process was found to work on a message, and how often, by its id.
        call_numbers: For the calls that `until_answered` repeats.
    """

    queue: Queue
    deletes: SharedDeletes
    name: str
    is_alone: bool
    ports: Ports
    policy: Callable[[], Policy]
    settings: AgentSettings
    randomness: Randomness
    keeper: VisibilityKeeper
    stopper: Stopper
    poll: OpenPoll
    gate: RouteGate
    full: FullRoutes
    pauses: PausedRoutes
    totals: RunTotals = field(default_factory=RunTotals)
    due_back: dict[str, float] = field(default_factory=dict)
    elsewhere: dict[str, tuple[str | None, int]] = field(default_factory=dict)
    call_numbers: Iterator[int] = field(default_factory=count)

    @property
    def emit(self) -> Emit:
        return self.ports.emit

    @property
    def clock(self) -> Clock:
        return self.ports.clock

    def outage_of_ledger(self) -> OutageError | None:
        """Why nothing may be received now: the ledger does not see this process.

        What is in hand stays hidden, and workers go on with their bytes.

        Raises:
            FencedOff: Others have its work.
        """
        try:
            self.ports.standing.require()
        except OutageError as error:
            return error
        return None

    def times_elsewhere(self, message_id: str, owner: str | None) -> int:
        """How often this was called for the message before, and with this owner the last times."""
        with self.stopper.changed:
            before, times = self.elsewhere.pop(message_id, (owner, 0))
            if before != owner:
                times = 0
            if len(self.elsewhere) >= ELSEWHERE_KEPT:
                del self.elsewhere[next(iter(self.elsewhere))]  # not met for the longest time
            self.elsewhere[message_id] = (owner, times + 1)
        return times

    def chance(self) -> float:
        """0.0 to 1.0, for the jitter of a delay."""
        return self.randomness.uniform(0.0, 1.0)

    def result_or_error(self, work: Callable[[], _T]) -> _T | BackhaulError:
        """What `work` returns, or the error it raises; a defect becomes E_BUG.

        Raises:
            ConfigurationError: No message caused it, and no later one would fare better.
        """
        return result_or_error(work, self.emit)

    def until_answered(self, call: Callable[[], object], *, max_tries: int | None = None) -> object:
        """Repeat a call that settles a message for as long as its dependency is down.

        Args:
            max_tries: Default: no limit.

        Returns:
            The call's result, or True where it has none; None when it was not answered within
            `max_tries`, or before the agent has to stop.
        """
        call_number, tries, is_answered = next(self.call_numbers), 0, True
        try:
            while True:
                try:
                    result = call()
                except OutageError as error:
                    tries += 1
                    delay_s = hold_delay_s(tries, self.chance())
                    self._note_retry(call_number, error, delay_s)
                    if tries == max_tries or (self.stopper.is_requested and tries > 1):
                        is_answered = False
                        return None
                    self.stopper.pause(delay_s)
                else:
                    return True if result is None else result
        finally:
            if tries:
                self.emit(CallRetriesEnded(call=call_number, tries=tries, is_answered=is_answered))

    def until_queue_answers(self, call: Callable[[], object]) -> object:
        """As `until_answered`, for a call of the queue that settles a message.

        A queue that is down keeps no slot from the others for long.
        """
        return self.until_answered(call, max_tries=None if self.is_alone else QUEUE_TRIES)

    def _note_retry(self, call_number: int, error: OutageError, delay_s: float) -> None:
        self.emit(
            CallRetried(
                call=call_number,
                dependency=error.dependency,
                code=error.code,
                reason=error.message,
                hint=error.hint,
                retry_in_s=delay_s,
            )
        )
