"""The agent: messages from the queue to their end, several at once.

Capacity first, then receive: a poll asks for as many messages as there are free slots. Each
message gets a slot thread, and the visibility keeper from the moment of its receipt. The order of
a transfer is in `transfer`, its effects in `runner`; what becomes of the message is here:

    settled     ledger first, then delete
    failed      comes back after a back-off, by changing its visibility
    held, busy  stays with us, invisible, spending nothing, until the obstacle is gone
    dead        copied to the dead-letter queue with its reason, then ledger, then deleted
    stopping    handed back unspent, visible at once
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import IntEnum

from backhaul.core import events
from backhaul.core.backoff import RetryPolicy, hold_delay_s
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    DestinationBusy,
    OutageError,
    PermanentError,
    VisibilityLost,
)
from backhaul.core.message import parse_message
from backhaul.core.model import Job, Request, TransferState
from backhaul.core.policy import Policy
from backhaul.core.ports import (
    Begun,
    DeadLetterReason,
    Message,
    MessageKey,
    Queue,
    Randomness,
)
from backhaul.core.runner import Ports, TransferRunner, unexpected
from backhaul.core.text import printable
from backhaul.core.transfer import Budget, Fate, Verdict, after_failure
from backhaul.core.visibility import SQS_TOTAL_S, VisibilityKeeper

BUSY_WAIT_S = 1.0
ELSEWHERE_WAIT_S = 30
POLL_RETRY_CAP_S = 30.0
POLL_OVERTIME_S = 10.0  # a poll's answer may come this much after its wait
ABORT_WAIT_S = 10.0


class Stop(IntEnum):
    """How urgently to stop."""

    NO = 0
    DRAIN = 1  # receive nothing more, let transfers finish within the grace
    NOW = 2  # hand everything back


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """Numbers and names the agent is run with.

    Attributes:
        slots: Messages worked on at once.
        poll_wait_s: SQS long poll, 0 to 20.
        visibility_timeout_s: Initial and renewed, 60 to 43,200.
        stop_grace_s: What running transfers get to finish after a stop is asked for.
        drain: End when the queue stayed empty for one long poll and nothing is in flight.
        drain_patience_s: In a drain, how long to wait for a dependency that is down.
        default_fs: `hdfs://authority` for destinations that name no file system.
    """

    host: str
    slots: int = 4
    poll_wait_s: int = 20
    visibility_timeout_s: int = 120
    visibility_total_s: int = SQS_TOTAL_S
    stop_grace_s: float = 60.0
    drain: bool = False
    drain_patience_s: float = 60.0
    default_fs: str | None = None
    retry: RetryPolicy = field(default_factory=RetryPolicy)


@dataclass(kw_only=True)
class Tally:
    """What this run did."""

    done: int = 0
    dead: int = 0
    failed: int = 0
    returned: int = 0
    gave_up: int = 0  # handed back by a drain because a dependency stayed down


class Agent:
    """Works one queue until it is stopped or drained."""

    def __init__(
        self,
        *,
        queue: Queue,
        ports: Ports,
        policy: Callable[[], Policy],
        settings: AgentSettings,
        randomness: Randomness,
        abort_transfers: Callable[[], None],
    ) -> None:
        self._queue = queue
        self._ports = ports
        self._policy = policy
        self._settings = settings
        self._randomness = randomness
        self._abort_transfers = abort_transfers
        self._emit = ports.emit
        self._clock = ports.clock
        self.tally = Tally()
        self.was_cut_short = False  # a second signal ended the grace
        self.is_stuck = False  # a slot thread never ended: the process must be ended hard
        self._stop = Stop.NO
        self._changed = threading.Condition()
        self._busy = 0
        self._is_polling = False
        self._routes: Counter[str] = Counter()
        self._returns: dict[str, float] = {}  # message id to the time its retry is due
        self._bug: BaseException | None = None
        self._keeper = VisibilityKeeper(
            queue=queue,
            clock=ports.clock,
            emit=ports.emit,
            visibility_timeout_s=settings.visibility_timeout_s,
            total_s=settings.visibility_total_s,
        )
        self._slots = ThreadPoolExecutor(settings.slots, thread_name_prefix="slot")

    # ------------------------------------------------------------ stopping

    def request_stop(self, how: Stop) -> None:
        """Ask for a stop; safe from a signal handler's thread; more urgent wins."""
        with self._changed:
            self._stop = max(self._stop, how)
            self._changed.notify_all()

    @property
    def _is_stopping(self) -> bool:
        return self._stop is not Stop.NO

    def _pause(self, seconds: float) -> bool:
        """Sleep unless a stop comes; True when it did."""
        deadline_s = self._clock.monotonic() + seconds
        with self._changed:
            while not self._is_stopping:
                left_s = deadline_s - self._clock.monotonic()
                if left_s <= 0:
                    return False
                self._changed.wait(timeout=left_s)
        return True

    # ------------------------------------------------------------ polling

    def run(self) -> None:
        """Poll until stopped or drained. `tally` says what was done.

        Raises:
            BackhaulError: The ledger or the queue is unusable for good.
        """
        self._keeper.start()
        self._is_polling = True
        threading.Thread(target=self._poll_until_stopped, name="poll", daemon=True).start()
        with self._changed:
            while not self._is_stopping and self._is_polling:
                self._changed.wait(timeout=1.0)
        self._finish()
        if self._bug is not None:
            raise self._bug

    def _poll_until_stopped(self) -> None:
        try:
            self._poll_loop()
        except BaseException as error:  # noqa: BLE001 - carried to the main thread, raised there
            self._bug = error
        finally:
            with self._changed:
                self._is_polling = False
                self._changed.notify_all()

    def _poll_loop(self) -> None:
        failures = 0
        while True:
            free = self._wait_for_capacity()
            if free == 0:
                return
            wait_s = self._settings.poll_wait_s
            try:
                messages = self._queue.receive(
                    max_messages=min(free, 10),
                    wait_s=wait_s,
                    visibility_timeout_s=self._settings.visibility_timeout_s,
                )
            except OutageError as error:
                failures += 1
                if self._poll_failed(error, failures):
                    return
                continue
            failures = 0
            for message in messages:
                self._accept(message)
            if not messages:
                self._emit(events.QueueEmpty(queue=self._queue.facts.name))
                if self._settings.drain and self._is_drained():
                    return

    def _poll_failed(self, error: OutageError, failures: int) -> bool:
        """Back off; True when polling should end: a stop came, or a drain ran out of patience."""
        delay_s = min(POLL_RETRY_CAP_S, hold_delay_s(failures, self._chance()))
        self._emit(
            events.PollFailed(
                queue=self._queue.facts.name,
                code=error.code,
                reason=error.message,
                retry_in_s=delay_s,
            )
        )
        if self._pause(delay_s):
            return True
        patience_s = self._settings.drain_patience_s
        if self._settings.drain and failures * POLL_RETRY_CAP_S > patience_s and failures > 4:  # noqa: PLR2004
            raise error
        return False

    def _wait_for_capacity(self) -> int:
        """Free slots, at least one; 0 once a stop was asked for."""
        with self._changed:
            while not self._is_stopping:
                free = self._settings.slots - self._busy
                if free > 0:
                    return free
                self._changed.wait()
        return 0

    def _is_drained(self) -> bool:
        """Nothing in flight, and no message that this run sent back is still to return."""
        now_s = self._clock.monotonic()
        with self._changed:
            due = [due_s for due_s in self._returns.values() if due_s > now_s]
            return self._busy == 0 and not due

    def _accept(self, message: Message) -> None:
        with self._changed:
            self._returns.pop(message.message_id, None)
            is_late = self._is_stopping
            is_ours = not is_late and self._keeper.keep(message)
            self._busy += is_ours
        if is_ours:
            self._slots.submit(self._serve, message)
        elif is_late:
            self._give_back(message, 0)
        else:
            self._emit(
                events.MessageAbsorbed(
                    message_id=message.message_id,
                    transfer_id="",
                    state="running",
                    is_running=True,
                )
            )

    # ------------------------------------------------------------ the end

    def _finish(self) -> None:
        """Let transfers finish within the grace, then hand the rest back."""
        grace_s = self._settings.stop_grace_s if self._bug is None else 0.0
        if self._is_stopping:
            with self._changed:
                in_flight = self._busy
            wait_s = self._settings.poll_wait_s if self._is_polling else 0
            self._emit(
                events.AgentStopping(in_flight=in_flight, grace_s=grace_s, poll_wait_s=wait_s)
            )
        self._wait_until_idle(grace_s, Stop.NOW)
        # A poll cannot be interrupted; what it still brings is handed back in `_accept`. Only a
        # second signal goes without it: such a message is invisible for one timeout.
        with self._changed:
            deadline_s = self._clock.monotonic() + self._settings.poll_wait_s + POLL_OVERTIME_S
            while self._is_polling and self._stop is not Stop.NOW:
                left_s = deadline_s - self._clock.monotonic()
                if left_s <= 0:
                    break
                self._changed.wait(timeout=min(left_s, 0.2))
        self.was_cut_short = self._stop is Stop.NOW
        self.request_stop(Stop.NOW)
        self._abort_transfers()
        self._wait_until_idle(ABORT_WAIT_S, None)
        self._hand_back_stuck()
        self._slots.shutdown(wait=not self.is_stuck, cancel_futures=True)
        self._keeper.close()
        tally = self.tally
        self._emit(events.AgentStopped(done=tally.done, dead=tally.dead, returned=tally.returned))

    def _wait_until_idle(self, seconds: float, unless: Stop | None) -> None:
        """Until no message is in flight, at most this long, or until the stop gets that urgent."""
        deadline_s = self._clock.monotonic() + seconds
        with self._changed:
            while self._busy and self._stop is not unless:
                left_s = deadline_s - self._clock.monotonic()
                if left_s <= 0:
                    return
                self._changed.wait(timeout=min(left_s, 1.0))

    def _hand_back_stuck(self) -> None:
        """A slot that does not end, in some call without a time limit, loses its message."""
        with self._changed:
            self.is_stuck = self._busy > 0
        if self.is_stuck:
            for message in self._keeper.release_all():
                self._give_back(message, 0)

    # ------------------------------------------------------------ one message

    def _serve(self, message: Message) -> None:
        """One message from receipt to its end. Any bug ends here as a failed attempt."""
        self._emit(
            events.MessageReceived(
                message_id=message.message_id,
                receive_count=message.receive_count,
                body_excerpt=excerpt(message.body),
            )
        )
        try:
            self._work_until_settled(message)
        except BaseException as error:  # noqa: BLE001 - a slot must never die silently
            self._bug = self._bug or error
            self._keeper.release(message.message_id)
            self.request_stop(Stop.DRAIN)
        finally:
            with self._changed:
                self._busy -= 1
                self._changed.notify_all()

    def _work_until_settled(self, message: Message) -> None:
        tries = 0
        held_since_s: float | None = None
        held_by = ""
        while True:
            begun, verdict = self._attempt(message)
            transfer_id = begun.transfer_id if begun else ""
            if held_since_s is not None and verdict.fate is not Fate.HOLD:
                held_s = self._clock.monotonic() - held_since_s
                self._emit(
                    events.TransferResumed(
                        transfer_id=transfer_id, dependency=held_by, held_s=held_s
                    )
                )
                held_since_s, tries = None, 0
            match verdict.fate:
                case Fate.HOLD if isinstance(verdict.error, OutageError):
                    held_since_s = held_since_s or self._clock.monotonic()
                    held_by = verdict.error.dependency
                    tries += 1
                    if self._hold(begun, message, verdict.error, tries, held_since_s):
                        return
                case Fate.WAIT:
                    if self._wait_for_others(begun, message):
                        return
                case _:
                    self._settle(begun, message, verdict)
                    return

    def _attempt(self, message: Message) -> tuple[Begun | None, Verdict]:
        """Count the attempt, then work; whatever happens becomes a verdict."""
        begun = None
        try:
            understood = self._understand(message)
            begun = self._begin(message, understood)
            verdict = self._known_end(begun)
            if verdict is not None:
                return begun, verdict
            if isinstance(understood, BackhaulError):
                return begun, after_failure(understood, self._budget(begun, message))
            verdict = self._run(begun, message, understood)
        except ConfigurationError:
            raise  # no message's fault, and no later one fares better: `run` raises it
        except BackhaulError as error:
            verdict = after_failure(error, self._budget(begun, message))
        except Exception as error:  # noqa: BLE001 - the one place: any bug spends an attempt
            verdict = after_failure(unexpected(error), self._budget(begun, message))
            self._emit(error)
        return begun, verdict

    def _begin(self, message: Message, understood: Request | BackhaulError) -> Begun:
        if isinstance(understood, Request):
            source, destination = understood.source.uri, understood.destination.uri
        else:
            source, _, destination = excerpt(message.body).partition(",")
        return self._ports.ledger.begin(
            MessageKey(queue=message.queue, message_id=message.message_id),
            self._randomness.transfer_id(),
            source.strip(),
            destination.strip(),
            self._clock.now(),
        )

    def _understand(self, message: Message) -> Request | BackhaulError:
        """The request, or why the body is none; the ledger remembers both."""
        try:
            return parse_message(message.body, default_fs=self._settings.default_fs)
        except BackhaulError as error:
            return error

    def _known_end(self, begun: Begun) -> Verdict | None:
        """What is decided without any work: a redelivery of something that has ended."""
        if begun.state in {TransferState.DONE, TransferState.SUPERSEDED}:
            return Verdict(fate=Fate.DELETE)
        if begun.state is TransferState.DEAD:
            reason = PermanentError(begun.code or "E_DEAD", begun.reason or "dead before")
            return Verdict(fate=Fate.DEAD, error=reason)
        if begun.is_live:
            return Verdict(fate=Fate.WAIT)
        if begun.attempt > self._settings.retry.max_starts:
            spent = PermanentError(
                "E_ATTEMPTS_SPENT",
                f"started {begun.attempt} times and never ended; last: {begun.code or 'killed'}",
                hint="look for what kills the agent while it works on this message",
            )
            return Verdict(fate=Fate.DEAD, error=spent)
        return None

    def _run(self, begun: Begun, message: Message, request: Request) -> Verdict:
        policy = self._policy()
        job = policy.decide(request, sender_id=message.sender_id)
        if not self._enter_route(job):
            return Verdict(fate=Fate.WAIT)
        try:
            return TransferRunner(
                ports=self._ports,
                policy=self._policy,
                begun=begun,
                job=job,
                budget=self._budget(begun, message),
                message_id=message.message_id,
            ).run()
        finally:
            with self._changed:
                self._routes[job.route] -= 1

    def _enter_route(self, job: Job) -> bool:
        """Count the transfer in under its route; False when the route is full."""
        limit = job.limits.in_flight
        with self._changed:
            if limit is not None and self._routes[job.route] >= limit:
                return False
            self._routes[job.route] += 1
            return True

    def _budget(self, begun: Begun | None, message: Message) -> Budget:
        return Budget(
            retry=self._settings.retry,
            failures=begun.failures if begun else 0,
            source_changes=begun.source_changes if begun else 0,
            receive_count=message.receive_count,
            max_receive_count=self._queue.facts.max_receive_count,
        )

    # ------------------------------------------------------------ fates

    def _hold(
        self,
        begun: Begun | None,
        message: Message,
        error: OutageError,
        tries: int,
        since_s: float,
    ) -> bool:
        """Keep the message and ask again later; True when the agent stops meanwhile."""
        delay_s = hold_delay_s(tries, self._chance())
        self._release_claim(begun, TransferState.HELD, error)
        self._emit(
            events.TransferHeld(
                transfer_id=begun.transfer_id if begun else "",
                dependency=error.dependency,
                code=error.code,
                reason=error.message,
                hint=error.hint,
                retry_in_s=delay_s,
            )
        )
        held_s = self._clock.monotonic() - since_s
        if self._settings.drain and held_s + delay_s > self._settings.drain_patience_s:
            self.tally.gave_up += 1
            self.request_stop(Stop.DRAIN)
        if self._pause(delay_s):
            self._hand_back(begun, message)
            return True
        return False

    def _wait_for_others(self, begun: Begun | None, message: Message) -> bool:
        """The destination or the route is busy: wait with the message in hand."""
        if begun is not None and begun.is_live:
            # Another process on this ledger has this very message; it will settle it.
            self._return(message, ELSEWHERE_WAIT_S)
            return True
        busy = DestinationBusy("E_DST_BUSY", "another transfer owns the destination or route")
        self._release_claim(begun, TransferState.WAITING, busy)
        if begun is not None:
            self._emit(
                events.TransferWaits(
                    transfer_id=begun.transfer_id,
                    destination=excerpt(message.body),
                    retry_in_s=BUSY_WAIT_S,
                )
            )
        if self._pause(BUSY_WAIT_S):
            self._hand_back(begun, message)
            return True
        return False

    def _settle(self, begun: Begun | None, message: Message, verdict: Verdict) -> None:
        error = verdict.error
        if verdict.fate is Fate.DELETE:
            self._delete(begun, message)
        elif self._stop is Stop.NOW and not isinstance(error, PermanentError):
            # The attempt was cut short by us: unspent, and visible to whoever comes next.
            if error is not None:
                self._release_claim(begun, TransferState.WAITING, error)
            self._hand_back(begun, message)
        elif begun is not None and error is not None and verdict.fate is Fate.DEAD:
            self._bury(begun, message, error)
        elif begun is not None and error is not None:
            self._retry(begun, message, error)
        else:
            # The ledger did not even count the attempt: nothing to record, only to come back.
            self.tally.failed += 1
            self._return(message, self._settings.retry.delay_s(1, self._chance()))

    def _delete(self, begun: Begun | None, message: Message) -> None:
        """The ledger says done: delete with the newest handle, asking until SQS answers."""
        newest = self._keeper.release(message.message_id) or message
        if begun is not None and begun.state.is_final:
            self._emit(
                events.MessageAbsorbed(
                    message_id=message.message_id,
                    transfer_id=begun.transfer_id,
                    state=begun.state,
                    is_running=False,
                )
            )
        # Die or give up here and the message reappears, to be recognised and deleted then.
        self._insist(lambda: self._queue.delete(newest))
        self.tally.done += 1

    def _bury(self, begun: Begun, message: Message, error: BackhaulError) -> None:
        """Dead-letter copy first, then the ledger, then delete: each may be repeated."""
        facts = self._queue.facts
        attempts = max(1, begun.failures + (0 if begun.state is TransferState.DEAD else 1))
        reason = DeadLetterReason(
            code=error.code,
            sentence=error.message,
            hint=error.hint,
            attempts=attempts,
            first_seen_at=begun.first_seen_at,
            transfer_id=begun.transfer_id,
            host=self._settings.host,
        )
        # Sent again for a redelivery, too: a second copy is allowed, and DEAD in the ledger does
        # not say that there was a dead-letter queue when it died.
        is_copied = bool(self._insist(lambda: self._queue.send_dead_letter(message, reason)))
        if not is_copied and facts.dead_letter_url is not None:
            self._hand_back(begun, message)
            return
        if begun.state is not TransferState.DEAD:
            self._remove_leftover(begun)
            self._record_failure(begun, TransferState.DEAD, error)
        self._emit(
            events.MessageDead(
                transfer_id=begun.transfer_id,
                message_id=message.message_id,
                code=error.code,
                reason=error.message,
                hint=error.hint,
                attempts=attempts,
                dead_letter_queue=facts.dead_letter_name,
            )
        )
        self.tally.dead += 1
        newest = self._keeper.release(message.message_id) or message
        if is_copied:
            self._insist(lambda: self._queue.delete(newest))
        else:
            # No dead-letter queue: never delete the only copy; hide it as long as SQS allows.
            elapsed_s = self._clock.monotonic() - newest.received_monotonic_s
            self._show_after(
                newest, max(0, int(self._settings.visibility_total_s - elapsed_s) - 60)
            )

    def _remove_leftover(self, begun: Begun) -> None:
        """What earlier attempts staged; the last one may have ended before it claimed anything."""
        try:
            left = self._ports.ledger.leftover(begun.transfer_id)
            if left is not None:
                with self._ports.pool.session(left.staging_root.filesystem) as session:
                    session.remove_staging(left.staging_root, up_to=left.epoch)
        except BackhaulError as error:
            self._emit(error)  # hidden, and fenced by the next claim of this destination

    def _retry(self, begun: Begun, message: Message, error: BackhaulError) -> None:
        failures = begun.failures + 1
        delay_s = self._settings.retry.delay_s(failures, self._chance())
        self._record_failure(begun, TransferState.WAITING, error)
        self._emit(
            events.AttemptFailed(
                transfer_id=begun.transfer_id,
                message_id=message.message_id,
                attempt=begun.attempt,
                code=error.code,
                reason=error.message,
                hint=error.hint,
                retry_in_s=delay_s,
            )
        )
        self.tally.failed += 1
        self._return(message, delay_s)

    def _record_failure(self, begun: Begun, state: TransferState, error: BackhaulError) -> None:
        ledger, now = self._ports.ledger, self._clock.now()
        self._insist(lambda: ledger.fail(begun.transfer_id, state, error.code, error.message, now))

    # ------------------------------------------------------------ giving back

    def _release_claim(
        self, begun: Begun | None, state: TransferState, error: BackhaulError
    ) -> None:
        """End the attempt in the ledger, unspent."""
        if begun is None or begun.state.is_final or begun.is_live:
            return
        try:
            self._ports.ledger.fail(
                begun.transfer_id,
                state,
                error.code,
                error.message,
                self._clock.now(),
                refund=True,
            )
        except OutageError as outage:
            # The ledger itself is the obstacle: nothing was recorded and nothing needs undoing;
            # the claim is ours until this process ends.
            self._emit(outage)

    def _hand_back(self, begun: Begun | None, message: Message) -> None:
        """Visible at once, for whoever comes next."""
        self._return(message, 0)
        self.tally.returned += 1
        transfer_id = begun.transfer_id if begun else ""
        self._emit(events.MessageReturned(transfer_id=transfer_id, message_id=message.message_id))

    def _give_back(self, message: Message, delay_s: int) -> None:
        """A message that came while stopping and was never begun."""
        self._show_after(message, delay_s)
        self.tally.returned += 1
        self._emit(events.MessageReturned(transfer_id="", message_id=message.message_id))

    def _return(self, message: Message, delay_s: int) -> None:
        newest = self._keeper.release(message.message_id) or message
        if delay_s > 0:
            with self._changed:
                due_s = self._clock.monotonic() + delay_s
                self._returns[message.message_id] = due_s + self._settings.poll_wait_s
        self._show_after(newest, delay_s)

    def _show_after(self, message: Message, delay_s: int) -> None:
        try:
            self._insist(lambda: self._queue.extend(message, delay_s))
        except VisibilityLost as lost:
            # It is visible already, which is all that was wanted.
            self._emit(events.VisibilityWasLost(message_id=message.message_id, reason=str(lost)))

    def _insist(self, call: Callable[[], object]) -> object:
        """Ask SQS until it answers; None when the agent has to go before it does."""
        tries = 0
        while True:
            try:
                result = call()
            except OutageError as error:
                tries += 1
                self._emit(error)
                if self._is_stopping and tries > 1:
                    return None
                self._pause(hold_delay_s(tries, self._chance()))
            else:
                return True if result is None else result

    def _chance(self) -> float:
        return self._randomness.uniform(0.0, 1.0)


def excerpt(body: str, limit: int = 200) -> str:
    """The start of a body for people: one line, escaped, without what looks like a password."""
    return printable(re.sub(r"//[^/@\s]*@", "//***@", body[: 4 * limit]), limit)
