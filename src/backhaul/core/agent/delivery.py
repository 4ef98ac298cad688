"""One message, from its receipt to its end, in the thread of one slot.

What becomes of it, and in which order:

    settled     ledger first, then delete, once every record of the message has ended
    ignored     deleted: an event that asks for nothing
    failed      comes back after a back-off, by changing its visibility
    held, busy  stays with us, invisible, spending nothing, until the obstacle is gone
    dead        copied to the dead-letter queue with its reason, then ledger, then deleted
    stopping    handed back unspent, visible at once

The transfer itself is `transfer` and `runner`; where messages come from is `agent`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta

from backhaul.core import facts as events
from backhaul.core.agent.settings import AgentSettings, Tally
from backhaul.core.agent.stopping import Stop, Stopper
from backhaul.core.agent.visibility import VisibilityKeeper
from backhaul.core.backoff import hold_delay_s
from backhaul.core.errors import (
    BackhaulError,
    ConfigurationError,
    DestinationBusy,
    OutageError,
    PermanentError,
    VisibilityLost,
)
from backhaul.core.model import Hold, Request, TransferState
from backhaul.core.ports import AttemptStart, DeadLetterReason, Holder, Message, Queue, Randomness
from backhaul.core.requests.admission import RouteGate, check_signature, ticket_for
from backhaul.core.requests.content import Ignored, ObjectEvent, RecordBody
from backhaul.core.requests.event_routes import request_of
from backhaul.core.requests.policy import Policy
from backhaul.core.requests.records import Dead, MessageRecord, RecordOutcome, records_of
from backhaul.core.text import excerpt, redacted
from backhaul.core.transfer.listing import find_object
from backhaul.core.transfer.outages import WAIT_MOST_S
from backhaul.core.transfer.runner import Ports, TransferRunner, discard, unexpected
from backhaul.core.transfer.steps import Budget, Disposition, Verdict, after_failure

BUSY_WAIT_S = 1.0
ELSEWHERE_WAIT_S = 30
LETTER_TRIES = 6  # some 40 s; then the message comes back after LETTER_RETRY_S
LETTER_RETRY_S = 300
RETURN_SLACK_S = 1.0  # a queue counts from when it is told, this process from when it tells
EXPIRING_SHARE = 0.8  # of the queue's retention: no further try after a failed one
HOLD_SHARE = 0.95  # of the queue's retention: no further wait for a dependency or for others
WHOLE = -1  # number of the part that is a message whose records cannot even be counted
BUSY = DestinationBusy("E_DST_BUSY", "another transfer owns the destination or route")


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
        self._gate = RouteGate(ports.clock)
        self.tally = Tally()
        self.returns: dict[str, float] = {}

    def work_until_settled(self, message: Message) -> None:
        """Each record of the message in turn; the message goes when all of them have ended."""
        parts = self._read(message)
        if parts is None:
            return
        ends: list[RecordOutcome] = []
        for part in parts:
            if ends and self._stopper.is_asked:
                # What has ended is in the ledger, and the next delivery skips it.
                self._give_way(message, ends)
                return
            end = self._work_part(message, part)
            if end is None:
                return
            ends.append(end)
        self._settle(message, ends)

    def _read(self, message: Message) -> Sequence[MessageRecord] | None:
        """The records; None where reading fails, and the message comes back after a while.

        No text should do that, and if one does, the other messages go on. A message that does it
        at every delivery is dead in the end, as a whole.
        """
        try:
            return records_of(message, default_fs=self._settings.default_fs)
        except Exception as error:  # noqa: BLE001 - a defect of the reader must not end the agent
            self._emit(error)
            budget = replace(self._budget(None, message), retry=self._settings.retry)
            verdict = self._in_time(message, after_failure(unexpected(error), budget))
        reason = verdict.error
        if verdict.disposition is Disposition.DEAD and reason is not None:
            dead = PermanentError(reason.code, reason.message, hint=reason.hint)
            return [MessageRecord(number=WHOLE, count=1, ask=dead)]
        self.tally.failed += 1
        self._return(message, self._settings.retry.delay_s(message.receive_count, 1.0))
        return None

    def _work_part(self, message: Message, part: MessageRecord) -> RecordOutcome | None:
        """Until it has ended or failed; None when the message is no longer in our hands."""
        tries = 0
        held_since_s: float | None = None
        held_by = ""
        while True:
            begun, verdict = self._attempt(message, part)
            transfer_id = begun.transfer_id if begun else ""
            if held_since_s is not None and verdict.disposition is not Disposition.HOLD:
                held_s = self._clock.monotonic() - held_since_s
                self._emit(
                    events.TransferResumed(
                        transfer_id=transfer_id, dependency=held_by, held_s=held_s
                    )
                )
                held_since_s, tries = None, 0
            begun, verdict = self._decided(begun, message, part, verdict)
            match verdict.disposition:
                case Disposition.HOLD if isinstance(verdict.error, OutageError):
                    held_since_s = held_since_s or self._clock.monotonic()
                    held_by = verdict.error.dependency
                    tries += 1
                    if self._hold(begun, message, verdict.error, tries, held_since_s):
                        return None
                case Disposition.WAIT:
                    if self._wait_for_others(begun, message):
                        return None
                case _:
                    return self._end(begun, message, part, verdict)

    def _attempt(
        self, message: Message, part: MessageRecord
    ) -> tuple[AttemptStart | None, Verdict]:
        """Count the attempt, then work; whatever happens becomes a verdict."""
        begun = None
        try:
            understood = self._understand(message, part.ask)
            if isinstance(understood, Ignored):
                understood = self._confirmed(message, part, understood)
            if isinstance(understood, Ignored):
                return None, self._ignore(message, understood)
            begun = self._begin(message, part, understood)
            verdict = self._known_end(begun)
            if verdict is not None:
                return begun, verdict
            if isinstance(understood, BackhaulError):
                return begun, after_failure(understood, self._budget(begun, message))
            verdict = self._run(begun, message, part, _as_begun(understood, begun))
        except ConfigurationError:
            raise  # no message's fault, and no later one fares better: `run` raises it
        except BackhaulError as error:
            verdict = after_failure(error, self._budget(begun, message))
        except Exception as error:  # noqa: BLE001 - the one place: any bug spends an attempt
            verdict = after_failure(unexpected(error), self._budget(begun, message))
            self._emit(error)
        return begun, verdict

    def _decided(
        self, begun: AttemptStart | None, message: Message, part: MessageRecord, verdict: Verdict
    ) -> tuple[AttemptStart | None, Verdict]:
        """The verdict, or death while SQS still has the message; a death is always in the ledger.

        An attempt may end before the ledger counted it. Where it was the last one, the ledger
        counts it now: only what the ledger knows gets a dead letter.
        """
        if begun is None and _is_ledger_away(verdict.error):
            return None, verdict  # nothing can be recorded, and once it can, the message is tried
        if begun is None or not begun.is_live:
            verdict = self._in_time(message, verdict)
        if (
            begun is not None
            or verdict.disposition is not Disposition.DEAD
            or verdict.error is None
        ):
            return begun, verdict
        try:
            begun = self._begin(message, part, verdict.error)
        except OutageError as outage:
            return None, Verdict(disposition=Disposition.HOLD, error=outage)
        except ConfigurationError:
            raise
        except BackhaulError as error:
            return None, Verdict(disposition=Disposition.RETRY, error=error)
        except Exception as error:  # noqa: BLE001 - as in `_attempt`: a defect must not end the agent
            self._emit(error)
            return None, Verdict(disposition=Disposition.RETRY, error=unexpected(error))
        # It may have ended before, or run elsewhere.
        return begun, self._known_end(begun) or verdict

    def _in_time(self, message: Message, verdict: Verdict) -> Verdict:
        """A try is the last one where SQS may delete the message before the next."""
        match verdict.disposition:
            case Disposition.RETRY:
                share, error = EXPIRING_SHARE, verdict.error
            case Disposition.HOLD:
                share, error = HOLD_SHARE, verdict.error
            case Disposition.WAIT:
                share, error = HOLD_SHARE, BUSY
            case _:
                return verdict
        expiring = None if error is None else self._expiring(message, share, error)
        return (
            verdict if expiring is None else Verdict(disposition=Disposition.DEAD, error=expiring)
        )

    def _begin(
        self, message: Message, part: MessageRecord, understood: Request | BackhaulError
    ) -> AttemptStart:
        if isinstance(understood, Request):
            source, destination = understood.source.uri, understood.destination.uri
        elif isinstance(part.ask, ObjectEvent):
            source, destination = part.ask.source.uri, ""
        else:
            source, _, destination = excerpt(message.body).partition(",")
        return self._ports.ledger.begin(
            part.key(message),
            self._randomness.transfer_id(),
            source.strip(),  # for people; what is copied is in the plan
            destination.strip(),
            self._clock.now(),
        )

    def _understand(self, message: Message, ask: RecordBody) -> Request | Ignored | BackhaulError:
        """The request, or why there is none; the ledger remembers both."""
        try:
            return request_of(
                self._policy(),
                ask,
                queue=message.queue,
                default_fs=self._settings.default_fs,
            )
        except BackhaulError as error:
            return error

    def _confirmed(
        self, message: Message, part: MessageRecord, ignored: Ignored
    ) -> Request | Ignored | BackhaulError:
        """What S3 makes of an event that claims to be about an empty placeholder.

        Raises:
            OutageError, TransientError: S3 does not answer; nothing is decided.
        """
        source = ignored.placeholder
        if source is None or not isinstance(part.ask, ObjectEvent):
            return ignored
        try:
            pin, _ = find_object(self._ports.store, source.bucket, source.key, owner=ignored.owner)
        except PermanentError as error:
            return error
        if pin is None or pin.size_bytes == 0:
            return ignored
        return self._understand(message, replace(part.ask, size_bytes=pin.size_bytes))

    def _ignore(self, message: Message, ignored: Ignored) -> Verdict:
        self._emit(
            events.MessageIgnored(
                message_id=message.message_id, reason=ignored.reason, what=ignored.what
            )
        )
        return Verdict(disposition=Disposition.DELETE)

    def _known_end(self, begun: AttemptStart) -> Verdict | None:
        """What is decided without any work: a redelivery of something that has ended."""
        if begun.state in {TransferState.DONE, TransferState.SUPERSEDED}:
            return Verdict(disposition=Disposition.DELETE)
        if begun.state is TransferState.DEAD:
            reason = PermanentError(begun.code or "E_DEAD", begun.reason or "dead before")
            return Verdict(disposition=Disposition.DEAD, error=reason)
        if begun.was_changed and not begun.is_live:
            changed = PermanentError(
                "E_MSG_CHANGED",
                "this message came before, under the same id, with another body",
                hint="look for what rewrites messages between SQS and here; send it as a new one",
            )
            return Verdict(disposition=Disposition.DEAD, error=changed)
        if begun.is_live:
            return Verdict(disposition=Disposition.WAIT)
        if begun.attempt > self._settings.retry.max_starts:
            spent = PermanentError(
                "E_ATTEMPTS_SPENT",
                f"started {begun.attempt} times and never ended; last: {begun.code or 'killed'}",
                hint="look for what kills the agent while it works on this message",
            )
            return Verdict(disposition=Disposition.DEAD, error=spent)
        return None

    def _expiring(
        self, message: Message, share: float, last: BackhaulError
    ) -> PermanentError | None:
        """A decision while there is time for one: SQS deletes at the retention without notice.

        Args:
            share: Of the queue's retention, after which there is no more waiting.
            last: What the try ended with.
        """
        facts = self._queue.facts
        if message.sent_at is None or facts.retention_s is None or facts.dead_letter_url is None:
            return None
        age_s = (self._clock.now() - message.sent_at).total_seconds()
        if age_s < facts.retention_s * share:
            return None
        return PermanentError(
            "E_EXPIRING",
            f"sent {age_s:.0f} s ago, and queue {facts.name} keeps messages {facts.retention_s} s;"
            f" last: {last.code}: {last.message}",
            hint="fix what held it up, then `backhaul dlq redrive`; give the queue more retention",
        )

    def _run(
        self, begun: AttemptStart, message: Message, part: MessageRecord, request: Request
    ) -> Verdict:
        policy = self._policy()
        job = policy.decide(request, sender_id=message.sender_id, queue=message.queue)
        rule = policy.find(job.route).signature
        ledger = self._ports.ledger
        check_signature(rule, message, part.key(message), ledger, self._clock)
        with self._stopper.changed:
            if not self._gate.enter(job, begun.transfer_id):
                return Verdict(disposition=Disposition.WAIT)
        settings = self._settings
        try:
            return TransferRunner(
                ports=self._ports,
                policy=self._policy,
                begun=begun,
                job=job,
                budget=self._budget(begun, message),
                message_id=message.message_id,
                wait_most_s=settings.drain_patience_s if settings.drain else WAIT_MOST_S,
            ).run()
        finally:
            with self._stopper.changed:
                self._gate.leave(job)

    def _budget(self, begun: AttemptStart | None, message: Message) -> Budget:
        """What the ledger counted; without it, receives count.

        SQS counts also what an outage or a stop handed back, so then the higher limit holds, which
        is for attempts whose end was never recorded.
        """
        retry = self._settings.retry
        return Budget(
            retry=retry if begun else replace(retry, max_attempts=retry.max_starts),
            failures=begun.failures if begun else max(0, message.receive_count - 1),
            source_changes=begun.source_changes if begun else 0,
            receive_count=message.receive_count,
            max_receive_count=self._queue.facts.max_receive_count,
        )

    # ------------------------------------------------------------ fates

    def _hold(
        self,
        begun: AttemptStart | None,
        message: Message,
        error: OutageError,
        tries: int,
        since_s: float,
    ) -> bool:
        """Keep the message and ask again later; True when the agent stops meanwhile."""
        delay_s = hold_delay_s(tries, self._chance())
        now = self._clock.now()
        retry_at = now + timedelta(seconds=delay_s)
        hold = Hold(dependency=error.dependency, since=now, retry_at=retry_at)
        self._release_claim(begun, TransferState.HELD, error, hold)
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

    def _wait_for_others(self, begun: AttemptStart | None, message: Message) -> bool:
        """The destination or the route is busy: wait with the message in hand."""
        if begun is not None and begun.is_live:
            # Another process on this ledger has this very message; it will settle it.
            self._return(message, ELSEWHERE_WAIT_S)
            return True
        self._release_claim(begun, TransferState.WAITING, BUSY)
        self._emit(
            events.TransferWaits(
                transfer_id=begun.transfer_id if begun else "",
                destination=excerpt(message.body),
                retry_in_s=BUSY_WAIT_S,
            )
        )
        if self._stopper.pause(BUSY_WAIT_S):
            self._hand_back(begun, message)
            return True
        return False

    def _end(
        self, begun: AttemptStart | None, message: Message, part: MessageRecord, verdict: Verdict
    ) -> RecordOutcome | None:
        """Record how one record ended; None when the message was handed back over it."""
        error = verdict.error
        if verdict.disposition is Disposition.DELETE:
            if begun is not None and begun.state.is_final:
                self._emit(
                    events.MessageAbsorbed(
                        message_id=message.message_id,
                        transfer_id=begun.transfer_id,
                        state=begun.state,
                        is_running=False,
                    )
                )
            return RecordOutcome(is_ignored=begun is None)
        if error is None:
            raise AssertionError("only what is deleted ends without an error")
        if self._stopper.level is Stop.NOW and not isinstance(error, PermanentError):
            # The attempt was cut short by us: unspent, and visible to whoever comes next.
            self._release_claim(begun, TransferState.WAITING, error)
            self._hand_back(begun, message)
            return None
        if begun is not None:
            if begun.state is TransferState.DEAD:
                dead = Dead(begun=begun, part=part, error=error)
                return RecordOutcome(dead=dead, is_copied=begun.has_dead_letter)
            if self._is_taken(begun, message, error):
                self._return(message, ELSEWHERE_WAIT_S)
                return None
            if verdict.disposition is Disposition.DEAD:
                return self._bury(begun, message, part, error)
            return RecordOutcome(retry_in_s=self._fail(begun, message, error))
        # The ledger did not even count the attempt: nothing to record, only to come back.
        receives = max(1, message.receive_count)
        return RecordOutcome(retry_in_s=self._settings.retry.delay_s(receives, self._chance()))

    def _settle(self, message: Message, ends: list[RecordOutcome]) -> None:
        """All records have ended, or some have to come back; then those that ended are known."""
        delays_s = [end.retry_in_s for end in ends if end.retry_in_s is not None]
        if delays_s:
            self.tally.failed += 1
            self._return(message, max(delays_s))
            return
        is_kept = False
        for end in ends:
            # Sent for a redelivery, too, where the ledger knows of no letter: it may have died
            # when there was no dead-letter queue, or by an operator's word.
            if end.dead is not None and not end.is_copied:
                is_copied = self._copy_dead(message, end.dead)
                if not is_copied and self._queue.facts.dead_letter_url is not None:
                    self._put_off(end.dead.begun, message)
                    return
                if is_copied:
                    self._note_dead_letter(end.dead.begun)
                self._emit_dead(message, end.dead)
                is_kept = is_kept or not is_copied
        newest = self._keeper.release(message.message_id) or message
        if any(end.dead is not None for end in ends):
            self.tally.dead += 1
        elif all(end.is_ignored for end in ends):
            self.tally.ignored += 1
        else:
            self.tally.done += 1
        if is_kept:
            # No dead-letter queue: never delete the only copy; hide it as long as SQS allows.
            elapsed_s = self._clock.monotonic() - newest.received_monotonic_s
            self._show_after(
                newest, max(0, int(self._settings.visibility_total_s - elapsed_s) - 60)
            )
            return
        # The ledger knows all of it: delete with the newest handle, asking until SQS answers.
        # Die or give up here and the message reappears, to be recognised and deleted then.
        self._insist(lambda: self._queue.delete(newest))

    def _is_taken(self, begun: AttemptStart, message: Message, error: BackhaulError) -> bool:
        """Another process took the transfer over meanwhile: its end counts, and our failure not."""
        if self._insist(lambda: self._ports.ledger.is_mine(begun.transfer_id)):
            return False
        found = self._insist(lambda: self._ports.ledger.holder(begun.transfer_id))
        holder = found if isinstance(found, Holder) else Holder(owner=None, is_cancelled=False)
        self._emit(
            events.TransferTaken(
                message_id=message.message_id,
                transfer_id=begun.transfer_id,
                code=error.code,
                reason=error.message,
                is_cancelled=holder.is_cancelled,
                owner=holder.owner,
            )
        )
        return True

    def _give_way(self, message: Message, ends: list[RecordOutcome]) -> None:
        """A stop came between two records: the rest is for whoever comes next."""
        delays_s = [end.retry_in_s for end in ends if end.retry_in_s is not None]
        if delays_s:
            self.tally.failed += 1
            self._return(message, max(delays_s))
        else:
            self._hand_back(None, message)

    def _bury(
        self, begun: AttemptStart, message: Message, part: MessageRecord, error: BackhaulError
    ) -> RecordOutcome | None:
        """Dead-letter copy first, then the ledger; the message is deleted after all: `_settle`.

        Where the copy is refused, the ledger notes the death without it: the next delivery sends
        only the letter, and copies nothing again.
        """
        dead = Dead(begun=begun, part=part, error=error)
        is_copied = self._copy_dead(message, dead)
        self._remove_leftover(begun)
        if not self._record_failure(begun, TransferState.DEAD, error, has_dead_letter=is_copied):
            self._hand_back(begun, message)  # stopped before the ledger answered
            return None
        if is_copied:
            self._emit_dead(message, dead)
        elif self._queue.facts.dead_letter_url is not None:
            self._put_off(begun, message)
            return None
        return RecordOutcome(dead=dead, is_copied=is_copied)

    def _copy_dead(self, message: Message, dead: Dead) -> bool:
        begun, error = dead.begun, dead.error
        reason = DeadLetterReason(
            code=error.code,
            sentence=redacted(dead.sentence),
            hint=redacted(error.hint),
            attempts=dead.attempts,
            first_seen_at=begun.first_seen_at,
            transfer_id=begun.transfer_id,
            host=self._settings.host,
            redrive=self._ticket(message, begun, error),
        )
        letter = dead.part.letter_of(message)
        return bool(
            self._insist(
                lambda: self._queue.send_dead_letter(letter, reason), max_tries=LETTER_TRIES
            )
        )

    def _put_off(self, begun: AttemptStart, message: Message) -> None:
        """Its dead letter cannot be sent: it comes back later, and its slot is free for others."""
        if self._stopper.is_asked:
            self._hand_back(begun, message)
            return
        self.tally.failed += 1
        self._return(message, LETTER_RETRY_S)

    def _note_dead_letter(self, begun: AttemptStart) -> None:
        """So that no later delivery sends it again; where we stop first, one may."""
        self._insist(lambda: self._ports.ledger.note_dead_letter(begun.transfer_id))

    def _ticket(self, message: Message, begun: AttemptStart, error: BackhaulError) -> str:
        """A copy of a signed message, or one that was never good, gets none."""
        if error.code.startswith("E_SIG_"):
            return ""
        return ticket_for(self._policy(), message, begun.transfer_id, self._clock.now())

    def _emit_dead(self, message: Message, dead: Dead) -> None:
        self._emit(
            events.MessageDead(
                transfer_id=dead.begun.transfer_id,
                message_id=message.message_id,
                code=dead.error.code,
                reason=dead.sentence,
                hint=dead.error.hint,
                attempts=dead.attempts,
                dead_letter_queue=self._queue.facts.dead_letter_name,
            )
        )

    def _remove_leftover(self, begun: AttemptStart) -> None:
        """What earlier attempts staged; the last one may have ended before it claimed anything."""
        try:
            left = self._ports.ledger.staging_of(begun.transfer_id)
            user = self._policy().user_of(left.route) if left is not None else None
            discard(self._ports, begun.transfer_id, user)
        except BackhaulError as error:
            # Hidden, and fenced by the next claim of this destination.
            self._emit(
                events.StagingStays(
                    transfer_id=begun.transfer_id, code=error.code, reason=error.message
                )
            )

    def _fail(self, begun: AttemptStart, message: Message, error: BackhaulError) -> int:
        """Record a failed attempt; how long until the next one."""
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
        return delay_s

    def _record_failure(
        self,
        begun: AttemptStart,
        state: TransferState,
        error: BackhaulError,
        *,
        has_dead_letter: bool = False,
    ) -> bool:
        ledger, now = self._ports.ledger, self._clock.now()
        return self._has_answered(
            lambda: ledger.fail(
                begun.transfer_id,
                state,
                error.code,
                error.message,
                now,
                has_dead_letter=has_dead_letter,
            )
        )

    # ------------------------------------------------------------ giving back

    def _release_claim(
        self,
        begun: AttemptStart | None,
        state: TransferState,
        error: BackhaulError,
        hold: Hold | None = None,
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
                hold=hold,
            )
        except OutageError as outage:
            # The ledger itself is the obstacle: nothing was recorded and nothing needs undoing;
            # the claim is ours until this process ends.
            self._emit(
                events.RecordMissed(
                    transfer_id=begun.transfer_id, code=outage.code, reason=outage.message
                )
            )

    def _hand_back(self, begun: AttemptStart | None, message: Message) -> None:
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
        with self._stopper.changed:
            due_s = self._clock.monotonic() + delay_s
            slack_s = max(RETURN_SLACK_S, self._settings.poll_wait_s)
            self.returns[message.message_id] = due_s + slack_s
        self._show_after(newest, delay_s)

    def _show_after(self, message: Message, delay_s: int) -> None:
        try:
            self._insist(lambda: self._queue.extend(message, delay_s))
        except VisibilityLost as lost:
            # It is visible already, which is all that was wanted.
            self._emit(events.VisibilityWasLost(message_id=message.message_id, reason=str(lost)))

    def _has_answered(self, call: Callable[[], object]) -> bool:
        return self._insist(call) is not None

    def _insist(self, call: Callable[[], object], *, max_tries: int | None = None) -> object:
        """Ask SQS until it answers; None when the agent has to go before it does.

        Args:
            max_tries: After so many it is None, too; default: no limit.
        """
        tries = 0
        while True:
            try:
                result = call()
            except OutageError as error:
                tries += 1
                delay_s = hold_delay_s(tries, self._chance())
                self._emit(
                    events.CallRetried(
                        dependency=error.dependency,
                        code=error.code,
                        reason=error.message,
                        retry_in_s=delay_s,
                    )
                )
                if tries == max_tries or (self._stopper.is_asked and tries > 1):
                    return None
                self._stopper.pause(delay_s)
            else:
                return True if result is None else result

    def _chance(self) -> float:
        return self._randomness.uniform(0.0, 1.0)


def _as_begun(request: Request, begun: AttemptStart) -> Request:
    """An event's destination is settled by its first claim, whatever the route says since."""
    if request.event is None or begun.directory is None:
        return request
    return replace(request, destination=begun.directory)


def _is_ledger_away(error: BackhaulError | None) -> bool:
    return isinstance(error, OutageError) and error.dependency == "ledger"
