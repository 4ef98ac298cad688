"""The agent: messages from its queues into free slots, several at once, until it is stopped.

Each queue has a thread that polls it, one that keeps its messages hidden and one that watches its
paused routes; so a queue that is down holds up no other one. The slots are common to all. How
messages come into them is in `polling.poller`, what happens to a message then in `delivery`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace

from backhaul.core import facts
from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.deletes import SharedDeletes
from backhaul.core.agent.polling.kept import KeptSlots, kept_now
from backhaul.core.agent.polling.poller import QueuePoller
from backhaul.core.agent.polling.shares import SlotShares
from backhaul.core.agent.reporting import Reporter
from backhaul.core.agent.returning import give_back
from backhaul.core.agent.settings import AgentSettings, RunTotals, WorkedQueue
from backhaul.core.agent.stopping import OpenPoll, Stop, Stopper
from backhaul.core.agent.sweeping import SWEEP_EVERY_S, sweep_abandoned
from backhaul.core.agent.thread_watchdog import CHECK_EVERY_S, Beating, HeartbeatMonitor
from backhaul.core.agent.visibility import VisibilityKeeper
from backhaul.core.agent_report import REPORT_EVERY_S
from backhaul.core.errors import BackhaulError, ConfigurationError
from backhaul.core.ports import Message, Ports, Randomness
from backhaul.core.requests.admission import FullRoutes, RouteGate
from backhaul.core.requests.pauses import PausedRoutes
from backhaul.core.requests.policy import Policy

POLL_OVERTIME_S = 10.0  # a poll's answer may come this much after its wait
ABORT_WAIT_S = 10.0
# A report that waits for SQS or the ledger does not keep the agent from ending.
REPORTING_JOIN_S = 1.0
REPORT_AGAIN_S = 300.0  # after a defect
POLL, VISIBILITY, MEMBER = "poll", "visibility", "member"
HANGS = {
    POLL: ("E_POLL_STUCK", "the thread that receives messages"),
    VISIBILITY: ("E_HEARTBEAT_STUCK", "the thread that keeps messages hidden"),
    MEMBER: ("E_LEDGER_BEAT_STUCK", "the thread by which other agents see this one"),
}


class Agent:
    """Works its queues until it is stopped, or all of them are drained.

    Args:
        queues: At least one.
        abort_transfers: Ends what the workers do; called once, at the end.
        beat: Called about once a second by the main thread, for who watches that.
        reporter: Publishes what the agent does; None: nothing does.

    Attributes:
        pollers: One for each queue.
    """

    def __init__(
        self,
        *,
        queues: Sequence[WorkedQueue],
        ports: Ports,
        policy: Callable[[], Policy],
        settings: AgentSettings,
        randomness: Randomness,
        abort_transfers: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
        reporter: Reporter | None = None,
    ) -> None:
        self._settings = settings
        self._abort_transfers = abort_transfers
        self._beat = beat
        self._reporter = reporter
        self._is_over = False  # nothing is left to report but the end
        self._emit = ports.emit
        self._clock = ports.clock
        self.was_cut_short = False  # a second signal ended the grace
        self.is_stuck = False  # a slot thread never ended: the process must be ended hard
        self._bug: BaseException | None = None
        self._monitor = HeartbeatMonitor(ports.clock, settings.watchdog_s)
        self._stopper = Stopper(ports.clock)
        self._shares = SlotShares(settings.slots, [one.min_slots for one in queues])
        common = AgentContext(
            queue=queues[0].queue,
            deletes=SharedDeletes(queues[0].queue, ports.standing.require),
            name=queues[0].name,
            is_alone=len(queues) == 1,
            ports=ports,
            policy=policy,
            settings=settings,
            randomness=randomness,
            keeper=self._keeper(queues[0], ports, settings),
            stopper=self._stopper,
            poll=OpenPoll(ports.clock),
            gate=RouteGate(ports.clock),
            full=FullRoutes(ports.clock),
            pauses=PausedRoutes(ports.ledger, ports.clock, ports.budgets),
        )
        self._context = common
        contexts = [
            common,
            *(
                replace(
                    common,
                    queue=one.queue,
                    deletes=SharedDeletes(one.queue, ports.standing.require),
                    name=one.name,
                    keeper=self._keeper(one, ports, settings),
                    poll=OpenPoll(ports.clock),
                    due_back={},
                )
                for one in queues[1:]
            ),
        ]
        kept = KeptSlots(settings.slots, lambda: kept_now(common))
        self.pollers = [
            QueuePoller(context, self._shares, share, kept, self._submit)
            for context, share in zip(contexts, self._shares.shares, strict=True)
        ]
        self._pausing = [
            threading.Thread(target=self._park_until_stopped, args=(one,), name="park", daemon=True)
            for one in self.pollers
        ]
        self._sweeper = threading.Thread(
            target=self._sweep_until_stopped, name="sweep", daemon=True
        )
        self._reporting = threading.Thread(
            target=self._report_until_over, name="report", daemon=True
        )
        self._slots = ThreadPoolExecutor(settings.slots, thread_name_prefix="slot")

    @staticmethod
    def _keeper(one: WorkedQueue, ports: Ports, settings: AgentSettings) -> VisibilityKeeper:
        return VisibilityKeeper(
            queue=one.queue,
            clock=ports.clock,
            emit=ports.emit,
            visibility_timeout_s=settings.visibility_timeout_s,
            total_s=settings.visibility_total_s,
        )

    @property
    def totals(self) -> RunTotals:
        """What this run did so far."""
        return self._context.totals

    @property
    def busy(self) -> int:
        """Slots with a message in them."""
        return self._shares.busy

    @property
    def _is_polling(self) -> bool:
        return any(one.is_polling for one in self.pollers)

    def request_stop(self, how: Stop) -> None:
        """Request a stop; safe from a signal handler; the more urgent request wins."""
        if how is Stop.NOW:
            for one in self.pollers:
                # Its poll would take what is handed back now, and hide it for a whole timeout.
                if one.is_polling:
                    one.context.poll.abandon()
        self._stopper.request(how)

    # ------------------------------------------------------------ the threads

    def run(self) -> None:
        """Poll until stopped or drained; `totals` has what was done.

        Raises:
            BackhaulError: The ledger or a queue is unusable for good.
        """
        for one in self.pollers:
            one.keeper.start()
            one.is_polling = True
        for one in self.pollers:
            threading.Thread(
                target=self._poll_until_stopped, args=(one,), name="poll", daemon=True
            ).start()
        self._sweeper.start()
        for thread in self._pausing:
            thread.start()
        self._reporting.start()
        with self._stopper.changed:
            while not self._stopper.is_requested and self._is_polling and not self._hangs():
                self._stopper.changed.wait(timeout=CHECK_EVERY_S)
        self._finish()
        failure = self._bug or next((one.failure for one in self.pollers if one.failure), None)
        if failure is not None:
            raise failure

    def _hangs(self) -> bool:
        """One check of the threads; a thread that is silent for too long ends the agent."""
        self._beat()
        heartbeats: dict[tuple[str, int], Beating] = {
            (kind, number): heartbeat
            for number, one in enumerate(self.pollers)
            for kind, heartbeat in ((POLL, one.heartbeat), (VISIBILITY, one.keeper.heartbeat))
        }
        if (beating := self._context.ports.standing.beating) is not None:
            heartbeats[MEMBER, 0] = beating
        found = self._monitor.check(heartbeats)
        how = f"has not moved for {self._settings.watchdog_s:.0f} s"
        failure = None
        for number, one in enumerate(self.pollers):
            if one.keeper.failure is not None:
                found, failure = (VISIBILITY, number), one.keeper.failure
        if beating is not None and beating.failure is not None:
            found, failure = (MEMBER, 0), beating.failure
        if failure is not None:
            how = f"died of {type(failure).__name__}: {failure}"
        if found is None:
            return False
        code, what = HANGS[found[0]]
        if not self._context.is_alone and found[0] != MEMBER:
            what += f" of {self.pollers[found[1]].context.name}"
        error: BackhaulError
        if isinstance(failure, ConfigurationError):
            error = failure  # of the ledger: started again it would be no better
        else:
            hint = "the process ends and is to be started again; nothing is lost by that"
            error = BackhaulError(code, f"{what} {how}", hint=hint)
            error.__cause__ = failure
        if isinstance(failure, Exception):
            self._emit(failure)  # with its traceback
        self._emit(
            facts.ThreadHung(
                thread=found[0], code=error.code, reason=error.message, hint=error.hint
            )
        )
        self._bug = self._bug or error
        self._stopper.request(Stop.DRAIN)
        return True

    def _poll_until_stopped(self, poller: QueuePoller) -> None:
        # A queue alone that cannot be polled any more ends the agent by itself: nothing polls then.
        with self._errors_to_run(Stop.NO if self._context.is_alone else Stop.DRAIN):
            poller.poll()
        with self._stopper.changed:
            poller.is_polling = False
            self._stopper.changed.notify_all()

    def _submit(self, poller: QueuePoller, message: Message, is_new: bool) -> None:  # noqa: FBT001
        """Work on the message in a slot, which is taken already."""
        self._slots.submit(self._serve, poller, message, is_new)

    def _serve(self, poller: QueuePoller, message: Message, is_new: bool) -> None:  # noqa: FBT001
        with self._errors_to_run(Stop.DRAIN):
            poller.serve(message, is_new)
        poller.leave_slot(message)

    def _sweep_until_stopped(self) -> None:
        """Remove abandoned staging every few minutes."""
        with self._errors_to_run(Stop.DRAIN):
            while True:
                try:
                    sweep_abandoned(self._context.ports, self._context.policy())
                except BackhaulError as error:
                    if self._stopper.is_requested:
                        return  # cut short by the stop, which is no failure
                    self._emit(facts.SweepFailed(code=error.code, reason=error.message))
                if self._stopper.pause(SWEEP_EVERY_S):
                    return

    def _park_until_stopped(self, poller: QueuePoller) -> None:
        """Know which routes are paused; at the end hand back what is parked."""
        with self._errors_to_run(Stop.DRAIN):
            poller.parking.work_until_stopped()

    def _report_until_over(self) -> None:
        """Publish what the agent does, also while it stops."""
        if self._reporter is None:
            return
        with self._errors_to_run(Stop.DRAIN):
            while not self._is_over:
                # No transfer needs a report: a defect in making one is logged, and ends nothing.
                result = self._context.result_or_error(self._reporter.turn)
                is_well = not isinstance(result, BackhaulError)
                every_s = REPORT_EVERY_S if is_well else REPORT_AGAIN_S
                deadline_s = self._clock.monotonic() + every_s
                with self._stopper.changed:
                    while not self._is_over:
                        left_s = deadline_s - self._clock.monotonic()
                        if left_s <= 0:
                            break
                        self._stopper.changed.wait(timeout=left_s)

    def _report_the_end(self) -> None:
        with self._stopper.changed:
            self._is_over = True
            self._stopper.changed.notify_all()
        if self._reporter is None or self._reporting.ident is None:
            return
        self._reporting.join(REPORTING_JOIN_S)
        bug, reporter = self._bug, self._reporter
        failure = "" if bug is None else bug.code if isinstance(bug, BackhaulError) else "E_BUG"
        self._context.result_or_error(lambda: reporter.end(failure))

    @contextmanager
    def _errors_to_run(self, stop: Stop = Stop.NO) -> Iterator[None]:
        """Around the work of a thread: `run` raises the first error of any of them."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - a thread must not die silently
            self._bug = self._bug or error
            self._stopper.request(stop)

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Let transfers finish within the grace, then hand the rest back."""
        grace_s = self._settings.stop_grace_s if self._bug is None else 0.0
        if self._stopper.is_requested:
            with self._stopper.changed:
                in_flight = self.busy
            wait_s = self._settings.poll_wait_s if self._is_polling else 0
            self._emit(
                facts.AgentStopping(in_flight=in_flight, grace_s=grace_s, poll_wait_s=wait_s)
            )
        self._stopper.request(Stop.DRAIN)  # after a drain, too: what is parked is handed back
        self._wait_while(lambda: self.busy > 0 or self._has_parked, grace_s)
        # A poll cannot be interrupted; what it still brings is handed back by its poller. Only a
        # second signal goes without it: such a message is invisible for one timeout.
        self._wait_while(lambda: self._is_polling, self._settings.poll_wait_s + POLL_OVERTIME_S)
        self.was_cut_short = self._stopper.level is Stop.NOW
        self._stopper.request(Stop.NOW)
        self._abort_transfers()
        self._wait_while(lambda: self.busy > 0, ABORT_WAIT_S, unless=None)
        self._hand_back_stuck()
        self._slots.shutdown(wait=not self.is_stuck, cancel_futures=True)
        for poller in self.pollers:
            poller.keeper.close()
        for thread in [one for one in (self._sweeper, *self._pausing) if one.ident is not None]:
            thread.join(ABORT_WAIT_S)  # it writes no line after the last one
        self._report_the_end()
        totals = self.totals
        self._emit(facts.AgentStopped(done=totals.done, dead=totals.dead, returned=totals.returned))

    def _wait_while(
        self, is_busy: Callable[[], bool], seconds: float, *, unless: Stop | None = Stop.NOW
    ) -> None:
        """Wait at most this long for the end of something, or until the stop gets that urgent."""
        deadline_s = self._clock.monotonic() + seconds
        with self._stopper.changed:
            while is_busy() and self._stopper.level is not unless:
                left_s = deadline_s - self._clock.monotonic()
                if left_s <= 0:
                    return
                self._beat()
                self._stopper.changed.wait(timeout=min(left_s, CHECK_EVERY_S))

    @property
    def _has_parked(self) -> bool:
        return any(len(one.parking) > 0 for one in self.pollers)

    def _hand_back_stuck(self) -> None:
        """A slot that does not end, in some call without a time limit, loses its message."""
        with self._stopper.changed:
            self.is_stuck = self.busy > 0
        if self.is_stuck:
            for one in self.pollers:
                for message in one.keeper.release_all():
                    give_back(one.context, message)
