"""The agent: messages from the queue into free slots, several at once, until it is stopped.

Capacity first, then receive: a poll requests as many messages as there are free slots. Each message
gets a slot thread, and its visibility is kept from the moment of its receipt. What happens to it
then is in `delivery`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from backhaul.core import facts
from backhaul.core.agent.context import AgentContext
from backhaul.core.agent.delivery import deliver
from backhaul.core.agent.pausing.parking import Parking
from backhaul.core.agent.reporting import Reporter
from backhaul.core.agent.returning import give_back
from backhaul.core.agent.settings import AgentSettings, RunTotals
from backhaul.core.agent.stopping import Stop, Stopper
from backhaul.core.agent.sweeping import SWEEP_EVERY_S, sweep_abandoned
from backhaul.core.agent.thread_watchdog import CHECK_EVERY_S, Heartbeat, HeartbeatMonitor
from backhaul.core.agent.visibility import VisibilityKeeper
from backhaul.core.agent_report import REPORT_EVERY_S
from backhaul.core.backoff import hold_delay_s
from backhaul.core.errors import BackhaulError, OutageError
from backhaul.core.ports import Message, Ports, Queue, Randomness
from backhaul.core.requests.admission import RouteGate
from backhaul.core.requests.pauses import PausedRoutes
from backhaul.core.requests.policy import Policy
from backhaul.core.text import excerpt

POLL_RETRY_CAP_S = 30.0
POLL_OVERTIME_S = 10.0  # a poll's answer may come this much after its wait
ABORT_WAIT_S = 10.0
# A report that waits for SQS or the ledger does not keep the agent from ending.
REPORTING_JOIN_S = 1.0
REPORT_AGAIN_S = 300.0  # after a defect
LINGER_S = 0.1
POLL, VISIBILITY = "poll", "visibility"
HANGS = {
    POLL: ("E_POLL_STUCK", "the thread that receives messages"),
    VISIBILITY: ("E_HEARTBEAT_STUCK", "the thread that keeps messages hidden"),
}
SHORT_POLL_PAUSE_S = 1.0  # between empty polls that do not wait by themselves
DRAIN_TRIES_MIN = 5  # failed polls before a drain gives up, however short its patience


class Agent:
    """Works one queue until it is stopped or drained.

    Args:
        abort_transfers: Ends what the workers do; called once, at the end.
        beat: Called about once a second by the main thread, for who watches that.
        reporter: Publishes what the agent does; None: nothing does.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        ports: Ports,
        policy: Callable[[], Policy],
        settings: AgentSettings,
        randomness: Randomness,
        abort_transfers: Callable[[], None],
        beat: Callable[[], None] = lambda: None,
        reporter: Reporter | None = None,
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._abort_transfers = abort_transfers
        self._beat = beat
        self._reporter = reporter
        self._is_over = False  # nothing is left to report but the end
        self._emit = ports.emit
        self._clock = ports.clock
        self.was_cut_short = False  # a second signal ended the grace
        self.is_stuck = False  # a slot thread never ended: the process must be ended hard
        self._busy = 0
        self._is_polling = False
        self._has_backlog = False
        self._poll_ends_s = 0.0
        self._bug: BaseException | None = None
        self._keeper = VisibilityKeeper(
            queue=queue,
            clock=ports.clock,
            emit=ports.emit,
            visibility_timeout_s=settings.visibility_timeout_s,
            total_s=settings.visibility_total_s,
        )
        self._poll_heartbeat = Heartbeat()
        self._monitor = HeartbeatMonitor(ports.clock, settings.watchdog_s)
        self._stopper = Stopper(ports.clock)
        self._context = AgentContext(
            queue=queue,
            ports=ports,
            policy=policy,
            settings=settings,
            randomness=randomness,
            keeper=self._keeper,
            stopper=self._stopper,
            gate=RouteGate(ports.clock),
            pauses=PausedRoutes(ports.ledger, ports.clock, ports.budgets),
        )
        self._parking = Parking(self._context)
        self._is_turn_of_parked = False
        self._pausing = threading.Thread(target=self._park_until_stopped, name="park", daemon=True)
        self._sweeper = threading.Thread(
            target=self._sweep_until_stopped, name="sweep", daemon=True
        )
        self._reporting = threading.Thread(
            target=self._report_until_over, name="report", daemon=True
        )
        self._slots = ThreadPoolExecutor(settings.slots, thread_name_prefix="slot")

    @property
    def totals(self) -> RunTotals:
        """What this run did so far."""
        return self._context.totals

    def request_stop(self, how: Stop) -> None:
        """Request a stop; safe from a signal handler; the more urgent request wins."""
        if how is Stop.NOW and self._is_polling:
            # The poll would take what is handed back now, and hide it for a whole timeout.
            self._stopper.abandon_poll(self._poll_ends_s)
        self._stopper.request(how)

    # ------------------------------------------------------------ polling

    def run(self) -> None:
        """Poll until stopped or drained; `totals` has what was done.

        Raises:
            BackhaulError: The ledger or the queue is unusable for good.
        """
        self._keeper.start()
        self._is_polling = True
        threading.Thread(target=self._poll_until_stopped, name="poll", daemon=True).start()
        self._sweeper.start()
        self._pausing.start()
        self._reporting.start()
        with self._stopper.changed:
            while not self._stopper.is_requested and self._is_polling and not self._hangs():
                self._stopper.changed.wait(timeout=CHECK_EVERY_S)
        self._finish()
        if self._bug is not None:
            raise self._bug

    def _hangs(self) -> bool:
        """One check of the threads; a thread that is silent for too long ends the agent."""
        self._beat()
        failure = self._keeper.failure
        thread = self._monitor.check(
            {POLL: self._poll_heartbeat, VISIBILITY: self._keeper.heartbeat}
        )
        if failure is not None:
            thread, how = VISIBILITY, f"died of {type(failure).__name__}: {failure}"
        else:
            how = f"has not moved for {self._settings.watchdog_s:.0f} s"
        if thread is None:
            return False
        code, what = HANGS[thread]
        error = BackhaulError(
            code,
            f"{what} {how}",
            hint="the process ends and is to be started again; nothing is lost by that",
        )
        error.__cause__ = failure
        self._emit(
            facts.ThreadHung(thread=thread, code=code, reason=error.message, hint=error.hint)
        )
        self._bug = self._bug or error
        self._stopper.request(Stop.DRAIN)
        return True

    def _poll_until_stopped(self) -> None:
        with self._errors_to_run():
            self._poll_loop()
        with self._stopper.changed:
            self._is_polling = False
            self._stopper.changed.notify_all()

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

    def _park_until_stopped(self) -> None:
        """Know which routes are paused; at the end hand back what is parked."""
        with self._errors_to_run(Stop.DRAIN):
            self._parking.work_until_stopped()

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

    def _poll_loop(self) -> None:
        failures = 0
        while free := self._wait_for_capacity():
            if self._start_parked() or self._is_everything_paused():
                continue
            wait_s = 0 if self._parking.has_ready else self._settings.poll_wait_s
            # One at a time keeps the order of a FIFO queue: SQS gives no second message of a group
            # while its first is in flight, but one answer may bring several.
            most = 1 if self._queue.facts.is_fifo else min(free, 10)
            self._poll_heartbeat.beat()
            began_s = self._clock.monotonic()
            self._poll_ends_s = began_s + wait_s
            try:
                messages = self._queue.receive(
                    max_messages=most,
                    wait_s=wait_s,
                    visibility_timeout_s=self._settings.visibility_timeout_s,
                )
            except OutageError as error:
                failures += 1
                if self._poll_failed(error, failures):
                    return
                continue
            # What is handed back from now on need not hide from this poll.
            self._poll_ends_s = began_s
            failures = 0
            self._poll_heartbeat.beat()
            self._has_backlog = len(messages) == most
            self._parking.received(messages)
            self._emit(facts.QueuePolled(queue=self._queue.facts.name, messages=len(messages)))
            for message in messages:
                self._accept(message)
            if not messages and not self._parking.has_ready:
                if wait_s == 0:
                    self._poll_heartbeat.rest()
                    self._stopper.pause(SHORT_POLL_PAUSE_S)
                if self._settings.drain and self._is_drained(began_s):
                    self.totals.gave_up += len(self._parking)
                    return

    def _poll_failed(self, error: OutageError, failures: int) -> bool:
        """Back off; True when a stop ended the pause. A drain raises the error in the end."""
        delay_s = min(POLL_RETRY_CAP_S, hold_delay_s(failures, self._context.chance()))
        self._emit(
            facts.PollFailed(
                queue=self._queue.facts.name,
                code=error.code,
                reason=error.message,
                hint=error.hint,
                retry_in_s=delay_s,
            )
        )
        self._poll_heartbeat.rest()
        if self._stopper.pause(delay_s):
            return True
        is_too_long = failures * POLL_RETRY_CAP_S > self._settings.drain_patience_s
        if self._settings.drain and is_too_long and failures >= DRAIN_TRIES_MIN:
            raise error
        return False

    def _wait_for_capacity(self) -> int:
        """Free slots, at least one; 0 after a stop request.

        With a backlog it lingers a moment for half of the slots: one call for several messages
        instead of one each. A queue that gave less than requested is polled at once.
        """
        linger_until_s: float | None = None
        with self._stopper.changed:
            while not self._stopper.is_requested:
                free = self._settings.slots - self._busy
                if free > 0 and not self._parking.has_ready and self._is_everything_paused():
                    self._poll_heartbeat.rest()
                    self._stopper.changed.wait()
                elif free > 0:
                    if not self._has_backlog or free >= self._settings.slots / 2:
                        return free
                    now_s = self._clock.monotonic()
                    linger_until_s = linger_until_s or now_s + LINGER_S
                    if now_s >= linger_until_s:
                        return free
                    self._stopper.changed.wait(timeout=linger_until_s - now_s)
                else:
                    self._poll_heartbeat.rest()
                    self._stopper.changed.wait()
        return 0

    def _is_everything_paused(self) -> bool:
        """There is nothing to receive for; a drain looks nevertheless what the queue has."""
        return not self._settings.drain and self._parking.is_nothing_wanted

    def _start_parked(self) -> bool:
        """Start a message whose route is resumed, and every second time none: others come, too."""
        self._is_turn_of_parked = not self._is_turn_of_parked
        message = self._parking.next_ready() if self._is_turn_of_parked else None
        if message is None:
            return False
        with self._stopper.changed:
            self._busy += 1
        self._slots.submit(self._serve, message, False)  # noqa: FBT003 - by position alone
        return True

    def _is_drained(self, began_s: float) -> bool:
        """Nothing in flight, and every message that this run sent back could have been received.

        Args:
            began_s: When the poll began that brought nothing. What returned only while it ran, or
                since, the next one brings.
        """
        with self._stopper.changed:
            is_due = any(due_s >= began_s for due_s in self._context.due_back.values())
            return self._busy == 0 and not is_due

    def _accept(self, message: Message) -> None:
        with self._stopper.changed:
            self._context.due_back.pop(message.message_id, None)
            is_late = self._stopper.is_requested
            is_ours = not is_late and self._keeper.keep(message)
            self._busy += is_ours
        if is_ours:
            self._slots.submit(self._serve, message, True)  # noqa: FBT003 - by position alone
        elif is_late:
            give_back(self._context, message)
        else:
            self._emit(
                facts.MessageRecognised(
                    message_id=message.message_id,
                    transfer_id="",
                    state="running",
                    is_running=True,
                )
            )

    def _serve(self, message: Message, is_new: bool) -> None:  # noqa: FBT001 - by position alone
        """One message from receipt to its end, in a slot thread."""
        with self._errors_to_run(Stop.DRAIN):
            if is_new:
                self._emit(
                    facts.MessageReceived(
                        message_id=message.message_id,
                        receive_count=message.receive_count,
                        body_excerpt=excerpt(message.body),
                        sent_at=message.sent_at,
                    )
                )
            wait, message_id = None, message.message_id
            try:
                wait = deliver(self._context, message)
            except BaseException:
                self._keeper.release(message_id)  # it comes back when its timeout ends
                raise
            finally:
                is_parked = wait is not None
                self._emit(facts.DeliveryEnded(message_id=message_id, is_parked=is_parked))
            if wait is not None:
                self._parking.park(message, wait)
        with self._stopper.changed:
            self._busy -= 1
            self._stopper.changed.notify_all()

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Let transfers finish within the grace, then hand the rest back."""
        grace_s = self._settings.stop_grace_s if self._bug is None else 0.0
        if self._stopper.is_requested:
            with self._stopper.changed:
                in_flight = self._busy
            wait_s = self._settings.poll_wait_s if self._is_polling else 0
            self._emit(
                facts.AgentStopping(in_flight=in_flight, grace_s=grace_s, poll_wait_s=wait_s)
            )
        self._stopper.request(Stop.DRAIN)  # after a drain, too: what is parked is handed back
        self._wait_while(lambda: self._busy > 0 or len(self._parking) > 0, grace_s)
        # A poll cannot be interrupted; what it still brings is handed back in `_accept`. Only a
        # second signal goes without it: such a message is invisible for one timeout.
        self._wait_while(lambda: self._is_polling, self._settings.poll_wait_s + POLL_OVERTIME_S)
        self.was_cut_short = self._stopper.level is Stop.NOW
        self._stopper.request(Stop.NOW)
        self._abort_transfers()
        self._wait_while(lambda: self._busy > 0, ABORT_WAIT_S, unless=None)
        self._hand_back_stuck()
        self._slots.shutdown(wait=not self.is_stuck, cancel_futures=True)
        self._keeper.close()
        for thread in [one for one in (self._sweeper, self._pausing) if one.ident is not None]:
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

    def _hand_back_stuck(self) -> None:
        """A slot that does not end, in some call without a time limit, loses its message."""
        with self._stopper.changed:
            self.is_stuck = self._busy > 0
        if self.is_stuck:
            for message in self._keeper.release_all():
                give_back(self._context, message)
