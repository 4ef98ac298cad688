"""One message, from its receipt to its end, in the thread of one slot.

What becomes of it, and in which order:

    settled     ledger first, then delete
    failed      comes back after a back-off, by changing its visibility
    held, busy  stays with us, invisible, spending nothing, until the obstacle is gone
    dead        copied to the dead-letter queue with its reason, then ledger, then deleted
    stopping    handed back unspent, visible at once

The transfer itself is `transfer` and `runner`; where messages come from is `agent`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from backhaul.core import events
from backhaul.core.agent_settings import AgentSettings, Tally
from backhaul.core.backoff import hold_delay_s
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
from backhaul.core.ports import Begun, DeadLetterReason, Message, MessageKey, Queue, Randomness
from backhaul.core.runner import Ports, TransferRunner, discard, unexpected
from backhaul.core.stopping import Stop, Stopper
from backhaul.core.text import printable, redacted
from backhaul.core.transfer import Budget, Fate, Verdict, after_failure
from backhaul.core.visibility import VisibilityKeeper

BUSY_WAIT_S = 1.0
ELSEWHERE_WAIT_S = 30


class Deliveries:
    """Works messages that are in this agent's hands; called from several slot threads.

    Attributes:
        tally: What was done so far.
        returns: Message ids sent back for a later try, and when each is due at the latest.
    """

    def __init__(
        self,
        *,
        queue: Queue,
        ports: Ports,
        policy: Callable[[], Policy],
        settings: AgentSettings,
        randomness: Randomness,
        keeper: VisibilityKeeper,
        stopper: Stopper,
    ) -> None:
        self._queue = queue
        self._ports = ports
        self._policy = policy
        self._settings = settings
        self._randomness = randomness
        self._keeper = keeper
        self._stopper = stopper
        self._emit = ports.emit
        self._clock = ports.clock
        self._routes: Counter[str] = Counter()
        self.tally = Tally()
        self.returns: dict[str, float] = {}

    def work_until_settled(self, message: Message) -> None:
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
            with self._stopper.changed:
                self._routes[job.route] -= 1

    def _enter_route(self, job: Job) -> bool:
        """Count the transfer in under its route; False when the route is full."""
        limit = job.limits.in_flight
        with self._stopper.changed:
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
            self._stopper.ask(Stop.DRAIN)
        if self._stopper.pause(delay_s):
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
        if self._stopper.pause(BUSY_WAIT_S):
            self._hand_back(begun, message)
            return True
        return False

    def _settle(self, begun: Begun | None, message: Message, verdict: Verdict) -> None:
        error = verdict.error
        if verdict.fate is Fate.DELETE:
            self._delete(begun, message)
        elif self._stopper.level is Stop.NOW and not isinstance(error, PermanentError):
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
            discard(self._ports, begun.transfer_id)
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
        newest = self._keeper.release(message.message_id) or message
        self._show_after(newest, self._stopper.hand_back_delay_s)
        self.tally.returned += 1
        transfer_id = begun.transfer_id if begun else ""
        self._emit(events.MessageReturned(transfer_id=transfer_id, message_id=message.message_id))

    def give_back(self, message: Message, delay_s: int) -> None:
        """A message that came while stopping and was never begun."""
        self._show_after(message, delay_s)
        self.tally.returned += 1
        self._emit(events.MessageReturned(transfer_id="", message_id=message.message_id))

    def _return(self, message: Message, delay_s: int) -> None:
        newest = self._keeper.release(message.message_id) or message
        if delay_s > 0:
            with self._stopper.changed:
                due_s = self._clock.monotonic() + delay_s
                self.returns[message.message_id] = due_s + self._settings.poll_wait_s
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
                if self._stopper.is_asked and tries > 1:
                    return None
                self._stopper.pause(hold_delay_s(tries, self._chance()))
            else:
                return True if result is None else result

    def _chance(self) -> float:
        return self._randomness.uniform(0.0, 1.0)


def excerpt(body: str, limit: int = 200) -> str:
    """The start of a body for people: one line, escaped, without what looks like a password."""
    return printable(redacted(re.sub(r"//[^/@\s]*@", "//***@", body[: 4 * limit])), limit)
